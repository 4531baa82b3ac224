//! The program. Everything is in the library.

use std::process::ExitCode;

/// Memory is often freed by another thread than the one that allocated it. The C library's
/// allocator takes a lock for that, and for allocations larger than a kilobyte.
#[cfg(all(target_os = "linux", feature = "jemalloc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    tollgate::command::run()
}
