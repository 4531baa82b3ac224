//! Submitting a payment: the one way to a decision.
//!
//! Owns the failure contract: a decision is answered only after its commit, a
//! concurrent duplicate joins the first, and whatever ends early is unknown to
//! the client and settled by a retry with the same key. Must never cancel work
//! that a deadline has given up on.

mod judging;

use std::sync::Arc;

use aws_lc_rs::hmac;
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use super::active::{ActiveRulesets, NotLoaded};
use super::counts::DecisionCounts;
use super::deployed::Deployed;
use super::in_flight::PaymentsInFlight;
use super::quarantine::Quarantines;
use super::shadow::{Due, ShadowRuns};
use super::single_flight::SingleFlight;
use super::stages::{Stage, StageMeters};
use crate::domain::decision::{Decision, IdempotencyKey, Origin};
use crate::domain::payment::{PaymentId, PaymentOrder};
use crate::domain::plugin::{Digest, DigestBuilder};
use crate::domain::selector::Fact;
use crate::domain::tenant::{ClientId, TenantId};
use crate::domain::time::World;
use crate::rules::{EngineError, RuleEngine};
use crate::storage::decisions::StoredDecision;
use crate::storage::facts::FactReader;
use crate::storage::journal::{Journal, JournalError, StoreOutcome};
use crate::storage::pool::AppPool;
use crate::storage::{StorageError, decisions, request_digest};
use judging::{Case, Judged};

#[derive(Debug, Clone)]
pub struct Submission {
    pub tenant: TenantId,
    pub client: ClientId,
    pub key: IdempotencyKey,
    pub order: PaymentOrder,
    pub deadline: Instant,
}

#[derive(Debug, Clone)]
pub struct Submitted {
    pub decision: StoredDecision,
    /// False for a retry that was answered with the decision of the first.
    pub first: bool,
}

#[derive(Debug, Clone, Error)]
pub enum SubmitError {
    #[error("the key was already used for another payment")]
    KeyReused,
    #[error("the first submission with this key is still being decided")]
    StillDeciding,
    #[error("too many payments of this tenant are waiting")]
    Busy,
    #[error("the deadline passed before the decision was known to be stored")]
    Deadline,
    #[error("the decision could not be made and stored")]
    Unavailable,
    #[error("the decision could not be stored")]
    Failed,
}

impl From<StorageError> for SubmitError {
    fn from(error: StorageError) -> Self {
        match error {
            passing if passing.is_passing() => Self::Unavailable,
            other => {
                tracing::error!(error = %other, "a payment could not be stored");
                Self::Failed
            }
        }
    }
}

impl From<EngineError> for SubmitError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Busy => Self::Busy,
            EngineError::Deadline(_) => Self::Deadline,
            EngineError::Unavailable(why) => {
                tracing::error!(why, "the rule engine could not decide a payment");
                Self::Unavailable
            }
        }
    }
}

/// Without its rules a payment would be decided, and its key bound, as if there were none.
impl From<NotLoaded> for SubmitError {
    fn from(_: NotLoaded) -> Self {
        Self::Unavailable
    }
}

impl From<JournalError> for SubmitError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Full => Self::Busy,
            JournalError::Unavailable => Self::Unavailable,
            JournalError::Refused => Self::Failed,
        }
    }
}

/// A key is unique for a client of a tenant.
pub type KeyOwner = (TenantId, ClientId, IdempotencyKey);

#[derive(Debug)]
pub struct Submissions {
    pub app: AppPool,
    pub facts: FactReader,
    pub engine: Arc<dyn RuleEngine>,
    pub active: Arc<ActiveRulesets>,
    pub quarantines: Arc<Quarantines>,
    pub shadow: Arc<ShadowRuns>,
    pub journal: Arc<Journal>,
    /// A concurrent duplicate joins the first submission of its key. The client may go away; the
    /// decision goes on.
    pub flights: SingleFlight<KeyOwner, Result<Submitted, SubmitError>>,
    pub in_flight: Arc<PaymentsInFlight>,
    pub world: World,
    /// HMAC-SHA256. The same on every node: retries are known by it.
    pub request_key: hmac::Key,
    pub stages: StageMeters,
    pub counts: DecisionCounts,
}

impl Submissions {
    /// Earlier releases recognised a retry by `earlier_digest`, of the body as written.
    pub async fn submit(
        self: &Arc<Self>,
        submission: Submission,
        earlier_digest: impl FnOnce() -> Digest,
    ) -> Result<Submitted, SubmitError> {
        let owner = (submission.tenant, submission.client, submission.key.clone());
        let deadline = submission.deadline;
        let request_hash = self.request_hash(&request_digest::of_order(&submission.order));
        let this = self.clone();
        let flight =
            self.flights.join_or_start(owner, || async move { this.decide(submission, request_hash).await });
        let joined = flight.has_joined();
        let submitted = match timeout_at(deadline, flight.result()).await {
            Ok(result) => result.unwrap_or(Err(SubmitError::Failed))?,
            Err(_) if joined => return Err(SubmitError::StillDeciding),
            Err(_) => return Err(SubmitError::Deadline),
        };
        self.check_same(&submitted.decision, request_hash, earlier_digest)?;
        Ok(Submitted { first: submitted.first && !joined, ..submitted })
    }

