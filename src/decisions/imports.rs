//! Imports the history of another system as stored decisions.
//!
//! Such a decision has the outcome of that system, no revision and no rules. It goes through the
//! journal, so the chain covers it and velocity counts it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::checkpoints::Checkpoints;
use super::counted_store::{self, CountedStoreError};
use crate::domain::audit::{Act, Action};
use crate::domain::comparison::COMPARISON_VERSION;
use crate::domain::decision::{Decision, EngineId, Evidence, IdempotencyKey, Origin};
use crate::domain::payment::{Payment, PaymentId, PaymentOrder};
use crate::domain::payment_event::EventKind;
use crate::domain::plugin::Digest;
use crate::domain::rates::Rates;
use crate::domain::tenant::{ClientId, TenantId};
use crate::domain::time::{Month, World};
use crate::domain::verdict::{FOLD_VERSION, Outcome};
use crate::storage::imports::{self, ImportedEvent};
use crate::storage::journal::{Journal, JournalError, StoreOutcome};
use crate::storage::partitions::ensure_month;
use crate::storage::pool::{AppPool, SystemPool};
use crate::storage::reference::ReferenceMemory;
use crate::storage::search;
use crate::storage::{
    StorageError,
    decisions::{self, StoredDecision},
};

/// The actor of the events and the act.
const ACTOR: &str = "import";
/// The engine of an imported decision, since no engine of ours computed its outcome.
const NO_ENGINE: &str = "none";
/// How long a payment is retried while the journal is full or the database is unavailable.
const PATIENCE: Duration = Duration::from_secs(30);
const BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(50))
    .with_max_delay(Duration::from_secs(1))
    .without_max_times();
/// Each attempt waits at most a second for the lock, which long readers may hold.
const PARTITION_ATTEMPTS: u32 = 5;

/// A payment that another system decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastPayment {
    pub key: IdempotencyKey,
    /// Shows whether a payment that is stored under the same key is the same payment.
    pub request_hash: Digest,
    /// The digest by which earlier releases recognised the line.
    pub earlier_hash: Digest,
    pub order: PaymentOrder,
    pub received_at_ms: u64,
    pub outcome: Outcome,
    pub events: Vec<PastEvent>,
}

/// A payment event of the other system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastEvent {
    pub kind: EventKind,
    pub at_ms: u64,
    pub note: String,
}

/// A payment that is stored. Its events are not yet.
#[derive(Debug)]
pub struct ImportedPayment {
    /// False if an earlier run stored it.
    pub first: bool,
    pub events: Vec<ImportedEvent>,
}

#[derive(Debug, Error)]
pub enum ImportError {
    #[error("another payment was already imported under this key")]
    KeyTaken,
    #[error("the payment that was imported under this key has been erased")]
    Erased,
    #[error("the database does not accept this payment")]
    Refused,
    #[error("the database cannot be reached; run the import again (no payment is stored twice)")]
    Unavailable,
}

/// The counts of a run, for the audit log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImportCounts {
    pub stored: u64,
    pub already_there: u64,
    pub refused: u64,
    /// Only new ones.
    pub events: u64,
}

/// What earlier runs stored for the tenant.
#[derive(Debug, Clone)]
pub struct EarlierRuns {
    pub tenant: TenantId,
    /// The same client for all runs of the tenant, since keys are unique only for each client.
    pub client: ClientId,
    pub app: AppPool,
}

impl EarlierRuns {
    /// The id of a payment that is refused now, if an earlier run stored it.
    pub async fn stored(&self, past: &PastPayment) -> Result<Option<PaymentId>, ImportError> {
        let found = decisions::by_key(&self.app, self.tenant, self.client, &past.key).await;
        let found = found.map_err(|error| match error {
            StorageError::Erased => ImportError::Erased,
            _ => ImportError::Unavailable,
        })?;
        found.map(|stored| bound([past.request_hash, past.earlier_hash], &stored)).transpose()
    }
}

/// One run of an import, for one tenant.
#[derive(Debug)]
pub struct Imports {
    pub earlier: EarlierRuns,
    pub system: SystemPool,
    pub journal: Journal,
    pub reference: ReferenceMemory,
    /// The checkpoints of `journal`. Without them, the end of an import could be cut off
    /// undetected.
    pub checkpoints: Arc<Checkpoints>,
    pub world: World,
    /// The months for which this run has tried to create a partition.
    pub months: Mutex<HashSet<Month>>,
}

impl Imports {
    /// Returns once the decision is committed, by this run or an earlier one.
    pub async fn store(&self, past: PastPayment) -> Result<ImportedPayment, ImportError> {
        self.ensure_partition(Month::of(past.received_at_ms)).await;
        let (events, hashes) = (past.events.clone(), [past.request_hash, past.earlier_hash]);
        let decision = self.decision(past);
        let own = decision.id();
        let (id, first) = match self.store_patiently(&decision).await? {
            StoreOutcome::First(_) => (own, true),
            StoreOutcome::Duplicate(stored) => (bound(hashes, &stored)?, stored.decision.id() == own),
        };
        Ok(self.imported(id, first, events))
    }

