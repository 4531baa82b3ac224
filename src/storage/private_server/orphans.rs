//! Removes the processes and the pid file that an earlier run left in a cluster.
//!
//! Must be called only under the data directory's lock, and must never end a process that does
//! not belong to this cluster.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{PrivateServerError, files_error};

/// A fast shutdown writes a checkpoint. If it takes longer than this, an immediate shutdown
/// follows.
const FAST_SHUTDOWN: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(30);

/// Ends every process of the cluster, and removes its pid file, which would keep a new server from
/// starting.
pub(super) fn clear(cluster: &Path) -> Result<(), PrivateServerError> {
    end_processes(cluster)?;
    // The cluster has no processes any more. If the process id in the file is in use, it belongs to
    // a zombie or to an unrelated process.
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
            // The server may already be stopping, since its parent died. A second fast shutdown is
            // harmless.
            (Some(_), true) => Signal::INT,
            // Children end by themselves once they notice that their server was killed.
            (None, true) => Signal::TERM,
            (_, false) => Signal::QUIT,
        };
        if sent != Some(signal) {
            tracing::info!(?processes, ?signal, "stopping a Postgres left behind by an earlier run");
            sent = Some(signal);
            // The server ends its own children.
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

/// The server process that the pid file names. It may no longer exist.
fn leader(cluster: &Path) -> Option<Pid> {
    let file = std::fs::read_to_string(cluster.join("postmaster.pid")).ok()?;
    Pid::from_raw(file.lines().next()?.trim().parse().ok()?)
}

/// The processes whose working directory is the cluster: Postgres and its children, but no zombies.
#[cfg(target_os = "linux")]
fn processes_in(cluster: &Path) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(|entry| std::fs::read_link(entry.path().join("cwd")).is_ok_and(|folder| folder == cluster))
        .filter(|entry| runs_postgres(&entry.path()))
        .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// Other programs, such as a shell in that folder, must not be ended.
#[cfg(target_os = "linux")]
fn runs_postgres(process: &Path) -> bool {
    std::fs::read_to_string(process.join("comm")).is_ok_and(|name| name.trim() == "postgres")
}

/// Without /proc only the process that the pid file names can be checked: it belongs to the cluster
/// if it is a live `postgres` that was started with this folder.
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