    /// The decision that a key is bound to, for a payment that is refused now.
    pub async fn repeated(
        &self,
        submission: &Submission,
        earlier_digest: impl FnOnce() -> Digest,
    ) -> Result<Option<Submitted>, SubmitError> {
        let Submission { tenant, client, key, order, .. } = submission;
        let Some(decision) = decisions::by_key(&self.app, *tenant, *client, key).await? else {
            return Ok(None);
        };
        let request_hash = self.request_hash(&request_digest::of_order(order));
        self.check_same(&decision, request_hash, earlier_digest)?;
        Ok(Some(Submitted { decision, first: false }))
    }

    fn check_same(
        &self,
        stored: &StoredDecision,
        request_hash: Digest,
        earlier_digest: impl FnOnce() -> Digest,
    ) -> Result<(), SubmitError> {
        let stored = stored.decision.request_hash;
        let same = stored == request_hash || stored == self.request_hash(&earlier_digest());
        if same { Ok(()) } else { Err(SubmitError::KeyReused) }
    }

    async fn decide(&self, submission: Submission, request_hash: Digest) -> Result<Submitted, SubmitError> {
        let Submission { tenant, client, key, order, deadline, .. } = submission;
        let begun = Instant::now();
        let deployed = self.active.of(tenant)?;
        let drawn = drawn(tenant, client, &key);
        let course = deployed.as_ref().map(|deployed| deployed.course(drawn));
        let queries = course.map_or_else(|| Arc::from([]), |course| course.queries.clone());
        let (entered, payment, ahead) = self.in_flight.enter(tenant, order, &queries, || self.moment());

        let mut stages = self.stages.follow();
        let case = Case { tenant, client, key: &key, course, queries, entered: &entered, begun, deadline };
        let (outcome, evidence, facts) = match self.judge(case, payment, ahead, &mut stages).await? {
            Judged::Bound(decision) => {
                // Leaves the count at once: it is stored under another id and would be counted twice.
                drop(entered);
                return self.first_decision(tenant, decision).await;
            }
            Judged::Anew { outcome, evidence, facts } => (outcome, *evidence, facts),
        };
        // The client is gone, and whoever follows the tenant does not expect a decision so late.
        if Instant::now() >= deadline {
            return Err(SubmitError::Deadline);
        }
        entered.decided(outcome);
        let origin = Origin::Api;
        let decision = Decision { tenant, client, key, request_hash, origin, outcome, evidence };
        let decision = Arc::new(decision);
        let stored = self.journal.store(decision.clone()).await?;
        stages.ended(Stage::Journal);
        match stored {
            StoreOutcome::First(position) => {
                entered.stored();
                self.counts.count(&decision);
                let decision = StoredDecision { decision, position };
                if let Some(deployed) = deployed {
                    self.follow_up(&decision, deployed, drawn, facts);
                }
                Ok(Submitted { decision, first: true })
            }
            StoreOutcome::Duplicate(decision) => Ok(Submitted { decision, first: false }),
        }
    }

    fn moment(&self) -> (u64, PaymentId) {
        let now_ms = self.world.now_ms();
        (now_ms, PaymentId(self.world.uuid_v7(now_ms)))
    }

    /// What a first decision leads to. Nothing of it is waited for.
    fn follow_up(&self, decision: &StoredDecision, deployed: Arc<Deployed>, drawn: u64, facts: Vec<Fact>) {
        let course = deployed.course(drawn);
        let (tenant, evidence) = (decision.decision.tenant, &decision.decision.evidence);
        self.quarantines.watch(tenant, &course.ruleset, evidence);
        if course.has_shadow() {
            self.shadow.offer(Due { decision: decision.clone(), deployed, drawn, facts });
        }
    }

    /// What is stored of the request outlives its erasure, so it is keyed: a
    /// plain hash would let a guess at the payment be confirmed.
    fn request_hash(&self, digest: &Digest) -> Digest {
        let mut hash = [0; 32];
        hash.copy_from_slice(hmac::sign(&self.request_key, &digest.0).as_ref());
        Digest(hash)
    }

    async fn first_decision(&self, tenant: TenantId, id: PaymentId) -> Result<Submitted, SubmitError> {
        let stored = decisions::get(&self.app, tenant, id).await?;
        Ok(Submitted { decision: stored.ok_or(SubmitError::Failed)?, first: false })
    }
}

/// A number drawn evenly from a payment's key: on every node and at every retry the same.
fn drawn(tenant: TenantId, client: ClientId, key: &IdempotencyKey) -> u64 {
    let of_client = DigestBuilder::default().add(tenant.0.as_bytes()).add(client.0.as_bytes());
    let digest = of_client.add(key.as_str().as_bytes()).finish();
    let mut first = [0; 8];
    first.copy_from_slice(&digest.0[..8]);
    u64::from_be_bytes(first)
}
