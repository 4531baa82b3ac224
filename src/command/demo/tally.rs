//! Counts what the demonstration sent and received, by second and by payer, and prints the
//! counts.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::connection::EventResponse;
use super::payer_kind::PayerKind;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcomes {
    pub sent: u64,
    pub approve: u64,
    pub review: u64,
    pub reject: u64,
    pub errors: u64,
}

impl Outcomes {
    fn count(&mut self, outcome: &str) {
        match outcome {
            "approve" => self.approve += 1,
            "review" => self.review += 1,
            "reject" => self.reject += 1,
            _ => self.errors += 1,
        }
    }
}

#[derive(Debug, Default)]
pub struct Tally {
    pub by_payer: BTreeMap<PayerKind, Outcomes>,
    pub second: Outcomes,
    pub in_all: Outcomes,
    second_took: Vec<Duration>,
    took: Vec<Duration>,
    retries: u64,
    /// Payments that were sent late because too many were in flight.
    held_back: u64,
    second_held_back: u64,
    told: BTreeMap<&'static str, u64>,
    unreported: u64,
    errors: BTreeMap<String, u64>,
}

impl Tally {
    pub fn sent(&mut self, payer: PayerKind) {
        self.each(payer, |outcomes| outcomes.sent += 1);
    }

    pub fn held_back(&mut self) {
        self.held_back += 1;
        self.second_held_back += 1;
    }

    pub fn decided(&mut self, payer: PayerKind, outcome: &str, took: Duration, retries: u32) {
        self.each(payer, |outcomes| outcomes.count(outcome));
        self.second_took.push(took);
        self.took.push(took);
        self.retries += u64::from(retries);
    }

    pub fn failed(&mut self, payer: PayerKind, why: &str) {
        self.each(payer, |outcomes| outcomes.errors += 1);
        *self.errors.entry(why.to_owned()).or_default() += 1;
    }

    /// Payments that were refused, got no response, or were abandoned after the last retry.
    pub fn undecided(&self) -> u64 {
        let Outcomes { sent, approve, review, reject, .. } = self.in_all;
        sent.saturating_sub(approve + review + reject)
    }

    pub fn told(&mut self, kind: &'static str, told: Option<EventResponse>) {
        match told {
            Some(EventResponse::Taken) => *self.told.entry(kind).or_default() += 1,
            Some(EventResponse::Refused | EventResponse::NoRoute) | None => self.unreported += 1,
        }
    }

    fn each(&mut self, payer: PayerKind, change: impl Fn(&mut Outcomes)) {
        change(self.by_payer.entry(payer).or_default());
        change(&mut self.second);
        change(&mut self.in_all);
    }

    /// Ends a second. Returns its line, and begins to count the next second.
    pub fn end_second(&mut self, seconds: u64) -> String {
        let Outcomes { sent, approve, review, reject, errors } = std::mem::take(&mut self.second);
        let mut line = format!(
            "{seconds:>5} s  sent {sent:>4}  approve {approve:>4}  review {review:>4}  reject {reject:>4}  {}  errors {errors}",
            percentiles(&mut std::mem::take(&mut self.second_took)),
        );
        let held_back = std::mem::take(&mut self.second_held_back);
        if held_back > 0 {
            let _ = write!(line, "  held back {held_back}: too many in flight");
        }
        line
    }

    pub fn summary(&mut self, elapsed: Duration) -> String {
        let seconds = elapsed.as_secs_f64();
        let sent = self.in_all.sent;
        let mut text = format!(
            "\n{:<14}{:>8}{:>9}{:>8}{:>8}{:>8}\n",
            "payer", "sent", "approve", "review", "reject", "errors"
        );
        let mut row = |name: &str, outcomes: &Outcomes| {
            let Outcomes { sent, approve, review, reject, errors } = outcomes;
            let _ = writeln!(text, "{name:<14}{sent:>8}{approve:>9}{review:>8}{reject:>8}{errors:>8}");
        };
        for (payer, outcomes) in &self.by_payer {
            row(payer.name(), outcomes);
        }
        row("all", &self.in_all);
        let _ = writeln!(
            text,
            "\n{sent} payments in {seconds:.1} s, {:.1} per second; {}; {} retries, {} held back",
            sent as f64 / seconds.max(0.001),
            percentiles(&mut self.took),
            self.retries,
            self.held_back,
        );
        let told: Vec<String> = self.told.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        if !told.is_empty() || self.unreported > 0 {
            let told = if told.is_empty() { "nothing".to_owned() } else { told.join(", ") };
            let _ = writeln!(text, "events sent: {told}; {} not accepted", self.unreported);
        }
        for (why, count) in &self.errors {
            let _ = writeln!(text, "error: {why} ({count})");
        }
        text.truncate(text.trim_end().len());
        text
    }
}

fn percentiles(took: &mut [Duration]) -> String {
    took.sort_unstable();
    let at = |per_cent: usize| {
        let place = (took.len() * per_cent).div_ceil(100).max(1) - 1;
        took.get(place)
            .map_or_else(|| "-".to_owned(), |took| format!("{:.1} ms", took.as_secs_f64() * 1_000.0))
    };
    format!("p50 {:>8}  p99 {:>8}", at(50), at(99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let mut took: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(percentiles(&mut took), "p50  50.0 ms  p99  99.0 ms");
        assert_eq!(percentiles(&mut [Duration::from_millis(7)]), "p50   7.0 ms  p99   7.0 ms");
        assert_eq!(percentiles(&mut []), "p50        -  p99        -");
    }

    #[test]
    fn a_second_is_counted_for_itself_and_the_summary_by_payer() {
        let mut tally = Tally::default();
        for (payer, outcome) in
            [(PayerKind::Rent, "approve"), (PayerKind::Mule, "review"), (PayerKind::Mule, "reject")]
        {
            tally.sent(payer);
            tally.decided(payer, outcome, Duration::from_millis(5), 0);
        }
        assert!(tally.end_second(1).contains("sent    3  approve    1  review    1  reject    1"));
        tally.held_back();
        tally.failed(PayerKind::Rent, "status 422");
        let line = tally.end_second(2);
        assert!(line.contains("sent    0") && line.contains("errors 1  held back 1"), "{line}");
        let summary = tally.summary(Duration::from_secs(2));
        assert!(summary.contains("mule                 2        0       1       1       0"), "{summary}");
        assert!(summary.contains("3 payments in 2.0 s, 1.5 per second"), "{summary}");
        assert!(summary.contains("error: status 422 (1)"), "{summary}");
        assert_eq!(tally.undecided(), 0, "one was refused that was not counted as sent");
        tally.sent(PayerKind::Rent);
        assert_eq!(tally.undecided(), 1, "neither answered nor failed yet");
    }
}
