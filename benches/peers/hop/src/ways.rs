//! The ways to serve the application. Each prints its address and serves until its process is
//! killed. They must stay as quick as they can easily be: no checks, no times, no limits.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rocket::http::{Header, Method};
use rocket::local::asynchronous::Client;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::application::application;

pub async fn plain() {
    let rocket = application(|port| println!("127.0.0.1:{port}"));
    rocket.launch().await.unwrap();
}

/// Accepts connections and lets `serve` answer their requests.
async fn listen<S, F, B, E>(serve: S)
where
    S: Fn(SocketAddr, Request<Incoming>) -> F + Copy + Send + 'static,
    F: Future<Output = Result<Response<B>, E>> + Send,
    B: hyper::body::Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    loop {
        let (stream, peer) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let service = service_fn(move |request| serve(peer, request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

thread_local! {
    /// Connections to Rocket's own server that have no request at the moment, for each worker.
    static KEPT: RefCell<Vec<SendRequest<Incoming>>> = const { RefCell::new(Vec::new()) };
}

pub async fn forwarded() {
    let (ready, port) = oneshot::channel();
    tokio::spawn(application(|port| ready.send(port).unwrap()).launch());
    let port = port.await.unwrap();
    listen(move |_, request| forward(port, request)).await;
}

async fn forward(port: u16, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let kept = KEPT.with_borrow_mut(Vec::pop);
    let mut sender = match kept {
        Some(sender) => sender,
        None => connect(port).await?,
    };
    let (head, body) = sender.send_request(request).await?.into_parts();
    // Read to its end, so that the connection is free again.
    let body = body.collect().await?.to_bytes();
    sender.ready().await?;
    KEPT.with_borrow_mut(|kept| kept.push(sender));
    Ok(Response::from_parts(head, Full::new(body)))
}

async fn connect(port: u16) -> Result<SendRequest<Incoming>, hyper::Error> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

pub async fn handed_over() {
    let client: &'static Client = Box::leak(Box::new(Client::untracked(application(|_| {})).await.unwrap()));
    listen(move |peer, request| async move {
        // A task for each request: it ends by itself if the client goes away, as in Rocket's server.
        let answer = tokio::spawn(hand_over(client, peer, request)).await.unwrap();
        Ok::<_, Infallible>(answer)
    })
    .await;
}

async fn hand_over(client: &Client, peer: SocketAddr, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let method: Method = head.method.as_str().parse().unwrap();
    let mut local = client.req(method, head.uri.path_and_query().unwrap().as_str()).remote(peer).body(body);
    for (name, value) in &head.headers {
        // The local request's own method wants headers that live for ever.
        local.inner_mut().add_header(Header::new(name.as_str(), value.to_str().unwrap()));
    }
    let mut answer = local.dispatch().await;
    let mut response = Response::builder().status(answer.status().code);
    for header in answer.headers().iter() {
        response = response.header(header.name().as_str(), header.value());
    }
    let length = answer.body().preset_size().unwrap_or_default();
    let mut body = Vec::with_capacity(length);
    answer.read_to_end(&mut body).await.unwrap();
    response.body(Full::new(body.into())).unwrap()
}
