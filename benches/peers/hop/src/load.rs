//! The clients: plain hyper, each on a connection that it keeps. They must only send what a client
//! of Tollgate sends.

use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::application::PATH;

const BODY_BYTES: usize = 600;
/// As long as a token signed with Ed25519.
const TOKEN_BYTES: usize = 420;

pub struct Latencies(Vec<Duration>);

impl Latencies {
    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub fn at_us(&self, share: f64) -> f64 {
        self.0[((self.0.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6
    }
}

/// Each client sends its next request when it has the last response.
pub async fn closed_loop(address: &str, connections: usize, measured: Duration) -> Latencies {
    let begun = Instant::now();
    let clients = (0..connections).map(|_| {
        let address = address.to_owned();
        tokio::spawn(async move {
            let mut sender = connect(&address).await;
            let mut latencies = Vec::new();
            while begun.elapsed() < measured {
                let sent = Instant::now();
                pay(&mut sender).await;
                latencies.push(sent.elapsed());
            }
            latencies
        })
    });
    let mut all = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        all.extend(client.await.unwrap());
    }
    all.sort_unstable();
    Latencies(all)
}

async fn connect(address: &str) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn pay(sender: &mut SendRequest<Full<Bytes>>) {
    let body = format!("{{\"reference\":\"{:o<1$}\"}}", "", BODY_BYTES - 16);
    let request = Request::post(PATH)
        .header("Host", "bench")
        .header("Authorization", format!("Bearer {:t<TOKEN_BYTES$}", ""))
        .header("Idempotency-Key", "0198c5a0-5b0e-7d11-a3c5-9a4be0a4d1f0")
        .header("Content-Type", "application/json")
        .header("Accept", "application/json")
        .header("User-Agent", "bench/1.0")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    sender.ready().await.unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 201);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(body.starts_with(b"{\"read_bytes\":600,"), "{body:?}");
}
