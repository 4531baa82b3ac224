//! A worker process of the program under test, reached by a socket.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::server::program;

/// Killed when dropped.
pub struct RuleWorker {
    process: Child,
    socket: PathBuf,
}

impl RuleWorker {
    pub async fn start(folder: &Path) -> Self {
        let socket = folder.join("rules.sock");
        let process = Command::new(program())
            .args(["serve", "--roles", "rules"])
            .env("ROCKET_PROFILE", "release")
            .env("ROCKET_ADDRESS", "127.0.0.1")
            .env("ROCKET_PORT", "0")
            .env("ROCKET_TOLLGATE_DATA_DIR", folder.join("worker"))
            .env("ROCKET_TOLLGATE_RULES", format!("{{listen=\"unix:{}\"}}", socket.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while std::fs::symlink_metadata(&socket).is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Self { process, socket }
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The setting of a process that asks this worker.
    pub fn setting(&self) -> String {
        format!("{{workers=[\"unix:{}\"]}}", self.socket.display())
    }
}

impl Drop for RuleWorker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
