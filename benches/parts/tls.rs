//! TLS between the server under test and its clients, with a certificate made for the run.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::certificates::Authority;

pub struct Tls {
    /// The value of `ROCKET_TOLLGATE_TLS`.
    pub setting: String,
    /// For reqwest.
    pub authority: reqwest::Certificate,
    pub connector: TlsConnector,
    /// The first half of a client's first message, in a record whose header announces all of it.
    pub half_hello: Vec<u8>,
}

impl Tls {
    /// Makes an authority, and a certificate for servers on this machine in the folder.
    pub fn make(folder: &Path) -> Self {
        let authority = Authority::new("bench");
        let (certificate, key) = (folder.join("crt"), folder.join("key"));
        authority.issue("IP:127.0.0.1").write(&certificate, &key);
        let pem = authority.pem();
        let config = Arc::new(client_config(&pem));
        Self {
            setting: format!("{{certificates={certificate:?},key={key:?}}}"),
            authority: reqwest::Certificate::from_pem(pem.as_bytes()).unwrap(),
            half_hello: half_hello(config.clone()),
            connector: config.into(),
        }
    }
}

fn half_hello(config: Arc<ClientConfig>) -> Vec<u8> {
    let name = ServerName::try_from("bench.example").unwrap();
    let mut hello = Vec::new();
    ClientConnection::new(config, name).unwrap().write_tls(&mut hello).unwrap();
    hello.truncate(hello.len() / 2);
    hello
}

fn client_config(authority: &str) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    // Each connection stands for a client of its own, which has no earlier session.
    config.resumption = Resumption::disabled();
    config
}
