//! The statement that looks up facts, made of the parts that its requests need.
//!
//! Postgres sets up all of a statement before it runs it, and for a part without queries that takes
//! as long as for one with many. Each combination of parts is prepared once for each connection, so
//! no value may be written into the text.

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection};

use super::columns::{Days, FactColumns};
use crate::storage::StorageError;

/// Which parts the columns need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Parts {
    listed: bool,
    keys: bool,
    velocities: bool,
    aggregates: bool,
    /// Distinct values of aggregates.
    distinct: bool,
    first_and_last: bool,
    /// Whether queries are answered from roll-ups as well.
    rolled: bool,
    /// Whether queries count payments by their later events.
    events: bool,
    versions: bool,
}

impl Parts {
    fn of(columns: &FactColumns) -> Self {
        let aggregates = &columns.aggregates;
        Self {
            listed: !columns.listed.place.is_empty(),
            keys: !columns.keys.place.is_empty(),
            velocities: aggregates.is_velocity.contains(&true),
            aggregates: aggregates.is_velocity.contains(&false),
            distinct: aggregates.distinct_max.iter().any(|most| *most > 0),
            first_and_last: aggregates.first_and_last.contains(&true),
            rolled: aggregates.rolled_series.iter().any(Option::is_some),
            events: aggregates.event.iter().any(|event| *event > 0),
            versions: !columns.versions.place.is_empty(),
        }
    }

    /// Each part returns rows with the same columns. `place` is the index of the payment, and
    /// `ordinal` the index of the query that the row answers; it is null for the key. `seen` is null
    /// except for the first and the last payment of an aggregate, and for the version of a list.
    ///
    /// The texts of a query are a slice of one array, since arrays of arrays must be rectangular. The
    /// arrays are read by subscript: with `unnest`, Postgres would materialise each column, which took
    /// as long as the lookups. Postgres finds a text by scanning its array, so repeated texts are in
    /// `$5` once, and are referred to by number.
    fn statement(self) -> String {
        let parts = [
            (self.listed, LISTED.to_owned()),
            (self.keys, KEYS.to_owned()),
            (self.velocities, self.velocities()),
            (self.aggregates, self.aggregates()),
            (self.rolled, self.rolled()),
            (self.first_and_last, self.first_and_last()),
            (self.versions, VERSIONS.to_owned()),
        ];
        let texts: Vec<String> =
            parts.into_iter().filter_map(|(is_needed, text)| is_needed.then_some(text)).collect();
        texts.join(" union all ")
    }

    /// What costs more than a count and a sum is left out.
    fn velocities(self) -> String {
        format!(
            "select q.place, q.ordinal, null::boolean as listed, counted.count, null::bigint as total_minor,
                    null::uuid as decision_id, null::bytea as request_hash, null::smallint as seen,
                    counted.total, '0' as squares, null::bigint as minimum, null::bigint as maximum,
                    0::bigint as unconverted, null::bigint[] as distinct_keys, null::text as currency,
                    null::text as outcome, null::smallint as payload_version, null::bytea as payload
             from {queries}
             cross join lateral (
                 select count(*) as count, coalesce(sum(v.amount_minor), 0)::text as total
                 from aggregate_values v where {counts}
             ) counted",
            queries = self.queries("($39::boolean[])[i]"),
            counts = self.counts(),
        )
    }

    fn aggregates(self) -> String {
        format!(
            "{row}
             from {queries}
             cross join lateral (
                 select count(*) as count, coalesce(sum(v.amount_minor), 0)::text as total,
                        coalesce(sum(v.amount_minor::numeric * v.amount_minor), 0)::text as squares,
                        min(v.amount_minor) as minimum, max(v.amount_minor) as maximum,
                        count(*) filter (where v.amount_minor is null) as unconverted
                 from aggregate_values v where {counts}
             ) counted
             {others}",
            row = self.counted_row(),
            queries = self.queries("not ($39::boolean[])[i]"),
            counts = self.counts(),
            others = self.distinct(&format!(
                "select distinct v.distinct_key from aggregate_values v
                 where v.distinct_key is not null and {}",
                self.counts()
            )),
        )
    }

    /// The rolled up days of velocities and aggregates, beside what the other parts count.
    fn rolled(self) -> String {
        format!(
            "{row}
             from {queries}
             cross join lateral (
                 select coalesce(sum(d.payments), 0)::bigint as count, coalesce(sum(d.total), 0)::text as total,
                        coalesce(sum(d.squares), 0)::text as squares, min(d.minimum) as minimum,
                        max(d.maximum) as maximum, coalesce(sum(d.unconverted), 0)::bigint as unconverted
                 from {ROLLED_UP}
             ) counted
             {others}
             where q.rolled >= q.whole_from",
            row = self.counted_row(),
            queries = self.queries("($40::uuid[])[i] is not null"),
            others = self
                .distinct(&format!("select distinct unnest(d.distinct_keys) as distinct_key from {ROLLED_UP}")),
        )
    }

