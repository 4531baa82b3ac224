//! Reading the audit log. Each entry is written together with the act that it records.

use rocket::http::Status;
use rocket::{Route, get, routes};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::audit::{Action, AuditEvent};
use crate::http::edge::guard::{AuditRead, Caller};
use crate::http::openapi::problems::ListProblems;
use crate::http::request::query::Query;
use crate::http::response::moment::Moment;
use crate::http::response::problem::Problem;
use crate::http::response::{ApiResponse, Page};
use crate::http::services::ServiceState;
use crate::storage::StorageError;
use crate::storage::audit::{self, AuditFilter};

/// Every actor and every subject is shorter.
const FILTER_LENGTH_MAX: usize = 200;

pub fn routes() -> Vec<Route> {
    routes![list]
}

/// An administrative act: who changed what, when, and the values before and after.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEvent)]
pub struct AuditEventShape {
    /// Increases in the order in which changes took effect. May have gaps.
    pub sequence: i64,
    pub at_ms: Moment,
    /// `user:` or `client:` followed by an id, `command line`, or a part of Tollgate itself. `/actors` has the
    /// names.
    pub actor: String,
    /// The second person, if the act needed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// The proposal that was approved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proposal: Option<Uuid>,
    #[schema(example = "revision.activated")]
    pub action: &'static str,
    /// What was changed, for example a revision's number, a plugin's digest or a list's name.
    pub subject: String,
    /// The value before the change, as it was stored: times are in milliseconds only. Absent if there
    /// was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// The value after the change. Absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

impl TryFrom<AuditEvent> for AuditEventShape {
    type Error = StorageError;

    fn try_from(event: AuditEvent) -> Result<Self, StorageError> {
        let unreadable = |_| StorageError::Unreadable { what: "audit event" };
        let value = |text: Option<String>| text.map(|text| serde_json::from_str(&text)).transpose();
        let AuditEvent { sequence, act } = event;
        Ok(Self {
            sequence,
            at_ms: act.at_ms.into(),
            approved_by: act.actor.approval().map(|approval| approval.approved_by.clone()),
            proposal: act.actor.approval().map(|approval| approval.proposal.0),
            actor: act.actor.name().to_owned(),
            action: act.action.name(),
            subject: act.subject,
            before: value(act.before).map_err(unreadable)?,
            after: value(act.after).map_err(unreadable)?,
        })
    }
}

/// Lists the tenant's administrative acts, newest first.
///
/// The record is append-only: no entry can be changed or removed.
#[utoipa::path(
    tag = "audit",
    params(
        (
            "action" = Option<String>, Query,
            description = "Only acts of this kind, for example `list.created`"
        ),
        ("actor" = Option<String>, Query),
        ("subject" = Option<String>, Query),
        ("from_ms" = Option<u64>, Query, description = "Only acts at or after this time"),
        ("to_ms" = Option<u64>, Query, description = "Only acts before this time"),
        ("limit" = Option<u32>, Query, description = "Page size, 1 to 200. Default: 50"),
        ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = Page<AuditEventShape>), ListProblems),
    security(("oauth" = ["audit:read"]))
)]
#[get("/audit")]
pub async fn list(
    caller: Caller<AuditRead>,
    mut query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let action = |name: &str| Action::parse(name).ok_or("expected a kind of act, for example list.created");
    let filter = AuditFilter {
        action: query.parsed("action", action),
        actor: query.text("actor", FILTER_LENGTH_MAX),
        subject: query.text("subject", FILTER_LENGTH_MAX),
        from_ms: query.time_ms("from_ms"),
        to_ms: query.time_ms("to_ms"),
    };
    let page = query.page(&services.cursors, caller.tenant, "audit")?;
    let before = page.position::<i64>()?;
    let found = audit::list(&services.app, caller.tenant, filter, before, page.fetch_limit()).await?;
    let (found, next_cursor) = page.cut(&services.cursors, found, |event| event.sequence.to_string());
    let items: Result<Vec<AuditEventShape>, StorageError> =
        found.into_iter().map(AuditEventShape::try_from).collect();
    ApiResponse::json(Status::Ok, &Page { items: items?, next_cursor })
}
