//! Plugins that tenants hand in: looked at at once, taken in later by whichever
//! node comes first.
//!
//! Owns the way from bytes to a plugin or a refusal. Must never compile inside
//! of a request, and never lose what was handed in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use thiserror::Error;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::plugins::digest_of;
use crate::domain::plugin::{Digest, TenantPlugin};
use crate::domain::tenant::TenantId;
use crate::domain::time::Clock;
use crate::rules::component::inspect;
use crate::rules::{AddPluginError, EngineError, RuleEngine};
use crate::storage::uploads::{self, Claim, Ending, HandInError, NewUpload, UploadQuotas};
use crate::storage::{StorageError, plugins};

/// A claim that is not renewed ends, and any node takes the upload up again.
const LEASE_MS: u32 = 10_000;
const RENEWED_EVERY: Duration = Duration::from_secs(2);

/// As often may a node end in the middle of an upload before that is held against it.
const ATTEMPTS_MAX: i32 = 3;

/// Before an upload is tried again that failed for want of the machine.
const PAUSE_MS: u32 = 5_000;

#[derive(Debug, Error)]
pub enum UploadError {
    /// The text says what is wrong with the bytes and what to do about it.
    #[error("{0}")]
    Refused(String),
    #[error("the bytes have the digest {actual}, not the one announced")]
    DigestMismatch { actual: Digest },
    #[error(transparent)]
    HandIn(#[from] HandInError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

#[derive(Debug)]
pub struct Uploads {
    app: PgPool,
    system: PgPool,
    engine: Arc<dyn RuleEngine>,
    clock: Arc<dyn Clock>,
    quotas: UploadQuotas,
    node: Uuid,
    handed_in: Notify,
}

/// What became of a claim.
enum Worked {
    Ended(Ending),
    /// The machine failed, not the bytes.
    Failed(EngineError),
    /// The node is to stop.
    Stopped,
    /// Another node has taken it over.
    Lost,
}

impl Uploads {
    pub fn new(
        app: PgPool,
        system: PgPool,
        engine: Arc<dyn RuleEngine>,
        clock: Arc<dyn Clock>,
        quotas: UploadQuotas,
        node: Uuid,
    ) -> Self {
        Self { app, system, engine, clock, quotas, node, handed_in: Notify::new() }
    }

    /// Looks at a tenant's bytes and stores them for a worker. `announced` is
    /// the digest the client expects.
    pub async fn hand_in(
        &self,
        tenant: TenantId,
        actor: &str,
        bytes: Vec<u8>,
        announced: Option<Digest>,
    ) -> Result<TenantPlugin, UploadError> {
        let looked_at = tokio::task::spawn_blocking(move || look_at(bytes, announced));
        let (digest, bytes) = looked_at.await.map_err(|_| StorageError::Abandoned)??;
        let stored = plugins::is_stored(&self.system, digest).await?;
        let (actor, now_ms) = (actor.to_owned(), self.clock.now_ms());
        let new = NewUpload { tenant, digest, bytes, actor, now_ms, stored };
        let seen = uploads::hand_in(&self.app, new, self.quotas).await?;
        self.handed_in.notify_one();
        Ok(seen)
    }

    /// Returns when somebody has handed something in at this node.
    pub async fn wait_for_upload(&self) {
        self.handed_in.notified().await;
    }

    /// Takes in what waits, one after the other, until nothing does.
    pub async fn take_in_waiting(&self, stop: &CancellationToken) -> Result<(), StorageError> {
        while !stop.is_cancelled() {
            let Some(claim) = uploads::claim(&self.system, self.node, LEASE_MS).await? else { return Ok(()) };
            self.take_in(claim, stop).await?;
        }
        Ok(())
    }

    async fn take_in(&self, claim: Claim, stop: &CancellationToken) -> Result<(), StorageError> {
        let (tenant, digest, begun) = (claim.tenant, claim.digest, Instant::now());
        let pause_ms = match self.work(claim, stop).await {
            Worked::Ended(ending) => {
                let refused = if let Ending::Refused(why) = &ending { Some(why.clone()) } else { None };
                let now_ms = self.clock.now_ms();
                if uploads::finish(&self.system, self.node, tenant, digest, ending, now_ms).await? {
                    let took_ms = begun.elapsed().as_millis();
                    tracing::info!(%tenant, %digest, took_ms, refused, "an upload has ended");
                }
                return Ok(());
            }
            Worked::Lost => return Ok(()),
            Worked::Stopped => 0,
            Worked::Failed(error) => {
                tracing::warn!(%tenant, %digest, %error, "an upload is tried again later");
                PAUSE_MS
            }
        };
        uploads::release(&self.system, self.node, tenant, digest, pause_ms).await
    }

    async fn work(&self, claim: Claim, stop: &CancellationToken) -> Worked {
        let Claim { tenant, digest, bytes, attempts, stored } = claim;
        if attempts > ATTEMPTS_MAX {
            let why = format!(
                "compiling the plugin was begun {ATTEMPTS_MAX} times, and each time the node that did it \
                 ended in the middle: make it smaller or its functions simpler"
            );
            return Worked::Ended(Ending::Refused(why));
        }
        if stored {
            return Worked::Ended(Ending::Stored);
        }
        tokio::select! {
            added = self.engine.add_plugin(bytes.into()) => match added {
                Ok(plugin) if plugin.digest == digest => Worked::Ended(Ending::Ready(Box::new(plugin))),
                Ok(_) => Worked::Ended(Ending::Refused("the stored bytes are damaged: upload them again".into())),
                Err(AddPluginError::Refused(why)) => Worked::Ended(Ending::Refused(why)),
                Err(AddPluginError::Engine(error)) => Worked::Failed(error),
            },
            () = self.keep(tenant, digest) => Worked::Lost,
            () = stop.cancelled() => Worked::Stopped,
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
                Err(error) => tracing::warn!(%digest, ?error, "a claim on an upload could not be renewed"),
            }
        }
    }
}

/// Everything that can be said without compiling.
fn look_at(bytes: Vec<u8>, announced: Option<Digest>) -> Result<(Digest, Vec<u8>), UploadError> {
    let actual = digest_of(&bytes);
    if announced.is_some_and(|announced| announced != actual) {
        return Err(UploadError::DigestMismatch { actual });
    }
    inspect(&bytes).map_err(|error| UploadError::Refused(error.to_string()))?;
    Ok((actual, bytes))
}
