//! Decimal numbers in millionths, and the signals that may be one.
//!
//! A rule must not compute with floating-point numbers: they would double its size. They occur here
//! only where case files are read.

use core::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

const ONE: i64 = 1_000_000;

/// Up to this number of millionths, every one has a double of its own.
const EXACT_MAX: f64 = 8e15;

/// A decimal number: 1.5 is `Millionths(1_500_000)`. In settings and in the state of a rule it is the
/// whole number of millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Millionths(pub i64);

impl Millionths {
    /// The nearest whole number. A half is rounded up.
    pub fn rounded(self) -> i64 {
        let below = self.0.div_euclid(ONE);
        if self.0.rem_euclid(ONE) * 2 >= ONE { below + 1 } else { below }
    }
}

/// The shortest decimal notation, such as 12 or -0.5.
impl fmt::Display for Millionths {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, fraction) = (self.0.unsigned_abs() / 1_000_000, self.0.unsigned_abs() % 1_000_000);
        write!(formatter, "{sign}{whole}")?;
        if fraction == 0 {
            return Ok(());
        }
        let digits = format!("{fraction:06}");
        write!(formatter, ".{}", digits.trim_end_matches('0'))
    }
}

/// What another system of the client said about a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A number, such as the score of a model.
    Number(Millionths),
    /// A word, such as `trusted`.
    Word(String),
}

impl Signal {
    /// The number, unless it is a word.
    pub fn number(&self) -> Option<Millionths> {
        match self {
            Signal::Number(number) => Some(*number),
            Signal::Word(_) => None,
        }
    }

    /// The word, unless it is a number.
    pub fn word(&self) -> Option<&str> {
        match self {
            Signal::Number(_) => None,
            Signal::Word(word) => Some(word),
        }
    }
}

impl<'de> Deserialize<'de> for Signal {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(SignalVisitor)
    }
}

/// Reads the decimal number of a case file.
pub(crate) fn decimal<'de, D: Deserializer<'de>>(source: D) -> Result<Millionths, D::Error> {
    match source.deserialize_any(SignalVisitor)? {
        Signal::Number(number) => Ok(number),
        Signal::Word(_) => Err(D::Error::custom("expected a number, found a text")),
    }
}

/// Reads a decimal number that may be absent.
pub(crate) fn optional_decimal<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Millionths>, D::Error> {
    #[derive(Deserialize)]
    struct Decimal(#[serde(deserialize_with = "decimal")] Millionths);

    Ok(Option::<Decimal>::deserialize(source)?.map(|decimal| decimal.0))
}

struct SignalVisitor;

impl Visitor<'_> for SignalVisitor {
    type Value = Signal;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number with at most 6 decimals that fits 64 bits as millionths, or a text")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Signal, E> {
        Ok(Signal::Word(word.to_owned()))
    }

    fn visit_u64<E: Error>(self, whole: u64) -> Result<Signal, E> {
        self.visit_i64(i64::try_from(whole).unwrap_or(i64::MAX))
    }

    fn visit_i64<E: Error>(self, whole: i64) -> Result<Signal, E> {
        let millionths = whole.checked_mul(ONE).ok_or_else(|| E::custom("the number is too large"))?;
        Ok(Signal::Number(Millionths(millionths)))
    }

    /// The parser gives the nearest double. It is only accepted if it is the nearest double of a
    /// number of millionths, which is then exactly the number that was written.
    fn visit_f64<E: Error>(self, double: f64) -> Result<Signal, E> {
        let millionths = (double * ONE as f64).round();
        if millionths.abs() <= EXACT_MAX && millionths / ONE as f64 == double {
            return Ok(Signal::Number(Millionths(millionths as i64)));
        }
        Err(E::custom("the number has more than 6 decimals or is too large"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_of_a_case_is_read_exactly_or_not_at_all() {
        let read = |text: &str| serde_json::from_str::<Signal>(text).ok().and_then(|signal| signal.number());
        for (text, millionths) in [
            ("0", 0),
            ("1", ONE),
            ("-0.5", -500_000),
            ("0.1", 100_000),
            ("1e-6", 1),
            ("7999999999.999999", 7_999_999_999_999_999),
            ("9223372036854", 9_223_372_036_854_000_000),
        ] {
            assert_eq!(read(text), Some(Millionths(millionths)), "{text}");
        }
        for text in ["0.0000001", "1e300", "9223372036855", "10000000000.5", "\"1\"", "null", "true"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_number_is_shown_in_the_shortest_notation_and_rounded_to_the_nearest() {
        for (millionths, shown, rounded) in [
            (0, "0", 0),
            (1_500_000, "1.5", 2),
            (1_499_999, "1.499999", 1),
            (-500_000, "-0.5", 0),
            (-500_001, "-0.500001", -1),
            (41_666_667, "41.666667", 42),
            (i64::MAX, "9223372036854.775807", 9_223_372_036_855),
        ] {
            assert_eq!(Millionths(millionths).to_string(), shown);
            assert_eq!(Millionths(millionths).rounded(), rounded, "{shown}");
        }
    }
}
