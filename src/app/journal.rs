//! Starts the journal and its checkpoints from the configuration.

use std::sync::Arc;

use super::StartError;
use super::parts::data_folder;
use crate::auth::checkpoint::CheckpointKey;
use crate::auth::root_secret::RootSecret;
use crate::config::NodeSettings;
use crate::decisions::checkpoints::Checkpoints;
use crate::domain::time::World;
use crate::storage::StorageError;
use crate::storage::databases::Databases;
use crate::storage::journal::{Journal, JournalSettings};

pub async fn start(
    settings: &NodeSettings,
    databases: &Databases,
    world: World,
) -> Result<Journal, StorageError> {
    let settings = JournalSettings {
        sessions: databases.journal.clone(),
        queue_max: settings.journal_queue_max,
        batch_max: settings.journal_batch_max,
        writers: settings.journal_writers,
        evidence_version: settings.evidence_version,
        node: node_name(),
        world,
    };
    let (journal, _task) = Journal::start(settings).await?;
    Ok(journal)
}

/// The checkpoints of this journal, stored in the data folder.
pub fn checkpoints(
    settings: &NodeSettings,
    root: &RootSecret,
    journal: Arc<Journal>,
) -> Result<Arc<Checkpoints>, StartError> {
    let (path, key) = (settings.data_dir.clone(), CheckpointKey::new(root)?);
    data_folder(&path)?;
    let opened = Checkpoints::open(&path, journal, key);
    Ok(Arc::new(opened.map_err(|source| StartError::DataFolder { path, source })?))
}

/// Only for display.
pub fn node_name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}/{}", std::process::id())
}
