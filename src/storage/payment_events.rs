//! Payment events: what happened to payments after their decisions.
//!
//! An event is never changed or removed. A wrong event is corrected by a later event.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use thiserror::Error;
use uuid::Uuid;

use super::advisory_locks::TenantLock;
use super::columns::{bigint, ms, named};
use super::pool::AppPool;
use super::query_error::OfStatement;
use super::{StorageError, reviews};
use crate::domain::payment::PaymentId;
use crate::domain::payment_event::{EventKind, PaymentEvent};
use crate::domain::tenant::TenantId;

const WHAT: &str = "payment event";

#[derive(Debug, Clone)]
pub struct NewPaymentEvent {
    pub id: Uuid,
    /// The id of a review, if the event opens one.
    pub review_id: Uuid,
    pub payment: PaymentId,
    pub kind: EventKind,
    /// `None` means the time of the report.
    pub at_ms: Option<u64>,
    pub recorded_at_ms: u64,
    pub actor: String,
    pub note: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedEvent {
    pub event: PaymentEvent,
    /// Whether this report was the first one of the event.
    pub first: bool,
}

#[derive(Debug, Error)]
pub enum RecordEventError {
    #[error("there is no such payment")]
    UnknownPayment,
    #[error("the payment was received after that time")]
    BeforePayment { received_at_ms: u64 },
    #[error("the payment already has {0} events")]
    TooMany(u32),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Records an event. A payment can have at most `events_max`. Two reports of the same kind and time
/// are the same event.
pub async fn record(
    app: &AppPool,
    tenant: TenantId,
    new: NewPaymentEvent,
    events_max: u32,
) -> Result<RecordedEvent, RecordEventError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let lock = TenantLock::PaymentEvents(tenant, new.payment);
            lock.take_in_transaction(connection).await.of_statement()?;
            let received_at_ms = received_at_ms(connection, tenant, new.payment).await?;
            let received_at_ms = received_at_ms.ok_or(RecordEventError::UnknownPayment)?;
            // The clocks of two nodes may differ, so the current time may be before the payment.
            let at_ms = new.at_ms.unwrap_or(new.recorded_at_ms.max(received_at_ms));
            if at_ms < received_at_ms {
                return Err(RecordEventError::BeforePayment { received_at_ms });
            }
            let inserted = insert(connection, tenant, &new, at_ms).await?;
            let event = match inserted {
                None => same_as(connection, tenant, &new, at_ms).await?,
                Some(event) => {
                    check_quota(connection, tenant, new.payment, events_max).await?;
                    reviews::events::open(connection, tenant, &event, new.review_id).await?;
                    return Ok(RecordedEvent { event, first: true });
                }
            };
            Ok(RecordedEvent { event, first: false })
        })
    })
    .await
}

/// The count includes the event that was just inserted. An error rolls that insert back.
async fn check_quota(
    connection: &mut PgConnection,
    tenant: TenantId,
    payment: PaymentId,
    events_max: u32,
) -> Result<(), RecordEventError> {
    let count: i64 =
        sqlx::query_scalar("select count(*) from payment_events where tenant_id = $1 and payment_id = $2")
            .bind(tenant.0)
            .bind(payment.0)
            .fetch_one(connection)
            .await
            .of_statement()?;
    if count > i64::from(events_max) { Err(RecordEventError::TooMany(events_max)) } else { Ok(()) }
}

async fn received_at_ms(
    connection: &mut PgConnection,
    tenant: TenantId,
    payment: PaymentId,
) -> Result<Option<u64>, StorageError> {
    let stored: Option<i64> =
        sqlx::query_scalar("select received_at_ms from decisions where tenant_id = $1 and id = $2")
            .bind(tenant.0)
            .bind(payment.0)
            .fetch_optional(connection)
            .await?;
    stored.map(|stored| ms(stored, WHAT)).transpose()
}

