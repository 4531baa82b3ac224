//! How each kind of cell is read and written. Must never round a number.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::domain::millionths::Millionths;
use crate::domain::selector::Cell;

/// In characters.
pub const CELL_TEXT_LENGTH_MAX: usize = 200;

const DECIMALS_MAX: usize = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CellKind {
    Text,
    Integer,
    Number,
    Flag,
}

/// Why a text is no cell of its kind. Must never contain the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CellError {
    #[error("expected text of 1 to {CELL_TEXT_LENGTH_MAX} characters")]
    TextLength,
    #[error("expected text without control characters")]
    ControlCharacter,
    #[error("expected a whole number from -9223372036854775808 to 9223372036854775807, such as -12")]
    NoInteger,
    #[error(
        "expected a number without leading zeros; codes that begin with zeros need a column of kind text"
    )]
    LeadingZero,
    #[error(
        "expected a decimal number such as -12.5, without an exponent and without signs other than a minus"
    )]
    NoNumber,
    #[error("expected at most {DECIMALS_MAX} digits after the decimal point")]
    TooManyDecimals,
    #[error("expected a number from -9223372036854.775808 to 9223372036854.775807")]
    NumberRange,
    #[error("expected true or false")]
    NoFlag,
}

impl CellKind {
    pub const ALL: [Self; 4] = [Self::Text, Self::Integer, Self::Number, Self::Flag];

    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Flag => "flag",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Reads a cell of this kind. Numbers are read digit by digit, so none is rounded.
    pub fn cell(self, text: &str) -> Result<Cell, CellError> {
        match self {
            Self::Text => text_cell(text),
            Self::Integer => integer(text).map(Cell::Integer),
            Self::Number => number(text).map(Cell::Number),
            Self::Flag => match text {
                "true" => Ok(Cell::Flag(true)),
                "false" => Ok(Cell::Flag(false)),
                _ => Err(CellError::NoFlag),
            },
        }
    }
}

impl Cell {
    pub fn kind(&self) -> CellKind {
        match self {
            Self::Text(_) => CellKind::Text,
            Self::Integer(_) => CellKind::Integer,
            Self::Number(_) => CellKind::Number,
            Self::Flag(_) => CellKind::Flag,
        }
    }
}

/// As `CellKind::cell` reads it again.
impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(number) => number.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
        }
    }
}

fn text_cell(text: &str) -> Result<Cell, CellError> {
    if text.chars().nth(CELL_TEXT_LENGTH_MAX).is_some() || text.trim().is_empty() {
        return Err(CellError::TextLength);
    }
    if text.chars().any(char::is_control) {
        return Err(CellError::ControlCharacter);
    }
    Ok(Cell::Text(text.to_owned()))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn has_leading_zero(digits: &str) -> bool {
    digits.len() > 1 && digits.starts_with('0')
}

fn integer(text: &str) -> Result<i64, CellError> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !is_digits(digits) {
        return Err(CellError::NoInteger);
    }
    if has_leading_zero(digits) {
        return Err(CellError::LeadingZero);
    }
    text.parse().map_err(|_| CellError::NoInteger)
}

/// Without an exponent, and in the whole range of the cell: `Millionths::parse` reads JSON numbers, in
/// any notation and in a smaller range.
fn number(text: &str) -> Result<Millionths, CellError> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, decimals) = match unsigned.split_once('.') {
        Some((whole, decimals)) => (whole, Some(decimals)),
        None => (unsigned, None),
    };
    if !is_digits(whole) || decimals.is_some_and(|decimals| !is_digits(decimals)) {
        return Err(CellError::NoNumber);
    }
    if has_leading_zero(whole) {
        return Err(CellError::LeadingZero);
    }
    let decimals = decimals.unwrap_or_default();
    if decimals.len() > DECIMALS_MAX {
        return Err(CellError::TooManyDecimals);
    }
    let millionths = format!("{whole}{decimals:0<width$}", width = DECIMALS_MAX);
    // With its sign, since the smallest number has no positive counterpart.
    let signed = if unsigned.len() == text.len() { millionths } else { format!("-{millionths}") };
    signed.parse().map(Millionths).map_err(|_| CellError::NumberRange)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_exactly_and_shown_with_as_few_decimals_as_possible() {
        for (text, millionths, shown) in [
            ("0", 0, "0"),
            ("-0", 0, "0"),
            ("1.5", 1_500_000, "1.5"),
            ("-12.50", -12_500_000, "-12.5"),
            ("0.000001", 1, "0.000001"),
            ("-0.1", -100_000, "-0.1"),
            ("1000000", 1_000_000_000_000, "1000000"),
            ("9223372036854.775807", i64::MAX, "9223372036854.775807"),
            ("-9223372036854.775808", i64::MIN, "-9223372036854.775808"),
        ] {
            assert_eq!(number(text), Ok(Millionths(millionths)), "{text}");
            assert_eq!(Millionths(millionths).to_string(), shown);
        }
    }

    #[test]
    fn a_cell_that_is_not_of_its_kind_is_refused_with_what_was_expected() {
        use CellError::{
            ControlCharacter, LeadingZero, NoFlag, NoInteger, NoNumber, NumberRange, TextLength,
            TooManyDecimals,
        };
        use CellKind::{Flag, Integer, Number, Text};
        let long = "x".repeat(201);
        for (kind, text, expected) in [
            (Text, "", TextLength),
            (Text, "  ", TextLength),
            (Text, &long, TextLength),
            (Text, "a\u{7}", ControlCharacter),
            (Integer, "", NoInteger),
            (Integer, "1.0", NoInteger),
            (Integer, "1e3", NoInteger),
            (Integer, "+1", NoInteger),
            (Integer, " 1", NoInteger),
            (Integer, "\u{661}", NoInteger),
            (Integer, "9223372036854775808", NoInteger),
            (Integer, "007", LeadingZero),
            (Number, "", NoNumber),
            (Number, ".5", NoNumber),
            (Number, "5.", NoNumber),
            (Number, "1,5", NoNumber),
            (Number, "1e3", NoNumber),
            (Number, "NaN", NoNumber),
            (Number, "inf", NoNumber),
            (Number, "--1", NoNumber),
            (Number, "01.5", LeadingZero),
            (Number, "1.1234567", TooManyDecimals),
            (Number, "9223372036854.775808", NumberRange),
            (Flag, "TRUE", NoFlag),
            (Flag, "1", NoFlag),
            (Flag, "yes", NoFlag),
        ] {
            assert_eq!(kind.cell(text), Err(expected), "{kind:?} {text}");
        }
    }

    #[test]
    fn a_cell_is_read_again_from_how_it_is_shown() {
        for (kind, text) in [
            (CellKind::Text, "Größe, \"quoted\""),
            (CellKind::Integer, "-9223372036854775808"),
            (CellKind::Number, "0.25"),
            (CellKind::Flag, "false"),
        ] {
            let cell = kind.cell(text).expect(text);
            assert_eq!((cell.kind(), cell.to_string().as_str()), (kind, text));
            assert_eq!(kind.cell(&cell.to_string()), Ok(cell));
        }
    }
}
