//! Reads and writes entries of a list as JSON lines, or as CSV with a header line.
//!
//! Errors must never contain a value.

use serde::Serialize;
use serde_json::json;
use utoipa::openapi::{RefOr, Schema};

use crate::decisions::csv_records::{CsvLine, CsvRecords};
use crate::domain::card_check::{CheckedField, UncheckedFields};
use crate::domain::comparison::ValueKind;
use crate::domain::line_format::LineFormat;
use crate::domain::list::{ListEntry, ListKinds};
use crate::domain::reference::VALID_AFTER_MS;
use crate::domain::time::Randomness;
use crate::http::request::codecs::{Codec, optional_time, text};
use crate::http::request::declaration::{Body, body};
use crate::http::request::fields::{self, Context, Place, text_error};
use crate::http::request::json::{self, Object, Value};
use crate::http::request::line_error::LineError;
use crate::http::response::problem::ERRORS_MAX;
use crate::storage::lists::NewEntry;

pub const VALUE_LENGTH_MAX: usize = 200;
const REASON_LENGTH_MAX: usize = 500;

/// The most entries of one request.
pub const LINES_MAX: usize = 10_000;

/// The most bytes of one line: as many as a body with a single entry may have.
const ENTRY_BYTES_MAX: usize = 64 << 10;

/// The columns that are written as CSV.
const COLUMNS: [&str; 4] = ["value", "reason", "valid_from_ms", "valid_to_ms"];

/// The columns that are read besides: the same times in the notation of RFC 3339.
const OTHER_COLUMNS: [&str; 2] = ["valid_from", "valid_to"];

/// The errors of the first bad lines, and how many lines are bad.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BadLines {
    pub lines: u64,
    /// Each with the number of its line in the file, from 1.
    pub errors: Vec<(u64, LineError)>,
}

impl BadLines {
    fn add(&mut self, line: u64, errors: impl IntoIterator<Item = LineError>) {
        self.lines += 1;
        let room = ERRORS_MAX.saturating_sub(self.errors.len());
        self.errors.extend(errors.into_iter().take(room).map(|error| (line, error)));
    }

    fn whole(line: u64, detail: impl Into<String>) -> Self {
        let mut bad = Self::default();
        bad.add(line, [LineError::whole(detail)]);
        bad
    }
}

/// An entry with the number of its line.
#[derive(Debug, Clone)]
pub struct EntryLine {
    pub number: u64,
    pub entry: NewEntry,
}

body! {
    pub struct EntryBody as "NewListEntry" {
        /// The value, as payments carry it or as people write it.
        value: ListValue = ListValueCodec,
        reason: String = text(REASON_LENGTH_MAX),
        /// When the entry becomes valid. Must not be in the past. The earliest time, which is also the
        /// default, is two seconds from now, so that every node knows the entry by then.
        valid_from_ms: Option<u64> = optional_time(),
        /// When the entry stops being valid, more than two seconds from now. Default: never.
        valid_to_ms: Option<u64> = optional_time(),
    }
    check |fields, valid_from_ms| {
        // An entry cannot begin in the past: past decisions were made without it.
        if valid_from_ms.is_some_and(|from_ms| from_ms < fields.now_ms()) {
            fields.error("valid_from_ms", "is in the past");
        }
    }
    check |fields, valid_from_ms, valid_to_ms| {
        let earliest_ms = fields.now_ms().saturating_add(VALID_AFTER_MS);
        if valid_to_ms.is_some_and(|to_ms| to_ms <= valid_from_ms.unwrap_or(0).max(earliest_ms)) {
            fields.error("valid_to_ms", "must be later than valid_from_ms, and more than two seconds from now");
        }
    }
}

/// A value with the forms in which it is compared on its list.
#[derive(Debug)]
pub struct ListValue {
    text: String,
    forms: Vec<String>,
}

/// Reads a value according to the kinds of its list.
#[derive(Debug)]
struct ListValueCodec;

impl Codec for ListValueCodec {
    type Value = ListValue;

