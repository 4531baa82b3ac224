//! Reference tables: rows that rules look up by a value of a payment.
//!
//! A version of a table is immutable. Nothing here may know where rows come from or are stored.

mod activation;
mod cell;
mod contents;
mod key;
mod row;
mod rows;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::comparison::ValueKind;
use super::ruleset::is_slug;
use super::selector::TableLookup;

pub use activation::{TableActivation, TableActivationKind, valid_from_ms};
pub use cell::{CELL_TEXT_LENGTH_MAX, CellError, CellKind};
pub use contents::{ContentsBuilder, TableContents};
pub use key::{KeyError, Position, RANGE_DIGITS_MAX, RowKey};
pub use row::{DamagedRowsError, Row, RowChange, change_between, position_of, rows_of, size_with_length};
pub use rows::{Chunk, Collision, RowError, RowsBuilder, SortedRows};

pub const COLUMNS_MAX: usize = 32;
pub const COLUMN_NAME_LENGTH_MAX: usize = 40;
/// The most rows of one version.
pub const ROWS_MAX: u32 = 1_000_000;
/// The most bytes of one row in its stored form.
pub const ROW_BYTES_MAX: usize = 4 << 10;
/// The most bytes of one version in its stored form.
pub const VERSION_BYTES_MAX: usize = 128 << 20;
/// Recorded with each version. A change of the stored form needs a new one.
pub const FORM_VERSION: u16 = 1;

/// The names of the key's columns in files and in the API.
pub const KEY: &str = "key";
pub const FROM: &str = "from";
pub const TO: &str = "to";

/// Lower-case words joined by hyphens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName(String);

impl TableName {
    pub fn parse(text: &str) -> Option<Self> {
        is_slug(text).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name of the form `merchant_category`, other than those of the key's columns.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ColumnName(String);

impl ColumnName {
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let is_inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let begins_well = text.bytes().next().is_some_and(|first| first.is_ascii_lowercase());
        if !begins_well || text.len() > COLUMN_NAME_LENGTH_MAX || !text.bytes().all(is_inside) {
            return Err("expected a lower-case letter, then lower-case letters, digits and underscores, \
                        at most 40 characters");
        }
        if [KEY, FROM, TO].contains(&text) {
            return Err("is the name of a key column: key, from and to need no declaration");
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: ColumnName,
    pub kind: CellKind,
}

impl TableLookup {
    pub const ALL: [Self; 3] = [Self::Exact, Self::LongestPrefix, Self::Range];

    /// The name in settings, responses and case files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::LongestPrefix => "longest_prefix",
            Self::Range => "range",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lookup| lookup.name() == name)
    }

    /// The columns of the key.
    pub fn key_columns(self) -> &'static [&'static str] {
        match self {
            Self::Exact | Self::LongestPrefix => &[KEY],
            Self::Range => &[FROM, TO],
        }
    }

    /// Whether a key of this kind can be looked up in this way. The beginning of a country code or
    /// of an address means nothing, and a name has no digits.
    pub fn serves(self, kind: ValueKind) -> bool {
        match self {
            Self::Exact => true,
            Self::LongestPrefix => !matches!(kind, ValueKind::Country | ValueKind::Ip),
            Self::Range => !matches!(kind, ValueKind::Country | ValueKind::Ip | ValueKind::Name),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SchemaError {
    #[error("values of this kind cannot be looked up in this way")]
    Lookup,
    #[error("expected at most {COLUMNS_MAX} columns")]
    TooManyColumns,
    /// The place of the column among the others.
    #[error("is the name of an earlier column")]
    RepeatedColumn(usize),
}

/// What the rows of a table are. It is fixed when the table is created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSchema {
    lookup: TableLookup,
    kind: ValueKind,
    columns: Vec<Column>,
}

impl TableSchema {
    pub fn new(lookup: TableLookup, kind: ValueKind, columns: Vec<Column>) -> Result<Self, SchemaError> {
        if !lookup.serves(kind) {
            return Err(SchemaError::Lookup);
        }
        if columns.len() > COLUMNS_MAX {
            return Err(SchemaError::TooManyColumns);
        }
        let is_repeated = |place: usize| columns[..place].iter().any(|it| it.name == columns[place].name);
        if let Some(place) = (0..columns.len()).find(|place| is_repeated(*place)) {
            return Err(SchemaError::RepeatedColumn(place));
        }
        Ok(Self { lookup, kind, columns })
    }

    pub fn lookup(&self) -> TableLookup {
        self.lookup
    }

    /// The kind of the key.
    pub fn kind(&self) -> ValueKind {
        self.kind
    }

    /// The columns other than those of the key.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_name_is_snake_case_and_not_that_of_a_key_column() {
        for (text, expected) in [
            ("country", true),
            ("a", true),
            ("rate_2", true),
            (&"a".repeat(40), true),
            (&"a".repeat(41), false),
            ("", false),
            ("2nd", false),
            ("_a", false),
            ("Rate", false),
            ("per-cent", false),
            ("gr\u{fc}n", false),
            ("key", false),
            ("from", false),
            ("to", false),
        ] {
            assert_eq!(ColumnName::parse(text).is_ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_schema_without_sense_is_refused() {
        let column = |name: &str| Column { name: ColumnName::parse(name).expect(name), kind: CellKind::Flag };
        let many: Vec<Column> = (0..33).map(|number| column(&format!("c{number}"))).collect();
        for (lookup, kind, columns, expected) in [
            (TableLookup::Exact, ValueKind::Country, vec![column("a"), column("b")], Ok(())),
            (TableLookup::LongestPrefix, ValueKind::Account, vec![], Ok(())),
            (TableLookup::LongestPrefix, ValueKind::Ip, vec![], Err(SchemaError::Lookup)),
            (TableLookup::Range, ValueKind::Name, vec![], Err(SchemaError::Lookup)),
            (TableLookup::Exact, ValueKind::Text, many[..32].to_vec(), Ok(())),
            (TableLookup::Exact, ValueKind::Text, many, Err(SchemaError::TooManyColumns)),
            (
                TableLookup::Exact,
                ValueKind::Text,
                vec![column("a"), column("b"), column("a")],
                Err(SchemaError::RepeatedColumn(2)),
            ),
        ] {
            assert_eq!(TableSchema::new(lookup, kind, columns).map(|_| ()), expected);
        }
    }
}
