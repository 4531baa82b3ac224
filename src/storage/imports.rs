//! Imported events, and the audit record of an import. The journal stores the decisions.

use uuid::Uuid;

use super::columns::bigint;
use super::pool::AppPool;
use super::{StorageError, audit};
use crate::domain::audit::Act;
use crate::domain::payment::PaymentId;
use crate::domain::payment_event::EventKind;
use crate::domain::tenant::TenantId;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedEvent {
    pub id: Uuid,
    pub payment: PaymentId,
    pub kind: EventKind,
    pub at_ms: u64,
    pub note: String,
}

/// Inserts events, and returns how many are new. Existing ones stay as they are.
pub async fn insert_events(
    app: &AppPool,
    tenant: TenantId,
    events: Vec<ImportedEvent>,
    actor: &'static str,
    now_ms: u64,
) -> Result<u64, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let column = |of: fn(&ImportedEvent) -> Uuid| -> Vec<Uuid> { events.iter().map(of).collect() };
            let done = sqlx::query(
                "insert into payment_events (tenant_id, payment_id, id, kind, at_ms, recorded_at_ms, actor, note)
                 select $1, e.payment_id, e.id, e.kind, e.at_ms, $2, $3, e.note
                 from unnest($4::uuid[], $5::uuid[], $6::text[], $7::bigint[], $8::text[])
                      as e (payment_id, id, kind, at_ms, note)
                 on conflict do nothing",
            )
            .bind(tenant.0)
            .bind(bigint(now_ms))
            .bind(actor)
            .bind(column(|event| event.payment.0))
            .bind(column(|event| event.id))
            .bind(events.iter().map(|event| event.kind.name()).collect::<Vec<_>>())
            .bind(events.iter().map(|event| bigint(event.at_ms)).collect::<Vec<_>>())
            .bind(events.iter().map(|event| event.note.as_str()).collect::<Vec<_>>())
            .execute(connection)
            .await?;
            Ok(done.rows_affected())
        })
    })
    .await
}

/// Records an import in the audit log, after its decisions are stored.
pub async fn record_run(app: &AppPool, tenant: TenantId, act: Act) -> Result<(), StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move { audit::record(connection, tenant, &act).await.map(drop) })
    })
    .await
}