    fn read(&self, place: Place<'_>, value: &Value) -> Option<ListValue> {
        let text = place.text(value)?;
        if let Some(detail) = text_error(text, VALUE_LENGTH_MAX) {
            place.error(detail);
            return None;
        }
        let Some(kinds) = place.list_kinds() else {
            place.error("cannot be read without the kinds of its list");
            return None;
        };
        if kinds.iter().any(|kind| kind == ValueKind::Account) {
            place.screen_account(text, CheckedField::ListValue);
        } else {
            place.screen(text, Some(CheckedField::ListValue));
        }
        let forms = kinds.forms(text).map_err(|error| place.error(error.to_string())).ok()?;
        Some(ListValue { text: text.to_owned(), forms })
    }

    fn write<'v>(&'v self, value: &'v ListValue) -> Option<impl Serialize> {
        Some(&value.text)
    }

    fn schema(&self) -> RefOr<Schema> {
        text(VALUE_LENGTH_MAX).schema()
    }
}

/// Reads entries for one list.
#[derive(Debug)]
pub struct EntryReader<'a> {
    pub kinds: &'a ListKinds,
    pub added_by: String,
    pub now_ms: u64,
    pub randomness: &'a dyn Randomness,
}

impl EntryReader<'_> {
    /// The context for reading entries of this list.
    pub fn context(&self, unchecked: UncheckedFields) -> Context<'_> {
        Context { list_kinds: Some(self.kinds), ..Context::of(unchecked, self.now_ms) }
    }

    pub fn entry(&self, body: EntryBody) -> NewEntry {
        NewEntry {
            id: self.randomness.uuid_v7(self.now_ms),
            value: body.value.text,
            forms: body.value.forms,
            reason: body.reason,
            valid_from_ms: body.valid_from_ms.unwrap_or(self.now_ms),
            valid_to_ms: body.valid_to_ms,
            added_by: self.added_by.clone(),
        }
    }

    /// All entries, or the errors of the bad lines. `unchecked` are the fields that are exempt from
    /// the check for card numbers.
    pub fn lines(
        &self,
        format: LineFormat,
        bytes: &[u8],
        unchecked: UncheckedFields,
        lines_max: usize,
    ) -> Result<Vec<EntryLine>, BadLines> {
        // Programs on Windows write a byte order mark at the beginning of a file.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let (lines, bad) = (Vec::new(), BadLines::default());
        let mut reading = LineReader { reader: self, unchecked, lines_left: lines_max, lines, bad };
        let read = match format {
            LineFormat::Jsonl => reading.json_lines(bytes),
            LineFormat::Csv => reading.csv(bytes),
        };
        if let Err(TooMany { line }) = read {
            let detail =
                format!("expected at most {lines_max} entries; send the remaining ones in another request");
            return Err(BadLines::whole(line, detail));
        }
        let LineReader { mut lines, bad, .. } = reading;
        if bad.lines > 0 {
            return Err(bad);
        }
        // Entries are listed in the order of their ids, which must be the order of the lines.
        let mut ids: Vec<_> = lines.iter().map(|line| line.entry.id).collect();
        ids.sort_unstable();
        for (line, id) in lines.iter_mut().zip(ids) {
            line.entry.id = id;
        }
        Ok(lines)
    }
}

struct LineReader<'r, 'a> {
    reader: &'r EntryReader<'a>,
    unchecked: UncheckedFields,
    /// How many more lines are accepted, valid or not.
    lines_left: usize,
    lines: Vec<EntryLine>,
    bad: BadLines,
}

/// There are more lines than allowed. Reading stops at the first, since a body can contain a
/// hundred times as many.
struct TooMany {
    line: u64,
}

impl LineReader<'_, '_> {
    fn count(&mut self, line: u64) -> Result<(), TooMany> {
        self.lines_left = self.lines_left.checked_sub(1).ok_or(TooMany { line })?;
        Ok(())
    }

