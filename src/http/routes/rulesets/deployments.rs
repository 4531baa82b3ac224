//! Deployments: the active revision, the canary and the shadow, and the activations that change
//! them.

use rocket::http::Status;
use rocket::{Route, delete, get, post, put, routes};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::decisions::rulesets::ActivationGuard;
use crate::domain::ruleset::{Activation, Canary, Share};
use crate::http::edge::guard::{Caller, Conditions, RulesetsRead, RulesetsWrite};
use crate::http::openapi::problems::{
    ActivateProblems, ActivateWithoutBodyProblems, GuardedActivateProblems, ReadProblems, SublistProblems,
};
use crate::http::request::body::JsonBody;
use crate::http::request::codecs::{Percent, object, optional, percent, uuid};
use crate::http::request::declaration::body;
use crate::http::request::fields::refused;
use crate::http::request::query::Query;
use crate::http::response::moment::Moment;
use crate::http::response::problem::Problem;
use crate::http::response::{ApiResponse, Page};
use crate::http::routes::proposals::proposed;
use crate::http::routes::proposals::shapes::ProposalShape;
use crate::http::routes::rulesets::point_of;
use crate::http::routes::rulesets::quarantines::{QuarantineShape, of_revision};
use crate::http::routes::rulesets::shapes::{RevisionShape, revision_number};
use crate::http::services::ServiceState;
use crate::storage::rulesets::{self, ActivationRequest};

pub fn routes() -> Vec<Route> {
    routes![active, activate, roll_back, activations, start_canary, end_canary, start_shadow, end_shadow]
}

body! {
    pub struct ActivationBody as "NewActivation" {
        revision: i32 = revision_number(),
        guard: Option<GuardBody> = optional(object::<GuardBody>()),
    }
}

body! {
    /// A finished backtest of the revision, and how many outcomes it may change.
    pub struct GuardBody as "Guard" {
        backtest: Uuid = uuid(|text| text.parse().map_err(|_| "expected a backtest id")),
        /// Largest share of the compared outcomes that may change, in steps of a hundredth of a percent.
        #[example = 2.5]
        max_changed_percent: Percent = percent(0..=Share::WHOLE),
    }
}

/// An entry of the activation log: the revisions in use from then on.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Activation)]
pub struct ActivationShape {
    /// Increases across all decision points.
    pub sequence: i64,
    /// What changed: `activate`, `roll_back`, `canary` or `shadow`.
    pub kind: &'static str,
    /// The active revision: the one that decides.
    pub revision: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryShape>,
    /// The revision that runs without affecting outcomes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<i32>,
    /// The backtest used as a guard for this activation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guard_backtest: Option<String>,
    pub activated_by: String,
    pub activated_at_ms: Moment,
}

body! {
    /// A revision that decides a share of the payments, selected by their keys.
    pub struct CanaryShape as "Canary" {
        revision: i32 = revision_number(),
        /// In steps of a hundredth of a percent.
        #[example = 5.0]
        share_percent: Percent = percent(1..=Share::WHOLE),
    }
}

body! {
    pub struct ShadowBody as "NewShadow" {
        revision: i32 = revision_number(),
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ActiveRuleset)]
pub struct ActiveShape {
    pub point: &'static str,
    /// Absent until a revision is first activated. Until then every payment goes to review.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation: Option<ActivationShape>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionShape>,
    /// Live rules that failed too often and are not run at present.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quarantined: Vec<QuarantineShape>,
}

impl From<Canary> for CanaryShape {
    fn from(canary: Canary) -> Self {
        Self { revision: canary.revision, share_percent: Percent(canary.share.ten_thousandths()) }
    }
}

impl From<Activation> for ActivationShape {
    fn from(activation: Activation) -> Self {
        let deployment = activation.deployment;
        Self {
            sequence: activation.sequence,
            kind: activation.kind.name(),
            revision: deployment.revision,
            canary: deployment.canary.map(CanaryShape::from),
            shadow: deployment.shadow,
            guard_backtest: activation.guard_backtest.map(|id| id.to_string()),
            activated_by: activation.activated_by,
            activated_at_ms: activation.activated_at_ms.into(),
        }
    }
}

/// The ETag of the deployment: the sequence of its activation, or `none`. A quarantine does not
/// change it, since otherwise a rollback with `If-Match` could be refused.
fn active_tag(sequence: Option<i64>) -> String {
    sequence.map_or("\"none\"".to_owned(), |sequence| format!("\"{sequence}\""))
}

fn activation_response(status: Status, activation: Activation) -> Result<ApiResponse, Problem> {
    let tag = active_tag(Some(activation.sequence));
    Ok(ApiResponse::json(status, &ActivationShape::from(activation))?.with("ETag", tag))
}

