//! A socket between Tollgate and Postgres that cuts connections on demand.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tollgate::storage::session::Sessions;

/// COMMIT as a simple query of the protocol.
const COMMIT: &[u8] = b"Q\0\0\0\x0bcommit\0";
/// The start of the statement that stores a batch and commits by itself.
const BATCH_STATEMENT: &[u8] = b"with claimed as";
/// The kind and length of a message.
const HEADER_BYTES: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    Nothing,
    /// The next COMMIT does not reach Postgres.
    BeforeCommit,
    /// The next COMMIT is executed, but its response is lost.
    AfterCommit,
    /// The connection is cut as soon as the next COMMIT has been sent.
    WithCommit,
    /// The next COMMIT that is a statement is dropped, and the connection to Postgres stays open.
    Silence,
    /// The connection is cut, and the next COMMIT is delivered by `deliver_late_commit`.
    Late,
    /// All connections are cut, and new ones are refused.
    Everything,
}

pub struct FaultyProxy {
    fault: Arc<AtomicU8>,
    late: Arc<Notify>,
    folder: tempfile::TempDir,
}

impl FaultyProxy {
    pub fn start(to: &Sessions) -> Self {
        let to = to.options();
        let host = to.get_socket().cloned().unwrap_or_else(|| PathBuf::from(to.get_host()));
        let postgres = host.join(format!(".s.PGSQL.{}", to.get_port()));
        let folder = tempfile::Builder::new().prefix("proxy").tempdir_in("/tmp").unwrap();
        let listener = UnixListener::bind(folder.path().join(format!(".s.PGSQL.{}", to.get_port()))).unwrap();
        let fault = Arc::new(AtomicU8::new(Fault::Nothing as u8));
        let late = Arc::new(Notify::new());
        tokio::spawn(accept(listener, postgres, Arc::clone(&fault), Arc::clone(&late)));
        Self { fault, late, folder }
    }

    pub fn sessions(&self, to: &Sessions) -> Sessions {
        to.clone().through(|options| options.socket(self.folder.path()))
    }

    /// The URL of the same database through this proxy.
    pub fn url(&self, to: &str) -> String {
        let (database, _socket) = to.split_once("?host=").unwrap();
        format!("{database}?host={}", self.folder.path().display())
    }

    pub fn inject(&self, fault: Fault) {
        self.fault.store(fault as u8, Ordering::SeqCst);
    }

    pub fn deliver_late_commit(&self) {
        self.late.notify_one();
    }

    /// Whether the last injected fault has happened.
    pub fn fault_happened(&self) -> bool {
        self.fault.load(Ordering::SeqCst) == Fault::Nothing as u8
    }
}

async fn accept(listener: UnixListener, postgres: PathBuf, fault: Arc<AtomicU8>, late: Arc<Notify>) {
    while let Ok((client, _)) = listener.accept().await {
        if fault.load(Ordering::SeqCst) == Fault::Everything as u8 {
            continue;
        }
        let server = UnixStream::connect(&postgres).await.unwrap();
        tokio::spawn(forward(client, server, Arc::clone(&fault), Arc::clone(&late)));
    }
}

/// The prepared statements of a connection.
#[derive(Default)]
struct PreparedStatements {
    /// The name of the statement that stores a batch. Empty until it is prepared.
    batch_statement: Vec<u8>,
}

impl PreparedStatements {
    /// Whether this message makes Postgres commit. Each read begins with a message.
    fn commits(&mut self, message: &[u8], fault: u8) -> bool {
        let name = |bytes: &[u8]| bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        match message.first() {
            Some(b'P') if message.windows(BATCH_STATEMENT.len()).any(|part| part == BATCH_STATEMENT) => {
                self.batch_statement = name(&message[HEADER_BYTES..]);
                false
            }
            // Skips the name of the portal, which is empty.
            Some(b'B') if fault != Fault::Silence as u8 && !self.batch_statement.is_empty() => {
                name(&message[HEADER_BYTES + 1..]) == self.batch_statement
            }
            _ => message.ends_with(COMMIT),
        }
    }
}

/// Copies both directions until one side closes the connection or a fault cuts it.
async fn forward(mut client: UnixStream, mut server: UnixStream, fault: Arc<AtomicU8>, late: Arc<Notify>) {
    let (mut from_client, mut from_server) = (vec![0; 65_536], vec![0; 65_536]);
    let mut statements = PreparedStatements::default();
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(length @ 1..) = read else { return };
                let message = &from_client[..length];
                let commits = statements.commits(message, fault.load(Ordering::SeqCst));
                if commits && fault.compare_exchange(Fault::Late as u8, Fault::Nothing as u8, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                    drop(client);
                    late.notified().await;
                    server.write_all(message).await.unwrap();
                    let _ = server.read(&mut from_server).await;
                    return;
                }
                if commits && cut_commit(&mut server, message, &fault).await {
                    return;
                }
                if server.write_all(message).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut from_server) => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&from_server[..length]).await.is_err() {
                    return;
                }
            }
            () = tokio::time::sleep(Duration::from_millis(10)) => {}
        }
        if fault.load(Ordering::SeqCst) == Fault::Everything as u8 {
            return;
        }
    }
}

async fn cut_commit(server: &mut UnixStream, message: &[u8], fault: &AtomicU8) -> bool {
    let requested = fault.swap(Fault::Nothing as u8, Ordering::SeqCst);
    if requested == Fault::AfterCommit as u8 || requested == Fault::WithCommit as u8 {
        server.write_all(message).await.unwrap();
    }
    if requested == Fault::AfterCommit as u8 {
        let _ = server.read(&mut [0; 64]).await;
    }
    if requested == Fault::Silence as u8 {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    if requested == Fault::Everything as u8 {
        fault.store(requested, Ordering::SeqCst);
    }
    requested != Fault::Nothing as u8
}
