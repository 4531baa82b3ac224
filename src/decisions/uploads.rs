//! Uploads of plugins: inspected in the request, compiled later by any node.
//!
//! A request must never compile a plugin: that can take minutes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use thiserror::Error;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::compile_turns::CompileTurns;
use super::spool::{Spool, SpoolError};
use crate::domain::plugin::{ByProfile, Digest, Profile, TenantPlugin};
use crate::domain::tenant::TenantId;
use crate::domain::time::World;
use crate::rules::component::inspect;
use crate::rules::{AddPluginError, BACKGROUND_NICENESS, EngineError, RuleEngine, Threads, expected_profile};
use crate::storage::StorageError;
use crate::storage::pool::{AppPool, SystemPool};
use crate::storage::uploads::{
    self, NewUpload, NewUploadError, UploadClaim, UploadQuotas, UploadResult, UploadWork,
};

/// A claim that is not renewed expires, and any node may claim the upload again.
const LEASE_MS: u32 = 10_000;
const RENEW_EVERY: Duration = Duration::from_secs(2);

/// The upload is refused after this many attempts during which the node died.
const ATTEMPTS_MAX: i32 = 3;

/// The backoff after attempts that failed for a cause other than the bytes.
const FAILURE_BACKOFF_MAX: Duration = Duration::from_secs(300);
const FAILURE_BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_secs(5))
    .with_max_delay(FAILURE_BACKOFF_MAX)
    .without_max_times();
/// The upload is refused after this many such failures, which take about half an hour.
const FAILURES_MAX: i32 = 10;

/// Bytes that another tenant has are not compiled again. They wait as long as their compilation
/// took, but never longer than this, so that the time does not reveal the other tenant's upload.
const STORED_WAITS_MAX_MS: u64 = 30_000;

/// Messages of the compiler quote names from the plugin, which may be very long.
const REFUSAL_CHARS_MAX: usize = 2_000;

