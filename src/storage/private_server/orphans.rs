//! What an earlier run left behind in a cluster: processes and a pid file.
//!
//! Called only under the data directory's lock, so nothing that runs there is
//! in use. Must never end a process that does not work in this very cluster.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{PrivateServerError, files_error};

/// A fast shutdown writes a checkpoint first; after this it is ended at once.
const FAST_SHUTDOWN: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(30);

/// Ends every process of the cluster and removes a pid file that would keep a new server from starting.
pub(super) fn clear(cluster: &Path) -> Result<(), PrivateServerError> {
    end_processes(cluster)?;
    // Nothing works in the cluster any more, so whatever process the file names
    // (a zombie, or one that got the number since) has nothing to do with it.
    let pid_file = cluster.join("postmaster.pid");
    match std::fs::remove_file(&pid_file) {
        Ok(()) => tracing::info!("removed the pid file of a Postgres that is no longer running"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(files_error("cannot remove", &pid_file, source)),
    }
    Ok(())
}

fn end_processes(cluster: &Path) -> Result<(), PrivateServerError> {
    let begun = Instant::now();
    let mut sent = None;
    loop {
        let processes = processes_in(cluster);
        let Some(&first) = processes.first() else { return Ok(()) };
        let leader = leader(cluster).filter(|leader| processes.contains(leader));
        let signal = match (leader, begun.elapsed() < FAST_SHUTDOWN) {
            // It may be stopping already, since its parent died: a second fast shutdown does no harm.
            (Some(_), true) => Signal::INT,
            // Children whose server was killed end by themselves once they notice.
            (None, true) => Signal::TERM,
            (_, false) => Signal::QUIT,
        };
        if sent != Some(signal) {
            tracing::info!(?processes, ?signal, "stopping a Postgres left behind by an earlier run");
            sent = Some(signal);
            // The server ends its children itself, in order.
            for process in leader.as_ref().map_or(processes.as_slice(), std::slice::from_ref) {
                let _ = kill_process(*process, signal);
            }
        }
        if begun.elapsed() > PATIENCE {
            return Err(PrivateServerError::OrphanRemains(first.as_raw_nonzero().get()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The server process that the pid file names, which may be long gone.
fn leader(cluster: &Path) -> Option<Pid> {
    let file = std::fs::read_to_string(cluster.join("postmaster.pid")).ok()?;
    Pid::from_raw(file.lines().next()?.trim().parse().ok()?)
}

/// Postgres and all its children work in the cluster's folder. A zombie has no
/// folder any more and is rightly not found.
#[cfg(target_os = "linux")]
fn processes_in(cluster: &Path) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(|entry| std::fs::read_link(entry.path().join("cwd")).is_ok_and(|folder| folder == cluster))
        .filter(|entry| runs_postgres(&entry.path()))
        .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// A shell whose user looks around in the folder is not ours to end.
#[cfg(target_os = "linux")]
fn runs_postgres(process: &Path) -> bool {
    std::fs::read_to_string(process.join("comm")).is_ok_and(|name| name.trim() == "postgres")
}

/// Without /proc only the process that the pid file names can be judged: it is
/// ours when it is a living `postgres` that was started with this folder.
#[cfg(not(target_os = "linux"))]
fn processes_in(cluster: &Path) -> Vec<Pid> {
    let Some(leader) = leader(cluster) else { return Vec::new() };
    let number = leader.as_raw_nonzero().get();
    let output =
        std::process::Command::new("ps").args(["-o", "stat=,command=", "-p", &number.to_string()]).output();
    let Ok(output) = output else { return Vec::new() };
    let line = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let ours =
        !line.starts_with('Z') && line.contains("postgres") && line.contains(&*cluster.to_string_lossy());
    if ours { vec![leader] } else { Vec::new() }
}
