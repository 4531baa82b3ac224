//! Writes the log to standard error, through a bounded queue and in a separate thread.
//!
//! A line that cannot be written is dropped and counted. Logging must never block, however
//! slowly the log is read, and never panic.

use std::cell::Cell;
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;

const LINES_WAITING_MAX: usize = 8_192;
/// Lines can be long, because they quote errors.
const BYTES_WAITING_MAX: usize = 4 << 20;
/// Reserved for the log itself: the line that reports lost lines, and the message that ends the
/// thread. If the latter found no room, the guard would print to standard output, in the middle
/// of a command's output.
const LINES_OF_ITS_OWN: usize = 2;
/// How long the end of the process waits for the last lines to be read.
const LAST_LINES_WAIT: Duration = Duration::from_secs(2);
/// The pause between attempts if standard error does not block.
const FULL_PIPE_PAUSE: Duration = Duration::from_millis(10);
/// How long lines are gathered after others were written. A payment is a line, and a call of the
/// system for each of thousands a second takes much of the time that deciding them takes.
const GATHER_FOR: Duration = Duration::from_millis(5);
const GATHERED_BYTES_MAX: usize = 64 << 10;
/// The interval of the lines that report lost lines.
const REPORT_EVERY: Duration = Duration::from_secs(1);

static LOST: LostLines = LostLines(AtomicU64::new(0));

thread_local! {
    /// Whether this thread is writing a line of the log itself, which always finds room.
    static WRITES: Cell<bool> = const { Cell::new(false) };
}

/// Counts the lines that found the queue full or could not be written.
#[derive(Debug)]
struct LostLines(AtomicU64);

