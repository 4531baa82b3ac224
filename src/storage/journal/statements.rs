//! The SQL of the journal.
//!
//! Rows are passed as arrays, one per column, so that a statement has the same text for every
//! batch and is prepared once.

use std::collections::HashSet;
use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use uuid::Uuid;

use super::batch::StoredByPlace;
use super::chain::ChainLink;
use super::row::PreparedDecision;
use crate::domain::payment::PaymentId;
use crate::domain::tenant::TenantId;
use crate::domain::verdict::Outcome;
use crate::storage::columns::bigint;
use crate::storage::decisions;
use crate::storage::series::{AggregateRow, KnownSeries, LATE, method_number, outcome_number};
use crate::storage::session::Sessions;
use crate::storage::values::day_of;

/// The time limit for one attempt. It bounds how long a writer waits for a server that does not
/// respond, and how long the server works on a statement that the writer has given up.
pub(super) const ATTEMPT_MAX: Duration = Duration::from_secs(5);

const UNDEFINED_TABLE: &str = "42P01";

/// Settings of a writer's sessions. A node that hangs inside a transaction must not keep keys
/// locked. A statement must not commit after the writer has given it up. A commit must be on
/// disk, whatever the server's setting is.
pub(super) fn for_writing(sessions: Sessions) -> Sessions {
    sessions
        .with("idle_in_transaction_session_timeout", "10s")
        .with("statement_timeout", &ATTEMPT_MAX.as_millis().to_string())
        .with_statement(
            "select set_config('synchronous_commit', 'on', false)
             where current_setting('synchronous_commit') = 'off'",
        )
}

/// A writer registers again on each new connection.
pub(super) async fn register_writer(
    connection: &mut PgConnection,
    writer: Uuid,
    node: &str,
    now_ms: u64,
) -> sqlx::Result<()> {
    sqlx::query(
        "insert into journal_writers (id, node, started_at_ms)
         values ($1, $2, $3)
         on conflict (id) do nothing",
    )
    .bind(writer)
    .bind(node)
    .bind(bigint(now_ms))
    .execute(connection)
    .await?;
    Ok(())
}

/// A connection, and the tenants whose rows it may write.
#[derive(Debug)]
pub(super) struct JournalSession {
    pub connection: PgConnection,
    tenants: Vec<TenantId>,
}

impl JournalSession {
    pub fn new(connection: PgConnection) -> Self {
        Self { connection, tenants: Vec::new() }
    }

    /// Allows access to the rows of the batch's tenants, and no others. Takes a round trip only if
    /// the previous batch had other tenants.
    pub async fn open_for(&mut self, rows: &[&PreparedDecision]) -> sqlx::Result<()> {
        // The rows are sorted by tenant.
        let mut tenants: Vec<_> = rows.iter().map(|row| row.decision.tenant).collect();
        tenants.dedup();
        if self.tenants == tenants {
            return Ok(());
        }
        self.tenants.clear();
        // The text is safe: it contains only UUIDs.
        let names: Vec<String> = tenants.iter().map(ToString::to_string).collect();
        let opening = format!("set app.tenants = '{}'", names.join(","));
        sqlx::raw_sql(AssertSqlSafe(opening)).execute(&mut self.connection).await?;
        self.tenants = tenants;
        Ok(())
    }
}

pub(super) async fn begin(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::raw_sql("begin").execute(connection).await?;
    Ok(())
}

/// Begins a transaction that will be rolled back, with a short limit for waiting on locks.
pub(super) async fn begin_trial(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::raw_sql("begin; set local lock_timeout = 200").execute(connection).await?;
    Ok(())
}

