//! Removes what is older than a tenant's retention, month by month, in short transactions.
//!
//! The ids are recorded and signed before anything is removed. The functions of the database
//! delete nothing else.

mod overview;
mod records;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::{Query, QueryScalar};
use sqlx::{FromRow, PgConnection, Postgres, Row};
use uuid::Uuid;

pub use overview::{Beyond, RecordedRemoval, RemovalPosition, beyond, list};
pub use records::{RecordedEntry, entries_after, recorded, signed};

use super::advisory_locks::{DatabaseLock, TenantLock};
use super::columns::bigint;
use super::pool::SystemPool;
use super::query_error::OfStatement;
use super::time_limit::TimeLimit;
use super::values::day_of;
use super::{StorageError, audit, decision_counts};
use crate::domain::audit::{Act, Action};
use crate::domain::removal::{RemovalId, SignedRemoval};
use crate::domain::retention::RetentionMonths;
use crate::domain::tenant::TenantId;
use crate::domain::time::Month;

/// Bytes of a decision in a record: its id and its digest.
pub const ENTRY_BYTES: usize = 48;

/// Decisions of a chunk, which are also removed in one transaction.
const CHUNK: i64 = 1_000;

/// A removal that is not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRemoval {
    pub id: RemovalId,
    pub state: RemovalState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemovalState {
    Collecting,
    Collected { decisions: u64 },
    Signed(Box<SignedRemoval>),
    Removing,
}

/// What remains to be removed of an open removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovalProgress {
    More,
    Finished,
    /// Another node has taken the step.
    NotOurs,
}

/// The removal that is not finished, if there is one.
pub async fn open(system: &SystemPool) -> Result<Option<OpenRemoval>, StorageError> {
    system
        .transaction(|connection| {
            Box::pin(async move {
                let statement =
                    format!("{} where state <> 'removed' order by tenant_id limit 1", records::RECORD);
                let row = sqlx::query(sqlx::AssertSqlSafe(statement)).fetch_optional(connection).await?;
                row.as_ref().map(read_open).transpose()
            })
        })
        .await
}

fn read_open(row: &PgRow) -> Result<OpenRemoval, StorageError> {
    let id = records::read_id(row)?;
    let state = match row.try_get("state")? {
        "collecting" => RemovalState::Collecting,
        "collected" => {
            RemovalState::Collected { decisions: row.try_get::<i64, _>("decisions")?.unsigned_abs() }
        }
        "signed" => RemovalState::Signed(Box::new(records::read_signed(row)?)),
        _ => RemovalState::Removing,
    };
    Ok(OpenRemoval { id, state })
}

/// Begins to remove the oldest month of a tenant that has one beyond its retention. Returns whether
/// there was one.
pub async fn begin(system: &SystemPool, now_ms: u64) -> Result<bool, StorageError> {
    system
        .transaction_within(TimeLimit::PAGE, move |connection| {
            Box::pin(async move {
                if !DatabaseLock::Retention.try_in_transaction(connection).await? {
                    return Ok(false);
                }
                // Which decision was at a place of a batch without ids would be lost with it.
                let have_ids: bool = sqlx::query_scalar("select is_complete from batch_ids_progress")
                    .fetch_one(&mut *connection)
                    .await?;
                if !have_ids {
                    return Ok(false);
                }
                let limited = sqlx::query(
                    "select id, retention_months from tenants where retention_months is not null order by id",
                )
                .fetch_all(&mut *connection)
                .await?;
                for row in limited {
                    let (tenant, months) = (row.try_get("id")?, row.try_get("retention_months")?);
                    let Some(retention) = retention_of(months) else { continue };
                    let before = first_id(retention.first_kept(now_ms));
                    let oldest: Option<Uuid> = sqlx::query_scalar(
                        "select id from decisions where tenant_id = $1 and id < $2 order by id limit 1",
                    )
                    .bind(tenant)
                    .bind(before)
                    .fetch_optional(&mut *connection)
                    .await?;
                    if let Some(oldest) = oldest {
                        create(connection, tenant, month_of(oldest)).await?;
                        return Ok(true);
                    }
                }
                Ok(false)
            })
        })
        .await
}

pub(super) fn retention_of(months: Option<i32>) -> Option<RetentionMonths> {
    months.and_then(|months| u16::try_from(months).ok()).and_then(RetentionMonths::new)
}

