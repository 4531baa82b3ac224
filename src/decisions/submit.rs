//! Submitting a payment to get a decision.
//!
//! A decision is returned only after its commit. A concurrent duplicate joins the first submission
//! of its key. If the deadline passes, the client does not know the result and retries with the
//! same key. Work that has begun goes on and must never be cancelled.

mod judging;

use std::sync::Arc;

use aws_lc_rs::hmac;
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use super::counted_store::{self, CountedStoreError};
use super::counts::DecisionCounts;
use super::deployment::LoadedDeployment;
use super::deployments::{DeploymentError, Deployments};
use super::in_flight::PaymentsInFlight;
use super::quarantine::Quarantines;
use super::shadow::{ShadowRuns, ShadowTask};
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
use crate::storage::reference::ReferenceMemory;
use crate::storage::{StorageError, decisions, request_digest};
use judging::{PaymentContext, PaymentJudgement};

#[derive(Debug, Clone)]
pub struct PaymentSubmission {
    pub tenant: TenantId,
    pub client: ClientId,
    pub key: IdempotencyKey,
    pub order: PaymentOrder,
    pub deadline: Instant,
}

#[derive(Debug, Clone)]
pub struct SubmittedPayment {
    pub decision: StoredDecision,
    /// False for a retry, which gets the decision of the first submission.
    pub first: bool,
}

#[derive(Debug, Clone, Error)]
pub enum SubmitError {
    #[error("the key was already used for another payment")]
    KeyReused,
    /// The payment that was submitted with this key is erased, so it cannot be compared with this one.
    #[error("the payment that was submitted with this key has been erased")]
    Erased,
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
            StorageError::Erased => Self::Erased,
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

/// The payment must not be decided without its rules: the key would be bound to that decision.
impl From<DeploymentError> for SubmitError {
    fn from(error: DeploymentError) -> Self {
        match error {
            DeploymentError::NotLoaded => Self::Unavailable,
            DeploymentError::Deadline => Self::Deadline,
        }
    }
}

impl From<JournalError> for SubmitError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Full => Self::Busy,
            JournalError::Unavailable | JournalError::NeedsRates => Self::Unavailable,
            JournalError::Erased => Self::Erased,
            JournalError::Refused => Self::Failed,
        }
    }
}

impl From<CountedStoreError> for SubmitError {
    fn from(error: CountedStoreError) -> Self {
        match error {
            CountedStoreError::Journal(error) => error.into(),
            CountedStoreError::Storage(error) => error.into(),
        }
    }
}

/// Keys are unique only for each client of a tenant.
pub type KeyOwner = (TenantId, ClientId, IdempotencyKey);

#[derive(Debug)]
pub struct Submissions {
    pub app: AppPool,
    pub facts: FactReader,
    pub reference: Arc<ReferenceMemory>,
    pub engine: Arc<dyn RuleEngine>,
    pub active: Arc<Deployments>,
    pub quarantines: Arc<Quarantines>,
    pub shadow: Arc<ShadowRuns>,
    pub journal: Arc<Journal>,
    pub flights: SingleFlight<KeyOwner, Result<SubmittedPayment, SubmitError>>,
    pub in_flight: Arc<PaymentsInFlight>,
    pub world: World,
    /// HMAC-SHA256. It must be the same on every node, since retries are recognised by it.
    pub request_key: hmac::Key,
    pub stages: StageMeters,
    pub counts: DecisionCounts,
}

impl Submissions {
    /// `earlier_digest` is the digest of the body's canonical JSON, by which earlier releases
    /// recognised a retry.
    pub async fn submit(
        self: &Arc<Self>,
        submission: PaymentSubmission,
        earlier_digest: impl FnOnce() -> Digest,
    ) -> Result<SubmittedPayment, SubmitError> {
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
        Ok(SubmittedPayment { first: submitted.first && !joined, ..submitted })
    }

