//! What goes on beside the requests: following other nodes, the plugins folder
//! and the calendar, and backtests.
//!
//! Owns the rhythm of that work and its end. A failure is told and tried again
//! at the next turn; it must never end the process or hold up a request.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::keys::Keys;
use crate::auth::token::AccessTokens;
use crate::decisions::active::ActiveRulesets;
use crate::decisions::backtest::Backtests;
use crate::decisions::plugins::Plugins;
use crate::storage::partitions::ensure_decision_partitions;
use crate::storage::pool::Databases;

/// An activation on another node takes effect here within this time and a little.
const ACTIVATIONS_EVERY: Duration = Duration::from_millis(500);
const FOLDER_EVERY: Duration = Duration::from_secs(2);
const KEYS_EVERY: Duration = Duration::from_secs(30);
/// Partitions are made months ahead; this only has to come round in time.
const PARTITIONS_EVERY: Duration = Duration::from_secs(6 * 3_600);

#[derive(Debug)]
pub struct Work {
    pub databases: Databases,
    pub plugins_dir: PathBuf,
    pub plugins: Arc<Plugins>,
    pub active: Arc<ActiveRulesets>,
    pub backtests: Arc<Backtests>,
    pub keys: Keys,
    pub tokens: Arc<AccessTokens>,
}

#[derive(Debug)]
pub struct Background {
    tasks: TaskTracker,
    end: CancellationToken,
}

impl Background {
    pub fn start(work: Work) -> Self {
        let background = Self { tasks: TaskTracker::new(), end: CancellationToken::new() };
        background.tasks.spawn(work.backtests.clone().work(background.end.clone()));
        let work = Arc::new(work);
        background.repeat(ACTIVATIONS_EVERY, work.clone(), "following activations", |work| async move {
            work.active.catch_up().await.map_err(|error| error.to_string())
        });
        background.repeat(FOLDER_EVERY, work.clone(), "looking for new plugins", |work| async move {
            let taken_in = work.plugins.take_in_folder(&work.plugins_dir).await;
            taken_in.map(drop).map_err(|error| error.to_string())
        });
        background.repeat(KEYS_EVERY, work.clone(), "reading the signing keys", |work| async move {
            work.tokens.replace_keys(work.keys.open().await.map_err(|error| error.to_string())?);
            Ok(())
        });
        background.repeat(PARTITIONS_EVERY, work, "making partitions", |work| async move {
            ensure_decision_partitions(&work.databases.system)
                .await
                .map(drop)
                .map_err(|error| error.to_string())
        });
        background.tasks.close();
        background
    }

    fn repeat<T, F>(&self, every: Duration, work: Arc<Work>, what: &'static str, turn: T)
    where
        T: Fn(Arc<Work>) -> F + Send + 'static,
        F: Future<Output = Result<(), String>> + Send,
    {
        let end = self.end.clone();
        self.tasks.spawn(async move {
            // An outage is told once, not at every turn.
            let mut told = false;
            while end.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
                match turn(work.clone()).await {
                    Ok(()) => told = false,
                    Err(error) if !told => {
                        tracing::warn!(what, error, "background work failed; it is tried again");
                        told = true;
                    }
                    Err(_) => {}
                }
            }
        });
    }

    /// Waits for the turns under way.
    pub async fn stop(&self) {
        self.end.cancel();
        self.tasks.wait().await;
    }
}