impl LostLines {
    fn add_line(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn lines(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The number of lost lines since the process began.
pub fn lines_lost() -> u64 {
    LOST.lines()
}

/// Counts the lines that wait or are being written.
#[derive(Debug, Default)]
struct QueuedLines {
    lines: AtomicUsize,
    bytes: AtomicUsize,
}

impl QueuedLines {
    fn enter(&self, bytes: usize) -> bool {
        let lines = self.lines.fetch_add(1, Ordering::AcqRel) + 1;
        let all_bytes = self.bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        let fits = lines <= LINES_WAITING_MAX && all_bytes <= BYTES_WAITING_MAX;
        let enters = fits || WRITES.get();
        if !enters {
            self.leave(1, bytes);
        }
        enters
    }

    fn leave(&self, lines: usize, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.lines.fetch_sub(lines, Ordering::AcqRel);
    }
}

/// Puts lines into the queue, or counts them as lost.
#[derive(Debug, Clone)]
pub(super) struct LogQueue {
    lines: NonBlocking,
    waiting: Arc<QueuedLines>,
    lost: &'static LostLines,
}

impl Write for LogQueue {
    /// The subscriber writes one line at a time.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.waiting.enter(line.len()) {
            // The queue has room for every line that was admitted.
            self.lines.write_all(line)?;
        } else {
            self.lost.add_line();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Writes the log until it is dropped, at the end of the process.
#[derive(Debug)]
#[must_use]
pub struct LogWriter(Option<WorkerGuard>);

impl LogWriter {
    pub(super) fn start() -> (LogQueue, Self) {
        Self::into(io::stderr(), &LOST)
    }

    fn into(to: impl Write + Send + 'static, lost: &'static LostLines) -> (LogQueue, Self) {
        let waiting = Arc::new(QueuedLines::default());
        let most = LINES_WAITING_MAX + LINES_OF_ITS_OWN;
        let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(most).thread_name("log");
        let (lines, guard) = builder.finish(Outlet::new(to, waiting.clone(), lost));
        (LogQueue { lines, waiting, lost }, Self(Some(guard)))
    }
}

impl Drop for LogWriter {
    /// Writes the last lines if they are read. Uses another thread, because the guard
    /// prints errors, which may block or panic.
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

/// Where lines are written.
struct Outlet<W> {
    to: W,
    waiting: Arc<QueuedLines>,
    lost: &'static LostLines,
    /// How many lost lines were reported, and when the last report was.
    reported: u64,
    reported_at: Option<Instant>,
    /// Whether the last lines were written.
    flows: bool,
    /// Whether the last line was written in part.
    torn: bool,
    gathered: Vec<u8>,
    /// Where each of the gathered lines ends.
    ends: Vec<usize>,
}

impl<W: Write> Outlet<W> {
    fn new(to: W, waiting: Arc<QueuedLines>, lost: &'static LostLines) -> Self {
        let (gathered, ends) = (Vec::new(), Vec::new());
        Self { to, waiting, lost, reported: 0, reported_at: None, flows: true, torn: false, gathered, ends }
    }

    /// Writes the gathered lines, and counts those that cannot be written as lost.
    fn put_gathered(&mut self) {
        let (gathered, ends) = (std::mem::take(&mut self.gathered), std::mem::take(&mut self.ends));
        if ends.is_empty() {
            return;
        }
        if self.torn {
            self.torn = !self.put(b"\n").1;
        }
        let (written, whole) = if self.torn { (0, false) } else { self.put(&gathered) };
        let whole_lines = ends.partition_point(|end| *end <= written);
        let written_in_full = whole_lines.checked_sub(1).map_or(0, |last| ends[last]);
        self.torn |= written > written_in_full;
        self.flows = whole;
        ends[whole_lines..].iter().for_each(|_| self.lost.add_line());
        self.waiting.leave(ends.len(), gathered.len());
        // A log that is always busy must report lost lines too, but not after every write.
        if self.reported_at.is_none_or(|reported_at| reported_at.elapsed() >= REPORT_EVERY) {
            self.report_losses();
        }
    }

    fn report_losses(&mut self) {
        let lost = self.lost.lines();
        if self.flows && lost > self.reported {
            let lines = lost - self.reported;
            (self.reported, self.reported_at) = (lost, Some(Instant::now()));
            WRITES.set(true);
            tracing::warn!(lines, "log lines were lost because the log could not be written fast enough");
            WRITES.set(false);
        }
    }

    /// Returns how many bytes were written, and whether that was all.
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
    /// Accepts every line, even if it cannot be written.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(line);
        self.ends.push(self.gathered.len());
        if self.gathered.len() >= GATHERED_BYTES_MAX {
            self.put_gathered();
        }
        Ok(line.len())
    }

    /// Called when the queue is empty. The next lines gather in the queue meanwhile.
    fn flush(&mut self) -> io::Result<()> {
        self.put_gathered();
        self.report_losses();
        thread::sleep(GATHER_FOR);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Accepts some bytes and then fails, like a disk that fills up.
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

    /// An outlet whose queue has more lines than a test writes.
    fn outlet<W: Write>(to: W, lost: &'static LostLines) -> Outlet<W> {
        let waiting = QueuedLines { lines: AtomicUsize::new(1_000), bytes: AtomicUsize::new(1_000_000) };
        Outlet::new(to, Arc::new(waiting), lost)
    }

    #[test]
    fn a_line_that_was_written_in_part_does_not_spoil_the_next_one() {
        static LOST: LostLines = LostLines(AtomicU64::new(0));
        let mut disk = Disk { free: 9, holds: Vec::new() };
        let mut outlet = outlet(&mut disk, &LOST);
        for line in ["first\n", "second\n", "third\n"] {
            outlet.write_all(line.as_bytes()).expect("taken");
        }
        outlet.flush().expect("accepted");
        assert_eq!(LOST.lines(), 2);
        outlet.to.free = 100;
        for line in ["fourth\n", "fifth\n"] {
            outlet.write_all(line.as_bytes()).expect("taken");
            outlet.flush().expect("accepted");
        }
        assert_eq!(LOST.lines(), 2);
        assert_eq!(disk.holds, b"first\nsec\nfourth\nfifth\n");
    }

    /// The lines that are logged while `work` runs.
    fn printed_lines(work: impl FnOnce()) -> String {
        let reported = Arc::new(Mutex::new(Vec::new()));
        let writer = reported.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || Copy(writer.clone())).finish();
        tracing::subscriber::with_default(subscriber, work);
        let reported = reported.lock().expect("no panic").clone();
        String::from_utf8(reported).expect("text")
    }

    struct Copy(Arc<Mutex<Vec<u8>>>);

    impl Write for Copy {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn losses_are_told_after_the_first_line_that_is_written_again() {
        static LOST: LostLines = LostLines(AtomicU64::new(0));
        let mut disk = Disk { free: 0, holds: Vec::new() };
        let mut outlet = outlet(&mut disk, &LOST);
        let write = |outlet: &mut Outlet<_>| {
            outlet.write_all(b"line\n").expect("taken");
            outlet.flush().expect("accepted");
        };
        let reported = printed_lines(|| {
            write(&mut outlet);
            write(&mut outlet);
        });
        assert_eq!(reported, "", "there is nowhere to tell it");
        outlet.to.free = 100;
        let reported = printed_lines(|| {
            write(&mut outlet);
            write(&mut outlet);
        });
        assert_eq!(reported.matches("log lines were lost").count(), 1, "{reported}");
        assert!(reported.contains("lines=2"), "{reported}");
    }

    /// Accepts nothing until the other end is dropped.
    struct Stuck(mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_waits_is_bounded_in_lines_and_in_bytes() {
        for (line_bytes, most) in [(100, LINES_WAITING_MAX), (1 << 20, BYTES_WAITING_MAX >> 20)] {
            let lost: &'static LostLines = Box::leak(Box::new(LostLines(AtomicU64::new(0))));
            let (reader, stuck) = mpsc::channel();
            let (mut queue, log) = LogWriter::into(Stuck(stuck), lost);
            for _ in 0..most + 3 {
                queue.write_all(&vec![b' '; line_bytes]).expect("taken or lost");
            }
            assert_eq!(lost.lines(), 3, "of {line_bytes} bytes each");
            drop(reader);
            drop(log);
        }
    }
}
