//! How a tenant reviews.

use rocket::http::Status;
use rocket::{Route, get, put, routes};

use crate::domain::payment_event::EventKind;
use crate::domain::proposal::Change;
use crate::domain::review::{
    EXPIRES_AFTER_MIN_MAX, LEASE_MIN_DEFAULT, LEASE_MIN_MAX, ReviewExpiry, ReviewOutcome, ReviewSettings,
};
use crate::http::edge::guard::{Caller, SettingsRead, SettingsWrite};
use crate::http::openapi::problems::{CommonProblems, ReviewSettingsProblems};
use crate::http::request::body::JsonBody;
use crate::http::request::codecs::{integer, items, named, optional, or};
use crate::http::request::declaration::body;
use crate::http::response::ApiResponse;
use crate::http::response::problem::Problem;
use crate::http::routes::payments::events::EventKindShape;
use crate::http::routes::proposals::proposed;
use crate::http::routes::proposals::shapes::ProposalShape;
use crate::http::routes::reviews::ReviewOutcomeShape;
use crate::http::services::ServiceState;
use crate::storage::reviews::settings;

pub fn routes() -> Vec<Route> {
    routes![read, replace]
}

body! {
    pub struct ReviewSettingsBody as "ReviewSettings" {
        /// For how many minutes a claim holds before it must be renewed. Default: 15.
        lease_min: u32 = or(integer::<u32>(1..=LEASE_MIN_MAX.into()), LEASE_MIN_DEFAULT),
        /// How many minutes a review may wait. Then it ends by itself, even if somebody has claimed it.
        /// Absent: it waits until somebody decides.
        expires_after_min: Option<u32> = optional(integer::<u32>(1..=EXPIRES_AFTER_MIN_MAX.into())),
        /// The outcome of a review that ends by itself.
        expires_to: Option<ReviewOutcome> = optional(named::<ReviewOutcomeShape>()),
        /// Events of these kinds open a review of their payment, or join the one that is open.
        event_kinds: Vec<EventKind> = or(items(named::<EventKindShape>(), EventKind::ALL.len()), Vec::new()),
    }
    check |fields, expires_after_min, expires_to| {
        match (expires_after_min, expires_to) {
            (Some(_), None) => fields.error("expires_to", "is needed with expires_after_min"),
            (None, Some(_)) => fields.error("expires_after_min", "is needed with expires_to"),
            _ => {}
        }
    }
}

impl From<ReviewSettings> for ReviewSettingsBody {
    fn from(settings: ReviewSettings) -> Self {
        Self {
            lease_min: settings.lease_min,
            expires_after_min: settings.expiry.map(|expiry| expiry.after_min),
            expires_to: settings.expiry.map(|expiry| expiry.outcome),
            event_kinds: settings.event_kinds,
        }
    }
}

impl From<ReviewSettingsBody> for ReviewSettings {
    fn from(body: ReviewSettingsBody) -> Self {
        let expiry = body.expires_after_min.zip(body.expires_to);
        // Each kind once, in the order of their declaration.
        let kinds = EventKind::ALL.into_iter().filter(|kind| body.event_kinds.contains(kind));
        Self {
            lease_min: body.lease_min,
            expiry: expiry.map(|(after_min, outcome)| ReviewExpiry { after_min, outcome }),
            event_kinds: kinds.collect(),
        }
    }
}

/// Returns how the tenant reviews.
#[utoipa::path(
    operation_id = "reviews",
    tag = "settings",
    responses((status = 200, body = ReviewSettingsBody), CommonProblems),
    security(("oauth" = ["settings:read"]))
)]
#[get("/settings/reviews")]
pub async fn read(caller: Caller<SettingsRead>, services: &ServiceState) -> Result<ApiResponse, Problem> {
    let settings = settings::get(&services.app, caller.tenant).await?;
    ApiResponse::json(Status::Ok, &ReviewSettingsBody::from(settings))
}

/// Replaces how the tenant reviews. Members that are absent get their defaults.
#[utoipa::path(
    operation_id = "set_reviews",
    tag = "settings",
    request_body(content = ReviewSettingsBody, content_type = "application/json"),
    responses(
        (status = 200, body = ReviewSettingsBody),
        (status = 202, body = ProposalShape, headers(("Location"))),
        ReviewSettingsProblems,
    ),
    security(("oauth" = ["settings:write"]))
)]
#[put("/settings/reviews", data = "<body>")]
pub async fn replace(
    caller: Caller<SettingsWrite>,
    services: &ServiceState,
    body: JsonBody,
) -> Result<ApiResponse, Problem> {
    let settings = ReviewSettings::from(body.read::<ReviewSettingsBody>(services.world.now_ms())?);
    if services.proposals.is_needed(caller.tenant).await? {
        return proposed(services, &caller, Change::ReviewSettings { settings }).await;
    }
    services.reviews.apply_settings(caller.tenant, caller.actor().into(), settings.clone()).await?;
    ApiResponse::json(Status::Ok, &ReviewSettingsBody::from(settings))
}
