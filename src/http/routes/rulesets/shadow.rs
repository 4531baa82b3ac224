//! The report on shadow runs: how often they agree with the decisions, with examples.

use std::collections::BTreeMap;

use rocket::http::Status;
use rocket::{Route, get, routes};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::payment::PaymentId;
use crate::domain::ruleset::{Activation, DecisionPoint, Mode, deployed_since_ms};
use crate::domain::shadow::{ShadowKind, ShadowRun};
use crate::domain::tenant::TenantId;
use crate::domain::verdict::Outcome;
use crate::http::edge::guard::{Caller, DecisionsRead, RulesetsRead};
use crate::http::openapi::problems::SublistProblems;
use crate::http::request::query::Query;
use crate::http::response::moment::Moment;
use crate::http::response::problem::Problem;
use crate::http::response::{ApiResponse, Page};
use crate::http::routes::decisions::evidence::RuleEvidenceShape;
use crate::http::routes::payments::{OutcomeShape, ReasonShape};
use crate::http::routes::rulesets::point_of;
use crate::http::routes::rulesets::report_counts::{AmountShape, percent};
use crate::http::services::ServiceState;
use crate::storage::rulesets;
use crate::storage::shadow_runs::{self, Agreement, ExampleFilter, ShadowRunSelection};

/// The most activations that are read to find the beginning of a shadow run.
const LOG_READ_MAX: u32 = 1_000;

pub fn routes() -> Vec<Route> {
    routes![report, examples]
}

/// What currently runs in shadow.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Shadow)]
pub struct ShadowShape {
    pub point: &'static str,
    /// The revision that runs in shadow as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<ShadowRevisionShape>,
    /// The rules in shadow mode of the active revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<ShadowRulesShape>,
    /// Absent if nothing runs in shadow and no revision is requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<AgreementShape>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ShadowRevision)]
pub struct ShadowRevisionShape {
    pub revision: i32,
    pub since_ms: Moment,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ShadowRules)]
pub struct ShadowRulesShape {
    pub revision: i32,
    pub since_ms: Moment,
    pub rules: Vec<String>,
}

/// Based on the newest 100,000 runs at most.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Agreement)]
pub struct AgreementShape {
    /// `revision` for a revision as a whole, `rules` for the rules in shadow mode of the deciding
    /// revision.
    pub kind: &'static str,
    pub revision: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_ms: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_ms: Option<Moment>,
    /// Number of runs the report is based on.
    pub looked_at: u64,
    pub changed: u64,
    pub changed_percent: f64,
    pub coverage: CoverageShape,
    /// Counts by actual outcome and shadow outcome.
    pub outcomes: Vec<ChangeShape>,
    pub rules: Vec<RuleVerdictsShape>,
}

/// Payments that were not run because too many were waiting. The most recent payments are not included
/// yet.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ShadowCoverage)]
pub struct CoverageShape {
    pub decided: u64,
    pub compared: u64,
    pub percent: f64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OutcomeChange)]
pub struct ChangeShape {
    pub decided: OutcomeShape,
    pub would_be: OutcomeShape,
    pub payments: u64,
    pub amounts: Vec<AmountShape>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RuleVerdictCount)]
pub struct RuleVerdictsShape {
    pub rule: String,
    /// How often the rule gave each verdict or failed in each way.
    pub said: BTreeMap<String, u64>,
}

/// The shadow run of one payment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ShadowExample)]
pub struct ShadowExampleShape {
    /// Id of the payment and its decision.
    pub id: Uuid,
    pub received_at_ms: Moment,
    /// The revision that decided.
    pub decided_revision: i32,
    pub decided: OutcomeShape,
    pub would_be: OutcomeShape,
    pub amount_minor: i64,
    pub currency: String,
    /// The rules that ran in shadow, with the facts as of the decision.
    pub rules: Vec<RuleEvidenceShape>,
    /// The reasons that would have been given.
    pub reasons: Vec<ReasonShape>,
}

