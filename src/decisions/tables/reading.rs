//! Reads the rows of a new version from CSV or JSON lines, and finds everything that is wrong.
//!
//! Errors must never contain a value. The file must never be in memory as a whole.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::decisions::csv_records::CsvRecords;
use crate::domain::card_check::{CheckedField, UncheckedFields};
use crate::domain::card_number::{CARD_NUMBER_FOUND, account_holds_card_number, holds_card_number};
use crate::domain::comparison::ValueKind;
use crate::domain::line_format::LineFormat;
use crate::domain::selector::{Cell, TableLookup};
use crate::domain::table::{
    CellKind, Collision, Column, FROM, KEY, Row, RowError, RowKey, RowsBuilder, SortedRows, TO, TableSchema,
};

/// The most bytes of one line.
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// The most errors that are returned. All are counted.
pub const FAULTS_MAX: usize = 100;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What is wrong with one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFault {
    pub line: u64,
    /// `None` for the whole line.
    pub column: Option<String>,
    pub detail: String,
}

/// The first faults, and how many lines have any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BadRows {
    pub lines: u64,
    pub faults: Vec<RowFault>,
}

impl BadRows {
    fn add(&mut self, line: u64, faults: impl IntoIterator<Item = ColumnFault>) {
        self.lines += 1;
        let room = FAULTS_MAX.saturating_sub(self.faults.len());
        let of_line =
            faults.into_iter().map(|ColumnFault { column, detail }| RowFault { line, column, detail });
        self.faults.extend(of_line.take(room));
    }
}

struct ColumnFault {
    column: Option<String>,
    detail: String,
}

impl ColumnFault {
    fn whole(detail: impl Into<String>) -> Self {
        Self { column: None, detail: detail.into() }
    }

    fn of(column: &str, detail: impl fmt::Display) -> Self {
        Self { column: Some(column.to_owned()), detail: detail.to_string() }
    }
}

/// Reads all rows. `unchecked` are the fields that are exempt from the check for card numbers.
pub fn read_rows(
    schema: TableSchema,
    rows_max: u32,
    unchecked: UncheckedFields,
    format: LineFormat,
    source: impl Read,
) -> io::Result<Result<SortedRows, BadRows>> {
    let is_checked = !unchecked.contains(CheckedField::TableValue);
    let rows = RowsBuilder::new(schema.clone(), rows_max);
    let mut reading = Reading { schema, is_checked, rows, bad: BadRows::default() };
    let mut source = BufReader::new(source);
    // Programs on Windows write a byte order mark at the beginning of a file.
    if source.fill_buf()?.starts_with(BYTE_ORDER_MARK) {
        source.consume(BYTE_ORDER_MARK.len());
    }
    match format {
        LineFormat::Csv => reading.csv(source),
        LineFormat::Jsonl => reading.json_lines(source)?,
    }
    let Reading { schema, rows, mut bad, .. } = reading;
    // An empty file is a mistake: the version would replace all rows.
    if bad.lines == 0 && rows.is_empty() {
        bad.add(1, [ColumnFault::whole("expected at least one row")]);
    }
    if bad.lines > 0 {
        return Ok(Err(bad));
    }
    Ok(rows.finish(FAULTS_MAX).map_err(|collisions| bad_collisions(schema.lookup(), &collisions)))
}

fn bad_collisions(lookup: TableLookup, collisions: &[Collision]) -> BadRows {
    let mut bad = BadRows::default();
    for Collision { line, earlier_line } in collisions {
        let fault = match lookup {
            TableLookup::Exact | TableLookup::LongestPrefix => {
                ColumnFault::of(KEY, format!("expected a new key: line {earlier_line} has the same"))
            }
            TableLookup::Range => ColumnFault::of(
                FROM,
                format!("expected a range that overlaps no other: that of line {earlier_line} does"),
            ),
        };
        bad.add(*line, [fault]);
    }
    bad
}

struct Reading {
    schema: TableSchema,
    is_checked: bool,
    rows: RowsBuilder,
    bad: BadRows,
}

/// Why the rest of a file is not read.
struct Ended;

