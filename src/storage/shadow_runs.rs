//! Shadow runs, and the stored form of their evidence. The bytes of a released version must not
//! change.

mod agreement;

use sqlx::postgres::PgRow;
use sqlx::{Postgres, QueryBuilder, Row};
use uuid::Uuid;

pub use agreement::{Agreement, DECISIONS_MAX, OutcomePairCount, RUNS_MAX, RuleVerdictCount, agreement};

use super::StorageError;
use super::columns::{bigint, ms, named};
use super::pool::{AppPool, SystemPool};
use crate::domain::money::{Currency, Money};
use crate::domain::payment::PaymentId;
use crate::domain::shadow::{ShadowEvidence, ShadowKind, ShadowRun};
use crate::domain::tenant::TenantId;
use crate::domain::verdict::{Outcome, RuleResult};

pub const PAYLOAD_VERSION: i16 = 1;

const WHAT: &str = "shadow run";
const UNREADABLE: StorageError = StorageError::Unreadable { what: WHAT };

/// A selection of runs.
#[derive(Debug, Clone, Copy)]
pub struct ShadowRunSelection {
    pub tenant: TenantId,
    pub kind: ShadowKind,
    pub revision: i32,
    pub from_ms: Option<u64>,
    /// Exclusive.
    pub to_ms: Option<u64>,
    /// Whether the shadow runs at present, so that current decisions count towards its coverage.
    pub is_running: bool,
}

/// Encodes as version 1: the domain's `ShadowEvidence` in postcard.
fn encode(evidence: &ShadowEvidence) -> Result<Vec<u8>, StorageError> {
    postcard::to_stdvec(evidence).map_err(|_| UNREADABLE)
}

/// Must never panic, whatever the bytes are.
fn decode(version: i16, payload: &[u8]) -> Result<ShadowEvidence, StorageError> {
    if version != PAYLOAD_VERSION {
        return Err(UNREADABLE);
    }
    match postcard::take_from_bytes(payload) {
        Ok((evidence, [])) => Ok(evidence),
        _ => Err(UNREADABLE),
    }
}

/// Inserts all runs in one statement. Runs that already exist stay as they are.
pub async fn insert(system: &SystemPool, runs: Vec<ShadowRun>) -> Result<(), StorageError> {
    let payloads = runs.iter().map(|run| encode(&run.evidence)).collect::<Result<Vec<_>, _>>()?;
    system.transaction(move |connection| {
        Box::pin(async move {
            // Arrays of arrays must be rectangular in Postgres. Names and verdicts contain no
            // comma, so each list is passed as a text.
            sqlx::query(
                "insert into shadow_runs (
                     tenant_id, kind, revision, payment_id, decided_revision, received_at_ms, decided, would_be,
                     amount_minor, currency, rules, verdicts, payload, payload_version)
                 select r.tenant_id, r.kind, r.revision, r.payment_id, r.decided_revision, r.received_at_ms,
                        r.decided, r.would_be, r.amount_minor, r.currency, string_to_array(r.rules, ','),
                        string_to_array(r.verdicts, ','), r.payload, $14
                 from unnest($1::uuid[], $2::text[], $3::int[], $4::uuid[], $5::int[], $6::bigint[], $7::text[],
                             $8::text[], $9::bigint[], $10::text[], $11::text[], $12::text[], $13::bytea[])
                      as r (tenant_id, kind, revision, payment_id, decided_revision, received_at_ms, decided,
                            would_be, amount_minor, currency, rules, verdicts, payload)
                 on conflict do nothing",
            )
            .bind(each(&runs, |run| run.tenant.0))
            .bind(each(&runs, |run| run.kind.name()))
            .bind(each(&runs, |run| run.revision))
            .bind(each(&runs, |run| run.payment.0))
            .bind(each(&runs, |run| run.decided_revision))
            .bind(each(&runs, |run| bigint(run.received_at_ms)))
            .bind(each(&runs, |run| run.decided.name()))
            .bind(each(&runs, |run| run.would_be.name()))
            .bind(each(&runs, |run| run.amount.minor()))
            .bind(each(&runs, |run| run.amount.currency().code().to_owned()))
            .bind(each(&runs, rule_names))
            .bind(each(&runs, verdicts))
            .bind(payloads)
            .bind(PAYLOAD_VERSION)
            .execute(connection)
            .await?;
            Ok(())
        })
    })
    .await
}

fn each<T>(runs: &[ShadowRun], column: impl Fn(&ShadowRun) -> T) -> Vec<T> {
    runs.iter().map(column).collect()
}

fn rule_names(run: &ShadowRun) -> String {
    run.evidence.rules.iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>().join(",")
}

