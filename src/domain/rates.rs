//! Rates: amounts converted by a table of the tenant, as it was when the payment was received.
//!
//! The arithmetic must give the same result on every machine, so there are no floating-point
//! numbers.

use std::sync::Arc;

use super::aggregate::Conversion;
use super::comparison::ValueKind;
use super::money::{Currency, Money};
use super::selector::Cell;
use super::table::TableContents;

/// The column with the units of the wanted currency for one unit of the key's.
pub const RATE_COLUMN: &str = "rate";

const MILLION: i128 = 1_000_000;

/// The versions of a table that were valid in some time.
#[derive(Debug, Clone)]
pub struct RateTable {
    pub name: String,
    /// In order, each with the time from which it was valid.
    pub versions: Vec<(u64, Arc<TableContents>)>,
}

/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Rates(Arc<[RateTable]>);

impl Rates {
    pub fn new(tables: Vec<RateTable>) -> Self {
        Self(tables.into())
    }

    /// Whether the table of the conversion was read.
    pub fn serve(&self, conversion: &Conversion) -> bool {
        self.0.iter().any(|table| table.name == conversion.table)
    }

    /// Halves are rounded up. `None` if there was no rate, or the result is too large.
    pub fn converted(&self, conversion: &Conversion, amount: Money, at_ms: u64) -> Option<i64> {
        if amount.currency() == conversion.currency {
            return Some(amount.minor());
        }
        let rate = self.rate(&conversion.table, amount.currency(), at_ms)?;
        let power = |currency: Currency| 10_i128.pow(u32::from(currency.exponent()));
        let (from, to) = (power(amount.currency()), power(conversion.currency));
        let numerator = i128::from(amount.minor()).checked_mul(rate)?.checked_mul(to)?;
        let denominator = MILLION * from;
        let doubled = numerator.checked_mul(2)?.checked_add(denominator)?;
        i64::try_from(doubled.div_euclid(2 * denominator)).ok()
    }

    /// In millionths, and above zero.
    fn rate(&self, table: &str, currency: Currency, at_ms: u64) -> Option<i128> {
        let table = self.0.iter().find(|own| own.name == table)?;
        let valid = table.versions.iter().rev().find(|(from_ms, _)| *from_ms <= at_ms)?;
        let contents = &valid.1;
        let column =
            contents.schema().columns().iter().position(|column| column.name.as_str() == RATE_COLUMN)?;
        let row = contents.exact(&ValueKind::Text.form_of_value(currency.code()))?;
        let rate = match row.cells.get(column)?.as_ref()? {
            Cell::Number(rate) => i128::from(rate.0),
            Cell::Integer(rate) => i128::from(*rate) * MILLION,
            Cell::Text(_) | Cell::Flag(_) => return None,
        };
        (rate > 0).then_some(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::selector::TableLookup;
    use crate::domain::table::{
        CellKind, Column, ColumnName, ContentsBuilder, Row, RowKey, RowsBuilder, TableSchema,
    };

    fn table(rates: &[(&str, Cell)]) -> Arc<TableContents> {
        let kind = match rates.first() {
            Some((_, Cell::Integer(_))) => CellKind::Integer,
            _ => CellKind::Number,
        };
        let name = ColumnName::parse(RATE_COLUMN).expect("a name");
        let schema = TableSchema::new(TableLookup::Exact, ValueKind::Text, vec![Column { name, kind }])
            .expect("a schema");
        let mut rows = RowsBuilder::new(schema.clone(), 100);
        for (line, (currency, rate)) in (1..).zip(rates) {
            let key = RowKey::one(ValueKind::Text, currency).expect("a key");
            rows.add(line, Row { key, cells: vec![Some(rate.clone())] }).expect("a row");
        }
        let sorted = rows.finish(1).expect("no collisions");
        let mut contents = ContentsBuilder::new(schema, sorted.count(), 1_000);
        for chunk in sorted.chunks() {
            contents.add(&chunk.bytes).expect("rows");
        }
        Arc::new(contents.finish(sorted.digest()).expect("contents"))
    }

    #[test]
    fn an_amount_is_converted_by_the_rate_of_its_time() {
        use crate::domain::millionths::Millionths;
        let number = |text: &str| Cell::Number(Millionths::parse(text).expect("a number"));
        let versions = vec![
            (100, table(&[("USD", number("0.9")), ("JPY", number("0.006")), ("KWD", number("3"))])),
            (200, table(&[("USD", number("0.000001")), ("GBP", number("0")), ("JPY", number("1000000000"))])),
            (300, table(&[("USD", Cell::Integer(2))])),
        ];
        let rates = Rates::new(vec![RateTable { name: "rates".to_owned(), versions }]);
        let currency = |code: &str| Currency::parse(code).expect("a currency");
        let into = |code: &str| Conversion { table: "rates".to_owned(), currency: currency(code) };
        for (at_ms, minor, from, to, expected) in [
            (99, 100, "USD", "EUR", None),
            (99, 100, "EUR", "EUR", Some(100)),
            (100, 100, "USD", "EUR", Some(90)),
            (199, 101, "USD", "EUR", Some(91)),
            // Halves are rounded up.
            (199, 5, "USD", "EUR", Some(5)),
            (199, 1_000, "JPY", "EUR", Some(600)),
            (199, 1_000, "KWD", "EUR", Some(300)),
            (199, 100, "USD", "JPY", Some(1)),
            (199, 100, "GBP", "EUR", None),
            (200, 100, "USD", "EUR", Some(0)),
            (200, 500_000, "USD", "EUR", Some(1)),
            (200, 100, "GBP", "EUR", None),
            (200, i64::MAX / 2, "JPY", "EUR", None),
            (300, 7, "USD", "EUR", Some(14)),
        ] {
            let amount = Money::new(minor.min(crate::domain::money::AMOUNT_MINOR_MAX), currency(from));
            let amount = amount.expect("an amount");
            assert_eq!(rates.converted(&into(to), amount, at_ms), expected, "{at_ms} {minor} {from} {to}");
        }
        let other = Conversion { table: "others".to_owned(), currency: currency("EUR") };
        assert!(rates.serve(&into("EUR")) && !rates.serve(&other));
    }
}