/// Binds the keys that are free, and returns the decisions to which they are bound now. Waits for
/// other transactions that hold one of the keys.
pub(super) async fn claim(
    connection: &mut PgConnection,
    rows: &[&PreparedDecision],
    now_ms: u64,
) -> sqlx::Result<HashSet<PaymentId>> {
    let won: Vec<Uuid> = sqlx::query_scalar(
        "insert into idempotency_keys (tenant_id, client_id, key, request_hash, decision_id, created_at_ms)
         select claimed.*, $6
         from unnest($1::uuid[], $2::uuid[], $3::text[], $4::bytea[], $5::uuid[]) as claimed
         on conflict (tenant_id, client_id, key) do nothing
         returning decision_id",
    )
    .bind(each(rows, |row| row.decision.tenant.0))
    .bind(each(rows, |row| row.decision.client.0))
    .bind(each(rows, |row| row.decision.key.as_str()))
    .bind(each(rows, |row| row.decision.request_hash.0))
    .bind(each(rows, |row| row.decision.id().0))
    .bind(bigint(now_ms))
    .fetch_all(connection)
    .await?;
    Ok(won.into_iter().map(PaymentId).collect())
}

/// The decisions to which other transactions bound the remaining keys. Must be a separate
/// statement: the snapshot of `claim` may be older than those transactions.
pub(super) async fn bound(
    connection: &mut PgConnection,
    rows: &[&PreparedDecision],
    winners: &HashSet<PaymentId>,
) -> sqlx::Result<StoredByPlace> {
    let losers: Vec<(i32, &PreparedDecision)> =
        (0..).zip(rows.iter().copied()).filter(|(_, row)| !winners.contains(&row.decision.id())).collect();
    let found = sqlx::query(
        "select lost.place, d.tenant_id, d.client_id, d.idempotency_key, d.request_hash, d.origin, d.outcome,
                d.payload_version, d.payload, d.writer_id, d.batch_sequence, d.batch_position
         from unnest($1::int[], $2::uuid[], $3::uuid[], $4::text[]) as lost (place, tenant_id, client_id, key)
         join idempotency_keys k using (tenant_id, client_id, key)
         join decisions d on d.tenant_id = k.tenant_id and d.id = k.decision_id",
    )
    .bind(each(&losers, |(place, _)| *place))
    .bind(each(&losers, |(_, row)| row.decision.tenant.0))
    .bind(each(&losers, |(_, row)| row.decision.client.0))
    .bind(each(&losers, |(_, row)| row.decision.key.as_str()))
    .fetch_all(connection)
    .await?;
    found
        .iter()
        .map(|row| {
            let place: i32 = row.try_get("place")?;
            Ok((usize::try_from(place).unwrap_or(usize::MAX), decisions::read(row)))
        })
        .collect()
}

/// The insert statement, with or without binding the keys, with or without the values for nodes of
/// the release before, and with or without reviews: a part that has nothing to do costs time, too.
macro_rules! insert_statement {
    ($claimed:expr, $valued:expr, $queued:expr) => {
        concat!("with ", $claimed, " decided as (
        insert into decisions (
            tenant_id, id, client_id, idempotency_key, request_hash, origin, outcome, received_at_ms,
            revision, reference, amount_minor, currency, method,
            payload, payload_salt, payload_digest, digest,
            batch_position, payload_version, writer_id, batch_sequence)
        select d.tenant_id, d.id, d.client_id, d.key, d.request_hash, d.origin, d.outcome, d.received_at_ms,
               d.revision, d.reference, d.amount_minor, d.currency, d.method,
               d.payload, d.payload_salt, d.payload_digest, d.digest,
               (d.place - 1)::int, d.payload_version, $19, $20
        from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::bytea[], $6::text[], $7::text[],
                    $8::bigint[], $9::int[], $10::text[], $11::bigint[], $12::text[], $13::text[],
                    $14::bytea[], $15::bytea[], $16::bytea[], $17::bytea[], $18::smallint[])
             with ordinality
             as d (tenant_id, id, client_id, key, request_hash, origin, outcome, received_at_ms,
                   revision, reference, amount_minor, currency, method,
                   payload, payload_salt, payload_digest, digest, payload_version, place)
    ), ", $valued, $queued, " aggregated as (
        insert into aggregate_values (
            tenant_id, value_key, received_day, received_at_ms, payment_id, amount_minor,
            method, outcome, distinct_key, by_day)
        -- Values repeat columns of their decision, which are looked up by its place.
        select ($1)[a.place], a.value_key, a.day, ($8)[a.place], ($2)[a.place], a.amount_minor,
               ($29::smallint[])[a.place], ($30::smallint[])[a.place], a.distinct_key,
               a.by_day
        from unnest($25::uuid[], $26::int[], $27::int[], $28::bigint[], $31::bigint[], $34::boolean[])
             as a (value_key, place, day, amount_minor, distinct_key, by_day)
    )
    insert into journal_batches (writer_id, sequence, previous_hash, decision_digests, hash, committed_at_ms,
                                 series_sequence, decision_ids)
    select $19, $20, $21, $22, $23, $24, $32, $33
    where admit_batch($32)")
    };
}