fn verdicts(run: &ShadowRun) -> String {
    let word = |result: &Option<RuleResult>| result.as_ref().map_or("", RuleResult::name);
    run.evidence.rules.iter().map(|rule| word(&rule.result)).collect::<Vec<_>>().join(",")
}

/// Deletes at most `limit` runs of payments received before `than_ms`, and returns their number.
pub async fn delete_older(system: &SystemPool, than_ms: u64, limit: u32) -> Result<u64, StorageError> {
    system.transaction(move |connection| {
        Box::pin(async move {
            // Another node may delete the same rows meanwhile, which does no harm.
            let deleted = sqlx::query(
                "delete from shadow_runs
                 where ctid = any (array(
                     select ctid from shadow_runs where received_at_ms < $1 order by received_at_ms limit $2))",
            )
            .bind(bigint(than_ms))
            .bind(i64::from(limit))
            .execute(connection)
            .await?;
            Ok(deleted.rows_affected())
        })
    })
    .await
}

/// A filter of examples. Without outcomes, all runs in which the shadow's outcome is different.
#[derive(Debug, Clone, Copy)]
pub struct ExampleFilter {
    pub decided: Option<Outcome>,
    pub would_be: Option<Outcome>,
    pub before: Option<PaymentId>,
    pub limit: u32,
}

/// The newest first.
pub async fn examples(
    app: &AppPool,
    of: ShadowRunSelection,
    filter: ExampleFilter,
) -> Result<Vec<ShadowRun>, StorageError> {
    let mut query = examples_statement(of, filter);
    app.transaction(of.tenant, move |connection| {
        Box::pin(async move {
            let rows = query.build().persistent(false).fetch_all(connection).await?;
            rows.iter().map(|row| read(row, of)).collect()
        })
    })
    .await
}

fn examples_statement(of: ShadowRunSelection, filter: ExampleFilter) -> QueryBuilder<Postgres> {
    // The inner limit bounds how many rows are read if hardly any run matches.
    let mut query = QueryBuilder::new(
        "select payment_id, decided_revision, received_at_ms, decided, would_be, amount_minor, currency,
                payload_version, payload
         from (select * from shadow_runs
               where tenant_id = ",
    );
    query.push_bind(of.tenant.0);
    query.push(" and kind = ").push_bind(of.kind.name());
    query.push(" and revision = ").push_bind(of.revision);
    query.push(" and payment_id >= ").push_bind(first_id(of.from_ms));
    query.push(" and payment_id < ").push_bind(filter.before.map_or(end_id(of.to_ms), |before| before.0));
    if filter.decided != filter.would_be || filter.decided.is_none() {
        // Must be written exactly as the condition of the index.
        query.push(" and decided <> would_be");
    }
    query.push(" order by payment_id desc limit ").push_bind(i64::from(RUNS_MAX));
    query.push(") newest where true");
    if let Some(decided) = filter.decided {
        query.push(" and decided = ").push_bind(decided.name());
    }
    if let Some(would_be) = filter.would_be {
        query.push(" and would_be = ").push_bind(would_be.name());
    }
    query.push(" order by payment_id desc limit ").push_bind(i64::from(filter.limit));
    query
}

/// The lowest id of a time. A UUIDv7 begins with its time in milliseconds, as 48 bits.
pub(super) fn first_id(from_ms: Option<u64>) -> Uuid {
    Uuid::from_u128(u128::from(from_ms.unwrap_or(0)) << 80)
}

fn end_id(to_ms: Option<u64>) -> Uuid {
    to_ms.map_or(Uuid::max(), |to_ms| first_id(Some(to_ms)))
}

fn read(row: &PgRow, of: ShadowRunSelection) -> Result<ShadowRun, StorageError> {
    let currency = Currency::parse(row.try_get("currency")?).ok();
    let amount = Money::new(row.try_get("amount_minor")?, named(currency, WHAT)?);
    Ok(ShadowRun {
        tenant: of.tenant,
        kind: of.kind,
        revision: of.revision,
        payment: PaymentId(row.try_get("payment_id")?),
        decided_revision: row.try_get("decided_revision")?,
        received_at_ms: ms(row.try_get("received_at_ms")?, WHAT)?,
        decided: named(Outcome::parse(row.try_get("decided")?), WHAT)?,
        would_be: named(Outcome::parse(row.try_get("would_be")?), WHAT)?,
        amount: named(amount.ok(), WHAT)?,
        evidence: decode(row.try_get("payload_version")?, row.try_get("payload")?)?,
    })
}

#[cfg(test)]
mod tests;