    fn json_lines(&mut self, bytes: &[u8]) -> Result<(), TooMany> {
        for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            if line.trim_ascii().is_empty() {
                continue;
            }
            self.count(number)?;
            if line.len() > ENTRY_BYTES_MAX {
                self.bad.add(number, [LineError::whole(too_long())]);
                continue;
            }
            match json::parse(line) {
                Ok(value) => self.take(number, &value),
                Err(error) => self.bad.add(number, [error.into()]),
            }
        }
        Ok(())
    }

    fn csv(&mut self, bytes: &[u8]) -> Result<(), TooMany> {
        let mut records = CsvRecords::new(bytes, ENTRY_BYTES_MAX);
        let columns = match records.columns() {
            Ok(columns) => columns,
            Err(detail) => {
                self.bad.add(1, [LineError::whole(detail)]);
                return Ok(());
            }
        };
        if let Some(detail) = columns_error(&columns) {
            self.bad.add(1, [LineError::whole(detail)]);
            return Ok(());
        }
        for CsvLine { number, record } in records {
            self.count(number)?;
            match record {
                Ok(record) => self.take(number, &object(&columns, &record)),
                Err(detail) => self.bad.add(number, [LineError::whole(detail)]),
            }
        }
        Ok(())
    }

    fn take(&mut self, number: u64, value: &Value) {
        match fields::read(value, self.reader.context(self.unchecked), EntryBody::read) {
            Ok(entry) => self.lines.push(EntryLine { number, entry: self.reader.entry(entry) }),
            Err(problem) => self.bad.add(number, problem.errors.into_iter().map(LineError::from)),
        }
    }
}

fn too_long() -> String {
    format!("expected at most {ENTRY_BYTES_MAX} bytes")
}

fn columns_error(columns: &[String]) -> Option<String> {
    let lacks = |name: &str| !columns.iter().any(|column| column == name);
    let known = [&COLUMNS[..], &OTHER_COLUMNS].concat();
    let is_unknown = |column: &String| !known.contains(&column.as_str());
    let is_repeated = |(place, column): (usize, &String)| columns[..place].contains(column);
    let wrong = lacks("value")
        || lacks("reason")
        || columns.iter().any(is_unknown)
        || columns.iter().enumerate().any(is_repeated);
    wrong.then(|| {
        let known = known.join(", ");
        format!(
            "expected a header line with value, reason and no columns other than {known}, each at most once"
        )
    })
}

/// The record as a JSON object. An empty cell is an absent member.
fn object(columns: &[String], record: &csv::StringRecord) -> Value {
    let cells = columns.iter().zip(record.iter()).filter(|(_, cell)| !cell.is_empty());
    let members = cells.map(|(column, cell)| {
        let number = cell.trim().parse::<i64>().ok().filter(|_| column.ends_with("_ms"));
        let value =
            number.map_or_else(|| Value::Text(cell.to_owned()), |number| Value::Integer(number.into()));
        (column.clone(), value)
    });
    Value::Object(Object { members: members.collect(), repeated: Vec::new() })
}

/// The header line. Empty for JSON lines.
pub fn header(format: LineFormat) -> String {
    match format {
        LineFormat::Csv => csv_line(&COLUMNS.map(str::to_owned)),
        LineFormat::Jsonl => String::new(),
    }
}

/// An entry as a line that can be imported again. A beginning is left out that is earlier than an
/// entry can begin which is added now.
pub fn line_of(entry: &ListEntry, format: LineFormat, now_ms: u64) -> String {
    let from_ms = Some(entry.valid_from_ms).filter(|from_ms| *from_ms > now_ms + VALID_AFTER_MS);
    match format {
        LineFormat::Csv => {
            let time = |time_ms: Option<u64>| time_ms.map(|time_ms| time_ms.to_string()).unwrap_or_default();
            csv_line(&[entry.value.clone(), entry.reason.clone(), time(from_ms), time(entry.valid_to_ms)])
        }
        LineFormat::Jsonl => {
            let mut line = json!({"value": entry.value, "reason": entry.reason});
            for (member, time_ms) in [("valid_from_ms", from_ms), ("valid_to_ms", entry.valid_to_ms)] {
                if let Some(time_ms) = time_ms {
                    line[member] = time_ms.into();
                }
            }
            format!("{line}\n")
        }
    }
}

fn csv_line(cells: &[String; 4]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing text to memory cannot fail.
    let _ = writer.write_record(cells);
    String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;