impl From<GuardBody> for ActivationGuard {
    fn from(guard: GuardBody) -> Self {
        let GuardBody { backtest, max_changed_percent: Percent(changed_max_ten_thousandths) } = guard;
        Self { backtest, changed_max_ten_thousandths }
    }
}

/// Returns the active revision and what runs beside it.
///
/// Use the `ETag` as `If-Match` or `If-None-Match` of the next change. It does not change when a rule
/// goes into quarantine, so the response is always complete and never 304.
#[utoipa::path(
    tag = "rulesets",
    responses((status = 200, body = ActiveShape, headers(("ETag"))), ReadProblems),
    security(("oauth" = ["rulesets:read"]))
)]
#[get("/rulesets/<point>")]
pub async fn active(
    caller: Caller<RulesetsRead>,
    point: &str,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let point = point_of(point)?;
    let activation = rulesets::active(&services.app, caller.tenant, point).await?;
    let sequence = activation.as_ref().map(|activation| activation.sequence);
    let revision = match &activation {
        Some(activation) => {
            rulesets::get(&services.app, caller.tenant, point, activation.deployment.revision).await?
        }
        None => None,
    };
    let quarantined = match &revision {
        Some(revision) => of_revision(services, caller.tenant, revision).await?,
        None => Vec::new(),
    };
    let shape = ActiveShape {
        point: point.name(),
        quarantined,
        activation: activation.map(ActivationShape::from),
        revision: revision.map(RevisionShape::from),
    };
    Ok(ApiResponse::json(Status::Ok, &shape)?.with("ETag", active_tag(sequence)))
}

/// Activates a revision.
///
/// With `If-Match`, only if the active state has not changed since you read it. If the tenant needs a
/// second person, the response is 202 with a proposal, which an administrator has to approve.
#[utoipa::path(
    tag = "rulesets",
    params(
        ("If-Match" = Option<String>, Header, description = "ETag that the active state must have"),
        ("If-None-Match" = Option<String>, Header, description = "ETags that the active state must not have"),
    ),
    request_body(content = ActivationBody, content_type = "application/json"),
    responses(
        (status = 201, body = ActivationShape, headers(("ETag"))),
        (status = 202, body = ProposalShape, headers(("Location"))),
        GuardedActivateProblems,
    ),
    security(("oauth" = ["rulesets:write"]))
)]
#[post("/rulesets/<point>/activations", data = "<body>")]
pub async fn activate(
    caller: Caller<RulesetsWrite>,
    point: &str,
    conditions: Conditions,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let point = point_of(point)?;
    let ActivationBody { revision, guard } = body.read(services.world.now_ms())?;
    let guard = guard.map(ActivationGuard::from);
    if services.proposals.is_needed(caller.tenant).await? {
        let change = services.proposals.activation(caller.tenant, point, revision, guard, &conditions.0);
        return proposed(services, &caller, change.await?).await;
    }
    let (actor, expected) = (caller.actor(), conditions.0);
    let activated =
        services.rulesets.activate_revision(caller.tenant, point, revision, guard, actor.into(), expected);
    activation_response(Status::Created, activated.await?)
}

async fn add_activation(
    services: &ServiceState,
    caller: &Caller<RulesetsWrite>,
    point: &str,
    request: ActivationRequest,
    conditions: Conditions,
) -> Result<Activation, Problem> {
    let (point, actor) = (point_of(point)?, caller.actor());
    Ok(services.rulesets.activate(caller.tenant, point, request, actor.into(), conditions.0).await?)
}

/// Rolls back to the previously active revision, or to the one given.
///
/// No guard is checked.
#[utoipa::path(
    tag = "rulesets",
    params(
        (
            "revision" = Option<i32>, Query,
            description = "A revision that was active before. Default: the previous one"
        ),
        ("If-Match" = Option<String>, Header, description = "ETag that the active state must have"),
        ("If-None-Match" = Option<String>, Header, description = "ETags that the active state must not have"),
    ),
    responses((status = 201, body = ActivationShape, headers(("ETag"))), ActivateWithoutBodyProblems),
    security(("oauth" = ["rulesets:write"]))
)]
#[post("/rulesets/<point>/rollback")]
pub async fn roll_back(
    caller: Caller<RulesetsWrite>,
    point: &str,
    conditions: Conditions,
    mut query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let to = query.parsed("revision", |text| {
        text.parse().ok().filter(|number| *number > 0).ok_or("expected a revision number")
    });
    query.finish()?;
    let activation =
        add_activation(services, &caller, point, ActivationRequest::RollBack { to }, conditions).await?;
    activation_response(Status::Created, activation)
}

