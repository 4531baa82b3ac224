//! The door: accepts connections, bounds each of them, checks the head of each request byte by
//! byte, and hands complete requests to a [`Reception`].
//!
//! Knows nothing of routes, tokens or JSON; whoever receives a request answers it, refusals
//! included. Time limits of connections belong here and nowhere else.

mod body;
mod bounds;
mod connection;
mod fields;
mod files;
mod gate;
mod gate_state;
mod head;
mod listener;
mod places;
mod proxies;
mod proxy_protocol;
mod refusal;
pub mod tls;

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use hyper::Response;
use hyper::http::request::Parts;

use crate::domain::client_certificate::ClientCertificate;

pub use body::{ANSWER_PART_BYTES, AnswerBody, BodyError, ReceivedBody};
pub use bounds::Bounds;
pub use listener::{Door, DoorSettings};
pub use places::Place;
pub use proxies::{ForwardingHeader, Network, Proxies};
pub use refusal::Refusal;

/// A request with a checked head, or the refusal of one that was not.
#[derive(Debug)]
pub struct Arrival {
    /// Of a refused request, these are not what the client sent.
    pub parts: Parts,
    pub body: ReceivedBody,
    /// Of the client; if a named proxy forwarded the request, as the proxy says.
    pub address: IpAddr,
    /// What the client has proved to own. `None` without TLS, or if the client showed none.
    pub certificate: Option<Arc<ClientCertificate>>,
    pub place: Arc<Place>,
    pub refusal: Option<Refusal>,
}

/// Answers requests. A refused request must be answered too.
pub trait Reception: Send + Sync + 'static {
    fn receive(&self, arrival: Arrival) -> impl Future<Output = Response<AnswerBody>> + Send;
}
