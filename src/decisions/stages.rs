//! Where the time of a decision goes, for the metrics.
//!
//! Owns the names of the stages. Must never be what anything waits for.

use metrics::Histogram;
use tokio::time::Instant;

#[derive(Debug, Clone, Copy)]
pub enum Stage {
    /// From the first byte to a payment that was understood.
    Request,
    /// Waiting for the facts included.
    Facts,
    Rules,
    /// From the queue to the commit.
    Journal,
    /// From the commit to an answer that is ready to be sent.
    Answer,
}

impl Stage {
    /// As they are declared.
    const NAMES: [&str; 5] = ["request", "facts", "rules", "journal", "answer"];
}

/// Looked up once: by name it takes longer than some of the stages do.
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

    /// For stages that follow one another.
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
