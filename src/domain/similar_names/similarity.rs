//! How similar two words are, from 0 to 100.

use std::borrow::Cow;

use rapidfuzz::distance::osa;

use super::spelling::Sound;
use super::word::{Vowels, is_initial};

const SAME_SOUND: u8 = 90;
const SAME_CONSONANTS: u8 = 85;
const INITIAL: u8 = 80;
/// What is subtracted if a word was joined of several.
const JOINED: u8 = 1;

/// How a word that is compared was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    Word,
    /// Several words, written as one.
    Joined,
    /// Initials, written as one word.
    Initials,
}

/// A word, or several written as one.
#[derive(Debug, Clone)]
pub struct Spelling<'a> {
    pub text: Cow<'a, str>,
    pub vowels: Vowels,
    pub origin: Origin,
}

/// A word that is compared with many others.
pub struct Compared<'a> {
    spelling: &'a Spelling<'a>,
    pub sound: Sound,
    errors: osa::BatchComparator<u8>,
}

impl<'a> Compared<'a> {
    pub fn new(spelling: &'a Spelling<'a>) -> Self {
        let errors = osa::BatchComparator::new(spelling.text.bytes());
        Self { spelling, sound: Sound::of(&spelling.text), errors }
    }

    pub fn similarity(&self, other: &Self) -> u8 {
        let by_sound = self.similarity_by_sound(other.spelling, &other.sound);
        by_sound.max(self.similarity_by_letters(other.spelling))
    }

    pub fn similarity_by_letters(&self, other: &Spelling) -> u8 {
        let (a, b) = (self.spelling.text.as_ref(), other.text.as_ref());
        match (self.spelling.origin, other.origin) {
            (Origin::Word, Origin::Word) => match (is_initial(a), is_initial(b)) {
                (false, false) => self.similarity_of_texts(b),
                _ if a == b => 100,
                (true, true) => 0,
                _ if a.starts_with(b) || b.starts_with(a) => INITIAL,
                _ => 0,
            },
            (Origin::Word, Origin::Joined) | (Origin::Joined, Origin::Word) => {
                self.similarity_of_texts(b).saturating_sub(JOINED)
            }
            (Origin::Word, Origin::Initials) | (Origin::Initials, Origin::Word) if a == b => 100 - JOINED,
            _ => 0,
        }
    }

    /// The sound of the other is passed, since it takes long to make.
    pub fn similarity_by_sound(&self, other: &Spelling, other_sound: &Sound) -> u8 {
        let joined = match (self.spelling.origin, other.origin) {
            (Origin::Word, Origin::Word) => 0,
            (Origin::Word, Origin::Joined) | (Origin::Joined, Origin::Word) => JOINED,
            _ => return 0,
        };
        let consonants = &self.sound.consonants;
        let has_digit = has_digit(&self.spelling.text) || has_digit(&other.text);
        if *consonants != other_sound.consonants || has_digit {
            return 0;
        }
        let left_out = self.spelling.vowels == Vowels::LeftOut || other.vowels == Vowels::LeftOut;
        let sounds_the_same = self.sound.letters == other_sound.letters && self.sound.letters.len() >= 3;
        if sounds_the_same || (left_out && consonants.len() >= 2) {
            SAME_SOUND - joined
        } else if consonants.len() >= 5 {
            SAME_CONSONANTS - joined
        } else {
            0
        }
    }

    fn similarity_of_texts(&self, other: &str) -> u8 {
        let text = self.spelling.text.as_ref();
        if text == other {
            return 100;
        }
        let forgiven = forgiven_errors(text.len(), other.len());
        if text.len().abs_diff(other.len()) > forgiven {
            return 0;
        }
        let errors = self.errors.distance(other.bytes());
        if errors > forgiven || has_digit(text) || has_digit(other) {
            return 0;
        }
        let longer = text.len().max(other.len());
        let halves = if errors == 1 && is_consonant_replaced(text, other) { 3 } else { 2 * errors };
        (100 - 50 * halves / longer) as u8
    }
}

/// How many typing errors are forgiven between words of these numbers of letters.
pub fn forgiven_errors(a: usize, b: usize) -> usize {
    match (a.min(b), a.max(b)) {
        (8.., _) => 2,
        (_, 4..) => 1,
        _ => 0,
    }
}

/// For words with one error. A vowel is more often misspelled than a consonant, and a letter more
/// often left out or swapped than replaced; names that differ by a consonant are often different.
fn is_consonant_replaced(a: &str, b: &str) -> bool {
    let mut differences = a.bytes().zip(b.bytes()).filter(|(x, y)| x != y);
    let (first, second) = (differences.next(), differences.next());
    let is_vowel = |letter| matches!(letter, b'a' | b'e' | b'i' | b'o' | b'u' | b'y');
    let replaced = a.len() == b.len() && second.is_none();
    replaced && first.is_some_and(|(x, y)| !is_vowel(x) || !is_vowel(y))
}

fn has_digit(text: &str) -> bool {
    text.bytes().any(|c| c.is_ascii_digit())
}
