//! Processes that have only a part of the work: rule workers and those who ask them, and processes
//! without the API.

mod alone;
mod answers;
mod faults;
mod peers;

use std::path::{Path, PathBuf};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::database::TestDatabase;
use crate::support::program::{Program, run_command, tollgate, tollgate_on};

/// A socket in a folder of its own. Paths of sockets must be short.
struct Socket(TempDir);

impl Socket {
    fn new() -> Self {
        Self(tempfile::Builder::new().prefix("rules").tempdir_in("/tmp").unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("s")
    }

    fn address(&self) -> String {
        format!("unix:{}", self.path().display())
    }
}

/// A worker process with a folder of its own.
struct Worker {
    program: Program,
    folder: TempDir,
}

impl Worker {
    async fn start(rules: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), rules).await
    }

    async fn at(address: &str) -> Self {
        Self::start(&format!("{{listen={address:?}}}")).await
    }

    async fn start_in(folder: TempDir, rules: &str) -> Self {
        let mut command = tollgate(&["serve", "--roles", "rules"]);
        command
            .env_remove("ROCKET_TOLLGATE_ROOT_SECRET")
            .env("ROCKET_TOLLGATE_DATA_DIR", folder.path().join("data"))
            .env("ROCKET_TOLLGATE_RULES", rules);
        Self { program: Program::start(command).await, folder }
    }

    /// Kills it, and starts it again with what it had on its disk.
    async fn kill_and_start(mut self, address: &str) -> Self {
        self.kill().await;
        Self::start_in(self.folder, &format!("{{listen={address:?}}}")).await
    }

    async fn kill(&mut self) {
        self.program.signal(Signal::KILL);
        self.program.wait().await;
    }

    /// Where it serves rules, as it says.
    fn rules_at(&self) -> String {
        let lines = self.program.lines();
        let told = lines.iter().find_map(|line| line.split("rules_at=").nth(1));
        told.expect("where it serves rules").trim().to_owned()
    }
}

/// A process with these roles that asks these workers.
async fn process_asking(database: &TestDatabase, roles: &str, workers: &[String], fallback: &str) -> Program {
    let mut command = tollgate_on(database, &["serve", "--roles", roles]);
    command.env("ROCKET_TOLLGATE_RULES", format!("{{workers={workers:?},fallback={fallback:?}}}"));
    Program::start(command).await
}

/// Replays all decisions in one process, without any worker.
async fn replay_without_workers(database: &TestDatabase) {
    let command = tollgate_on(database, &["replay"]);
    let (ended, told, log) = tokio::task::spawn_blocking(move || run_command(command)).await.unwrap();
    assert!(ended.success(), "{told}\n{log}");
}

/// The value of a metric's series, 0 if it is absent.
async fn series(url: &str, series: &str) -> f64 {
    let page = reqwest::get(format!("{url}/metrics")).await.unwrap().text().await.unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned));
    line.map_or(0.0, |value| value.parse().unwrap())
}

fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}
