//! Reviews: the queue of what waits for a person. The journal and payment events open them.
//!
//! Nothing here may change a decision. The reference and the reasons of an item are read from its
//! decision, so that erasing them there is enough.

mod changes;
pub(super) mod events;
pub mod expiry;
mod queue;
pub mod settings;

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::columns::{ms, named};
use super::pool::AppPool;
use super::{StorageError, evidence};
use crate::domain::payment::PaymentId;
use crate::domain::payment_event::PaymentEvent;
use crate::domain::review::{ReviewCause, ReviewId, ReviewOutcome, ReviewState};
use crate::domain::tenant::TenantId;
use crate::domain::user::UserId;
use crate::domain::verdict::OutcomeReason;

pub use changes::{ChangeReviewError, Reviewer, claim, decide, hand_back};
pub use queue::{ReviewFilter, ReviewSummary, list, summary};

const WHAT: &str = "review";

/// Who works on a review, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub by: UserId,
    pub name: Option<String>,
    pub until_ms: u64,
}

/// What became of a review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conclusion {
    pub outcome: ReviewOutcome,
    /// A person, or the expiry on a node.
    pub by: String,
    pub name: Option<String>,
    pub at_ms: u64,
    pub is_expired: bool,
    /// `None` if nobody decided, or once it has been erased.
    pub note: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    pub id: ReviewId,
    pub payment: PaymentId,
    pub opened_at_ms: u64,
    pub amount_minor: i64,
    pub currency: String,
    /// When it ends by itself. `None` if it does not.
    pub expires_at_ms: Option<u64>,
    /// `None` once it has been erased.
    pub reference: Option<String>,
    /// Of the decision. `None` once they have been erased.
    pub reasons: Option<Vec<OutcomeReason>>,
    /// A claim that has ended is left out.
    pub claim: Option<Claim>,
    pub conclusion: Option<Conclusion>,
    /// How many events opened or joined it.
    pub events: usize,
}

impl Review {
    pub fn state(&self) -> ReviewState {
        match (&self.conclusion, &self.claim) {
            (Some(conclusion), _) if conclusion.is_expired => ReviewState::Expired,
            (Some(_), _) => ReviewState::Decided,
            (None, Some(_)) => ReviewState::Claimed,
            (None, None) => ReviewState::Open,
        }
    }

    pub fn cause(&self) -> ReviewCause {
        if self.id.0 == self.payment.0 { ReviewCause::Decision } else { ReviewCause::Event }
    }
}

/// The columns of a review `r` with the names of people and what its decision has.
macro_rules! select_reviews {
    ($conditions:literal) => {
        concat!(
            "select r.id, r.payment_id, r.opened_at_ms, r.amount_minor, r.currency, r.claimed_by, r.claimed_until_ms,
                    r.outcome, r.decided_by, r.decided_at_ms, r.is_expired, r.note,
                    coalesce(cardinality(r.event_ids), 0) as events,
                    case when r.decided_at_ms is null then
                        (select r.opened_at_ms + s.expires_after_min * 60000::bigint from review_settings s
                         where s.tenant_id = r.tenant_id)
                    end as expires_at_ms,
                    d.reference, d.payload_version, d.payload,
                    claimer.display_name as claimed_by_name, decider.display_name as decided_by_name
             from reviews r
             left join decisions d on d.tenant_id = r.tenant_id and d.id = r.payment_id
             left join users claimer on claimer.tenant_id = r.tenant_id and claimer.id = r.claimed_by
             left join users decider on decider.tenant_id = r.tenant_id
                  and decider.id = case when r.decided_by like 'user:%' then substring(r.decided_by from 6)::uuid end
             where ",
            $conditions
        )
    };
}
use select_reviews;

