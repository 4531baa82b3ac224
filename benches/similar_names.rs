//! How long the most similar name of a list takes to find, and how much memory the index takes:
//! `cargo bench --features jemalloc --bench similar_names`. It prints figures and asserts nothing,
//! since they depend on the machine.

#![allow(clippy::print_stdout)]

#[path = "parts/allocator.rs"]
mod allocator;
#[path = "parts/listed_names.rs"]
mod listed_names;
/// Shared with the demonstration. Some of it is unused here, and its tests do not run.
#[allow(dead_code, unused_imports)]
#[path = "../src/command/demo/random.rs"]
mod random;

use std::hint::black_box;
use std::time::{Duration, Instant};

use listed_names::{anagram, misspelled, name, reordered, similar_words, unrelated};
use random::Random;
use rustix::time::{ClockId, clock_gettime};
use tollgate::domain::similar_names::{NameForm, NameIndex};

const LOOK_UPS: usize = 2_000;
const HOSTILE_LOOK_UPS: usize = 20;

fn main() {
    for entries in [30_000, 100_000] {
        realistic(entries);
    }
    hostile();
}

fn realistic(entries: usize) {
    let mut random = Random::new(7);
    let names = many(entries, || name(&mut random));
    let index = report_index("realistic names", &names);
    let listed: Vec<&str> = names.iter().map(String::as_str).collect();
    let hits = many(LOOK_UPS, || random.pick(&listed).to_owned());
    let near = many(LOOK_UPS, || misspelled(random.pick(&listed), &mut random));
    let others = many(LOOK_UPS, || unrelated(&mut random));
    report("as listed", &index, &hits);
    report("other order", &index, &hits.iter().map(|name| reordered(name)).collect::<Vec<_>>());
    report("misspelled", &index, &near);
    report("unrelated", &index, &others);
}

/// Lists and names that are made to take long.
fn hostile() {
    let mut random = Random::new(9);
    let realistic = report_index("realistic names", &many(30_000, || name(&mut random)));
    report("one letter 140 times", &realistic, &many(HOSTILE_LOOK_UPS, || "a".repeat(140)));
    let initials = ('a'..='z').cycle().take(70).map(String::from).collect::<Vec<_>>().join(" ");
    report("70 initials", &realistic, &many(HOSTILE_LOOK_UPS, || initials.clone()));
    let shared = report_index("the same similar words", &many(30_000, || similar_words(&mut random)));
    report("such a name", &shared, &many(HOSTILE_LOOK_UPS, || similar_words(&mut random)));
    let anagrams = report_index("anagrams", &many(30_000, || anagram(&mut random)));
    let of_anagrams = || (0..10).map(|_| anagram(&mut random)).collect::<Vec<_>>().join(" ");
    report("ten anagrams", &anagrams, &many(HOSTILE_LOOK_UPS, of_anagrams));
}

fn many(count: usize, mut name: impl FnMut() -> String) -> Vec<String> {
    (0..count).map(|_| name()).collect()
}

fn report_index(kind: &str, names: &[String]) -> NameIndex {
    let start = Instant::now();
    let index = NameIndex::new((0..).zip(names.iter().map(String::as_str)));
    let (entries, took, bytes) = (names.len(), start.elapsed(), index.bytes() / names.len());
    println!("{entries} entries, {kind}: built in {took:.0?}, {bytes} bytes an entry");
    index
}

fn report(kind: &str, index: &NameIndex, names: &[String]) {
    for score_at_least in [50, 85] {
        let mut found = 0;
        let mut times: Vec<Duration> = Vec::new();
        for name in names {
            let start = processor_time();
            let best = NameForm::of(name).and_then(|form| index.best(&form, score_at_least, |_| true));
            times.push(processor_time() - start);
            found += usize::from(black_box(best).is_some());
        }
        times.sort_unstable();
        let [median, p99, longest] =
            [50, 99, 100].map(|share| times[(times.len() - 1) * share / 100].as_micros());
        println!(
            "  {kind}, at least {score_at_least}: median {median} us, p99 {p99} us, longest {longest} us, \
             found {found} of {}",
            names.len()
        );
    }
}

/// Of this thread, so that other work on the machine does not count.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
