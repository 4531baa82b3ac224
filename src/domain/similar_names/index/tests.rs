//! The index is held against a plain scan of the list.

use super::super::score;
use super::*;

const LISTS: usize = 15;

/// Numbers that look random and are the same in every run.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % bound as u64) as usize
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// Few words, so that many names share some, and many words are similar to others.
const WORDS: &str = "john jon joan j m s smith smythe smit maria mario garcia garza al qaida alqaida bin laden \
    ladin abd rahman abdul abdulrahman abdalrahman محمد mohammed muhammad الرحمن حسين hussein \
    Владимир vladimir wladimir путин putin bank of china chile trading ltd gmbh sa co mr dr xi \
    jin ping jinping 习近平 acme a.c.m.e. 24 25 international internatoinal aleksandr alexander \
    aaaaaaaaaa aaaaaaaaab aaaaaaaaba the de la lopez Παπαδόπουλος";

fn name(draws: &mut Draws) -> String {
    let words = 1 + draws.below(4) + if draws.below(20) == 0 { 12 } else { 0 };
    let all: Vec<&str> = WORDS.split_whitespace().collect();
    (0..words).map(|_| draws.of(&all)).collect::<Vec<_>>().join(" ")
}

/// Changes up to three letters of a name.
fn mutated(name: &str, draws: &mut Draws) -> String {
    let mut letters: Vec<char> = name.chars().collect();
    for _ in 0..draws.below(4) {
        let at = draws.below(letters.len());
        match draws.below(4) {
            0 if letters.len() > 1 => drop(letters.remove(at)),
            1 => letters.insert(at, draws.of(&['a', 'e', 'h', 'n', ' '])),
            2 if at > 0 => letters.swap(at - 1, at),
            _ => letters[at] = draws.of(&['a', 'i', 'k', 's', ' ']),
        }
    }
    letters.into_iter().collect()
}

/// The answer of [`NameIndex::best`], by scoring every entry.
fn best_by_scan(scores: &[Similar], score_at_least: u8, is_valid: impl Fn(u32) -> bool) -> Option<Similar> {
    let enough = scores.iter().filter(|similar| is_valid(similar.entry) && similar.score >= score_at_least);
    enough.max_by_key(|similar| (similar.score, Reverse(similar.entry))).copied()
}

#[test]
fn the_index_finds_what_a_plain_scan_finds() {
    let mut draws = Draws(1);
    let mut found = 0;
    for _ in 0..LISTS {
        let names: Vec<(u32, String)> = (0..60).map(|_| (draws.below(50) as u32, name(&mut draws))).collect();
        let index = NameIndex::new(names.iter().map(|(id, name)| (*id, name.as_str())));
        let forms: Vec<(u32, NameForm)> =
            names.iter().filter_map(|(id, name)| Some((*id, NameForm::of(name)?))).collect();
        for _ in 0..50 {
            let base = if draws.below(3) == 0 { name(&mut draws) } else { names[draws.below(60)].1.clone() };
            let name = mutated(&base, &mut draws);
            let Some(form) = NameForm::of(&name) else { continue };
            let scored = forms.iter().map(|(id, other)| Similar { entry: *id, score: score(&form, other) });
            let scores: Vec<Similar> = scored.collect();
            let period = 1 + draws.below(4) as u32;
            let is_valid = |id| id % period == 0;
            for score_at_least in [1, 50, 70, 85, 95, 99, 100] {
                let best = index.best(&form, score_at_least, is_valid);
                let expected = best_by_scan(&scores, score_at_least, is_valid);
                assert_eq!(best, expected, "{name} at least {score_at_least} in {names:?}");
                found += usize::from(best.is_some());
            }
        }
    }
    assert!(found > 100 * LISTS, "{found}");
}
