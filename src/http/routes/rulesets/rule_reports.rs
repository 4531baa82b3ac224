//! The report on the rules of a revision: how often each objected, what it cost, why it last failed.

use rocket::http::Status;
use rocket::{Route, get, routes};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::rule_report::{RuleFailure, RuleReport};
use crate::domain::verdict::FailureClass;
use crate::http::edge::guard::{Caller, RulesetsRead};
use crate::http::openapi::problems::ReadProblems;
use crate::http::response::ApiResponse;
use crate::http::response::moment::Moment;
use crate::http::response::problem::Problem;
use crate::http::routes::backtests::shapes::RuleResultCountsShape;
use crate::http::routes::rulesets::{find_revision, point_of};
use crate::http::services::ServiceState;
use crate::storage::decisions::{SampledRules, rule_reports};

pub fn routes() -> Vec<Route> {
    routes![report]
}

/// What the live rules of a revision did in its newest decisions, at most 1,000.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RuleReports)]
pub struct RuleReportsShape {
    pub point: &'static str,
    pub revision: i32,
    /// Number of decisions the report is based on.
    pub sampled: u64,
    /// When the oldest of these payments was received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_ms: Option<Moment>,
    /// When the newest of these payments was received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_ms: Option<Moment>,
    pub rules: Vec<RuleReportShape>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RuleReport)]
pub struct RuleReportShape {
    pub rule: String,
    /// How often the rule gave each verdict, or failed.
    pub verdicts: RuleResultCountsShape,
    /// How often the rule was not run, because of a quarantine or because its plugin was not loaded.
    pub not_run: u64,
    /// Half of the runs took at most this long. Absent if the rule never ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elapsed_us_p50: Option<u32>,
    /// 99 of 100 runs took at most this long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elapsed_us_p99: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel_p50: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel_p99: Option<u64>,
    /// The rule's newest failure in these decisions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<LastFailureShape>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LastRuleFailure)]
pub struct LastFailureShape {
    /// Id of the payment and its decision.
    pub payment: Uuid,
    pub received_at_ms: Moment,
    #[schema(example = "out-of-fuel")]
    pub class: &'static str,
    /// Intended for the author of the rule.
    pub detail: String,
}

impl From<RuleReport> for RuleReportShape {
    fn from(report: RuleReport) -> Self {
        let RuleReport { rule, verdicts, not_run, costs, last_failure } = report;
        Self {
            rule,
            verdicts: (&verdicts).into(),
            not_run,
            elapsed_us_p50: costs.map(|costs| costs.elapsed_us_p50),
            elapsed_us_p99: costs.map(|costs| costs.elapsed_us_p99),
            fuel_p50: costs.map(|costs| costs.fuel_p50),
            fuel_p99: costs.map(|costs| costs.fuel_p99),
            last_failure: last_failure.map(LastFailureShape::from),
        }
    }
}

impl From<RuleFailure> for LastFailureShape {
    fn from(failure: RuleFailure) -> Self {
        let RuleFailure { payment, received_at_ms, class, detail } = failure;
        let (class, received_at_ms) = (FailureClass::name(class), Moment(received_at_ms));
        Self { payment: payment.0, received_at_ms, class, detail }
    }
}

/// Reports on the live rules of a revision: their verdicts, their costs and their last failure.
///
/// Based on the evidence of the revision's newest 1,000 decisions, if they are among the newest 200,000
/// of the tenant. Decisions whose personal data has been erased are left out.
#[utoipa::path(
    operation_id = "rule_reports",
    tag = "rulesets",
    responses((status = 200, body = RuleReportsShape), ReadProblems),
    security(("oauth" = ["rulesets:read"]))
)]
#[get("/rulesets/<point>/revisions/<number>/rules")]
pub async fn report(
    caller: Caller<RulesetsRead>,
    point: &str,
    number: &str,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let point = point_of(point)?;
    let revision = find_revision(services, caller.tenant, point, number).await?.number;
    let found = rule_reports(&services.app, caller.tenant, revision).await?;
    let SampledRules { sampled, from_ms, to_ms, rules } = found;
    let (from_ms, to_ms) = (from_ms.map(Moment), to_ms.map(Moment));
    let rules = rules.into_iter().map(RuleReportShape::from).collect();
    let shape = RuleReportsShape { point: point.name(), revision, sampled, from_ms, to_ms, rules };
    ApiResponse::json(Status::Ok, &shape)
}
