//! The settings of both sides, and the files by which they prove to each other who they are.

use std::path::PathBuf;
use std::time::Duration;

use metrics::{counter, gauge};
use serde::Deserialize;
use thiserror::Error;
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};
use zeroize::Zeroizing;

use super::address::WorkerAddress;

/// Whoever has not shown a certificate by then is cut off.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// What decides a payment if no worker can.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// The engine in this process.
    #[default]
    InProcess,
    /// Each rule counts as failed, so its own failure outcome decides.
    FailureOutcome,
}

/// The keys of `[*.tollgate.rules.tls]`. Workers and those who ask them use the same ones.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerFiles {
    /// A PEM file with the own certificate, and those between it and its authority.
    pub certificates: PathBuf,
    /// A PEM file with the key of the certificate.
    pub key: PathBuf,
    /// A PEM file with the authorities that issue the other side's certificates.
    pub authorities: PathBuf,
}

#[derive(Debug, Error)]
#[error("`tollgate.rules.tls.{key}`: the file {} cannot be read: {source}", path.display())]
pub struct PeerFilesError {
    key: &'static str,
    path: PathBuf,
    source: std::io::Error,
}

/// What the files hold.
#[derive(Clone)]
pub struct PeerIdentity {
    certificates: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    authorities: Vec<u8>,
}

/// Does not show the key.
impl std::fmt::Debug for PeerIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PeerIdentity")
    }
}

impl PeerIdentity {
    pub fn read(files: &PeerFiles) -> Result<Self, PeerFilesError> {
        let contents = |key, path: &PathBuf| {
            std::fs::read(path).map_err(|source| PeerFilesError { key, path: path.clone(), source })
        };
        Ok(Self {
            certificates: contents("certificates", &files.certificates)?,
            key: Zeroizing::new(contents("key", &files.key)?),
            authorities: contents("authorities", &files.authorities)?,
        })
    }

    /// Of a worker. It answers nobody who does not prove to belong to the authorities.
    pub(super) fn of_server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(self.identity())
            .client_ca_root(self.authority())
            .timeout(HANDSHAKE_WITHIN)
    }

    /// Of those who ask a worker by this name.
    pub(super) fn of_client(&self, name: &str) -> ClientTlsConfig {
        ClientTlsConfig::new().identity(self.identity()).ca_certificate(self.authority()).domain_name(name)
    }

    fn identity(&self) -> Identity {
        Identity::from_pem(&self.certificates, self.key.as_slice())
    }

    fn authority(&self) -> Certificate {
        Certificate::from_pem(&self.authorities)
    }
}

/// How workers are asked.
#[derive(Debug, Clone)]
pub struct RemoteSettings {
    pub workers: Vec<WorkerAddress>,
    pub identity: Option<PeerIdentity>,
}

pub(super) fn measure_workers(well: usize, all: usize) {
    gauge!("tollgate_rule_workers", "state" => "well").set(well as f64);
    gauge!("tollgate_rule_workers", "state" => "unwell").set(all.saturating_sub(well) as f64);
}

/// Makes the series appear before anything happens. Processes that ask no workers have them too.
pub fn register_metrics() {
    measure_workers(0, 0);
    counter!("tollgate_rule_worker_failures_total").increment(0);
    for result in ["answered", "asked_again", "fallback", "late"] {
        counter!("tollgate_rule_worker_calls_total", "result" => result).increment(0);
    }
}
