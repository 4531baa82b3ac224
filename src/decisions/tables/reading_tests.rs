//! Tests of reading valid and invalid rows.

use super::*;
use crate::decisions::tables::writing::{header_line, row_line};
use crate::domain::millionths::Millionths;
use crate::domain::table::{ColumnName, rows_of};

fn schema(lookup: TableLookup, kind: ValueKind) -> TableSchema {
    let columns = [
        ("label", CellKind::Text),
        ("size", CellKind::Integer),
        ("rate", CellKind::Number),
        ("active", CellKind::Flag),
    ];
    let columns = columns.map(|(name, kind)| Column { name: ColumnName::parse(name).expect(name), kind });
    TableSchema::new(lookup, kind, columns.into()).expect("a schema")
}

fn read_as(schema: &TableSchema, format: LineFormat, text: &str) -> Result<SortedRows, BadRows> {
    read_rows(schema.clone(), 4, UncheckedFields::NONE, format, text.as_bytes()).expect("memory can be read")
}

fn rows(sorted: &SortedRows) -> Vec<Row> {
    let chunks: Vec<_> = sorted.chunks().collect();
    let stored = chunks.iter().flat_map(|chunk| rows_of(&chunk.bytes));
    stored.map(|row| Row::read(sorted.lookup(), row.expect("a row")).expect("a row")).collect()
}

fn row(key: RowKey, label: &str) -> Row {
    let cells = vec![
        Some(Cell::Text(label.to_owned())),
        Some(Cell::Integer(-7)),
        Some(Cell::Number(Millionths(9_007_199_254_740_993))),
        Some(Cell::Flag(true)),
    ];
    Row { key, cells }
}

#[test]
fn both_formats_say_the_same_and_are_read_again_as_they_are_written() {
    let csv = "\u{feff}rate,key,label,active,size\r\n9007199254.740993, de,\"a, \"\"b\"\"\",true,-7\r\n\r\nAT,,,,\r\n";
    let csv = csv.replace("\nAT,,,,", "\n,AT,,,");
    let jsonl = "\u{feff}{\"key\": \"de\", \"label\": \"a, \\\"b\\\"\", \"size\": -7, \"rate\": 9007199254.740993, \"active\": true}\n\n\
                 {\"key\": \"AT\", \"label\": null}";
    let schema = schema(TableLookup::Exact, ValueKind::Country);
    let expected = [
        Row { key: RowKey::One("AT".to_owned()), cells: vec![None; 4] },
        row(RowKey::One("DE".to_owned()), "a, \"b\""),
    ];
    for (format, text) in [(LineFormat::Csv, csv.as_str()), (LineFormat::Jsonl, jsonl)] {
        let read = read_as(&schema, format, text).expect(text);
        assert_eq!(rows(&read), expected);
        let written: String = rows(&read).iter().map(|row| row_line(&schema, format, row)).collect();
        let again = read_as(&schema, format, &(header_line(&schema, format) + &written)).expect(&written);
        assert_eq!((rows(&again), again.digest()), (expected.to_vec(), read.digest()));
    }
}

#[test]
fn ranges_are_read_and_written_as_they_were() {
    let schema = schema(TableLookup::Range, ValueKind::Text);
    let csv = "from,to,label,size,rate,active\n411100,411199,,,,\n40,40,,,,\n";
    let read = read_as(&schema, LineFormat::Csv, csv).expect("two ranges");
    let written: Vec<String> =
        rows(&read).iter().map(|row| row_line(&schema, LineFormat::Csv, row)).collect();
    assert_eq!(written, ["40,40,,,,\n", "411100,411199,,,,\n"]);
}

/// The line, column and the beginning of the detail of each fault.
fn assert_faults(schema: &TableSchema, format: LineFormat, text: &str, expected: &[(u64, &str, &str)]) {
    let bad = read_as(schema, format, text).expect_err(text);
    let found: Vec<_> = bad
        .faults
        .iter()
        .map(|fault| (fault.line, fault.column.as_deref().unwrap_or_default(), fault.detail.as_str()))
        .collect();
    assert_eq!(found.len(), expected.len(), "{text:.200}: {found:?}");
    for ((line, column, detail), expected) in found.into_iter().zip(expected) {
        assert_eq!((line, column), (expected.0, expected.1), "{text:.200}: {detail}");
        assert!(detail.starts_with(expected.2), "{text:.200}: {detail}");
    }
}

