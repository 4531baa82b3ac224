//! Later events of payments: what became of them.
//!
//! Owns their rows. Must never change or remove one: what was told wrongly is
//! outdone by what is told later.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use thiserror::Error;
use uuid::Uuid;

use super::StorageError;
use super::advisory_locks::TenantLock;
use super::columns::{bigint, ms, named};
use super::pool::AppPool;
use super::query_error::OfStatement;
use crate::domain::payment::PaymentId;
use crate::domain::payment_event::{EventKind, PaymentEvent};
use crate::domain::tenant::TenantId;

const WHAT: &str = "payment event";

#[derive(Debug, Clone)]
pub struct NewPaymentEvent {
    pub id: Uuid,
    pub payment: PaymentId,
    pub kind: EventKind,
    /// Nothing for the moment it is told.
    pub at_ms: Option<u64>,
    pub recorded_at_ms: u64,
    pub actor: String,
    pub note: String,
}

/// The event as it stands, and whether it was told for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub event: PaymentEvent,
    pub first: bool,
}

#[derive(Debug, Error)]
pub enum TellError {
    #[error("there is no such payment")]
    UnknownPayment,
    #[error("the payment was received after that time")]
    BeforePayment { received_at_ms: u64 },
    #[error("the payment already has {0} events")]
    TooMany(u32),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Writes an event down, at most `events_max` of a payment. The same kind at the
/// same moment is the same event.
pub async fn tell(
    app: &AppPool,
    tenant: TenantId,
    new: NewPaymentEvent,
    events_max: u32,
) -> Result<Told, TellError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let lock = TenantLock::PaymentEvents(tenant, new.payment);
            lock.take_in_transaction(connection).await.of_statement()?;
            let received_at_ms = received_at_ms(connection, tenant, new.payment).await?;
            let received_at_ms = received_at_ms.ok_or(TellError::UnknownPayment)?;
            // The clocks of two nodes may differ a little: now is never too early.
            let at_ms = new.at_ms.unwrap_or(new.recorded_at_ms.max(received_at_ms));
            if at_ms < received_at_ms {
                return Err(TellError::BeforePayment { received_at_ms });
            }
            let inserted = insert(connection, tenant, &new, at_ms).await?;
            let event = match inserted {
                None => same_as(connection, tenant, &new, at_ms).await?,
                Some(event) => {
                    keep_quota(connection, tenant, new.payment, events_max).await?;
                    return Ok(Told { event, first: true });
                }
            };
            Ok(Told { event, first: false })
        })
    })
    .await
}

/// With the event that was just written: an error takes it back.
async fn keep_quota(
    connection: &mut PgConnection,
    tenant: TenantId,
    payment: PaymentId,
    events_max: u32,
) -> Result<(), TellError> {
    let told: i64 =
        sqlx::query_scalar("select count(*) from payment_events where tenant_id = $1 and payment_id = $2")
            .bind(tenant.0)
            .bind(payment.0)
            .fetch_one(connection)
            .await
            .of_statement()?;
    if told > i64::from(events_max) { Err(TellError::TooMany(events_max)) } else { Ok(()) }
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

/// Nothing when the same is there already.
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

/// In the order they were told, above `after`; nothing when there is no such payment.
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

/// The one that happened last.
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
