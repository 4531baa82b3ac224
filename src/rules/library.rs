//! Compiled plugins by digest.
//!
//! A plugin is added in these steps: [`InspectedPlugin`], compiled code, [`ReadyPlugin`], and
//! [`AddedPlugin`] once it has described itself. The same bytes are never compiled twice at once.
//!
//! The plugins used last are in memory. The others are loaded from the cache on disk again, in 0.1
//! ms for a small one. A plugin is *small* unless its size or its number of instances and memories
//! suggests an interpreter, or the small limits turn out to be too low for it.

mod attempt_error;
mod memory;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use wasmtime::component::Component;

use self::attempt_error::AddAttemptError;
use self::memory::PluginMemory;
use super::AddPluginError;
use super::EngineError;
use super::call::{Call, CallFailure};
use super::compile::{Compilation, CompiledCode, Compiler};
use super::component::{ContractVersion, Inspection, inspect};
use super::contract::LinkedPlugin;
use super::engine::{Sandbox, Sandboxes};
use super::limits::Limits;
use super::settings::EngineSettings;
use crate::domain::plugin::{Description, Digest, Plugin, Profile};
use crate::domain::verdict::FailureClass;
use crate::rules::compile::artifact::ArtifactCache;

/// A larger plugin is assumed to contain an interpreter. Compiled rules have 30 to 200 KB.
const SMALL_BYTES_MAX: u64 = 4 << 20;

pub(super) struct Library {
    sandboxes: Sandboxes,
    artifacts: Arc<ArtifactCache>,
    compiler: Compiler,
    known: RwLock<HashMap<Digest, AddedPlugin>>,
    loaded: PluginMemory<Arc<ReadyPlugin>>,
    in_work: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
}

#[derive(Clone)]
struct AddedPlugin {
    plugin: Plugin,
    contract: ContractVersion,
}

/// A plugin that can run at once, and the sandbox for it.
pub(super) struct ReadyPlugin {
    pub(super) sandbox: Arc<Sandbox>,
    pub(super) plugin: LinkedPlugin,
}

struct LoadedPlugin {
    ready: Arc<ReadyPlugin>,
    /// Whether the cache on disk has it.
    on_disk: bool,
}

struct InspectedPlugin {
    digest: Digest,
    bytes: Arc<[u8]>,
    inspection: Inspection,
}

impl Library {
    pub(super) fn new(settings: &EngineSettings, sandboxes: Sandboxes) -> Self {
        let id = sandboxes.id().clone();
        Self {
            sandboxes,
            artifacts: Arc::new(ArtifactCache::open(settings.cache_dir.clone(), &settings.cache_key, id)),
            compiler: Compiler::new(settings),
            known: RwLock::default(),
            loaded: PluginMemory::new(settings.loaded_max.max(1)),
            in_work: Mutex::default(),
        }
    }

    pub(super) fn sandboxes(&self) -> &Sandboxes {
        &self.sandboxes
    }

    pub(super) fn compiler(&self) -> &Compiler {
        &self.compiler
    }

    pub(super) fn plugin(&self, digest: Digest) -> Option<Plugin> {
        self.known(digest).map(|known| known.plugin)
    }

