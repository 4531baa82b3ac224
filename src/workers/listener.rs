//! Listens for those who ask this worker, and serves them until it is told to stop.

use std::fs::{File, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use rustix::fs::{FlockOperation, flock};
use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::service::RoutesBuilder;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use uuid::Uuid;

use super::address::ListenAddress;
use super::messages::DESCRIPTORS;
use super::messages::rule_engine_server::RuleEngineServer;
use super::service::{REQUEST_MAX_BYTES, RuleService, only_of, turns};
use super::settings::PeerIdentity;
use crate::rules::RuleEngine;

/// Whoever opens a socket of the file system must belong to the user or the group of this process.
const SOCKET_MODE: u32 = 0o660;
/// A peer that is gone without a word is noticed within this time.
const ALIVE_EVERY: Duration = Duration::from_secs(10);
const ALIVE_WITHIN: Duration = Duration::from_secs(5);
const ACCEPT_AGAIN: Duration = Duration::from_millis(20);

#[derive(Debug, Error)]
pub enum RuleListenerError {
    #[error("`tollgate.rules.listen`: {address} cannot be listened at: {source}")]
    Address { address: ListenAddress, source: io::Error },
    #[error(
        "`tollgate.rules.listen`: {address} can be reached from other machines; expected \
         `tollgate.rules.tls` too"
    )]
    NeedsTls { address: ListenAddress },
    #[error("`tollgate.rules.tls` cannot be used: {0}")]
    Tls(tonic::transport::Error),
}

enum Listening {
    Tcp(TcpListener),
    Unix(OwnedSocket),
}

/// A worker whose address is bound. Connections wait until it serves.
pub struct RuleListener {
    listening: Listening,
    address: ListenAddress,
    server: Server,
}

impl std::fmt::Debug for RuleListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RuleListener").field("address", &self.address).finish_non_exhaustive()
    }
}

impl RuleListener {
    pub async fn open(
        address: &ListenAddress,
        identity: Option<&PeerIdentity>,
    ) -> Result<Self, RuleListenerError> {
        let has_tls = identity.is_some() && matches!(address, ListenAddress::Tcp(_));
        if !has_tls && !address.is_local() {
            return Err(RuleListenerError::NeedsTls { address: address.clone() });
        }
        let mut server = Server::builder()
            .http2_keepalive_interval(Some(ALIVE_EVERY))
            .http2_keepalive_timeout(Some(ALIVE_WITHIN))
            .tcp_nodelay(true);
        if let (Some(identity), ListenAddress::Tcp(_)) = (identity, address) {
            server = server.tls_config(identity.of_server()).map_err(RuleListenerError::Tls)?;
        }
        let not_bound = |source| RuleListenerError::Address { address: address.clone(), source };
        let (listening, address) = match address {
            ListenAddress::Tcp(wanted) => {
                let listener = TcpListener::bind(wanted).await.map_err(not_bound)?;
                let bound: SocketAddr = listener.local_addr().map_err(not_bound)?;
                (Listening::Tcp(listener), ListenAddress::Tcp(bound))
            }
            ListenAddress::Unix(path) => (
                Listening::Unix(OwnedSocket::bind(path).map_err(not_bound)?),
                ListenAddress::Unix(path.clone()),
            ),
        };
        Ok(Self { listening, address, server })
    }

    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// Serves until `stopping` is cancelled and the calls in progress are answered. From `leaving` on,
    /// callers are told to ask others. `start` is another one after each start.
    pub async fn serve(
        mut self,
        engine: Arc<dyn RuleEngine>,
        start: Uuid,
        leaving: CancellationToken,
        stopping: CancellationToken,
    ) -> Result<(), tonic::transport::Error> {
        let (health, health_service) = tonic_health::server::health_reporter();
        let service = RuleService { engine, start, turns: turns(), leaving: leaving.clone() };
        let service = RuleEngineServer::new(service).max_decoding_message_size(REQUEST_MAX_BYTES);
        health.set_serving::<RuleEngineServer<RuleService>>().await;
        let mut routes = RoutesBuilder::default();
        routes.add_service(InterceptedService::new(service, only_of(start))).add_service(health_service);
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1();
        match reflection {
            Ok(reflection) => _ = routes.add_service(reflection),
            Err(error) => tracing::error!(%error, "the gRPC service cannot describe itself"),
        }
        let router = self.server.add_routes(routes.routes());
        let left = async move {
            leaving.cancelled().await;
            health.set_not_serving::<RuleEngineServer<RuleService>>().await;
        };
        let _tells = AbortOnDropHandle::new(tokio::spawn(left));
        let stopped = stopping.cancelled_owned();
        match self.listening {
            Listening::Tcp(listener) => {
                let incoming = TcpListenerStream::new(listener).then(async |accepted| match accepted {
                    Ok(stream) => stream.set_nodelay(true).map(|()| stream),
                    Err(error) => Err(after_a_pause(error).await),
                });
                // Boxed, since a stream must not be moved while it waits.
                let incoming = incoming.boxed();
                router.serve_with_incoming_shutdown(incoming, stopped).await
            }
            Listening::Unix(OwnedSocket { path, listener, _lock }) => {
                let incoming = UnixListenerStream::new(listener).then(async |accepted| match accepted {
                    Ok(stream) => Ok(stream),
                    Err(error) => Err(after_a_pause(error).await),
                });
                let incoming = incoming.boxed();
                let served = router.serve_with_incoming_shutdown(incoming, stopped).await;
                let _ = std::fs::remove_file(path);
                served
            }
        }
    }
}

/// Gives the reason time to pass, most often that all files are open: the server accepts again at once.
async fn after_a_pause(error: io::Error) -> io::Error {
    tokio::time::sleep(ACCEPT_AGAIN).await;
    error
}

/// A socket of the file system, and the lock that says whose it is.
struct OwnedSocket {
    path: PathBuf,
    listener: UnixListener,
    _lock: File,
}

impl OwnedSocket {
    /// Takes the place of a socket that an earlier process left behind. Fails if its process lives.
    fn bind(path: &Path) -> io::Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(folder)?;
        let lock = File::create(beside(path, ".lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| io::ErrorKind::AddrInUse)?;
        // Bound where nobody else comes, and moved once it has its mode.
        let hidden = tempfile::Builder::new().prefix(".rules").tempdir_in(folder)?;
        let unready = hidden.path().join("s");
        let listener = UnixListener::bind(&unready)?;
        std::fs::set_permissions(&unready, Permissions::from_mode(SOCKET_MODE))?;
        std::fs::rename(&unready, path)?;
        Ok(Self { path: path.to_owned(), listener, _lock: lock })
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
