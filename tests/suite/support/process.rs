//! Processes that run a part of this test program.
//!
//! A part is an ignored test that does nothing unless it was started from here:
//! so neither the product carries code for its tests, nor do the tests need a
//! second program.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tollgate::storage::private_server::PrivateServerSettings;

const FOLDER: &str = "TOLLGATE_TEST_FOLDER";

/// The command for a part, by the path of its test. It is told a folder, writes
/// to `log` and is out of reach of what ends this process's group.
pub fn part(test: &str, folder: &Path, log: &Path) -> Command {
    let log = File::create(log).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]).env(FOLDER, folder);
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
    command
}

/// The folder, in a process that was started as a part.
pub fn folder_of_part() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

pub fn server_settings(data_dir: PathBuf, durable: bool) -> PrivateServerSettings {
    PrivateServerSettings { data_dir, shim_exe: PathBuf::from(env!("CARGO_BIN_EXE_tollgate")), durable }
}
