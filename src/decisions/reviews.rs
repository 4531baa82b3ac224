//! What people do with the reviews of their tenant, and how the tenant reviews.
//!
//! A review never changes the decision.

use crate::domain::audit::Authority;
use crate::domain::review::{ReviewId, ReviewOutcome, ReviewSettings};
use crate::domain::tenant::TenantId;
use crate::domain::time::World;
use crate::domain::user::UserId;
use crate::storage::StorageError;
use crate::storage::pool::AppPool;
use crate::storage::reviews::{self, ChangeReviewError, Review, Reviewer, settings};

#[derive(Debug)]
pub struct Reviews {
    pub app: AppPool,
    pub world: World,
}

impl Reviews {
    /// Claims a review, or renews the claim.
    pub async fn claim(
        &self,
        tenant: TenantId,
        user: UserId,
        id: ReviewId,
    ) -> Result<Review, ChangeReviewError> {
        reviews::claim(&self.app, self.reviewer(tenant, user), id).await
    }

    /// Ends the person's claim.
    pub async fn hand_back(
        &self,
        tenant: TenantId,
        user: UserId,
        id: ReviewId,
    ) -> Result<Review, ChangeReviewError> {
        reviews::hand_back(&self.app, self.reviewer(tenant, user), id).await
    }

    pub async fn decide(
        &self,
        tenant: TenantId,
        user: UserId,
        id: ReviewId,
        outcome: ReviewOutcome,
        note: String,
    ) -> Result<Review, ChangeReviewError> {
        reviews::decide(&self.app, self.reviewer(tenant, user), id, outcome, note).await
    }

    pub async fn apply_settings(
        &self,
        tenant: TenantId,
        actor: Authority,
        settings: ReviewSettings,
    ) -> Result<(), StorageError> {
        settings::set(&self.app, tenant, settings, actor, self.world.now_ms()).await
    }

    fn reviewer(&self, tenant: TenantId, user: UserId) -> Reviewer {
        Reviewer { tenant, user, now_ms: self.world.now_ms() }
    }
}