    fn first_and_last(self) -> String {
        format!(
            "select q.place, q.ordinal, null::boolean as listed, s.received_at_ms as count,
                    d.amount_minor as total_minor, null::uuid as decision_id, null::bytea as request_hash, s.seen,
                    null::text as total, null::text as squares, null::bigint as minimum, null::bigint as maximum,
                    null::bigint as unconverted, null::bigint[] as distinct_keys, d.currency,
                    d.outcome, d.payload_version, d.payload
             from {queries}
             cross join lateral (
                 ({first}) union all ({last})
             ) s
             cross join lateral (
                 select amount_minor, currency, outcome, payload_version, payload from decisions
                 where tenant_id = q.tenant_id and id = s.payment_id
                 limit 1
             ) d",
            queries = self.queries("($31::boolean[])[i]"),
            first = self.seen("1::smallint", "first", ""),
            last = self.seen("2::smallint", "last", "desc"),
        )
    }

    /// The first or the last payment, among those that are read one by one and the roll-ups.
    fn seen(self, number: &str, name: &str, order: &str) -> String {
        let one_by_one = format!(
            "select v.payment_id, v.received_at_ms from aggregate_values v where {}
             order by v.received_at_ms {order}, v.payment_id {order} limit 1",
            self.counts()
        );
        let all = if self.rolled {
            format!(
                "({one_by_one}) union all
                 (select d.{name}_payment, d.{name}_at_ms from {ROLLED_UP}
                  order by d.{name}_at_ms {order}, d.{name}_payment {order} limit 1)"
            )
        } else {
            one_by_one
        };
        format!(
            "select {number} as seen, one.payment_id, one.received_at_ms from ({all}) one
             order by one.received_at_ms {order}, one.payment_id {order} limit 1"
        )
    }

    /// The row of an aggregate.
    fn counted_row(self) -> String {
        let distinct_keys = if self.distinct {
            "case when q.distinct_max > 0 then coalesce(others.keys, '{}') end"
        } else {
            "null::bigint[]"
        };
        format!(
            "select q.place, q.ordinal, null::boolean as listed, counted.count, null::bigint as total_minor,
                    null::uuid as decision_id, null::bytea as request_hash, null::smallint as seen,
                    counted.total, counted.squares, counted.minimum, counted.maximum, counted.unconverted,
                    {distinct_keys} as distinct_keys, null::text as currency,
                    null::text as outcome, null::smallint as payload_version, null::bytea as payload"
        )
    }

    /// Joins the distinct values that a query finds.
    fn distinct(self, found: &str) -> String {
        if !self.distinct {
            return String::new();
        }
        format!(
            "left join lateral (
                 select array_agg(other.distinct_key) as keys
                 from ({found} limit q.distinct_max) other
             ) others on q.distinct_max > 0"
        )
    }

    /// The queries for velocities and aggregates that fulfil a condition. A query whose series is
    /// rolled up is split at the last day that is rolled up (`rolled`): `days` are those whose payments
    /// are read one by one. One statement has one snapshot, so the days and the roll-ups of it fit
    /// together.
    ///
    /// Each `offset 0` keeps Postgres from computing the columns again for each payment.
    fn queries(self, condition: &str) -> String {
        let (days, rolled) = if self.rolled { (DAYS_BESIDE_ROLL_UPS, ROLLED) } else { (DAYS, "null::int") };
        format!(
            "(select a.*, {days} || 0 as days
              from (select ($16::int[])[i] as place, ($17::int[])[i] as ordinal, ($18::uuid[])[i] as tenant_id,
                           ($19::bigint[])[i] as at_ms, ($20::uuid[])[i] as payment_id,
                           ($21::uuid[])[i] as value_key, ($22::bigint[])[i] as after_ms,
                           ($23::int[])[i] as first, ($24::int[])[i] as last,
                           ($25::bigint[])[i] as amount_at_least, ($26::bigint[])[i] as amount_below,
                           ($27::int[])[i] as methods, ($28::int[])[i] as outcomes, $5[($29::int[])[i]] as event,
                           ($30::int[])[i] as distinct_max, ($33::int[])[i] as first_day,
                           ($34::int[])[i] as last_day, ($41::int[])[i] as whole_from,
                           ($32::int[])[($33::int[])[i]] as day, {rolled} as rolled
                    from generate_series(1, cardinality($16)) as i
                    where {condition} offset 0) a offset 0) q"
        )
    }

    /// Whether the payment of the value `v` counts for the query `q`. The payments of sealed days that
    /// came late are stored under another day, until they are rolled up.
    ///
    /// The index of values begins with the day, so each window has its days; long windows have
    /// roll-ups. Only by the two bounds of all windows does Postgres leave out months before it sets up
    /// their tables.
    fn counts(self) -> String {
        let event = if self.events { LATER_EVENT } else { "" };
        format!("{COUNTED} {event}")
    }
}

const LISTED: &str = "
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
          from generate_series(1, cardinality($1)) as i) q";

