//! The names of those who did something. Nothing else of a person is read here.

use sqlx::Row;
use uuid::Uuid;

use super::StorageError;
use super::pool::AppPool;
use crate::domain::actor::{Actor, NamedActor};
use crate::domain::tenant::{ClientId, TenantId};
use crate::domain::user::UserId;

/// Users and clients of the tenant that are among these. Those of other tenants are unknown.
pub async fn names(
    app: &AppPool,
    tenant: TenantId,
    users: Vec<UserId>,
    clients: Vec<ClientId>,
) -> Result<Vec<NamedActor>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let rows = sqlx::query(
                "select true as is_user, id, display_name as name, disabled_at_ms is not null as is_disabled
                 from users where tenant_id = $1 and id = any ($2)
                 union all
                 select false, id, name, disabled_at_ms is not null
                 from clients where tenant_id = $1 and id = any ($3)",
            )
            .bind(tenant.0)
            .bind(users.into_iter().map(|id| id.0).collect::<Vec<Uuid>>())
            .bind(clients.into_iter().map(|id| id.0).collect::<Vec<Uuid>>())
            .fetch_all(connection)
            .await?;
            rows.iter()
                .map(|row| {
                    let id: Uuid = row.try_get("id")?;
                    let is_user: bool = row.try_get("is_user")?;
                    let actor = if is_user { Actor::User(UserId(id)) } else { Actor::Client(ClientId(id)) };
                    Ok(NamedActor {
                        actor,
                        name: row.try_get("name")?,
                        is_disabled: row.try_get("is_disabled")?,
                    })
                })
                .collect()
        })
    })
    .await
}
