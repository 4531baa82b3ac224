//! The normal form of names of people and companies, version 2.
//!
//! It makes different spellings of one name equal. It must not make similar names equal. Marks are
//! part of the letter in most scripts; they are removed only in scripts whose users often leave
//! them out.

use icu_casemap::CaseMapper;
use icu_properties::CodePointMapData;
use icu_properties::props::Script;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use crate::domain::text::{digit_value, is_invisible};

/// A name in compatibility form and lower case, without punctuation, repeated spaces, invisible
/// characters and optional marks.
pub fn normalized_name(name: &str) -> String {
    let decomposed = name.chars().filter(|c| !vanishes(*c)).map(without_sign).nfkd();
    let letters = without_points(decomposed.filter(|c| !vanishes(*c)));
    let folded = CaseMapper::new().fold_string(&letters);
    let mut plain = String::with_capacity(folded.len());
    for c in folded.chars() {
        match plain_letters(c) {
            Some(letters) => plain.push_str(letters),
            None => plain.push(plain_character(c)),
        }
    }
    let composed: String = plain.nfc().collect();
    composed.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Characters that are removed without a space in their place. Inside a word, the letters on both
/// sides belong together. Elsewhere there is a space or another punctuation mark beside them
/// anyway.
fn vanishes(c: char) -> bool {
    let stretches = c == '\u{640}';
    stretches || is_apostrophe(c) || is_full_stop(c) || is_invisible(c)
}

/// Characters that people type as an apostrophe: also accents without a letter, primes and half
/// rings.
fn is_apostrophe(c: char) -> bool {
    matches!(
        c,
        '\'' | '`' | '\u{b4}' | '\u{2b9}' | '\u{2bb}'
            ..='\u{2bf}'
                | '\u{2c8}'
                | '\u{2ca}'
                | '\u{2cb}'
                | '\u{384}'
                | '\u{55a}'
                | '\u{5f3}'
                | '\u{1fbd}'
                | '\u{1fbf}'
                | '\u{1fef}'
                | '\u{1ffd}'
                | '\u{1ffe}'
                | '\u{2018}'
                | '\u{2019}'
                | '\u{201b}'
                | '\u{2032}'
                | '\u{2035}'
                | '\u{a78b}'
                | '\u{a78c}'
    )
}

fn is_full_stop(c: char) -> bool {
    matches!(c, '.' | '\u{6d4}' | '\u{3002}')
}

/// Trade mark signs. Their compatibility forms are letters, which would become part of the name.
fn without_sign(c: char) -> char {
    if matches!(c, '\u{2122}' | '\u{2120}') { ' ' } else { c }
}

/// Removes the marks of letters in scripts where marks are optional. Takes decomposed text.
fn without_points(decomposed: impl Iterator<Item = char>) -> String {
    let mut base_keeps_marks = false;
    decomposed
        .filter(|c| {
            let is_mark = is_combining_mark(*c);
            if !is_mark {
                base_keeps_marks = keeps_marks(*c);
            }
            !is_mark || base_keeps_marks
        })
        .collect()
}

/// In Devanagari, Thai, kana and other scripts, a mark is a vowel or changes the consonant.
fn keeps_marks(base: char) -> bool {
    let script = CodePointMapData::<Script>::new().get(base);
    let can_do_without =
        [Script::Latin, Script::Greek, Script::Cyrillic, Script::Arabic, Script::Hebrew, Script::Common];
    base.is_alphabetic() && !can_do_without.contains(&script)
}

fn plain_character(c: char) -> char {
    match c {
        _ if c.is_ascii() => {
            if c.is_alphanumeric() {
                c
            } else {
                ' '
            }
        }
        // Only marks that are not optional are left here.
        _ if is_combining_mark(c) => c,
        _ if c.is_alphanumeric() => plain_digit(c).or_else(|| emblem(c)).unwrap_or(c),
        _ => emblem(c).unwrap_or(' '),
    }
}

/// Letters in circles and squares without a compatibility form, and regional indicators (flags).
fn emblem(c: char) -> Option<char> {
    let first = match c {
        '\u{1f150}'..='\u{1f169}' => 0x1f150,
        '\u{1f170}'..='\u{1f189}' => 0x1f170,
        '\u{1f1e6}'..='\u{1f1ff}' => 0x1f1e6,
        _ => return None,
    };
    char::from_u32(u32::from('a') + u32::from(c) - first)
}

/// Digits of the scripts that this version of the form includes. Other digits stay as they are,
/// since names are stored in this form.
fn plain_digit(c: char) -> Option<char> {
    let is_of_this_version = c < '\u{1950}' && !('\u{1090}'..='\u{1099}').contains(&c);
    let value = digit_value(c).filter(|_| is_of_this_version)?;
    char::from_digit(value, 10)
}

/// Latin letters without a decomposition, as people write them on keyboards that lack them. Takes
/// folded case.
fn plain_letters(c: char) -> Option<&'static str> {
    Some(match c {
        'ⱥ' | 'ɑ' | 'ᴀ' => "a",
        'æ' | 'ᴁ' => "ae",
        'ƀ' | 'ƃ' | 'ɓ' | 'ʙ' | 'ᴃ' => "b",
        'ƈ' | 'ȼ' | 'ɕ' | 'ᴄ' => "c",
        'đ' | 'ð' | 'ƌ' | 'ɖ' | 'ɗ' | 'ȡ' | 'ᴅ' => "d",
        'ə' | 'ǝ' | 'ɛ' | 'ɇ' | 'ᴇ' => "e",
        'ƒ' | 'ꜰ' => "f",
        'ǥ' | 'ɠ' | 'ɡ' | 'ɢ' => "g",
        'ħ' | 'ɦ' | 'ⱨ' | 'ʜ' => "h",
        'ı' | 'ɨ' | 'ɩ' | 'ɪ' => "i",
        'ȷ' | 'ɉ' | 'ᴊ' => "j",
        'ĸ' | 'ƙ' | 'ⱪ' | 'ᴋ' => "k",
        'ł' | 'ƚ' | 'ɫ' | 'ɬ' | 'ⱡ' | 'ȴ' | 'ʟ' | 'ᴌ' => "l",
        'ɱ' | 'ᴍ' => "m",
        'ŋ' | 'ƞ' | 'ɲ' | 'ȵ' | 'ɴ' => "n",
        'ø' | 'ɔ' | 'ɵ' | 'ᴏ' => "o",
        'œ' | 'ɶ' => "oe",
        'ƥ' | 'ᵽ' | 'ᴘ' => "p",
        'ɋ' | 'ꞯ' => "q",
        'ɍ' | 'ɽ' | 'ʀ' => "r",
        'ʂ' | 'ȿ' | 'ꜱ' => "s",
        'ŧ' | 'ƫ' | 'ƭ' | 'ʈ' | 'ⱦ' | 'ȶ' | 'ᴛ' => "t",
        'þ' => "th",
        'ʉ' | 'ʊ' | 'ᴜ' => "u",
        'ʋ' | 'ᴠ' => "v",
        'ⱳ' | 'ᴡ' => "w",
        'ɏ' | 'ƴ' | 'ʏ' => "y",
        'ƶ' | 'ȥ' | 'ɀ' | 'ⱬ' | 'ʐ' | 'ʑ' | 'ᴢ' => "z",
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
