//! A socket between Tollgate and Postgres that keeps answers to itself: the line
//! stays open, takes whatever is sent, and says nothing any more.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, split};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use super::program::PATIENCE;

/// Whose answer is swallowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The next statement whose text holds this.
    Statement(&'static str),
    /// The next look whether a connection still answers: a Sync by itself.
    Look,
    /// The next connection.
    Connection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Answers,
    /// The next one of these gets no answer, nor does anything after it on its line.
    Swallows(Asked),
    /// None of these does.
    SwallowsAll(Asked),
    /// Nothing gets an answer, whatever line it is on.
    Silent,
}

pub struct Swallower {
    mood: Arc<watch::Sender<Mood>>,
    folder: tempfile::TempDir,
}

/// What a line is to know of all lines.
#[derive(Clone)]
struct Line {
    mood: Arc<watch::Sender<Mood>>,
    silent: Arc<AtomicBool>,
}

impl Swallower {
    pub fn start(to: &PgConnectOptions) -> Self {
        let host = to.get_socket().cloned().unwrap_or_else(|| PathBuf::from(to.get_host()));
        let postgres = host.join(format!(".s.PGSQL.{}", to.get_port()));
        let folder = tempfile::Builder::new().prefix("swallow").tempdir_in("/tmp").unwrap();
        let listener = UnixListener::bind(folder.path().join(format!(".s.PGSQL.{}", to.get_port()))).unwrap();
        let mood = Arc::new(watch::Sender::new(Mood::Answers));
        let of_lines = mood.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let line = Line { mood: of_lines.clone(), silent: Arc::default() };
                tokio::spawn(carry(client, postgres.clone(), line));
            }
        });
        Self { mood, folder }
    }

    /// For a whole node.
    pub fn url(&self, to: &str) -> String {
        let (database, _socket) = to.split_once("?host=").unwrap();
        format!("{database}?host={}", self.folder.path().display())
    }

    pub fn swallow_next(&self, asked: Asked) {
        self.mood.send_replace(Mood::Swallows(asked));
    }

    pub fn swallow_all(&self, asked: Asked) {
        self.mood.send_replace(Mood::SwallowsAll(asked));
    }

    /// Until what was to be swallowed has been asked.
    pub async fn until_swallowed(&self) {
        let begun = Instant::now();
        while matches!(*self.mood.borrow(), Mood::Swallows(_)) {
            assert!(begun.elapsed() < PATIENCE, "never asked: {:?}", *self.mood.borrow());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// From now on no line says anything, and those of today never will again.
    pub fn fall_silent(&self) {
        self.mood.send_replace(Mood::Silent);
    }

    /// New lines answer.
    pub fn answer_again(&self) {
        self.mood.send_replace(Mood::Answers);
    }
}

/// Both directions, until the client hangs up.
async fn carry(client: UnixStream, postgres: PathBuf, line: Line) {
    let server = UnixStream::connect(&postgres).await.unwrap();
    let ((mut client_says, mut to_client), (mut server_says, mut to_server)) = (split(client), split(server));
    let to_go_silent = line.clone();
    let answers = tokio::spawn(async move {
        let (mut mood, mut bytes) = (to_go_silent.mood.subscribe(), vec![0; 65_536]);
        loop {
            let read = tokio::select! {
                read = server_says.read(&mut bytes) => read,
                // Noted also where nothing is on its way at the time.
                _ = mood.changed() => {
                    to_go_silent.heed(*mood.borrow_and_update());
                    continue;
                }
            };
            to_go_silent.heed(*to_go_silent.mood.borrow());
            let Ok(length @ 1..) = read else { break };
            if !to_go_silent.silent.load(Ordering::SeqCst)
                && to_client.write_all(&bytes[..length]).await.is_err()
            {
                break;
            }
        }
        // A line that says nothing stays open on this side.
        if to_go_silent.silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    });
    let mut messages = Messages::default();
    line.heed_if(Asked::Connection, true);
    while let Some(message) = messages.next(&mut client_says).await {
        let asked = messages.asks(&message);
        let mood = *line.mood.borrow();
        if let Mood::Swallows(wanted) | Mood::SwallowsAll(wanted) = mood {
            line.heed_if(wanted, asked(wanted));
        }
        if to_server.write_all(&message).await.is_err() && !line.silent.load(Ordering::SeqCst) {
            break;
        }
    }
    answers.abort();
}

impl Line {
    fn heed(&self, mood: Mood) {
        if mood == Mood::Silent {
            self.silent.store(true, Ordering::SeqCst);
        }
    }

    /// Of several lines that ask at once, one gets no answer.
    fn heed_if(&self, wanted: Asked, is_asked: bool) {
        if is_asked && *self.mood.borrow() == Mood::SwallowsAll(wanted) {
            self.silent.store(true, Ordering::SeqCst);
        }
        let swallows = |mood: &mut Mood| {
            let it = *mood == Mood::Swallows(wanted) && is_asked;
            if it {
                *mood = Mood::Answers;
            }
            it
        };
        if self.mood.send_if_modified(swallows) {
            self.silent.store(true, Ordering::SeqCst);
        }
    }
}

/// What a client says, message by message.
#[derive(Default)]
struct Messages {
    read: Vec<u8>,
    begun: bool,
    /// The statements that were given a name, with their texts.
    prepared: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether something was asked since the last Sync.
    asking: bool,
}

const SSL_REQUEST: &[u8] = &80_877_103_u32.to_be_bytes();
/// Before the body of a message: its kind and its length.
const HEADER_BYTES: usize = 5;

impl Messages {
    async fn next(&mut self, from: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
        loop {
            // The first ones have no kind.
            let kind = usize::from(self.begun);
            if let Some(length) = self.read.get(kind..kind + 4) {
                let whole = kind + u32::from_be_bytes(length.try_into().unwrap()) as usize;
                if self.read.len() >= whole {
                    let message: Vec<u8> = self.read.drain(..whole).collect();
                    self.begun = self.begun || message.get(4..8) != Some(SSL_REQUEST);
                    return Some(message);
                }
            }
            if from.read_buf(&mut self.read).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// Answers whether a message is what somebody waits for.
    fn asks(&mut self, message: &[u8]) -> impl Fn(Asked) -> bool + use<> {
        let body = message.get(HEADER_BYTES..).unwrap_or_default();
        let text_at = |from: usize| body[from..].split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        let mut text = Vec::new();
        let mut look = false;
        match message.first() {
            Some(b'P') => {
                let name = text_at(0);
                let statement = text_at(name.len() + 1);
                self.prepared.retain(|(known, _)| *known != name);
                self.prepared.push((name, statement));
                self.asking = true;
            }
            Some(b'B') => {
                let name = text_at(text_at(0).len() + 1);
                let known = self.prepared.iter().find(|(known, _)| *known == name);
                text = known.map(|(_, statement)| statement.clone()).unwrap_or_default();
                self.asking = true;
            }
            Some(b'Q') => text = text_at(0),
            Some(b'S') => look = !std::mem::take(&mut self.asking),
            _ => self.asking = true,
        }
        let text = String::from_utf8_lossy(&text).to_lowercase();
        move |asked| match asked {
            Asked::Statement(part) => text.contains(part),
            Asked::Look => look,
            Asked::Connection => false,
        }
    }
}
