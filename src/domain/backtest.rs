//! Backtests: a candidate revision, run on stored decisions.
//!
//! The stored form is JSON. Members may be added but never renamed.

pub mod label;
pub mod report;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::decision::Origin;
use super::money::Currency;
use super::payment::Method;
use super::ruleset::DecisionPoint;
use super::verdict::Outcome;
use report::BacktestReport;

/// The most backtests of a tenant that wait or run.
pub const PENDING_MAX: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BacktestState {
    Waiting,
    Running,
    Finished,
    Cancelled,
    Failed,
}

impl BacktestState {
    pub const ALL: [Self; 5] = [Self::Waiting, Self::Running, Self::Finished, Self::Cancelled, Self::Failed];

    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// The decisions to run on: the newest ones for which all conditions hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BacktestSelection {
    pub from_ms: Option<u64>,
    /// Exclusive. It is set when the backtest is created, so that a run can be repeated.
    pub to_ms: u64,
    pub newest: Option<u64>,
    pub filter: BacktestFilter,
}

/// Conditions on the recorded decision.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BacktestFilter {
    pub outcome: Option<Outcome>,
    pub method: Option<Method>,
    pub currency: Option<Currency>,
    pub amount_minor_min: Option<i64>,
    pub amount_minor_max: Option<i64>,
    pub origin: Option<Origin>,
}

/// What the candidate is compared with, as requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Baseline {
    /// The recorded outcomes.
    Recorded,
    /// The revision that is active when the backtest is created. It is run again.
    Active,
    Revision(i32),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Backtest {
    pub id: Uuid,
    pub point: DecisionPoint,
    /// The candidate revision.
    pub revision: i32,
    /// The revision that is run again for comparison. `None` if the candidate is compared with the
    /// recorded outcomes.
    pub baseline_revision: Option<i32>,
    pub selection: BacktestSelection,
    pub state: BacktestState,
    /// Set if it failed.
    pub why: Option<String>,
    /// How many decisions are selected. `None` until they are counted.
    pub total: Option<u64>,
    pub done: u64,
    pub report: Option<BacktestReport>,
    pub created_by: String,
    pub created_at_ms: u64,
    pub started_at_ms: Option<u64>,
    pub finished_at_ms: Option<u64>,
}

/// Why a backtest does not permit the activation of a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuardRefusal {
    Unknown,
    OfAnotherRevision,
    /// The comparison never shows a change.
    ComparedWithItself,
    NotFinished,
    ComparedNothing,
    ChangedTooMuch {
        changed: u64,
        compared: u64,
    },
}

impl Backtest {
    /// Whether the backtest permits the activation of `revision`: it has finished, and at most this
    /// share of the compared outcomes changed.
    pub fn permits(&self, revision: i32, changed_max_ten_thousandths: u16) -> Result<(), GuardRefusal> {
        if self.revision != revision {
            return Err(GuardRefusal::OfAnotherRevision);
        }
        if self.baseline_revision == Some(revision) {
            return Err(GuardRefusal::ComparedWithItself);
        }
        let report = match (&self.report, self.state) {
            (Some(report), BacktestState::Finished) => report,
            _ => return Err(GuardRefusal::NotFinished),
        };
        let (changed, compared) = (report.changed(), report.compared());
        if compared == 0 {
            return Err(GuardRefusal::ComparedNothing);
        }
        let most = u128::from(compared) * u128::from(changed_max_ten_thousandths);
        if u128::from(changed) * 10_000 > most {
            return Err(GuardRefusal::ChangedTooMuch { changed, compared });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_read_back_from_its_name() {
        for state in BacktestState::ALL {
            assert_eq!(BacktestState::parse(state.name()), Some(state));
        }
    }

    #[test]
    fn a_selection_reads_what_an_earlier_version_stored() {
        let stored = r#"{"to_ms":7,"filter":{"outcome":"Review","currency":"EUR"}}"#;
        let selection: BacktestSelection = serde_json::from_str(stored).expect("a selection");
        let (outcome, currency) = (Some(Outcome::Review), Currency::parse("EUR").ok());
        let filter = BacktestFilter { outcome, currency, ..BacktestFilter::default() };
        assert_eq!(selection, BacktestSelection { to_ms: 7, filter, ..BacktestSelection::default() });
    }
}
