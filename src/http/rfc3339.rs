//! Times in the notation of RFC 3339, for the edge of the API only.
//!
//! Inside, a time is a number of milliseconds. A member or parameter `at_ms` has that number, and
//! `at` has the notation. Nothing that is stored, hashed or signed may contain the notation.

use std::ops::RangeInclusive;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Milliseconds up to the year 9999.
pub const TIME_MS_MAX: u64 = 253_402_300_799_999;

const EXPECTED: &str = "expected a time of RFC 3339 with its offset, such as 2026-11-29T08:30:00.000Z";
const LEAP_SECOND: &str = "is a leap second; expected one of the seconds 00 to 59";
const OUTSIDE: &str = "expected a time from 1970-01-01T00:00:00Z to 9999-12-31T23:59:59.999Z";

/// Digits after the millisecond are dropped.
pub fn parse(text: &str) -> Result<u64, &'static str> {
    let bytes = text.as_bytes();
    // The parser would take any separator, and the millisecond before a leap second for it.
    if !bytes.get(10).is_some_and(|separator| separator.eq_ignore_ascii_case(&b'T')) {
        return Err(EXPECTED);
    }
    if bytes.get(16..19) == Some(b":60") {
        return Err(LEAP_SECOND);
    }
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| EXPECTED)?;
    let time_ms = time.unix_timestamp_nanos().div_euclid(1_000_000);
    u64::try_from(time_ms).ok().filter(|time_ms| *time_ms <= TIME_MS_MAX).ok_or(OUTSIDE)
}

/// As `parse`, for a time that must be in this range.
pub fn parse_within(text: &str, range: &RangeInclusive<u64>) -> Result<u64, String> {
    let time_ms = parse(text)?;
    let shown = |time_ms: &u64| written(*time_ms).unwrap_or_default();
    let told = || format!("expected a time from {} to {}", shown(range.start()), shown(range.end()));
    Some(time_ms).filter(|time_ms| range.contains(time_ms)).ok_or_else(told)
}

/// The time in UTC, always with three digits after the second. `None` after the year 9999.
pub fn written(time_ms: u64) -> Option<String> {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time_ms) * 1_000_000).ok()?;
    let ((year, month, day), (hour, minute, second)) = (time.to_calendar_date(), time.to_hms());
    let (month, millisecond) = (u8::from(month), time.millisecond());
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z"))
}

/// The name of the member or parameter that has the notation, if `name` is the one in milliseconds.
pub fn name_without_unit(name: &str) -> Option<&str> {
    name.strip_suffix("_ms").filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_with_any_offset_and_written_in_utc() {
        for (text, time_ms, in_utc) in [
            ("1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00.000Z"),
            ("2026-11-29T08:30:00.123Z", 1_795_941_000_123, "2026-11-29T08:30:00.123Z"),
            ("2026-11-29t08:30:00.123z", 1_795_941_000_123, "2026-11-29T08:30:00.123Z"),
            ("2026-11-29T10:00:00.123+01:30", 1_795_941_000_123, "2026-11-29T08:30:00.123Z"),
            ("2026-11-28T20:30:00.123-12:00", 1_795_941_000_123, "2026-11-29T08:30:00.123Z"),
            ("2026-11-29T08:30:00.1239999999999Z", 1_795_941_000_123, "2026-11-29T08:30:00.123Z"),
            ("2026-11-29T08:30:00.5-00:00", 1_795_941_000_500, "2026-11-29T08:30:00.500Z"),
            ("2024-02-29T23:59:59.999Z", 1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            ("1969-12-31T23:00:00-01:00", 0, "1970-01-01T00:00:00.000Z"),
            ("9999-12-31T23:59:59.999Z", TIME_MS_MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(parse(text), Ok(time_ms), "{text}");
            assert_eq!(written(time_ms).as_deref(), Some(in_utc), "{text}");
        }
        assert_eq!(written(TIME_MS_MAX + 1), None);
    }

    #[test]
    fn a_text_that_is_no_time_is_refused_with_what_was_expected() {
        for (text, told) in [
            ("", EXPECTED),
            ("yesterday", EXPECTED),
            ("1795941000123", EXPECTED),
            ("2026-11-29", EXPECTED),
            ("2026-11-29T08:30:00", EXPECTED),
            ("2026-11-29T08:30Z", EXPECTED),
            ("2026-11-29 08:30:00Z", EXPECTED),
            ("2026-11-29T08:30:00.Z", EXPECTED),
            ("2026-11-29T08:30:00,5Z", EXPECTED),
            ("2026-11-29T08:30:00Z ", EXPECTED),
            ("2026-11-29T08:30:00 01:00", EXPECTED),
            ("2026-11-29T08:30:00+24:00", EXPECTED),
            ("2026-11-29T24:00:00Z", EXPECTED),
            ("2026-11-29T08:60:00Z", EXPECTED),
            ("2026-11-29T08:30:61Z", EXPECTED),
            ("2026-02-29T08:30:00Z", EXPECTED),
            ("2026-04-31T08:30:00Z", EXPECTED),
            ("2026-13-01T08:30:00Z", EXPECTED),
            ("2026-00-01T08:30:00Z", EXPECTED),
            ("+12026-11-29T08:30:00Z", EXPECTED),
            ("٢٠٢٦-11-29T08:30:00Z", EXPECTED),
            ("2016-12-31T23:59:60Z", LEAP_SECOND),
            ("2016-12-31T18:59:60.5-05:00", LEAP_SECOND),
            ("1969-12-31T23:59:59.999Z", OUTSIDE),
            ("0001-01-01T00:00:00Z", OUTSIDE),
            ("9999-12-31T23:59:59.999-00:01", OUTSIDE),
        ] {
            assert_eq!(parse(text), Err(told), "{text}");
        }
        let (range, early) = (1_000..=2_000, "1970-01-01T00:00:00.999Z");
        let told = parse_within(early, &range).expect_err("too early");
        assert_eq!(told, "expected a time from 1970-01-01T00:00:01.000Z to 1970-01-01T00:00:02.000Z");
    }
}