macro_rules! claimed {
    () => {
        "claimed as (
        insert into idempotency_keys (tenant_id, client_id, key, request_hash, decision_id, created_at_ms)
        select c.*, $24
        from unnest($1::uuid[], $3::uuid[], $4::text[], $5::bytea[], $2::uuid[]) as c
    ),"
    };
}

macro_rules! valued {
    () => {
        "valued as (
        insert into payment_values (
            tenant_id, value_key, received_at_ms, payment_id, amount_minor, currency, approved)
        select ($1)[v.place], v.value_key, ($8)[v.place], ($2)[v.place], ($11)[v.place],
               ($38::text[])[($37::int[])[v.place]], ($39::boolean[])[v.place]
        from unnest($35::uuid[], $36::int[]) as v (value_key, place)
    ),"
    };
}

/// Opens the reviews of the batch, which are therefore stored if and only if their decisions are.
macro_rules! queued {
    () => {
        "queued as (
        insert into reviews (tenant_id, id, payment_id, opened_at_ms, amount_minor, currency)
        select q.tenant_id, q.id, q.id, q.received_at_ms, q.amount_minor, q.currency
        from unnest($1::uuid[], $2::uuid[], $6::text[], $7::text[], $8::bigint[], $11::bigint[], $12::text[])
             as q (tenant_id, id, origin, outcome, received_at_ms, amount_minor, currency)
        where q.outcome = 'review' and q.origin = 'api'
    ),"
    };
}

/// For keys that `claim` has bound.
const INSERT: &str = insert_statement!("", "", "");
const INSERT_WITH_VALUES: &str = insert_statement!("", valued!(), "");
const INSERT_WITH_REVIEWS: &str = insert_statement!("", "", queued!());
const INSERT_WITH_VALUES_AND_REVIEWS: &str = insert_statement!("", valued!(), queued!());

/// Also binds the keys. If one is already bound, nothing is stored. A single statement is its
/// own transaction, so the batch is durable after one round trip.
const CLAIM_AND_INSERT: &str = insert_statement!(claimed!(), "", "");
const CLAIM_AND_INSERT_WITH_VALUES: &str = insert_statement!(claimed!(), valued!(), "");
const CLAIM_AND_INSERT_WITH_REVIEWS: &str = insert_statement!(claimed!(), "", queued!());
const CLAIM_AND_INSERT_WITH_VALUES_AND_REVIEWS: &str = insert_statement!(claimed!(), valued!(), queued!());

/// Whether an insert also has to claim the keys of its batch.
#[derive(Debug, Clone, Copy)]
pub(super) enum InsertMode {
    KeysClaimed,
    /// Claims the keys and commits by itself.
    ClaimKeys,
}