/// `None` if the event exists already.
async fn insert(
    connection: &mut PgConnection,
    tenant: TenantId,
    new: &NewPaymentEvent,
    at_ms: u64,
) -> Result<Option<PaymentEvent>, StorageError> {
    let row = sqlx::query(
        "insert into payment_events (tenant_id, payment_id, id, kind, at_ms, recorded_at_ms, actor, note)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict (tenant_id, payment_id, kind, at_ms) do nothing
         returning payment_id, id, kind, at_ms, recorded_at_ms, actor, note",
    )
    .bind(tenant.0)
    .bind(new.payment.0)
    .bind(new.id)
    .bind(new.kind.name())
    .bind(bigint(at_ms))
    .bind(bigint(new.recorded_at_ms))
    .bind(&new.actor)
    .bind(&new.note)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(read).transpose()
}

async fn same_as(
    connection: &mut PgConnection,
    tenant: TenantId,
    new: &NewPaymentEvent,
    at_ms: u64,
) -> Result<PaymentEvent, StorageError> {
    let row = sqlx::query(
        "select payment_id, id, kind, at_ms, recorded_at_ms, actor, note
         from payment_events
         where tenant_id = $1 and payment_id = $2 and kind = $3 and at_ms = $4",
    )
    .bind(tenant.0)
    .bind(new.payment.0)
    .bind(new.kind.name())
    .bind(bigint(at_ms))
    .fetch_one(connection)
    .await?;
    read(&row)
}

/// Events in the order of their reports, above the id `after`. `None` if there is no such payment.
pub async fn list(
    app: &AppPool,
    tenant: TenantId,
    payment: PaymentId,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Option<Vec<PaymentEvent>>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            if received_at_ms(connection, tenant, payment).await?.is_none() {
                return Ok(None);
            }
            let rows = sqlx::query(
                "select payment_id, id, kind, at_ms, recorded_at_ms, actor, note
                 from payment_events
                 where tenant_id = $1 and payment_id = $2 and id > coalesce($3, $4)
                 order by id
                 limit $5",
            )
            .bind(tenant.0)
            .bind(payment.0)
            .bind(after)
            .bind(Uuid::nil())
            .bind(i64::from(limit))
            .fetch_all(connection)
            .await?;
            rows.iter().map(read).collect::<Result<_, _>>().map(Some)
        })
    })
    .await
}

/// The events of a payment with these ids, in the order of their reports.
pub(super) async fn with_ids(
    connection: &mut PgConnection,
    tenant: TenantId,
    payment: Uuid,
    ids: Vec<Uuid>,
) -> Result<Vec<PaymentEvent>, StorageError> {
    let rows = sqlx::query(
        "select payment_id, id, kind, at_ms, recorded_at_ms, actor, note
         from payment_events
         where tenant_id = $1 and payment_id = $2 and id = any ($3)
         order by id",
    )
    .bind(tenant.0)
    .bind(payment)
    .bind(ids)
    .fetch_all(connection)
    .await?;
    rows.iter().map(read).collect()
}

/// The kind of the event with the latest time.
pub async fn last(
    app: &AppPool,
    tenant: TenantId,
    payment: PaymentId,
) -> Result<Option<EventKind>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let kind: Option<String> = sqlx::query_scalar(
                "select kind from payment_events
                 where tenant_id = $1 and payment_id = $2
                 order by at_ms desc, id desc
                 limit 1",
            )
            .bind(tenant.0)
            .bind(payment.0)
            .fetch_optional(connection)
            .await?;
            kind.map(|kind| named(EventKind::parse(&kind), WHAT)).transpose()
        })
    })
    .await
}

fn read(row: &PgRow) -> Result<PaymentEvent, StorageError> {
    Ok(PaymentEvent {
        id: row.try_get("id")?,
        payment: PaymentId(row.try_get("payment_id")?),
        kind: named(EventKind::parse(row.try_get("kind")?), WHAT)?,
        at_ms: ms(row.try_get("at_ms")?, WHAT)?,
        recorded_at_ms: ms(row.try_get("recorded_at_ms")?, WHAT)?,
        actor: row.try_get("actor")?,
        note: row.try_get("note")?,
    })
}