/// The limit forces a lookup for each key: a join that was planned while the table was empty would
/// later scan all of it.
const KEYS: &str = "
    select q.place, null::int as ordinal, null::boolean as listed, null::bigint as count,
           null::bigint as total_minor, bound.decision_id, bound.request_hash, null::smallint as seen,
           null::text as total, null::text as squares, null::bigint as minimum, null::bigint as maximum,
           null::bigint as unconverted, null::bigint[] as distinct_keys, null::text as currency,
           null::text as outcome, null::smallint as payload_version, null::bytea as payload
    from (select ($12::int[])[i] as place, ($13::uuid[])[i] as tenant_id, ($14::uuid[])[i] as client_id,
                 ($15::text[])[i] as key
          from generate_series(1, cardinality($12)) as i) q
    cross join lateral (
        select k.decision_id, k.request_hash from idempotency_keys k
        where k.tenant_id = q.tenant_id and k.client_id = q.client_id and k.key = q.key
        limit 1
    ) bound";

const VERSIONS: &str = "
    select q.place, q.ordinal, null::boolean as listed, found.version as count, null::bigint as total_minor,
           null::uuid as decision_id, null::bytea as request_hash, 3::smallint as seen,
           null::text as total, null::text as squares, null::bigint as minimum, null::bigint as maximum,
           null::bigint as unconverted, null::bigint[] as distinct_keys, null::text as currency,
           null::text as outcome, null::smallint as payload_version, null::bytea as payload
    from (select ($35::int[])[i] as place, ($36::int[])[i] as ordinal, ($37::uuid[])[i] as tenant_id,
                 $5[($38::int[])[i]] as list
          from generate_series(1, cardinality($35)) as i) q
    cross join lateral (
        select l.version from lists l where l.tenant_id = q.tenant_id and l.name = q.list limit 1
    ) found";

/// The last day up to which the query is answered from roll-ups. Null if it has none.
const ROLLED: &str = "case when ($40::uuid[])[i] is not null then (
        select least(l.rolled_day, ($32::int[])[($34::int[])[i]] - 1)
        from value_series_log l
        where l.is_only and exists (
            select from value_series s
            where s.tenant_id = ($18::uuid[])[i] and s.digest = ($40::uuid[])[i] and s.is_rolled))
    end";

const DAYS: &str = "($32::int[])[a.first_day:a.last_day]";

const DAYS_BESIDE_ROLL_UPS: &str = "case when a.rolled >= a.whole_from
         then ($32::int[])[a.first_day : a.first_day + a.whole_from - a.day - 1]
              || ($32::int[])[a.first_day + a.rolled + 1 - a.day : a.last_day]
         else ($32::int[])[a.first_day:a.last_day] end";

/// The roll-ups that the query `q` counts: whole days, whole blocks of 32 days, and whole days.
const ROLLED_UP: &str = "(select b.first, b.last, b.first <= b.last as has_blocks
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
       and (q.methods >> d.method) & 1 = 1 and (q.outcomes >> d.outcome) & 1 = 1";

const COUNTED: &str = "v.received_day = any (q.days) and v.value_key = q.value_key
     and v.received_at_ms > q.after_ms and v.received_at_ms <= q.at_ms
     and v.received_at_ms > $42::bigint and v.received_at_ms <= $43::bigint
     and (v.received_at_ms < q.at_ms or v.payment_id < q.payment_id)
     and v.tenant_id = q.tenant_id and v.payment_id <> q.payment_id
     and v.payment_id <> all (($10::uuid[])[q.first:q.last])
     and (q.amount_at_least is null or v.amount_minor >= q.amount_at_least)
     and (q.amount_below is null or v.amount_minor < q.amount_below)
     and (q.methods >> v.method) & 1 = 1 and (q.outcomes >> v.outcome) & 1 = 1";

const LATER_EVENT: &str = "and (q.event is null or exists (
         select from payment_events e
         where e.tenant_id = v.tenant_id and e.payment_id = v.payment_id and e.kind = q.event
           and e.recorded_at_ms < q.at_ms))";

pub(super) async fn ask(
    connection: &mut PgConnection,
    columns: FactColumns,
) -> Result<Vec<PgRow>, StorageError> {
    let statement = Parts::of(&columns).statement();
    let FactColumns { listed, names, texts, aggregates, versions, excluded, keys } = columns;
    let days = Days::of(&aggregates.after_ms, &aggregates.at_ms);
    let earliest_ms = aggregates.after_ms.iter().min().copied();
    let latest_ms = aggregates.at_ms.iter().max().copied();
    // The text is safe: it is made of constants.
    let rows = sqlx::query(AssertSqlSafe(statement))
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
        .bind(days.all)
        .bind(days.first)
        .bind(days.last)
        .bind(versions.place)
        .bind(versions.ordinal)
        .bind(versions.tenant)
        .bind(versions.list)
        .bind(aggregates.is_velocity)
        .bind(aggregates.rolled_series)
        .bind(aggregates.whole_from)
        .bind(earliest_ms)
        .bind(latest_ms)
        .fetch_all(connection)
        .await?;
    Ok(rows)
}
