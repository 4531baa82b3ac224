//! Compiled plugins by digest. Must never compile the same bytes twice at
//! once, and never offer a plugin that could not describe itself.
//!
//! Memory holds the plugins that were used last; the others come back from
//! the disk cache (0.1 ms for a small one). A plugin is *small* unless its
//! size or its number of instances and memories says that it brings an
//! interpreter, or the small limits turn out not to hold it.

mod memory;
mod not_added;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use wasmtime::component::Component;

use self::memory::PluginMemory;
use self::not_added::NotAdded;
use super::AddPluginError;
use super::EngineError;
use super::artifact::{ArtifactCache, load_compiled};
use super::call::{Call, CallFailure};
use super::compile::{Compiled, Compiler, Kept};
use super::component::{ContractVersion, Inspection, inspect};
use super::contract::LinkedPlugin;
use super::engine::{Sandbox, Sandboxes};
use super::limits::Limits;
use super::settings::Settings;
use crate::domain::plugin::{Description, Digest, Plugin, Profile};
use crate::domain::verdict::FailureClass;

/// Larger ones bring an interpreter: compiled rules have 30 to 200 KB.
const SMALL_BYTES_MAX: u64 = 4 << 20;

pub(super) struct Library {
    sandboxes: Sandboxes,
    artifacts: Arc<ArtifactCache>,
    compiler: Compiler,
    known: RwLock<HashMap<Digest, Known>>,
    loaded: Mutex<PluginMemory<Arc<Ready>>>,
    in_work: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
}

#[derive(Clone)]
struct Known {
    plugin: Plugin,
    contract: ContractVersion,
}

/// A plugin that can run at once, and where.
pub(super) struct Ready {
    pub(super) sandbox: Arc<Sandbox>,
    pub(super) plugin: LinkedPlugin,
}

struct Loaded {
    ready: Arc<Ready>,
    /// Whether the cache on disk has it.
    on_disk: bool,
}

/// Bytes that were looked at.
struct Candidate {
    digest: Digest,
    bytes: Arc<[u8]>,
    inspection: Inspection,
}

impl Library {
    pub(super) fn new(settings: &Settings, sandboxes: Sandboxes) -> Self {
        let id = sandboxes.id().clone();
        Self {
            sandboxes,
            artifacts: Arc::new(ArtifactCache::open(settings.cache_dir.clone(), &settings.cache_key, id)),
            compiler: Compiler::new(settings),
            known: RwLock::default(),
            loaded: Mutex::new(PluginMemory::new(settings.loaded_max.max(1))),
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

    fn known(&self, digest: Digest) -> Option<Known> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&digest).cloned()
    }

    /// As [`Self::plugin`], but only one that can run at once.
    pub(super) async fn ready(self: &Arc<Self>, digest: Digest) -> Option<Plugin> {
        let plugin = self.plugin(digest)?;
        self.bound(digest, plugin.profile).await?;
        Some(plugin)
    }

    /// A plugin ready to run, from memory or from the disk cache. Nothing for
    /// one that was never added, or is asked for under another profile.
    pub(super) async fn bound(self: &Arc<Self>, digest: Digest, profile: Profile) -> Option<Arc<Ready>> {
        if let Some(bound) = self.in_memory(digest, profile) {
            return Some(bound);
        }
        let known = self.known(digest).filter(|known| known.plugin.profile == profile)?;
        let alone = self.alone_with(digest);
        let bound = {
            let _alone = alone.lock().await;
            self.bound_alone(&known).await
        };
        drop(alone);
        self.forget_work(digest);
        bound
    }

    async fn bound_alone(self: &Arc<Self>, known: &Known) -> Option<Arc<Ready>> {
        let Plugin { digest, profile, .. } = known.plugin;
        // Another call may have brought it while this one waited.
        if let Some(bound) = self.in_memory(digest, profile) {
            return Some(bound);
        }
        let loaded = self.on_disk(digest, profile, known.contract).await?;
        Some(self.keep(digest, profile, loaded))
    }

    /// Compiles under the limits of `most` at most.
    pub(super) async fn add(
        self: &Arc<Self>,
        bytes: Arc<[u8]>,
        most: Profile,
    ) -> Result<Plugin, AddPluginError> {
        let candidate = on_blocking_thread(move || look_at(bytes)).await??;
        let alone = self.alone_with(candidate.digest);
        let added = {
            let _alone = alone.lock().await;
            match self.known(candidate.digest) {
                Some(known) if self.bound_alone(&known).await.is_some() => Ok(known.plugin),
                // New, or its compiled code was lost.
                _ => self.add_alone(&candidate, most).await,
            }
        };
        drop(alone);
        self.forget_work(candidate.digest);
        added
    }

    async fn add_alone(
        self: &Arc<Self>,
        candidate: &Candidate,
        most: Profile,
    ) -> Result<Plugin, AddPluginError> {
        let first = expected_profile(&candidate.inspection);
        if first > most {
            return Err(AddPluginError::NeedsLarge);
        }
        let added = match self.try_profile(candidate, first).await {
            Err(NotAdded::TooLarge(_)) if most < Profile::Large => return Err(AddPluginError::NeedsLarge),
            Err(NotAdded::TooLarge(_)) if first < Profile::Large => {
                self.try_profile(candidate, Profile::Large).await
            }
            other => other,
        };
        added.map_err(|not_added| match not_added {
            NotAdded::TooLarge(why) => AddPluginError::Refused(why),
            NotAdded::Other(error) => error,
        })
    }

