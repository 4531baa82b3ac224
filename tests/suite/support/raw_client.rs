//! A client that sends bytes as they are and reads answers to their last byte.
//!
//! Must never mend what it sends or reads: its users check exactly this.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::program::TEST_TIMEOUT;
use super::service::{Caller, payment};

/// So small that a server soon has to wait for a client that does not read.
const SMALL_BUFFER_BYTES: u32 = 8 << 10;

pub fn address_of(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").parse().expect("an address")
}

/// One connection, over TCP unless another stream is given.
pub struct RawClient<S = TcpStream> {
    stream: S,
    received: Vec<u8>,
}

/// One answer. Interim ones (1xx) are answers of their own.
#[derive(Debug)]
pub struct RawAnswer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl RawClient {
    pub async fn connect(url: &str) -> Self {
        Self::over(TcpStream::connect(address_of(url)).await.expect("a connection"))
    }

    /// Connects from another address of this machine.
    pub async fn connect_from(url: &str, source: Ipv4Addr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((IpAddr::from(source), 0).into())?;
        Ok(Self::over(socket.connect(address_of(url)).await?))
    }

    /// Connects with a small receive buffer.
    pub async fn connect_narrow(url: &str) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(SMALL_BUFFER_BYTES).expect("a size");
        Self::over(socket.connect(address_of(url)).await.expect("a connection"))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> RawClient<S> {
    pub fn over(stream: S) -> Self {
        Self { stream, received: Vec::new() }
    }

    /// Whether the bytes could be sent. A server that has refused may have closed.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        let sent = timeout(TEST_TIMEOUT, self.stream.write_all(bytes)).await;
        sent.expect("the server takes bytes or closes").is_ok()
    }

    /// The next answer. `None` if the connection was closed before its end.
    pub async fn answer(&mut self) -> Option<RawAnswer> {
        self.answer_with_body(true).await
    }

    /// The answer to a `HEAD`, whose lengths are those of another answer.
    pub async fn answer_without_body(&mut self) -> Option<RawAnswer> {
        self.answer_with_body(false).await
    }

    async fn answer_with_body(&mut self, has_body: bool) -> Option<RawAnswer> {
        let head = loop {
            if let Some(end) = position(&self.received, b"\r\n\r\n") {
                break self.received.drain(..end + 4).collect::<Vec<u8>>();
            }
            self.fill().await?;
        };
        let (status, headers) = parse_head(std::str::from_utf8(&head).expect("a head in UTF-8"));
        let mut answer = RawAnswer { status, headers, body: Vec::new() };
        if !has_body || status < 200 || status == 204 || status == 304 {
            return Some(answer);
        }
        answer.body = match answer.header("Content-Length") {
            Some(length) => self.take(length.parse().expect("a length")).await?,
            None => {
                assert_eq!(answer.header("Transfer-Encoding"), Some("chunked"), "{answer:?}");
                self.take_chunks().await?
            }
        };
        Some(answer)
    }

    /// Waits until the server has closed the connection. Returns what else it had sent.
    pub async fn rest(mut self) -> Vec<u8> {
        while self.fill().await.is_some() {}
        self.received
    }

    /// Reads what has arrived, at least one byte. `None` if the connection was closed.
    pub async fn fill(&mut self) -> Option<usize> {
        let mut buffer = [0; 64 << 10];
        let read = timeout(TEST_TIMEOUT, self.stream.read(&mut buffer)).await;
        let read = read.expect("the server answers or closes").unwrap_or(0);
        self.received.extend_from_slice(&buffer[..read]);
        (read > 0).then_some(read)
    }

    async fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.received.len() < length {
            self.fill().await?;
        }
        Some(self.received.drain(..length).collect())
    }

    async fn take_chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                match position(&self.received, b"\r\n") {
                    Some(end) => break end,
                    None => self.fill().await?,
                };
            };
            let line = self.take(end + 2).await?;
            let digits = std::str::from_utf8(&line[..end]).expect("a size");
            let size = usize::from_str_radix(digits, 16).expect("a size");
            body.extend(self.take(size).await?);
            assert_eq!(self.take(2).await?, b"\r\n");
            if size == 0 {
                return Some(body);
            }
        }
    }

    /// Sends one byte after the other, until the server answers or closes.
    pub async fn send_by_drops(&mut self, byte: u8, pause: Duration) {
        while self.send(&[byte]).await && !self.has_arrived(pause).await {}
    }

    /// Whether the server answers or closes within this time.
    pub async fn has_arrived(&mut self, wait: Duration) -> bool {
        timeout(wait, self.fill()).await.is_ok()
    }
}

