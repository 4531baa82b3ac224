//! What the columns of a decision show without its payload: all that erasure leaves.

use sqlx::Row;

use super::search::{DecisionSummary, FoundDecision, read_found, read_summary};
use crate::domain::decision::IdempotencyKey;
use crate::domain::payment::PaymentId;
use crate::domain::tenant::{ClientId, TenantId};
use crate::storage::StorageError;
use crate::storage::columns::ms;
use crate::storage::pool::AppPool;

const WHAT: &str = "erasure";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasedDecision {
    pub summary: DecisionSummary,
    /// `None` if an operator erased it in the database, without a record.
    pub erased_at_ms: Option<u64>,
}

pub async fn erased(
    app: &AppPool,
    tenant: TenantId,
    id: PaymentId,
) -> Result<Option<ErasedDecision>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let row = sqlx::query(
                "select d.id, d.client_id, d.idempotency_key, d.outcome, d.received_at_ms, d.reference,
                        d.amount_minor, d.currency, d.method, d.revision, e.erased_at_ms
                 from decisions d
                 left join erasures e on e.tenant_id = d.tenant_id and e.payment_id = d.id
                 where d.tenant_id = $1 and d.id = $2 and d.payload is null",
            )
            .bind(tenant.0)
            .bind(id.0)
            .fetch_optional(connection)
            .await?;
            let Some(row) = row else { return Ok(None) };
            let erased_at_ms: Option<i64> = row.try_get("erased_at_ms")?;
            let erased_at_ms = erased_at_ms.map(|at_ms| ms(at_ms, WHAT)).transpose()?;
            Ok(Some(ErasedDecision { summary: read_summary(&row)?, erased_at_ms }))
        })
    })
    .await
}

/// The decision to which a client's key is bound, whether it is erased or not.
pub async fn found_by_key(
    app: &AppPool,
    tenant: TenantId,
    client: ClientId,
    key: &IdempotencyKey,
) -> Result<Option<FoundDecision>, StorageError> {
    let key = key.as_str().to_owned();
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let row = sqlx::query(
                "select d.id, d.client_id, d.idempotency_key, d.outcome, d.received_at_ms, d.reference,
                        d.amount_minor, d.currency, d.method, d.revision, d.payload_version, d.payload
                 from idempotency_keys k
                 join decisions d on d.tenant_id = k.tenant_id and d.id = k.decision_id
                 where k.tenant_id = $1 and k.client_id = $2 and k.key = $3",
            )
            .bind(tenant.0)
            .bind(client.0)
            .bind(key)
            .fetch_optional(connection)
            .await?;
            row.as_ref().map(read_found).transpose()
        })
    })
    .await
}
