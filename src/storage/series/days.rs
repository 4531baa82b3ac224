//! Seals days, and rolls their payments up.
//!
//! A roll-up is computed from all rows of its day, so computing it again gives the same result. Only the holder of `DatabaseLock::RollUps` may store one: what is computed from
//! an older snapshot must not replace a newer roll-up.

use std::collections::BTreeSet;

use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::aggregate::DISTINCT_MAX;
use crate::storage::StorageError;
use crate::storage::columns::bigint;
use crate::storage::pool::SystemPool;
use crate::storage::values::day_of;

/// What is stored in `received_day` for a payment whose day is sealed. It is not a day that is ever
/// rolled up, so every look-up also reads the rows that are stored under it.
pub(in crate::storage) const LATE: i32 = 0;

/// A block has `1 << BLOCK_BITS` days.
const BLOCK_BITS: u32 = 5;

/// How long after its end a day is sealed. No payment may be in flight for so long: look-ups leave
/// payments in flight out by id, which roll-ups cannot.
const SEALED_AFTER_MS: u64 = 6 * 3_600_000;

/// A key with one of its days.
pub(super) type KeyDay = (Uuid, i32);

/// Seals the days that are over. Does nothing while nodes of the release before may store batches.
pub async fn seal_days(system: &SystemPool, now_ms: u64) -> Result<(), StorageError> {
    let last_day = day_of(bigint(now_ms.saturating_sub(SEALED_AFTER_MS))) - 1;
    system
        .transaction(move |connection| {
            Box::pin(async move {
                sqlx::query("select seal_days($1)").bind(last_day).execute(connection).await?;
                Ok(())
            })
        })
        .await
}

/// Computes the roll-ups of these days of these keys, and of their blocks. The days must be sealed.
pub(super) async fn roll_up_days(
    connection: &mut PgConnection,
    days: BTreeSet<KeyDay>,
) -> Result<(), StorageError> {
    let blocks: BTreeSet<KeyDay> = days.iter().map(|(key, day)| (*key, day >> BLOCK_BITS)).collect();
    for (statement, places) in [(ROLL_UP_DAYS, days), (ROLL_UP_BLOCKS, blocks)] {
        let (keys, numbers): (Vec<Uuid>, Vec<i32>) = places.into_iter().unzip();
        sqlx::query(statement)
            .bind(keys)
            .bind(numbers)
            .bind(i32::try_from(DISTINCT_MAX + 1).unwrap_or(i32::MAX))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

macro_rules! store_roll_ups {
    ($rows:expr) => {
        concat!(
            "insert into aggregate_days (
                 tenant_id, value_key, period, method, outcome, payments, total, squares, minimum, maximum,
                 unconverted, distinct_keys, first_at_ms, first_payment, last_at_ms, last_payment)",
            $rows,
            " on conflict (value_key, period, method, outcome) do update set
                 payments = excluded.payments, total = excluded.total, squares = excluded.squares,
                 minimum = excluded.minimum, maximum = excluded.maximum, unconverted = excluded.unconverted,
                 distinct_keys = excluded.distinct_keys,
                 first_at_ms = excluded.first_at_ms, first_payment = excluded.first_payment,
                 last_at_ms = excluded.last_at_ms, last_payment = excluded.last_payment"
        )
    };
}

/// The first and the last payment are found by texts that sort as their time and id do: Postgres has
/// no smallest id and no smallest row. The bounds of the time leave the other partitions out.
const ROLL_UP_DAYS: &str = store_roll_ups!(
    "
    select r.tenant_id, r.value_key, r.received_day, r.method, r.outcome,
           count(*), coalesce(sum(r.amount_minor), 0), coalesce(sum(r.amount_minor::numeric * r.amount_minor), 0),
           min(r.amount_minor), max(r.amount_minor), count(*) filter (where r.amount_minor is null),
           (array_agg(distinct r.distinct_key) filter (where r.distinct_key is not null))[1:$3],
           left(min(r.moment), 19)::bigint, substr(min(r.moment), 20)::uuid,
           left(max(r.moment), 19)::bigint, substr(max(r.moment), 20)::uuid
    from unnest($1::uuid[], $2::int[]) as wanted (value_key, day)
    cross join lateral (
        select a.*, (lpad(a.received_at_ms::text, 19, '0') || a.payment_id) collate \"C\" as moment
        from aggregate_values a
        where a.received_day = wanted.day and a.value_key = wanted.value_key
          and a.received_at_ms >= wanted.day * 86400000::bigint
          and a.received_at_ms < (wanted.day + 1) * 86400000::bigint
        offset 0
    ) r
    group by r.tenant_id, r.value_key, r.received_day, r.method, r.outcome"
);

const ROLL_UP_BLOCKS: &str = store_roll_ups!(
    "
    select d.tenant_id, d.value_key, -1 - wanted.block, d.method, d.outcome,
           sum(d.payments)::bigint, sum(d.total), sum(d.squares), min(d.minimum), max(d.maximum),
           sum(d.unconverted)::bigint,
           (select array_agg(other.distinct_key)
            from (select distinct unnest(o.distinct_keys) as distinct_key from aggregate_days o
                  where o.value_key = d.value_key and o.method = d.method and o.outcome = d.outcome
                    and o.period between wanted.block * 32 and wanted.block * 32 + 31
                  limit $3) other),
           left(min(d.first_moment), 19)::bigint, substr(min(d.first_moment), 20)::uuid,
           left(max(d.last_moment), 19)::bigint, substr(max(d.last_moment), 20)::uuid
    from unnest($1::uuid[], $2::int[]) as wanted (value_key, block)
    cross join lateral (
        select a.*, (lpad(a.first_at_ms::text, 19, '0') || a.first_payment) collate \"C\" as first_moment,
               (lpad(a.last_at_ms::text, 19, '0') || a.last_payment) collate \"C\" as last_moment
        from aggregate_days a
        where a.value_key = wanted.value_key
          and a.period between wanted.block * 32 and wanted.block * 32 + 31
        offset 0
    ) d
    group by d.tenant_id, d.value_key, wanted.block, d.method, d.outcome"
);
