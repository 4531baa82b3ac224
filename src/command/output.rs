//! What a command says: its answer on the standard output, the rest on standard error.
//!
//! Owns what it means that nobody reads any more: the command does its work to
//! the end and says nothing. Must never panic where something cannot be written,
//! as `println!` does, and never hold up the end of a server.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How long the end of the process waits for somebody to read the last lines.
const LAST_WORDS_WAIT: Duration = Duration::from_secs(1);

/// Why the standard output takes nothing any more.
static REFUSED: OnceLock<io::Error> = OnceLock::new();

/// As `println!`: a line of the answer.
macro_rules! say {
    ($($words:tt)*) => { $crate::command::output::say_line(format_args!($($words)*)) };
}

/// As `eprintln!`: a line beside the answer, on how far it is or what is wrong.
macro_rules! tell {
    ($($words:tt)*) => { $crate::command::output::tell_line(format_args!($($words)*)) };
}

pub(super) use {say, tell};

pub fn say_line(line: Arguments<'_>) {
    let text = format!("{line}\n");
    if REFUSED.get().is_none()
        && let Err(error) = write_out(&text)
    {
        let _ = REFUSED.set(error);
    }
}

fn write_out(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

pub fn tell_line(line: Arguments<'_>) {
    let _ = io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// Prints without waiting, for a server: it goes on whether or not anybody reads.
pub fn say_aside(text: String) {
    // If no thread can be started, nothing is printed.
    let _ = thread::Builder::new().name("output".to_owned()).spawn(move || write_out(&format!("{text}\n")));
}

/// The last lines on standard error, if anybody reads them.
pub fn tell_at_the_end(text: String) {
    let (ended, wait) = mpsc::channel();
    let telling = move || {
        tell!("{text}");
        let _ = ended.send(());
    };
    if thread::Builder::new().name("output".to_owned()).spawn(telling).is_ok() {
        let _ = wait.recv_timeout(LAST_WORDS_WAIT);
    }
}

/// Whoever read the answer has gone, as `head` does when it has enough.
pub fn reader_has_gone() -> bool {
    REFUSED.get().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// Why the answer could not be written, though somebody may have wanted it: a full disk, for one.
pub fn answer_lost() -> Option<&'static io::Error> {
    REFUSED.get().filter(|_| !reader_has_gone())
}