    fn known(&self, digest: Digest) -> Option<AddedPlugin> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&digest).cloned()
    }

    /// Like [`Self::plugin`], but `None` if the plugin cannot run at once.
    pub(super) async fn ready(self: &Arc<Self>, digest: Digest) -> Option<Plugin> {
        let plugin = self.plugin(digest)?;
        self.bound(digest, plugin.profile).await?;
        Some(plugin)
    }

    /// A plugin from memory or from the cache on disk. `None` if it was never added, was added
    /// under another profile, or its compiled code was lost.
    pub(super) async fn bound(
        self: &Arc<Self>,
        digest: Digest,
        profile: Profile,
    ) -> Option<Arc<ReadyPlugin>> {
        if let Some(bound) = self.in_memory(digest, profile) {
            return Some(bound);
        }
        let known = self.known(digest).filter(|known| known.plugin.profile == profile)?;
        let alone = self.lock_of(digest);
        let bound = {
            let _alone = alone.lock().await;
            self.load_locked(&known).await
        };
        drop(alone);
        self.drop_lock(digest);
        bound
    }

    async fn load_locked(self: &Arc<Self>, known: &AddedPlugin) -> Option<Arc<ReadyPlugin>> {
        let Plugin { digest, profile, .. } = known.plugin;
        // Another call may have loaded it while this one waited.
        if let Some(bound) = self.in_memory(digest, profile) {
            return Some(bound);
        }
        let loaded = self.on_disk(digest, profile, known.contract).await?;
        Some(self.keep(digest, profile, loaded))
    }

    /// `most` is the largest profile that may be used.
    pub(super) async fn add(
        self: &Arc<Self>,
        bytes: Arc<[u8]>,
        most: Profile,
    ) -> Result<Plugin, AddPluginError> {
        let candidate = on_blocking_thread(move || inspect_and_hash(bytes)).await??;
        let alone = self.lock_of(candidate.digest);
        let added = {
            let _alone = alone.lock().await;
            match self.known(candidate.digest) {
                Some(known) if self.load_locked(&known).await.is_some() => Ok(known.plugin),
                // It is new, or its compiled code was lost.
                _ => self.add_locked(&candidate, most).await,
            }
        };
        drop(alone);
        self.drop_lock(candidate.digest);
        added
    }

    async fn add_locked(
        self: &Arc<Self>,
        candidate: &InspectedPlugin,
        most: Profile,
    ) -> Result<Plugin, AddPluginError> {
        let first = expected_profile(&candidate.inspection);
        if first > most {
            return Err(AddPluginError::NeedsLarge);
        }
        let added = match self.try_profile(candidate, first).await {
            Err(AddAttemptError::TooLarge(_)) if most < Profile::Large => {
                return Err(AddPluginError::NeedsLarge);
            }
            Err(AddAttemptError::TooLarge(_)) if first < Profile::Large => {
                self.try_profile(candidate, Profile::Large).await
            }
            other => other,
        };
        added.map_err(|error| match error {
            AddAttemptError::TooLarge(why) => AddPluginError::Refused(why),
            AddAttemptError::Other(error) => error,
        })
    }

    async fn try_profile(
        self: &Arc<Self>,
        candidate: &InspectedPlugin,
        profile: Profile,
    ) -> Result<Plugin, AddAttemptError> {
        let InspectedPlugin { digest, inspection, .. } = candidate;
        let (loaded, compile_ms) = match self.on_disk(*digest, profile, inspection.contract).await {
            Some(loaded) => (loaded, 0),
            None => self.compile(candidate, profile).await?,
        };
        let description = match describe(&loaded.ready).await {
            Ok(description) => description,
            Err(refused) => {
                // It will not be used, and many such plugins would fill the disk.
                self.artifacts.remove(*digest, profile);
                return Err(refused);
            }
        };
        let plugin = Plugin {
            digest: *digest,
            size_bytes: inspection.size_bytes as u64,
            contract: number_of(inspection.contract).to_owned(),
            profile,
            description,
            imports: inspection.type_imports.listed().to_vec(),
            compile_ms,
        };
        self.keep(*digest, profile, loaded);
        let known = AddedPlugin { plugin: plugin.clone(), contract: inspection.contract };
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(*digest, known);
        Ok(plugin)
    }

    async fn compile(
        self: &Arc<Self>,
        candidate: &InspectedPlugin,
        profile: Profile,
    ) -> Result<(LoadedPlugin, u64), AddAttemptError> {
        let (digest, contract) = (candidate.digest, candidate.inspection.contract);
        let (bytes, artifacts) = (candidate.bytes.clone(), self.artifacts.clone());
        let Compilation { kept, elapsed } = self.compiler.compile(digest, bytes, profile, artifacts).await?;
        let compile_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        let library = self.clone();
        let loaded = on_blocking_thread(move || {
            let loaded = library.load_new(digest, profile, contract, &kept);
            if loaded.is_err() {
                library.artifacts.remove(digest, profile);
            }
            loaded
        })
        .await??;
        Ok((loaded, compile_ms))
    }

    fn load_new(
        &self,
        digest: Digest,
        profile: Profile,
        contract: ContractVersion,
        kept: &CompiledCode,
    ) -> Result<LoadedPlugin, AddAttemptError> {
        let load = |sandbox: &Sandbox| {
            let loaded = match kept {
                CompiledCode::InCache => self
                    .artifacts
                    .load_trusted(&sandbox.engine, digest, profile)
                    .map_err(|error| AddAttemptError::unavailable(error.to_string()))?,
                CompiledCode::InMemory(code) => code.load(&sandbox.engine),
            };
            // The code was compiled just now, so if it does not load, it exceeds the limits of the
            // pool.
            loaded.map_err(|error| AddAttemptError::too_large(profile, &error))
        };
        let component = load(self.sandboxes.of(profile))?;
        let sandbox = self.sandboxes.best_for(profile, &component);
        let ready = bind(sandbox, contract, &load(sandbox)?).map_err(AddAttemptError::Other)?;
        Ok(LoadedPlugin { ready: Arc::new(ready), on_disk: matches!(kept, CompiledCode::InCache) })
    }

    async fn on_disk(
        self: &Arc<Self>,
        digest: Digest,
        profile: Profile,
        contract: ContractVersion,
    ) -> Option<LoadedPlugin> {
        let library = self.clone();
        let found = on_blocking_thread(move || {
            let load = |sandbox: &Sandbox| library.artifacts.load(&sandbox.engine, digest, profile);
            let component = load(library.sandboxes.of(profile))?;
            let sandbox = library.sandboxes.best_for(profile, &component);
            let ready = bind(sandbox, contract, &load(sandbox)?).ok()?;
            Some(LoadedPlugin { ready: Arc::new(ready), on_disk: true })
        })
        .await;
        found.ok().flatten()
    }

    fn in_memory(&self, digest: Digest, profile: Profile) -> Option<Arc<ReadyPlugin>> {
        self.loaded.get(digest, profile)
    }

    fn keep(&self, digest: Digest, profile: Profile, entry: LoadedPlugin) -> Arc<ReadyPlugin> {
        let LoadedPlugin { ready, on_disk } = entry;
        self.loaded.insert(digest, profile, ready.clone(), on_disk);
        ready
    }

    /// The lock for compiling or loading one digest.
    fn lock_of(&self, digest: Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut in_work = self.in_work.lock().unwrap_or_else(PoisonError::into_inner);
        in_work.entry(digest).or_default().clone()
    }

    fn drop_lock(&self, digest: Digest) {
        let mut in_work = self.in_work.lock().unwrap_or_else(PoisonError::into_inner);
        if in_work.get(&digest).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            in_work.remove(&digest);
        }
    }
}

