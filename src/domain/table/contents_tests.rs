//! Tests that compare look-ups with a plain scan over all rows, for many random tables.

use super::super::{CellKind, Collision, Column, ColumnName, RowKey, RowsBuilder, SortedRows};
use super::*;
use crate::domain::comparison::ValueKind;
use crate::domain::selector::Cell;

/// Numbers that look random and are the same in each run.
struct Numbers(u64);

impl Numbers {
    /// A number below `most`.
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    /// A text of 1 to `length_max` characters of an alphabet so small that texts share beginnings.
    fn text(&mut self, alphabet: &[char], length_max: u64) -> String {
        let length = 1 + self.below(length_max);
        (0..length)
            .map(|_| alphabet[usize::try_from(self.below(alphabet.len() as u64)).expect("small")])
            .collect()
    }
}

fn schema(lookup: TableLookup) -> TableSchema {
    let column = Column { name: ColumnName::parse("number").expect("a name"), kind: CellKind::Integer };
    TableSchema::new(lookup, ValueKind::Text, vec![column]).expect("a schema")
}

fn builder(lookup: TableLookup, keys: &[RowKey]) -> RowsBuilder {
    let mut builder = RowsBuilder::new(schema(lookup), 1_000);
    for (number, key) in (1..).zip(keys) {
        let row = Row { key: key.clone(), cells: vec![Some(Cell::Integer(number))] };
        builder.add(u64::try_from(number).expect("positive"), row).expect("it fits");
    }
    builder
}

fn contents(rows: &SortedRows) -> TableContents {
    let size_bytes = usize::try_from(rows.size_bytes()).expect("small");
    let mut contents = ContentsBuilder::new(schema(rows.lookup()), rows.count(), size_bytes);
    rows.chunks().for_each(|chunk| contents.add(&chunk.bytes).expect("a chunk"));
    contents.finish(rows.digest()).expect("the contents")
}

fn number(row: Option<Row>) -> Option<i64> {
    match row?.cells[..] {
        [Some(Cell::Integer(number))] => Some(number),
        _ => panic!("another row"),
    }
}

#[test]
fn texts_are_found_as_a_plain_scan_finds_them() {
    let mut numbers = Numbers(7);
    for _ in 0..200 {
        let mut keys: Vec<String> =
            (0..numbers.below(40)).map(|_| numbers.text(&['a', 'b', 'ä'], 6)).collect();
        keys.sort();
        keys.dedup();
        // Not in their order.
        let middle = keys.len() / 2;
        keys.rotate_left(middle);
        let rows: Vec<RowKey> = keys.iter().cloned().map(RowKey::One).collect();
        let sorted = |lookup| builder(lookup, &rows).finish(1).expect("no two are equal");
        let (exact, prefix) =
            (contents(&sorted(TableLookup::Exact)), contents(&sorted(TableLookup::LongestPrefix)));
        let place = |found: Option<(usize, &String)>| {
            found.map(|(place, _)| i64::try_from(place + 1).expect("small"))
        };
        for _ in 0..50 {
            let value = numbers.text(&['a', 'b', 'ä', 'c'], 9);
            let equal = keys.iter().enumerate().find(|(_, key)| **key == value);
            assert_eq!(number(exact.exact(&value)), place(equal), "{value} in {keys:?}");
            let longest = keys.iter().enumerate().filter(|(_, key)| value.starts_with(key.as_str()));
            let longest = longest.max_by_key(|(_, key)| key.len());
            assert_eq!(number(prefix.longest_prefix(&value)), place(longest), "{value} in {keys:?}");
        }
    }
}

/// Whether a range contains every number of 19 digits that begins with these.
fn range_contains((from, to): &(String, String), digits: &str) -> bool {
    let filled =
        |text: &str, with: char| text.chars().chain(std::iter::repeat(with)).take(19).collect::<String>();
    filled(from, '0') <= filled(digits, '0') && filled(digits, '9') <= filled(to, '9')
}

#[test]
fn numbers_are_found_in_ranges_as_a_plain_scan_finds_them() {
    let mut numbers = Numbers(11);
    let digits = ['0', '1', '4', '9'];
    for _ in 0..300 {
        // Ranges that do not overlap: between neighbours of a sorted row of ends.
        let mut ends: Vec<String> = (0..numbers.below(30)).map(|_| numbers.text(&digits, 5)).collect();
        ends.sort_by_key(|end| last_number(end));
        let mut ranges: Vec<(String, String)> = Vec::new();
        for pair in ends.chunks_exact(2) {
            let range = (pair[0].clone(), pair[1].clone());
            let is_free = ranges
                .last()
                .is_none_or(|(_, to)| last_number(to) < super::super::key::first_number(&range.0));
            if is_free && super::super::key::first_number(&range.0) <= last_number(&range.1) {
                ranges.push(range);
            }
        }
        let middle = ranges.len() / 2;
        ranges.rotate_left(middle);
        let keys: Vec<RowKey> = ranges
            .iter()
            .map(|(from, to)| RowKey::range(from.clone(), to.clone()).expect("a range"))
            .collect();
        let contents = contents(&builder(TableLookup::Range, &keys).finish(1).expect("no two overlap"));
        for _ in 0..50 {
            let value = numbers.text(&digits, 8);
            let scanned = ranges.iter().position(|range| range_contains(range, &value));
            let scanned = scanned.map(|place| i64::try_from(place + 1).expect("small"));
            assert_eq!(number(contents.range(&value)), scanned, "{value} in {ranges:?}");
        }
        for value in ["", "4a", &"1".repeat(20)] {
            assert_eq!(contents.range(value), None, "{value}");
        }
    }
}

