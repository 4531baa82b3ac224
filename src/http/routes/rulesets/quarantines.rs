//! Quarantines: listing and lifting them.

use rocket::http::Status;
use rocket::{Route, delete, get, routes};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::decisions::runnable_ruleset::identity_of;
use crate::domain::quarantine::Quarantine;
use crate::domain::ruleset::{Mode, Revision};
use crate::domain::tenant::TenantId;
use crate::http::edge::guard::{Caller, RulesetsRead, RulesetsWrite};
use crate::http::openapi::problems::{ReadProblems, SublistProblems};
use crate::http::request::query::Query;
use crate::http::response::moment::Moment;
use crate::http::response::problem::Problem;
use crate::http::response::{ApiResponse, Page};
use crate::http::routes::rulesets::point_of;
use crate::http::services::ServiceState;
use crate::storage::quarantines;

pub fn routes() -> Vec<Route> {
    routes![list, lift]
}

/// A live rule that failed too often and is not run at present.
///
/// Until the quarantine is lifted, payments go to review, or are rejected if the rule's `on_failure` is
/// `reject`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Quarantine)]
pub struct QuarantineShape {
    pub id: Uuid,
    pub rule: String,
    /// SHA-256 over the plugin and its prepared settings. The quarantine does not apply to a rule with
    /// other settings.
    pub binding: String,
    /// The revision that was active when the quarantine began.
    pub revision: i32,
    /// Failures within the time window, out of this many `runs`.
    pub failures: u64,
    pub runs: u64,
    #[schema(example = "out-of-fuel")]
    pub last_failure: String,
    pub opened_at_ms: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifted_at_ms: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifted_by: Option<String>,
}

impl From<Quarantine> for QuarantineShape {
    fn from(quarantine: Quarantine) -> Self {
        let (lifted_at_ms, lifted_by) =
            quarantine.lifted.map_or((None, None), |lifted| (Some(lifted.at_ms), Some(lifted.by)));
        Self {
            id: quarantine.id,
            rule: quarantine.identity.rule,
            binding: quarantine.identity.binding.to_string(),
            revision: quarantine.revision,
            failures: quarantine.failures,
            runs: quarantine.runs,
            last_failure: quarantine.last_failure,
            opened_at_ms: quarantine.opened_at_ms.into(),
            lifted_at_ms: lifted_at_ms.map(Moment),
            lifted_by,
        }
    }
}

/// The live rules of a revision that are in quarantine.
pub async fn of_revision(
    services: &ServiceState,
    tenant: TenantId,
    revision: &Revision,
) -> Result<Vec<QuarantineShape>, Problem> {
    let live = || revision.rules.iter().filter(|rule| rule.entry.mode == Mode::Live);
    let names = live().map(|rule| rule.entry.name.clone()).collect();
    let open = quarantines::open_of_rules(&services.app, tenant, revision.point, names).await?;
    let identities: Vec<_> = live().map(|rule| identity_of(revision.point, rule)).collect();
    let own = open.into_iter().filter(|quarantine| identities.contains(&quarantine.identity));
    Ok(own.map(QuarantineShape::from).collect())
}

/// Lists the rules in quarantine, newest first.
///
/// With `all`, includes lifted quarantines.
#[utoipa::path(
    operation_id = "quarantines",
    tag = "rulesets",
    params(
        ("all" = Option<bool>, Query, description = "Include lifted quarantines"),
        ("limit" = Option<u32>, Query, description = "Page size, 1 to 200. Default: 50"),
        ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = Page<QuarantineShape>), SublistProblems),
    security(("oauth" = ["rulesets:read"]))
)]
#[get("/rulesets/<point>/quarantines")]
pub async fn list(
    caller: Caller<RulesetsRead>,
    point: &str,
    mut query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let point = point_of(point)?;
    let all = query.parsed("all", |text| text.parse::<bool>().map_err(|_| "expected true or false"));
    let page = query.page(&services.cursors, caller.tenant, &format!("quarantines {}", point.name()))?;
    let before = page.position::<Uuid>()?;
    let (all, limit) = (all.unwrap_or(false), page.fetch_limit());
    let found = quarantines::list(&services.app, caller.tenant, point, all, before, limit).await?;
    let (found, next_cursor) = page.cut(&services.cursors, found, |quarantine| quarantine.id.to_string());
    let items: Vec<QuarantineShape> = found.into_iter().map(QuarantineShape::from).collect();
    ApiResponse::json(Status::Ok, &Page { items, next_cursor })
}

/// Lifts a quarantine. Within a second the rule runs again on every node.
#[utoipa::path(
    operation_id = "lift_quarantine",
    tag = "rulesets",
    responses((status = 204, description = "Lifted"), ReadProblems),
    security(("oauth" = ["rulesets:write"]))
)]
#[delete("/rulesets/<point>/quarantines/<id>")]
pub async fn lift(
    caller: Caller<RulesetsWrite>,
    point: &str,
    id: &str,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let point = point_of(point)?;
    let not_found = || Problem::not_found("open quarantine");
    let id: Uuid = id.parse().map_err(|_| not_found())?;
    let lifted = services.quarantines.lift(caller.tenant, point, id, caller.actor()).await?;
    if lifted { Ok(ApiResponse::empty(Status::NoContent)) } else { Err(not_found()) }
}
