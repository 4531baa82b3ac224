//! The shim is a subcommand of Tollgate that becomes a program of Postgres. First it sets a death
//! signal, so that the program ends with its parent.
//!
//! Setting the signal between fork and exec would need unsafe code. The shim must do nothing else:
//! it may run as another user.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The hidden subcommand. Its arguments: the parent's process id, the program, and its arguments.
pub const SHIM_COMMAND: &str = "postgres-shim";

/// Executes the program. Returns only on failure.
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

/// SIGINT is Postgres' fast shutdown, and makes initdb remove its incomplete cluster.
#[cfg(target_os = "linux")]
fn die_with_parent(parent: &OsString) -> std::io::Result<()> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::INT))?;
    // The parent may have died before the signal was set.
    let alive = getppid().is_some_and(|pid| parent.to_str() == Some(&pid.as_raw_nonzero().to_string()));
    if alive { Ok(()) } else { Err(std::io::Error::other("the parent process has ended")) }
}

/// On other systems the next start ends the processes of a killed Tollgate.
#[cfg(not(target_os = "linux"))]
fn die_with_parent(_parent: &OsString) -> std::io::Result<()> {
    Ok(())
}
