//! The records of a CSV file with the numbers of their lines. Only a small part of the file is in
//! memory at a time.
//!
//! Errors must never contain a value: the messages of the crate may quote the line.

use std::io::{self, Read};

use csv::StringRecord;

/// Bytes are removed from memory many at a time, since the others are moved each time.
const FORGOTTEN_BYTES_MAX: usize = 64 << 10;

/// A record, or what is wrong with it, and the number of its line.
#[derive(Debug)]
pub struct CsvLine {
    pub number: u64,
    pub record: Result<StringRecord, String>,
}

#[derive(Debug)]
pub struct CsvRecords<R> {
    reader: csv::Reader<LimitedRecords<R>>,
    record_bytes_max: usize,
}

impl<R: Read> CsvRecords<R> {
    pub fn new(source: R, record_bytes_max: usize) -> Self {
        let source = LimitedRecords {
            source,
            bytes_left: record_bytes_max,
            passed: Vec::new(),
            passed_from: 0,
            forgotten: 0,
            line: 1,
        };
        Self { reader: csv::ReaderBuilder::new().from_reader(source), record_bytes_max }
    }

    /// The names of the columns, or what is wrong with the header line.
    pub fn columns(&mut self) -> Result<Vec<String>, String> {
        match self.reader.headers() {
            Ok(headers) => Ok(headers.iter().map(|name| name.trim().to_owned()).collect()),
            Err(error) => Err(self.described(&error)),
        }
    }

    fn described(&self, error: &csv::Error) -> String {
        match error.kind() {
            csv::ErrorKind::Utf8 { .. } => "expected UTF-8".to_owned(),
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!("expected {expected_len} columns as in the header line, found {len}")
            }
            csv::ErrorKind::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                format!("expected at most {} bytes", self.record_bytes_max)
            }
            csv::ErrorKind::Io(_) => "the file could not be read".to_owned(),
            _ => "expected CSV".to_owned(),
        }
    }
}

impl<R: Read> Iterator for CsvRecords<R> {
    type Item = CsvLine;

    fn next(&mut self) -> Option<CsvLine> {
        let record_bytes_max = self.record_bytes_max;
        self.reader.get_mut().bytes_left = record_bytes_max;
        let begin = self.reader.position().byte();
        let mut record = StringRecord::new();
        let (position, record) = match self.reader.read_record(&mut record) {
            Ok(false) => return None,
            Ok(true) => (record.position().map(csv::Position::byte), Ok(record)),
            Err(error) => (error.position().map(csv::Position::byte), Err(self.described(&error))),
        };
        Some(CsvLine { number: self.reader.get_mut().line_at(position.unwrap_or(begin)), record })
    }
}

/// Ends at a record that has more bytes than it may have, since the crate would hold a record with
/// any number of cells. Counts lines, since the crate counts empty lines before a record as part
/// of the record.
#[derive(Debug)]
struct LimitedRecords<R> {
    source: R,
    bytes_left: usize,
    /// What was read from `passed_from` on, of which `forgotten` bytes are not needed any more.
    passed: Vec<u8>,
    passed_from: u64,
    forgotten: usize,
    /// The number of the line of the first byte that is not forgotten.
    line: u64,
}

impl<R: Read> Read for LimitedRecords<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.bytes_left == 0 {
            // Only the end of the file may follow.
            return match self.source.read(&mut [0])? {
                0 => Ok(0),
                _ => Err(io::ErrorKind::FileTooLarge.into()),
            };
        }
        let room = buffer.len().min(self.bytes_left);
        let read = self.source.read(&mut buffer[..room])?;
        self.bytes_left -= read;
        self.passed.extend_from_slice(&buffer[..read]);
        Ok(read)
    }
}

impl<R> LimitedRecords<R> {
    /// The number of the line on which the record begins whose first byte, or empty lines before
    /// it, are at `begin`. Forgets what is before it.
    fn line_at(&mut self, begin: u64) -> u64 {
        let begin = usize::try_from(begin.saturating_sub(self.passed_from)).unwrap_or(usize::MAX);
        let begin = begin.clamp(self.forgotten, self.passed.len());
        let empty = self.passed[begin..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let begin = begin + empty;
        let lines = self.passed[self.forgotten..begin].iter().filter(|byte| **byte == b'\n').count();
        self.line += lines as u64;
        self.forgotten = begin;
        if self.forgotten > FORGOTTEN_BYTES_MAX {
            self.passed.drain(..self.forgotten);
            self.passed_from += std::mem::take(&mut self.forgotten) as u64;
        }
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out a few bytes at a time.
    struct Slowly<'b>(&'b [u8]);

    impl Read for Slowly<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let room = buffer.len().min(3);
            self.0.read(&mut buffer[..room])
        }
    }

    #[test]
    fn a_record_has_the_number_of_its_own_line() {
        let text = "a,b\r\n\r\n1,2\r\n\n\n\"x\ny\",3\n4\n5,6";
        let mut records = CsvRecords::new(Slowly(text.as_bytes()), 100);
        assert_eq!(records.columns().expect("a header"), ["a", "b"]);
        let found: Vec<(u64, bool)> = records.map(|line| (line.number, line.record.is_ok())).collect();
        assert_eq!(found, [(3, true), (6, true), (8, false), (9, true)]);
    }

    #[test]
    fn a_record_that_is_too_long_ends_the_file() {
        let text = format!("a\n1\n{}\n2\n", "x".repeat(200));
        let mut records = CsvRecords::new(Slowly(text.as_bytes()), 100);
        assert_eq!(records.columns().expect("a header"), ["a"]);
        let found: Vec<(u64, Option<String>)> =
            records.map(|line| (line.number, line.record.err())).collect();
        assert_eq!(found, [(2, None), (3, Some("expected at most 100 bytes".to_owned()))]);
    }
}