    /// A payment that is refused now. `None` if no earlier run stored it.
    pub async fn stored(&self, past: PastPayment) -> Result<Option<ImportedPayment>, ImportError> {
        let stored = self.earlier.stored(&past).await?;
        Ok(stored.map(|id| self.imported(id, false, past.events)))
    }

    fn imported(&self, id: PaymentId, first: bool, events: Vec<PastEvent>) -> ImportedPayment {
        ImportedPayment { first, events: events.into_iter().map(|event| self.event(id, event)).collect() }
    }

    /// Returns how many were new.
    pub async fn store_events(&self, events: Vec<ImportedEvent>) -> Result<u64, StorageError> {
        if events.is_empty() {
            return Ok(0);
        }
        imports::insert_events(&self.earlier.app, self.earlier.tenant, events, ACTOR, self.world.now_ms())
            .await
    }

    /// Stops the journal, signs its checkpoints, indexes what was stored and records the run in the
    /// audit log.
    pub async fn finish(&self, subject: &str, counts: ImportCounts) -> Result<(), StorageError> {
        self.journal.flush_and_stop().await;
        let writers: Vec<_> = self.journal.tips().iter().map(|tip| tip.writer).collect();
        if let Err(error) = search::index_writers(&self.system, &writers).await {
            tracing::warn!(%error, "the import is stored; a node will index it for the search");
        }
        let checkpoints = self.checkpoints.clone();
        let now_ms = self.world.now_ms();
        let made = tokio::task::spawn_blocking(move || checkpoints.make(now_ms)).await;
        if let Err(error) = made.map_err(std::io::Error::from).flatten() {
            tracing::warn!(%error, "the checkpoints of the import could not be written");
        }
        let after = serde_json::json!({
            "stored": counts.stored,
            "already_there": counts.already_there,
            "refused": counts.refused,
            "events": counts.events,
        });
        let act = Act {
            at_ms: self.world.now_ms(),
            actor: ACTOR.into(),
            action: Action::HistoryImported,
            subject: subject.to_owned(),
            before: None,
            after: Some(after.to_string()),
        };
        imports::record_run(&self.earlier.app, self.earlier.tenant, act).await
    }

    fn decision(&self, past: PastPayment) -> Decision {
        let id = PaymentId(self.world.uuid_v7(past.received_at_ms));
        Decision {
            tenant: self.earlier.tenant,
            client: self.earlier.client,
            key: past.key,
            request_hash: past.request_hash,
            origin: Origin::Import,
            outcome: past.outcome,
            evidence: Evidence {
                payment: Arc::new(Payment { id, received_at_ms: past.received_at_ms, order: past.order }),
                revision: None,
                rules: Vec::new(),
                engine: EngineId(NO_ENGINE.to_owned()),
                fold_version: FOLD_VERSION,
                reasons: Vec::new(),
                comparison_version: COMPARISON_VERSION,
            },
        }
    }

    fn event(&self, payment: PaymentId, event: PastEvent) -> ImportedEvent {
        let PastEvent { kind, at_ms, note } = event;
        ImportedEvent { id: self.world.uuid_v7(at_ms), payment, kind, at_ms, note }
    }

    /// If it is unknown whether a decision was stored, storing it again settles that.
    async fn store_patiently(&self, decision: &Decision) -> Result<StoreOutcome, ImportError> {
        let mut give_up_at = None;
        let may_retry = |error: &CountedStoreError| {
            let now = Instant::now();
            let in_time = now <= *give_up_at.get_or_insert(now + PATIENCE);
            in_time
                && !matches!(error, CountedStoreError::Journal(JournalError::Refused | JournalError::Erased))
        };
        let attempt = || {
            let decision = Arc::new(decision.clone());
            counted_store::store(&self.journal, &self.reference, decision, Rates::default())
        };
        attempt.retry(BACKOFF).when(may_retry).await.map_err(|error| match error {
            CountedStoreError::Journal(JournalError::Erased) => ImportError::Erased,
            CountedStoreError::Journal(JournalError::Refused) => ImportError::Refused,
            CountedStoreError::Journal(_) | CountedStoreError::Storage(_) => ImportError::Unavailable,
        })
    }

    /// A failure does not end the import: the decisions of a month without a partition are stored
    /// in the default partition.
    async fn ensure_partition(&self, month: Month) {
        // Held until the end: decisions in the default partition would prevent the month's own from
        // being created.
        let mut months = self.months.lock().await;
        if !months.insert(month) {
            return;
        }
        let mut attempt = 1;
        loop {
            match ensure_month(&self.system, month).await {
                Ok(_) => return,
                Err(error) if error.is_lock_timeout() && attempt < PARTITION_ATTEMPTS => attempt += 1,
                Err(error) => {
                    tracing::warn!(
                        %month, ?error,
                        "a month has no partition; its decisions are stored in the default partition"
                    );
                    return;
                }
            }
        }
    }
}

/// The payment a key is bound to, if it is the same one.
fn bound(hashes: [Digest; 2], stored: &StoredDecision) -> Result<PaymentId, ImportError> {
    let same = hashes.contains(&stored.decision.request_hash);
    if same { Ok(stored.decision.id()) } else { Err(ImportError::KeyTaken) }
}
