//! Decimal numbers in case files, such as 0.8125.
//!
//! The JSON parser gives the nearest double. It is only accepted if it is the nearest double of a
//! number of millionths, which is then exactly the number that was written.

use serde::Deserialize;
use serde_json::{Number, Value};

use crate::domain::millionths::Millionths;

const ONE: i64 = 1_000_000;

/// Up to this number of millionths, every one has a double of its own.
const EXACT_MAX: f64 = 8e15;

#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "Number")]
pub(super) struct DecimalForm(pub(super) Millionths);

#[derive(Deserialize)]
#[serde(try_from = "Value")]
pub(super) enum DecimalOrText {
    Decimal(DecimalForm),
    Text(String),
}

impl TryFrom<Number> for DecimalForm {
    type Error = &'static str;

    fn try_from(number: Number) -> Result<Self, Self::Error> {
        let millionths = match number.as_i64() {
            Some(whole) => whole.checked_mul(ONE),
            None => number.as_f64().and_then(|double| {
                let millionths = (double * ONE as f64).round();
                let exact = millionths.abs() <= EXACT_MAX && millionths / ONE as f64 == double;
                exact.then_some(millionths as i64)
            }),
        };
        millionths
            .map(|millionths| Self(Millionths(millionths)))
            .ok_or("expected a number with at most 6 decimals that fits 64 bits as millionths")
    }
}

impl TryFrom<Value> for DecimalOrText {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        match value {
            Value::Number(number) => DecimalForm::try_from(number).map(Self::Decimal),
            Value::String(text) => Ok(Self::Text(text)),
            _ => Err("expected a number or a text"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_is_read_exactly_or_not_at_all() {
        let read = |text: &str| serde_json::from_str::<DecimalForm>(text).ok().map(|form| form.0.0);
        for (text, millionths) in [
            ("0", 0),
            ("1", ONE),
            ("-0.5", -500_000),
            ("0.1", 100_000),
            ("0.000001", 1),
            ("1e-6", 1),
            ("333.333333", 333_333_333),
            ("7999999999.999999", 7_999_999_999_999_999),
            ("9223372036854", 9_223_372_036_854_000_000),
        ] {
            assert_eq!(read(text), Some(millionths), "{text}");
        }
        for text in ["0.0000001", "0.1234567", "1e300", "9223372036855", "10000000000.5", "\"1\"", "null"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
