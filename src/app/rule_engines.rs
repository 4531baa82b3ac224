//! The rule engine of a process: in it, or in workers; and its service, if others may ask it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures::future::OptionFuture;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::StartError;
use super::parts::sandbox_settings;
use crate::auth::root_secret::RootSecret;
use crate::config::{NodeSettings, Role};
use crate::domain::plugin::Digest;
use crate::domain::time::World;
use crate::rules::{LocalEngine, RuleEngine};
use crate::storage::plugins;
use crate::storage::pool::SystemPool;
use crate::workers::{
    Fallback, PeerIdentity, PluginSource, RemoteEngine, RemoteSettings, RuleListener, RuleListenerError,
};

/// The plugins that are stored in the database.
#[derive(Debug)]
struct StoredPlugins(SystemPool);

#[async_trait]
impl PluginSource for StoredPlugins {
    async fn bytes(&self, digest: Digest) -> Result<Option<Arc<[u8]>>, String> {
        plugins::bytes_any(&self.0, digest).await.map_err(|error| error.to_string())
    }
}

/// The engine that the roles of this process ask for. It may have to wait for the first worker.
pub(super) async fn engine(
    settings: &NodeSettings,
    root: &RootSecret,
    program: PathBuf,
    system: &SystemPool,
) -> Result<Arc<dyn RuleEngine>, StartError> {
    let local = || in_process(settings, root, program);
    if settings.roles.has(Role::Rules) {
        return local();
    }
    let rules = &settings.rules;
    let in_process = match rules.fallback {
        Fallback::InProcess => Some(local()?),
        Fallback::FailureOutcome => None,
    };
    let remote = RemoteSettings { workers: rules.workers.clone(), identity: identity(settings)? };
    let source = Arc::new(StoredPlugins(system.clone()));
    let engine = RemoteEngine::start(&remote, source, in_process).map_err(RuleListenerError::Tls)?;
    tracing::info!(workers = ?rules.workers.iter().map(ToString::to_string).collect::<Vec<_>>(), fallback = ?rules.fallback, "rules run in workers");
    if !engine.found_a_worker().await {
        tracing::warn!(fallback = ?rules.fallback, "no rule worker can be reached; the fallback decides until one can");
    }
    Ok(Arc::new(engine))
}

pub(super) fn in_process(
    settings: &NodeSettings,
    root: &RootSecret,
    program: PathBuf,
) -> Result<Arc<dyn RuleEngine>, StartError> {
    Ok(Arc::new(LocalEngine::start(&sandbox_settings(settings, root, program)?)?))
}

fn identity(settings: &NodeSettings) -> Result<Option<PeerIdentity>, StartError> {
    Ok(settings.rules.tls.as_ref().map(PeerIdentity::read).transpose()?)
}

/// The service of this process's engine, until it is dropped.
#[derive(Debug)]
pub struct RuleService {
    leaving: CancellationToken,
    stopping: CancellationToken,
    serves: Mutex<Option<AbortOnDropHandle<()>>>,
    has_ended: Arc<AtomicBool>,
}

impl RuleService {
    /// `None` if this process is not asked to serve its engine.
    pub(super) async fn start(
        settings: &NodeSettings,
        engine: Arc<dyn RuleEngine>,
        world: &World,
    ) -> Result<Option<Self>, StartError> {
        let listen = settings.rules.listen.as_ref().filter(|_| settings.roles.has(Role::Rules));
        let Some(listen) = listen else { return Ok(None) };
        let listener = RuleListener::open(listen, identity(settings)?.as_ref()).await?;
        tracing::info!(rules_at = %listener.address(), "serving rules");
        let (leaving, stopping) = (CancellationToken::new(), CancellationToken::new());
        let start = world.uuid_v7(world.now_ms());
        let served = listener.serve(engine, start, leaving.clone(), stopping.clone());
        let has_ended = Arc::new(AtomicBool::new(false));
        let ends = has_ended.clone();
        let serves = tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::error!(%error, "the service for rules ended");
            }
            ends.store(true, Ordering::Release);
        });
        let serves = Mutex::new(Some(AbortOnDropHandle::new(serves)));
        Ok(Some(Self { leaving, stopping, serves, has_ended }))
    }

    /// Whether it serves nobody any more.
    pub(super) fn ends(&self) -> Arc<AtomicBool> {
        self.has_ended.clone()
    }

    /// Callers ask others from now on.
    pub fn leave(&self) {
        self.leaving.cancel();
    }

    /// Refuses new calls, and returns when those in progress are answered.
    pub async fn stop(&self) {
        self.leave();
        self.stopping.cancel();
        let serves = self.serves.lock().await.take();
        OptionFuture::from(serves).await;
    }
}
