//! The thread of the private server: starts it, restarts it if it dies, and runs until it is
//! stopped.
//!
//! Only this thread may wait for the server process, so that its process id is never signalled
//! after it has been reused.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use backon::{BlockingRetryable, ExponentialBuilder};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::oneshot;

use super::account::ServerAccount;
use super::cluster::Cluster;
use super::{PrivateServerError, PrivateServerSettings, files_error, orphans, socket};

/// Recovery after a crash can take minutes.
const READY_WITHIN: Duration = Duration::from_secs(300);
const LOCK_WITHIN: Duration = Duration::from_secs(2);
const RESTART_BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(200))
    .with_max_delay(Duration::from_secs(10))
    .without_max_times();

/// The folders of a running server.
#[derive(Debug)]
pub(super) struct ServerFolders {
    pub data_dir: PathBuf,
    pub socket_dir: PathBuf,
}

/// Shared by the thread and `PrivateServer`.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch(Arc<Mutex<ProcessState>>);

#[derive(Debug, Default)]
struct ProcessState {
    /// Set while the process may be signalled: from its spawn until it is reaped.
    running: Option<Pid>,
    stopping: bool,
}

impl Watch {
    pub fn stop(&self, signal: Signal) {
        let mut state = self.lock();
        state.stopping = true;
        if let Some(pid) = state.running {
            let _ = kill_process(pid, signal);
        }
    }

    fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    fn lock(&self) -> MutexGuard<'_, ProcessState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type StartResult = oneshot::Sender<Result<ServerFolders, PrivateServerError>>;

/// Runs the server until it is stopped. Sends the result once it is ready or has failed to start.
pub(super) fn run(settings: &PrivateServerSettings, watch: &Watch, started: StartResult) {
    let (cluster, socket_dir, _lock) = match prepare(settings) {
        Ok(prepared) => prepared,
        Err(error) => return drop(started.send(Err(error))),
    };
    let mut child = match start(&cluster, &socket_dir, watch) {
        Ok(child) => child,
        Err(error) => return drop(started.send(Err(error))),
    };
    let folders = ServerFolders { data_dir: cluster.data_dir.clone(), socket_dir: socket_dir.clone() };
    if started.send(Ok(folders)).is_err() {
        watch.stop(Signal::INT);
    }
    loop {
        wait_for_end(&mut child, watch);
        if watch.is_stopping() {
            return;
        }
        tracing::error!(
            log = %cluster.log.display(),
            "the private Postgres exited unexpectedly; restarting it"
        );
        match start_again(&cluster, &socket_dir, watch) {
            Some(again) => child = again,
            None => return,
        }
    }
}

fn prepare(settings: &PrivateServerSettings) -> Result<(Cluster, PathBuf, File), PrivateServerError> {
    let account = ServerAccount::choose()?;
    let data_dir = account.prepare_data_dir(&settings.data_dir)?;
    let lock = lock(&data_dir)?;
    let cluster = Cluster::open(settings, account, &data_dir)?;
    let socket_dir = socket::prepare(account, &data_dir)?;
    Ok((cluster, socket_dir, lock))
}

/// Allows one Tollgate per data directory. The kernel releases the lock when the process ends.
fn lock(data_dir: &Path) -> Result<File, PrivateServerError> {
    let path = data_dir.join("lock");
    let opened = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = opened.map_err(|source| files_error("cannot open", &path, source))?;
    let begun = Instant::now();
    while let Err(error) = file.try_lock() {
        match error {
            // A process that was just killed may still hold the lock.
            TryLockError::WouldBlock if begun.elapsed() < LOCK_WITHIN => {
                std::thread::sleep(Duration::from_millis(20));
            }
            TryLockError::WouldBlock => {
                let holder = std::fs::read_to_string(&path).unwrap_or_default();
                return Err(PrivateServerError::AlreadyRunning { data_dir: data_dir.to_owned(), holder });
            }
            TryLockError::Error(source) => return Err(files_error("cannot lock", &path, source)),
        }
    }
    // The file contains the process id for the error message of another Tollgate.
    file.set_len(0)
        .and_then(|()| write!(file, "{}", std::process::id()))
        .map_err(|source| files_error("cannot write", &path, source))?;
    Ok(file)
}

fn start(cluster: &Cluster, socket_dir: &Path, watch: &Watch) -> Result<Child, PrivateServerError> {
    orphans::clear(&cluster.folder)?;
    let begun = Instant::now();
    let mut child = spawn(cluster, socket_dir, watch)?;
    let result = wait_until_ready(cluster, &mut child, begun);
    if let Err(error) = result {
        watch.lock().running.inspect(|pid| _ = kill_process(*pid, Signal::QUIT));
        wait_for_end(&mut child, watch);
        return Err(error);
    }
    tracing::info!(elapsed_ms = begun.elapsed().as_millis(), "the private Postgres is ready");
    Ok(child)
}

fn spawn(cluster: &Cluster, socket_dir: &Path, watch: &Watch) -> Result<Child, PrivateServerError> {
    let (mut command, _shim) = cluster.server_command(socket_dir)?;
    // The lock is held, so that `stop` cannot run between the spawn and setting the process id.
    let mut state = watch.lock();
    if state.stopping {
        return Err(PrivateServerError::DidNotStart("it was stopped".to_owned()));
    }
    let child = command.spawn().map_err(|source| files_error("cannot run", &cluster.shim_exe, source))?;
    state.running = Some(Pid::from_child(&child));
    Ok(child)
}

fn wait_until_ready(cluster: &Cluster, child: &mut Child, begun: Instant) -> Result<(), PrivateServerError> {
    let mut next_message = Duration::from_secs(5);
    while !is_ready(&cluster.folder, child.id()) {
        if has_ended(Pid::from_child(child)) {
            return Err(PrivateServerError::DidNotStart(cluster.log_tail()));
        }
        if begun.elapsed() > READY_WITHIN {
            return Err(PrivateServerError::DidNotStart(format!("not ready after {READY_WITHIN:?}")));
        }
        if begun.elapsed() > next_message {
            tracing::info!(
                waited_seconds = begun.elapsed().as_secs(),
                "the private Postgres is still recovering"
            );
            next_message += Duration::from_secs(5);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Line 8 of the server's pid file is its state.
fn is_ready(folder: &Path, pid: u32) -> bool {
    let file = std::fs::read_to_string(folder.join("postmaster.pid")).unwrap_or_default();
    let mut lines = file.lines();
    lines.next().is_some_and(|first| first.trim() == pid.to_string())
        && lines.nth(6).is_some_and(|state| state.trim() == "ready")
}

/// Does not reap the process, so that its id is not reused.
fn has_ended(pid: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    !matches!(waitid(WaitId::Pid(pid), options), Ok(None))
}

fn wait_for_end(child: &mut Child, watch: &Watch) {
    let pid = Pid::from_child(child);
    while let Err(rustix::io::Errno::INTR) =
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
    {}
    // Once the process is reaped, its id must not be signalled.
    let mut state = watch.lock();
    state.running = None;
    let _ = child.wait();
}

/// Retries until the server is ready. Returns `None` if the server was stopped meanwhile.
fn start_again(cluster: &Cluster, socket_dir: &Path, watch: &Watch) -> Option<Child> {
    let attempt = || if watch.is_stopping() { Ok(None) } else { start(cluster, socket_dir, watch).map(Some) };
    let started = attempt
        .retry(RESTART_BACKOFF)
        .sleep(std::thread::sleep)
        .notify(|error, _| tracing::error!(%error, "the private Postgres cannot be restarted yet"))
        .call();
    started.ok().flatten()
}
