//! A name of any script as words in small Latin letters.
//!
//! The table of letters is the crate's. Here is only what depends on more than one letter, or on
//! how names of a script are usually written in Latin letters.

use any_ascii::any_ascii_char;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::word::{MAX_LETTERS, Vowels, Word};
use crate::domain::text::is_invisible;

const ARABIC_ARTICLE: [char; 2] = ['ا', 'ل'];

/// The words in the order of the name. Chinese and Korean have a word for each syllable.
pub fn words(name: &str) -> Vec<Word> {
    let visible = name.chars().filter(|c| !is_invisible(*c)).nfkc().filter(|c| !is_optional(*c));
    let letters: Vec<char> = visible.collect();
    let mut words = Vec::new();
    for word in letters.split(|c| !is_part_of_word(*c)) {
        for part in word.chunk_by(|a, b| !is_syllable(*a) && !is_syllable(*b)) {
            words.extend(parts_without_article(part).into_iter().filter_map(latin_word));
        }
    }
    words
}

/// Points of Arabic and Hebrew, which are usually left out, and the stretching of Arabic.
fn is_optional(c: char) -> bool {
    matches!(c, '\u{591}'..='\u{5c7}' | '\u{610}'..='\u{61a}' | '\u{640}' | '\u{64b}'..='\u{65f}' | '\u{670}')
}

/// An apostrophe separates nothing: O'Brien is one word.
fn is_part_of_word(c: char) -> bool {
    c.is_alphanumeric() || is_combining_mark(c) || matches!(any_ascii_char(c), "'" | "`")
}

/// A Chinese character or a Korean syllable.
fn is_syllable(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' | '\u{20000}'..='\u{3ffff}')
}

/// The Arabic article is a word of its own in Latin letters.
fn parts_without_article(word: &[char]) -> Vec<&[char]> {
    let (article, noun) = word.split_at(word.len().min(ARABIC_ARTICLE.len()));
    if article == ARABIC_ARTICLE && noun.len() >= 2 { vec![article, noun] } else { vec![word] }
}

fn latin_word(word: &[char]) -> Option<Word> {
    let mut text = String::new();
    let mut rest = word;
    while let [c, after @ ..] = rest {
        let (latin, remaining) = match after.first().and_then(|next| greek_pair(*c, *next)) {
            Some(latin) => (latin, &after[1..]),
            None => (latin_letters(*c), after),
        };
        text.extend(latin.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()));
        rest = remaining;
    }
    text.truncate(MAX_LETTERS);
    let vowels = if word != ARABIC_ARTICLE && word.iter().any(|c| leaves_vowels_out(*c)) {
        Vowels::LeftOut
    } else {
        Vowels::Written
    };
    (!text.is_empty()).then(|| Word { text: text.into(), vowels })
}

/// Two Greek letters that are one sound.
fn greek_pair(first: char, second: char) -> Option<&'static str> {
    Some(match (lower(first), lower(second)) {
        ('ο', 'υ' | 'ύ') => "ou",
        ('α', 'υ' | 'ύ') => "av",
        ('ε', 'υ' | 'ύ') => "ev",
        ('γ', 'γ') => "ng",
        ('μ', 'π') => "b",
        _ => return None,
    })
}

fn lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

fn latin_letters(c: char) -> &'static str {
    match c {
        // The crate leaves the long vowel out.
        'ا' | 'أ' | 'إ' | 'آ' => "a",
        _ => any_ascii_char(c),
    }
}

/// Hebrew and Arabic letters.
fn leaves_vowels_out(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{6ff}' | '\u{750}'..='\u{77f}')
}