    /// The stored decision of a payment that is refused now. `None` if its key is not bound.
    pub async fn repeated(
        &self,
        submission: &PaymentSubmission,
        earlier_digest: impl FnOnce() -> Digest,
    ) -> Result<Option<SubmittedPayment>, SubmitError> {
        let PaymentSubmission { tenant, client, key, order, .. } = submission;
        let Some(decision) = decisions::by_key(&self.app, *tenant, *client, key).await? else {
            return Ok(None);
        };
        let request_hash = self.request_hash(&request_digest::of_order(order));
        self.check_same(&decision, request_hash, earlier_digest)?;
        Ok(Some(SubmittedPayment { decision, first: false }))
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

    async fn decide(
        &self,
        submission: PaymentSubmission,
        request_hash: Digest,
    ) -> Result<SubmittedPayment, SubmitError> {
        let PaymentSubmission { tenant, client, key, order, deadline, .. } = submission;
        let begun = Instant::now();
        let deployment = self.active.of(tenant, deadline).await?;
        let draw = draw(tenant, client, &key);
        let path = deployment.as_ref().map(|deployment| deployment.path(draw));
        let queries = path.map_or_else(|| Arc::from([]), |path| path.queries.clone());
        let known = self.journal.series();
        let series = known.of(tenant).map_or(&[][..], |series| series.all());
        let now_ms = self.world.now_ms();
        let current = async |now_ms| {
            counted_store::current_rates(&self.reference, tenant, series, &queries, now_ms).await
        };
        let mut rates = timeout_at(deadline, current(now_ms)).await.map_err(|_| SubmitError::Deadline)??;
        let (entered, payment, mut ahead) =
            self.in_flight.enter(tenant, order, &queries, series, &rates, || self.moment());
        if payment.received_at_ms > now_ms + counted_store::KNOWN_AHEAD_MS {
            let again = timeout_at(deadline, current(payment.received_at_ms)).await;
            rates = again.map_err(|_| SubmitError::Deadline)??;
            ahead = entered.ahead(&queries, &rates);
        }

        let mut stages = self.stages.follow();
        let case = PaymentContext {
            tenant,
            client,
            key: &key,
            path,
            queries: queries.clone(),
            rates: rates.clone(),
            entered: &entered,
            begun,
            deadline,
        };
        let (outcome, evidence, facts) = match self.judge(case, payment, ahead, &mut stages).await? {
            PaymentJudgement::AlreadyDecided(decision) => {
                // It leaves the count before the read: it is stored under another id, and other
                // payments would count both.
                drop(entered);
                return self.first_decision(tenant, decision).await;
            }
            PaymentJudgement::New { outcome, evidence, facts } => (outcome, *evidence, facts),
        };
        // Not stored this late: the client has gone, and the feed would miss the decision.
        if Instant::now() >= deadline {
            return Err(SubmitError::Deadline);
        }
        entered.set_outcome(outcome);
        let origin = Origin::Api;
        let decision = Decision { tenant, client, key, request_hash, origin, outcome, evidence };
        let decision = Arc::new(decision);
        let stored = counted_store::store(&self.journal, &self.reference, decision.clone(), rates).await?;
        stages.ended(Stage::Journal);
        match stored {
            StoreOutcome::First(position) => {
                entered.stored();
                self.counts.count(&decision);
                let decision = StoredDecision { decision, position };
                if let Some(deployment) = deployment {
                    self.follow_up(&decision, deployment, draw, facts);
                }
                Ok(SubmittedPayment { decision, first: true })
            }
            StoreOutcome::Duplicate(decision) => Ok(SubmittedPayment { decision, first: false }),
        }
    }

    fn moment(&self) -> (u64, PaymentId) {
        let now_ms = self.world.now_ms();
        (now_ms, PaymentId(self.world.uuid_v7(now_ms)))
    }

    /// Counts for quarantine and queues shadow runs. Waits for neither.
    fn follow_up(
        &self,
        decision: &StoredDecision,
        deployment: Arc<LoadedDeployment>,
        draw: u64,
        facts: Vec<Fact>,
    ) {
        let path = deployment.path(draw);
        let (tenant, evidence) = (decision.decision.tenant, &decision.decision.evidence);
        self.quarantines.watch(tenant, &path.ruleset, evidence);
        if path.has_shadow() {
            self.shadow.offer(ShadowTask { decision: decision.clone(), deployment, draw, facts });
        }
    }

    /// The hash is kept when the payment is erased. It is keyed, so that a guess at the payment
    /// cannot be confirmed by hashing it.
    fn request_hash(&self, digest: &Digest) -> Digest {
        let mut hash = [0; 32];
        hash.copy_from_slice(hmac::sign(&self.request_key, &digest.0).as_ref());
        Digest(hash)
    }

    async fn first_decision(&self, tenant: TenantId, id: PaymentId) -> Result<SubmittedPayment, SubmitError> {
        let stored = decisions::get(&self.app, tenant, id).await?;
        Ok(SubmittedPayment { decision: stored.ok_or(SubmitError::Failed)?, first: false })
    }
}

/// An evenly distributed number, computed from the payment's key. It decides whether the canary
/// decides the payment, and is the same on every node and for every retry.
fn draw(tenant: TenantId, client: ClientId, key: &IdempotencyKey) -> u64 {
    let of_client = DigestBuilder::default().with(tenant.0.as_bytes()).with(client.0.as_bytes());
    let digest = of_client.with(key.as_str().as_bytes()).finish();
    let mut first = [0; 8];
    first.copy_from_slice(&digest.0[..8]);
    u64::from_be_bytes(first)
}
