//! The distinct words of a list, and its neighbouring words written as one.

use std::borrow::Cow;
use std::ops::Range;

use super::super::NameForm;
use super::super::similarity::{Compared, Origin, Spelling, forgiven_errors};
use super::super::spans::{Place, Span, spans};
use super::super::spelling::Sound;
use super::super::word::{MAX_LETTERS, Vowels, Word};

/// Items are numbered from 0, in the order of their keys.
#[derive(Debug)]
pub struct Vocabulary {
    texts: String,
    /// Where the text of the next item begins.
    text_ends: Vec<u32>,
    posting_ends: Vec<u32>,
    letters: Vec<Letters>,
    facts: Vec<Facts>,
    /// By a hash of the consonants. Items that sound the same have the same.
    by_consonants: Vec<(u32, u32)>,
    /// The first item of each number of letters, words first and then what was joined.
    first_words: [u32; MAX_LETTERS + 2],
    first_joined: [u32; MAX_LETTERS + 2],
}

/// What is known of an item beside its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Facts {
    origin: Origin,
    vowels: Vowels,
    words: u8,
    weight: u8,
    names: u8,
}

/// An item that is similar to a span of the name that is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SimilarWord {
    pub item: u32,
    pub span: u8,
    pub similarity: u8,
}

/// Which letters and digits a text has once, and which twice. One typing error changes at most two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Letters(u64);

/// Sorted by this, items of the same length are neighbours: words first, then what was joined.
type Key = (bool, usize, Box<str>, Facts);

