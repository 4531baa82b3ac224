//! The stored form of rows: for each row its length in two little-endian bytes, then the texts of
//! its key and its cells in postcard.
//!
//! The form must never change: stored versions and their digests depend on it. The order of the
//! variants of `Cell` is a part of it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::key::first_number;
use super::{Position, ROW_BYTES_MAX, RowError, RowKey, VERSION_BYTES_MAX};
use crate::domain::selector::{Cell, TableLookup};

/// A row. It has a cell, or none, for each column of its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub key: RowKey,
    pub cells: Vec<Option<Cell>>,
}

/// Stored rows that no release wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the stored rows are damaged")]
pub struct DamagedRowsError;

#[derive(Serialize, Deserialize)]
struct StoredRow<'r> {
    #[serde(borrow)]
    key: &'r str,
    cells: Vec<Option<Cell>>,
}

#[derive(Serialize, Deserialize)]
struct StoredRangeRow<'r> {
    #[serde(borrow)]
    from: &'r str,
    #[serde(borrow)]
    to: &'r str,
    cells: Vec<Option<Cell>>,
}

const LENGTH_BYTES: usize = 2;

impl Row {
    /// Appends the stored form.
    pub(super) fn append_to(self, stored: &mut Vec<u8>) -> Result<(), RowError> {
        let mut buffer = [0; ROW_BYTES_MAX];
        let cells = self.cells;
        let row = match &self.key {
            RowKey::One(key) => postcard::to_slice(&StoredRow { key, cells }, &mut buffer),
            RowKey::Range { from, to } => {
                postcard::to_slice(&StoredRangeRow { from, to, cells }, &mut buffer)
            }
        };
        let row = row.map_err(|_| RowError::RowTooLarge)?;
        // Checked before, so that the buffer never grows beyond the bound.
        if stored.len() + size_with_length(row) > VERSION_BYTES_MAX {
            return Err(RowError::TooManyBytes);
        }
        stored.extend(u16::try_from(row.len()).map_err(|_| RowError::RowTooLarge)?.to_le_bytes());
        stored.extend_from_slice(row);
        Ok(())
    }

    /// Reads one row, without its length.
    pub fn read(lookup: TableLookup, stored: &[u8]) -> Result<Self, DamagedRowsError> {
        let row = match lookup {
            TableLookup::Exact | TableLookup::LongestPrefix => {
                let StoredRow { key, cells } = postcard::from_bytes(stored).map_err(|_| DamagedRowsError)?;
                Self { key: RowKey::One(key.to_owned()), cells }
            }
            TableLookup::Range => {
                let StoredRangeRow { from, to, cells } =
                    postcard::from_bytes(stored).map_err(|_| DamagedRowsError)?;
                Self { key: RowKey::Range { from: from.to_owned(), to: to.to_owned() }, cells }
            }
        };
        Ok(row)
    }
}

/// The first text of a stored row, and what follows it.
pub(super) fn first_text(stored: &[u8]) -> Result<(&str, &[u8]), DamagedRowsError> {
    postcard::take_from_bytes(stored).map_err(|_| DamagedRowsError)
}

/// The position of a stored row, read without its cells.
pub fn position_of(lookup: TableLookup, stored: &[u8]) -> Result<Position<'_>, DamagedRowsError> {
    let (key, _) = first_text(stored)?;
    Ok(match lookup {
        TableLookup::Exact | TableLookup::LongestPrefix => Position::One(key),
        TableLookup::Range => Position::Range(first_number(key)),
    })
}

/// The rows that are stored one after another, without their lengths.
pub fn rows_of(stored: &[u8]) -> impl Iterator<Item = Result<&[u8], DamagedRowsError>> {
    let mut rest = stored;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let row = rest
            .split_first_chunk::<LENGTH_BYTES>()
            .and_then(|(length, behind)| behind.split_at_checked(usize::from(u16::from_le_bytes(*length))));
        rest = row.map_or(&[], |(_, behind)| behind);
        Some(row.map(|(row, _)| row).ok_or(DamagedRowsError))
    })
}

/// The bytes of a stored row with its length.
pub fn size_with_length(row: &[u8]) -> usize {
    LENGTH_BYTES + row.len()
}

/// How a row of one version differs from the row of another version at the same position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowChange {
    Added(Row),
    Removed(Row),
    Changed { before: Row, after: Row },
}

/// The change between two stored rows at the same position. `None` if they are equal.
pub fn change_between(
    lookup: TableLookup,
    before: Option<&[u8]>,
    after: Option<&[u8]>,
) -> Result<Option<RowChange>, DamagedRowsError> {
    let row = |stored| Row::read(lookup, stored);
    Ok(match (before, after) {
        (None, None) => None,
        (None, Some(after)) => Some(RowChange::Added(row(after)?)),
        (Some(before), None) => Some(RowChange::Removed(row(before)?)),
        (Some(before), Some(after)) if before == after => None,
        (Some(before), Some(after)) => Some(RowChange::Changed { before: row(before)?, after: row(after)? }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::millionths::Millionths;

    fn cells() -> Vec<Option<Cell>> {
        vec![
            Some(Cell::Text("Bank".to_owned())),
            Some(Cell::Integer(-3)),
            None,
            Some(Cell::Number(Millionths(1_500_000))),
            Some(Cell::Flag(true)),
        ]
    }

    #[test]
    fn the_stored_form_of_a_row_never_changes() {
        let one = Row { key: RowKey::One("DE".to_owned()), cells: cells() };
        let range = Row {
            key: RowKey::Range { from: "4111".to_owned(), to: "42".to_owned() },
            cells: vec![None, Some(Cell::Flag(false))],
        };
        let mut stored = Vec::new();
        one.clone().append_to(&mut stored).expect("it fits");
        let middle = stored.len();
        range.clone().append_to(&mut stored).expect("it fits");
        let hexadecimal: String = stored.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hexadecimal,
            "18000244450501000442616e6b010105000102c08db7010103010d0004343131310234320200010300"
        );
        let rows: Vec<&[u8]> = rows_of(&stored).map(|row| row.expect("a row")).collect();
        assert_eq!(Row::read(TableLookup::Exact, rows[0]), Ok(one));
        assert_eq!(Row::read(TableLookup::Range, rows[1]), Ok(range));
        assert_eq!(rows_of(&stored[..middle - 1]).last(), Some(Err(DamagedRowsError)));
    }
}