fn statement_for(keys: InsertMode, writes_values: bool, opens_reviews: bool) -> &'static str {
    match (keys, writes_values, opens_reviews) {
        (InsertMode::KeysClaimed, false, false) => INSERT,
        (InsertMode::KeysClaimed, true, false) => INSERT_WITH_VALUES,
        (InsertMode::KeysClaimed, false, true) => INSERT_WITH_REVIEWS,
        (InsertMode::KeysClaimed, true, true) => INSERT_WITH_VALUES_AND_REVIEWS,
        (InsertMode::ClaimKeys, false, false) => CLAIM_AND_INSERT,
        (InsertMode::ClaimKeys, true, false) => CLAIM_AND_INSERT_WITH_VALUES,
        (InsertMode::ClaimKeys, false, true) => CLAIM_AND_INSERT_WITH_REVIEWS,
        (InsertMode::ClaimKeys, true, true) => CLAIM_AND_INSERT_WITH_VALUES_AND_REVIEWS,
    }
}

/// Inserts the decisions, the values by which they are counted, the reviews that they open, and the
/// batch.
pub(super) async fn insert(
    connection: &mut PgConnection,
    rows: &[&PreparedDecision],
    link: &ChainLink,
    now_ms: u64,
    known: &KnownSeries,
    keys: InsertMode,
) -> sqlx::Result<()> {
    let aggregates = aggregates(rows, known.sealed_day);
    let opens_reviews = rows.iter().any(|row| row.waits_for_person());
    let mut query = sqlx::query(statement_for(keys, known.writes_values, opens_reviews))
        .bind(each(rows, |row| row.decision.tenant.0))
        .bind(each(rows, |row| row.decision.id().0))
        .bind(each(rows, |row| row.decision.client.0))
        .bind(each(rows, |row| row.decision.key.as_str()))
        .bind(each(rows, |row| row.decision.request_hash.0))
        .bind(each(rows, |row| row.decision.origin.name()))
        .bind(each(rows, |row| row.decision.outcome.name()))
        .bind(each(rows, |row| bigint(row.received_at_ms())))
        .bind(each(rows, |row| row.decision.evidence.revision.map(|revision| revision.number)))
        .bind(each(rows, |row| row.order().reference.as_str()))
        .bind(each(rows, |row| row.order().amount.minor()))
        .bind(each(rows, |row| row.currency()))
        .bind(each(rows, |row| row.order().method.name()))
        .bind(each(rows, |row| row.payload.as_slice()))
        .bind(each(rows, |row| row.salt))
        .bind(each(rows, |row| row.payload_digest.0))
        .bind(each(rows, |row| row.digest.0))
        .bind(each(rows, |row| row.payload_version))
        .bind(link.writer)
        .bind(link.sequence)
        .bind(link.previous.0)
        .bind(link.lists.digests.as_slice())
        .bind(link.hash.0)
        .bind(bigint(now_ms))
        .bind(each(&aggregates, |(_, row, _)| row.value_key))
        .bind(each(&aggregates, |(_, _, place)| *place))
        .bind(each(&aggregates, |(day, _, _)| *day))
        .bind(each(&aggregates, |(_, row, _)| row.amount_minor))
        .bind(each(rows, |row| method_number(row.order().method)))
        .bind(each(rows, |row| outcome_number(row.decision.outcome)))
        .bind(each(&aggregates, |(_, row, _)| row.distinct_key))
        .bind(known.sequence)
        .bind(link.lists.ids.as_slice())
        .bind(each(&aggregates, |(_, row, _)| row.by_day));
    if known.writes_values {
        let valued = valued(rows);
        let (currencies, currency_numbers) = currencies(rows);
        query = query
            .bind(each(&valued, |(_, key, _)| *key))
            .bind(each(&valued, |(_, _, place)| *place))
            .bind(currency_numbers)
            .bind(currencies)
            .bind(each(rows, |row| row.decision.outcome == Outcome::Approve));
    }
    query.execute(connection).await?;
    Ok(())
}

