//! The output of a command: its result on standard output, everything else on standard error.
//!
//! If nobody reads the output any more, the command still finishes its work. Must never panic
//! if writing fails, as `println!` does, and never delay the end of a server.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How long the process waits at its end until the last lines are read.
const LAST_LINES_WAIT_MAX: Duration = Duration::from_secs(1);

/// Why standard output can no longer be written.
static REFUSED: OnceLock<io::Error> = OnceLock::new();

/// Like `println!`: a line of the result.
macro_rules! print_result {
    ($($words:tt)*) => { $crate::command::output::write_result(format_args!($($words)*)) };
}

/// Like `eprintln!`: a line about progress or an error.
macro_rules! print_status {
    ($($words:tt)*) => { $crate::command::output::write_status(format_args!($($words)*)) };
}

pub(super) use {print_result, print_status};

pub fn write_result(line: Arguments<'_>) {
    let text = format!("{line}\n");
    if REFUSED.get().is_none()
        && let Err(error) = write_out(&text)
    {
        let _ = REFUSED.set(error);
    }
}

/// Writes whole lines of the result.
pub(super) fn write_results(text: &str) {
    if let Some(lines) = text.strip_suffix('\n') {
        print_result!("{lines}");
    }
}

fn write_out(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

pub fn write_status(line: Arguments<'_>) {
    let _ = io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// Prints on another thread, for a server, which must not wait for a reader.
pub fn print_in_background(text: String) {
    // If no thread can be started, the text is lost.
    let _ = thread::Builder::new().name("output".to_owned()).spawn(move || write_out(&format!("{text}\n")));
}

/// Writes the last lines to standard error. Waits at most `LAST_LINES_WAIT_MAX` for a reader.
pub fn print_last_lines(text: String) {
    let (ended, wait) = mpsc::channel();
    let printing = move || {
        print_status!("{text}");
        let _ = ended.send(());
    };
    if thread::Builder::new().name("output".to_owned()).spawn(printing).is_ok() {
        let _ = wait.recv_timeout(LAST_LINES_WAIT_MAX);
    }
}

/// Whether the reader has closed the pipe, as `head` does when it has enough.
pub fn reader_has_gone() -> bool {
    REFUSED.get().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// Why the result could not be written, for example because the disk is full.
pub fn output_error() -> Option<&'static io::Error> {
    REFUSED.get().filter(|_| !reader_has_gone())
}
