//! The stages of a decision, from the server's metrics.

use std::fmt;

use super::server::Tollgate;

const NAMES: [&str; 5] = ["request", "facts", "rules", "journal", "answer"];

/// Sums over all decisions so far, or over a period.
pub struct Stages {
    pub decisions: u64,
    seconds: [f64; NAMES.len()],
    batches: f64,
}

impl Stages {
    pub async fn of(tollgate: &Tollgate) -> Self {
        let text =
            reqwest::get(format!("http://{}/metrics", tollgate.address)).await.unwrap().text().await.unwrap();
        let sum = |metric: &str| -> f64 {
            let lines = text.lines().filter_map(|line| line.strip_prefix(metric));
            lines.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        let stage = |name: &str| sum(&format!("tollgate_decision_stage_seconds_sum{{stage=\"{name}\"}}"));
        Self {
            decisions: sum("tollgate_decision_stage_seconds_count{stage=\"journal\"}") as u64,
            seconds: NAMES.map(stage),
            batches: sum("tollgate_journal_batches_total"),
        }
    }

    pub fn since(&self, before: &Self) -> Self {
        let mut seconds = self.seconds;
        for (stage, earlier) in seconds.iter_mut().zip(before.seconds) {
            *stage -= earlier;
        }
        Self { decisions: self.decisions - before.decisions, seconds, batches: self.batches - before.batches }
    }
}

/// The mean of each stage, including waiting.
impl fmt::Display for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decisions = self.decisions.max(1) as f64;
        f.write_str("us: ")?;
        for (name, seconds) in NAMES.iter().zip(self.seconds) {
            write!(f, "{name} {:.0}, ", seconds * 1e6 / decisions)?;
        }
        write!(f, "{:.1} decisions a commit", decisions / self.batches.max(1.0))
    }
}
