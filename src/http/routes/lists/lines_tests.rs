//! Tests of reading valid and invalid lines of entries.

use std::sync::atomic::{AtomicUsize, Ordering};

use uuid::Uuid;

use super::*;
use crate::domain::card_check::UncheckedFields;
use crate::domain::comparison::ValueKind;
use crate::world::OsRandomness;

const NOW_MS: u64 = 1_000;

fn read(format: LineFormat, text: &str, lines_max: usize) -> Result<Vec<EntryLine>, BadLines> {
    lines_of_kind(ValueKind::Ip, format, text, lines_max)
}

fn lines_of_kind(
    kind: ValueKind,
    format: LineFormat,
    text: &str,
    lines_max: usize,
) -> Result<Vec<EntryLine>, BadLines> {
    lines_with(&OsRandomness, kind, format, text, lines_max)
}

fn lines_with(
    randomness: &dyn Randomness,
    kind: ValueKind,
    format: LineFormat,
    text: &str,
    lines_max: usize,
) -> Result<Vec<EntryLine>, BadLines> {
    let kinds = ListKinds::one(kind);
    let reader = EntryReader { kinds: &kinds, added_by: "a".to_owned(), now_ms: NOW_MS, randomness };
    reader.lines(format, text.as_bytes(), UncheckedFields::NONE, lines_max)
}

fn told(format: LineFormat, text: &str) -> Vec<(u64, String)> {
    let bad = read(format, text, 10).expect_err(text);
    bad.errors.into_iter().map(|(line, error)| (line, error.pointer)).collect()
}

#[test]
fn a_start_in_the_past_is_reported_beside_an_end_that_cannot_be_read() {
    let line = r#"{"value": "203.0.113.7", "reason": "r", "valid_from_ms": 1, "valid_to_ms": "a"}"#;
    let pointers = told(LineFormat::Jsonl, line).into_iter().map(|(_, pointer)| pointer);
    assert_eq!(pointers.collect::<Vec<_>>(), ["/valid_to_ms", "/valid_from_ms"]);
}

#[test]
fn both_formats_say_the_same() {
    let csv = "\u{feff}reason,value,valid_to_ms\r\n\"a, b\",203.0.113.7,5000\r\n\r\nc,2001:DB8::/32,\r\n";
    let jsonl = "{\"value\": \"203.0.113.7\", \"reason\": \"a, b\", \"valid_to_ms\": 5000}\n\n\
                 {\"value\": \"2001:DB8::/32\", \"reason\": \"c\"}";
    for (format, text, numbers) in [(LineFormat::Csv, csv, [2, 4]), (LineFormat::Jsonl, jsonl, [1, 3])] {
        let lines = read(format, text, 10).expect(text);
        let told: Vec<_> = lines
            .iter()
            .map(|line| (line.number, line.entry.forms[0].as_str(), line.entry.reason.as_str()))
            .collect();
        assert_eq!(told, [(numbers[0], "203.0.113.7", "a, b"), (numbers[1], "2001:db8::/32", "c")]);
        assert_eq!(lines[0].entry.valid_to_ms, Some(5_000));
        assert!(lines[0].entry.id < lines[1].entry.id, "in the order of the lines");
    }
}

#[test]
fn every_bad_line_is_told_by_its_number_and_place() {
    let place = |line, pointer: &str| (line, pointer.to_owned());
    for (format, text, expected) in [
        (
            LineFormat::Csv,
            "value,reason\n203.0.113.7,\nnowhere,r\n203.0.113.7,r\n,r\n",
            vec![place(2, "/reason"), place(3, "/value"), place(5, "/value")],
        ),
        (LineFormat::Csv, "value,reason\n203.0.113.7,r,x\n", vec![place(2, "")]),
        (LineFormat::Csv, "value,reason,valid_to_ms\n203.0.113.7,r,soon\n", vec![place(2, "/valid_to_ms")]),
        (LineFormat::Csv, "value,colour,reason\n", vec![place(1, "")]),
        (LineFormat::Csv, "value\n203.0.113.7\n", vec![place(1, "")]),
        (LineFormat::Csv, "value,reason,reason\n", vec![place(1, "")]),
        (
            LineFormat::Jsonl,
            "{\"value\": \"203.0.113.7\"}\n{]\n[]\n{\"value\": \"x\", \"reason\": \"r\", \"colour\": 1}",
            vec![place(1, "/reason"), place(2, ""), place(3, ""), place(4, "/value"), place(4, "/colour")],
        ),
        (
            LineFormat::Jsonl,
            "{\"value\": \"203.0.113.7\", \"reason\": \"r\", \"valid_from_ms\": 1}",
            vec![place(1, "/valid_from_ms")],
        ),
    ] {
        assert_eq!(told(format, text), expected, "{text}");
    }
}

