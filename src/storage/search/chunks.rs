//! The encoding of a segment's entries in chunks.
//!
//! A chunk is stored, so this form must not change without a new table. A damaged chunk is an
//! error, never a panic.
//!
//! ```text
//! chunk:  the base time, then groups
//! group:  (distance of its term from the one before) * 2 + (1 if it has several times)
//!         [how many times, less 2]  the first time less the base
//!         for each further time: its distance from the one before, less 1
//! ```
//! All numbers are variable-length integers of 7 bits a byte. So an entry of a common term takes
//! one or two bytes, and an entry of a term that occurs once about eight.

use super::terms::Term;
use crate::storage::StorageError;

/// With the other columns a row fills a page of 8 kB. A larger row would not fit at all.
const CHUNK_BYTES_MAX: usize = 7_900;

/// The most bytes that one more entry can take: a group of its own.
const ENTRY_BYTES_MAX: usize = 32;

pub(super) const DAMAGED: StorageError = StorageError::Unreadable { what: "search segment" };

/// A term, and the time in the id of a payment that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub term: Term,
    pub at_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    pub first: Entry,
    pub last: Entry,
    pub bytes: Vec<u8>,
}

/// Takes entries in ascending order and cuts them into chunks. The base time must not be later
/// than any of them.
#[derive(Debug)]
pub(super) struct ChunkWriter {
    base_ms: u64,
    chunk: Option<Chunk>,
    group: Group,
    /// The last term that is written to the chunk.
    term_before: u64,
}

/// The times of the last term, which are written once it is known how many there are.
#[derive(Debug, Default)]
struct Group {
    times: u64,
    bytes: Vec<u8>,
}

impl ChunkWriter {
    pub fn new(base_ms: u64) -> Self {
        Self { base_ms, chunk: None, group: Group::default(), term_before: 0 }
    }

    /// Adds an entry, and returns a chunk if it is full. An entry that was just added is ignored.
    pub fn add(&mut self, entry: Entry) -> Option<Chunk> {
        let Some(chunk) = &mut self.chunk else {
            self.begin(entry);
            return None;
        };
        if chunk.last == entry {
            return None;
        }
        if chunk.bytes.len() + self.group.bytes.len() + 2 * ENTRY_BYTES_MAX > CHUNK_BYTES_MAX {
            let full = self.finish();
            self.begin(entry);
            return full;
        }
        if chunk.last.term == entry.term {
            put(&mut self.group.bytes, entry.at_ms - chunk.last.at_ms - 1);
            self.group.times += 1;
            chunk.last = entry;
        } else {
            self.end_group();
            self.begin_group(entry);
        }
        None
    }

    /// Returns the last chunk, unless it is empty.
    pub fn finish(&mut self) -> Option<Chunk> {
        self.end_group();
        self.chunk.take()
    }

    fn begin(&mut self, entry: Entry) {
        let mut bytes = Vec::with_capacity(CHUNK_BYTES_MAX);
        put(&mut bytes, self.base_ms);
        self.chunk = Some(Chunk { first: entry, last: entry, bytes });
        self.term_before = 0;
        self.begin_group(entry);
    }

    fn begin_group(&mut self, entry: Entry) {
        self.group = Group { times: 1, bytes: Vec::new() };
        put(&mut self.group.bytes, entry.at_ms - self.base_ms);
        if let Some(chunk) = &mut self.chunk {
            chunk.last = entry;
        }
    }

    fn end_group(&mut self) {
        let Some(chunk) = &mut self.chunk else { return };
        let group = std::mem::take(&mut self.group);
        let term = chunk.last.term.0;
        put(&mut chunk.bytes, (term - self.term_before) << 1 | u64::from(group.times > 1));
        if group.times > 1 {
            put(&mut chunk.bytes, group.times - 2);
        }
        chunk.bytes.extend(group.bytes);
        self.term_before = term;
    }
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Reads the groups of a chunk.
struct GroupReader<'b> {
    bytes: &'b [u8],
    base_ms: u64,
    term: u64,
}

impl<'b> GroupReader<'b> {
    fn of(bytes: &'b [u8]) -> Result<Self, StorageError> {
        let mut reader = Self { bytes, base_ms: 0, term: 0 };
        reader.base_ms = reader.number()?;
        Ok(reader)
    }

    fn number(&mut self) -> Result<u64, StorageError> {
        let (mut number, mut shift) = (0u64, 0);
        while let Some((byte, rest)) = self.bytes.split_first() {
            self.bytes = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
            shift += 7;
            if shift > 63 {
                break;
            }
        }
        Err(DAMAGED)
    }

