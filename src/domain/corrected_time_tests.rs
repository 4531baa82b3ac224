//! Tests of the returned time with simulated clocks.

use super::*;

const SECOND_US: u64 = 1_000_000;
/// The database's clock when the monotonic one is at 0.
const DATABASE_US: u64 = 1_790_000_000_000_000;

/// A simulated node, its database, and the delays between them.
struct Pair {
    now_us: u64,
    /// By how much the database's clock was set.
    set_by_us: i64,
    there_us: u64,
    back_us: u64,
    last_given_us: u64,
}

impl Pair {
    fn new(there_us: u64, back_us: u64) -> Self {
        Self { now_us: 7 * SECOND_US, set_by_us: 0, there_us, back_us, last_given_us: 0 }
    }

    fn database_us(&self) -> u64 {
        (DATABASE_US + self.now_us).saturating_add_signed(self.set_by_us)
    }

    fn sample(&mut self) -> Sample {
        let before_us = self.now_us;
        self.now_us += self.there_us;
        let database_us = self.database_us();
        self.now_us += self.back_us;
        Sample { before_us, database_us, after_us: self.now_us }
    }

    fn first(&mut self) -> CorrectedTime {
        let time = CorrectedTime::new(&self.sample());
        self.give(&time);
        time
    }

    fn note(&mut self, time: &mut CorrectedTime) -> Correction {
        let sample = self.sample();
        self.give(time);
        let correction = time.note(&sample, self.now_us);
        self.give(time);
        correction
    }

    /// Lets a second pass. The returned time must not go back in it.
    fn pass(&mut self, time: &CorrectedTime) {
        for _ in 0..1_000 {
            self.now_us += 1_000;
            self.give(time);
        }
    }

    fn give(&mut self, time: &CorrectedTime) {
        let given_us = time.at_us(self.now_us);
        assert!(given_us >= self.last_given_us, "{given_us} after {}", self.last_given_us);
        self.last_given_us = given_us;
    }

    fn off_by_us(&self, time: &CorrectedTime) -> i64 {
        time.at_us(self.now_us).cast_signed() - self.database_us().cast_signed()
    }
}

#[test]
fn whatever_the_way_the_bound_holds_and_good_samples_make_it_narrow() {
    for (there_us, back_us) in [(0, 0), (300, 300), (0, 80_000), (80_000, 0), (900_000, 100_000)] {
        let mut pair = Pair::new(there_us, back_us);
        let mut time = pair.first();
        for round in 0..20 {
            let off_us = pair.off_by_us(&time).unsigned_abs();
            assert!(off_us <= time.error_us(pair.now_us), "{there_us} {back_us} {round}: {off_us}");
            pair.pass(&time);
            pair.note(&mut time);
        }
        let half_way_us = (there_us + back_us) / 2;
        assert!(time.error_us(pair.now_us) <= half_way_us + 1_000, "{there_us} {back_us}");
        // One quick reading is better than many slow ones.
        (pair.there_us, pair.back_us) = (100, 100);
        pair.note(&mut time);
        (pair.there_us, pair.back_us) = (there_us, back_us);
        for _ in 0..60 {
            pair.pass(&time);
            pair.note(&mut time);
        }
        assert!(pair.off_by_us(&time).unsigned_abs() <= time.error_us(pair.now_us));
        assert!(
            time.error_us(pair.now_us) < 70 * 1_000,
            "{there_us} {back_us}: {}",
            time.error_us(pair.now_us)
        );
    }
}

#[test]
fn a_small_difference_is_made_up_for_slowly_in_both_directions() {
    for set_by_us in [80_000, -80_000_i64] {
        let mut pair = Pair::new(200, 200);
        let mut time = pair.first();
        pair.set_by_us = set_by_us;
        assert_eq!(pair.note(&mut time), Correction::Slow);
        let before_us = pair.last_given_us;
        pair.pass(&time);
        let went_us = pair.last_given_us - before_us;
        assert_eq!(went_us.cast_signed(), 1_000_000 + 10_000 * set_by_us.signum(), "a hundredth");
        for _ in 0..10 {
            pair.note(&mut time);
            pair.pass(&time);
        }
        assert!(pair.off_by_us(&time).unsigned_abs() < 2_000, "{}", pair.off_by_us(&time));
    }
}

#[test]
fn a_database_that_is_far_ahead_is_followed_at_once() {
    let mut pair = Pair::new(200, 200);
    let mut time = pair.first();
    pair.set_by_us = 3_600 * SECOND_US.cast_signed();
    let Correction::Stepped { by_us } = pair.note(&mut time) else { panic!("no step") };
    assert!(by_us.abs_diff(3_600 * SECOND_US) < 1_000, "{by_us}");
    assert!(time.error_us(pair.now_us) < 1_000);
}

#[test]
fn when_the_database_goes_back_time_stands_still_and_is_not_trusted_until_it_has_caught_up() {
    let mut pair = Pair::new(200, 200);
    let mut time = pair.first();
    pair.set_by_us = -3 * SECOND_US.cast_signed();
    let Correction::Waits { for_us } = pair.note(&mut time) else { panic!("no wait") };
    assert!(for_us.abs_diff(3 * SECOND_US) < 1_000, "{for_us}");
    let stood_us = pair.last_given_us;
    for _ in 0..2 {
        pair.pass(&time);
        assert!(time.error_us(pair.now_us) > ERROR_MAX_US);
        pair.note(&mut time);
    }
    assert!(pair.last_given_us - stood_us < 1_000, "{}", pair.last_given_us - stood_us);
    for _ in 0..12 {
        pair.pass(&time);
        pair.note(&mut time);
    }
    assert!(time.error_us(pair.now_us) < 2_000, "{}", time.error_us(pair.now_us));
}

#[test]
fn without_samples_the_bound_grows_until_nothing_is_trusted() {
    let mut pair = Pair::new(200, 200);
    let time = pair.first();
    pair.now_us += 100 * SECOND_US;
    assert!((50_000..ERROR_MAX_US).contains(&time.error_us(pair.now_us)));
    pair.now_us += 200 * SECOND_US;
    assert!(time.error_us(pair.now_us) > ERROR_MAX_US);
}

#[test]
fn a_reading_that_is_old_vouches_for_no_database_however_exact_it_was() {
    let mut pair = Pair::new(200, 200);
    let mut time = pair.first();
    assert!(time.is_trusted(pair.now_us + 3 * SECOND_US));
    assert!(!time.is_trusted(pair.now_us + 3 * SECOND_US + 1));
    pair.now_us += 10 * SECOND_US;
    pair.note(&mut time);
    assert!(time.is_trusted(pair.now_us));
}

#[test]
fn a_sample_that_comes_late_does_not_turn_time_back() {
    let mut pair = Pair::new(200, 200);
    let mut time = pair.first();
    pair.set_by_us = -2 * SECOND_US.cast_signed();
    let sample = pair.sample();
    pair.pass(&time);
    assert!(matches!(time.note(&sample, pair.now_us), Correction::Waits { .. }));
    pair.pass(&time);
}
