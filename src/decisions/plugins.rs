//! Loads plugins into this node's engine, from the database or from the folder of shared plugins.
//!
//! A plugin is stored only after it was inspected, compiled and described. Its bytes must never be
//! deleted, since old decisions are replayed with them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::compile_turns::CompileTurns;
use super::single_flight::SingleFlight;
use crate::domain::plugin::{Digest, Plugin, Profile};
use crate::domain::time::World;
use crate::rules::{AddPluginError, EngineError, RuleEngine, profile_by_size};
use crate::storage::pool::SystemPool;
use crate::storage::{StorageError, plugins};

/// The pause before a file is loaded again if the engine could not be asked about it.
const LOAD_AGAIN_AFTER: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Plugins {
    system: SystemPool,
    engine: Arc<dyn RuleEngine>,
    turns: Arc<CompileTurns>,
    /// Size and time of each file of the folder when it was last loaded or refused.
    seen_files: Mutex<HashMap<PathBuf, FileStamp>>,
    /// When the engine could not be asked about a file.
    put_off: Mutex<HashMap<PathBuf, Instant>>,
    loads: SingleFlight<Digest, bool>,
}

impl Plugins {
    pub fn new(system: SystemPool, engine: Arc<dyn RuleEngine>, turns: Arc<CompileTurns>) -> Self {
        let (seen_files, put_off, loads) = (Mutex::default(), Mutex::default(), SingleFlight::default());
        Self { system, engine, turns, seen_files, put_off, loads }
    }

    /// Makes sure that the engine can run a stored plugin. Compiles the stored bytes if the
    /// compiled code is missing.
    pub async fn ensure_loaded(&self, digest: Digest) -> Result<Plugin, StorageError> {
        if let Some(plugin) = self.engine.plugin(digest).await {
            return Ok(plugin);
        }
        const UNREADABLE: StorageError = StorageError::Unreadable { what: "plugin" };
        let profile = plugins::profile_any(&self.system, digest).await?.ok_or(UNREADABLE)?;
        let _turn = self.turns.take(profile).await?;
        let bytes = self.stored_bytes(digest).await?;
        let loaded = self.engine.add_plugin(bytes, profile).await.map_err(|error| {
            tracing::error!(%digest, %error, "a stored plugin cannot be loaded");
            UNREADABLE
        })?;
        if loaded.digest == digest { Ok(loaded) } else { Err(UNREADABLE) }
    }

    /// Like [`Self::ensure_loaded`], but a single flight for each plugin: loading starts with the
    /// call and goes on if no caller waits for it. False if the plugin could not be loaded; the log
    /// has the cause.
    pub fn load(self: &Arc<Self>, digest: Digest) -> impl Future<Output = bool> + Send + use<> {
        let this = self.clone();
        let flight =
            self.loads.join_or_start(digest, || async move { this.ensure_loaded(digest).await.is_ok() });
        async move { flight.result().await.unwrap_or(false) }
    }

    pub(super) async fn stored_bytes(&self, digest: Digest) -> Result<Arc<[u8]>, StorageError> {
        let bytes = plugins::bytes_any(&self.system, digest).await?;
        let bytes = bytes.filter(|bytes| Digest::of(bytes) == digest);
        bytes.ok_or(StorageError::Unreadable { what: "plugin" })
    }

    /// Loads the shared plugins of a folder: `*.wasm` in it and one level below.
    /// Files that have not changed since the last call are skipped. A file that cannot be loaded is
    /// logged once and does not stop the others.
    pub async fn load_folder(&self, folder: &Path, world: &World) -> Result<Vec<Plugin>, StorageError> {
        let (mut loaded, mut failed) = (Vec::new(), Ok(()));
        for (path, stamp) in self.new_files(folder) {
            match self.add_file(&path, stamp).await? {
                FolderFile::Unreadable => continue,
                // The file is not at fault. It is tried again at the next call.
                FolderFile::NotNow(error) => {
                    let is_new = self.put_off().insert(path.clone(), Instant::now()).is_none();
                    if is_new {
                        tracing::warn!(file = %path.display(), %error, "a plugin cannot be loaded now");
                    }
                    continue;
                }
                FolderFile::Refused(error) => {
                    tracing::warn!(file = %path.display(), %error, "plugin refused");
                }
                FolderFile::Added { plugin, bytes } => {
                    let stored = plugins::add(&self.system, &plugin, &bytes, true, world.now_ms()).await;
                    if let Err(error) = stored {
                        // Tried again at the next call.
                        failed = failed.and(Err(error));
                        continue;
                    }
                    tracing::info!(
                        name = plugin.description.name,
                        version = plugin.description.version,
                        digest = %plugin.digest,
                        compile_ms = plugin.compile_ms,
                        "plugin loaded"
                    );
                    loaded.push(*plugin);
                }
            }
            self.seen_files().insert(path, stamp);
        }
        failed.map(|()| loaded)
    }

    /// A small file may turn out to need the limits of a large plugin. It is then read again, under
    /// a turn for large plugins.
    async fn add_file(&self, path: &Path, (size_bytes, _): FileStamp) -> Result<FolderFile, StorageError> {
        let mut profile = profile_by_size(size_bytes);
        loop {
            let _turn = self.turns.take(profile).await?;
            let Ok(bytes) = tokio::fs::read(path).await else { return Ok(FolderFile::Unreadable) };
            let bytes: Arc<[u8]> = bytes.into();
            match self.engine.add_plugin(bytes.clone(), profile).await {
                Err(AddPluginError::NeedsLarge) if profile == Profile::Small => profile = Profile::Large,
                Ok(plugin) => return Ok(FolderFile::Added { plugin: Box::new(plugin), bytes }),
                Err(AddPluginError::Engine(error)) => return Ok(FolderFile::NotNow(error)),
                Err(error) => return Ok(FolderFile::Refused(error)),
            }
        }
    }

    fn new_files(&self, folder: &Path) -> Vec<(PathBuf, FileStamp)> {
        let mut files = wasm_files(folder);
        let (seen, put_off) = (self.seen_files(), self.put_off());
        files.retain(|(path, stamp)| {
            let is_due = put_off.get(path).is_none_or(|at| at.elapsed() >= LOAD_AGAIN_AFTER);
            seen.get(path) != Some(stamp) && is_due
        });
        files
    }

    fn put_off(&self) -> MutexGuard<'_, HashMap<PathBuf, Instant>> {
        self.put_off.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen_files(&self) -> MutexGuard<'_, HashMap<PathBuf, FileStamp>> {
        self.seen_files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file of the folder, after an attempt to add it to the engine.
enum FolderFile {
    Added {
        plugin: Box<Plugin>,
        bytes: Arc<[u8]>,
    },
    Refused(AddPluginError),
    /// The engine could not be asked.
    NotNow(EngineError),
    Unreadable,
}

/// Size and time of a file.
type FileStamp = (u64, Option<SystemTime>);

fn wasm_files(folder: &Path) -> Vec<(PathBuf, FileStamp)> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let mut paths = entries(folder);
    let below: Vec<PathBuf> =
        paths.iter().filter(|path| path.is_dir()).flat_map(|path| entries(path)).collect();
    paths.extend(below);
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "wasm"));
    paths.sort();
    paths
        .into_iter()
        .filter_map(|path| {
            let metadata = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
            Some((path, (metadata.len(), metadata.modified().ok())))
        })
        .collect()
}
