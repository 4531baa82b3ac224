//! Quarantines, open and lifted. A rule has at most one open quarantine.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::columns::{bigint, digest, ms, named};
use super::pool::{AppPool, SystemPool};
use super::time_limit::TimeLimit;
use super::{StorageError, audit};
use crate::domain::audit::{Act, Action};
use crate::domain::quarantine::{Quarantine, QuarantineLift, RuleIdentity};
use crate::domain::ruleset::DecisionPoint;
use crate::domain::tenant::TenantId;

const WHAT: &str = "quarantine";

/// The actor in the audit log if a quarantine opens.
const TOLLGATE: &str = "tollgate";

/// The most open quarantines of one tenant. Every node keeps those of all tenants in memory.
const OPEN_MAX: i64 = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenOutcome {
    Opened,
    /// The rule is already in quarantine.
    AlreadyOpen,
    /// The tenant has too many open quarantines.
    TooMany,
}

pub async fn open(
    system: &SystemPool,
    tenant: TenantId,
    quarantine: Quarantine,
) -> Result<OpenOutcome, StorageError> {
    system
        .transaction(move |connection| {
            Box::pin(async move {
                let identity = &quarantine.identity;
                let open: i64 = sqlx::query_scalar(
                    "select count(*) from quarantines where tenant_id = $1 and lifted_at_ms is null",
                )
                .bind(tenant.0)
                .fetch_one(&mut *connection)
                .await?;
                if open >= OPEN_MAX {
                    return Ok(OpenOutcome::TooMany);
                }
                let inserted = sqlx::query(
                    "insert into quarantines (tenant_id, id, point, rule, binding, revision, failures, runs,
                                          last_failure, opened_at_ms)
                 values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
                 on conflict (tenant_id, point, rule, binding) where lifted_at_ms is null do nothing",
                )
                .bind(tenant.0)
                .bind(quarantine.id)
                .bind(identity.point.name())
                .bind(&identity.rule)
                .bind(identity.binding.0)
                .bind(quarantine.revision)
                .bind(bigint(quarantine.failures))
                .bind(bigint(quarantine.runs))
                .bind(&quarantine.last_failure)
                .bind(bigint(quarantine.opened_at_ms))
                .execute(&mut *connection)
                .await?;
                if inserted.rows_affected() == 0 {
                    return Ok(OpenOutcome::AlreadyOpen);
                }
                let (action, at_ms) = (Action::RuleQuarantined, quarantine.opened_at_ms);
                let (before, after) = (None, Some(act_json(&quarantine)));
                let (actor, subject) = (TOLLGATE.into(), identity.rule.clone());
                audit::record(connection, tenant, &Act { at_ms, actor, action, subject, before, after })
                    .await?;
                Ok(OpenOutcome::Opened)
            })
        })
        .await
}

/// Returns `false` if there is no such quarantine or it was already lifted.
pub async fn lift(
    app: &AppPool,
    tenant: TenantId,
    point: DecisionPoint,
    id: Uuid,
    lifted: QuarantineLift,
) -> Result<bool, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let row = sqlx::query(
                "update quarantines set lifted_at_ms = $4, lifted_by = $5
                 where tenant_id = $1 and point = $2 and id = $3 and lifted_at_ms is null
                 returning id, point, rule, binding, revision, failures, runs, last_failure, opened_at_ms,
                           lifted_at_ms, lifted_by",
            )
            .bind(tenant.0)
            .bind(point.name())
            .bind(id)
            .bind(bigint(lifted.at_ms))
            .bind(&lifted.by)
            .fetch_optional(&mut *connection)
            .await?;
            let Some(row) = row else { return Ok(false) };
            let quarantine = read(&row)?;
            let (action, at_ms) = (Action::QuarantineLifted, lifted.at_ms);
            let (before, after) = (Some(act_json(&quarantine)), None);
            let (actor, subject) = (lifted.by.into(), quarantine.identity.rule);
            audit::record(connection, tenant, &Act { at_ms, actor, action, subject, before, after }).await?;
            Ok(true)
        })
    })
    .await
}

