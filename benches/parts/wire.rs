//! A connection to the server under test, without the cost of a client library.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::either::Either;

pub struct Wire {
    stream: Either<TcpStream, TlsStream<TcpStream>>,
    buffer: Vec<u8>,
}

impl Wire {
    pub async fn connect(address: &str, tls: Option<&TlsConnector>) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let name = ServerName::from(stream.peer_addr().unwrap().ip());
        let stream = match tls {
            None => Either::Left(stream),
            Some(tls) => Either::Right(tls.connect(name, stream).await.unwrap()),
        };
        Self { stream, buffer: vec![0; 64 << 10] }
    }

    /// Submits a payment, reads the whole response and returns its status.
    pub async fn pay(&mut self, token: &str, key: uuid::Uuid, body: &str) -> u16 {
        let request = format!(
            "POST /api/v1/payments HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\
             Idempotency-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.answer_to(&request).await
    }

    #[allow(dead_code, reason = "one bench asks")]
    pub async fn get(&mut self, path: &str) -> u16 {
        let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n");
        self.answer_to(&request).await
    }

    async fn answer_to(&mut self, request: &str) -> u16 {
        let (stream, buffer) = (&mut self.stream, &mut self.buffer);
        stream.write_all(request.as_bytes()).await.unwrap();
        // TLS may still hold the end of the request.
        stream.flush().await.unwrap();
        let mut filled = 0;
        loop {
            let read = stream.read(&mut buffer[filled..]).await.unwrap();
            assert!(read > 0, "the connection was cut");
            filled += read;
            let Some(head_end) = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") else {
                continue;
            };
            let head = std::str::from_utf8(&buffer[..head_end]).unwrap();
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok()
            });
            if filled >= head_end + 4 + length.unwrap() {
                return head.split(' ').nth(1).unwrap().parse().unwrap();
            }
        }
    }
}