fn inspect_and_hash(bytes: Arc<[u8]>) -> Result<InspectedPlugin, AddPluginError> {
    let inspection = inspect(&bytes).map_err(|error| AddPluginError::Refused(error.to_string()))?;
    let digest = Digest::of(&bytes);
    Ok(InspectedPlugin { digest, bytes, inspection })
}

/// The profile that the size alone suggests.
pub fn profile_by_size(size_bytes: u64) -> Profile {
    if size_bytes <= SMALL_BYTES_MAX { Profile::Small } else { Profile::Large }
}

/// The profile that is tried first.
pub fn expected_profile(inspection: &Inspection) -> Profile {
    let small = Limits::of(Profile::Small);
    let fits = profile_by_size(inspection.size_bytes as u64) == Profile::Small
        && inspection.counts.core_instances <= u64::from(small.core_instances_per_instance)
        && inspection.counts.memories <= u64::from(small.memories_per_instance)
        && inspection.counts.tables <= u64::from(small.tables_per_instance);
    if fits { Profile::Small } else { Profile::Large }
}

fn number_of(contract: ContractVersion) -> &'static str {
    contract.export_name().rsplit('@').next().unwrap_or_default()
}

fn bind(
    sandbox: &Arc<Sandbox>,
    contract: ContractVersion,
    component: &Component,
) -> Result<ReadyPlugin, AddPluginError> {
    let plugin = LinkedPlugin::new(contract, &sandbox.linker, component).map_err(|error| {
        AddPluginError::Refused(format!("the plugin does not implement the rule contract: {error:#}"))
    })?;
    Ok(ReadyPlugin { sandbox: sandbox.clone(), plugin })
}

async fn describe(ready: &ReadyPlugin) -> Result<Description, AddAttemptError> {
    let ReadyPlugin { sandbox, plugin } = ready;
    let call = Call { sandbox, plugin, fuel: sandbox.limits.fuel_prepare, computed_ms: Arc::default() };
    call.describe().await.result.map_err(|CallFailure { class, detail }| {
        let why = format!("the plugin's describe function failed ({}): {detail}", class.name());
        match class {
            FailureClass::MemoryLimit => AddAttemptError::TooLarge(why),
            FailureClass::Host => AddAttemptError::unavailable(why),
            _ => AddAttemptError::Other(AddPluginError::Refused(why)),
        }
    })
}

/// For hashing, inspecting and reading files, which block a thread for longer than a payment may
/// wait.
pub(super) async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, EngineError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| EngineError::Unavailable(error.to_string()))
}
