//! Looks up facts: the answers to the queries of a ruleset about a payment.
//!
//! One statement answers all queries and finds the idempotency key, for any number of payments, each
//! as of its own time. Of similar names it only finds the version of the list: `reference` completes
//! them, and looks up tables by itself. The caller counts the payments in flight on this node, so they are left out
//! here.

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::StorageError;
use super::columns::digest;
use super::pool::{AppPool, SystemPool};
use super::time_limit::TimeLimit;
use crate::domain::aggregate::AggregateTally;
use crate::domain::decision::IdempotencyKey;
use crate::domain::payment::{Payment, PaymentId};
use crate::domain::plugin::Digest;
use crate::domain::selector::{Fact, FactQuery};
use crate::domain::tenant::{ClientId, TenantId};

pub use reader::{FactReader, SEPARATE_CONNECTIONS, SHARED_CONNECTIONS};

use aggregates::tally_of;
use columns::{Days, FactColumns};
use versions::VERSION;

mod aggregates;
mod columns;
mod reader;
mod versions;

const WHAT: &str = "fact";

/// With the defaults, Postgres would read whole tables while it has no statistics, and would spend
/// time on compiling a statement that looks expensive.
const SETTINGS: &str = "set local enable_seqscan = off; set local jit = off";

/// A statement with this many texts gets no further requests. Postgres finds a slice by scanning
/// its array, so twice as many texts take four times as long.
const TEXTS_MAX: usize = 2_048;

/// The payments in flight on this node that have one value. The caller adds them to the stored count,
/// so they are excluded from it. Then it does not matter whether one of them commits meanwhile.
#[derive(Debug, Clone)]
pub struct InFlightValue {
    /// As `series::aggregate_key` computes it.
    pub value_key: Uuid,
    pub payments: Vec<PaymentId>,
}

#[derive(Debug, Clone)]
pub struct FactRequest {
    pub tenant: TenantId,
    /// Facts are looked up as of the time it was received.
    pub payment: Arc<Payment>,
    pub queries: Arc<[FactQuery]>,
    pub in_flight: Vec<InFlightValue>,
    /// Looked up in the same round trip.
    pub key: Option<(ClientId, IdempotencyKey)>,
}

