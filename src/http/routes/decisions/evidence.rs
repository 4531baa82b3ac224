//! The evidence of a decision as JSON.
//!
//! This is not the stored form, which must never change. This form may get more members.

pub mod facts;

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::decision::RuleEvidence;
use crate::domain::ruleset::{PreparedRule, Revision};
use crate::domain::verdict::{Reason, RuleResult};
use crate::http::response::moment::Moment;
use crate::http::routes::payments::body::PaymentShape;
use crate::http::routes::payments::{OutcomeShape, ReasonShape};
use crate::http::routes::reviews::PaymentReviewShape;
use crate::storage::decisions::StoredDecision;
use facts::FactShape;

/// A decision with everything the outcome depended on.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Decision)]
pub struct DecisionShape {
    pub id: Uuid,
    pub outcome: OutcomeShape,
    pub reasons: Vec<ReasonShape>,
    pub client: Uuid,
    pub idempotency_key: String,
    /// SHA-256 of the request body in canonical form.
    pub request_hash: String,
    /// How the payment was received.
    #[schema(example = "api")]
    pub origin: &'static str,
    pub received_at_ms: Moment,
    pub payment: PaymentShape,
    /// Absent if no ruleset was active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionReferenceShape>,
    pub rules: Vec<RuleEvidenceShape>,
    /// The sandbox: its version and all settings that can affect a result.
    pub engine: String,
    pub fold_version: u16,
    /// How values were compared when the facts were looked up. Version 1 compared them exactly as
    /// written.
    pub comparison_version: u16,
    pub position: PositionShape,
    /// The payment's newest review, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub review: Option<PaymentReviewShape>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RevisionReference)]
pub struct RevisionReferenceShape {
    pub number: i32,
    pub digest: String,
}

/// The decision's position in the journal.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JournalPosition)]
pub struct PositionShape {
    pub writer: Uuid,
    /// The batch's sequence number.
    pub sequence: i64,
    /// The position within the batch.
    pub position: i32,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RuleEvidence)]
pub struct RuleEvidenceShape {
    pub name: String,
    /// SHA-256 of the component that ran.
    pub plugin: String,
    pub profile: &'static str,
    pub on_failure: &'static str,
    pub overridable: bool,
    pub mode: &'static str,
    pub facts: Vec<FactShape>,
    /// Absent for a rule in shadow mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<ResultShape>,
    pub fuel_used: u64,
    pub elapsed_us: u32,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RuleResult)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum ResultShape {
    Ran {
        verdict: &'static str,
        reasons: Vec<RuleReasonShape>,
        notes: Vec<String>,
    },
    /// `detail` is intended for the author of the rule.
    Failed {
        class: &'static str,
        detail: String,
    },
    Quarantined,
    Unavailable,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RuleReason)]
pub struct RuleReasonShape {
    pub code: String,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

impl DecisionShape {
    /// `revision` is the revision that decided. It contains the queries of the facts.
    pub fn of(stored: StoredDecision, revision: Option<&Revision>) -> Self {
        let StoredDecision { decision, position } = stored;
        let id = decision.id().0;
        let evidence = &decision.evidence;
        let queries = |rule: &RuleEvidence| {
            let rules = revision.map_or(&[][..], |revision| &revision.rules);
            rules.iter().find(|prepared| prepared.entry.name == rule.name)
        };
        Self {
            id,
            outcome: decision.outcome.into(),
            reasons: evidence.reasons.iter().map(|reason| ReasonShape::of(reason, true)).collect(),
            client: decision.client.0,
            idempotency_key: decision.key.as_str().to_owned(),
            request_hash: decision.request_hash.to_string(),
            origin: decision.origin.name(),
            received_at_ms: evidence.payment.received_at_ms.into(),
            payment: (&evidence.payment.order).into(),
            revision: evidence.revision.map(|revision| RevisionReferenceShape {
                number: revision.number,
                digest: revision.digest.to_string(),
            }),
            rules: evidence.rules.iter().map(|rule| RuleEvidenceShape::of(rule, queries(rule))).collect(),
            engine: evidence.engine.0.clone(),
            fold_version: evidence.fold_version,
            comparison_version: evidence.comparison_version,
            position: PositionShape {
                writer: position.writer,
                sequence: position.sequence,
                position: position.position,
            },
            review: None,
        }
    }
}

impl RuleEvidenceShape {
    pub fn of(rule: &RuleEvidence, prepared: Option<&PreparedRule>) -> Self {
        let query = |place: usize| prepared.and_then(|prepared| prepared.queries.get(place));
        let facts = rule.facts.iter().enumerate();
        Self {
            name: rule.name.clone(),
            plugin: rule.plugin.to_string(),
            profile: rule.profile.name(),
            on_failure: rule.on_failure.name(),
            overridable: rule.overridable,
            mode: rule.mode.name(),
            facts: facts.map(|(place, fact)| FactShape::of(fact, query(place))).collect(),
            result: rule.result.as_ref().map(ResultShape::from),
            fuel_used: rule.fuel_used,
            elapsed_us: rule.elapsed_us,
        }
    }
}

impl From<&RuleResult> for ResultShape {
    fn from(result: &RuleResult) -> Self {
        let reason = |reason: &Reason| RuleReasonShape {
            code: reason.code.clone(),
            message: reason.message.clone(),
            field: reason.field.clone(),
        };
        match result {
            RuleResult::Ran(evaluation) => Self::Ran {
                verdict: evaluation.verdict.name(),
                reasons: evaluation.verdict.reasons().iter().map(reason).collect(),
                notes: evaluation.notes.clone(),
            },
            RuleResult::Failed { class, detail } => {
                Self::Failed { class: class.name(), detail: detail.clone() }
            }
            RuleResult::Quarantined => Self::Quarantined,
            RuleResult::Unavailable => Self::Unavailable,
        }
    }
}
