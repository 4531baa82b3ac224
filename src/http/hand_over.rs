//! Hands a request from the door to Rocket, in this process, and Rocket's response back.
//!
//! Uses Rocket's local client, the public way to its dispatch. Rocket's own server has no bounds
//! and must not be started.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::Response as Answer;
use hyper::body::Bytes;
use hyper::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use hyper::http::StatusCode;
use rocket::http::uri::Origin;
use rocket::http::{Cookie, Header, Method, Status};
use rocket::local::asynchronous::{Client, LocalRequest, LocalResponse};
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, oneshot};
use tokio_util::bytes::BytesMut;

use crate::door::{ANSWER_PART_BYTES, AnswerBody, Arrival, Reception, Refusal};
use crate::http::edge::connection::Connection;
use crate::http::request::received;

/// A body of at most this size is sent whole. It stays in memory as long as its client does not take
/// it, so larger ones are sent in parts.
const WHOLE_MAX_BYTES: usize = 64 << 10;
/// No route has this path, so the catcher answers.
const REFUSED: &str = "/-/refused";

/// Rocket, behind the door.
#[derive(Debug, Clone)]
pub struct RocketReception(Arc<Client>);

impl RocketReception {
    pub fn new(client: Client) -> Self {
        Self(Arc::new(client))
    }

    /// Ends what waits for Rocket's shutdown.
    pub fn stop(&self) {
        self.0.rocket().shutdown().notify();
    }
}

impl Reception for RocketReception {
    async fn receive(&self, arrival: Arrival) -> Answer<AnswerBody> {
        let (sender, answer) = oneshot::channel();
        // A task of its own, so that a client that goes away cancels nothing.
        tokio::spawn(hand_over(self.0.clone(), arrival, sender));
        answer.await.unwrap_or_else(|_| failed())
    }
}

async fn hand_over(client: Arc<Client>, arrival: Arrival, answer: oneshot::Sender<Answer<AnswerBody>>) {
    let is_head = arrival.parts.method == hyper::Method::HEAD;
    // On the heap, so that a response that is long sent does not keep the room for answering it.
    let response = Box::pin(request(&client, arrival).dispatch()).await;
    reply(response, is_head, answer).await;
}

fn request(client: &Client, arrival: Arrival) -> LocalRequest<'_> {
    let Arrival { parts, body, address, certificate, place, mut refusal } = arrival;
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let (method, target) = match (Method::from_hyp(&parts.method), Origin::parse_owned(target.to_owned())) {
        (Some(method), Ok(target)) if refusal.is_none() => (method, target),
        (_, parsed) => {
            if parsed.is_err() {
                refusal = Some(Refusal::Malformed("The target of the request is not a valid path."));
            }
            (Method::Get, Origin::parse(REFUSED).expect("a path"))
        }
    };
    let mut request = client.req(method, target);
    if refusal.is_none() {
        for (name, value) in &parts.headers {
            // The door has checked the headers that matter. Others that cannot be read mean nothing.
            if let Ok(value) = std::str::from_utf8(value.as_bytes()) {
                request.add_header(Header::new(name.as_str().to_owned(), value.to_owned()));
            }
        }
        let sent = parts.headers.get(hyper::header::COOKIE).and_then(|cookies| cookies.to_str().ok());
        for cookie in sent.into_iter().flat_map(|cookies| cookies.split(';')) {
            if let Ok(cookie) = Cookie::parse_encoded(cookie.trim().to_owned()) {
                request = request.cookie(cookie);
            }
        }
    }
    // Rocket wants a port as well, which nothing uses.
    request.set_remote(SocketAddr::new(address, 0));
    request.inner().local_cache(|| Connection { address, certificate, refusal, place: Some(place) });
    received::keep(request.inner(), body);
    request
}

async fn reply(response: LocalResponse<'_>, is_head: bool, answer: oneshot::Sender<Answer<AnswerBody>>) {
    let mut head = head_of(&response);
    let announced_bytes = response.body().preset_size();
    if let Some(bytes) = announced_bytes {
        head.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(bytes));
    }
    // If the client is gone, nobody receives the answer.
    let is_withheld = is_head || response.status() == Status::NotModified;
    if is_withheld || response.body().is_none() {
        let body = if is_withheld { AnswerBody::Withheld } else { AnswerBody::Whole(None) };
        let _ = answer.send(head.map(|()| body));
    } else if let Some(bytes) = announced_bytes.filter(|bytes| *bytes <= WHOLE_MAX_BYTES) {
        let whole = read(response, bytes).await.map(|body| head.map(|()| AnswerBody::whole(body)));
        let _ = answer.send(whole.unwrap_or_else(|_| failed()));
    } else {
        let (sender, parts) = mpsc::channel(1);
        if answer.send(head.map(|()| AnswerBody::Streamed(parts))).is_ok() {
            stream(response, sender).await;
        }
    }
}

fn head_of(response: &LocalResponse<'_>) -> Answer<()> {
    let mut head = Answer::new(());
    *head.status_mut() = StatusCode::from_u16(response.status().code).unwrap_or_default();
    for header in response.headers().iter() {
        let name = HeaderName::from_bytes(header.name().as_str().as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(header.value().as_bytes())) {
            head.headers_mut().append(name, value);
        }
    }
    head
}

/// The bytes are in memory already, so this does not wait.
async fn read(mut response: LocalResponse<'_>, bytes: usize) -> io::Result<Bytes> {
    let mut body = Vec::with_capacity(bytes);
    response.read_to_end(&mut body).await?;
    Ok(body.into())
}

/// Sends the body while it is made. The end of the receiver ends it.
async fn stream(mut response: LocalResponse<'_>, parts: mpsc::Sender<io::Result<Bytes>>) {
    // The next part is read once there is room for it, so none is held here.
    while let Ok(room) = parts.reserve().await {
        let mut part = BytesMut::with_capacity(ANSWER_PART_BYTES);
        let read = tokio::select! {
            read = response.read_buf(&mut part) => read,
            () = parts.closed() => return,
        };
        match read {
            Ok(0) => return,
            Ok(_) => room.send(Ok(part.freeze())),
            Err(error) => {
                room.send(Err(error));
                return;
            }
        }
    }
}

/// The answer if Rocket did not give one. The cause was logged by the panic hook.
fn failed() -> Answer<AnswerBody> {
    let mut answer = Answer::new(AnswerBody::Whole(None));
    *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    answer
}
