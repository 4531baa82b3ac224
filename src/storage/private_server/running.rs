//! Finds the private server that another Tollgate runs, and its socket. Changes nothing.
//!
//! The lock on the data directory shows whether the other Tollgate runs: the kernel releases the
//! lock when its holder ends. A pid file may be left over.

use std::fs::{File, TryLockError};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::account::ServerAccount;
use super::socket::SOCKET_NAME;
use super::{PrivateServerError, files_error};

/// How long to wait for a server that is being created or is recovering.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// The folder of the server's socket. `None` if no Tollgate runs for this data directory.
pub(super) async fn socket_dir(wanted: &Path) -> Result<Option<PathBuf>, PrivateServerError> {
    let account = ServerAccount::choose()?;
    let begun = Instant::now();
    loop {
        let Some(data_dir) = held(account.existing_data_dirs(wanted)?)? else { return Ok(None) };
        if let Some(socket_dir) = working_socket(&data_dir) {
            return Ok(Some(socket_dir));
        }
        if begun.elapsed() > READY_WITHIN {
            let holder = std::fs::read_to_string(data_dir.join("lock")).unwrap_or_default();
            return Err(PrivateServerError::AlreadyRunning { data_dir, holder });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The first of the folders that a running Tollgate has locked.
fn held(folders: Vec<PathBuf>) -> Result<Option<PathBuf>, PrivateServerError> {
    for folder in folders {
        let path = folder.join("lock");
        let lock = match File::open(&path) {
            Ok(lock) => lock,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(source) => return Err(files_error("cannot open", &path, source)),
        };
        // The shared lock is held only for a moment. A Tollgate that starts meanwhile waits for it.
        match lock.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Some(folder)),
            Err(TryLockError::Error(source)) => return Err(files_error("cannot lock", &path, source)),
        }
    }
    Ok(None)
}

/// The server's pid file contains the socket's folder in line 5 and the server's state in line 8.
/// The file may be left over, so a connection to the socket is tried, too.
fn working_socket(data_dir: &Path) -> Option<PathBuf> {
    let file = std::fs::read_to_string(data_dir.join("cluster/postmaster.pid")).ok()?;
    let lines: Vec<&str> = file.lines().collect();
    let (folder, state) = (lines.get(4)?.trim(), lines.get(7)?.trim());
    let listens = UnixStream::connect(format!("{folder}{SOCKET_NAME}")).is_ok();
    (state == "ready" && listens).then(|| PathBuf::from(folder))
}
