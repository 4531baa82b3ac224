//! Accepts connections and gives each its place.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::Reception;
use super::bounds::{self, Bound, Bounds};
use super::connection::{Peer, Shared};
use super::files::connections_that_fit;
use super::places::{Place, PlaceLimits, Places, TELL_EVERY};
use super::proxies::Proxies;
use super::proxy_protocol;
use super::tls::{LOOK_EVERY, TlsTerminator};

/// Connections that the system accepts before this process does.
const BACKLOG: u32 = 4_096;
/// What the system may hold of an answer that the client has not taken. It lets a connection send
/// again when a third of twice this is free: more than 64 kB would hide a client that reads slowly
/// but goes on reading, and memory of the system would be held by those who do not read.
const UNSENT_BYTES: u32 = 96 << 10;
/// The pause after a failed accept, so that the reason can pass: most often that all files are open.
const ACCEPT_AGAIN: Duration = Duration::from_millis(20);
/// How many connections are told at once that there is no place for them. More are just closed.
const TOLD_MAX: usize = 64;
const TOLD_WITHIN: Duration = Duration::from_millis(500);
/// The answer to a connection without a place. It is sent before anything is read.
const NO_PLACE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/problem+json\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\n\
    retry-after: 1\r\nconnection: close\r\ncontent-length: 134\r\n\r\n\
    {\"type\":\"/problems/busy\",\"title\":\"The server is busy\",\"status\":503,\"detail\":\"This node has as many \
    connections as it can serve.\"}     ";

#[derive(Debug, Clone)]
pub struct DoorSettings {
    pub bounds: Bounds,
    pub proxies: Proxies,
    /// `None` if requests come without TLS.
    pub tls: Option<Arc<TlsTerminator>>,
}

/// A listening door. Connections wait until it is served.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    address: SocketAddr,
    settings: DoorSettings,
    places: Arc<Places>,
}

impl Door {
    pub fn open(address: SocketAddr, settings: DoorSettings) -> io::Result<Self> {
        bounds::register();
        let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
        socket.set_reuseaddr(true)?;
        // Its connections inherit this.
        socket.set_send_buffer_size(UNSENT_BYTES)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        let wanted = settings.bounds.connections;
        let connections = connections_that_fit(wanted);
        if connections < wanted {
            tracing::warn!(
                connections,
                wanted,
                "the limit of open files allows fewer connections than tollgate.listener.connections_max"
            );
        }
        let per_address = settings.bounds.connections_per_address;
        let places = Places::new(PlaceLimits { connections, per_address });
        Ok(Self { listener, address, settings, places })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections until `stopping` is cancelled, then waits for requests in progress, at
    /// most for `grace`.
    pub async fn serve(self, reception: impl Reception, stopping: CancellationToken, grace: Duration) {
        let Self { listener, settings: DoorSettings { bounds, proxies, tls }, places, .. } = self;
        let followed = tls.clone().map(|tls| tokio::spawn(tls.follow_files(LOOK_EVERY)));
        let _followed = followed.map(AbortOnDropHandle::new);
        let bounds = Arc::new(bounds);
        let shared = Arc::new(Shared { bounds, proxies, tls, places, reception, stopping: stopping.clone() });
        let open = TaskTracker::new();
        let ended = CancellationToken::new();
        let told = Arc::new(Semaphore::new(TOLD_MAX));
        let admit = |stream: TcpStream, remote: SocketAddr| {
            metrics::counter!("connections_accepted_total").increment(1);
            // Answers are written whole, so waiting for more to send would only delay them.
            let _ = stream.set_nodelay(true);
            let (shared, ended, told) = (shared.clone(), ended.clone(), told.clone());
            open.spawn(async move {
                tokio::select! {
                    () = shared.welcome(stream, remote.ip().to_canonical(), &told) => {}
                    () = ended.cancelled() => {}
                }
            });
        };
        let mut trouble = AcceptTrouble::default();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, remote)) => admit(stream, remote),
                    Err(error) => trouble.wait(&error).await,
                },
                () = stopping.cancelled() => break,
            }
        }
        // The system has accepted these already, perhaps with a request.
        while let Some(Ok((stream, remote))) = listener.accept().now_or_never() {
            admit(stream, remote);
        }
        drop(listener);
        open.close();
        if timeout(grace, open.wait()).await.is_err() {
            tracing::warn!(connections = open.len(), "requests in progress were cut off");
            ended.cancel();
            open.wait().await;
        }
    }
}

impl<R: Reception> Shared<R> {
    /// Finds out who is at the other end, gives the connection a place and serves it.
    async fn welcome(&self, mut stream: TcpStream, remote: IpAddr, told: &Semaphore) {
        let is_proxy = self.proxies.include(remote);
        let named = if is_proxy && self.proxies.protocol {
            let named = tokio::select! {
                named = timeout(self.bounds.handshake, proxy_protocol::client(&mut stream)) => named,
                () = self.stopping.cancelled() => return,
            };
            match named {
                Ok(Ok(named)) => named,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a proxy sent no header of the PROXY protocol");
                    return;
                }
                Err(_late) => return Bound::Handshake.count(),
            }
        } else {
            None
        };
        let address = named.unwrap_or(remote);
        let Some(place) = self.places.enter(address, is_proxy && named.is_none()) else {
            Bound::Connections.count();
            if self.tls.is_none() {
                tell(stream, told).await;
            }
            return;
        };
        match &self.tls {
            None => self.serve(stream, Peer { address, certificate: None, place }).await,
            Some(tls) => Box::pin(self.serve_by_tls(tls, stream, address, place)).await,
        }
    }

    async fn serve_by_tls(&self, tls: &TlsTerminator, stream: TcpStream, address: IpAddr, place: Arc<Place>) {
        let shaken = tokio::select! {
            shaken = timeout(self.bounds.handshake, tls.accept(stream)) => shaken,
            () = place.giving_way() => return Bound::Place.count(),
            () = self.stopping.cancelled() => return,
        };
        match shaken {
            Ok(Ok((stream, certificate))) => self.serve(stream, Peer { address, certificate, place }).await,
            Ok(Err(error)) => {
                metrics::counter!("tls_handshakes_failed_total").increment(1);
                tracing::debug!(%error, "a TLS handshake failed");
            }
            Err(_late) => Bound::Handshake.count(),
        }
    }
}

/// Connections that could not be accepted.
#[derive(Default)]
struct AcceptTrouble {
    told_at: Option<Instant>,
}

impl AcceptTrouble {
    /// Gives the reason time to pass.
    async fn wait(&mut self, error: &io::Error) {
        // The client went away before it was accepted.
        if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
            return;
        }
        Bound::Files.count();
        if self.told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            self.told_at = Some(Instant::now());
            tracing::warn!(%error, "connections cannot be accepted");
        }
        tokio::time::sleep(ACCEPT_AGAIN).await;
    }
}

/// Tells a client that there is no place for its connection. If many are told already, it closes
/// without a word.
async fn tell(mut stream: TcpStream, told: &Semaphore) {
    let Ok(_permit) = told.try_acquire() else { return };
    let telling = async {
        stream.write_all(NO_PLACE).await?;
        stream.shutdown().await?;
        // The client's system may discard the answer if its request is not read.
        let mut unread = vec![0; 1024];
        while stream.read(&mut unread).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = timeout(TOLD_WITHIN, telling).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixed_answer_has_the_length_that_it_says() {
        let text = std::str::from_utf8(NO_PLACE).expect("ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a body");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        let problem: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(problem["status"], 503);
    }
}
