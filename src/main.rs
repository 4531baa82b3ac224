//! The program: command line, then configuration, then run.

use std::process::ExitCode;

fn main() -> ExitCode {
    tollgate::command::run()
}
