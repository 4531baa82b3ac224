//! The rows of one version in memory, for look-ups.
//!
//! They stay in their stored form in one buffer, since a node may hold many tables of a million
//! rows: a row costs its bytes and four more, and eight more in a table of prefixes.

use super::key::{is_range_digits, last_number};
use super::row::{first_text, position_of, rows_of, size_with_length};
use super::rows::head_of;
use super::{DamagedRowsError, Position, Row, TableSchema};
use crate::domain::plugin::{Digest, DigestBuilder};
use crate::domain::selector::TableLookup;

/// Collects chunks in their order.
#[derive(Debug)]
pub struct ContentsBuilder {
    schema: TableSchema,
    stored: Vec<u8>,
    ends: Vec<u32>,
}

/// Immutable. The bytes of `stored` are rows with their lengths, sorted by position.
#[derive(Debug)]
pub struct TableContents {
    schema: TableSchema,
    stored: Box<[u8]>,
    /// Where each row ends.
    ends: Box<[u32]>,
    /// For each row the row with its longest own prefix, or `NO_ROW`. Only for prefixes.
    prefixes: Box<[u32]>,
}

const NO_ROW: u32 = u32::MAX;

impl ContentsBuilder {
    /// `rows` and `size_bytes` are those of the version, so that memory is allocated only once.
    pub fn new(schema: TableSchema, rows: u32, size_bytes: usize) -> Self {
        Self { schema, stored: Vec::with_capacity(size_bytes), ends: Vec::with_capacity(rows as usize) }
    }

    pub fn add(&mut self, chunk: &[u8]) -> Result<(), DamagedRowsError> {
        for row in rows_of(chunk) {
            let end = self.ends.last().map_or(0, |end| *end as usize) + size_with_length(row?);
            self.ends.push(u32::try_from(end).map_err(|_| DamagedRowsError)?);
        }
        self.stored.extend_from_slice(chunk);
        Ok(())
    }

    /// Checks that the rows are those with this digest.
    pub fn finish(self, digest: Digest) -> Result<TableContents, DamagedRowsError> {
        let found = DigestBuilder::default().with(&head_of(&self.schema)).with(&self.stored).finish();
        if found != digest {
            return Err(DamagedRowsError);
        }
        self.finish_part()
    }

    /// Like `finish`, for some of the chunks, which have no digest of their own.
    pub fn finish_part(self) -> Result<TableContents, DamagedRowsError> {
        let Self { schema, stored, ends } = self;
        let (stored, ends) = (stored.into_boxed_slice(), ends.into_boxed_slice());
        let mut contents = TableContents { schema, stored, ends, prefixes: Box::default() };
        contents.check_order()?;
        if contents.schema.lookup() == TableLookup::LongestPrefix {
            contents.prefixes = contents.find_prefixes()?;
        }
        Ok(contents)
    }
}

impl TableContents {
    pub fn schema(&self) -> &TableSchema {
        &self.schema
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The memory that the rows occupy.
    pub fn bytes(&self) -> usize {
        self.stored.len() + size_of_val(&*self.ends) + size_of_val(&*self.prefixes)
    }

    /// The row that the value of a payment finds. `form` is its canonical form.
    pub fn find(&self, form: &str) -> Option<Row> {
        match self.schema.lookup() {
            TableLookup::Exact => self.exact(form),
            TableLookup::LongestPrefix => self.longest_prefix(form),
            TableLookup::Range => self.range(form),
        }
    }

    /// The row whose key is this form.
    pub fn exact(&self, form: &str) -> Option<Row> {
        let index = self.last_up_to(Position::One(form))?;
        (self.text(index) == form).then(|| self.row(index)).flatten()
    }

    /// The row with the longest key that this form begins with.
    pub fn longest_prefix(&self, form: &str) -> Option<Row> {
        // All keys between a prefix of the form and the form begin with that prefix. So every
        // prefix of the form is a prefix of the last key up to the form, or that key.
        let mut index = self.last_up_to(Position::One(form))?;
        while !form.starts_with(self.text(index)) {
            let prefix = *self.prefixes.get(index).filter(|prefix| **prefix != NO_ROW)?;
            index = prefix as usize;
        }
        self.row(index)
    }

    /// The row whose range contains every number that begins with these digits.
    pub fn range(&self, digits: &str) -> Option<Row> {
        if !is_range_digits(digits) {
            return None;
        }
        let index = self.last_up_to(Position::of_value(TableLookup::Range, digits)?)?;
        let (_, behind) = first_text(self.stored_row(index)).ok()?;
        let (to, _) = first_text(behind).ok()?;
        (last_number(digits) <= last_number(to)).then(|| self.row(index)).flatten()
    }

    /// The last row that is not behind this position.
    fn last_up_to(&self, position: Position<'_>) -> Option<usize> {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match position_of(self.schema.lookup(), self.stored_row(middle)) {
                Ok(found) if found <= position => low = middle + 1,
                _ => high = middle,
            }
        }
        low.checked_sub(1)
    }

    fn stored_row(&self, index: usize) -> &[u8] {
        let begin = index.checked_sub(1).map_or(0, |before| self.ends[before]) as usize;
        let row = self.stored.get(begin..).and_then(|rows| rows_of(rows).next());
        row.and_then(Result::ok).unwrap_or_default()
    }

    fn text(&self, index: usize) -> &str {
        first_text(self.stored_row(index)).map(|(text, _)| text).unwrap_or_default()
    }

    /// `None` is not possible: the bytes are those that were written.
    fn row(&self, index: usize) -> Option<Row> {
        Row::read(self.schema.lookup(), self.stored_row(index)).ok()
    }

    fn check_order(&self) -> Result<(), DamagedRowsError> {
        let mut before = None;
        for index in 0..self.len() {
            let position = Some(position_of(self.schema.lookup(), self.stored_row(index))?);
            if position <= before {
                return Err(DamagedRowsError);
            }
            before = position;
        }
        Ok(())
    }

    fn find_prefixes(&self) -> Result<Box<[u32]>, DamagedRowsError> {
        let mut prefixes = Vec::with_capacity(self.len());
        // The rows whose keys the current one may begin with, each a prefix of the next.
        let mut open: Vec<u32> = Vec::new();
        for index in 0..self.len() {
            let key = self.text(index);
            while open.last().is_some_and(|last| !key.starts_with(self.text(*last as usize))) {
                open.pop();
            }
            prefixes.push(open.last().copied().unwrap_or(NO_ROW));
            open.push(u32::try_from(index).map_err(|_| DamagedRowsError)?);
        }
        Ok(prefixes.into_boxed_slice())
    }
}

#[cfg(test)]
#[path = "contents_tests.rs"]
mod tests;
