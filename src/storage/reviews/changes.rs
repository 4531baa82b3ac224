//! What people do with reviews. Each change locks the row of the review first, so of several at once
//! one goes before the others.

use serde_json::json;
use sqlx::PgConnection;
use thiserror::Error;

use super::settings;
use super::{Claim, Conclusion, Review, StorageError, find};
use crate::domain::actor::Actor;
use crate::domain::audit::{Act, Action};
use crate::domain::review::{ReviewId, ReviewOutcome};
use crate::domain::tenant::TenantId;
use crate::domain::user::UserId;
use crate::storage::audit;
use crate::storage::columns::bigint;
use crate::storage::pool::AppPool;
use crate::storage::query_error::OfStatement;

/// A person of a tenant, at a time.
#[derive(Debug, Clone, Copy)]
pub struct Reviewer {
    pub tenant: TenantId,
    pub user: UserId,
    pub now_ms: u64,
}

impl Reviewer {
    fn actor(self) -> String {
        Actor::User(self.user).to_string()
    }
}

#[derive(Debug, Error)]
pub enum ChangeReviewError {
    #[error("there is no such review")]
    Unknown,
    #[error("another person has claimed the review")]
    Claimed(Claim),
    #[error("the review was decided before")]
    Decided(Conclusion),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Claims a review for as long as the tenant's settings say, or renews the claim.
pub async fn claim(app: &AppPool, by: Reviewer, id: ReviewId) -> Result<Review, ChangeReviewError> {
    app.transaction(by.tenant, move |connection| {
        Box::pin(async move {
            open_for(connection, by, id).await?;
            let lease_ms = settings::of_tenant(connection, by.tenant).await?.lease_ms();
            sqlx::query(
                "update reviews set claimed_by = $3, claimed_until_ms = $4 where tenant_id = $1 and id = $2",
            )
            .bind(by.tenant.0)
            .bind(id.0)
            .bind(by.user.0)
            .bind(bigint(by.now_ms.saturating_add(lease_ms)))
            .execute(&mut *connection)
            .await
            .of_statement()?;
            find(connection, by.tenant, id, by.now_ms).await?.ok_or(ChangeReviewError::Unknown)
        })
    })
    .await
}

/// Ends the person's claim, if there is one.
pub async fn hand_back(app: &AppPool, by: Reviewer, id: ReviewId) -> Result<Review, ChangeReviewError> {
    app.transaction(by.tenant, move |connection| {
        Box::pin(async move {
            open_for(connection, by, id).await?;
            sqlx::query(
                "update reviews set claimed_by = null, claimed_until_ms = null where tenant_id = $1 and id = $2",
            )
            .bind(by.tenant.0)
            .bind(id.0)
            .execute(&mut *connection)
            .await
            .of_statement()?;
            find(connection, by.tenant, id, by.now_ms).await?.ok_or(ChangeReviewError::Unknown)
        })
    })
    .await
}

/// Decides a review that nobody else has claimed. The same decision of the same person again changes
/// nothing.
pub async fn decide(
    app: &AppPool,
    by: Reviewer,
    id: ReviewId,
    outcome: ReviewOutcome,
    note: String,
) -> Result<Review, ChangeReviewError> {
    app.transaction(by.tenant, move |connection| {
        Box::pin(async move {
            match open_for(connection, by, id).await {
                Err(ChangeReviewError::Decided(before)) if is_same(&before, by, outcome, &note) => {}
                Err(error) => return Err(error),
                Ok(review) => decide_now(connection, by, &review, outcome, &note).await?,
            }
            find(connection, by.tenant, id, by.now_ms).await?.ok_or(ChangeReviewError::Unknown)
        })
    })
    .await
}

fn is_same(before: &Conclusion, by: Reviewer, outcome: ReviewOutcome, note: &str) -> bool {
    before.by == by.actor() && before.outcome == outcome && before.note.as_deref() == Some(note)
}

async fn decide_now(
    connection: &mut PgConnection,
    by: Reviewer,
    review: &Review,
    outcome: ReviewOutcome,
    note: &str,
) -> Result<(), StorageError> {
    sqlx::query(
        "update reviews
         set outcome = $3, decided_by = $4, decided_at_ms = $5, note = $6, claimed_by = null, claimed_until_ms = null
         where tenant_id = $1 and id = $2",
    )
    .bind(by.tenant.0)
    .bind(review.id.0)
    .bind(outcome.name())
    .bind(by.actor())
    .bind(bigint(by.now_ms))
    .bind(note)
    .execute(&mut *connection)
    .await?;
    // The note may be personal data, and the audit log keeps what it has.
    let after = json!({ "payment": review.payment.to_string(), "outcome": outcome.name() });
    let act = Act {
        at_ms: by.now_ms,
        actor: by.actor().into(),
        action: Action::ReviewDecided,
        subject: review.id.to_string(),
        before: None,
        after: Some(after.to_string()),
    };
    audit::record(connection, by.tenant, &act).await?;
    Ok(())
}

/// Locks a review, and returns it if this person may change it.
async fn open_for(
    connection: &mut PgConnection,
    by: Reviewer,
    id: ReviewId,
) -> Result<Review, ChangeReviewError> {
    let locked = sqlx::query("select id from reviews where tenant_id = $1 and id = $2 for update")
        .bind(by.tenant.0)
        .bind(id.0)
        .fetch_optional(&mut *connection)
        .await
        .of_statement()?;
    if locked.is_none() {
        return Err(ChangeReviewError::Unknown);
    }
    // A statement of its own, which sees what the holder of the lock before has committed.
    let review = find(connection, by.tenant, id, by.now_ms).await?.ok_or(ChangeReviewError::Unknown)?;
    if let Some(conclusion) = review.conclusion {
        return Err(ChangeReviewError::Decided(conclusion));
    }
    match review.claim {
        Some(claim) if claim.by != by.user => Err(ChangeReviewError::Claimed(claim)),
        _ => Ok(review),
    }
}
