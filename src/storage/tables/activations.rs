//! The log of which version of a table is valid from when: rows are appended and never changed.
//!
//! A row must only be appended under the lock `TableActivationSequence`, held until the commit. So
//! sequences rise in commit order, and a node that polls for later ones misses none.

use serde_json::json;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use thiserror::Error;

use super::super::advisory_locks::DatabaseLock;
use super::super::columns::{bigint, ms, named};
use super::super::pool::AppPool;
use super::super::query_error::OfStatement;
use super::super::rulesets::{DeploymentVersion, ExpectedActivation};
use super::super::{StorageError, audit};
use crate::domain::audit::{Act, Action, Authority};
use crate::domain::table::{TableActivation, TableActivationKind, TableName, valid_from_ms};
use crate::domain::tenant::TenantId;
use crate::domain::time::World;

const WHAT: &str = "table activation";

#[derive(Debug, Error)]
pub enum ActivateTableError {
    #[error("there is no such table")]
    UnknownTable,
    #[error("the table is closed")]
    Closed,
    #[error("there is no such version")]
    UnknownVersion,
    /// Another activation came first.
    #[error("the valid version has changed in the meantime")]
    Conflict,
    #[error("the version is already the newest line of the log")]
    AlreadyActive,
    #[error("there is no version before the current one")]
    NothingBefore,
    #[error("the version was never valid")]
    NeverValid,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableActivationRequest {
    Activate {
        version: i32,
    },
    /// To the version with the next lower number, or to `version`. Only to one that was valid before:
    /// who rolls back needs nobody else.
    RollBack {
        version: Option<i32>,
    },
}

impl TableActivationRequest {
    fn kind(self) -> TableActivationKind {
        match self {
            Self::Activate { .. } => TableActivationKind::Activate,
            Self::RollBack { .. } => TableActivationKind::RollBack,
        }
    }
}

/// Makes a version valid again, two seconds later.
pub async fn activate(
    app: &AppPool,
    world: &World,
    tenant: TenantId,
    table: &TableName,
    request: TableActivationRequest,
    actor: Authority,
    expected: ExpectedActivation,
) -> Result<TableActivation, ActivateTableError> {
    let (world, table) = (world.clone(), table.clone());
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            DatabaseLock::TableActivationSequence.take_in_transaction(connection).await.of_statement()?;
            check_open(connection, tenant, &table).await?;
            let preceding = latest_of(connection, tenant, &table).await?;
            let sequence = preceding.as_ref().map(|line| line.sequence);
            if !expected.is(DeploymentVersion::of(sequence)) {
                return Err(ActivateTableError::Conflict);
            }
            let current = preceding.as_ref().map(|line| line.version);
            let version = match request {
                TableActivationRequest::Activate { version }
                | TableActivationRequest::RollBack { version: Some(version) } => version,
                TableActivationRequest::RollBack { version: None } => {
                    let before = valid_before(connection, tenant, &table, current.unwrap_or(0)).await?;
                    before.ok_or(ActivateTableError::NothingBefore)?
                }
            };
            check_exists(connection, tenant, &table, version).await?;
            let is_return = matches!(request, TableActivationRequest::RollBack { .. });
            if is_return
                && valid_before(connection, tenant, &table, version.saturating_add(1)).await? != Some(version)
            {
                return Err(ActivateTableError::NeverValid);
            }
            if current == Some(version) {
                return Err(ActivateTableError::AlreadyActive);
            }
            let now_ms = world.now_ms();
            let activation = TableActivation {
                sequence: 0,
                table,
                version,
                kind: request.kind(),
                activated_by: actor.name().to_owned(),
                activated_at_ms: now_ms,
                valid_from_ms: valid_from_ms(now_ms, preceding.as_ref()),
            };
            let activation = append(connection, tenant, activation).await?;
            audit::record(connection, tenant, &act_of(&activation, current, actor)).await?;
            Ok(activation)
        })
    })
    .await
}

fn act_of(activation: &TableActivation, before: Option<i32>, actor: Authority) -> Act {
    let action = match activation.kind {
        TableActivationKind::Upload => Action::TableVersionUploaded,
        TableActivationKind::Activate => Action::TableVersionActivated,
        TableActivationKind::RollBack => Action::TableVersionRolledBack,
    };
    let after = json!({"version": activation.version, "valid_from_ms": activation.valid_from_ms});
    Act {
        at_ms: activation.activated_at_ms,
        actor,
        action,
        subject: activation.table.as_str().to_owned(),
        before: before.map(|version| json!({"version": version}).to_string()),
        after: Some(after.to_string()),
    }
}