impl AgreementShape {
    fn of(of: ShadowRunSelection, agreement: Agreement) -> Self {
        let mut outcomes: Vec<((Outcome, Outcome), ChangeShape)> = Vec::new();
        let mut changed = 0;
        for cell in agreement.cells {
            let place = (cell.decided, cell.would_be);
            if cell.decided != cell.would_be {
                changed += cell.count;
            }
            let amount = AmountShape { currency: cell.currency, total_minor: cell.total_minor };
            match outcomes.iter_mut().find(|(known, _)| *known == place) {
                Some((_, change)) => {
                    change.payments += cell.count;
                    change.amounts.push(amount);
                }
                None => {
                    let (decided, would_be) = (cell.decided.into(), cell.would_be.into());
                    let change =
                        ChangeShape { decided, would_be, payments: cell.count, amounts: vec![amount] };
                    outcomes.push((place, change));
                }
            }
        }
        outcomes.sort_by_key(|(place, _)| *place);
        let mut rules: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for said in agreement.rules {
            rules.entry(said.rule).or_default().insert(said.said, said.count);
        }
        let (decided, compared) = (agreement.decided, agreement.compared);
        Self {
            kind: of.kind.name(),
            revision: of.revision,
            from_ms: of.from_ms.map(Moment),
            to_ms: of.to_ms.map(Moment),
            looked_at: agreement.runs,
            changed,
            changed_percent: percent(changed, agreement.runs),
            coverage: CoverageShape { decided, compared, percent: percent(compared, decided) },
            outcomes: outcomes.into_iter().map(|(_, change)| change).collect(),
            rules: rules.into_iter().map(|(rule, said)| RuleVerdictsShape { rule, said }).collect(),
        }
    }
}

impl From<ShadowRun> for ShadowExampleShape {
    fn from(run: ShadowRun) -> Self {
        let evidence = run.evidence;
        Self {
            id: run.payment.0,
            received_at_ms: run.received_at_ms.into(),
            decided_revision: run.decided_revision,
            decided: run.decided.into(),
            would_be: run.would_be.into(),
            amount_minor: run.amount.minor(),
            currency: run.amount.currency().code().to_owned(),
            rules: evidence.rules.iter().map(|rule| RuleEvidenceShape::of(rule, None)).collect(),
            reasons: evidence.reasons.iter().map(|reason| ReasonShape::of(reason, true)).collect(),
        }
    }
}

/// The parameters of a query.
#[derive(Debug, Clone, Copy)]
struct ShadowQuery {
    kind: Option<ShadowKind>,
    revision: Option<i32>,
    from_ms: Option<u64>,
    to_ms: Option<u64>,
}

impl ShadowQuery {
    fn read(query: &mut Query) -> Self {
        Self {
            kind: query.parsed("kind", |text| ShadowKind::parse(text).ok_or("expected rules or revision")),
            revision: query.parsed("revision", |text| {
                text.parse().ok().filter(|number| *number > 0).ok_or("expected a revision number")
            }),
            from_ms: query.time_ms("from_ms"),
            to_ms: query.time_ms("to_ms"),
        }
    }

    /// The requested runs, or else the current ones: those of the shadow revision, or of the active
    /// revision's shadow rules, since they began.
    fn runs(self, tenant: TenantId, running: &CurrentShadow) -> Option<ShadowRunSelection> {
        let shadow = running.revision.as_ref();
        let by_default = if shadow.is_some() || self.revision.is_some() {
            ShadowKind::Revision
        } else {
            ShadowKind::Rules
        };
        let kind = self.kind.unwrap_or(by_default);
        let now = match kind {
            ShadowKind::Revision => shadow.map(|shadow| (shadow.revision, shadow.since_ms)),
            ShadowKind::Rules => running.rules.as_ref().map(|rules| (rules.revision, rules.since_ms)),
        };
        let revision = self.revision.or(now.map(|(revision, _)| revision))?;
        let since_ms = now.filter(|(running, _)| *running == revision).map(|(_, Moment(since_ms))| since_ms);
        let from_ms = self.from_ms.or(since_ms);
        let is_running = since_ms.is_some();
        Some(ShadowRunSelection { tenant, kind, revision, from_ms, to_ms: self.to_ms, is_running })
    }
}

struct CurrentShadow {
    revision: Option<ShadowRevisionShape>,
    rules: Option<ShadowRulesShape>,
}

async fn running(
    services: &ServiceState,
    tenant: TenantId,
    point: DecisionPoint,
) -> Result<CurrentShadow, Problem> {
    let log = rulesets::activations(&services.app, tenant, point, None, LOG_READ_MAX).await?;
    let Some(latest) = log.first() else { return Ok(CurrentShadow { revision: None, rules: None }) };
    let revision = latest.deployment.shadow.and_then(|revision| {
        let since_ms = deployed_since_ms(&log, |deployment| deployment.shadow == Some(revision))?;
        Some(ShadowRevisionShape { revision, since_ms: Moment(since_ms) })
    });
    Ok(CurrentShadow { revision, rules: shadow_rules(services, tenant, latest, &log).await? })
}

