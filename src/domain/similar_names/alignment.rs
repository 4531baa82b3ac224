//! The score of two names whose similar words are known.

use super::legal_forms::LegalForms;
use super::spans::Place;

/// What the score needs of a name beside its similar words.
#[derive(Debug, Clone, Copy)]
pub struct Side {
    /// Of all words.
    pub weight: u32,
    pub legal_forms: LegalForms,
}

/// A word, or several written as one, of each name.
#[derive(Debug, Clone, Copy)]
pub struct Matched {
    pub first: Place,
    pub second: Place,
    /// 1 to 100.
    pub similarity: u8,
}

impl Matched {
    /// Pairs are taken in ascending order: first those that say most. In one number, since this is
    /// most of the work for names that are made of similar words.
    fn turn(&self) -> u64 {
        let weight = u16::from(self.first.weight) + u16::from(self.second.weight);
        let [high, low] = (u16::MAX - u16::from(self.similarity) * weight).to_be_bytes();
        let (first, second) = (self.first, self.second);
        u64::from_be_bytes([0, 0, high, low, first.start, first.words, second.start, second.words])
    }
}

/// The weight of a side's words that match, each times its similarity.
#[derive(Debug, Clone, Copy, Default)]
pub struct Found {
    pub first: u32,
    pub second: u32,
}

/// The score of names whose forms are different. `first` must be the lesser form: otherwise the
/// score would depend on the order of the two.
pub fn score_of_different(first: &Side, second: &Side, matched: &mut [Matched]) -> u8 {
    matched.sort_unstable_by_key(Matched::turn);
    let (mut used_of_first, mut used_of_second) = (0_u32, 0_u32);
    let (mut found, mut names) = (Found::default(), 0);
    for pair in matched.iter() {
        let (of_first, of_second) = (places(pair.first), places(pair.second));
        if used_of_first & of_first != 0 || used_of_second & of_second != 0 {
            continue;
        }
        used_of_first |= of_first;
        used_of_second |= of_second;
        found.first += u32::from(pair.similarity) * u32::from(pair.first.weight);
        found.second += u32::from(pair.similarity) * u32::from(pair.second.weight);
        names += pair.first.names.min(pair.second.names);
    }
    if names >= 2 { highest_score(first, second, found) } else { score_of_one_name(first, second, found) }
}

/// No score is higher if no more than this was found.
pub fn highest_score(first: &Side, second: &Side, found: Found) -> u8 {
    let (high, low) = shares(first, second, found);
    finished(first, second, (3 * high + low) / 4)
}

/// One name in common says less: many are called Smith.
fn score_of_one_name(first: &Side, second: &Side, found: Found) -> u8 {
    let (high, low) = shares(first, second, found);
    finished(first, second, (high + low) / 2)
}

/// The higher and the lower share of a name that was found in the other, in ten-thousandths.
fn shares(first: &Side, second: &Side, found: Found) -> (u32, u32) {
    let share = |found: u32, side: &Side| (found * 100 / side.weight).min(10_000);
    let (first, second) = (share(found.first, first), share(found.second, second));
    (first.max(second), first.min(second))
}

fn finished(first: &Side, second: &Side, ten_thousandths: u32) -> u8 {
    let score = ((ten_thousandths + 50) / 100) as u8;
    score.min(99).saturating_sub(first.legal_forms.difference(second.legal_forms))
}

fn places(place: Place) -> u32 {
    ((1 << place.words) - 1) << place.start
}