impl Vocabulary {
    pub fn of<'a>(forms: impl Iterator<Item = &'a NameForm>) -> Self {
        let of_form = |form: &'a NameForm| spans(&form.words).into_iter().map(|span| key(&span));
        let mut keys: Vec<Key> = forms.flat_map(of_form).collect();
        keys.sort_unstable();
        keys.dedup();
        let first = |joined: bool| {
            let first = |length| keys.partition_point(|key| (key.0, key.1) < (joined, length)) as u32;
            std::array::from_fn(first)
        };
        let mut vocabulary = Self {
            texts: keys.iter().map(|key| key.2.as_ref()).collect(),
            text_ends: Vec::with_capacity(keys.len()),
            posting_ends: Vec::new(),
            letters: keys.iter().map(|key| Letters::of(&key.2)).collect(),
            facts: keys.iter().map(|key| key.3).collect(),
            by_consonants: (0..).zip(&keys).map(|(item, key)| (hash_of_consonants(&key.2), item)).collect(),
            first_words: first(false),
            first_joined: first(true),
        };
        let mut end = 0;
        vocabulary.text_ends.extend(keys.iter().map(|key| {
            end += key.2.len() as u32;
            end
        }));
        vocabulary.by_consonants.sort_unstable();
        vocabulary
    }

    /// Makes place for the postings of each item. Returns where they end.
    pub fn places_for_postings(&mut self, items: impl Iterator<Item = u32>) -> Vec<u32> {
        let mut ends = vec![0; self.facts.len()];
        for item in items {
            ends[item as usize] += 1;
        }
        let mut end = 0;
        for count in &mut ends {
            end += *count;
            *count = end;
        }
        self.posting_ends.clone_from(&ends);
        ends
    }

    pub fn postings(&self, item: u32) -> Range<usize> {
        part(&self.posting_ends, item)
    }

    pub fn bytes(&self) -> usize {
        self.texts.len()
            + size_of_val(self.text_ends.as_slice())
            + size_of_val(self.posting_ends.as_slice())
            + size_of_val(self.letters.as_slice())
            + size_of_val(self.facts.as_slice())
            + size_of_val(self.by_consonants.as_slice())
    }

    pub fn text_and_vowels(&self, item: u32) -> (&str, Vowels) {
        (self.text(item), self.facts[item as usize].vowels)
    }

    pub fn place(&self, item: u32, start: u8) -> Place {
        let Facts { words, weight, names, .. } = self.facts[item as usize];
        Place { start, words, weight, names }
    }

    pub fn word(&self, word: &Word) -> Option<u32> {
        self.find(spans(std::slice::from_ref(word)).first()?)
    }

    pub fn find(&self, span: &Span) -> Option<u32> {
        let (joined, length, text, facts) = key(span);
        let items = self.items(joined, length..=length);
        let order = |item: u32| (self.text(item), self.facts[item as usize]).cmp(&(text.as_ref(), facts));
        let (mut low, mut high) = (items.start, items.end);
        while low < high {
            let middle = low.midpoint(high);
            if order(middle).is_lt() { low = middle + 1 } else { high = middle }
        }
        (low < items.end && order(low).is_eq()).then_some(low)
    }

    /// The items that are similar to a span, sorted.
    pub fn similar(&self, spans: &[Span]) -> Vec<SimilarWord> {
        let mut similar = Vec::new();
        for (number, span) in (0..).zip(spans) {
            let compared = Compared::new(&span.spelling);
            let mut add = |item, similarity| {
                if similarity > 0 {
                    similar.push(SimilarWord { item, span: number, similarity });
                }
            };
            self.each_with_similar_letters(&span.spelling, |item| {
                add(item, compared.similarity_by_letters(&self.spelling(item)));
            });
            for item in self.with_consonants(&compared.sound) {
                let other = self.spelling(item);
                add(item, compared.similarity_by_sound(&other, &Sound::of(&other.text)));
            }
        }
        similar.sort_unstable_by_key(|word| (word.item, word.span, std::cmp::Reverse(word.similarity)));
        similar.dedup_by_key(|word| (word.item, word.span));
        similar
    }

    /// All items that may be similar by their letters, and some that are not.
    fn each_with_similar_letters(&self, spelling: &Spelling, mut each: impl FnMut(u32)) {
        let length = spelling.text.len();
        if length == 1 {
            let begins = |item: &u32| self.text(*item).starts_with(spelling.text.as_ref());
            return self.items(false, 1..=MAX_LETTERS).filter(begins).for_each(each);
        }
        self.items(false, 1..=1).for_each(&mut each);
        let letters = Letters::of(&spelling.text);
        for other in length.saturating_sub(2).max(2)..=(length + 2).min(MAX_LETTERS) {
            let errors = forgiven_errors(length, other);
            if length.abs_diff(other) > errors {
                continue;
            }
            let words = self.items(false, other..=other);
            let joined = self.items(true, other..=other);
            let joined = if spelling.origin == Origin::Word { joined } else { 0..0 };
            words
                .chain(joined)
                .filter(|item| self.letters[*item as usize].may_be_within(letters, errors))
                .for_each(&mut each);
        }
    }

    fn with_consonants(&self, sound: &Sound) -> impl Iterator<Item = u32> {
        let hash = hash(&sound.consonants);
        let start = self.by_consonants.partition_point(|(other, _)| *other < hash);
        self.by_consonants[start..].iter().take_while(move |(other, _)| *other == hash).map(|(_, item)| *item)
    }

    fn items(&self, joined: bool, lengths: std::ops::RangeInclusive<usize>) -> Range<u32> {
        let first = if joined { &self.first_joined } else { &self.first_words };
        first[*lengths.start()]..first[*lengths.end() + 1]
    }

    fn spelling(&self, item: u32) -> Spelling<'_> {
        let Facts { origin, vowels, .. } = self.facts[item as usize];
        Spelling { text: Cow::Borrowed(self.text(item)), vowels, origin }
    }

    fn text(&self, item: u32) -> &str {
        &self.texts[part(&self.text_ends, item)]
    }
}

impl Letters {
    fn of(text: &str) -> Self {
        let (mut once, mut twice) = (0_u64, 0_u64);
        for letter in text.bytes() {
            let bit = match letter {
                b'0'..=b'9' => 1 << (52 + letter - b'0'),
                _ => 1 << (letter.saturating_sub(b'a') & 31),
            };
            twice |= once & bit;
            once |= bit;
        }
        Self(once | (twice & ((1 << 26) - 1)) << 26)
    }

    /// False only if more typing errors are between the two texts.
    fn may_be_within(self, other: Self, errors: usize) -> bool {
        (self.0 ^ other.0).count_ones() as usize <= 2 * errors
    }
}

fn key(span: &Span) -> Key {
    let (Spelling { text, vowels, origin }, place) = (&span.spelling, span.place);
    let facts = Facts {
        origin: *origin,
        vowels: *vowels,
        words: place.words,
        weight: place.weight,
        names: place.names,
    };
    (*origin != Origin::Word, text.len(), text.as_ref().into(), facts)
}

fn part(ends: &[u32], number: u32) -> Range<usize> {
    let number = number as usize;
    let start = number.checked_sub(1).map_or(0, |before| ends[before]);
    start as usize..ends[number] as usize
}

fn hash_of_consonants(text: &str) -> u32 {
    hash(&Sound::of(text).consonants)
}

/// FNV-1a.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