#[test]
fn rows_that_one_value_could_find_collide() {
    let one = |text: &str| RowKey::One(text.to_owned());
    let range = |from: &str, to: &str| RowKey::range(from.to_owned(), to.to_owned()).expect("a range");
    let lines = |line, earlier_line| Collision { line, earlier_line };
    for (lookup, keys, expected) in [
        (TableLookup::Exact, vec![one("b"), one("a"), one("b"), one("b")], vec![lines(3, 1), lines(4, 1)]),
        (TableLookup::LongestPrefix, vec![one("a"), one("ab"), one("abc")], vec![]),
        (TableLookup::Range, vec![range("42", "43"), range("40", "41"), range("44", "44")], vec![]),
        // The first contains both others, of which the second does not overlap the third.
        (
            TableLookup::Range,
            vec![range("4", "5"), range("41", "42"), range("43", "44")],
            vec![lines(2, 1), lines(3, 1)],
        ),
        (TableLookup::Range, vec![range("411", "411"), range("4110", "4110")], vec![lines(2, 1)]),
        (TableLookup::Range, vec![range("411999", "42"), range("400", "411")], vec![lines(2, 1)]),
    ] {
        let finished = builder(lookup, &keys).finish(100);
        assert_eq!(finished.err().unwrap_or_default(), expected, "{keys:?}");
    }
}

#[test]
fn the_same_rows_have_the_same_digest_in_any_order_and_damage_is_noticed() {
    let keys = |order: [&str; 3]| order.map(|text| RowKey::One(text.to_owned()));
    let sorted = |order| {
        let mut builder = RowsBuilder::new(schema(TableLookup::Exact), 3);
        for key in keys(order) {
            builder.add(1, Row { key, cells: vec![None] }).expect("it fits");
        }
        builder.finish(1).expect("sorted")
    };
    let (one, other) = (sorted(["a", "b", "c"]), sorted(["c", "a", "b"]));
    assert_eq!(one.digest(), other.digest());
    assert_ne!(one.digest(), sorted(["a", "b", "d"]).digest());
    let chunk = one.chunks().next().expect("a chunk");
    assert_eq!(chunk.first_key, b"a");
    for (damage, place) in [(0xff, 0), (b'z', 3)] {
        let mut bytes = chunk.bytes.clone();
        bytes[place] = damage;
        let mut contents = ContentsBuilder::new(schema(TableLookup::Exact), 3, bytes.len());
        let read = contents.add(&bytes).and_then(|()| contents.finish(one.digest()).map(drop));
        assert_eq!(read, Err(DamagedRowsError), "{place}");
    }
}

#[test]
fn a_row_or_a_version_that_is_too_large_is_refused() {
    use super::super::RowError;
    let cell = Cell::Text("x".repeat(200));
    let row =
        |key: &str, cells| Row { key: RowKey::One(key.to_owned()), cells: vec![Some(cell.clone()); cells] };
    let mut builder = RowsBuilder::new(schema(TableLookup::Exact), 2);
    assert_eq!(builder.add(1, row("a", 21)), Err(RowError::RowTooLarge));
    assert_eq!(builder.add(2, row("a", 20)), Ok(()));
    assert_eq!(builder.add(3, row("b", 1)), Ok(()));
    assert_eq!(builder.add(4, row("c", 1)), Err(RowError::TooManyRows(2)));
    assert_eq!(builder.finish(1).expect("sorted").count(), 2);
}

#[test]
fn a_million_rows_cost_little_more_than_their_bytes() {
    let mut builder = RowsBuilder::new(schema(TableLookup::LongestPrefix), super::super::ROWS_MAX);
    for number in 0..super::super::ROWS_MAX {
        let key = RowKey::One(format!("m-{number}"));
        builder
            .add(number.into(), Row { key, cells: vec![Some(Cell::Integer(number.into()))] })
            .expect("it fits");
    }
    let row = Row { key: RowKey::One("m-x".to_owned()), cells: vec![None] };
    assert!(builder.add(0, row).is_err(), "a million and one");
    let rows = builder.finish(1).expect("sorted");
    let contents = contents(&rows);
    assert_eq!(contents.len(), 1_000_000);
    assert_eq!(contents.bytes() as u64, rows.size_bytes() + 8 * 1_000_000);
    assert!(contents.bytes() < 32 << 20, "{}", contents.bytes());
    assert_eq!(number(contents.longest_prefix("m-4711000x")), Some(471_100));
    assert_eq!(number(contents.exact("m-999999")), Some(999_999));
}
