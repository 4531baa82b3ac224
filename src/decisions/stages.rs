//! Where the time of a decision goes, for the metrics.
//!
//! Owns the names of the stages. Must never be what anything waits for.

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
    fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Facts => "facts",
            Self::Rules => "rules",
            Self::Journal => "journal",
            Self::Answer => "answer",
        }
    }

    pub fn took_since(self, begun: Instant) {
        let took = begun.elapsed().as_secs_f64();
        metrics::histogram!("tollgate_decision_stage_seconds", "stage" => self.name()).record(took);
    }
}

/// Stages that follow one another.
#[derive(Debug)]
pub struct Stages {
    begun: Instant,
}

impl Stages {
    pub fn begin() -> Self {
        Self { begun: Instant::now() }
    }

    pub fn ended(&mut self, stage: Stage) {
        stage.took_since(self.begun);
        self.begun = Instant::now();
    }
}
