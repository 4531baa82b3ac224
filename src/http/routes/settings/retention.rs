//! How long the tenant keeps its decisions, what a change would remove, and what was removed.
//!
//! Nothing is removed here: nodes follow the setting.

use rocket::http::Status;
use rocket::{Route, get, put, routes};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::proposal::Change;
use crate::domain::retention::RetentionMonths;
use crate::domain::time::Month;
use crate::http::edge::guard::{Caller, SettingsRead, SettingsWrite};
use crate::http::openapi::problems::{ChangeSettingProblems, CommonProblems, ListProblems};
use crate::http::request::body::JsonBody;
use crate::http::request::codecs::{integer, or_null};
use crate::http::request::declaration::body;
use crate::http::request::query::Query;
use crate::http::response::moment::Moment;
use crate::http::response::problem::Problem;
use crate::http::response::{ApiResponse, Page};
use crate::http::routes::proposals::proposed;
use crate::http::routes::proposals::shapes::ProposalShape;
use crate::http::services::ServiceState;
use crate::storage::removals::{self, RecordedRemoval, RemovalPosition};
use crate::storage::tenants;

pub fn routes() -> Vec<Route> {
    routes![setting, change, preview, list]
}

body! {
    pub struct RetentionBody as "NewRetention" {
        /// How many whole months are kept before the current one. Null keeps everything.
        months_kept: Option<u16> = or_null(integer::<u16>(1..=RetentionMonths::MAX.into())),
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Retention)]
pub struct RetentionShape {
    /// How many whole months are kept before the current one. Null if everything is kept.
    #[schema(minimum = 1, maximum = 1200)]
    pub months_kept: Option<u16>,
    /// The first month that is kept, such as `2026-01`. Absent if everything is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_month_kept: Option<String>,
}

impl RetentionShape {
    fn of(months: Option<RetentionMonths>, now_ms: u64) -> Self {
        Self {
            months_kept: months.map(RetentionMonths::get),
            first_month_kept: months.map(|months| months.first_kept(now_ms).to_string()),
        }
    }
}

/// What a number of months would remove, as things are now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RetentionPreview)]
pub struct PreviewShape {
    #[serde(flatten)]
    pub retention: RetentionShape,
    /// The first month that would be removed. Absent if nothing would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_month_removed: Option<String>,
    /// How many decisions would be removed. They are counted up to 100,000.
    pub decisions: u64,
    /// Whether there are more than were counted.
    pub more: bool,
}

/// A month of which decisions were removed, or are being removed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RetentionRemoval)]
pub struct RemovalShape {
    #[schema(example = "2026-01")]
    pub month: String,
    /// From 1. A month has several if its history was imported again.
    pub number: i32,
    /// How many decisions the record names. It is complete once it is signed.
    pub decisions: u64,
    /// Whether all decisions in the record have been removed.
    pub finished: bool,
    /// When the record was signed. From then on decisions are removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_at_ms: Option<Moment>,
}

impl From<RecordedRemoval> for RemovalShape {
    fn from(removal: RecordedRemoval) -> Self {
        Self {
            month: removal.position.month.to_string(),
            number: removal.position.number,
            decisions: removal.decisions,
            finished: removal.is_finished,
            signed_at_ms: removal.signed_at_ms.map(Moment),
        }
    }
}

/// Returns how long decisions are kept.
#[utoipa::path(
    operation_id = "retention",
    tag = "settings",
    responses((status = 200, body = RetentionShape), CommonProblems),
    security(("oauth" = ["settings:read"]))
)]
#[get("/settings/retention")]
pub async fn setting(caller: Caller<SettingsRead>, services: &ServiceState) -> Result<ApiResponse, Problem> {
    let months = tenants::retention(&services.app, caller.tenant).await?;
    ApiResponse::json(Status::Ok, &RetentionShape::of(months, services.world.now_ms()))
}

/// Changes how long decisions are kept.
///
/// What is older is removed for good, within minutes, month by month. Each month leaves a signed record.
#[utoipa::path(
    operation_id = "set_retention",
    tag = "settings",
    request_body(content = RetentionBody, content_type = "application/json"),
    responses(
        (status = 200, body = RetentionShape),
        (status = 202, body = ProposalShape, headers(("Location"))),
        ChangeSettingProblems,
    ),
    security(("oauth" = ["settings:write"]))
)]
#[put("/settings/retention", data = "<body>")]
pub async fn change(
    caller: Caller<SettingsWrite>,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let now_ms = services.world.now_ms();
    let RetentionBody { months_kept } = body.read(now_ms)?;
    let months = months_kept.and_then(RetentionMonths::new);
    if services.proposals.is_needed(caller.tenant).await? {
        return proposed(services, &caller, Change::Retention { months }).await;
    }
    services.tenants.change_retention(caller.tenant, caller.actor().into(), months).await?;
    ApiResponse::json(Status::Ok, &RetentionShape::of(months, now_ms))
}

/// Returns what keeping so many months would remove. Nothing changes.
#[utoipa::path(
    operation_id = "preview_retention",
    tag = "settings",
    params((
        "months_kept" = Option<u16>, Query, minimum = 1, maximum = 1200,
        description = "How many whole months before the current one. Default: everything is kept"
    )),
    responses((status = 200, body = PreviewShape), ListProblems),
    security(("oauth" = ["settings:read"]))
)]
#[get("/settings/retention/preview")]
pub async fn preview(
    caller: Caller<SettingsRead>,
    mut query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let months = query.parsed("months_kept", |text| {
        let months = text.parse().ok().and_then(RetentionMonths::new);
        months.ok_or(format!("expected a whole number from 1 to {}", RetentionMonths::MAX))
    });
    query.finish()?;
    let now_ms = services.world.now_ms();
    let retention = RetentionShape::of(months, now_ms);
    let Some(months) = months else {
        let shape = PreviewShape { retention, first_month_removed: None, decisions: 0, more: false };
        return ApiResponse::json(Status::Ok, &shape);
    };
    let beyond = removals::beyond(&services.app, caller.tenant, months.first_kept(now_ms)).await?;
    let shape = PreviewShape {
        retention,
        first_month_removed: beyond.oldest.map(|month| month.to_string()),
        decisions: beyond.decisions,
        more: beyond.are_more,
    };
    ApiResponse::json(Status::Ok, &shape)
}

/// Lists the months of which decisions were removed, the latest first.
#[utoipa::path(
    operation_id = "removals",
    tag = "settings",
    params(
        ("limit" = Option<u32>, Query, description = "Page size, 1 to 200. Default: 50"),
        ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = Page<RemovalShape>), ListProblems),
    security(("oauth" = ["settings:read"]))
)]
#[get("/settings/retention/removals")]
pub async fn list(
    caller: Caller<SettingsRead>,
    query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let page = query.page(&services.cursors, caller.tenant, "removals")?;
    let before = page.position::<String>()?.as_deref().and_then(parse_position);
    let found = removals::list(&services.app, caller.tenant, before, page.fetch_limit()).await?;
    let (found, next_cursor) = page.cut(&services.cursors, found, |removal| {
        format!("{} {}", removal.position.month, removal.position.number)
    });
    let items: Vec<RemovalShape> = found.into_iter().map(RemovalShape::from).collect();
    ApiResponse::json(Status::Ok, &Page { items, next_cursor })
}

fn parse_position(text: &str) -> Option<RemovalPosition> {
    let (month, number) = text.split_once(' ')?;
    Some(RemovalPosition { month: Month::parse(month)?, number: number.parse().ok()? })
}
