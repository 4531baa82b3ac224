//! Dry runs of a ruleset on one payment, with the details of each rule.
//!
//! Stored payments must only be shown to tokens with the scope `decisions:read`.

use rocket::http::Status;
use rocket::{Route, post, routes};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::decisions::dry_run::{DryRun, DryRunPayment, DryRunRuleset, FactSource, FoldStep, ListComparison};
use crate::decisions::runnable_ruleset::RunnableRule;
use crate::domain::decision::RuleEvidence;
use crate::domain::payment::{PaymentId, PaymentOrder};
use crate::domain::ruleset::{RULES_MAX, RuleEntry};
use crate::domain::tenant::Scope;
use crate::http::edge::guard::{Caller, RulesetsWrite};
use crate::http::openapi::problems::DryRunProblems;
use crate::http::request::body::JsonBody;
use crate::http::request::codecs::{items, object, optional, uuid};
use crate::http::request::declaration::body;
use crate::http::request::fields::refused;
use crate::http::response::ApiResponse;
use crate::http::response::problem::{Problem, ProblemKind};
use crate::http::routes::decisions::diagnoses::DiagnosisShape;
use crate::http::routes::decisions::evidence::RuleEvidenceShape;
use crate::http::routes::lists::KindShape;
use crate::http::routes::payments::{OutcomeShape, ReasonShape};
use crate::http::routes::rulesets::point_of;
use crate::http::routes::rulesets::shapes::revision_number;
use crate::http::services::ServiceState;
use crate::rules::Diagnosis;

pub fn routes() -> Vec<Route> {
    routes![dry_run]
}

body! {
    /// Evaluates a saved revision or unsaved rules on a given payment or a stored one.
    pub struct DryRunBody as "NewDryRun" {
        /// Either this or `rules`.
        revision: Option<i32> = optional(revision_number()),
        rules: Option<Vec<RuleEntry>> = optional(items(object::<RuleEntry>(), RULES_MAX)),
        /// Either this or `payment_id`. Facts are looked up as of now.
        payment: Option<PaymentOrder> = optional(object::<PaymentOrder>()),
        /// Uses the recorded facts. Facts that were not recorded are computed as of the time the payment was
        /// received.
        payment_id: Option<Uuid> = optional(uuid(|text| text.parse().map_err(|_| "expected a payment id"))),
    }
    check |fields| {
        match (fields.has("revision"), fields.has("rules")) {
            (true, true) => fields.error("revision", "expected either revision or rules"),
            (false, false) => fields.error("revision", "is required"),
            _ => {}
        }
        match (fields.has("payment"), fields.has("payment_id")) {
            (true, true) => fields.error("payment", "expected either payment or payment_id"),
            (false, false) => fields.error("payment", "is required"),
            _ => {}
        }
    }
}

impl DryRunBody {
    /// The ruleset and the payment. `None` if one is missing, which reading the body has refused.
    fn parts(self) -> Option<(DryRunRuleset, DryRunPayment)> {
        let tried = self.rules.map(DryRunRuleset::Unsaved).or(self.revision.map(DryRunRuleset::Revision));
        let order = self.payment.map(|order| DryRunPayment::Order(Box::new(order)));
        Some((tried?, order.or(self.payment_id.map(|id| DryRunPayment::Stored(PaymentId(id))))?))
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DryRun)]
pub struct DryRunShape {
    pub outcome: OutcomeShape,
    /// The outcome originally decided for the stored payment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided: Option<OutcomeShape>,
    pub reasons: Vec<ReasonShape>,
    pub rules: Vec<DryRunRuleShape>,
    /// How the results of the live rules were combined into the outcome.
    pub fold: Vec<FoldStepShape>,
    /// The sandbox: its version and all settings that can affect a result.
    pub engine: String,
    pub fold_version: u16,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TriedRule)]
