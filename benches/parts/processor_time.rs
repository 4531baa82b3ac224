//! The processor time of a process and its children, as the kernel reports it. It is steadier than
//! throughput on a shared machine.

use std::collections::HashMap;
use std::time::Duration;

use tollgate::storage::private_server::PrivateServer;

/// The unit in `/proc`, which is fixed on Linux.
const TICKS_PER_S: f64 = 100.0;

#[derive(Debug, Clone, Copy)]
pub struct ProcessTree(u32);

struct Process {
    parent: u32,
    ticks: u64,
}

impl ProcessTree {
    pub fn of(root: u32) -> Self {
        Self(root)
    }

    /// Includes the time of ended children, which the kernel adds to the process that waited for
    /// them.
    pub fn used(self) -> Duration {
        let all = processes();
        let is_below = |mut id: u32| {
            while id != self.0 {
                match all.get(&id) {
                    Some(process) => id = process.parent,
                    None => return false,
                }
            }
            true
        };
        let ticks: u64 = all.iter().filter(|(id, _)| is_below(**id)).map(|(_, process)| process.ticks).sum();
        Duration::from_secs_f64(ticks as f64 / TICKS_PER_S)
    }
}

fn processes() -> HashMap<u32, Process> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // A process that has ended has no file.
    ids.filter_map(|id: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name is in brackets and may contain anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = fields.get(11..15)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
        Some((id, Process { parent: fields.get(1)?.parse().ok()?, ticks }))
    })
    .collect()
}

/// All processes of a private Postgres.
#[allow(dead_code, reason = "one bench of several does not want it")]
pub fn postgres(server: &PrivateServer) -> ProcessTree {
    let file = std::fs::read_to_string(server.data_dir().join("cluster/postmaster.pid")).unwrap();
    ProcessTree::of(file.lines().next().unwrap().trim().parse().unwrap())
}
