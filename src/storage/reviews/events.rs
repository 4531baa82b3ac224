//! Reviews that events of payments open, or join.

use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::{ReviewId, StorageError, settings};
use crate::domain::payment_event::PaymentEvent;
use crate::domain::tenant::TenantId;
use crate::storage::columns::bigint;
use crate::storage::payment_events;

/// Lets an event that was just recorded join the payment's open review, or opens one, if the tenant
/// wants that for events of its kind. `review_id` is the id of a new review. The caller holds the
/// lock of the payment's events, so nobody else opens one.
pub async fn open(
    connection: &mut PgConnection,
    tenant: TenantId,
    event: &PaymentEvent,
    review_id: Uuid,
) -> Result<(), StorageError> {
    if !settings::of_tenant(connection, tenant).await?.event_kinds.contains(&event.kind) {
        return Ok(());
    }
    let joined = sqlx::query(
        "update reviews set event_ids = coalesce(event_ids, '{}') || $3
         where tenant_id = $1 and decided_at_ms is null
           and id in (select id from reviews where tenant_id = $1 and id = $2
                      union all
                      select id from reviews where tenant_id = $1 and payment_id = $2 and id <> payment_id)",
    )
    .bind(tenant.0)
    .bind(event.payment.0)
    .bind(event.id)
    .execute(&mut *connection)
    .await?;
    if joined.rows_affected() > 0 {
        return Ok(());
    }
    sqlx::query(
        "insert into reviews (tenant_id, id, payment_id, opened_at_ms, amount_minor, currency, event_ids)
         select $1, $3, id, $4, amount_minor, currency, array[$5]
         from decisions
         where tenant_id = $1 and id = $2",
    )
    .bind(tenant.0)
    .bind(event.payment.0)
    .bind(review_id)
    .bind(bigint(event.recorded_at_ms))
    .bind(event.id)
    .execute(connection)
    .await?;
    Ok(())
}

/// The events of a review, in the order of their reports.
pub(super) async fn of_review(
    connection: &mut PgConnection,
    tenant: TenantId,
    id: ReviewId,
) -> Result<Vec<PaymentEvent>, StorageError> {
    let row = sqlx::query("select payment_id, event_ids from reviews where tenant_id = $1 and id = $2")
        .bind(tenant.0)
        .bind(id.0)
        .fetch_one(&mut *connection)
        .await?;
    match row.try_get::<Option<Vec<Uuid>>, _>("event_ids")? {
        Some(ids) => payment_events::with_ids(connection, tenant, row.try_get("payment_id")?, ids).await,
        None => Ok(Vec::new()),
    }
}
