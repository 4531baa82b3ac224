//! One connection: its requests, one after the other, until it closes.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::body::{PacedBody, ReceivedBody};
use super::bounds::Bounds;
use super::gate::Gate;
use super::gate_state::GateState;
use super::places::{Place, Places};
use super::proxies::Proxies;
use super::tls::TlsTerminator;
use super::{Arrival, Reception};
use crate::domain::client_certificate::ClientCertificate;

/// What all connections of a door share.
pub struct Shared<R> {
    pub bounds: Arc<Bounds>,
    pub proxies: Proxies,
    /// `None` if requests come without TLS.
    pub tls: Option<Arc<TlsTerminator>>,
    pub places: Arc<Places>,
    pub reception: R,
    /// Cancelled when the door stops: a connection then closes after the request that it has begun.
    pub stopping: CancellationToken,
}

/// Who is at the other end.
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: IpAddr,
    /// What the client has proved to own.
    pub certificate: Option<Arc<ClientCertificate>>,
    pub place: Arc<Place>,
}

impl<R: Reception> Shared<R> {
    pub async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: S, peer: Peer) {
        let mut gate = Gate::new(stream, peer.place.clone(), self.bounds.clone());
        let is_begun = tokio::select! {
            // A request that is here already is answered.
            biased;
            is_begun = gate.first_head() => is_begun,
            () = self.stopping.cancelled() => false,
        };
        if is_begun {
            // On the heap, so that a connection that waits for its first head costs no more than its gate.
            Box::pin(self.converse(gate, peer)).await;
        }
    }

    async fn converse<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, gate: Gate<S>, peer: Peer) {
        let state = gate.state();
        let served = AtomicU64::new(0);
        let service = service_fn(|request| {
            let is_last = served.fetch_add(1, Ordering::Relaxed) + 1 >= self.bounds.requests_per_connection;
            Box::pin(self.answer(request, state.clone(), &peer, is_last))
        });
        let mut http = http1::Builder::new();
        // hyper's own checks are wider than the gate's, which have passed.
        http.half_close(true)
            .max_headers(self.bounds.head_fields + 1)
            .max_buf_size((self.bounds.head_bytes + 1).next_power_of_two().max(8 << 10));
        let mut connection = http.serve_connection(TokioIo::new(gate), service);
        let mut is_stopping = false;
        let ended = loop {
            tokio::select! {
                // hyper must have seen a head that is here before it is asked to end.
                biased;
                ended = &mut connection => break ended,
                () = self.stopping.cancelled(), if !is_stopping => {
                    is_stopping = true;
                    std::pin::Pin::new(&mut connection).graceful_shutdown();
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
        connection.into_parts().io.into_inner().close().await;
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        state: Arc<GateState>,
        peer: &Peer,
        is_last: bool,
    ) -> Result<Response<PacedBody>, Infallible> {
        let (parts, rest) = request.into_parts();
        let received = match state.refusal() {
            Some(refusal) => Err(refusal),
            None => ReceivedBody::receive(rest, state.clone()).await,
        };
        let (body, refusal) = match received {
            Ok(body) => (body, None),
            Err(refusal) => (ReceivedBody::empty(), Some(refusal)),
        };
        // Whoever sends a large body slowly gives way, unless its token is believed.
        if let ReceivedBody::Whole(_) = body {
            peer.place.is_answered();
        }
        let address = self.proxies.client_of(&parts.headers, peer.address);
        let (certificate, place) = (peer.certificate.clone(), peer.place.clone());
        let arrival = Arrival { parts, body, address, certificate, place, refusal };
        let mut response = self.reception.receive(arrival).await;
        let is_streamed = response.body().is_streamed();
        state.watch(is_streamed);
        peer.place.waits_again(is_streamed);
        if is_last || state.is_last() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response.map(|body| PacedBody { body, gate: state }))
    }
}
