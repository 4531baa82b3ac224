//! Replays many stored decisions: parts of the history at the same time, on the engine's background
//! threads.
//!
//! Each decision gets the same result as from [`Replays::replay`]. Only the order of the work is
//! different.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt, TryStreamExt, stream};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{RecordedStates, Replay, ReplayAttempt, ReplayError, Replays};
use crate::domain::decision::RevisionReference;
use crate::domain::payment::PaymentId;
use crate::domain::tenant::TenantId;
use crate::rules::{EngineError, RuleRun, RulesetCall};
use crate::storage::StorageError;
use crate::storage::decisions::{self, StoredDecision, StoredSince};
use crate::storage::pool::SystemPool;

/// Payments in one call of the engine. A call occupies one of its threads.
const CALLS_AT_ONCE: usize = 32;

/// Never reached: the process ends long before.
const DEADLINE: Duration = Duration::from_secs(3_600);

/// Revisions whose states are kept.
const REVISIONS_MAX: usize = 1_000;

/// Decisions that are read in one statement.
const PAGE: u32 = 1_000;
/// Decisions that are replayed together.
const PART: usize = 128;
/// While one part waits for the engine, others are compared.
const PARTS_AT_ONCE: usize = 4;

/// Which decisions are replayed.
#[derive(Debug, Clone, Copy)]
pub struct ReplaySelection {
    /// `None` for all tenants.
    pub tenant: Option<TenantId>,
    pub since_ms: u64,
}

pub type ReplayResult = (PaymentId, Result<Replay, ReplayError>);

#[derive(Debug)]
pub struct HistoryReplays {
    replays: Arc<Replays>,
    states: Mutex<HashMap<(TenantId, RevisionReference), Arc<RecordedStates>>>,
}

impl HistoryReplays {
    pub fn new(replays: Arc<Replays>) -> Self {
        Self { replays, states: Mutex::default() }
    }

    /// Replays all selected decisions. Returns the results of one part after the other, in any order.
    pub fn replay_all(
        self: Arc<Self>,
        system: SystemPool,
        selection: ReplaySelection,
    ) -> impl Stream<Item = Result<Vec<ReplayResult>, StorageError>> {
        let replayed = parts(system, selection).map(move |part| {
            let this = self.clone();
            tokio::spawn(async move { Ok(this.replay(part?).await) }).map(|ended| {
                // A task ends early only by a panic, which the log has.
                ended.unwrap_or(Err(StorageError::Abandoned))
            })
        });
        replayed.buffer_unordered(PARTS_AT_ONCE)
    }

    /// Replays a part of the history. Returns a result for each decision, in any order.
    async fn replay(&self, part: Vec<StoredSince>) -> Vec<ReplayResult> {
        let mut results = Vec::with_capacity(part.len());
        let mut attempts = Vec::with_capacity(part.len());
        for StoredSince { id, decision, .. } in part {
            match self.begin(decision).await {
                Ok(attempt) => attempts.push((id, attempt)),
                Err(error) => results.push((id, Err(error))),
            }
        }
        let mut attempts = attempts.into_iter();
        loop {
            let some: Vec<_> = attempts.by_ref().take(CALLS_AT_ONCE).collect();
            if some.is_empty() {
                return results;
            }
            self.finish(some, &mut results).await;
        }
    }

    async fn begin(
        &self,
        stored: Result<StoredDecision, StorageError>,
    ) -> Result<ReplayAttempt, ReplayError> {
        let recorded = stored?.decision;
        let states = match recorded.evidence.revision {
            Some(reference) => Some(self.states(recorded.tenant, reference).await?),
            None => None,
        };
        let attempt = ReplayAttempt::new(self.replays.engine.id(), recorded, states.as_deref())?;
        for plugin in attempt.calls.iter().map(|call| call.plugin).collect::<BTreeSet<_>>() {
            self.replays.plugins.ensure_loaded(plugin).await?;
        }
        Ok(attempt)
    }

    async fn states(
        &self,
        tenant: TenantId,
        reference: RevisionReference,
    ) -> Result<Arc<RecordedStates>, ReplayError> {
        let mut known = self.states.lock().await;
        if let Some(states) = known.get(&(tenant, reference)) {
            return Ok(states.clone());
        }
        let states = Arc::new(self.replays.states(tenant, reference).await?);
        if known.len() >= REVISIONS_MAX {
            known.clear();
        }
        known.insert((tenant, reference), states.clone());
        Ok(states)
    }

    async fn finish(&self, some: Vec<(PaymentId, ReplayAttempt)>, results: &mut Vec<ReplayResult>) {
        let deadline = Instant::now() + DEADLINE;
        let calls = some.iter().filter_map(|(_, attempt)| attempt.call(deadline)).collect();
        let mut runs = match self.run(calls).await {
            Ok(runs) => runs.into_iter(),
            Err(error) => {
                let failed = some.into_iter().map(|(id, _)| (id, Err(error.clone().into())));
                return results.extend(failed);
            }
        };
        for (id, attempt) in some {
            let own = if attempt.calls.is_empty() { Vec::new() } else { runs.next().unwrap_or_default() };
            results.push((id, attempt.conclude(own)));
        }
    }

    async fn run(&self, calls: Vec<RulesetCall>) -> Result<Vec<Vec<RuleRun>>, EngineError> {
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        let expected: Vec<usize> = calls.iter().map(|call| call.rules.len()).collect();
        let runs = self.replays.engine.evaluate_in_background(calls).await?;
        if runs.iter().map(Vec::len).eq(expected) {
            return Ok(runs);
        }
        Err(EngineError::Unavailable("not all rules were answered".to_owned()))
    }
}

/// The selected decisions in parts. The next page is read while parts of the last one are replayed.
fn parts(
    system: SystemPool,
    selection: ReplaySelection,
) -> impl Stream<Item = Result<Vec<StoredSince>, StorageError>> {
    let ReplaySelection { tenant, since_ms } = selection;
    let pages = stream::try_unfold(None, move |after: Option<(TenantId, PaymentId)>| {
        let system = system.clone();
        async move {
            let page = decisions::since_in_pages(&system, tenant, since_ms, after, PAGE).await?;
            let last = page.last().map(|last| (last.tenant, last.id));
            Ok::<_, StorageError>(last.map(|last| (page, Some(last))))
        }
    });
    pages.map_ok(|page| stream::iter(in_parts(page)).map(Ok)).try_flatten()
}

fn in_parts(mut page: Vec<StoredSince>) -> Vec<Vec<StoredSince>> {
    let mut parts = Vec::new();
    while !page.is_empty() {
        let rest = page.split_off(PART.min(page.len()));
        parts.push(std::mem::replace(&mut page, rest));
    }
    parts
}
