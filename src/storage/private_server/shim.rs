//! The last step before a program of Postgres runs: this same binary, started
//! again, which binds its life to its parent's and then becomes that program.
//!
//! It exists because the death signal must be set between fork and exec, and
//! code there would have to be unsafe. Must do nothing else: it may run as
//! another user than Tollgate.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The hidden subcommand. Its arguments are the parent's process id, the program and its arguments.
pub const SHIM_COMMAND: &str = "postgres-shim";

/// Becomes the program. Returns only when that failed.
pub fn become_program(arguments: impl IntoIterator<Item = OsString>) -> std::io::Error {
    let mut arguments = arguments.into_iter();
    let (Some(parent), Some(program)) = (arguments.next(), arguments.next()) else {
        return std::io::Error::other("the parent's process id and a program are needed");
    };
    if let Err(error) = die_with_parent(&parent) {
        return error;
    }
    Command::new(program).args(arguments).exec()
}

/// SIGINT is Postgres's fast shutdown, and makes initdb remove what it began.
#[cfg(target_os = "linux")]
fn die_with_parent(parent: &OsString) -> std::io::Result<()> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::INT))?;
    // The parent may have died before the signal was set.
    let alive = getppid().is_some_and(|pid| parent.to_str() == Some(&pid.as_raw_nonzero().to_string()));
    if alive { Ok(()) } else { Err(std::io::Error::other("the parent process has ended")) }
}

/// Elsewhere the next start ends what a killed Tollgate left behind.
#[cfg(not(target_os = "linux"))]
fn die_with_parent(_parent: &OsString) -> std::io::Result<()> {
    Ok(())
}
