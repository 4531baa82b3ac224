//! The files of TLS, and the configuration that is made from them.
//!
//! All are read before any is used, so that what is compared is what is used.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{Error, RootCertStore, ServerConfig};
use zeroize::Zeroizing;

use super::peer::expires_at_s;
use super::{ClientCertificates, TlsError, TlsSettings};

/// The only protocol of the server. A client that offers HTTP/2 too is answered with this one.
const PROTOCOL: &[u8] = b"http/1.1";

/// The contents of all files at one time.
#[derive(PartialEq, Eq)]
pub(super) struct TlsFiles {
    certificates: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    client_authorities: Option<Vec<u8>>,
}

/// Does not show the key.
impl std::fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsFiles")
    }
}

/// What new handshakes use.
pub(super) struct Usable {
    pub config: Arc<ServerConfig>,
    pub expires_at_s: u64,
}

impl TlsFiles {
    pub(super) fn read(settings: &TlsSettings) -> Result<Self, TlsError> {
        let authorities = settings.client_authorities.as_deref();
        Ok(Self {
            certificates: contents("certificates", &settings.certificates)?,
            key: Zeroizing::new(contents("key", &settings.key)?),
            client_authorities: authorities.map(|path| contents("client_authorities", path)).transpose()?,
        })
    }

    pub(super) fn prepare(&self, settings: &TlsSettings) -> Result<Usable, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = certificates("certificates", &settings.certificates, &self.certificates)?;
        let expires_at_s = expires_at_s(&chain[0]).map_err(|error| {
            let fault = format!("has a certificate that cannot be used: {error}");
            TlsError::contents("certificates", &settings.certificates, fault)
        })?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| TlsError::contents("key", &settings.key, key_fault(&error)))?;
        let verifier = self.client_verifier(settings, &provider)?;
        let builder =
            ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13, &TLS12])?;
        let asks_clients = verifier.is_some();
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
            Error::InconsistentKeys(_) => TlsError::Mismatch,
            Error::General(_) => TlsError::contents("key", &settings.key, "has a key that cannot be used"),
            error => TlsError::Setup(error),
        })?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        if asks_clients {
            // A resumed session would keep a client's certificate beyond its end.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Usable { config: Arc::new(config), expires_at_s })
    }

    fn client_verifier(
        &self,
        settings: &TlsSettings,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        let (Some(path), Some(pem)) = (&settings.client_authorities, &self.client_authorities) else {
            return Ok(None);
        };
        let refused = |fault: String| TlsError::contents("client_authorities", path, fault);
        let mut roots = RootCertStore::empty();
        for authority in certificates("client_authorities", path, pem)? {
            roots
                .add(authority)
                .map_err(|error| refused(format!("has a certificate that cannot be used: {error}")))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
        let verifier = match settings.client_certificates {
            ClientCertificates::Optional => verifier.allow_unauthenticated(),
            ClientCertificates::Required => verifier,
        };
        verifier.build().map(Some).map_err(|error| refused(format!("cannot be used: {error}")))
    }
}

fn contents(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Unreadable { key, path: path.to_owned(), source })
}

/// At least one.
fn certificates(
    key: &'static str,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(read) if read.is_empty() => Err(TlsError::contents(key, path, "has no certificate in PEM")),
        Ok(read) => Ok(read),
        Err(_) => Err(TlsError::contents(key, path, "is not valid PEM")),
    }
}

/// The library's own error may quote a line of the file.
fn key_fault(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::NoItemsFound => "has no unencrypted private key in PEM",
        _ => "is not valid PEM",
    }
}
