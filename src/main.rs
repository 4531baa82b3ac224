//! Command line. No logic.

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some(tollgate::rules::compile::COMMAND) => tollgate::rules::compile::child_main(),
        _ => ExitCode::SUCCESS,
    }
}