/// Lists the activations, newest first.
#[utoipa::path(
    tag = "rulesets",
    params(
        ("limit" = Option<u32>, Query, description = "Page size, 1 to 200. Default: 50"),
        ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = Page<ActivationShape>), SublistProblems),
    security(("oauth" = ["rulesets:read"]))
)]
#[get("/rulesets/<point>/activations")]
pub async fn activations(
    caller: Caller<RulesetsRead>,
    point: &str,
    query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let point = point_of(point)?;
    let page = query.page(&services.cursors, caller.tenant, &format!("activations {}", point.name()))?;
    let before = page.position::<i64>()?;
    let limit = page.fetch_limit();
    let found = rulesets::activations(&services.app, caller.tenant, point, before, limit).await?;
    let (found, next_cursor) =
        page.cut(&services.cursors, found, |activation| activation.sequence.to_string());
    let items: Vec<ActivationShape> = found.into_iter().map(ActivationShape::from).collect();
    ApiResponse::json(Status::Ok, &Page { items, next_cursor })
}

/// Starts a canary: the revision decides a share of the payments, the active revision the rest.
#[utoipa::path(
    tag = "rulesets",
    params(
        ("If-Match" = Option<String>, Header, description = "ETag that the active state must have"),
        ("If-None-Match" = Option<String>, Header, description = "ETags that the active state must not have"),
    ),
    request_body(content = CanaryShape, content_type = "application/json"),
    responses(
        (status = 200, body = ActivationShape, headers(("ETag"))),
        (status = 202, body = ProposalShape, headers(("Location"))),
        ActivateProblems,
    ),
    security(("oauth" = ["rulesets:write"]))
)]
#[put("/rulesets/<point>/canary", data = "<body>")]
pub async fn start_canary(
    caller: Caller<RulesetsWrite>,
    point: &str,
    conditions: Conditions,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let CanaryShape { revision, share_percent } = body.read(services.world.now_ms())?;
    let share = Share::new(share_percent.0).ok_or_else(|| refused(Vec::new()))?;
    set_canary(services, caller, point, Some(Canary { revision, share }), conditions).await
}

async fn set_canary(
    services: &ServiceState,
    caller: Caller<RulesetsWrite>,
    point: &str,
    canary: Option<Canary>,
    conditions: Conditions,
) -> Result<ApiResponse, Problem> {
    if services.proposals.is_needed(caller.tenant).await? {
        let point = point_of(point)?;
        let change = services.proposals.canary(caller.tenant, point, canary, &conditions.0).await?;
        return proposed(services, &caller, change).await;
    }
    let request = ActivationRequest::Canary(canary);
    activation_response(Status::Ok, add_activation(services, &caller, point, request, conditions).await?)
}

/// Ends the canary. The active revision decides all payments again.
#[utoipa::path(
    tag = "rulesets",
    params(
        ("If-Match" = Option<String>, Header, description = "ETag that the active state must have"),
        ("If-None-Match" = Option<String>, Header, description = "ETags that the active state must not have"),
    ),
    responses(
        (status = 200, body = ActivationShape, headers(("ETag"))),
        (status = 202, body = ProposalShape, headers(("Location"))),
        ActivateWithoutBodyProblems,
    ),
    security(("oauth" = ["rulesets:write"]))
)]
#[delete("/rulesets/<point>/canary")]
pub async fn end_canary(
    caller: Caller<RulesetsWrite>,
    point: &str,
    conditions: Conditions,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    set_canary(services, caller, point, None, conditions).await
}

/// Runs a revision in shadow: on live payments, after the response, without affecting outcomes.
#[utoipa::path(
    tag = "rulesets",
    params(
        ("If-Match" = Option<String>, Header, description = "ETag that the active state must have"),
        ("If-None-Match" = Option<String>, Header, description = "ETags that the active state must not have"),
    ),
    request_body(content = ShadowBody, content_type = "application/json"),
    responses((status = 200, body = ActivationShape, headers(("ETag"))), ActivateProblems),
    security(("oauth" = ["rulesets:write"]))
)]
#[put("/rulesets/<point>/shadow", data = "<body>")]
pub async fn start_shadow(
    caller: Caller<RulesetsWrite>,
    point: &str,
    conditions: Conditions,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let ShadowBody { revision } = body.read(services.world.now_ms())?;
    let request = ActivationRequest::Shadow(Some(revision));
    activation_response(Status::Ok, add_activation(services, &caller, point, request, conditions).await?)
}

/// Ends the shadow run of a revision.
#[utoipa::path(
    tag = "rulesets",
    params(
        ("If-Match" = Option<String>, Header, description = "ETag that the active state must have"),
        ("If-None-Match" = Option<String>, Header, description = "ETags that the active state must not have"),
    ),
    responses((status = 200, body = ActivationShape, headers(("ETag"))), ActivateWithoutBodyProblems),
    security(("oauth" = ["rulesets:write"]))
)]
#[delete("/rulesets/<point>/shadow")]
pub async fn end_shadow(
    caller: Caller<RulesetsWrite>,
    point: &str,
    conditions: Conditions,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    activation_response(
        Status::Ok,
        add_activation(services, &caller, point, ActivationRequest::Shadow(None), conditions).await?,
    )
}
