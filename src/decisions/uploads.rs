//! Plugins that tenants hand in: looked at at once, taken in later by whichever
//! node comes first.
//!
//! Owns the way from bytes to a plugin or a refusal. Must never compile inside
//! of a request, and never lose what was handed in.

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

/// A claim that is not renewed ends, and any node takes the upload up again.
const LEASE_MS: u32 = 10_000;
const RENEWED_EVERY: Duration = Duration::from_secs(2);

/// As often may a node end in the middle of an upload before that is held against it.
const ATTEMPTS_MAX: i32 = 3;

/// Between attempts at an upload that failed through no fault of its bytes.
const FAILURE_BACKOFF_MAX: Duration = Duration::from_secs(300);
const FAILURE_BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_secs(5))
    .with_max_delay(FAILURE_BACKOFF_MAX)
    .without_max_times();
/// Half an hour of that, then whoever handed it in is told.
const FAILURES_MAX: i32 = 10;

/// Bytes that are stored take as long as if they were compiled, up to here.
const STORED_WAITS_MAX_MS: u64 = 30_000;

/// The compiler quotes names out of the bytes, and they may be as long as these.
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
    /// Where bytes wait until they have all come.
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
    handed_in: ByProfile<Notify>,
    /// Kilobytes that may be in memory at once to be looked at and stored.
    memory: Semaphore,
    /// One for all tenants, behind payments: megabytes can be made to take a second to read.
    looking: Threads,
}

/// What became of a claim.
enum AttemptEnd {
    Ended(UploadResult),
    /// The machine failed, not the bytes.
    Failed(EngineError),
    /// It is no small plugin, and its turn is that of one.
    NeedsLarge,
    /// The node is to stop.
    Stopped,
    /// Another node has taken it over.
    Lost,
}

impl AttemptEnd {
    /// As text that can be stored and shown: hostile names hold any character.
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
        let looking = Threads::start("uploads", 1, BACKGROUND_NICENESS)?;
        let memory = Semaphore::new(kib(settings.size_max_bytes) as usize);
        let handed_in = ByProfile::default();
        Ok(Self { app, system, engine, turns, world, settings, node, handed_in, memory, looking })
    }

    /// Where bytes wait until they have all come.
    pub fn spool_folder(&self) -> &Path {
        &self.settings.spool_folder
    }

    /// Looks at a tenant's bytes and stores them for a worker. `announced` is
    /// the digest the client expects.
    pub async fn upload(
        &self,
        tenant: TenantId,
        actor: &str,
        spool: Spool,
        announced: Option<Digest>,
    ) -> Result<TenantPlugin, UploadError> {
        // A small one waits behind a large one for as long as that takes to be stored.
        let share = kib(spool.size_bytes().min(self.settings.size_max_bytes));
        let _memory = self.memory.acquire_many(share).await.map_err(|_| StorageError::Abandoned)?;
        let looked_at = self.looking.run(async move { look_at(spool, announced) });
        let InspectedUpload { digest, profile, bytes } =
            looked_at.await.map_err(|_| StorageError::Abandoned)??;
        let (actor, now_ms) = (actor.to_owned(), self.world.now_ms());
        let new = NewUpload { tenant, digest, bytes, profile, actor, now_ms };
        let seen = uploads::add(&self.app, new, self.settings.quotas).await?;
        self.handed_in.of(profile).notify_one();
        Ok(seen)
    }

    /// Returns when somebody has handed something in at this node.
    pub async fn wait_for_upload(&self, profile: Profile) {
        self.handed_in.of(profile).notified().await;
    }

    /// Works through the uploads that wait in a queue, until none is left.
    pub async fn process_waiting(
        &self,
        profile: Profile,
        stop: &CancellationToken,
    ) -> Result<(), StorageError> {
        // Asked before anything is taken that others wait for: most of the time nothing waits.
        while !stop.is_cancelled() && uploads::is_any_waiting(&self.system, profile).await? {
            let Some(turn) = stop.run_until_cancelled(self.turns.take(profile)).await else { break };
            // The database sends the bytes in one piece, and they are copied once: so no other
            // upload may be in memory meanwhile.
            let all = self.memory.acquire_many(kib(self.settings.size_max_bytes));
            let Some(memory) = stop.run_until_cancelled(all).await else { break };
            let (turn, memory) = (turn?, memory.map_err(|_| StorageError::Abandoned)?);
            let now_ms = self.world.now_ms();
            let claimed = uploads::claim(&self.system, self.node, LEASE_MS, profile, now_ms).await?;
            drop(memory);
            let Some(claim) = claimed else { break };
            self.take_in(claim, profile, turn, stop).await?;
        }
        Ok(())
    }

    async fn take_in(
        &self,
        claim: UploadClaim,
        profile: Profile,
        turn: SemaphorePermit<'_>,
        stop: &CancellationToken,
    ) -> Result<(), StorageError> {
        let (tenant, digest, begun) = (claim.tenant, claim.digest, Instant::now());
        let failures = claim.failures;
        let failure_backoff = match self.work(claim, profile, turn, stop).await {
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
                self.handed_in.of(Profile::Large).notify_one();
                return Ok(());
            }
            AttemptEnd::Lost => return Ok(()),
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

    async fn work(
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
        let take_in = async {
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
            worked = take_in => worked,
            () = self.keep(tenant, digest) => AttemptEnd::Lost,
            () = stop.cancelled() => AttemptEnd::Stopped,
        }
    }

    /// Renews a claim for as long as it can be; returns when it is lost.
    async fn keep(&self, tenant: TenantId, digest: Digest) {
        loop {
            tokio::time::sleep(RENEWED_EVERY).await;
            match uploads::renew(&self.system, self.node, tenant, digest, LEASE_MS).await {
                Ok(true) => {}
                Ok(false) => return,
                // Whoever takes it over meanwhile is told by the next renewal.
                Err(error) => tracing::warn!(%digest, ?error, "the claim on an upload could not be renewed"),
            }
        }
    }
}

fn backoff_after(failures: i32) -> Duration {
    let earlier = usize::try_from(failures).unwrap_or(0);
    FAILURE_BACKOFF.build().nth(earlier).unwrap_or(FAILURE_BACKOFF_MAX)
}

/// Rounded up, so that many small ones count as well. A plugin has at most 128 MiB.
fn kib(size_bytes: u64) -> u32 {
    u32::try_from(size_bytes.div_ceil(1024)).unwrap_or(u32::MAX).max(1)
}

/// Bytes that may be a plugin.
struct InspectedUpload {
    digest: Digest,
    profile: Profile,
    bytes: Vec<u8>,
}

/// Everything that can be said without compiling.
fn look_at(spool: Spool, announced: Option<Digest>) -> Result<InspectedUpload, UploadError> {
    let bytes = spool.read().map_err(SpoolError::Keep)?;
    let actual = Digest::of(&bytes);
    if announced.is_some_and(|announced| announced != actual) {
        return Err(UploadError::DigestMismatch { actual });
    }
    let inspection = inspect(&bytes).map_err(|error| UploadError::Refused(error.to_string()))?;
    Ok(InspectedUpload { digest: actual, profile: expected_profile(&inspection), bytes })
}