async fn create(connection: &mut PgConnection, tenant: Uuid, month: Month) -> Result<(), StorageError> {
    sqlx::query(
        "insert into removals (tenant_id, month, number)
         select $1, $2::text::date, 1 + coalesce(max(number), 0)
         from removals where tenant_id = $1 and month = $2::text::date",
    )
    .bind(tenant)
    .bind(first_day(month))
    .execute(connection)
    .await?;
    Ok(())
}

/// Locks an open removal that is still in this state. Returns `false` if another node works on it.
async fn lock(connection: &mut PgConnection, id: RemovalId, state: &'static str) -> sqlx::Result<bool> {
    let locked = of_record(
        id,
        "select from removals where tenant_id = $1 and month = $2::text::date and number = $3 and state = $4
         for update skip locked",
    )
    .bind(state);
    Ok(locked.fetch_optional(connection).await?.is_some())
}

/// Records the next decisions of the month.
pub async fn collect(system: &SystemPool, id: RemovalId) -> Result<(), StorageError> {
    system
        .transaction_within(TimeLimit::PAGE, move |connection| {
            Box::pin(async move {
                if !lock(connection, id, "collecting").await? {
                    return Ok(());
                }
                let collected: i64 = scalar_of_record(id, "with page as (
                         select d.id, d.digest
                         from decisions d
                         where d.tenant_id = $1 and d.id < $5
                           and d.id > coalesce((select last_id from removal_chunks
                                                where tenant_id = $1 and month = $2::text::date and number = $3
                                                order by last_id desc limit 1), $4)
                         order by d.id
                         limit $6
                     ), added as (
                         insert into removal_chunks (tenant_id, month, number, first_id, last_id, entries)
                         select $1, $2::text::date, $3, (array_agg(id order by id))[1],
                                (array_agg(id order by id desc))[1],
                                string_agg(uuid_send(id) || digest, ''::bytea order by id)
                         from page
                         having count(*) > 0
                     )
                     select count(*) from page")
                .bind(Uuid::from_u128(first_id(id.month).as_u128().saturating_sub(1)))
                .bind(first_id(id.month.next()))
                .bind(CHUNK)
                .fetch_one(&mut *connection)
                .await?;
                let state = if collected < CHUNK { "collected" } else { "collecting" };
                of_record(id, "update removals set decisions = decisions + $4, state = $5
                     where tenant_id = $1 and month = $2::text::date and number = $3")
                .bind(collected)
                .bind(state)
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
}

/// Adds the signature to the record.
pub async fn sign(system: &SystemPool, signed: SignedRemoval) -> Result<(), StorageError> {
    system
        .transaction(move |connection| {
            Box::pin(async move {
                let SignedRemoval { removal, kid, signature } = signed;
                sqlx::query(
                    "update removals
                     set state = 'signed', hash = $4, signed_at_ms = $5, kid = $6, signature = $7
                     where tenant_id = $1 and month = $2::text::date and number = $3 and state = 'collected'",
                )
                .bind(removal.id.tenant.0)
                .bind(first_day(removal.id.month))
                .bind(removal.id.number)
                .bind(removal.hash.0)
                .bind(bigint(removal.at_ms))
                .bind(kid)
                .bind(signature)
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
}

/// From here on, decisions are removed. The signature must be kept outside of the database before.
pub async fn begin_removing(system: &SystemPool, id: RemovalId) -> Result<(), StorageError> {
    system
        .transaction(move |connection| {
            Box::pin(async move {
                of_record(
                    id,
                    "update removals set state = 'removing', next_day = $4
                     where tenant_id = $1 and month = $2::text::date and number = $3 and state = 'signed'",
                )
                .bind(day_of(bigint(id.month.start_ms())))
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
}

/// Removes the next portion: first the decisions, then the values of payments, day by day. The last
/// step removes what else names them, and records the act.
pub async fn remove_next(
    system: &SystemPool,
    id: RemovalId,
    actor: String,
    now_ms: u64,
) -> Result<RemovalProgress, StorageError> {
    system
        .transaction_within(TimeLimit::PAGE, move |connection| {
            Box::pin(async move {
                if !lock(connection, id, "removing").await? {
                    return Ok(RemovalProgress::NotOurs);
                }
                // Nothing brings values back: whoever computes them from decisions waits, and finds
                // those decisions gone.
                TenantLock::Derivations(id.tenant).take_in_transaction(connection).await?;
                if remove_decisions(connection, id).await? || remove_values(connection, id).await? {
                    return Ok(RemovalProgress::More);
                }
                remove_the_rest(connection, id).await?;
                finish(connection, id, actor, now_ms).await?;
                Ok(RemovalProgress::Finished)
            })
        })
        .await
}

/// Returns `false` if no day is left.
async fn remove_values(connection: &mut PgConnection, id: RemovalId) -> Result<bool, StorageError> {
    let end = day_of(bigint(id.month.next().start_ms()));
    let day: i32 = scalar_of_record(
        id,
        "select next_day from removals where tenant_id = $1 and month = $2::text::date and number = $3",
    )
    .fetch_one(&mut *connection)
    .await?;
    if day >= end {
        return Ok(false);
    }
    // A roll-up of what is removed is not stored afterwards.
    DatabaseLock::RollUps.take_in_transaction(&mut *connection).await?;
    let removed: i64 = scalar_of_record(id, "select remove_values($1, $2::text::date, $3, $4)")
        .bind(day)
        .fetch_one(&mut *connection)
        .await?;
    if removed == 0 {
        of_record(
            id,
            "update removals set next_day = next_day + 1
             where tenant_id = $1 and month = $2::text::date and number = $3",
        )
        .execute(connection)
        .await?;
    }
    Ok(true)
}

/// Returns `false` if no decision is left.
async fn remove_decisions(connection: &mut PgConnection, id: RemovalId) -> Result<bool, StorageError> {
    scalar_of_record(id, "select remove_decisions($1, $2::text::date, $3)")
        .fetch_one(connection)
        .await
        .of_statement()
}

async fn remove_the_rest(connection: &mut PgConnection, id: RemovalId) -> Result<(), StorageError> {
    let RemovalId { tenant: TenantId(tenant), month, .. } = id;
    sqlx::query(
        "delete from shadow_runs where tenant_id = $1 and received_at_ms >= $2 and received_at_ms < $3",
    )
    .bind(tenant)
    .bind(bigint(month.start_ms()))
    .bind(bigint(month.next().start_ms()))
    .execute(&mut *connection)
    .await?;
    decision_counts::remove_month(connection, id.tenant, month).await?;
    sqlx::query("select forget_examples($1, $2, $3)")
        .bind(tenant)
        .bind(first_id(month))
        .bind(Uuid::from_u128(first_id(month.next()).as_u128() - 1))
        .execute(&mut *connection)
        .await?;
    let has_segments: bool = sqlx::query_scalar("select to_regclass('tollgate.search_segments') is not null")
        .fetch_one(&mut *connection)
        .await?;
    if has_segments {
        // A merge that is waited for leaves a segment that only a later statement sees.
        let left =
            "select exists (select from search_segments where tenant_id = $1 and month = $2::text::date)";
        while sqlx::query_scalar(left).bind(tenant).bind(first_day(month)).fetch_one(&mut *connection).await?
        {
            sqlx::query("delete from search_segments where tenant_id = $1 and month = $2::text::date")
                .bind(tenant)
                .bind(first_day(month))
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(())
}

async fn finish(
    connection: &mut PgConnection,
    id: RemovalId,
    actor: String,
    now_ms: u64,
) -> Result<(), StorageError> {
    let decisions: i64 = scalar_of_record(
        id,
        "update removals set state = 'removed'
         where tenant_id = $1 and month = $2::text::date and number = $3
         returning decisions",
    )
    .fetch_one(&mut *connection)
    .await?;
    let act = Act {
        at_ms: now_ms,
        actor: actor.into(),
        action: Action::DecisionsRemoved,
        subject: id.month.to_string(),
        before: None,
        after: Some(serde_json::json!({ "decisions": decisions, "record": id.number }).to_string()),
    };
    audit::record(connection, id.tenant, &act).await?;
    Ok(())
}

/// A statement about one record, with its key as the first three parameters.
fn of_record(id: RemovalId, statement: &'static str) -> Query<'static, Postgres, PgArguments> {
    sqlx::query(statement).bind(id.tenant.0).bind(first_day(id.month)).bind(id.number)
}

fn scalar_of_record<T>(
    id: RemovalId,
    statement: &'static str,
) -> QueryScalar<'static, Postgres, T, PgArguments>
where
    (T,): for<'r> FromRow<'r, PgRow>,
{
    sqlx::query_scalar(statement).bind(id.tenant.0).bind(first_day(id.month)).bind(id.number)
}

pub(super) fn first_day(month: Month) -> String {
    format!("{month}-01")
}

/// The lowest id of a month.
fn first_id(month: Month) -> Uuid {
    Uuid::from_u128(u128::from(month.start_ms()) << 80)
}

fn month_of(id: Uuid) -> Month {
    Month::of(id.as_u64_pair().0 >> 16)
}
