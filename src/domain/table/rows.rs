//! The rows of a new version: collected, checked and sorted.
//!
//! All rows are in one buffer, so that a million of them need no allocation each.

use thiserror::Error;

use super::key::last_number;
use super::row::{first_text, position_of, rows_of};
use super::{
    CellKind, DamagedRowsError, FORM_VERSION, Position, ROW_BYTES_MAX, Row, TableSchema, VERSION_BYTES_MAX,
};
use crate::domain::plugin::{Digest, DigestBuilder};
use crate::domain::selector::TableLookup;

/// The bytes of a chunk. A row is in one chunk only, so a chunk may have a few bytes less.
const CHUNK_BYTES: usize = 256 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RowError {
    #[error("expected at most {ROW_BYTES_MAX} bytes of key and cells in one row")]
    RowTooLarge,
    #[error("expected at most {0} rows")]
    TooManyRows(u32),
    #[error("expected rows of at most {VERSION_BYTES_MAX} bytes together")]
    TooManyBytes,
}

/// Two rows of which a value could find either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collision {
    pub line: u64,
    pub earlier_line: u64,
}

/// A part of the rows in their stored form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The sort key of its first row.
    pub first_key: Vec<u8>,
    pub bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct StoredAt {
    offset: u32,
    line: u32,
}

#[derive(Debug)]
pub struct RowsBuilder {
    schema: TableSchema,
    rows_max: u32,
    stored: Vec<u8>,
    places: Vec<StoredAt>,
}

/// The rows in the order of their positions, each at another position.
#[derive(Debug)]
pub struct SortedRows {
    schema: TableSchema,
    stored: Vec<u8>,
    places: Vec<StoredAt>,
}

impl RowsBuilder {
    pub fn new(schema: TableSchema, rows_max: u32) -> Self {
        Self { schema, rows_max, stored: Vec::new(), places: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// `line` is the number of the row's line in its file.
    pub fn add(&mut self, line: u64, row: Row) -> Result<(), RowError> {
        if self.places.len() >= self.rows_max as usize {
            return Err(RowError::TooManyRows(self.rows_max));
        }
        let offset = u32::try_from(self.stored.len()).map_err(|_| RowError::TooManyBytes)?;
        row.append_to(&mut self.stored)?;
        let line = u32::try_from(line).map_err(|_| RowError::TooManyBytes)?;
        self.places.push(StoredAt { offset, line });
        Ok(())
    }

    /// Sorts the rows. Fails if a value could find two of them, with at most `collisions_max` of
    /// these rows.
    pub fn finish(self, collisions_max: usize) -> Result<SortedRows, Vec<Collision>> {
        let Self { schema, stored, mut places, .. } = self;
        let lookup = schema.lookup();
        let position = |place: &StoredAt| position_of(lookup, row_at(&stored, *place)).ok();
        places.sort_unstable_by(|one, other| {
            position(one).cmp(&position(other)).then(one.line.cmp(&other.line))
        });
        let collisions: Vec<Collision> = collisions(lookup, &stored, &places).take(collisions_max).collect();
        if collisions.is_empty() { Ok(SortedRows { schema, stored, places }) } else { Err(collisions) }
    }
}

/// The rows that collide with one before them in the order of positions.
fn collisions(lookup: TableLookup, stored: &[u8], places: &[StoredAt]) -> impl Iterator<Item = Collision> {
    // The row that reaches furthest.
    let mut furthest: Option<(Position<'_>, StoredAt)> = None;
    places.iter().filter_map(move |place| {
        let row = row_at(stored, *place);
        let (begin, end) = (position_of(lookup, row).ok()?, end_of(lookup, row).ok()?);
        let collides = furthest.filter(|(reached, _)| begin <= *reached);
        if furthest.is_none_or(|(reached, _)| end > reached) {
            furthest = Some((end, *place));
        }
        collides.map(|(_, other)| Collision {
            line: place.line.max(other.line).into(),
            earlier_line: place.line.min(other.line).into(),
        })
    })
}

/// The last position that a row covers.
fn end_of(lookup: TableLookup, row: &[u8]) -> Result<Position<'_>, DamagedRowsError> {
    match lookup {
        TableLookup::Exact | TableLookup::LongestPrefix => position_of(lookup, row),
        TableLookup::Range => Ok(Position::Range(last_number(first_text(first_text(row)?.1)?.0))),
    }
}

fn row_at(stored: &[u8], place: StoredAt) -> &[u8] {
    let rows = stored.get(place.offset as usize..).unwrap_or_default();
    rows_of(rows).next().and_then(Result::ok).unwrap_or_default()
}

impl SortedRows {
    pub fn lookup(&self) -> TableLookup {
        self.schema.lookup()
    }

    pub fn count(&self) -> u32 {
        u32::try_from(self.places.len()).unwrap_or(u32::MAX)
    }

    /// The bytes in the stored form.
    pub fn size_bytes(&self) -> u64 {
        self.stored.len() as u64
    }

    /// The rows as they are stored, with their lengths.
    fn rows(&self) -> impl Iterator<Item = &[u8]> {
        self.places.iter().map(|place| {
            let begin = place.offset as usize;
            let length = super::row::size_with_length(row_at(&self.stored, *place));
            self.stored.get(begin..begin + length).unwrap_or_default()
        })
    }

    /// SHA-256 of the canonical content: what the rows are, and the rows in order.
    pub fn digest(&self) -> Digest {
        let head = head_of(&self.schema);
        self.rows().fold(DigestBuilder::default().with(&head), DigestBuilder::with).finish()
    }

    pub fn chunks(&self) -> impl Iterator<Item = Chunk> {
        let lookup = self.schema.lookup();
        let mut rows = self.rows().peekable();
        std::iter::from_fn(move || {
            let mut chunk = Chunk { first_key: Vec::new(), bytes: Vec::with_capacity(CHUNK_BYTES) };
            while let Some(row) = rows.next_if(|row| chunk.bytes.len() + row.len() <= CHUNK_BYTES) {
                if chunk.bytes.is_empty() {
                    let row = rows_of(row).next().and_then(Result::ok).unwrap_or_default();
                    chunk.first_key = position_of(lookup, row).map(Position::sort_key).unwrap_or_default();
                }
                chunk.bytes.extend_from_slice(row);
            }
            (!chunk.bytes.is_empty()).then_some(chunk)
        })
    }
}

/// What precedes the rows in the canonical content.
pub(super) fn head_of(schema: &TableSchema) -> Vec<u8> {
    let columns: Vec<(&str, &str)> =
        schema.columns().iter().map(|column| (column.name.as_str(), CellKind::name(column.kind))).collect();
    let head = (FORM_VERSION, schema.lookup().name(), schema.kind().name(), columns);
    // Writing to memory cannot fail.
    postcard::to_stdvec(&head).unwrap_or_default()
}