/// The highest version below this one that was ever valid.
async fn valid_before(
    connection: &mut PgConnection,
    tenant: TenantId,
    table: &TableName,
    below: i32,
) -> Result<Option<i32>, StorageError> {
    let statement = "select max(version) from table_activations
                     where tenant_id = $1 and table_name = $2 and version < $3";
    let version =
        sqlx::query_scalar(statement).bind(tenant.0).bind(table.as_str()).bind(below).fetch_one(connection);
    Ok(version.await?)
}

async fn check_open(
    connection: &mut PgConnection,
    tenant: TenantId,
    table: &TableName,
) -> Result<(), ActivateTableError> {
    let is_closed: Option<bool> =
        sqlx::query_scalar("select closed_at_ms is not null from tables where tenant_id = $1 and name = $2")
            .bind(tenant.0)
            .bind(table.as_str())
            .fetch_optional(connection)
            .await
            .of_statement()?;
    match is_closed {
        None => Err(ActivateTableError::UnknownTable),
        Some(true) => Err(ActivateTableError::Closed),
        Some(false) => Ok(()),
    }
}

async fn check_exists(
    connection: &mut PgConnection,
    tenant: TenantId,
    table: &TableName,
    version: i32,
) -> Result<(), ActivateTableError> {
    let exists: bool = sqlx::query_scalar(
        "select exists (select from table_versions where tenant_id = $1 and table_name = $2 and number = $3)",
    )
    .bind(tenant.0)
    .bind(table.as_str())
    .bind(version)
    .fetch_one(connection)
    .await
    .of_statement()?;
    if exists { Ok(()) } else { Err(ActivateTableError::UnknownVersion) }
}

/// Appends a line, and returns it with its sequence.
pub(super) async fn append(
    connection: &mut PgConnection,
    tenant: TenantId,
    activation: TableActivation,
) -> Result<TableActivation, StorageError> {
    let sequence = sqlx::query_scalar(
        "insert into table_activations (tenant_id, table_name, version, kind, activated_by, activated_at_ms,
                                        valid_from_ms)
         values ($1, $2, $3, $4, $5, $6, $7)
         returning sequence",
    )
    .bind(tenant.0)
    .bind(activation.table.as_str())
    .bind(activation.version)
    .bind(activation.kind.name())
    .bind(&activation.activated_by)
    .bind(bigint(activation.activated_at_ms))
    .bind(bigint(activation.valid_from_ms))
    .fetch_one(connection)
    .await?;
    Ok(TableActivation { sequence, ..activation })
}

/// The newest line of a table.
pub async fn latest(
    app: &AppPool,
    tenant: TenantId,
    table: &TableName,
) -> Result<Option<TableActivation>, StorageError> {
    Ok(activations(app, tenant, table, LogFilter::default(), 1).await?.pop())
}

pub(super) async fn latest_of(
    connection: &mut PgConnection,
    tenant: TenantId,
    table: &TableName,
) -> Result<Option<TableActivation>, StorageError> {
    Ok(log(connection, tenant, table, LogFilter::default(), 1).await?.pop())
}

/// All conditions must hold.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogFilter {
    /// Only lines with a lower sequence.
    pub before: Option<i64>,
    /// Only lines that have taken effect at this time.
    pub valid_at_ms: Option<u64>,
}

/// Newest first.
pub async fn activations(
    app: &AppPool,
    tenant: TenantId,
    table: &TableName,
    filter: LogFilter,
    limit: u32,
) -> Result<Vec<TableActivation>, StorageError> {
    let table = table.clone();
    app.transaction(tenant, move |connection| {
        Box::pin(async move { log(connection, tenant, &table, filter, limit).await })
    })
    .await
}

async fn log(
    connection: &mut PgConnection,
    tenant: TenantId,
    table: &TableName,
    filter: LogFilter,
    limit: u32,
) -> Result<Vec<TableActivation>, StorageError> {
    let rows = sqlx::query(
        "select sequence, table_name, version, kind, activated_by, activated_at_ms, valid_from_ms
         from table_activations
         where tenant_id = $1 and table_name = $2 and sequence < coalesce($3, 9223372036854775807)
           and valid_from_ms <= coalesce($4, 9223372036854775807)
         order by sequence desc
         limit $5",
    )
    .bind(tenant.0)
    .bind(table.as_str())
    .bind(filter.before)
    .bind(filter.valid_at_ms.map(bigint))
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    rows.iter().map(read).collect()
}

fn read(row: &PgRow) -> Result<TableActivation, StorageError> {
    Ok(TableActivation {
        sequence: row.try_get("sequence")?,
        table: named(TableName::parse(row.try_get("table_name")?), WHAT)?,
        version: row.try_get("version")?,
        kind: named(TableActivationKind::parse(row.try_get("kind")?), WHAT)?,
        activated_by: row.try_get("activated_by")?,
        activated_at_ms: ms(row.try_get("activated_at_ms")?, WHAT)?,
        valid_from_ms: ms(row.try_get("valid_from_ms")?, WHAT)?,
    })
}