pub struct DryRunRuleShape {
    #[serde(flatten)]
    pub rule: RuleEvidenceShape,
    /// Where each fact comes from: `recorded` with the decision, `computed` from the history as of then,
    /// `current`, or `not_known_yet`: earlier payments are still being prepared for it, so try again
    /// later. The rule got such a fact as absent.
    pub fact_sources: Vec<&'static str>,
    /// How each list that the rule queried was compared with the payment.
    pub comparisons: Vec<ComparisonShape>,
    /// Why the rule failed, if that could be determined in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<DiagnosisShape>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ListComparison)]
pub struct ComparisonShape {
    pub list: String,
    /// The kinds of values on the list. Only a list created before lists had a kind can have several.
    pub kinds: Vec<KindShape>,
    /// The payment's value, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The form of the value that was compared with the entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared_as: Option<String>,
}

impl From<ListComparison> for ComparisonShape {
    fn from(comparison: ListComparison) -> Self {
        let kinds = comparison.kinds.iter().flat_map(|kinds| kinds.iter()).map(KindShape::from);
        let (value, compared_as) = comparison.value.unzip();
        Self { list: comparison.list, kinds: kinds.collect(), value, compared_as }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FoldStep)]
pub struct FoldStepShape {
    pub rule: String,
    /// The outcome if this were the only rule.
    pub counts_as: OutcomeShape,
    pub overridable: bool,
    /// Names of the rules whose `allow` cancelled this result.
    pub cancelled_by: Vec<String>,
    /// Whether this result is among the strictest that were not cancelled.
    pub decides: bool,
}

impl From<FoldStep> for FoldStepShape {
    fn from(step: FoldStep) -> Self {
        Self {
            rule: step.rule,
            counts_as: step.counts_as.into(),
            overridable: step.overridable,
            cancelled_by: step.cancelled_by,
            decides: step.decides,
        }
    }
}

impl DryRunRuleShape {
    fn of(
        rule: &RuleEvidence,
        tried: &RunnableRule,
        sources: &[FactSource],
        comparisons: &[Option<ListComparison>],
        diagnosis: Option<Diagnosis>,
    ) -> Self {
        let fact_sources = tried.facts(sources).into_iter().map(|source| match source {
            FactSource::Recorded => "recorded",
            FactSource::Computed => "computed",
            FactSource::Current => "current",
            FactSource::NotKnownYet => "not_known_yet",
        });
        let shape = RuleEvidenceShape::of(rule, Some(&tried.prepared));
        let comparisons = tried.facts(comparisons).into_iter().flatten().map(ComparisonShape::from);
        Self {
            rule: shape,
            fact_sources: fact_sources.collect(),
            comparisons: comparisons.collect(),
            diagnosis: diagnosis.map(DiagnosisShape::from),
        }
    }
}

impl From<DryRun> for DryRunShape {
    fn from(run: DryRun) -> Self {
        let rules = run.evidence.rules.iter().zip(&run.ruleset.rules).zip(run.diagnoses);
        Self {
            outcome: run.outcome.into(),
            decided: run.decided.map(OutcomeShape::from),
            reasons: run.evidence.reasons.iter().map(|reason| ReasonShape::of(reason, true)).collect(),
            rules: rules
                .map(|((rule, tried), diagnosis)| {
                    DryRunRuleShape::of(rule, tried, &run.sources, &run.comparisons, diagnosis)
                })
                .collect(),
            fold: run.steps.into_iter().map(FoldStepShape::from).collect(),
            engine: run.evidence.engine.0,
            fold_version: run.evidence.fold_version,
        }
    }
}

/// Tests a ruleset on one payment.
///
/// No decision is stored and the payment does not count. If the rules ask about earlier payments in a
/// way that nobody has asked before, these payments are prepared from now on.
#[utoipa::path(
    tag = "rulesets",
    request_body(content = DryRunBody, content_type = "application/json"),
    responses((status = 200, body = DryRunShape), DryRunProblems),
    security(("oauth" = ["rulesets:write"]))
)]
#[post("/rulesets/<point>/dry-runs", data = "<body>")]
pub async fn dry_run(
    caller: Caller<RulesetsWrite>,
    point: &str,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let point = point_of(point)?;
    let body: DryRunBody = body.read(services.world.now_ms())?;
    let (tried, subject) = body.parts().ok_or_else(|| refused(Vec::new()))?;
    if matches!(subject, DryRunPayment::Stored(_)) && !caller.has(Scope::DecisionsRead) {
        let detail = "Testing a stored payment requires the scope decisions:read.";
        return Err(Problem::new(ProblemKind::InsufficientScope, detail));
    }
    let run = services.dry_runs.run(caller.tenant, point, tried, subject).await?;
    ApiResponse::json(Status::Ok, &DryRunShape::from(run))
}
