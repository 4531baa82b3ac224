//! The fields in which a tenant allows values that look like card numbers.
//!
//! Only an operator may change them, never a request.

use std::collections::HashMap;

use serde_json::json;
use sqlx::Row;

use super::columns::bigint;
use super::pool::SystemPool;
use super::{StorageError, audit};
use crate::domain::audit::{Act, Action};
use crate::domain::card_check::{CheckedField, UncheckedFields};
use crate::domain::tenant::TenantId;

/// The unchecked fields of all tenants that have any. Nodes poll this.
pub async fn unchecked_of_all(
    system: &SystemPool,
) -> Result<HashMap<TenantId, UncheckedFields>, StorageError> {
    system
        .transaction(|connection| {
            Box::pin(async move {
                let rows = sqlx::query("select tenant_id, field from unchecked_fields")
                    .fetch_all(connection)
                    .await?;
                let mut all: HashMap<TenantId, UncheckedFields> = HashMap::new();
                for row in rows {
                    let Some(field) = CheckedField::parse(row.try_get("field")?) else { continue };
                    let unchecked = all.entry(TenantId(row.try_get("tenant_id")?)).or_default();
                    *unchecked = unchecked.with(field);
                }
                Ok(all)
            })
        })
        .await
}

/// The unchecked fields of one tenant.
pub async fn unchecked(system: &SystemPool, tenant: TenantId) -> Result<UncheckedFields, StorageError> {
    system
        .transaction(move |connection| {
            Box::pin(async move {
                let names: Vec<String> =
                    sqlx::query_scalar("select field from unchecked_fields where tenant_id = $1")
                        .bind(tenant.0)
                        .fetch_all(connection)
                        .await?;
                Ok(names.iter().filter_map(|name| CheckedField::parse(name)).collect())
            })
        })
        .await
}

/// Switches the check of a field on or off. Returns whether that changed anything.
pub async fn set(
    system: &SystemPool,
    tenant: TenantId,
    field: CheckedField,
    checked: bool,
    actor: &str,
    now_ms: u64,
) -> Result<bool, StorageError> {
    let actor = actor.to_owned();
    system
        .transaction(move |connection| {
            Box::pin(async move {
                let statement = if checked {
                    sqlx::query("delete from unchecked_fields where tenant_id = $1 and field = $2")
                        .bind(tenant.0)
                        .bind(field.name())
                } else {
                    sqlx::query(
                        "insert into unchecked_fields (tenant_id, field, created_at_ms) values ($1, $2, $3)
                     on conflict (tenant_id, field) do nothing",
                    )
                    .bind(tenant.0)
                    .bind(field.name())
                    .bind(bigint(now_ms))
                };
                if statement.execute(&mut *connection).await?.rows_affected() == 0 {
                    return Ok(false);
                }
                let state = |checked: bool| Some(json!({ "checked": checked }).to_string());
                let act = Act {
                    at_ms: now_ms,
                    actor: actor.into(),
                    action: Action::CardCheckChanged,
                    subject: field.name().to_owned(),
                    before: state(!checked),
                    after: state(checked),
                };
                audit::record(connection, tenant, &act).await?;
                Ok(true)
            })
        })
        .await
}
