//! The progress of a long command: a bar on a terminal, otherwise a line each second.
//!
//! Progress must never go to standard output, which belongs to the command's result.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::output::{print_result, print_status};

const LINES_EVERY: Duration = Duration::from_secs(1);
const BAR: &str = "{bar:40} {human_pos} of {human_len} {msg}, {per_sec}, {eta} to go";

#[derive(Debug)]
pub struct Progress {
    /// `None` if standard error is not a terminal.
    bar: Option<ProgressBar>,
    what: &'static str,
    total: u64,
    done: u64,
    begun: Instant,
    printed_at: Instant,
}

impl Progress {
    /// `what` is printed after the number of items, for example "replayed". There may be more items
    /// than the total.
    pub fn new(total: u64, what: &'static str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total).with_style(style).with_message(what)
        });
        let now = Instant::now();
        Self { bar, what, total, done: 0, begun: now, printed_at: now }
    }

    pub fn add(&mut self, more: u64) {
        self.done += more;
        match &self.bar {
            Some(bar) => bar.inc(more),
            None if self.printed_at.elapsed() >= LINES_EVERY => {
                self.printed_at = Instant::now();
                print_status!("{} of {} {}, {:.0} per second", self.done, self.total, self.what, self.rate());
            }
            None => {}
        }
    }

    /// Prints a line of the result on standard output, above the bar.
    pub fn tell(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| print_result!("{line}")),
            None => print_result!("{line}"),
        }
    }

    /// Items per second since the start.
    pub fn rate(&self) -> f64 {
        self.done as f64 / self.begun.elapsed().as_secs_f64().max(f64::EPSILON)
    }

    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
