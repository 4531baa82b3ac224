//! Finds card numbers in texts. A card number must never be stored, shown or logged.
//!
//! A number counts as a card number by its length, its issuer range and the Luhn check. This does
//! not find other secrets. About one in a hundred of all numbers of sixteen digits looks like a
//! card number.

mod ibans;
mod identifiers;
mod issuers;

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;

use ibans::has_length_of_its_country;
use identifiers::without_identifiers;
use issuers::is_of_an_issuer;

use super::party::Iban;
use super::text::digit_value;

const DIGITS_MIN: usize = 12;
const DIGITS_MAX: usize = 19;

/// The error for a field that contains a card number.
pub const CARD_NUMBER_FOUND: &str =
    "looks like a card number; card numbers must never be sent, so send a token of your own";

/// Whether a text contains a card number. Digits of all scripts count, and any characters other
/// than letters may be between them. A card number that is only a part of an unbroken group of
/// digits is not found.
pub fn holds_card_number(text: &str) -> bool {
    // A quick check that most texts fail. Digits of other scripts are not ASCII.
    let possible = text.bytes().filter(|byte| byte.is_ascii_digit() || !byte.is_ascii()).count();
    if possible < DIGITS_MIN {
        return false;
    }
    let text = with_ascii_digits(text);
    // Other identifiers are removed only if the digits could be those of a card.
    has_candidate(&text) && has_candidate(&without_identifiers(&text))
}

/// Like [`holds_card_number`], for an account number. A mistyped IBAN with the right length
/// for its country is allowed. In some countries sixteen digits follow the two letters; if
/// those digits are a card number, the account number is refused.
pub fn account_holds_card_number(text: &str) -> bool {
    let is_iban = || {
        Iban::parse(text).is_ok_and(|iban| {
            let written = iban.as_str();
            let digits = &written[2..];
            let is_card_number = digits.len() == 16
                && digits.bytes().all(|byte| byte.is_ascii_digit())
                && has_candidate(digits);
            has_length_of_its_country(written) && !is_card_number
        })
    };
    holds_card_number(text) && !is_iban()
}

/// The text with all digits as ASCII digits, including full-width, raised and circled ones.
fn with_ascii_digits(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.nfkc().map(ascii_digit).collect())
}

fn ascii_digit(c: char) -> char {
    digit_value(c).and_then(|value| char::from_digit(value, 10)).unwrap_or(c)
}

/// Digits with only separators between them, and the places where groups of them begin.
#[derive(Default)]
struct DigitRun {
    digits: Vec<u8>,
    groups: Vec<usize>,
}

impl DigitRun {
    fn begin_group(&mut self) {
        self.groups.push(self.digits.len());
    }

    /// Whether all groups together, or some neighbouring ones, are a card number.
    fn has_card_number(&self) -> bool {
        self.groups.iter().enumerate().any(|(group, from)| {
            let ends = self.groups[group + 1..].iter().copied().chain([self.digits.len()]);
            ends.skip_while(|end| end - from < DIGITS_MIN)
                .take_while(|end| end - from <= DIGITS_MAX)
                .any(|end| is_card_number(&self.digits[*from..end]))
        })
    }

    /// Ends the run. Returns whether it contained a card number.
    fn end(&mut self) -> bool {
        let found = self.has_card_number();
        self.digits.clear();
        self.groups.clear();
        found
    }
}

fn has_candidate(text: &str) -> bool {
    let mut run = DigitRun::default();
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        if is_part_of_a_digest(word) {
            if run.end() {
                return true;
            }
            continue;
        }
        let mut inside = false;
        for c in word.chars() {
            if c.is_ascii_digit() {
                if !inside {
                    run.begin_group();
                }
                run.digits.push(c as u8);
            } else if run.end() {
                return true;
            }
            inside = c.is_ascii_digit();
        }
    }
    run.end()
}

/// Whether a word is hexadecimal with letters in more than one place. Letters in one place may be a
/// word before a card number, or mark the track of a magnetic stripe.
fn is_part_of_a_digest(word: &str) -> bool {
    let runs_of_letters = word.split(|c: char| c.is_ascii_digit()).filter(|letters| !letters.is_empty());
    word.bytes().all(|byte| byte.is_ascii_hexdigit()) && runs_of_letters.count() > 1
}

fn is_card_number(digits: &[u8]) -> bool {
    luhn_holds(digits) && is_of_an_issuer(digits)
}

/// ISO/IEC 7812-1, annex B.
fn luhn_holds(digits: &[u8]) -> bool {
    let value = |(place, digit): (usize, &u8)| {
        let digit = u32::from(digit - b'0');
        match (place % 2, digit * 2) {
            (0, _) => digit,
            (_, doubled) if doubled > 9 => doubled - 9,
            (_, doubled) => doubled,
        }
    };
    digits.iter().rev().enumerate().map(value).sum::<u32>().is_multiple_of(10)
}

#[cfg(test)]
#[path = "card_number/tests.rs"]
mod tests;
