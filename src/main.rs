//! The program: command line, then configuration, then run.

use std::process::ExitCode;

/// What one thread allocates another frees, all the time: the C library's allocator
/// takes a lock for that, and for whatever is larger than a kilobyte.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    tollgate::command::run()
}