/// The values in the order of their index, each with its day and the place of its decision from 1.
fn valued(rows: &[&PreparedDecision]) -> Vec<(i32, Uuid, i32)> {
    let valued = (1..).zip(rows).flat_map(|(place, row)| {
        let day = day_of(bigint(row.received_at_ms()));
        row.value_keys.iter().map(move |key| (day, *key, place))
    });
    let mut valued: Vec<_> = valued.collect();
    valued.sort_unstable_by_key(|(day, key, _)| (*day, *key));
    valued
}

/// The rows of all aggregates in the order of their index, each with its day and the place of its
/// decision from 1. What is rolled up by days must not be stored under a day that is sealed.
fn aggregates(rows: &[&PreparedDecision], sealed_day: i32) -> Vec<(i32, AggregateRow, i32)> {
    let all = (1..).zip(rows).flat_map(|(place, row)| {
        let day = day_of(bigint(row.received_at_ms()));
        row.aggregates.iter().map(move |aggregate| {
            let is_late = aggregate.by_day && day <= sealed_day;
            (if is_late { LATE } else { day }, *aggregate, place)
        })
    });
    let mut all: Vec<_> = all.collect();
    all.sort_unstable_by_key(|(day, aggregate, _)| (*day, aggregate.value_key));
    all
}

/// Whether the database has series that the writer does not know, or no longer has the table of
/// values.
pub(super) fn is_outdated(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(database) = error else { return false };
    matches!(database.code().as_deref(), Some("TG001" | UNDEFINED_TABLE))
}

pub(super) async fn commit(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::raw_sql("commit").execute(connection).await?;
    Ok(())
}

pub(super) async fn roll_back(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::raw_sql("rollback").execute(connection).await?;
    Ok(())
}

/// Whether a batch whose commit got no response is stored. A transaction may still be writing this
/// position in the chain. Inserting the position again waits for it, which a `select` would not do.
/// The insert conflicts if that transaction committed, and the hash shows whether it was this
/// batch.
///
/// An earlier statement that has not reached its position yet may still run later. It cannot
/// duplicate anything, since keys and positions are unique.
pub(super) async fn is_committed(connection: &mut PgConnection, link: &ChainLink) -> sqlx::Result<bool> {
    begin(connection).await?;
    let inserted = sqlx::query(
        "insert into journal_batches (writer_id, sequence, previous_hash, decision_digests, hash, committed_at_ms,
                                      decision_ids)
         values ($1, $2, $3, $4, $5, 0, $6)
         on conflict (writer_id, sequence) do nothing",
    )
    .bind(link.writer)
    .bind(link.sequence)
    .bind(link.previous.0)
    .bind(link.lists.digests.as_slice())
    .bind(link.hash.0)
    .bind(link.lists.ids.as_slice())
    .execute(&mut *connection)
    .await?;
    let committed = match inserted.rows_affected() {
        0 => is_stored(connection, link).await?,
        _ => false,
    };
    roll_back(connection).await?;
    Ok(committed)
}

async fn is_stored(connection: &mut PgConnection, link: &ChainLink) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "select exists (select from journal_batches where writer_id = $1 and sequence = $2 and hash = $3)",
    )
    .bind(link.writer)
    .bind(link.sequence)
    .bind(link.hash.0)
    .fetch_one(connection)
    .await
}

/// Each currency once, and for each row the number of its currency, from 1. Repeating the texts
/// would be slow: Postgres finds an element of a text array by scanning from its beginning.
fn currencies<'r>(rows: &[&'r PreparedDecision]) -> (Vec<&'r str>, Vec<i32>) {
    let mut known: Vec<&str> = Vec::new();
    let numbers = rows.iter().map(|row| {
        let place = known.iter().position(|code| *code == row.currency()).unwrap_or_else(|| {
            known.push(row.currency());
            known.len() - 1
        });
        i32::try_from(place + 1).unwrap_or(i32::MAX)
    });
    let numbers = numbers.collect();
    (known, numbers)
}

fn each<R, T>(rows: &[R], column: impl Fn(&R) -> T) -> Vec<T> {
    rows.iter().map(column).collect()
}
