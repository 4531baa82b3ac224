//! The keys of rows: in the canonical form of their kind, or ranges of digits.

use thiserror::Error;

use super::CELL_TEXT_LENGTH_MAX;
use crate::domain::comparison::{FormError, ValueKind};
use crate::domain::selector::TableLookup;

/// Card numbers have at most as many digits (ISO/IEC 7812-1).
pub const RANGE_DIGITS_MAX: usize = 19;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowKey {
    /// The canonical form.
    One(String),
    /// Digits as they were written. `from` stands for the smallest number of 19 digits that begins
    /// with it, `to` for the largest. Both are inside of the range.
    Range { from: String, to: String },
}

/// Where a row is in its table. Rows are sorted by it, and no two rows have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Position<'k> {
    One(&'k str),
    /// The first number of a range.
    Range(u64),
}

/// Why a text is no key. Must never contain the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    #[error("expected at most {CELL_TEXT_LENGTH_MAX} characters")]
    TooLong,
    #[error("expected text without control characters")]
    ControlCharacter,
    #[error(transparent)]
    Form(#[from] FormError),
    #[error("expected 1 to {RANGE_DIGITS_MAX} digits")]
    NoDigits,
    #[error("expected a number that is not below `from`: the range would be empty")]
    EmptyRange,
}

impl RowKey {
    /// A key of one column, in its canonical form.
    pub fn one(kind: ValueKind, text: &str) -> Result<Self, KeyError> {
        form(kind, text).map(Self::One)
    }

    /// The end of a range, in its canonical form.
    pub fn range_end(kind: ValueKind, text: &str) -> Result<String, KeyError> {
        let digits = form(kind, text)?;
        if is_range_digits(&digits) { Ok(digits) } else { Err(KeyError::NoDigits) }
    }

    /// A range of two ends that `range_end` returned.
    pub fn range(from: String, to: String) -> Result<Self, KeyError> {
        if first_number(&from) > last_number(&to) {
            return Err(KeyError::EmptyRange);
        }
        Ok(Self::Range { from, to })
    }

    pub fn position(&self) -> Position<'_> {
        match self {
            Self::One(form) => Position::One(form),
            Self::Range { from, .. } => Position::Range(first_number(from)),
        }
    }
}

impl Position<'_> {
    /// Bytes that sort as positions of the same table do.
    pub fn sort_key(self) -> Vec<u8> {
        match self {
            Self::One(form) => form.as_bytes().to_vec(),
            Self::Range(number) => format!("{number:0width$}", width = RANGE_DIGITS_MAX).into_bytes(),
        }
    }

    /// The position at which the value of a payment would be.
    pub fn of_value(lookup: TableLookup, form: &str) -> Option<Position<'_>> {
        match lookup {
            TableLookup::Exact | TableLookup::LongestPrefix => Some(Position::One(form)),
            TableLookup::Range => is_range_digits(form).then(|| Position::Range(first_number(form))),
        }
    }
}

fn form(kind: ValueKind, text: &str) -> Result<String, KeyError> {
    if text.chars().nth(CELL_TEXT_LENGTH_MAX).is_some() {
        return Err(KeyError::TooLong);
    }
    if text.chars().any(char::is_control) {
        return Err(KeyError::ControlCharacter);
    }
    let form = kind.form(text)?;
    // The form of a text may be longer than the text.
    if form.chars().nth(CELL_TEXT_LENGTH_MAX).is_some() { Err(KeyError::TooLong) } else { Ok(form) }
}

pub(super) fn is_range_digits(text: &str) -> bool {
    (1..=RANGE_DIGITS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The smallest number of 19 digits that begins with these. It fits: 64 bits hold all of them.
pub(super) fn first_number(digits: &str) -> u64 {
    padded(digits, b'0')
}

/// The largest number of 19 digits that begins with these.
pub(super) fn last_number(digits: &str) -> u64 {
    padded(digits, b'9')
}

fn padded(digits: &str, padding: u8) -> u64 {
    let all = digits.bytes().chain(std::iter::repeat(padding)).take(RANGE_DIGITS_MAX);
    all.fold(0, |number, digit| number * 10 + u64::from(digit.wrapping_sub(b'0') % 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_canonical_form_of_their_kind() {
        for (kind, text, expected) in [
            (ValueKind::Country, " de", Ok("DE")),
            (ValueKind::Account, "gb33 bukb", Ok("GB33BUKB")),
            (ValueKind::Merchant, " m  7 ", Ok("m 7")),
            (ValueKind::Country, "Iran", Err(KeyError::Form(FormError::NoCountry))),
            (ValueKind::Text, " ", Err(KeyError::Form(FormError::NothingToSee))),
            (ValueKind::Text, "", Err(KeyError::Form(FormError::NothingToSee))),
            (ValueKind::Text, "a\nb", Err(KeyError::ControlCharacter)),
            (ValueKind::Text, &"x".repeat(201), Err(KeyError::TooLong)),
        ] {
            assert_eq!(RowKey::one(kind, text), expected.map(|form| RowKey::One(form.to_owned())), "{text}");
        }
    }

    #[test]
    fn a_range_goes_from_the_smallest_to_the_largest_number_that_begins_with_its_ends() {
        let end = |text: &str| RowKey::range_end(ValueKind::Text, text);
        assert_eq!(first_number("411"), 4_110_000_000_000_000_000);
        assert_eq!(last_number("411"), 4_119_999_999_999_999_999);
        assert_eq!(last_number(&"9".repeat(19)), 9_999_999_999_999_999_999);
        for (from, to, is_range) in
            [("411", "411", true), ("411000", "411", true), ("41", "400", false), ("0", "9", true)]
        {
            let range = RowKey::range(end(from).expect(from), end(to).expect(to));
            assert_eq!(range.is_ok(), is_range, "{from} {to}");
        }
        for text in ["4a", "-4", "4.1", &"1".repeat(20)] {
            assert_eq!(end(text), Err(KeyError::NoDigits), "{text}");
        }
    }

    #[test]
    fn sort_keys_sort_as_positions_do() {
        let numbers = ["0", "01", "4", "40", "400001", "41", "9999"].map(first_number).map(Position::Range);
        assert!(numbers.is_sorted() && numbers.map(Position::sort_key).is_sorted());
    }
}
