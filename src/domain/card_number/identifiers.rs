//! Identifiers that are not card numbers, recognised by their form: check digits, signs and groups.
//! The meaning of a field must not be guessed.

use std::net::IpAddr;

use crate::domain::party::is_checked_by_97;

/// Including the country code. E.164 allows fifteen digits, but cards have fourteen and more, so a
/// longer telephone number may be taken for a card number.
const PHONE_DIGITS_MAX: usize = 13;
/// No country has shorter numbers.
const PHONE_DIGITS_MIN: usize = 7;
/// IPv6 with all digits, the last 32 bits as IPv4.
const ADDRESS_LENGTH_MAX: usize = 45;
/// Nanoseconds.
const FRACTION_DIGITS_MAX: usize = 9;
/// No IBAN is shorter, and no shorter reference could contain a card number.
const CHECKED_LENGTH_MIN: usize = 14;
/// ISO 13616; a creditor reference (ISO 11649) has 25 at most.
const CHECKED_LENGTH_MAX: usize = 34;
/// Replaces an identifier. Like any letter, it ends a run of digits.
const STAND_IN: char = 'x';

/// The text with a letter in place of each identifier that cannot be a card number. Its digits must
/// be ASCII.
pub(super) fn without_identifiers(text: &str) -> String {
    let mut left = String::with_capacity(text.len());
    let (mut rest, mut before) = (text, None);
    while let Some(c) = rest.chars().next() {
        let at_boundary = before.is_none_or(|before: char| !before.is_alphanumeric());
        let length = if at_boundary { identifier_length(rest) } else { None };
        let taken = length.unwrap_or(c.len_utf8());
        left.push(if length.is_some() { STAND_IN } else { c });
        before = rest[..taken].chars().next_back();
        rest = &rest[taken..];
    }
    left
}

/// The length in bytes of the identifier at the start of the text.
fn identifier_length(text: &str) -> Option<usize> {
    const FORMS: [fn(&str) -> Option<usize>; 6] =
        [uuid, moment, address, checked_by_97, phone_number, article_number];
    FORMS.iter().find_map(|form| form(text))
}

/// `end`, if no letter or digit follows.
fn whole(text: &str, end: usize) -> Option<usize> {
    let next = text.get(end..)?.chars().next();
    next.is_none_or(|c| !c.is_alphanumeric()).then_some(end)
}

/// Like [`whole`], but no digit may follow after other characters either, since it could belong to
/// the same number. Identifiers without a check digit must stand alone.
fn alone(text: &str, end: usize) -> Option<usize> {
    let next = text.get(end..)?.chars().find(|c| c.is_alphanumeric() || *c == '+');
    if next.is_some_and(|c| c.is_ascii_digit()) { None } else { whole(text, end) }
}

/// Whether the text begins with the pattern. `9` is a digit, `f` a hexadecimal digit, and all else
/// is literal.
fn begins_like(text: &str, pattern: &str) -> bool {
    text.len() >= pattern.len()
        && pattern.bytes().zip(text.bytes()).all(|(wanted, found)| match wanted {
            b'9' => found.is_ascii_digit(),
            b'f' => found.is_ascii_hexdigit(),
            other => found == other,
        })
}

fn uuid(text: &str) -> Option<usize> {
    let pattern = "ffffffff-ffff-ffff-ffff-ffffffffffff";
    if begins_like(text, pattern) { whole(text, pattern.len()) } else { None }
}

/// A date and time (ISO 8601), with minutes or with fractions of a second.
fn moment(text: &str) -> Option<usize> {
    let dates = ["9999-99-99T99:99", "9999-99-99 99:99"];
    let minutes = dates.into_iter().find(|pattern| begins_like(text, pattern))?.len();
    if !begins_like(&text[minutes..], ":99") {
        return alone(text, minutes);
    }
    let seconds = minutes + 3;
    let fraction = text[seconds..].strip_prefix(['.', ','])?;
    let digits = fraction.bytes().take(FRACTION_DIGITS_MAX + 1).take_while(u8::is_ascii_digit).count();
    if !(1..=FRACTION_DIGITS_MAX).contains(&digits) {
        return None;
    }
    let end = seconds + 1 + digits;
    match text[end..].bytes().next() {
        // A letter ends a run of digits.
        Some(b'Z' | b'z') => whole(text, end + 1),
        _ => alone(text, end + offset_length(&text[end..])),
    }
}

/// The length of the offset from UTC, or 0 if there is none.
fn offset_length(text: &str) -> usize {
    const OFFSETS: [&str; 6] = ["+99:99", "-99:99", "+9999", "-9999", "+99", "-99"];
    OFFSETS.into_iter().find(|pattern| begins_like(text, pattern)).map_or(0, str::len)
}

/// IPv4 or IPv6.
fn address(text: &str) -> Option<usize> {
    let is_part = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':');
    // One byte more shows that a run is too long. The bound matters, since a run is read from each
    // of its positions.
    let length = text.bytes().take(ADDRESS_LENGTH_MAX + 1).take_while(is_part).count();
    let address = text[..length].trim_end_matches('.');
    address.parse::<IpAddr>().ok().and_then(|_| whole(text, address.len()))
}

/// An IBAN or a creditor reference (RF), printed or electronic: ISO/IEC 7064, MOD 97-10.
fn checked_by_97(text: &str) -> Option<usize> {
    let head = text.as_bytes().get(..4)?;
    if !(head[..2].iter().all(u8::is_ascii_alphabetic) && head[2..].iter().all(u8::is_ascii_digit)) {
        return None;
    }
    let (mut characters, mut found) = (Vec::new(), None);
    for (place, c) in text.char_indices() {
        if c.is_ascii_alphanumeric() {
            characters.push(c);
        } else if !(c.is_whitespace() || c == '-' || !(c.is_ascii() || c.is_alphanumeric())) {
            break;
        }
        let end = place + c.len_utf8();
        if characters.len() > CHECKED_LENGTH_MAX {
            break;
        }
        if characters.len() >= CHECKED_LENGTH_MIN
            && whole(text, end).is_some()
            && is_checked_by_97(&characters)
        {
            found = Some(end);
        }
    }
    found
}

/// A telephone number with a plus sign.
fn phone_number(text: &str) -> Option<usize> {
    let (mut digits, mut end) = (0, 0);
    for (place, c) in text.strip_prefix('+')?.char_indices() {
        match c {
            '0'..='9' => (digits, end) = (digits + 1, place + 2),
            ' ' | '\u{a0}' | '-' | '.' | '/' | '(' | ')' => {}
            _ => break,
        }
    }
    if (PHONE_DIGITS_MIN..=PHONE_DIGITS_MAX).contains(&digits) { alone(text, end) } else { None }
}

/// A GTIN-13 (EAN), by its check digit. Cards of thirteen digits are no longer issued.
fn article_number(text: &str) -> Option<usize> {
    if !begins_like(text, "9999999999999") {
        return None;
    }
    let weighted = text.bytes().take(13).enumerate().map(|(place, digit)| {
        let weight = if place % 2 == 0 { 1 } else { 3 };
        u32::from(digit - b'0') * weight
    });
    if weighted.sum::<u32>().is_multiple_of(10) { whole(text, 13) } else { None }
}