    /// The next term, with the number of its times. `None` at the end.
    fn next_group(&mut self) -> Result<Option<(Term, u64)>, StorageError> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let head = self.number()?;
        self.term = self.term.checked_add(head >> 1).ok_or(DAMAGED)?;
        let times = if head & 1 == 0 { 1 } else { self.number()?.saturating_add(2) };
        Ok(Some((Term(self.term), times)))
    }

    /// Passes each of the times of a group, in ascending order.
    fn times(&mut self, times: u64, mut each: impl FnMut(u64)) -> Result<(), StorageError> {
        let mut at_ms = self.number()?.checked_add(self.base_ms).ok_or(DAMAGED)?;
        each(at_ms);
        for _ in 1..times {
            at_ms =
                self.number()?.checked_add(at_ms).and_then(|at_ms| at_ms.checked_add(1)).ok_or(DAMAGED)?;
            each(at_ms);
        }
        Ok(())
    }
}

/// The entries of a chunk, in ascending order.
pub(super) fn entries(bytes: &[u8]) -> Result<Vec<Entry>, StorageError> {
    let (mut reader, mut entries) = (GroupReader::of(bytes)?, Vec::new());
    while let Some((term, times)) = reader.next_group()? {
        reader.times(times, |at_ms| entries.push(Entry { term, at_ms }))?;
    }
    Ok(entries)
}

/// The times of one term, in ascending order.
pub(super) fn times_of(bytes: &[u8], wanted: Term) -> Result<Vec<u64>, StorageError> {
    let (mut reader, mut found) = (GroupReader::of(bytes)?, Vec::new());
    while let Some((term, times)) = reader.next_group()? {
        if term > wanted {
            break;
        }
        reader.times(times, |at_ms| {
            if term == wanted {
                found.push(at_ms);
            }
        })?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE_MS: u64 = 1_800_000_000_000;

    fn chunks_of(sorted: &[Entry]) -> Vec<Chunk> {
        let mut writer = ChunkWriter::new(BASE_MS);
        let mut chunks: Vec<Chunk> = sorted.iter().filter_map(|entry| writer.add(*entry)).collect();
        chunks.extend(writer.finish());
        chunks
    }

    /// Terms that occur once, and terms that almost every payment has.
    fn sample() -> Vec<Entry> {
        let mut number = 7u64;
        let mut next = move || {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            number >> 33
        };
        let mut sample: Vec<Entry> = (0..20_000)
            .map(|place| {
                let term = if place % 2 == 0 { (place % 8) << 37 | 5 } else { next() << 9 };
                Entry { term: Term(term), at_ms: BASE_MS + next() % 2_600_000_000 }
            })
            .collect();
        sample.sort_unstable();
        sample
    }

    #[test]
    fn chunks_hold_the_entries_in_order_and_each_once() {
        let mut sorted = sample();
        let chunks = chunks_of(&sorted);
        sorted.dedup();
        let read: Vec<Entry> =
            chunks.iter().flat_map(|chunk| entries(&chunk.bytes).expect("entries")).collect();
        assert_eq!(read, sorted);
        for chunk in &chunks {
            let read = entries(&chunk.bytes).expect("entries");
            assert_eq!((read.first(), read.last()), (Some(&chunk.first), Some(&chunk.last)));
            assert!(chunk.bytes.len() <= CHUNK_BYTES_MAX, "{}", chunk.bytes.len());
        }
        assert!(chunks.len() > 4, "{}", chunks.len());
        assert_eq!(chunks_of(&[]), []);
    }

    #[test]
    fn the_times_of_a_term_are_found_in_each_of_its_chunks() {
        let mut sorted = sample();
        let chunks = chunks_of(&sorted);
        sorted.dedup();
        for wanted in [Term(5), Term((6 << 37) | 5), sorted[1].term, Term(6)] {
            let expected: Vec<u64> =
                sorted.iter().filter(|entry| entry.term == wanted).map(|entry| entry.at_ms).collect();
            let found: Vec<u64> =
                chunks.iter().flat_map(|chunk| times_of(&chunk.bytes, wanted).expect("times")).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_damaged_chunk_is_an_error() {
        let bytes = &chunks_of(&sample())[0].bytes;
        for damaged in [&bytes[..0], &bytes[..bytes.len() - 1], &[0xff; 40], &[0, 1, 0xff, 0xff, 0x7f, 1]] {
            assert!(entries(damaged).is_err(), "{} bytes", damaged.len());
        }
    }
}