#[test]
fn every_fault_of_csv_is_told_by_its_line_and_column() {
    let exact = schema(TableLookup::Exact, ValueKind::Country);
    let head = "key,label,size,rate,active\n";
    for (text, expected) in [
        (
            "",
            &[
                (1, "key", "expected this column"),
                (1, "label", ""),
                (1, "size", ""),
                (1, "rate", ""),
                (1, "active", ""),
            ][..],
        ),
        ("key,label,size,rate\nDE,,,\n", &[(1, "active", "expected this column")]),
        (
            "key,label,size,rate,active,colour\n",
            &[(1, "", "the name of column 6 is unknown: expected key, label")],
        ),
        ("key,label,size,rate,active,key\n", &[(1, "key", "expected this column only once")]),
        (head, &[(1, "", "expected at least one row")]),
        (&format!("{head}DE,,,\n"), &[(2, "", "expected 5 columns as in the header line, found 4")]),
        (&format!("{head},a,,,\n"), &[(2, "key", "expected a key: it is empty")]),
        (&format!("{head}Iran,a,,,\n"), &[(2, "key", "expected a country code")]),
        (
            &format!("{head}\nDE,a,one,1e3,yes\n"),
            &[
                (3, "size", "expected a whole number"),
                (3, "rate", "expected a decimal"),
                (3, "active", "expected true"),
            ],
        ),
        (&format!("{head}DE,a,1,1.1234567,true\n"), &[(2, "rate", "expected at most 6 digits")]),
        (&format!("{head}DE,{},,,\n", "x".repeat(201)), &[(2, "label", "expected text of 1 to 200")]),
        (
            &format!("{head}DE,,,,\nAT,,,,\nde,,,,\nat,,,,\n"),
            &[(5, "key", "expected a new key: line 3"), (4, "key", "expected a new key: line 2")],
        ),
        (&format!("{head}DE,,,,\nAT,,,,\nFR,,,,\nIT,,,,\nES,,,,\n"), &[(6, "", "expected at most 4 rows")]),
        (&format!("{head}DE,{},,,\n", "x".repeat(100_000)), &[(2, "", "expected at most 65536 bytes")]),
        (&format!("{head}DE,4111 1111 1111 1111,,,\n"), &[(2, "label", CARD_NUMBER_FOUND)]),
        (&format!("{head}DE,,4111111111111111,,\n"), &[(2, "size", CARD_NUMBER_FOUND)]),
    ] {
        assert_faults(&exact, LineFormat::Csv, text, expected);
    }
}

#[test]
fn every_fault_of_a_range_is_told_by_its_end() {
    let range = schema(TableLookup::Range, ValueKind::Card);
    let head = "from,to,label,size,rate,active\n";
    for (lines, expected) in [
        ("41,4x,,,,\n", &[(2, "to", "expected 1 to 19 digits")][..]),
        (",42,,,,\n", &[(2, "from", "expected a key: it is empty")]),
        ("42,41,,,,\n", &[(2, "to", "expected a number that is not below")]),
        ("41,43,,,,\n42,44,,,,\n", &[(3, "from", "expected a range that overlaps no other: that of line 2")]),
        ("4111111111111111,42,,,,\n", &[(2, "from", CARD_NUMBER_FOUND)]),
    ] {
        assert_faults(&range, LineFormat::Csv, &format!("{head}{lines}"), expected);
    }
}

#[test]
fn every_fault_of_json_lines_is_told_by_its_line_and_column() {
    let exact = schema(TableLookup::Exact, ValueKind::Text);
    for (text, expected) in [
        (
            "{\"key\": \"a\"}\n{]\n[]\n",
            &[(2, "", "expected a JSON object"), (3, "", "expected a JSON object")][..],
        ),
        ("\n\n", &[(1, "", "expected at least one row")]),
        ("{\"label\": \"a\"}\n", &[(1, "key", "expected a key: it is empty")]),
        ("{\"key\": 7}\n", &[(1, "key", "expected text in quotes")]),
        ("{\"key\": \"a\", \"colour\": 1}\n", &[(1, "", "has an unknown column: expected key, label")]),
        ("{\"key\": \"a\", \"key\": \"b\"}\n", &[(1, "", "expected each column only once")]),
        (
            "{\"key\": \"a\", \"label\": 1, \"size\": \"1\", \"rate\": true, \"active\": \"true\"}\n",
            &[
                (1, "label", "expected text in quotes"),
                (1, "size", "expected a whole number without quotes"),
                (1, "rate", "expected a decimal number"),
                (1, "active", "expected true or false without quotes"),
            ],
        ),
        ("{\"key\": \"a\", \"rate\": 1e3}\n", &[(1, "rate", "expected a decimal number")]),
        ("{\"key\": \"a\", \"label\": [\"b\"]}\n", &[(1, "label", "expected text in quotes")]),
        (&format!("{{\"key\": \"{}\"}}\n", "x".repeat(100_000)), &[(1, "", "expected at most 65536 bytes")]),
    ] {
        assert_faults(&exact, LineFormat::Jsonl, text, expected);
    }
}

#[test]
fn faults_are_bounded_and_the_lines_counted() {
    let exact = schema(TableLookup::Exact, ValueKind::Text);
    let bad = read_as(&exact, LineFormat::Jsonl, &"{}\n".repeat(500)).expect_err("bad");
    assert_eq!((bad.lines, bad.faults.len()), (500, FAULTS_MAX));
}

#[test]
fn a_card_number_is_read_where_the_check_is_switched_off() {
    let unchecked = UncheckedFields::NONE.with(CheckedField::TableValue);
    let text = "{\"key\": \"4111111111111111\"}\n".as_bytes();
    let schema = schema(TableLookup::Exact, ValueKind::Text);
    assert!(read_rows(schema.clone(), 4, unchecked, LineFormat::Jsonl, text).expect("read").is_ok());
    assert!(read_rows(schema, 4, UncheckedFields::NONE, LineFormat::Jsonl, text).expect("read").is_err());
}
