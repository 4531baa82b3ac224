//! A history of the demonstration's payers, as lines for `tollgate import`.
//!
//! Most payments happen by day, and the payments of a burst close together. Must never write a
//! time in the future.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::aftermath::{aftermath, past_outcome};
use super::random::Random;
use super::traffic::Traffic;

const DAY_MS: u64 = 86_400_000;
const BETWEEN_IN_BURST_MS: u64 = 900;

#[derive(Debug)]
pub struct History {
    pub seed: u64,
    pub count: u64,
    pub days: u64,
    /// The end of the last day.
    pub until_ms: u64,
}

impl History {
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        self.lines().try_for_each(|line| writeln!(out, "{line}"))
    }

    fn lines(&self) -> impl Iterator<Item = Value> {
        let (mut traffic, mut random) = (Traffic::new(self.seed), Random::of(self.seed, 1));
        let mut burst_began_ms = 0;
        (0..self.count).map(move |place| {
            let order = traffic.next();
            let mut at_ms = self.moment(place, &mut random);
            if order.burst_place == 0 {
                burst_began_ms = if order.payer.bursts() { at_ms } else { burst_began_ms };
            } else {
                at_ms = burst_began_ms + order.burst_place * BETWEEN_IN_BURST_MS;
            }
            let received_at_ms = at_ms.min(self.until_ms);
            let outcome = past_outcome(&order, &mut random);
            let events: Vec<Value> = aftermath(order.payer, outcome, &mut random)
                .into_iter()
                .filter(|happening| received_at_ms + happening.after_ms <= self.until_ms)
                .map(|happening| event(happening.kind, received_at_ms + happening.after_ms, happening.note))
                .collect();
            json!({
                "payment": order.body(received_at_ms),
                "received_at_ms": received_at_ms,
                "outcome": outcome,
                "events": events,
            })
        })
    }

    /// Spreads payments evenly over the days. Within a day most are around noon.
    fn moment(&self, place: u64, random: &mut Random) -> u64 {
        let span_ms = self.days * DAY_MS;
        let even = (place as f64 + random.below(1_000) as f64 / 1_000.0) / self.count.max(1) as f64;
        let days = even * self.days as f64;
        let of_day = days.fract();
        let warped = of_day + 0.1 * (std::f64::consts::TAU * of_day).sin();
        let since_ms = ((days.floor() + warped.clamp(0.0, 1.0)) * DAY_MS as f64) as u64;
        self.until_ms.saturating_sub(span_ms) + since_ms.min(span_ms)
    }
}

fn event(kind: &str, at_ms: u64, note: &str) -> Value {
    if note.is_empty() {
        return json!({"kind": kind, "at_ms": at_ms});
    }
    json!({"kind": kind, "at_ms": at_ms, "note": note})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::routes::payments::import_line::{self, AcceptedLines};

    const UNTIL_MS: u64 = 1_790_000_000_000;

    fn history(seed: u64) -> Vec<u8> {
        let mut lines = Vec::new();
        History { seed, count: 5_000, days: 30, until_ms: UNTIL_MS }.write(&mut lines).expect("written");
        lines
    }

    #[test]
    fn every_line_is_read_by_the_import_and_lies_in_the_days_asked_for() {
        let (text, mut outcomes, mut kinds) = (history(1), Vec::new(), Vec::new());
        let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), 5_000);
        for line in &lines {
            let past = import_line::read(line, UNTIL_MS, AcceptedLines::USUAL).expect("a good line");
            assert_eq!(past.refused_now, []);
            let past = past.payment;
            assert!((UNTIL_MS - 30 * DAY_MS..=UNTIL_MS).contains(&past.received_at_ms));
            outcomes.push(past.outcome.name());
            kinds.extend(past.events.iter().map(|event| event.kind.name()));
        }
        for outcome in ["approve", "review", "reject"] {
            assert!(outcomes.contains(&outcome), "{outcome}");
        }
        for kind in ["settled", "failed", "refunded", "fraud", "approved", "rejected"] {
            assert!(kinds.contains(&kind), "{kind}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_history() {
        assert!(history(2) == history(2));
        assert!(history(2) != history(3));
    }
}
