//! Rules in quarantine, and those that were.
//!
//! Owns their rows and the acts that open and lift one. Must never open a
//! second one for a rule that is in quarantine already.

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

/// The author of acts that no person did.
const TOLLGATE: &str = "tollgate";

/// Open ones of one tenant. Every node holds all of all tenants.
const OPEN_MAX: i64 = 1_000;

/// What became of a rule that fails too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    New,
    /// It is in quarantine already.
    Before,
    /// Too many rules of the tenant are.
    TooMany,
}

pub async fn open(
    system: &SystemPool,
    tenant: TenantId,
    quarantine: Quarantine,
) -> Result<Opened, StorageError> {
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
                    return Ok(Opened::TooMany);
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
                    return Ok(Opened::Before);
                }
                let (action, at_ms) = (Action::RuleQuarantined, quarantine.opened_at_ms);
                let (before, after) = (None, Some(told(&quarantine)));
                let (actor, subject) = (TOLLGATE.to_owned(), identity.rule.clone());
                audit::record(connection, tenant, &Act { at_ms, actor, action, subject, before, after })
                    .await?;
                Ok(Opened::New)
            })
        })
        .await
}

/// False when there is no such quarantine or it was lifted before.
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
            let (before, after) = (Some(told(&quarantine)), None);
            let (actor, subject) = (lifted.by, quarantine.identity.rule);
            audit::record(connection, tenant, &Act { at_ms, actor, action, subject, before, after }).await?;
            Ok(true)
        })
    })
    .await
}

/// For the record of acts.
fn told(quarantine: &Quarantine) -> String {
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

/// What nodes poll: every rule of all tenants that is in quarantine.
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

/// The newest first, below `before` where it is given; open ones only, unless all are wanted.
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

/// The open ones of rules with these names, whatever their bindings.
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
