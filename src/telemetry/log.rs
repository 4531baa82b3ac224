//! The way of the log's lines to standard error: a bounded queue and a thread of its own.
//!
//! Owns what becomes of a line that cannot be written: it is lost, and counted.
//! Must never make anybody wait for whoever reads the log, and never panic:
//! a log that is full, closed or not read is no reason to end.

use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

/// About two megabytes of lines.
const LINES_WAITING_MAX: usize = 8_192;
/// How long the end of the process waits for the last lines to be read.
const LAST_LINES_WAIT: Duration = Duration::from_secs(2);
/// Between two tries where standard error was set not to block.
const FULL_PIPE_PAUSE: Duration = Duration::from_millis(10);

static LOST: Lost = Lost { in_queue: OnceLock::new(), in_writing: AtomicU64::new(0) };

/// Lines that nobody will read.
#[derive(Debug)]
struct Lost {
    /// They found the queue full.
    in_queue: OnceLock<ErrorCounter>,
    in_writing: AtomicU64,
}

impl Lost {
    fn lines(&self) -> u64 {
        let in_queue = self.in_queue.get().map_or(0, ErrorCounter::dropped_lines);
        self.in_writing.load(Ordering::Relaxed).saturating_add(u64::try_from(in_queue).unwrap_or(u64::MAX))
    }
}

/// Since the process began.
pub fn lines_lost() -> u64 {
    LOST.lines()
}

/// The log, as long as it is held. Its end is that of the process.
#[derive(Debug)]
#[must_use]
pub struct Log(Option<WorkerGuard>);

impl Log {
    pub(super) fn start() -> (NonBlocking, Self) {
        let builder = NonBlockingBuilder::default();
        let builder = builder.lossy(true).buffered_lines_limit(LINES_WAITING_MAX).thread_name("log");
        let (queue, guard) = builder.finish(Outlet::new(io::stderr(), &LOST));
        let _ = LOST.in_queue.set(queue.error_counter());
        (queue, Self(Some(guard)))
    }
}

impl Drop for Log {
    /// The last lines are written, if anybody reads them. On another thread,
    /// since the guard prints what goes wrong, and that may block or panic.
    fn drop(&mut self) {
        let Some(guard) = self.0.take() else { return };
        let (ended, wait) = mpsc::channel();
        let ending = move || {
            drop(guard);
            let _ = ended.send(());
        };
        if thread::Builder::new().name("log-end".to_owned()).spawn(ending).is_ok() {
            let _ = wait.recv_timeout(LAST_LINES_WAIT);
        }
    }
}

/// Where lines leave the process.
struct Outlet<W> {
    to: W,
    lost: &'static Lost,
    /// How many lost lines a line of the log has told of.
    told: u64,
    /// The last line was written.
    flows: bool,
    /// The last one was written in part.
    torn: bool,
}

impl<W: Write> Outlet<W> {
    fn new(to: W, lost: &'static Lost) -> Self {
        Self { to, lost, told: 0, flows: true, torn: false }
    }

    /// Gives how much of it was written, and whether that was all.
    fn put(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut written = 0;
        while written < bytes.len() {
            match self.to.write(&bytes[written..]) {
                Ok(0) => return (written, false),
                Ok(more) => written += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(FULL_PIPE_PAUSE),
                Err(_) => return (written, false),
            }
        }
        (written, true)
    }
}

impl<W: Write> Write for Outlet<W> {
    /// Takes every line, whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.torn {
            self.torn = !self.put(b"\n").1;
        }
        let (written, whole) = if self.torn { (0, false) } else { self.put(line) };
        self.torn |= written > 0 && !whole;
        self.flows = whole;
        if !whole {
            self.lost.in_writing.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    /// Called when nothing waits any more: there is room for one line again.
    fn flush(&mut self) -> io::Result<()> {
        let lost = self.lost.lines();
        if self.flows && lost > self.told {
            let lines = lost - self.told;
            self.told = lost;
            tracing::warn!(lines, "log lines were lost: the log could not be written, or not quickly enough");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes some bytes, then refuses, as a disk that fills up.
    struct Disk {
        free: usize,
        holds: Vec<u8>,
    }

    impl Write for &mut Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.free == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            let taken = bytes.len().min(self.free);
            self.free -= taken;
            self.holds.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_was_written_in_part_does_not_spoil_the_next_one() {
        static LOST: Lost = Lost { in_queue: OnceLock::new(), in_writing: AtomicU64::new(0) };
        let mut disk = Disk { free: 9, holds: Vec::new() };
        let mut outlet = Outlet::new(&mut disk, &LOST);
        for line in ["first\n", "second\n", "third\n"] {
            outlet.write_all(line.as_bytes()).expect("taken");
        }
        assert_eq!(LOST.lines(), 2);
        outlet.to.free = 100;
        for line in ["fourth\n", "fifth\n"] {
            outlet.write_all(line.as_bytes()).expect("taken");
        }
        assert_eq!(LOST.lines(), 2);
        assert_eq!(disk.holds, b"first\nsec\nfourth\nfifth\n");
    }
}