/// A value as it is written in the file.
enum Written<'w> {
    /// CSV has no kinds.
    Csv(&'w str),
    JsonText(Cow<'w, str>),
    /// A number or flag as written, so that no digit is lost.
    JsonWord(&'w str),
    /// An array or an object.
    JsonNested,
}

impl Reading {
    fn csv(&mut self, source: impl Read) {
        let mut records = CsvRecords::new(source, LINE_BYTES_MAX);
        let columns = match records.columns() {
            Ok(columns) => columns,
            Err(detail) => return self.bad.add(1, [ColumnFault::whole(detail)]),
        };
        let faults = self.header_faults(&columns);
        if !faults.is_empty() {
            return self.bad.add(1, faults);
        }
        for line in records {
            let taken = match line.record {
                Ok(record) => {
                    let cells = columns.iter().zip(&record).filter(|(_, cell)| !cell.is_empty());
                    let cells: Vec<(&str, Written<'_>)> =
                        cells.map(|(column, cell)| (column.as_str(), Written::Csv(cell))).collect();
                    self.take(line.number, &cells)
                }
                Err(detail) => {
                    self.bad.add(line.number, [ColumnFault::whole(detail)]);
                    Ok(())
                }
            };
            if taken.is_err() {
                return;
            }
        }
    }

    fn known_columns(&self) -> impl Iterator<Item = &str> {
        let columns = self.schema.columns().iter().map(|column| column.name.as_str());
        self.schema.lookup().key_columns().iter().copied().chain(columns)
    }

    /// Names of the header that the table lacks are not repeated: a client chose them.
    fn header_faults(&self, columns: &[String]) -> Vec<ColumnFault> {
        let missing = self.known_columns().filter(|known| !columns.iter().any(|column| column == known));
        let mut faults: Vec<ColumnFault> =
            missing.map(|known| ColumnFault::of(known, "expected this column in the header line")).collect();
        let mut seen = HashSet::new();
        for (place, column) in (1..).zip(columns) {
            let known: Vec<&str> = self.known_columns().collect();
            if !known.contains(&column.as_str()) {
                let known = known.join(", ");
                faults.push(ColumnFault::whole(format!(
                    "the name of column {place} is unknown: expected {known}"
                )));
            } else if !seen.insert(column) {
                faults.push(ColumnFault::of(column, "expected this column only once in the header line"));
            }
        }
        faults
    }

    fn json_lines(&mut self, mut source: impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let mut limited = (&mut source).take(LINE_BYTES_MAX as u64 + 1);
            if limited.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if line.len() > LINE_BYTES_MAX {
                let detail = format!("expected at most {LINE_BYTES_MAX} bytes");
                self.bad.add(number, [ColumnFault::whole(detail)]);
                break;
            }
            let text = line.trim_ascii();
            if text.is_empty() {
                continue;
            }
            let taken = match object(text) {
                Ok(members) => self.take(number, &members),
                Err(detail) => {
                    self.bad.add(number, [ColumnFault::whole(detail)]);
                    Ok(())
                }
            };
            if taken.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Takes the cells of one line that are not empty.
    fn take(&mut self, line: u64, written: &[(&str, Written<'_>)]) -> Result<(), Ended> {
        let mut faults = Vec::new();
        let row = self.row(written, &mut faults);
        let added = match row.filter(|_| faults.is_empty()) {
            Some(row) => self.rows.add(line, row),
            None => Ok(()),
        };
        let ends = matches!(added, Err(RowError::TooManyRows(_) | RowError::TooManyBytes));
        faults.extend(added.err().map(|error| ColumnFault::whole(error.to_string())));
        if !faults.is_empty() {
            self.bad.add(line, faults);
        }
        if ends { Err(Ended) } else { Ok(()) }
    }

    fn row(&self, written: &[(&str, Written<'_>)], faults: &mut Vec<ColumnFault>) -> Option<Row> {
        let find = |name: &str| written.iter().find(|(column, _)| *column == name).map(|(_, value)| value);
        let mut cells = Vec::with_capacity(self.schema.columns().len());
        for Column { name, kind } in self.schema.columns() {
            let cell = find(name.as_str()).map(|value| self.cell(*kind, value));
            cells.push(cell.transpose().unwrap_or_else(|detail| {
                faults.push(ColumnFault::of(name.as_str(), detail));
                None
            }));
        }
        let unknown = written.iter().any(|(column, _)| !self.known_columns().any(|known| known == *column));
        if unknown {
            let known: Vec<&str> = self.known_columns().collect();
            let detail = format!("has an unknown column: expected {}", known.join(", "));
            faults.push(ColumnFault::whole(detail));
        }
        let mut text = |name: &'static str| match find(name) {
            None => {
                faults.push(ColumnFault::of(name, "expected a key: it is empty"));
                None
            }
            Some(value) => {
                self.key_text(value).map_err(|detail| faults.push(ColumnFault::of(name, detail))).ok()
            }
        };
        let key = match self.schema.lookup() {
            TableLookup::Exact | TableLookup::LongestPrefix => {
                let key = text(KEY)?;
                RowKey::one(self.schema.kind(), key).map_err(|error| ColumnFault::of(KEY, error))
            }
            TableLookup::Range => {
                let (from, to) = (text(FROM), text(TO));
                let (from, to) = from.zip(to)?;
                self.range(from, to)
            }
        };
        key.map_err(|fault| faults.push(fault)).ok().map(|key| Row { key, cells })
    }

    fn range(&self, from: &str, to: &str) -> Result<RowKey, ColumnFault> {
        let end = |name, text| {
            RowKey::range_end(self.schema.kind(), text).map_err(|error| ColumnFault::of(name, error))
        };
        RowKey::range(end(FROM, from)?, end(TO, to)?).map_err(|error| ColumnFault::of(TO, error))
    }

    fn key_text<'w>(&self, value: &'w Written<'_>) -> Result<&'w str, String> {
        let text = match value {
            Written::Csv(text) => text,
            Written::JsonText(text) => text.as_ref(),
            Written::JsonWord(_) | Written::JsonNested => return Err("expected text in quotes".to_owned()),
        };
        let holds_card_number = match self.schema.kind() {
            ValueKind::Account => account_holds_card_number,
            _ => holds_card_number,
        };
        if self.is_checked && holds_card_number(text) { Err(CARD_NUMBER_FOUND.to_owned()) } else { Ok(text) }
    }

    fn cell(&self, kind: CellKind, value: &Written<'_>) -> Result<Cell, String> {
        let text = match (kind, value) {
            (_, Written::Csv(text)) => text,
            (CellKind::Text, Written::JsonText(text)) => text.as_ref(),
            (CellKind::Text, _) => return Err("expected text in quotes".to_owned()),
            (CellKind::Integer | CellKind::Number, Written::JsonWord(word)) => word,
            (CellKind::Integer, _) => return Err("expected a whole number without quotes".to_owned()),
            (CellKind::Number, _) => return Err("expected a decimal number without quotes".to_owned()),
            (CellKind::Flag, Written::JsonWord(word)) => word,
            (CellKind::Flag, _) => return Err("expected true or false without quotes".to_owned()),
        };
        let cell = kind.cell(text).map_err(|error| error.to_string())?;
        if self.is_checked && holds_card_number(text) { Err(CARD_NUMBER_FOUND.to_owned()) } else { Ok(cell) }
    }
}

/// The members of a JSON object that are not null.
fn object(line: &[u8]) -> Result<Vec<(&str, Written<'_>)>, String> {
    let text = std::str::from_utf8(line).map_err(|_| "expected UTF-8".to_owned())?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let members = deserializer
        .deserialize_map(Members)
        .and_then(|members| deserializer.end().map(|()| members))
        .map_err(|error| format!("expected a JSON object: it is wrong at column {}", error.column()))?;
    let mut names = HashSet::new();
    if !members.iter().all(|(name, _)| names.insert(*name)) {
        return Err("expected each column only once".to_owned());
    }
    let written = members.into_iter().filter(|(_, value)| value.get() != "null");
    written.map(|(name, value)| Ok((name, written_in(value)?))).collect()
}

fn written_in(value: &RawValue) -> Result<Written<'_>, String> {
    let text = value.get();
    Ok(match text.bytes().next() {
        Some(b'"') => Written::JsonText(
            text_in(text).map_err(|_| "expected JSON text without lone surrogates".to_owned())?,
        ),
        Some(b'[' | b'{') => Written::JsonNested,
        _ => Written::JsonWord(text),
    })
}

fn text_in(text: &str) -> serde_json::Result<Cow<'_, str>> {
    match serde_json::from_str::<&str>(text) {
        Ok(text) => Ok(Cow::Borrowed(text)),
        // It has escapes.
        Err(_) => serde_json::from_str(text).map(Cow::Owned),
    }
}

/// Reads members with their values as they are written.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(&'de str, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        // Names of columns need no escapes.
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

#[cfg(test)]
#[path = "reading_tests.rs"]
mod tests;