#[test]
fn more_lines_than_may_be_are_refused_at_the_first_that_is_too_many() {
    let line = "{\"value\": \"203.0.113.7\", \"reason\": \"r\"}\n";
    assert_eq!(read(LineFormat::Jsonl, &line.repeat(3), 3).expect("three").len(), 3);
    assert_eq!(read(LineFormat::Jsonl, &line.repeat(4), 3).expect_err("four").errors[0].0, 4);
}

/// Counts the entries that are read: each takes one id.
#[derive(Debug, Default)]
struct CountingRandom(AtomicUsize);

impl Randomness for CountingRandom {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.fetch_add(1, Ordering::Relaxed);
        OsRandomness.fill(bytes);
    }
}

#[test]
fn reading_stops_at_the_first_line_that_is_too_many() {
    let json = "{\"value\": \"203.0.113.7\", \"reason\": \"r\"}\n";
    for (format, head, line, first_beyond) in [
        (LineFormat::Jsonl, "", json, 4),
        (LineFormat::Csv, "value,reason\n", "203.0.113.7,r\n", 5),
        // Bad lines count towards the limit too. Errors after the limit are not reported.
        (LineFormat::Jsonl, "{]\n", json, 4),
        (LineFormat::Csv, "value,reason\n203.0.113.7\n", "203.0.113.7,r\n", 5),
    ] {
        let randomness = CountingRandom::default();
        let text = format!("{head}{}{{]\n", line.repeat(1_000));
        let bad = lines_with(&randomness, ValueKind::Ip, format, &text, 3).expect_err("too many");
        let told: Vec<_> = bad.errors.iter().map(|(line, _)| *line).collect();
        assert_eq!((bad.lines, told), (1, vec![first_beyond]), "{text:.40}");
        assert!(bad.errors[0].1.detail.contains("at most 3 entries"), "{bad:?}");
        let read = randomness.0.load(Ordering::Relaxed);
        assert!(read <= 3, "{read} were read: {text:.40}");
    }
}

#[test]
fn a_line_of_many_bytes_is_refused_without_taking_it_apart() {
    let many = "0,".repeat(ENTRY_BYTES_MAX);
    for (format, text, line) in [
        (LineFormat::Jsonl, format!("\n{{\"value\": [{many}0]}}"), 2),
        (LineFormat::Csv, format!("value,reason,{many}\n"), 1),
        (LineFormat::Csv, format!("value,reason\n203.0.113.7,r\n\"203.0.113.8\n\",{many}\n"), 3),
    ] {
        let bad = read(format, &text, 3).expect_err("too long");
        assert_eq!((bad.lines, bad.errors.len(), bad.errors[0].0), (1, 1, line), "{text:.40}");
        let detail = &bad.errors[0].1.detail;
        assert!(detail.contains(&format!("at most {ENTRY_BYTES_MAX} bytes")), "{detail}");
    }
}

#[test]
fn the_errors_of_many_bad_lines_are_bounded_and_the_lines_counted() {
    let bad = read(LineFormat::Jsonl, &"{}\n".repeat(500), 1_000).expect_err("bad");
    assert_eq!((bad.lines, bad.errors.len()), (500, ERRORS_MAX));
}

#[test]
fn what_is_written_is_read_again_as_the_same() {
    let entry = |value: &str, reason: &str, valid_from_ms, valid_to_ms| ListEntry {
        id: Uuid::nil(),
        value: value.to_owned(),
        forms: vec![],
        reason: reason.to_owned(),
        valid_from_ms,
        valid_to_ms,
        added_by: String::new(),
        closed_by: None,
        closed_because: None,
    };
    let entries = [
        entry("203.0.113.7", "quoted \"so\", with a comma", 1, None),
        entry("2001:0db8::1", "é", NOW_MS + 5_000, Some(NOW_MS + 9_000)),
    ];
    for format in [LineFormat::Csv, LineFormat::Jsonl] {
        let text: String =
            entries.iter().fold(header(format), |text, entry| text + &line_of(entry, format, NOW_MS));
        let read = read(format, &text, 10).expect(&text);
        let told = read.iter().map(|line| (&line.entry.value, &line.entry.reason, line.entry.valid_to_ms));
        assert!(
            told.eq(entries.iter().map(|entry| (&entry.value, &entry.reason, entry.valid_to_ms))),
            "{text}"
        );
        assert_eq!((read[0].entry.valid_from_ms, read[1].entry.valid_from_ms), (NOW_MS, NOW_MS + 5_000));
    }
}

#[test]
fn a_mistyped_iban_is_an_entry_where_accounts_are_listed_and_a_card_number_nowhere() {
    for (kind, value, is_entry) in [
        (ValueKind::Account, "CH36 0076 2944 6325 9106 2", true),
        (ValueKind::Account, "DE4111111111111111", false),
        (ValueKind::Account, "4111111111111111", false),
        (ValueKind::Customer, "CH3600762944632591062", false),
    ] {
        let csv = format!("value,reason\n{value},r\n");
        let lines = lines_of_kind(kind, LineFormat::Csv, &csv, 10);
        assert_eq!(lines.is_ok(), is_entry, "{value}: {lines:?}");
    }
}
