//! Shadow runs: the results of rules on a live payment, without effect on its outcome.

use serde::{Deserialize, Serialize};

use super::decision::{EngineId, RuleEvidence};
use super::money::Money;
use super::payment::PaymentId;
use super::tenant::TenantId;
use super::verdict::{Outcome, OutcomeReason};

/// What ran in shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShadowKind {
    /// The rules in shadow mode of the revision that decided.
    Rules,
    /// A whole revision.
    Revision,
}

impl ShadowKind {
    pub const ALL: [Self; 2] = [Self::Rules, Self::Revision];

    pub fn name(self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::Revision => "revision",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The facts and results of the rules that ran, and the reasons of the outcome, in the form that is
/// stored. The bytes of version 1 are frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowEvidence {
    pub engine: EngineId,
    pub fold_version: u16,
    pub rules: Vec<RuleEvidence>,
    pub reasons: Vec<OutcomeReason>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowRun {
    pub tenant: TenantId,
    pub kind: ShadowKind,
    /// The revision of the rules that ran.
    pub revision: i32,
    pub payment: PaymentId,
    pub decided_revision: i32,
    pub received_at_ms: u64,
    pub decided: Outcome,
    pub would_be: Outcome,
    pub amount: Money,
    pub evidence: ShadowEvidence,
}
