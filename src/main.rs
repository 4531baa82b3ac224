//! The program: command line, then configuration, then run.

use std::process::ExitCode;

/// A decision takes hundreds of small allocations on one thread that another
/// frees; the C library's allocator was an eighth of the server's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tollgate::command::run()
}
