//! Writes rows as CSV or JSON lines, in the form in which they can be uploaded again.

use serde_json::json;

use crate::domain::line_format::LineFormat;
use crate::domain::selector::Cell;
use crate::domain::table::{FROM, KEY, Row, RowKey, TO, TableSchema};

/// The header line. Empty for JSON lines.
pub fn header_line(schema: &TableSchema, format: LineFormat) -> String {
    match format {
        LineFormat::Csv => {
            let columns = schema.columns().iter().map(|column| column.name.as_str());
            csv_line(schema.lookup().key_columns().iter().copied().chain(columns))
        }
        LineFormat::Jsonl => String::new(),
    }
}

pub fn row_line(schema: &TableSchema, format: LineFormat, row: &Row) -> String {
    match format {
        LineFormat::Csv => {
            let keys = key_of(row).into_iter().map(|(_, text)| text.to_owned());
            let cells =
                row.cells.iter().map(|cell| cell.as_ref().map(ToString::to_string).unwrap_or_default());
            csv_line(keys.chain(cells))
        }
        LineFormat::Jsonl => row_object(schema, row) + "\n",
    }
}

fn key_of(row: &Row) -> Vec<(&'static str, &str)> {
    match &row.key {
        RowKey::One(key) => vec![(KEY, key)],
        RowKey::Range { from, to } => vec![(FROM, from), (TO, to)],
    }
}

/// The row as a JSON object without its empty cells. Its numbers have all of their digits, which
/// a number of JSON libraries would round.
pub fn row_object(schema: &TableSchema, row: &Row) -> String {
    let keys = key_of(row).into_iter().map(|(name, text)| format!("\"{name}\":{}", json!(text)));
    let cells = schema.columns().iter().zip(&row.cells).filter_map(|(column, cell)| {
        let value = match cell.as_ref()? {
            Cell::Text(text) => json!(text).to_string(),
            word => word.to_string(),
        };
        Some(format!("\"{}\":{value}", column.name.as_str()))
    });
    format!("{{{}}}", keys.chain(cells).collect::<Vec<_>>().join(","))
}

fn csv_line(cells: impl Iterator<Item = impl AsRef<[u8]>>) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing text to memory cannot fail.
    let _ = writer.write_record(cells);
    String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
}
