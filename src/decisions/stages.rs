//! The time that each stage of a decision takes, for the metrics.

use metrics::Histogram;
use tokio::time::Instant;

#[derive(Debug, Clone, Copy)]
pub enum Stage {
    /// From the received request to the parsed payment.
    Request,
    /// Looking up facts, including the wait in the queue.
    Facts,
    Rules,
    /// From the queue to the commit.
    Journal,
    /// From the commit to a response that is ready to be sent.
    Answer,
}

impl Stage {
    /// In the order of the variants.
    const NAMES: [&str; 5] = ["request", "facts", "rules", "journal", "answer"];
}

/// Registered once, since finding a histogram by name takes longer than some stages.
#[derive(Debug)]
pub struct StageMeters([Histogram; Stage::NAMES.len()]);

impl Default for StageMeters {
    fn default() -> Self {
        Self(Stage::NAMES.map(|name| metrics::histogram!("tollgate_decision_stage_seconds", "stage" => name)))
    }
}

impl StageMeters {
    pub fn took_since(&self, stage: Stage, begun: Instant) {
        self.0[stage as usize].record(begun.elapsed().as_secs_f64());
    }

    /// Measures stages that follow one another.
    pub fn follow(&self) -> Stages<'_> {
        Stages { meters: self, begun: Instant::now() }
    }
}

#[derive(Debug)]
pub struct Stages<'m> {
    meters: &'m StageMeters,
    begun: Instant,
}

impl Stages<'_> {
    pub fn ended(&mut self, stage: Stage) {
        self.meters.took_since(stage, self.begun);
        self.begun = Instant::now();
    }
}
