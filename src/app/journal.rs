//! The journal's settings, from the configuration.

use std::sync::Arc;

use crate::config::Settings;
use crate::domain::time::Clock;
use crate::storage::StorageError;
use crate::storage::journal::{Journal, JournalSettings};
use crate::storage::pool::Databases;

pub async fn start(
    settings: &Settings,
    databases: &Databases,
    clock: Arc<dyn Clock>,
) -> Result<Journal, StorageError> {
    let settings = JournalSettings {
        connect: databases.journal.clone(),
        // The role is among the connection's own options.
        after_connect: None,
        queue_max: settings.journal_queue_max,
        batch_max: settings.journal_batch_max,
        writers: settings.journal_writers,
        node: node_name(),
        clock: Arc::new(move || clock.now_ms()),
    };
    let (journal, _task) = Journal::start(settings).await?;
    Ok(journal)
}

/// For people; nothing depends on it.
pub fn node_name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}/{}", std::process::id())
}