/// A review and its events, in the order of their reports. `None` if there is no such review.
pub async fn get(
    app: &AppPool,
    tenant: TenantId,
    id: ReviewId,
    now_ms: u64,
) -> Result<Option<(Review, Vec<PaymentEvent>)>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let Some(review) = find(connection, tenant, id, now_ms).await? else { return Ok(None) };
            let events = events::of_review(connection, tenant, id).await?;
            Ok(Some((review, events)))
        })
    })
    .await
}

/// The newest review of a payment.
pub async fn of_payment(
    app: &AppPool,
    tenant: TenantId,
    payment: PaymentId,
    now_ms: u64,
) -> Result<Option<Review>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let newest: Option<Uuid> = sqlx::query_scalar(
                "select id from reviews where tenant_id = $1 and id = $2
                 union all
                 select id from reviews where tenant_id = $1 and payment_id = $2 and id <> payment_id
                 order by id desc
                 limit 1",
            )
            .bind(tenant.0)
            .bind(payment.0)
            .fetch_optional(&mut *connection)
            .await?;
            match newest {
                Some(id) => find(connection, tenant, ReviewId(id), now_ms).await,
                None => Ok(None),
            }
        })
    })
    .await
}

async fn find(
    connection: &mut PgConnection,
    tenant: TenantId,
    id: ReviewId,
    now_ms: u64,
) -> Result<Option<Review>, StorageError> {
    let row = sqlx::query(select_reviews!("r.tenant_id = $1 and r.id = $2"))
        .bind(tenant.0)
        .bind(id.0)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(|row| read(row, now_ms)).transpose()
}

fn read(row: &PgRow, now_ms: u64) -> Result<Review, StorageError> {
    let payload: Option<&[u8]> = row.try_get("payload")?;
    let version: Option<i16> = row.try_get("payload_version")?;
    let evidence =
        payload.zip(version).and_then(|(payload, version)| evidence::decode(version, payload).ok());
    let events: i32 = row.try_get("events")?;
    let expires_at_ms: Option<i64> = row.try_get("expires_at_ms")?;
    Ok(Review {
        id: ReviewId(row.try_get("id")?),
        payment: PaymentId(row.try_get("payment_id")?),
        opened_at_ms: ms(row.try_get("opened_at_ms")?, WHAT)?,
        amount_minor: row.try_get("amount_minor")?,
        currency: row.try_get("currency")?,
        expires_at_ms: expires_at_ms.map(|expires_at_ms| ms(expires_at_ms, WHAT)).transpose()?,
        reference: row.try_get("reference")?,
        reasons: evidence.map(|evidence| evidence.reasons),
        claim: read_claim(row)?.filter(|claim| claim.until_ms > now_ms),
        conclusion: read_conclusion(row)?,
        events: usize::try_from(events).unwrap_or_default(),
    })
}

fn read_claim(row: &PgRow) -> Result<Option<Claim>, StorageError> {
    let (by, until_ms): (Option<Uuid>, Option<i64>) =
        (row.try_get("claimed_by")?, row.try_get("claimed_until_ms")?);
    let Some((by, until_ms)) = by.zip(until_ms) else { return Ok(None) };
    Ok(Some(Claim { by: UserId(by), name: row.try_get("claimed_by_name")?, until_ms: ms(until_ms, WHAT)? }))
}

fn read_conclusion(row: &PgRow) -> Result<Option<Conclusion>, StorageError> {
    let Some(outcome) = row.try_get::<Option<&str>, _>("outcome")? else { return Ok(None) };
    Ok(Some(Conclusion {
        outcome: named(ReviewOutcome::parse(outcome), WHAT)?,
        by: row.try_get("decided_by")?,
        name: row.try_get("decided_by_name")?,
        at_ms: ms(row.try_get("decided_at_ms")?, WHAT)?,
        is_expired: row.try_get("is_expired")?,
        note: row.try_get("note")?,
    }))
}

/// The lowest id of this time.
fn first_id(at_ms: u64) -> Uuid {
    Uuid::from_u128(u128::from(at_ms) << 80)
}
