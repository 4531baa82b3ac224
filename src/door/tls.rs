//! Ends TLS with a certificate from files, which may be replaced while the server runs.
//!
//! A connection keeps the certificate of its handshake. A handshake must never see a certificate with
//! the key of another.

mod files;
mod peer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

use crate::domain::client_certificate::ClientCertificate;
use crate::domain::time::World;
use files::{TlsFiles, Usable};

/// How often the files are compared with what is in use.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The results of looks at other files, in metrics.
const REPLACED: &str = "replaced";
const REFUSED: &str = "refused";

/// Whether a client must show a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    #[default]
    Optional,
    Required,
}

/// The keys of `[*.tollgate.tls]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// A PEM file with the server's certificate, and those between it and its authority.
    pub certificates: PathBuf,
    /// A PEM file with the key of the certificate.
    pub key: PathBuf,
    /// A PEM file with the authorities of clients' certificates. Without it, clients show none.
    pub client_authorities: Option<PathBuf>,
    #[serde(default)]
    pub client_certificates: ClientCertificates,
}

/// Names the key of the setting. Never quotes a file's contents.
#[derive(Debug, Error)]
pub enum TlsError {
    #[error("`tollgate.tls.{key}`: the file {} cannot be read: {source}", path.display())]
    Unreadable { key: &'static str, path: PathBuf, source: io::Error },
    #[error("`tollgate.tls.{key}`: the file {} {fault}", path.display())]
    Contents { key: &'static str, path: PathBuf, fault: String },
    #[error("`tollgate.tls.key`: the key does not belong to the certificate in `tollgate.tls.certificates`")]
    Mismatch,
    #[error(
        "`tollgate.tls.client_certificates` is \"required\"; expected `tollgate.tls.client_authorities` too"
    )]
    NoClientAuthorities,
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] tokio_rustls::rustls::Error),
}

impl TlsError {
    fn contents(key: &'static str, path: &Path, fault: impl Into<String>) -> Self {
        Self::Contents { key, path: path.to_owned(), fault: fault.into() }
    }
}

/// What a connection keeps of an answer that its client does not take: one record of TLS.
const UNSENT_MAX_BYTES: usize = 16 << 10;

/// What a look at the files led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    Unchanged,
    Replaced,
    /// The files cannot be used, which may be because they are just being replaced.
    Unsettled,
    /// The files cannot be used. The certificate before stays in use.
    Refused,
}

/// The files that could not be used, if any.
#[derive(Debug, Default)]
enum Trouble {
    #[default]
    None,
    /// They were seen once. `None` if they could not be read.
    Seen(Option<TlsFiles>),
    Told(Option<TlsFiles>),
}

#[derive(Debug)]
struct Looks {
    in_use: TlsFiles,
    trouble: Trouble,
}

pub struct TlsTerminator {
    settings: TlsSettings,
    world: World,
    active: RwLock<Arc<ServerConfig>>,
    looks: Mutex<Looks>,
}

impl std::fmt::Debug for TlsTerminator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsTerminator").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl TlsTerminator {
    pub fn open(settings: &TlsSettings, world: World) -> Result<Self, TlsError> {
        if settings.client_certificates == ClientCertificates::Required
            && settings.client_authorities.is_none()
        {
            return Err(TlsError::NoClientAuthorities);
        }
        let in_use = TlsFiles::read(settings)?;
        let usable = in_use.prepare(settings)?;
        let opened = Self {
            settings: settings.clone(),
            world,
            active: RwLock::new(usable.config.clone()),
            looks: Mutex::new(Looks { in_use, trouble: Trouble::None }),
        };
        metrics::counter!("tls_handshakes_failed_total").increment(0);
        for result in [REPLACED, REFUSED] {
            metrics::counter!("tls_reloads_total", "result" => result).increment(0);
        }
        opened.note_end(&usable);
        Ok(opened)
    }

    /// Makes the handshake. Gives the certificate that the client has proved to own.
    pub async fn accept<S>(&self, stream: S) -> io::Result<(TlsStream<S>, Option<Arc<ClientCertificate>>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.active.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut stream = TlsAcceptor::from(config).accept(stream).await?;
        stream.get_mut().1.set_buffer_limit(Some(UNSENT_MAX_BYTES));
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certificate = shown.map(peer::client_certificate).transpose()?;
        Ok((stream, certificate.map(Arc::new)))
    }

    /// Looks for other files until the task is dropped. Looking waits for the disk, so it runs on a
    /// blocking thread.
    pub async fn follow_files(self: Arc<Self>, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            let terminator = self.clone();
            if let Err(error) = tokio::task::spawn_blocking(move || terminator.reload_if_changed()).await {
                tracing::error!(%error, "looking for a new TLS certificate failed");
            }
        }
    }

    /// Uses the files for new handshakes if they are others than before. Files that cannot be used are
    /// told at the second look, once, since a certificate and its key are replaced one after the
    /// other.
    pub fn reload_if_changed(&self) -> Reload {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let read = TlsFiles::read(&self.settings);
        if read.as_ref().is_ok_and(|files| *files == looks.in_use) {
            looks.trouble = Trouble::None;
            return Reload::Unchanged;
        }
        let (files, error) = match read {
            Err(error) => (None, error),
            Ok(files) if matches!(&looks.trouble, Trouble::Told(Some(told)) if *told == files) => {
                return Reload::Unchanged;
            }
            Ok(files) => match files.prepare(&self.settings) {
                Ok(usable) => {
                    self.exchange(&usable);
                    *looks = Looks { in_use: files, trouble: Trouble::None };
                    return Reload::Replaced;
                }
                Err(error) => (Some(files), error),
            },
        };
        self.refuse(&mut looks.trouble, files, &error)
    }

    fn refuse(&self, trouble: &mut Trouble, files: Option<TlsFiles>, error: &TlsError) -> Reload {
        match trouble {
            Trouble::Told(before) if *before == files => Reload::Unchanged,
            Trouble::Seen(before) if *before == files => {
                metrics::counter!("tls_reloads_total", "result" => REFUSED).increment(1);
                tracing::error!(%error, "the new TLS certificate cannot be used; the one before stays in use");
                *trouble = Trouble::Told(files);
                Reload::Refused
            }
            _ => {
                *trouble = Trouble::Seen(files);
                Reload::Unsettled
            }
        }
    }

    fn exchange(&self, usable: &Usable) {
        *self.active.write().unwrap_or_else(PoisonError::into_inner) = usable.config.clone();
        metrics::counter!("tls_reloads_total", "result" => REPLACED).increment(1);
        tracing::info!("the TLS certificate was replaced");
        self.note_end(usable);
    }

    #[allow(clippy::cast_precision_loss)]
    fn note_end(&self, usable: &Usable) {
        metrics::gauge!("tls_certificate_expires_timestamp_seconds").set(usable.expires_at_s as f64);
        if usable.expires_at_s <= self.world.now_ms() / 1_000 {
            tracing::warn!("the TLS certificate has expired; clients will refuse it");
        }
    }
}
