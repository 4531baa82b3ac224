//! How a tenant reviews.

use serde_json::json;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::StorageError;
use crate::domain::audit::{Act, Action, Authority};
use crate::domain::payment_event::EventKind;
use crate::domain::review::{ReviewExpiry, ReviewOutcome, ReviewSettings};
use crate::domain::tenant::TenantId;
use crate::storage::audit;
use crate::storage::columns::named;
use crate::storage::pool::AppPool;

const WHAT: &str = "settings of reviews";

/// What the act is about.
const SUBJECT: &str = "reviews";

pub async fn get(app: &AppPool, tenant: TenantId) -> Result<ReviewSettings, StorageError> {
    app.transaction(tenant, move |connection| Box::pin(async move { of_tenant(connection, tenant).await }))
        .await
}

pub(super) async fn of_tenant(
    connection: &mut PgConnection,
    tenant: TenantId,
) -> Result<ReviewSettings, StorageError> {
    let row = sqlx::query(
        "select lease_min, expires_after_min, expires_to, event_kinds from review_settings where tenant_id = $1",
    )
    .bind(tenant.0)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(read).transpose().map(Option::unwrap_or_default)
}

/// Replaces the settings. If they are the same already, nothing is recorded.
pub async fn set(
    app: &AppPool,
    tenant: TenantId,
    settings: ReviewSettings,
    actor: Authority,
    now_ms: u64,
) -> Result<(), StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            // Of two first changes at once, one waits here.
            sqlx::query(
                "insert into review_settings (tenant_id, lease_min, event_kinds) values ($1, $2, '{}')
                 on conflict (tenant_id) do nothing",
            )
            .bind(tenant.0)
            .bind(minutes(ReviewSettings::default().lease_min))
            .execute(&mut *connection)
            .await?;
            sqlx::query("select from review_settings where tenant_id = $1 for update")
                .bind(tenant.0)
                .execute(&mut *connection)
                .await?;
            let before = of_tenant(connection, tenant).await?;
            if before == settings {
                return Ok(());
            }
            let kinds: Vec<&str> = settings.event_kinds.iter().map(|kind| kind.name()).collect();
            sqlx::query(
                "update review_settings
                 set lease_min = $2, expires_after_min = $3, expires_to = $4, event_kinds = $5
                 where tenant_id = $1",
            )
            .bind(tenant.0)
            .bind(minutes(settings.lease_min))
            .bind(settings.expiry.map(|expiry| minutes(expiry.after_min)))
            .bind(settings.expiry.map(|expiry| expiry.outcome.name()))
            .bind(kinds)
            .execute(&mut *connection)
            .await?;
            let act = Act {
                at_ms: now_ms,
                actor,
                action: Action::ReviewSettingsChanged,
                subject: SUBJECT.to_owned(),
                before: Some(act_json(&before)),
                after: Some(act_json(&settings)),
            };
            audit::record(connection, tenant, &act).await?;
            Ok(())
        })
    })
    .await
}

pub(super) fn read(row: &PgRow) -> Result<ReviewSettings, StorageError> {
    let unreadable = |_| StorageError::Unreadable { what: WHAT };
    let lease_min: i32 = row.try_get("lease_min")?;
    let after_min: Option<i32> = row.try_get("expires_after_min")?;
    let outcome: Option<&str> = row.try_get("expires_to")?;
    let expiry = match after_min.zip(outcome) {
        Some((after_min, outcome)) => Some(ReviewExpiry {
            after_min: u32::try_from(after_min).map_err(unreadable)?,
            outcome: named(ReviewOutcome::parse(outcome), WHAT)?,
        }),
        None => None,
    };
    let kinds: Vec<String> = row.try_get("event_kinds")?;
    Ok(ReviewSettings {
        lease_min: u32::try_from(lease_min).map_err(unreadable)?,
        expiry,
        event_kinds: kinds
            .iter()
            .map(|kind| named(EventKind::parse(kind), WHAT))
            .collect::<Result<_, _>>()?,
    })
}

fn minutes(minutes: u32) -> i32 {
    i32::try_from(minutes).unwrap_or(i32::MAX)
}

fn act_json(settings: &ReviewSettings) -> String {
    let kinds: Vec<&str> = settings.event_kinds.iter().map(|kind| kind.name()).collect();
    json!({
        "lease_min": settings.lease_min,
        "expires_after_min": settings.expiry.map(|expiry| expiry.after_min),
        "expires_to": settings.expiry.map(|expiry| expiry.outcome.name()),
        "event_kinds": kinds,
    })
    .to_string()
}
