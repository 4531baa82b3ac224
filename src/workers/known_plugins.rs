//! The plugins that every worker must have, and where their bytes come from.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prost::bytes::Bytes;

use super::remote_engine::PluginSource;
use crate::domain::plugin::{Digest, Plugin, Profile};

#[derive(Debug)]
pub(super) struct KnownPlugins {
    source: Arc<dyn PluginSource>,
    plugins: Mutex<BTreeMap<Digest, Plugin>>,
}

impl KnownPlugins {
    pub(super) fn new(source: Arc<dyn PluginSource>) -> Self {
        Self { source, plugins: Mutex::default() }
    }

    pub(super) fn add(&self, plugin: &Plugin) {
        self.plugins().insert(plugin.digest, plugin.clone());
    }

    pub(super) fn get(&self, digest: Digest) -> Option<Plugin> {
        self.plugins().get(&digest).cloned()
    }

    /// With the profiles that they run under.
    pub(super) fn all(&self) -> Vec<(Digest, Profile)> {
        self.plugins().iter().map(|(digest, plugin)| (*digest, plugin.profile)).collect()
    }

    /// The error says why there are none now. A plugin that was just added may not be stored yet.
    pub(super) async fn bytes(&self, digest: Digest) -> Result<Bytes, String> {
        let found = self.source.bytes(digest).await?;
        found.map(Bytes::from_owner).ok_or_else(|| "it is not stored".to_owned())
    }

    fn plugins(&self) -> MutexGuard<'_, BTreeMap<Digest, Plugin>> {
        self.plugins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
