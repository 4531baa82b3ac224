//! How similar two names are, from 0 to 100, and which entry of a list is most similar to a name.
//! `docs/COMPARISON.md` defines the score.
//!
//! Scores are facts of decisions, which are replayed: they are made of integers only, and depend on
//! nothing but the two names. A change of any score, also by a table of words or by another release
//! of a crate used here, needs a new [`SIMILARITY_VERSION`].

use alignment::{Matched, Side};
use legal_forms::LegalForms;
use similarity::Compared;
use spans::{Place, spans};
use word::Word;

pub use index::{NameIndex, Similar};

mod alignment;
mod form;
mod index;
mod legal_forms;
mod similarity;
mod spans;
mod spelling;
mod transliteration;
mod word;

/// Recorded with each decision, since scores of another version may be different.
pub const SIMILARITY_VERSION: u16 = 1;

/// A name as it is compared: its words in Latin letters, and its legal forms. Titles are left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameForm {
    /// Never empty.
    words: Vec<Word>,
    legal_forms: LegalForms,
}

impl NameForm {
    /// None if the name has no letter or digit. Such a name is similar to nothing.
    pub fn of(name: &str) -> Option<Self> {
        let (words, legal_forms) = form::words_and_legal_forms(name)?;
        Some(Self { words, legal_forms })
    }

    fn side(&self) -> Side {
        Side {
            weight: self.words.iter().map(|word| u32::from(word.weight())).sum(),
            legal_forms: self.legal_forms,
        }
    }
}

/// 100 for equal forms only. The order of the two does not matter.
pub fn score(a: &NameForm, b: &NameForm) -> u8 {
    if a == b {
        return 100;
    }
    let (first, second) = if a < b { (a, b) } else { (b, a) };
    let (spans_of_first, spans_of_second) = (spans(&first.words), spans(&second.words));
    let others: Vec<(Place, Compared)> =
        spans_of_second.iter().map(|span| (span.place, Compared::new(&span.spelling))).collect();
    let mut matched = Vec::new();
    for span in &spans_of_first {
        let compared = Compared::new(&span.spelling);
        for (second, other) in &others {
            let similarity = compared.similarity(other);
            if similarity > 0 {
                matched.push(Matched { first: span.place, second: *second, similarity });
            }
        }
    }
    alignment::score_of_different(&first.side(), &second.side(), &mut matched)
}

#[cfg(test)]
mod tests;