    async fn try_profile(
        self: &Arc<Self>,
        candidate: &Candidate,
        profile: Profile,
    ) -> Result<Plugin, NotAdded> {
        let Candidate { digest, inspection, .. } = candidate;
        let (loaded, compile_ms) = match self.on_disk(*digest, profile, inspection.contract).await {
            Some(loaded) => (loaded, 0),
            None => self.compile(candidate, profile).await?,
        };
        let description = match describe(&loaded.ready).await {
            Ok(description) => description,
            Err(refused) => {
                // Nobody asks for it again, and whoever hands in enough of that kind fills the disk.
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
        let known = Known { plugin: plugin.clone(), contract: inspection.contract };
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(*digest, known);
        Ok(plugin)
    }

    async fn compile(
        self: &Arc<Self>,
        candidate: &Candidate,
        profile: Profile,
    ) -> Result<(Loaded, u64), NotAdded> {
        let (digest, contract) = (candidate.digest, candidate.inspection.contract);
        let (bytes, artifacts) = (candidate.bytes.clone(), self.artifacts.clone());
        let Compiled { kept, elapsed } = self.compiler.compile(digest, bytes, profile, artifacts).await?;
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
        kept: &Kept,
    ) -> Result<Loaded, NotAdded> {
        let load = |sandbox: &Sandbox| {
            let loaded = match kept {
                Kept::InCache => self
                    .artifacts
                    .load_trusted(&sandbox.engine, digest, profile)
                    .map_err(|error| NotAdded::unavailable(error.to_string()))?,
                Kept::InMemory(code) => load_compiled(&sandbox.engine, code),
            };
            // What was just compiled and does not load is beyond the pool's limits.
            loaded.map_err(|error| NotAdded::too_large(profile, &error))
        };
        let component = load(self.sandboxes.of(profile))?;
        let sandbox = self.sandboxes.best_for(profile, &component);
        let ready = bind(sandbox, contract, &load(sandbox)?).map_err(NotAdded::Other)?;
        Ok(Loaded { ready: Arc::new(ready), on_disk: matches!(kept, Kept::InCache) })
    }

    async fn on_disk(
        self: &Arc<Self>,
        digest: Digest,
        profile: Profile,
        contract: ContractVersion,
    ) -> Option<Loaded> {
        let library = self.clone();
        let found = on_blocking_thread(move || {
            let load = |sandbox: &Sandbox| library.artifacts.load(&sandbox.engine, digest, profile);
            let component = load(library.sandboxes.of(profile))?;
            let sandbox = library.sandboxes.best_for(profile, &component);
            let ready = bind(sandbox, contract, &load(sandbox)?).ok()?;
            Some(Loaded { ready: Arc::new(ready), on_disk: true })
        })
        .await;
        found.ok().flatten()
    }

    fn in_memory(&self, digest: Digest, profile: Profile) -> Option<Arc<Ready>> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.get(digest, profile).cloned()
    }

    fn keep(&self, digest: Digest, profile: Profile, entry: Loaded) -> Arc<Ready> {
        let Loaded { ready, on_disk } = entry;
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.insert(digest, profile, ready.clone(), on_disk);
        ready
    }

    /// The lock under which one digest is compiled or loaded.
    fn alone_with(&self, digest: Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut in_work = self.in_work.lock().unwrap_or_else(PoisonError::into_inner);
        in_work.entry(digest).or_default().clone()
    }

    fn forget_work(&self, digest: Digest) {
        let mut in_work = self.in_work.lock().unwrap_or_else(PoisonError::into_inner);
        if in_work.get(&digest).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            in_work.remove(&digest);
        }
    }
}

fn look_at(bytes: Arc<[u8]>) -> Result<Candidate, AddPluginError> {
    let inspection = inspect(&bytes).map_err(|error| AddPluginError::Refused(error.to_string()))?;
    let digest = Digest::of(&bytes);
    Ok(Candidate { digest, bytes, inspection })
}

/// As far as it can be told without the bytes.
pub fn profile_by_size(size_bytes: u64) -> Profile {
    if size_bytes <= SMALL_BYTES_MAX { Profile::Small } else { Profile::Large }
}

/// The profile that a plugin is tried under first.
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
) -> Result<Ready, AddPluginError> {
    let plugin = LinkedPlugin::new(contract, &sandbox.linker, component).map_err(|error| {
        AddPluginError::Refused(format!("the plugin does not implement the rule contract: {error:#}"))
    })?;
    Ok(Ready { sandbox: sandbox.clone(), plugin })
}

async fn describe(ready: &Ready) -> Result<Description, NotAdded> {
    let Ready { sandbox, plugin } = ready;
    let call = Call { sandbox, plugin, fuel: sandbox.limits.fuel_prepare, computed_ms: Arc::default() };
    call.describe().await.result.map_err(|CallFailure { class, detail }| {
        let why = format!("the plugin's describe function failed ({}): {detail}", class.name());
        match class {
            FailureClass::MemoryLimit => NotAdded::TooLarge(why),
            FailureClass::Host => NotAdded::unavailable(why),
            _ => NotAdded::Other(AddPluginError::Refused(why)),
        }
    })
}

/// Hashing, inspecting and reading files hold a thread for longer than a payment may wait.
pub(super) async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, EngineError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| EngineError::Unavailable(error.to_string()))
}
