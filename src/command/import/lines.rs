//! Reads lines from a file or standard input, one at a time.
//!
//! A line that is too long is skipped and reported. Must never hold more than one line in memory.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use crate::http::routes::payments::events::NOTE_LENGTH_MAX;
use crate::http::routes::payments::import_line::EVENTS_MAX;

/// A submitted payment has at most 64 KiB, and an imported one has events as well. A character
/// has at most four bytes, and an event without its note has less than 200.
pub const LINE_BYTES_MAX: usize = (64 << 10) + EVENTS_MAX * (4 * NOTE_LENGTH_MAX + 200);

/// The byte-order mark, with which some programs begin a file. It is not part of the first
/// line.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

#[derive(Debug, PartialEq, Eq)]
pub struct InputLine {
    /// From 1. Empty lines count.
    pub number: u64,
    /// `None` if the line is too long.
    pub bytes: Option<Vec<u8>>,
}

#[derive(Debug)]
pub struct InputLines<R> {
    source: R,
    number: u64,
}

impl<R: AsyncBufRead + Unpin> InputLines<R> {
    pub fn of(source: R) -> Self {
        Self { source, number: 0 }
    }

    /// The next line that is not empty, or `None` at the end.
    pub async fn next(&mut self) -> io::Result<Option<InputLine>> {
        loop {
            let Some(line) = self.any().await? else { return Ok(None) };
            if line.bytes.as_ref().is_none_or(|bytes| !bytes.trim_ascii().is_empty()) {
                return Ok(Some(line));
            }
        }
    }

    async fn any(&mut self) -> io::Result<Option<InputLine>> {
        let (mut bytes, mut too_long) = (Vec::new(), false);
        loop {
            let available = self.source.fill_buf().await?;
            if available.is_empty() && bytes.is_empty() && !too_long {
                return Ok(None);
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let part = &available[..end.unwrap_or(available.len())];
            if bytes.len() + part.len() > LINE_BYTES_MAX {
                too_long = true;
                bytes = Vec::new();
            }
            if !too_long {
                bytes.extend_from_slice(part);
            }
            let (used, ended) =
                (part.len() + usize::from(end.is_some()), end.is_some() || available.is_empty());
            self.source.consume(used);
            if ended {
                self.number += 1;
                if self.number == 1 && bytes.starts_with(BYTE_ORDER_MARK) {
                    bytes.drain(..BYTE_ORDER_MARK.len());
                }
                return Ok(Some(InputLine { number: self.number, bytes: (!too_long).then_some(bytes) }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::BufReader;

    use super::*;

    #[tokio::test]
    async fn lines_keep_their_numbers_and_a_long_one_is_passed_over() {
        let long = "x".repeat(LINE_BYTES_MAX + 1);
        let longest = "y".repeat(LINE_BYTES_MAX);
        let text = format!("a\n\n  \r\nb\n{long}\nc\r\n{longest}\nd");
        // A small buffer, so that a line is read in parts.
        let mut lines = InputLines::of(BufReader::with_capacity(7, text.as_bytes()));
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.expect("read") {
            found.push((line.number, line.bytes.map(|bytes| bytes.len())));
        }
        let longest = Some(LINE_BYTES_MAX);
        assert_eq!(found, [(1, Some(1)), (4, Some(1)), (5, None), (6, Some(2)), (7, longest), (8, Some(1))]);
    }

    #[tokio::test]
    async fn a_byte_order_mark_is_skipped_at_the_beginning_and_nowhere_else() {
        let text = "\u{feff}a\n\u{feff}b";
        let mut lines = InputLines::of(BufReader::with_capacity(2, text.as_bytes()));
        for expected in ["a", "\u{feff}b"] {
            let line = lines.next().await.expect("read").expect("a line");
            assert_eq!(line.bytes.as_deref(), Some(expected.as_bytes()));
        }
    }
}
