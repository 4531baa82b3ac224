//! The words of a name, and its neighbouring words written as one: `al qaida` is also `alqaida`.

use std::borrow::Cow;

use super::similarity::{Origin, Spelling};
use super::word::{Class, MAX_LETTERS, Vowels, Word};

/// Where words stand in their name, and how much they count. A name has one place for each start and
/// number of words.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub start: u8,
    pub words: u8,
    pub weight: u8,
    /// How many of the words are names or initials.
    pub names: u8,
}

#[derive(Debug, Clone)]
pub struct Span<'a> {
    pub place: Place,
    pub spelling: Spelling<'a>,
}

/// First each word, in order.
pub fn spans(words: &[Word]) -> Vec<Span<'_>> {
    let mut spans: Vec<Span> = (0..words.len()).map(|start| span(words, start, 1, Origin::Word)).collect();
    let classes: Vec<Class> = words.iter().map(Word::class).collect();
    for start in 0..words.len() {
        match &classes[start..] {
            [Class::Initial, ..] => {
                let begins = start == 0 || classes[start - 1] != Class::Initial;
                let length = classes[start..].iter().take_while(|class| **class == Class::Initial).count();
                if begins && length > 1 {
                    spans.push(span(words, start, length, Origin::Initials));
                }
            }
            [_, Class::Initial, ..] | [_] | [] => {}
            [_, Class::Particle, third, ..] if *third != Class::Initial => {
                spans.push(span(words, start, 2, Origin::Joined));
                spans.push(span(words, start, 3, Origin::Joined));
            }
            [..] => spans.push(span(words, start, 2, Origin::Joined)),
        }
    }
    spans.retain(|span| span.spelling.text.len() <= MAX_LETTERS);
    spans
}

fn span(all: &[Word], start: usize, length: usize, origin: Origin) -> Span<'_> {
    let words = &all[start..start + length];
    let text = match words {
        [word] => Cow::Borrowed(word.text.as_ref()),
        _ => Cow::Owned(words.iter().map(|word| word.text.as_ref()).collect()),
    };
    let leave_out = words.iter().any(|word| word.vowels == Vowels::LeftOut);
    let is_name = |word: &&Word| matches!(word.class(), Class::Name | Class::Initial);
    let place = Place {
        start: start as u8,
        words: length as u8,
        weight: words.iter().map(Word::weight).sum(),
        names: words.iter().filter(is_name).count() as u8,
    };
    let vowels = if leave_out { Vowels::LeftOut } else { Vowels::Written };
    Span { place, spelling: Spelling { text, vowels, origin } }
}