#[derive(Debug, Error)]
pub enum UploadError {
    /// The text says what is wrong with the bytes and what to do about it.
    #[error("{0}")]
    Refused(String),
    #[error("the body has the digest {actual}, which is not the one announced")]
    DigestMismatch { actual: Digest },
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    NewUpload(#[from] NewUploadError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

#[derive(Debug, Clone)]
pub struct UploadSettings {
    pub quotas: UploadQuotas,
    /// The folder for bodies that are being received.
    pub spool_folder: PathBuf,
    pub size_max_bytes: u64,
}

#[derive(Debug)]
pub struct Uploads {
    app: AppPool,
    system: SystemPool,
    engine: Arc<dyn RuleEngine>,
    turns: Arc<CompileTurns>,
    world: World,
    settings: UploadSettings,
    node: Uuid,
    arrivals: ByProfile<Notify>,
    /// The kibibytes of uploads that may be in memory at once.
    memory: Semaphore,
    /// One thread of low priority, since a hostile plugin can take a second to inspect.
    inspecting: Threads,
}

/// How an attempt on an upload ended.
enum AttemptEnd {
    Ended(UploadResult),
    /// The machine failed, not the bytes.
    Failed(EngineError),
    /// The plugin needs the large limits, and this is a turn for small ones.
    NeedsLarge,
    /// The node is stopping.
    Stopped,
    /// The lease was lost.
    ClaimLost,
}

impl AttemptEnd {
    /// Removes control characters, which hostile names may contain, and cuts the text.
    fn refused(why: &str) -> Self {
        let shown = why.chars().map(|c| if c.is_control() { ' ' } else { c });
        Self::Ended(UploadResult::Refused(shown.take(REFUSAL_CHARS_MAX).collect()))
    }
}

impl Uploads {
    pub fn new(
        app: AppPool,
        system: SystemPool,
        engine: Arc<dyn RuleEngine>,
        turns: Arc<CompileTurns>,
        world: World,
        settings: UploadSettings,
        node: Uuid,
    ) -> std::io::Result<Self> {
        let inspecting = Threads::start("uploads", 1, BACKGROUND_NICENESS)?;
        let memory = Semaphore::new(kib(settings.size_max_bytes) as usize);
        let arrivals = ByProfile::default();
        Ok(Self { app, system, engine, turns, world, settings, node, arrivals, memory, inspecting })
    }

    /// The folder for bodies that are being received.
    pub fn spool_folder(&self) -> &Path {
        &self.settings.spool_folder
    }

    /// Inspects a tenant's bytes and stores them for a worker. `announced` is the digest that the
    /// client expects.
    pub async fn upload(
        &self,
        tenant: TenantId,
        actor: &str,
        spool: Spool,
        announced: Option<Digest>,
    ) -> Result<TenantPlugin, UploadError> {
        // A small upload may wait until a large one is stored.
        let share = kib(spool.size_bytes().min(self.settings.size_max_bytes));
        let _memory = self.memory.acquire_many(share).await.map_err(|_| StorageError::Abandoned)?;
        let inspected = self.inspecting.run(async move { inspect_spool(spool, announced) });
        let InspectedUpload { digest, profile, bytes } =
            inspected.await.map_err(|_| StorageError::Abandoned)??;
        let (actor, now_ms) = (actor.to_owned(), self.world.now_ms());
        let new = NewUpload { tenant, digest, bytes, profile, actor, now_ms };
        let seen = uploads::add(&self.app, new, self.settings.quotas).await?;
        self.arrivals.of(profile).notify_one();
        Ok(seen)
    }

    /// Returns once this node has put an upload into the queue.
    pub async fn wait_for_upload(&self, profile: Profile) {
        self.arrivals.of(profile).notified().await;
    }

    /// Processes the uploads that wait in a queue, until none is left.
    pub async fn process_waiting(
        &self,
        profile: Profile,
        stop: &CancellationToken,
    ) -> Result<(), StorageError> {
        // Checked before a turn is taken: the queue is usually empty, and others may wait for the
        // turn.
        while !stop.is_cancelled() && uploads::is_any_waiting(&self.system, profile).await? {
            let Some(turn) = stop.run_until_cancelled(self.turns.take(profile)).await else { break };
            // While the bytes are read they are in memory twice, so there must be no other upload
            // in memory.
            let all = self.memory.acquire_many(kib(self.settings.size_max_bytes));
            let Some(memory) = stop.run_until_cancelled(all).await else { break };
            let (turn, memory) = (turn?, memory.map_err(|_| StorageError::Abandoned)?);
            let now_ms = self.world.now_ms();
            let claimed = uploads::claim(&self.system, self.node, LEASE_MS, profile, now_ms).await?;
            drop(memory);
            let Some(claim) = claimed else { break };
            self.process(claim, profile, turn, stop).await?;
        }
        Ok(())
    }

    async fn process(
        &self,
        claim: UploadClaim,
        profile: Profile,
        turn: SemaphorePermit<'_>,
        stop: &CancellationToken,
    ) -> Result<(), StorageError> {
        let (tenant, digest, begun) = (claim.tenant, claim.digest, Instant::now());
        let failures = claim.failures;
        let failure_backoff = match self.attempt(claim, profile, turn, stop).await {
            AttemptEnd::Ended(ending) => {
                let refused = if let UploadResult::Refused(why) = &ending { Some(why.clone()) } else { None };
                let now_ms = self.world.now_ms();
                if uploads::finish(&self.system, self.node, tenant, digest, ending, now_ms).await? {
                    let took_ms = begun.elapsed().as_millis();
                    tracing::info!(%tenant, %digest, took_ms, refused, "finished processing an upload");
                }
                return Ok(());
            }
            AttemptEnd::NeedsLarge => {
                uploads::move_to_large(&self.system, self.node, tenant, digest).await?;
                self.arrivals.of(Profile::Large).notify_one();
                return Ok(());
            }
            AttemptEnd::ClaimLost => return Ok(()),
            AttemptEnd::Stopped => None,
            AttemptEnd::Failed(error) => {
                tracing::warn!(
                    %tenant, %digest, %error, failures,
                    "processing an upload failed and will be retried"
                );
                Some(backoff_after(failures))
            }
        };
        uploads::release(&self.system, self.node, tenant, digest, failure_backoff).await
    }

    async fn attempt(
        &self,
        claim: UploadClaim,
        profile: Profile,
        turn: SemaphorePermit<'_>,
        stop: &CancellationToken,
    ) -> AttemptEnd {
        let UploadClaim { tenant, digest, matter, attempts, failures } = claim;
        if attempts > ATTEMPTS_MAX {
            return AttemptEnd::refused(&format!(
                "compiling the plugin was started {ATTEMPTS_MAX} times, and each time the node stopped \
                 before it finished: make the plugin smaller or its functions simpler"
            ));
        }
        let process = async {
            let bytes = match matter {
                UploadWork::Compile(bytes) => bytes,
                UploadWork::Stored { compile_ms } => {
                    drop(turn);
                    tokio::time::sleep(Duration::from_millis(compile_ms.min(STORED_WAITS_MAX_MS))).await;
                    return AttemptEnd::Ended(UploadResult::Stored);
                }
            };
            match self.engine.add_plugin(bytes, profile).await {
                Ok(plugin) if plugin.digest == digest => {
                    AttemptEnd::Ended(UploadResult::Ready(Box::new(plugin)))
                }
                Ok(_) => AttemptEnd::refused("the stored plugin is damaged; upload it again"),
                Err(AddPluginError::Refused(why)) => AttemptEnd::refused(&why),
                Err(AddPluginError::NeedsLarge) => AttemptEnd::NeedsLarge,
                Err(AddPluginError::Engine(error)) if failures >= FAILURES_MAX => {
                    tracing::error!(%tenant, %digest, %error, "gave up processing an upload");
                    AttemptEnd::refused(
                        "the plugin could not be compiled because of an internal error; upload it again \
                         later",
                    )
                }
                Err(AddPluginError::Engine(error)) => AttemptEnd::Failed(error),
            }
        };
        tokio::select! {
            end = process => end,
            () = self.keep(tenant, digest) => AttemptEnd::ClaimLost,
            () = stop.cancelled() => AttemptEnd::Stopped,
        }
    }

    /// Renews a claim. Returns once it is lost.
    async fn keep(&self, tenant: TenantId, digest: Digest) {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            match uploads::renew(&self.system, self.node, tenant, digest, LEASE_MS).await {
                Ok(true) => {}
                Ok(false) => return,
                // If the lease expires meanwhile, the next renewal finds out.
                Err(error) => tracing::warn!(%digest, ?error, "the claim on an upload could not be renewed"),
            }
        }
    }
}

fn backoff_after(failures: i32) -> Duration {
    let earlier = usize::try_from(failures).unwrap_or(0);
    FAILURE_BACKOFF.build().nth(earlier).unwrap_or(FAILURE_BACKOFF_MAX)
}

/// Rounded up, so that many small uploads count as well. A plugin has at most 128 MiB.
fn kib(size_bytes: u64) -> u32 {
    u32::try_from(size_bytes.div_ceil(1024)).unwrap_or(u32::MAX).max(1)
}

struct InspectedUpload {
    digest: Digest,
    profile: Profile,
    bytes: Vec<u8>,
}

/// Checks everything that needs no compilation.
fn inspect_spool(spool: Spool, announced: Option<Digest>) -> Result<InspectedUpload, UploadError> {
    let bytes = spool.read().map_err(SpoolError::Keep)?;
    let actual = Digest::of(&bytes);
    if announced.is_some_and(|announced| announced != actual) {
        return Err(UploadError::DigestMismatch { actual });
    }
    let inspection = inspect(&bytes).map_err(|error| UploadError::Refused(error.to_string()))?;
    Ok(InspectedUpload { digest: actual, profile: expected_profile(&inspection), bytes })
}
