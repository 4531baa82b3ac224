//! A socket between Tollgate and Postgres that stops sending responses on demand. The
//! connection stays open and still accepts requests.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, split};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use super::program::TEST_TIMEOUT;

/// A request that gets no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseRequest {
    /// A statement whose text contains this.
    Statement(&'static str),
    /// A check whether a connection still responds: a Sync without another message before it.
    Probe,
    /// A new connection.
    Connection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Forward,
    /// The next such request gets no response, and its connection stays silent from then on.
    SilenceNext(DatabaseRequest),
    /// Every such request gets no response, and its connection stays silent from then on.
    SilenceAll(DatabaseRequest),
    /// No connection sends anything.
    Silent,
}

pub struct SilentProxy {
    mode: Arc<watch::Sender<Mode>>,
    folder: tempfile::TempDir,
}

#[derive(Clone)]
struct ProxiedConnection {
    mode: Arc<watch::Sender<Mode>>,
    silent: Arc<AtomicBool>,
}

impl SilentProxy {
    pub fn start(to: &PgConnectOptions) -> Self {
        let host = to.get_socket().cloned().unwrap_or_else(|| PathBuf::from(to.get_host()));
        let postgres = host.join(format!(".s.PGSQL.{}", to.get_port()));
        let folder = tempfile::Builder::new().prefix("swallow").tempdir_in("/tmp").unwrap();
        let listener = UnixListener::bind(folder.path().join(format!(".s.PGSQL.{}", to.get_port()))).unwrap();
        let mode = Arc::new(watch::Sender::new(Mode::Forward));
        let mode_of_connections = mode.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let connection =
                    ProxiedConnection { mode: mode_of_connections.clone(), silent: Arc::default() };
                tokio::spawn(forward(client, postgres.clone(), connection));
            }
        });
        Self { mode, folder }
    }

    /// The URL of the same database through this proxy.
    pub fn url(&self, to: &str) -> String {
        let (database, _socket) = to.split_once("?host=").unwrap();
        format!("{database}?host={}", self.folder.path().display())
    }

    pub fn silence_next(&self, request: DatabaseRequest) {
        self.mode.send_replace(Mode::SilenceNext(request));
    }

    pub fn silence_all(&self, request: DatabaseRequest) {
        self.mode.send_replace(Mode::SilenceAll(request));
    }

    /// Waits until the request of `silence_next` has been made.
    pub async fn wait_until_silenced(&self) {
        let begun = Instant::now();
        while matches!(*self.mode.borrow(), Mode::SilenceNext(_)) {
            assert!(begun.elapsed() < TEST_TIMEOUT, "the request never came: {:?}", *self.mode.borrow());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// No connection sends anything from now on. Existing ones stay silent after `resume`.
    pub fn silence_everything(&self) {
        self.mode.send_replace(Mode::Silent);
    }

    /// New connections get responses again.
    pub fn resume(&self) {
        self.mode.send_replace(Mode::Forward);
    }
}

/// Copies both directions until the client closes the connection.
async fn forward(client: UnixStream, postgres: PathBuf, connection: ProxiedConnection) {
    let server = UnixStream::connect(&postgres).await.unwrap();
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) = (split(client), split(server));
    let response_side = connection.clone();
    let responses = tokio::spawn(async move {
        let (mut mode, mut bytes) = (response_side.mode.subscribe(), vec![0; 65_536]);
        loop {
            let read = tokio::select! {
                read = from_server.read(&mut bytes) => read,
                // Needed if no response is being sent.
                _ = mode.changed() => {
                    response_side.apply(*mode.borrow_and_update());
                    continue;
                }
            };
            response_side.apply(*response_side.mode.borrow());
            let Ok(length @ 1..) = read else { break };
            if !response_side.silent.load(Ordering::SeqCst)
                && to_client.write_all(&bytes[..length]).await.is_err()
            {
                break;
            }
        }
        // A silent connection stays open on the client's side.
        if response_side.silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    });
    let mut messages = MessageReader::default();
    connection.silence_if(DatabaseRequest::Connection, true);
    while let Some(message) = messages.next(&mut from_client).await {
        let is_request = messages.matcher(&message);
        let mode = *connection.mode.borrow();
        if let Mode::SilenceNext(wanted) | Mode::SilenceAll(wanted) = mode {
            connection.silence_if(wanted, is_request(wanted));
        }
        if to_server.write_all(&message).await.is_err() && !connection.silent.load(Ordering::SeqCst) {
            break;
        }
    }
    responses.abort();
}

impl ProxiedConnection {
    fn apply(&self, mode: Mode) {
        if mode == Mode::Silent {
            self.silent.store(true, Ordering::SeqCst);
        }
    }

    /// Silences this connection if it made the wanted request. `SilenceNext` silences only one,
    /// even if several connections make the request at once.
    fn silence_if(&self, wanted: DatabaseRequest, is_wanted: bool) {
        if is_wanted && *self.mode.borrow() == Mode::SilenceAll(wanted) {
            self.silent.store(true, Ordering::SeqCst);
        }
        let is_silenced = |mode: &mut Mode| {
            let it = *mode == Mode::SilenceNext(wanted) && is_wanted;
            if it {
                *mode = Mode::Forward;
            }
            it
        };
        if self.mode.send_if_modified(is_silenced) {
            self.silent.store(true, Ordering::SeqCst);
        }
    }
}

/// Splits the bytes of a client into messages.
#[derive(Default)]
struct MessageReader {
    read: Vec<u8>,
    started: bool,
    /// The names and texts of prepared statements.
    prepared: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether there was another message since the last Sync.
    has_request: bool,
}

const SSL_REQUEST: &[u8] = &80_877_103_u32.to_be_bytes();
/// The kind and length of a message.
const HEADER_BYTES: usize = 5;

impl MessageReader {
    async fn next(&mut self, from: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
        loop {
            // The first messages have no kind.
            let kind = usize::from(self.started);
            if let Some(length) = self.read.get(kind..kind + 4) {
                let whole = kind + u32::from_be_bytes(length.try_into().unwrap()) as usize;
                if self.read.len() >= whole {
                    let message: Vec<u8> = self.read.drain(..whole).collect();
                    self.started = self.started || message.get(4..8) != Some(SSL_REQUEST);
                    return Some(message);
                }
            }
            if from.read_buf(&mut self.read).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// Returns a function that checks whether this message is a given request.
    fn matcher(&mut self, message: &[u8]) -> impl Fn(DatabaseRequest) -> bool + use<> {
        let body = message.get(HEADER_BYTES..).unwrap_or_default();
        let text_at = |from: usize| body[from..].split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        let mut text = Vec::new();
        let mut is_probe = false;
        match message.first() {
            Some(b'P') => {
                let name = text_at(0);
                let statement = text_at(name.len() + 1);
                self.prepared.retain(|(known, _)| *known != name);
                self.prepared.push((name, statement));
                self.has_request = true;
            }
            Some(b'B') => {
                let name = text_at(text_at(0).len() + 1);
                let known = self.prepared.iter().find(|(known, _)| *known == name);
                text = known.map(|(_, statement)| statement.clone()).unwrap_or_default();
                self.has_request = true;
            }
            Some(b'Q') => text = text_at(0),
            Some(b'S') => is_probe = !std::mem::take(&mut self.has_request),
            _ => self.has_request = true,
        }
        let text = String::from_utf8_lossy(&text).to_lowercase();
        move |request| match request {
            DatabaseRequest::Statement(part) => text.contains(part),
            DatabaseRequest::Probe => is_probe,
            DatabaseRequest::Connection => false,
        }
    }
}
