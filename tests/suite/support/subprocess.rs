//! Runs one test of this test program as a separate process.
//!
//! Such tests are marked as ignored. They do nothing unless this module starts them.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tollgate::storage::private_server::PrivateServerSettings;

const FOLDER: &str = "TOLLGATE_TEST_FOLDER";

/// The command that runs the test of this path. The test gets a folder and writes to `log`. It has
/// its own process group, so that it outlives this process.
pub fn subprocess(test: &str, folder: &Path, log: &Path) -> Command {
    let log = File::create(log).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]).env(FOLDER, folder);
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
    command
}

/// The folder, if this process was started by `subprocess`.
pub fn subprocess_folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

pub fn server_settings(data_dir: PathBuf, durable: bool) -> PrivateServerSettings {
    PrivateServerSettings { data_dir, shim_exe: PathBuf::from(env!("CARGO_BIN_EXE_tollgate")), durable }
}
