use std::process::ExitCode;

use tollgate::storage::private_server::{SHIM_COMMAND, become_program};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == SHIM_COMMAND) {
        let error = become_program(arguments);
        eprintln!("{error}");
    }
    ExitCode::FAILURE
}
