//! A socket between Tollgate and Postgres that loses connections on demand.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tollgate::storage::session::Sessions;

/// COMMIT as a message of the protocol: a simple query.
const COMMIT: &[u8] = b"Q\0\0\0\x0bcommit\0";
/// Of the statement that stores a batch and commits by itself.
const STORES_A_BATCH: &[u8] = b"with claimed as";
/// Before the names in a message of the protocol: its kind and length.
const HEADER_BYTES: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Cut {
    Nothing,
    /// The next COMMIT never reaches Postgres.
    BeforeCommit,
    /// The next COMMIT is executed, its answer is lost.
    AfterCommit,
    /// The next COMMIT is sent and the line drops at once: nobody waits for the answer.
    WithCommit,
    /// The next COMMIT of its own is swallowed and Postgres never learns that the journal hung up.
    Silence,
    /// The line drops before the next COMMIT has arrived, which it does when it is let go.
    Late,
    /// No connection lives, none can be made.
    Everything,
}

pub struct Proxy {
    cut: Arc<AtomicU8>,
    late: Arc<Notify>,
    folder: tempfile::TempDir,
}

impl Proxy {
    pub fn start(to: &Sessions) -> Self {
        let to = to.options();
        let host = to.get_socket().cloned().unwrap_or_else(|| PathBuf::from(to.get_host()));
        let postgres = host.join(format!(".s.PGSQL.{}", to.get_port()));
        let folder = tempfile::Builder::new().prefix("proxy").tempdir_in("/tmp").unwrap();
        let listener = UnixListener::bind(folder.path().join(format!(".s.PGSQL.{}", to.get_port()))).unwrap();
        let cut = Arc::new(AtomicU8::new(Cut::Nothing as u8));
        let late = Arc::new(Notify::new());
        tokio::spawn(accept(listener, postgres, Arc::clone(&cut), Arc::clone(&late)));
        Self { cut, late, folder }
    }

    pub fn sessions(&self, to: &Sessions) -> Sessions {
        to.clone().through(|options| options.socket(self.folder.path()))
    }

    /// The same for a whole node.
    pub fn url(&self, to: &str) -> String {
        let (database, _socket) = to.split_once("?host=").unwrap();
        format!("{database}?host={}", self.folder.path().display())
    }

    pub fn cut(&self, cut: Cut) {
        self.cut.store(cut as u8, Ordering::SeqCst);
    }

    /// What is late arrives now.
    pub fn let_go(&self) {
        self.late.notify_one();
    }

    /// Whether the last cut has been made.
    pub fn has_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst) == Cut::Nothing as u8
    }
}

async fn accept(listener: UnixListener, postgres: PathBuf, cut: Arc<AtomicU8>, late: Arc<Notify>) {
    while let Ok((client, _)) = listener.accept().await {
        if cut.load(Ordering::SeqCst) == Cut::Everything as u8 {
            continue;
        }
        let server = UnixStream::connect(&postgres).await.unwrap();
        tokio::spawn(forward(client, server, Arc::clone(&cut), Arc::clone(&late)));
    }
}

/// What a connection has been told so far.
#[derive(Default)]
struct Prepared {
    /// The name of the statement that stores a batch, once it is known.
    stores_a_batch: Vec<u8>,
}

impl Prepared {
    /// Whether Postgres commits because of this message. Each begins at its own
    /// beginning: that is how they are sent.
    fn commits(&mut self, message: &[u8], cut: u8) -> bool {
        let name = |bytes: &[u8]| bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        match message.first() {
            Some(b'P') if message.windows(STORES_A_BATCH.len()).any(|part| part == STORES_A_BATCH) => {
                self.stores_a_batch = name(&message[HEADER_BYTES..]);
                false
            }
            // After the name of the portal, which is none.
            Some(b'B') if cut != Cut::Silence as u8 && !self.stores_a_batch.is_empty() => {
                name(&message[HEADER_BYTES + 1..]) == self.stores_a_batch
            }
            _ => message.ends_with(COMMIT),
        }
    }
}

/// Both directions, until one side ends or the line is cut.
async fn forward(mut client: UnixStream, mut server: UnixStream, cut: Arc<AtomicU8>, late: Arc<Notify>) {
    let (mut from_client, mut from_server) = (vec![0; 65_536], vec![0; 65_536]);
    let mut prepared = Prepared::default();
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(length @ 1..) = read else { return };
                let message = &from_client[..length];
                let commits = prepared.commits(message, cut.load(Ordering::SeqCst));
                if commits && cut.compare_exchange(Cut::Late as u8, Cut::Nothing as u8, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                    drop(client);
                    late.notified().await;
                    server.write_all(message).await.unwrap();
                    let _ = server.read(&mut from_server).await;
                    return;
                }
                if commits && cuts_commit(&mut server, message, &cut).await {
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
        if cut.load(Ordering::SeqCst) == Cut::Everything as u8 {
            return;
        }
    }
}

async fn cuts_commit(server: &mut UnixStream, message: &[u8], cut: &AtomicU8) -> bool {
    let asked = cut.swap(Cut::Nothing as u8, Ordering::SeqCst);
    if asked == Cut::AfterCommit as u8 || asked == Cut::WithCommit as u8 {
        server.write_all(message).await.unwrap();
    }
    if asked == Cut::AfterCommit as u8 {
        let _ = server.read(&mut [0; 64]).await;
    }
    if asked == Cut::Silence as u8 {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    if asked == Cut::Everything as u8 {
        cut.store(asked, Ordering::SeqCst);
    }
    asked != Cut::Nothing as u8
}