impl RawAnswer {
    /// The value of a header, which must not be there twice.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let first = found.next().map(|(_, value)| value.as_str());
        assert_eq!(found.next(), None, "{name} twice: {self:?}");
        first
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// Asserts what every answer has, and that it does not name the software.
    pub fn has_common_headers(&self, what: &str) {
        for (name, value) in [("X-Content-Type-Options", "nosniff"), ("Cache-Control", "no-store")] {
            assert_eq!(self.header(name), Some(value), "{what}: {self:?}");
        }
        let policy = self.header("Content-Security-Policy").unwrap_or_default();
        assert!(policy.contains("default-src 'none'"), "{what}: {self:?}");
        assert!(self.header("X-Request-Id").is_some_and(|id| id.len() >= 8), "{what}: {self:?}");
        assert_eq!(self.header("Server"), None, "{what}: {self:?}");
    }

    /// Asserts that this is a problem of this kind. Returns it.
    pub fn has_problem(&self, what: &str, status: u16, kind: &str) -> Value {
        self.has_common_headers(what);
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{what}: {text}");
        assert_eq!(self.header("Content-Type"), Some("application/problem+json"), "{what}: {text}");
        let problem = self.json();
        assert_eq!(problem["type"], format!("/problems/{kind}"), "{what}: {text}");
        assert_eq!(problem["status"], status, "{what}: {text}");
        assert_eq!(problem["request_id"].as_str(), self.header("X-Request-Id"), "{what}: {text}");
        problem
    }
}

fn position(bytes: &[u8], searched: &[u8]) -> Option<usize> {
    bytes.windows(searched.len()).position(|window| window == searched)
}

fn parse_head(head: &str) -> (u16, Vec<(String, String)>) {
    let mut lines = head.trim_end().split("\r\n");
    let line = lines.next().expect("a status line");
    let status = line.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("{line}"))[..3].parse();
    let fields = lines.map(|line| line.split_once(':').unwrap_or_else(|| panic!("{line}")));
    let headers = fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
    (status.expect("a status"), headers)
}

/// A request as bytes. It begins as a valid one, and its lines can be changed.
#[derive(Debug, Clone)]
pub struct RawRequest {
    line: Vec<u8>,
    fields: Vec<Vec<u8>>,
    body: Vec<u8>,
}

impl RawRequest {
    pub fn get(caller: &Caller, path: &str) -> Self {
        let host = address_of(&caller.url);
        let fields = [format!("Host: {host}"), format!("Authorization: Bearer {}", caller.token())];
        Self {
            line: format!("GET {path} HTTP/1.1").into_bytes(),
            fields: fields.map(String::into_bytes).into(),
            body: Vec::new(),
        }
    }

    /// A payment that is decided, if nothing is changed.
    pub fn payment(caller: &Caller, key: &str) -> Self {
        let body = payment().to_string().into_bytes();
        Self::get(caller, "")
            .line("POST /api/v1/payments HTTP/1.1")
            .field("Content-Type: application/json")
            .field(format!("Idempotency-Key: {key}"))
            .field(format!("Content-Length: {}", body.len()))
            .with_body(&body)
    }

    pub fn line(self, line: impl AsRef<[u8]>) -> Self {
        Self { line: line.as_ref().to_vec(), ..self }
    }

    /// With one more line at the end of the head.
    pub fn field(mut self, field: impl AsRef<[u8]>) -> Self {
        self.fields.push(field.as_ref().to_vec());
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        let is_named = |field: &[u8]| {
            let named =
                field.get(..name.len()).is_some_and(|known| known.eq_ignore_ascii_case(name.as_bytes()));
            named && field.get(name.len()) == Some(&b':')
        };
        self.fields.retain(|field| !is_named(field));
        self
    }

    pub fn with_body(self, body: &[u8]) -> Self {
        Self { body: body.to_vec(), ..self }
    }

    pub fn fields_count(&self) -> usize {
        self.fields.len()
    }

    /// The head with its empty line.
    pub fn head(&self) -> Vec<u8> {
        let mut head = self.line.clone();
        for field in &self.fields {
            head.extend_from_slice(b"\r\n");
            head.extend_from_slice(field);
        }
        head.extend_from_slice(b"\r\n\r\n");
        head
    }

    pub fn bytes(&self) -> Vec<u8> {
        [self.head(), self.body.clone()].concat()
    }
}