impl FactRequest {
    /// The answer, if all queries are answered from memory alone.
    fn without_lookup(&self) -> Option<FactAnswer> {
        let needs_none = self.queries.iter().all(|query| matches!(query, FactQuery::Table { .. }));
        needs_none.then(|| {
            let facts = FactColumns::default().add(0, self);
            FactAnswer::before_lookup(self, facts)
        })
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FactAnswer {
    /// One for each query, in order. Velocities and aggregates include payments in flight only after
    /// `add_in_flight`.
    pub facts: Vec<Fact>,
    /// The velocities and aggregates by the places of their queries, so that payments in flight can be
    /// added.
    tallies: BTreeMap<usize, AggregateTally>,
    /// For the queries about similar names, the version of their list. None if there is no such list.
    versions: BTreeMap<usize, i64>,
    /// The decision to which the key is already bound.
    pub bound: Option<BoundKey>,
}

impl FactAnswer {
    fn before_lookup(request: &FactRequest, facts: Vec<Fact>) -> Self {
        let asked = request.queries.iter().zip(&facts).enumerate();
        let tallies = asked.filter_map(|(place, (query, fact))| {
            let counts_distinct = query.counted()?.distinct.is_some();
            (*fact != Fact::Absent).then(|| (place, AggregateTally::new(counts_distinct)))
        });
        Self { tallies: tallies.collect(), facts, ..Self::default() }
    }

    /// Adds payments in flight to the velocity or the aggregate at this place, before `conclude`.
    pub fn add_in_flight(&mut self, place: usize, ahead: &AggregateTally) {
        if let Some(tally) = self.tallies.get_mut(&place) {
            tally.add(ahead.clone());
        }
    }

    pub(super) fn version(&self, place: usize) -> Option<i64> {
        self.versions.get(&place).copied()
    }

    pub(super) fn set(&mut self, place: usize, fact: Fact) {
        if let Some(own) = self.facts.get_mut(place) {
            *own = fact;
        }
    }

    /// Makes the facts of the velocities and aggregates.
    pub fn conclude(&mut self) {
        for (place, tally) in &self.tallies {
            match self.facts.get_mut(*place) {
                Some(Fact::Velocity { count, total_minor }) => {
                    *count = tally.count;
                    *total_minor = i64::try_from(tally.total).unwrap_or(i64::MAX);
                }
                Some(fact) => *fact = Fact::Aggregate(Box::new(tally.clone().into_fact())),
                None => {}
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoundKey {
    pub decision: PaymentId,
    pub request_hash: Digest,
}

/// Answers all queries of one payment, from one snapshot of the database. Sends no statement if
/// none is needed.
pub async fn look_up(app: &AppPool, request: FactRequest) -> Result<FactAnswer, StorageError> {
    let tenant = request.tenant;
    let (statements, mut answers) = prepare(std::iter::once(&request));
    if !statements.is_empty() {
        answers = app
            .transaction(tenant, move |connection| {
                Box::pin(async move {
                    sqlx::raw_sql(SETTINGS).execute(&mut *connection).await?;
                    ask_all(connection, statements, answers).await
                })
            })
            .await?;
    }
    Ok(answers.pop().unwrap_or_default())
}

/// Looks up the facts of many payments, for background work. Returns an answer for each request, in
/// order.
pub async fn look_up_many(
    system: &SystemPool,
    requests: Vec<FactRequest>,
) -> Result<Vec<FactAnswer>, StorageError> {
    let (statements, answers) = prepare(requests.iter());
    if statements.is_empty() {
        return Ok(answers);
    }
    system
        .transaction_within(TimeLimit::PAGE, move |connection| {
            Box::pin(async move {
                sqlx::raw_sql(SETTINGS).execute(&mut *connection).await?;
                ask_all(connection, statements, answers).await
            })
        })
        .await
}

/// The statements for the requests, and the answers as far as they are known without a lookup.
fn prepare<'r>(requests: impl Iterator<Item = &'r FactRequest>) -> (Vec<FactColumns>, Vec<FactAnswer>) {
    let (mut statements, mut answers) = (vec![FactColumns::default()], Vec::new());
    for (place, request) in requests.enumerate() {
        if statements.last().is_some_and(|columns| columns.texts.len() >= TEXTS_MAX) {
            statements.push(FactColumns::default());
        }
        let facts = statements.last_mut().map(|columns| columns.add(place, request));
        answers.push(FactAnswer::before_lookup(request, facts.unwrap_or_default()));
    }
    statements.retain(|columns| !columns.is_empty());
    (statements, answers)
}

async fn ask_all(
    connection: &mut PgConnection,
    statements: Vec<FactColumns>,
    mut answers: Vec<FactAnswer>,
) -> Result<Vec<FactAnswer>, StorageError> {
    for columns in statements {
        for row in ask(connection, columns).await? {
            add_row(&mut answers, &row)?;
        }
    }
    answers.iter_mut().for_each(FactAnswer::conclude);
    Ok(answers)
}

/// The queries for velocities and aggregates that fulfil a condition. A query whose series is rolled
/// up is split at the last day that is rolled up (`rolled`): `days` are those whose payments are read
/// one by one. One statement has one snapshot, so the days and the roll-ups of it fit together.
///
/// Each `offset 0` keeps Postgres from computing the columns again for each payment.
macro_rules! aggregate_query {
    ($condition:expr) => {
        concat!(
            "(select a.*, case when a.rolled >= a.whole_from
                           then ($32::int[])[a.first_day : a.first_day + a.whole_from - a.day - 1]
                                || ($32::int[])[a.first_day + a.rolled + 1 - a.day : a.last_day]
                           else ($32::int[])[a.first_day:a.last_day] end || 0 as days
              from (select ($16::int[])[i] as place, ($17::int[])[i] as ordinal, ($18::uuid[])[i] as tenant_id,
                           ($19::bigint[])[i] as at_ms, ($20::uuid[])[i] as payment_id,
                           ($21::uuid[])[i] as value_key, ($22::bigint[])[i] as after_ms,
                           ($23::int[])[i] as first, ($24::int[])[i] as last,
                           ($25::bigint[])[i] as amount_at_least, ($26::bigint[])[i] as amount_below,
                           ($27::int[])[i] as methods, ($28::int[])[i] as outcomes, $5[($29::int[])[i]] as event,
                           ($30::int[])[i] as distinct_max, ($33::int[])[i] as first_day,
                           ($34::int[])[i] as last_day, ($41::int[])[i] as whole_from,
                           ($32::int[])[($33::int[])[i]] as day,
                           case when ($40::uuid[])[i] is not null then (
                               select least(l.rolled_day, ($32::int[])[($34::int[])[i]] - 1)
                               from value_series_log l
                               where l.is_only and exists (
                                   select from value_series s
                                   where s.tenant_id = ($18::uuid[])[i] and s.digest = ($40::uuid[])[i]
                                     and s.is_rolled))
                           end as rolled
                    from generate_series(1, cardinality($16)) as i
                    where ",
            $condition,
            " offset 0) a offset 0) q"
        )
    };
}

/// The roll-ups that the query `q` counts: whole days, whole blocks of 32 days, and whole days.
macro_rules! rolled_up {
    () => {
        "(select b.first, b.last, b.first <= b.last as has_blocks
          from (select (q.whole_from + 31) >> 5 as first, ((q.rolled + 1) >> 5) - 1 as last) b) blocks
         cross join lateral (values
             (q.whole_from, case when blocks.has_blocks then blocks.first * 32 - 1 else q.rolled end),
             (-1 - blocks.last, -1 - blocks.first),
             (case when blocks.has_blocks then blocks.last * 32 + 32 else q.rolled + 1 end, q.rolled)
         ) as part (low, high)
         cross join lateral (
             select a.* from aggregate_days a
             where a.value_key = q.value_key and a.period between part.low and part.high offset 0
         ) d
         where q.rolled >= q.whole_from and d.tenant_id = q.tenant_id
           and (q.methods >> d.method) & 1 = 1 and (q.outcomes >> d.outcome) & 1 = 1"
    };
}

/// Whether the payment of the value `v` counts for the query `q`. The payments of sealed days that
/// came late are stored under another day, until they are rolled up.
macro_rules! counted_by_aggregate {
    () => {
        "v.received_day = any (q.days) and v.value_key = q.value_key
         and v.received_at_ms > q.after_ms and v.received_at_ms <= q.at_ms
         and (v.received_at_ms < q.at_ms or v.payment_id < q.payment_id)
         and v.tenant_id = q.tenant_id and v.payment_id <> q.payment_id
         and v.payment_id <> all (($10::uuid[])[q.first:q.last])
         and (q.amount_at_least is null or v.amount_minor >= q.amount_at_least)
         and (q.amount_below is null or v.amount_minor < q.amount_below)
         and (q.methods >> v.method) & 1 = 1 and (q.outcomes >> v.outcome) & 1 = 1
         and (q.event is null or exists (
             select from payment_events e
             where e.tenant_id = v.tenant_id and e.payment_id = v.payment_id and e.kind = q.event
               and e.recorded_at_ms < q.at_ms))"
    };
}

/// Returns rows with the same columns for lists, for keys, for velocities, for aggregates, and for
/// the first and the last payment of aggregates (`seen`). `place` is the index of the payment, and `ordinal` the index of the query that the row answers;
/// it is null for the key. The texts of a query are a slice of one array, since arrays of arrays
/// must be rectangular.
///
/// The arrays are read by subscript: with `unnest`, Postgres would materialise each column, which
/// took as long as the lookups. Postgres finds a text by scanning its array, so repeated texts are
/// in `$5` once, and are referred to by number.
///
/// The index of values begins with the day, so each window has its days; long windows have roll-ups.
const STATEMENT: &str = concat!(
    "
    select q.place, q.ordinal,
           exists (select from list_entries e
                   where not q.by_name and e.tenant_id = q.tenant_id and e.list = q.list
                     and e.comparable = any (($9::text[])[q.first:q.last])
                     and e.valid_from_ms <= q.at_ms and (e.valid_to_ms is null or e.valid_to_ms > q.at_ms))
           or exists (select from list_entries e
                   where q.by_name and e.tenant_id = q.tenant_id and e.list = q.list
                     and e.normalized_name = any (($9::text[])[q.first:q.last])
                     and e.valid_from_ms <= q.at_ms
                     and (e.valid_to_ms is null or e.valid_to_ms > q.at_ms)) as listed,
           null::bigint as count, null::bigint as total_minor,
           null::uuid as decision_id, null::bytea as request_hash, null::smallint as seen,
           null::text as total, null::text as squares, null::bigint as minimum, null::bigint as maximum,
           null::bigint as unconverted, null::bigint[] as distinct_keys, null::text as currency,
           null::text as outcome, null::smallint as payload_version, null::bytea as payload
    from (select ($1::int[])[i] as place, ($2::int[])[i] as ordinal, ($3::uuid[])[i] as tenant_id,
                 ($4::bigint[])[i] as at_ms, ($5::text[])[($11::int[])[i]] as list,
                 ($6::boolean[])[i] as by_name, ($7::int[])[i] as first, ($8::int[])[i] as last
          from generate_series(1, cardinality($1)) as i) q
    union all
    select q.place, null, null, null, null, bound.decision_id, bound.request_hash,
           null, null, null, null, null, null, null, null, null, null, null
    from (select ($12::int[])[i] as place, ($13::uuid[])[i] as tenant_id, ($14::uuid[])[i] as client_id,
                 ($15::text[])[i] as key
          from generate_series(1, cardinality($12)) as i) q
    -- The limit forces a lookup for each key: a join that was planned while the table was empty
    -- would later scan all of it.
    cross join lateral (
        select k.decision_id, k.request_hash from idempotency_keys k
        where k.tenant_id = q.tenant_id and k.client_id = q.client_id and k.key = q.key
        limit 1
    ) bound
    union all
    -- Velocities: what costs more than a count and a sum is left out.
    select q.place, q.ordinal, null, counted.count, null, null, null, null,
           counted.total, '0', null, null, 0, null, null, null, null, null
    from ",
    aggregate_query!("($39::boolean[])[i]"),
    "
    cross join lateral (
        select count(*) as count, coalesce(sum(v.amount_minor), 0)::text as total
        from aggregate_values v where ",
    counted_by_aggregate!(),
    ") counted
    union all
    select q.place, q.ordinal, null, counted.count, null, null, null, null,
           counted.total, counted.squares, counted.minimum, counted.maximum, counted.unconverted,
           case when q.distinct_max > 0 then coalesce(others.keys, '{}') end, null, null, null, null
    from ",
    aggregate_query!("not ($39::boolean[])[i]"),
    "
    cross join lateral (
        select count(*) as count, coalesce(sum(v.amount_minor), 0)::text as total,
               coalesce(sum(v.amount_minor::numeric * v.amount_minor), 0)::text as squares,
               min(v.amount_minor) as minimum, max(v.amount_minor) as maximum,
               count(*) filter (where v.amount_minor is null) as unconverted
        from aggregate_values v where ",
    counted_by_aggregate!(),
    ") counted
    left join lateral (
        select array_agg(other.distinct_key) as keys
        from (select distinct v.distinct_key from aggregate_values v
              where v.distinct_key is not null and ",
    counted_by_aggregate!(),
    " limit q.distinct_max) other
    ) others on q.distinct_max > 0
    union all
    select q.place, q.ordinal, null, counted.count, null, null, null, null,
           counted.total, counted.squares, counted.minimum, counted.maximum, counted.unconverted,
           case when q.distinct_max > 0 then coalesce(others.keys, '{}') end, null, null, null, null
    from ",
    aggregate_query!("($40::uuid[])[i] is not null"),
    "
    cross join lateral (
        select coalesce(sum(d.payments), 0)::bigint as count, coalesce(sum(d.total), 0)::text as total,
               coalesce(sum(d.squares), 0)::text as squares, min(d.minimum) as minimum,
               max(d.maximum) as maximum, coalesce(sum(d.unconverted), 0)::bigint as unconverted
        from ",
    rolled_up!(),
    ") counted
    left join lateral (
        select array_agg(other.distinct_key) as keys
        from (select distinct unnest(d.distinct_keys) as distinct_key from ",
    rolled_up!(),
    " limit q.distinct_max) other
    ) others on q.distinct_max > 0
    where q.rolled >= q.whole_from
    union all
    select q.place, q.ordinal, null, s.received_at_ms, d.amount_minor, null, null, s.seen,
           null, null, null, null, null, null, d.currency, d.outcome, d.payload_version, d.payload
    from ",
    aggregate_query!("($31::boolean[])[i]"),
    "
    cross join lateral (
        (select 1::smallint as seen, f.payment_id, f.received_at_ms from (
            (select v.payment_id, v.received_at_ms from aggregate_values v where ",
    counted_by_aggregate!(),
    " order by v.received_at_ms, v.payment_id limit 1)
            union all
            (select d.first_payment, d.first_at_ms from ",
    rolled_up!(),
    " order by d.first_at_ms, d.first_payment limit 1)
        ) f order by f.received_at_ms, f.payment_id limit 1)
        union all
        (select 2::smallint, l.payment_id, l.received_at_ms from (
            (select v.payment_id, v.received_at_ms from aggregate_values v where ",
    counted_by_aggregate!(),
    " order by v.received_at_ms desc, v.payment_id desc limit 1)
            union all
            (select d.last_payment, d.last_at_ms from ",
    rolled_up!(),
    " order by d.last_at_ms desc, d.last_payment desc limit 1)
        ) l order by l.received_at_ms desc, l.payment_id desc limit 1)
    ) s
    cross join lateral (
        select amount_minor, currency, outcome, payload_version, payload from decisions
        where tenant_id = q.tenant_id and id = s.payment_id
        limit 1
    ) d
    union all
    select q.place, q.ordinal, null, found.version, null, null, null, 3::smallint,
           null, null, null, null, null, null, null, null, null, null
    from (select ($35::int[])[i] as place, ($36::int[])[i] as ordinal, ($37::uuid[])[i] as tenant_id,
                 $5[($38::int[])[i]] as list
          from generate_series(1, cardinality($35)) as i) q
    cross join lateral (
        select l.version from lists l where l.tenant_id = q.tenant_id and l.name = q.list limit 1
    ) found"
);

async fn ask(connection: &mut PgConnection, columns: FactColumns) -> Result<Vec<PgRow>, StorageError> {
    let FactColumns { listed, names, texts, aggregates, versions, excluded, keys } = columns;
    let aggregate_days = Days::of(&aggregates.after_ms, &aggregates.at_ms);
    let rows = sqlx::query(STATEMENT)
        .bind(listed.place)
        .bind(listed.ordinal)
        .bind(listed.tenant)
        .bind(listed.at_ms)
        .bind(names)
        .bind(listed.by_name)
        .bind(listed.first)
        .bind(listed.last)
        .bind(texts)
        .bind(excluded)
        .bind(listed.list)
        .bind(keys.place)
        .bind(keys.tenant)
        .bind(keys.client)
        .bind(keys.key)
        .bind(aggregates.place)
        .bind(aggregates.ordinal)
        .bind(aggregates.tenant)
        .bind(aggregates.at_ms)
        .bind(aggregates.payment)
        .bind(aggregates.value_key)
        .bind(aggregates.after_ms)
        .bind(aggregates.excluded_first)
        .bind(aggregates.excluded_last)
        .bind(aggregates.amount_at_least)
        .bind(aggregates.amount_below)
        .bind(aggregates.methods)
        .bind(aggregates.outcomes)
        .bind(aggregates.event)
        .bind(aggregates.distinct_max)
        .bind(aggregates.first_and_last)
        .bind(aggregate_days.all)
        .bind(aggregate_days.first)
        .bind(aggregate_days.last)
        .bind(versions.place)
        .bind(versions.ordinal)
        .bind(versions.tenant)
        .bind(versions.list)
        .bind(aggregates.is_velocity)
        .bind(aggregates.rolled_series)
        .bind(aggregates.whole_from)
        .fetch_all(connection)
        .await?;
    Ok(rows)
}

fn add_row(answers: &mut [FactAnswer], row: &PgRow) -> Result<(), StorageError> {
    let unreadable = || StorageError::Unreadable { what: WHAT };
    let place: i32 = row.try_get("place")?;
    let answer = usize::try_from(place).ok().and_then(|place| answers.get_mut(place));
    let answer = answer.ok_or_else(unreadable)?;
    let ordinal: Option<i32> = row.try_get("ordinal")?;
    let Some(ordinal) = ordinal else {
        answer.bound = Some(BoundKey {
            decision: PaymentId(row.try_get("decision_id")?),
            request_hash: digest(row.try_get("request_hash")?, "idempotency key")?,
        });
        return Ok(());
    };
    let ordinal = usize::try_from(ordinal).map_err(|_| unreadable())?;
    if row.try_get::<Option<i16>, _>("seen")? == Some(VERSION) {
        answer.versions.insert(ordinal, row.try_get("count")?);
        return Ok(());
    }
    if let Some(tally) = answer.tallies.get_mut(&ordinal) {
        tally.add(tally_of(row)?);
        return Ok(());
    }
    let fact = answer.facts.get_mut(ordinal).ok_or_else(unreadable)?;
    *fact = Fact::Listed(row.try_get("listed")?);
    Ok(())
}
