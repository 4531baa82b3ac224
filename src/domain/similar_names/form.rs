//! Which words of a name are compared: not its titles and legal forms, and not more than
//! [`MAX_WORDS`].

use std::cmp::Reverse;

use super::legal_forms::LegalForms;
use super::transliteration;
use super::word::Word;

/// Bounds the work of a comparison. Few names have more words.
pub const MAX_WORDS: usize = 12;

/// None if the name has no letter or digit.
pub fn words_and_legal_forms(name: &str) -> Option<(Vec<Word>, LegalForms)> {
    let mut words = transliteration::words(name);
    let mut legal_forms = LegalForms::default();
    while legal_forms.take_at_ends(&mut words) || take_title(&mut words) {}
    legal_forms.take_everywhere(&mut words);
    keep_heaviest(&mut words);
    (!words.is_empty()).then_some((words, legal_forms))
}

/// Removes one title from an end of the name, unless nothing would be left.
fn take_title(words: &mut Vec<Word>) -> bool {
    let is_title = |word: &Word| TITLES.contains(&word.text.as_ref());
    match words.as_slice() {
        [title, ing, _, ..] if is_title(title) && ing.text.as_ref() == AFTER_A_TITLE => {
            words.drain(..2);
        }
        [title, _, ..] if is_title(title) => {
            words.remove(0);
        }
        [_, .., title] if is_title(title) => {
            words.pop();
        }
        _ => return false,
    }
    true
}

/// The words that count most, in their order.
fn keep_heaviest(words: &mut Vec<Word>) {
    if words.len() <= MAX_WORDS {
        return;
    }
    let mut places: Vec<usize> = (0..words.len()).collect();
    places.sort_by_key(|place| Reverse(words[*place].weight()));
    let lightest = places.split_off(MAX_WORDS);
    let mut place = 0..;
    words.retain(|_| place.next().is_some_and(|place| !lightest.contains(&place)));
}

/// Dipl.-Ing. and Dr.-Ing. By itself this is also the name of a bank.
const AFTER_A_TITLE: &str = "ing";

const TITLES: &[&str] = &[
    "mr",
    "mrs",
    "ms",
    "miss",
    "mister",
    "messrs",
    "sir",
    "dame",
    "lord",
    "lady",
    "dr",
    "doctor",
    "doktor",
    "prof",
    "professor",
    "dipl",
    "dipling",
    "rev",
    "reverend",
    "hon",
    "esq",
    "phd",
    "mba",
    "jr",
    "sr",
    "junior",
    "senior",
    "herr",
    "herrn",
    "frau",
    "mme",
    "madame",
    "mlle",
    "monsieur",
    "sra",
    "srta",
    "senor",
    "senora",
    "senorita",
    "dott",
    "signor",
    "signora",
    "gospodin",
    "gospozha",
    "gen",
    "col",
    "colonel",
    "capt",
    "captain",
    "maj",
    "lt",
    "sheikh",
    "shaykh",
    "sheik",
    "haji",
    "hajji",
    "mullah",
    "maulavi",
    "mawlawi",
    "ayatollah",
];
