//! The private server of another Tollgate: whether there is one, and its door.
//!
//! Owns looking without touching. Whose server it is shows in the lock, which
//! the kernel gives up with its holder; a pid file alone may be a leftover.

use std::fs::{File, TryLockError};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::account::Account;
use super::socket::SOCKET_NAME;
use super::{PrivateServerError, files_error};

/// One that is just being made or recovers is waited for; then it is somebody else's trouble.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Where the server that somebody runs for this data directory listens.
pub(super) async fn socket_dir(wanted: &Path) -> Result<Option<PathBuf>, PrivateServerError> {
    let account = Account::choose()?;
    let begun = Instant::now();
    loop {
        let Some(data_dir) = held(account.existing_data_dirs(wanted)?)? else { return Ok(None) };
        if let Some(socket_dir) = open_door(&data_dir) {
            return Ok(Some(socket_dir));
        }
        if begun.elapsed() > READY_WITHIN {
            let holder = std::fs::read_to_string(data_dir.join("lock")).unwrap_or_default();
            return Err(PrivateServerError::AlreadyRunning { data_dir, holder });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The first of the folders that a living Tollgate has locked.
fn held(folders: Vec<PathBuf>) -> Result<Option<PathBuf>, PrivateServerError> {
    for folder in folders {
        let path = folder.join("lock");
        let lock = match File::open(&path) {
            Ok(lock) => lock,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(source) => return Err(files_error("cannot open", &path, source)),
        };
        // Shared and for a moment: a Tollgate that starts right now waits that long.
        match lock.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Some(folder)),
            Err(TryLockError::Error(source)) => return Err(files_error("cannot lock", &path, source)),
        }
    }
    Ok(None)
}

/// The folder of the socket stands in line 5 of the server's pid file, its
/// state in line 8. The file may be an earlier server's, so the door is tried.
fn open_door(data_dir: &Path) -> Option<PathBuf> {
    let file = std::fs::read_to_string(data_dir.join("cluster/postmaster.pid")).ok()?;
    let lines: Vec<&str> = file.lines().collect();
    let (folder, state) = (lines.get(4)?.trim(), lines.get(7)?.trim());
    let listens = UnixStream::connect(format!("{folder}{SOCKET_NAME}")).is_ok();
    (state == "ready" && listens).then(|| PathBuf::from(folder))
}
