//! Decimal numbers in millionths.
//!
//! They are read and written digit by digit. A detour over a floating-point number would round.

use std::fmt;

use serde::{Deserialize, Serialize};

const DECIMALS: usize = 6;

const ONE: u64 = 1_000_000;

/// 1.5 is 1500000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millionths(pub i64);

impl Millionths {
    /// The largest number that is read. With six decimals it has 15 digits, which every program
    /// that reads JSON numbers as doubles gets back unchanged.
    pub const READ_MAX: u32 = 1_000_000_000;

    /// Reads a JSON number as it was written, in any notation. `None` if it has more than six
    /// decimals or is outside of the range of `READ_MAX`.
    pub fn parse(text: &str) -> Option<Self> {
        let (is_negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        if whole.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let significant = digits.trim_end_matches('0');
        let trailing_zeros = digits.len() - significant.len();
        let significant = significant.trim_start_matches('0');
        if significant.is_empty() {
            return Some(Self(0));
        }
        let zeros = exponent.parse::<i64>().ok()?.checked_add((trailing_zeros + DECIMALS) as i64)?;
        let zeros = u32::try_from(zeros.checked_sub(fraction.len() as i64)?).ok()?;
        let millionths = significant.parse::<u64>().ok()?.checked_mul(10_u64.checked_pow(zeros)?)?;
        let inside = millionths <= u64::from(Self::READ_MAX) * ONE;
        let signed = if is_negative { -millionths.cast_signed() } else { millionths.cast_signed() };
        inside.then_some(Self(signed))
    }

    /// The number if it has no decimals.
    pub fn whole(self) -> Option<i64> {
        let one = ONE.cast_signed();
        (self.0 % one == 0).then_some(self.0 / one)
    }
}

/// The shortest decimal notation: `12`, `-0.5`.
impl fmt::Display for Millionths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, fraction) = (self.0.unsigned_abs() / ONE, self.0.unsigned_abs() % ONE);
        let digits = format!("{fraction:06}");
        let decimals = digits.trim_end_matches('0');
        let point = if decimals.is_empty() { "" } else { "." };
        write!(f, "{sign}{whole}{point}{decimals}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_exactly_in_every_notation_and_shown_in_the_shortest() {
        for (text, millionths, shown) in [
            ("0", 0, "0"),
            ("-0.0", 0, "0"),
            ("0e99999", 0, "0"),
            ("1", 1_000_000, "1"),
            ("1.50", 1_500_000, "1.5"),
            ("-0.5", -500_000, "-0.5"),
            ("0.000001", 1, "0.000001"),
            ("1e-06", 1, "0.000001"),
            ("12.5E+1", 125_000_000, "125"),
            ("0.1000000000000000000000", 100_000, "0.1"),
            ("100000000000000000000e-20", 1_000_000, "1"),
            ("999999999.999999", 999_999_999_999_999, "999999999.999999"),
            ("1000000000", 1_000_000_000_000_000, "1000000000"),
            ("-1e9", -1_000_000_000_000_000, "-1000000000"),
        ] {
            assert_eq!(Millionths::parse(text), Some(Millionths(millionths)), "{text}");
            assert_eq!(Millionths(millionths).to_string(), shown);
            assert_eq!(Millionths::parse(shown), Some(Millionths(millionths)));
        }
        assert_eq!(Millionths(i64::MIN).to_string(), "-9223372036854.775808");
    }

    #[test]
    fn a_number_that_would_have_to_be_rounded_or_is_too_large_is_not_read() {
        for text in [
            "0.0000001",
            "0.10000000000000000001",
            "1e-7",
            "1000000000.000001",
            "-1000000001",
            "1e10",
            "9223372036855",
            "18446744073709551616",
            "1e99999999999999999999",
            "1e-99999999999999999999",
            "1e9223372036854775807",
            "",
            "-",
            ".5",
            "--1",
            "+1",
            "1.2.3",
            "NaN",
            "Infinity",
        ] {
            assert_eq!(Millionths::parse(text), None, "{text}");
        }
    }
}