async fn shadow_rules(
    services: &ServiceState,
    tenant: TenantId,
    latest: &Activation,
    log: &[Activation],
) -> Result<Option<ShadowRulesShape>, Problem> {
    let active = latest.deployment.revision;
    let stored = rulesets::get(&services.app, tenant, latest.point, active).await?;
    let rules = stored.map(|revision| revision.rules).unwrap_or_default();
    let in_shadow = rules.into_iter().filter(|rule| rule.entry.mode == Mode::Shadow);
    let rules: Vec<String> = in_shadow.map(|rule| rule.entry.name).collect();
    let since_ms = deployed_since_ms(log, |deployment| deployment.revision == active);
    let some = since_ms.filter(|_| !rules.is_empty());
    Ok(some.map(|since_ms| ShadowRulesShape { revision: active, since_ms: Moment(since_ms), rules }))
}

/// Returns what runs in shadow, since when, and how well it agrees with the actual decisions.
#[utoipa::path(
    operation_id = "shadow_report",
    tag = "rulesets",
    params(
        ("kind" = Option<String>, Query, description = "`revision` or `rules`. Default: what currently runs"),
        ("revision" = Option<i32>, Query, description = "Default: the revision that currently runs"),
        ("from_ms" = Option<u64>, Query, description = "Default: when it began to run"),
        ("to_ms" = Option<u64>, Query, description = "Exclusive"),
    ),
    responses((status = 200, body = ShadowShape), SublistProblems),
    security(("oauth" = ["rulesets:read"]))
)]
#[get("/rulesets/<point>/shadow")]
pub async fn report(
    caller: Caller<RulesetsRead>,
    point: &str,
    mut query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let point = point_of(point)?;
    let asked = ShadowQuery::read(&mut query);
    query.finish()?;
    let running = running(services, caller.tenant, point).await?;
    let report = match asked.runs(caller.tenant, &running) {
        Some(of) => Some(AgreementShape::of(of, shadow_runs::agreement(&services.app, of).await?)),
        None => None,
    };
    let CurrentShadow { revision, rules } = running;
    ApiResponse::json(Status::Ok, &ShadowShape { point: point.name(), revision, rules, report })
}

/// Lists shadow runs, newest first.
///
/// Without filters, lists those in which the shadow outcome differs. Searches the newest 100,000 runs.
#[utoipa::path(
    operation_id = "shadow_examples",
    tag = "rulesets",
    params(
        ("decided" = Option<String>, Query, description = "`approve`, `review` or `reject`"),
        ("would_be" = Option<String>, Query, description = "`approve`, `review` or `reject`"),
        ("kind" = Option<String>, Query, description = "`revision` or `rules`. Default: what currently runs"),
        ("revision" = Option<i32>, Query, description = "Default: the revision that currently runs"),
        ("from_ms" = Option<u64>, Query, description = "Default: when it began to run"),
        ("to_ms" = Option<u64>, Query, description = "Exclusive"),
        ("limit" = Option<u32>, Query, description = "Page size, 1 to 200. Default: 50"),
        ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = Page<ShadowExampleShape>), SublistProblems),
    security(("oauth" = ["decisions:read"]))
)]
#[get("/rulesets/<point>/shadow/examples")]
pub async fn examples(
    caller: Caller<DecisionsRead>,
    point: &str,
    mut query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let point = point_of(point)?;
    let asked = ShadowQuery::read(&mut query);
    let outcome = |text: &str| Outcome::parse(text).ok_or("expected approve, review or reject");
    let (decided, would_be) = (query.parsed("decided", outcome), query.parsed("would_be", outcome));
    let page = query.page(&services.cursors, caller.tenant, &format!("shadow {}", point.name()))?;
    let before = page.position::<Uuid>()?.map(PaymentId);
    let filter = ExampleFilter { decided, would_be, before, limit: page.fetch_limit() };
    let running = running(services, caller.tenant, point).await?;
    let found = match asked.runs(caller.tenant, &running) {
        Some(of) => shadow_runs::examples(&services.app, of, filter).await?,
        None => Vec::new(),
    };
    let (found, next_cursor) = page.cut(&services.cursors, found, |run| run.payment.to_string());
    let items: Vec<ShadowExampleShape> = found.into_iter().map(ShadowExampleShape::from).collect();
    ApiResponse::json(Status::Ok, &Page { items, next_cursor })
}
