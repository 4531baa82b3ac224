//! The queue in pages, and how much is in it.

use sqlx::Row;

use super::{Review, StorageError, WHAT, first_id, read, select_reviews};
use crate::domain::money::Currency;
use crate::domain::review::{ReviewCause, ReviewId, ReviewState};
use crate::domain::tenant::TenantId;
use crate::domain::user::UserId;
use crate::storage::columns::{bigint, ms};
use crate::storage::pool::AppPool;

/// The most waiting reviews that are counted, so that counting stays cheap.
const COUNTED_MAX: i64 = 100_000;

/// All conditions must hold.
#[derive(Debug, Clone, Default)]
pub struct ReviewFilter {
    /// Any of these. Empty: every state.
    pub states: Vec<ReviewState>,
    /// Claimed or decided by this person.
    pub of_person: Option<UserId>,
    pub cause: Option<ReviewCause>,
    pub from_ms: Option<u64>,
    /// Exclusive.
    pub to_ms: Option<u64>,
    pub currency: Option<Currency>,
    pub amount_at_least: Option<i64>,
    pub amount_below: Option<i64>,
}

impl ReviewFilter {
    fn allows(&self, state: ReviewState) -> bool {
        self.states.is_empty() || self.states.contains(&state)
    }
}

/// Reviews in the order of their ids, so the oldest first, above the id `after`.
pub async fn list(
    app: &AppPool,
    tenant: TenantId,
    filter: ReviewFilter,
    after: Option<ReviewId>,
    limit: u32,
    now_ms: u64,
) -> Result<Vec<Review>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let [open, claimed, decided, expired] = ReviewState::ALL.map(|state| filter.allows(state));
            let rows = sqlx::query(select_reviews!(
                "r.tenant_id = $1
                   and ($2::uuid is null or r.id > $2)
                   and (($3 and r.decided_at_ms is null and (r.claimed_until_ms is null or r.claimed_until_ms <= $7))
                        or ($4 and r.decided_at_ms is null and r.claimed_until_ms > $7)
                        or ($5 and r.decided_at_ms is not null and not r.is_expired)
                        or ($6 and r.decided_at_ms is not null and r.is_expired))
                   and ($8::uuid is null or (r.claimed_by = $8 and r.claimed_until_ms > $7)
                        or r.decided_by = 'user:' || $8)
                   and ($9::text is null or (r.id = r.payment_id) = ($9 = 'decision'))
                   and ($10::uuid is null or r.id >= $10)
                   and ($11::uuid is null or r.id < $11)
                   and ($12::text is null or r.currency = $12)
                   and ($13::bigint is null or r.amount_minor >= $13)
                   and ($14::bigint is null or r.amount_minor < $14)
                 order by r.id
                 limit $15"
            ))
            .bind(tenant.0)
            .bind(after.map(|after| after.0))
            .bind(open)
            .bind(claimed)
            .bind(decided)
            .bind(expired)
            .bind(bigint(now_ms))
            .bind(filter.of_person.map(|person| person.0))
            .bind(filter.cause.map(ReviewCause::name))
            .bind(filter.from_ms.map(first_id))
            .bind(filter.to_ms.map(first_id))
            .bind(filter.currency.as_ref().map(Currency::code))
            .bind(filter.amount_at_least)
            .bind(filter.amount_below)
            .bind(i64::from(limit))
            // Not prepared, so that the plan fits the conditions: most are absent.
            .persistent(false)
            .fetch_all(connection)
            .await?;
            rows.iter().map(|row| read(row, now_ms)).collect()
        })
    })
    .await
}

/// How much is in the queue of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReviewSummary {
    pub open: u64,
    pub claimed: u64,
    /// When the oldest was opened that nobody has claimed.
    pub oldest_open_at_ms: Option<u64>,
    pub decided: u64,
}

/// What waits now, the oldest [`COUNTED_MAX`] at most, and how many were decided since then.
pub async fn summary(
    app: &AppPool,
    tenant: TenantId,
    since_ms: u64,
    now_ms: u64,
) -> Result<ReviewSummary, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let row = sqlx::query(
                "with waiting as (
                    select opened_at_ms, coalesce(claimed_until_ms > $2, false) as is_claimed
                    from reviews
                    where tenant_id = $1 and decided_at_ms is null
                    order by id
                    limit $4
                 )
                 select count(*) filter (where not is_claimed) as open,
                        count(*) filter (where is_claimed) as claimed,
                        min(opened_at_ms) filter (where not is_claimed) as oldest_open_at_ms,
                        (select count(*) from reviews
                         where tenant_id = $1 and decided_at_ms >= $3 and not is_expired) as decided
                 from waiting",
            )
            .bind(tenant.0)
            .bind(bigint(now_ms))
            .bind(bigint(since_ms))
            .bind(COUNTED_MAX)
            .fetch_one(connection)
            .await?;
            let count = |column| -> Result<u64, StorageError> {
                u64::try_from(row.try_get::<i64, _>(column)?)
                    .map_err(|_| StorageError::Unreadable { what: WHAT })
            };
            let oldest: Option<i64> = row.try_get("oldest_open_at_ms")?;
            Ok(ReviewSummary {
                open: count("open")?,
                claimed: count("claimed")?,
                oldest_open_at_ms: oldest.map(|oldest| ms(oldest, WHAT)).transpose()?,
                decided: count("decided")?,
            })
        })
    })
    .await
}
