//! The rows of a tenant's tables.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::decimal::{Millionths, decimal};

/// How a row of a table is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableLookup {
    /// The row whose key is the value.
    #[default]
    Exact,
    /// The row with the longest key that the value begins with.
    LongestPrefix,
    /// The row whose range of numbers holds the value.
    Range,
}

/// The cells of a row by the names of their columns, without empty ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "BTreeMap<String, Cell>")]
pub struct TableRow(pub Vec<(String, Cell)>);

/// A value in a table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cell {
    /// A text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A decimal number.
    Number(#[serde(deserialize_with = "decimal")] Millionths),
    /// True or false.
    Flag(bool),
}

impl TableRow {
    /// The cell of a column. `None` if it is empty or there is no such column.
    pub fn cell(&self, column: &str) -> Option<&Cell> {
        self.0.iter().find(|(name, _)| name == column).map(|(_, cell)| cell)
    }

    /// The text of a column. `None` if the column has no text.
    pub fn text(&self, column: &str) -> Option<&str> {
        match self.cell(column)? {
            Cell::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number of a column. `None` if the column has none.
    pub fn integer(&self, column: &str) -> Option<i64> {
        match self.cell(column)? {
            Cell::Integer(integer) => Some(*integer),
            _ => None,
        }
    }

    /// The decimal number of a column. `None` if the column has none.
    pub fn number(&self, column: &str) -> Option<Millionths> {
        match self.cell(column)? {
            Cell::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// Whether the column says true. `None` if the column says neither.
    pub fn flag(&self, column: &str) -> Option<bool> {
        match self.cell(column)? {
            Cell::Flag(flag) => Some(*flag),
            _ => None,
        }
    }
}

impl From<BTreeMap<String, Cell>> for TableRow {
    fn from(cells: BTreeMap<String, Cell>) -> Self {
        TableRow(cells.into_iter().collect())
    }
}