/// The quarantine as JSON for the audit log.
fn act_json(quarantine: &Quarantine) -> String {
    serde_json::json!({
        "quarantine": quarantine.id,
        "point": quarantine.identity.point.name(),
        "binding": quarantine.identity.binding.to_string(),
        "revision": quarantine.revision,
        "failures": quarantine.failures,
        "runs": quarantine.runs,
        "last_failure": quarantine.last_failure,
    })
    .to_string()
}

/// All rules of all tenants that are in quarantine. Nodes poll this.
pub async fn open_of_all(system: &SystemPool) -> Result<Vec<(TenantId, RuleIdentity)>, StorageError> {
    system
        .transaction_within(TimeLimit::SHORT, |connection| {
            Box::pin(async move {
                let rows = sqlx::query(
                    "select tenant_id, point, rule, binding from quarantines where lifted_at_ms is null",
                )
                .fetch_all(connection)
                .await?;
                rows.iter()
                    .map(|row| Ok((TenantId(row.try_get("tenant_id")?), read_identity(row)?)))
                    .collect()
            })
        })
        .await
}

/// Newest first. With `before`, only quarantines with lower ids. Without `all`, only open
/// quarantines.
pub async fn list(
    app: &AppPool,
    tenant: TenantId,
    point: DecisionPoint,
    all: bool,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Quarantine>, StorageError> {
    app.transaction(tenant, move |connection| Box::pin(find(connection, tenant, point, all, before, limit)))
        .await
}

async fn find(
    connection: &mut PgConnection,
    tenant: TenantId,
    point: DecisionPoint,
    all: bool,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Quarantine>, StorageError> {
    let rows = sqlx::query(
        "select id, point, rule, binding, revision, failures, runs, last_failure, opened_at_ms,
                lifted_at_ms, lifted_by
         from quarantines
         where tenant_id = $1 and point = $2 and (lifted_at_ms is null or $3) and ($4::uuid is null or id < $4)
         order by id desc
         limit $5",
    )
    .bind(tenant.0)
    .bind(point.name())
    .bind(all)
    .bind(before)
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    rows.iter().map(read).collect()
}

/// The open quarantines of rules with these names, with any binding.
pub async fn open_of_rules(
    app: &AppPool,
    tenant: TenantId,
    point: DecisionPoint,
    rules: Vec<String>,
) -> Result<Vec<Quarantine>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let rows = sqlx::query(
                "select id, point, rule, binding, revision, failures, runs, last_failure, opened_at_ms,
                        lifted_at_ms, lifted_by
                 from quarantines
                 where tenant_id = $1 and point = $2 and rule = any ($3) and lifted_at_ms is null
                 order by id desc",
            )
            .bind(tenant.0)
            .bind(point.name())
            .bind(rules)
            .fetch_all(connection)
            .await?;
            rows.iter().map(read).collect()
        })
    })
    .await
}

fn read_identity(row: &PgRow) -> Result<RuleIdentity, StorageError> {
    Ok(RuleIdentity {
        point: named(DecisionPoint::parse(row.try_get("point")?), WHAT)?,
        rule: row.try_get("rule")?,
        binding: digest(row.try_get("binding")?, WHAT)?,
    })
}

fn read(row: &PgRow) -> Result<Quarantine, StorageError> {
    let lifted_at_ms: Option<i64> = row.try_get("lifted_at_ms")?;
    let lifted_by: Option<String> = row.try_get("lifted_by")?;
    let lifted = match lifted_at_ms.zip(lifted_by) {
        Some((at_ms, by)) => Some(QuarantineLift { at_ms: ms(at_ms, WHAT)?, by }),
        None => None,
    };
    Ok(Quarantine {
        id: row.try_get("id")?,
        identity: read_identity(row)?,
        revision: row.try_get("revision")?,
        failures: ms(row.try_get("failures")?, WHAT)?,
        runs: ms(row.try_get("runs")?, WHAT)?,
        last_failure: row.try_get("last_failure")?,
        opened_at_ms: ms(row.try_get("opened_at_ms")?, WHAT)?,
        lifted,
    })
}
