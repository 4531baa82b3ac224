//! Background tasks: following other nodes, compiling uploads, backtests, the plugins folder,
//! and maintenance of the database.
//!
//! A failed task is logged and retried at its next interval. It must never end the process or
//! delay a request.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::keys::SigningKeys;
use crate::auth::token::AccessTokens;
use crate::decisions::backfill::AggregateBackfill;
use crate::decisions::backtest::Backtests;
use crate::decisions::card_checks::CardChecks;
use crate::decisions::checkpoints::Checkpoints;
use crate::decisions::deployments::Deployments;
use crate::decisions::journal_clock::JournalClock;
use crate::decisions::nodes::Nodes;
use crate::decisions::plugins::Plugins;
use crate::decisions::quarantine::Quarantines;
use crate::decisions::retention::Retention;
use crate::decisions::review_expiry::ReviewExpiry;
use crate::decisions::search_index::SearchIndex;
use crate::decisions::uploads::Uploads;
use crate::domain::decision::EvidenceVersion;
use crate::domain::plugin::Profile;
use crate::domain::time::World;
use crate::people::revocations::Revocations;
use crate::storage::batch_ids::{self, BatchIds};
use crate::storage::databases::Databases;
use crate::storage::partitions::ensure_partitions;
use crate::storage::reference::ReferenceMemory;
use crate::storage::{StorageError, shadow_runs, sign_ins};

/// An activation by another node takes effect on this node within about this time.
const ACTIVATIONS_EVERY: Duration = Duration::from_millis(500);
/// Short compared to the time after which a node without a heartbeat counts as gone.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);
/// How often the node's time is compared with the database's.
const CLOCK_EVERY: Duration = Duration::from_secs(1);
/// A plugin that another node accepted is available here within this time plus its loading.
const NEW_PLUGINS_EVERY: Duration = Duration::from_millis(500);
/// For uploads to other nodes. An upload to this node is processed at once.
const UPLOADS_EVERY: Duration = Duration::from_millis(500);
/// Lists and logs of tables are known for a second and a half after they were read, and rates are asked
/// for a second ahead: so they are read more than twice a second.
const LISTS_AND_TABLES_EVERY: Duration = Duration::from_millis(400);
/// Until a list is loaded, payments ask the database.
const LOAD_LISTS_EVERY: Duration = Duration::from_millis(100);
/// A disabled user or client is refused on all nodes within a second.
const REVOCATIONS_EVERY: Duration = Duration::from_millis(300);
/// Can be long, since few are stored.
const PEOPLE_EVERY: Duration = Duration::from_secs(600);
/// Reviews expire within about this time of when they are due.
const REVIEWS_EXPIRE_EVERY: Duration = Duration::from_secs(2);
const REVIEWS_MEASURED_EVERY: Duration = Duration::from_secs(10);
const QUARANTINES_EVERY: Duration = ACTIVATIONS_EVERY;
/// A changed setting takes effect on all nodes within about this time.
const CARD_CHECKS_EVERY: Duration = ACTIVATIONS_EVERY;
const WINDOWS_EVERY: Duration = Duration::from_secs(10);
const FOLDER_EVERY: Duration = Duration::from_secs(2);
/// Until the metrics are summarised, every measured duration is kept: at full load 300 kB in
/// this time.
pub(super) const METRICS_EVERY: Duration = Duration::from_millis(500);
const KEYS_EVERY: Duration = Duration::from_secs(30);
/// Can be long, since series are removed a month after they were last used.
const UNUSED_SERIES_EVERY: Duration = Duration::from_secs(3_600);
/// Can be long, since partitions are created months ahead.
const PARTITIONS_EVERY: Duration = Duration::from_secs(6 * 3_600);
/// Old shadow runs are deleted in small portions, so that each transaction is short: up to
/// 4,000 in a second, more than are added.
const SHADOW_RUNS_EVERY: Duration = Duration::from_secs(5);
const SHADOW_PORTION: u32 = 1_000;
const SHADOW_PORTIONS_MAX: u32 = 20;
const SIGN_IN_PORTION: u32 = 1_000;
/// Batches of an earlier release get their ids in pages: up to 10,000 batches in a turn.
const BATCH_IDS_EVERY: Duration = Duration::from_secs(2);
const BATCH_ID_PAGES_MAX: u32 = 20;

#[derive(Debug)]
pub struct BackgroundParts {
    pub databases: Databases,
    pub plugins_dir: PathBuf,
    pub plugins: Arc<Plugins>,
    pub active: Arc<Deployments>,
    pub nodes: Arc<Nodes>,
    pub uploads: Arc<Uploads>,
    pub backtests: Arc<Backtests>,
    pub backfill: Arc<AggregateBackfill>,
    pub retention: Arc<Retention>,
    pub review_expiry: Arc<ReviewExpiry>,
    pub search: Arc<SearchIndex>,
    pub keys: SigningKeys,
    pub tokens: Arc<AccessTokens>,
    pub checkpoints: Arc<Checkpoints>,
    pub checkpoint_every: Duration,
    pub evidence_version: EvidenceVersion,
    pub quarantines: Arc<Quarantines>,
    pub revocations: Arc<Revocations>,
    /// How long a sign-in is kept after it was last used.
    pub sign_ins_kept: Duration,
    pub card_checks: Arc<CardChecks>,
    pub reference: Arc<ReferenceMemory>,
    /// How long shadow runs are kept.
    pub shadow_kept: Duration,
    pub metrics: PrometheusHandle,
    pub clock: Arc<JournalClock>,
    pub world: World,
}

#[derive(Debug)]
pub struct Background {
    tasks: TaskTracker,
    end: CancellationToken,
    nodes: Arc<Nodes>,
}

impl Background {
    /// `shares_work` says whether this process does its part of what is shared by all nodes.
    pub fn start(shares_work: bool, work: BackgroundParts) -> Self {
        let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
        let background = Self { tasks, end, nodes: work.nodes.clone() };
        let work = Arc::new(work);
        background.keep_this_node_current(&work);
        if shares_work {
            background.share_work(&work);
        }
        background.tasks.close();
        background
    }

    /// What each process with a database does for itself.
    fn keep_this_node_current(&self, work: &Arc<BackgroundParts>) {
        self.load_new_plugins(work.nodes.clone());
        self.index_for_search(work.search.clone());
        self.repeat(HEARTBEAT_EVERY, work, "sending this node's heartbeat", |work| async move {
            work.nodes.beat().await.map_err(|error| error.to_string())
        });
        self.repeat(CLOCK_EVERY, work, "reading the database clock", |work| async move {
            work.clock.follow().await.map_err(|error| error.to_string())
        });
        self.repeat(ACTIVATIONS_EVERY, work, "following activations", |work| async move {
            work.active.catch_up().await.map_err(|error| error.to_string())
        });
        self.repeat(QUARANTINES_EVERY, work, "following quarantines", |work| async move {
            work.quarantines.follow().await.map_err(|error| error.to_string())
        });
        self.repeat(CARD_CHECKS_EVERY, work, "following card checks", |work| async move {
            work.card_checks.follow().await.map_err(|error| error.to_string())
        });
        self.repeat(REVOCATIONS_EVERY, work, "following revocations", |work| async move {
            work.revocations.follow().await.map_err(|error| error.to_string())
        });
        self.repeat(LISTS_AND_TABLES_EVERY, work, "following lists and tables", |work| async move {
            work.reference.follow().await.map_err(|error| error.to_string())
        });
        self.repeat(LOAD_LISTS_EVERY, work, "loading lists", |work| async move {
            work.reference.load_lists().await.map_err(|error| error.to_string())
        });
        self.repeat(WINDOWS_EVERY, work, "discarding the counts of idle rules", |work| async move {
            work.quarantines.forget_idle();
            Ok(())
        });
        self.repeat(METRICS_EVERY, work, "summarising metrics", |work| async move {
            work.metrics.run_upkeep();
            Ok(())
        });
        self.repeat(FOLDER_EVERY, work, "looking for new plugins", |work| async move {
            let taken_in = work.plugins.load_folder(&work.plugins_dir, &work.world).await;
            taken_in.map(drop).map_err(|error| error.to_string())
        });
        self.repeat(KEYS_EVERY, work, "reading the signing keys", |work| async move {
            work.tokens
                .replace_keys(work.keys.open(work.world.now_ms()).await.map_err(|error| error.to_string())?);
            Ok(())
        });
        self.repeat(work.checkpoint_every, work, "writing checkpoints", |work| async move {
            make_checkpoints(&work.checkpoints, &work.world).await.map_err(|error| error.to_string())
        });
    }

    /// What any of the nodes may do for all.
    fn share_work(&self, work: &Arc<BackgroundParts>) {
        for profile in [Profile::Small, Profile::Large] {
            self.process_uploads(work.uploads.clone(), profile);
        }
        self.tasks.spawn(work.backtests.clone().work(self.end.clone()));
        self.fill_in_aggregates(work.backfill.clone());
        self.remove_what_is_old(work.retention.clone());
        self.repeat(PEOPLE_EVERY, work, "deleting old sign-ins", |work| async move {
            delete_old_sign_ins(&work).await.map_err(|error| error.to_string())
        });
        self.repeat(REVIEWS_EXPIRE_EVERY, work, "ending old reviews", |work| async move {
            work.review_expiry.expire_due().await.map_err(|error| error.to_string())
        });
        self.repeat(REVIEWS_MEASURED_EVERY, work, "measuring reviews", |work| async move {
            work.review_expiry.measure().await.map_err(|error| error.to_string())
        });
        self.repeat(SHADOW_RUNS_EVERY, work, "deleting old shadow runs", |work| async move {
            delete_old_shadow_runs(&work).await.map_err(|error| error.to_string())
        });
        self.repeat(BATCH_IDS_EVERY, work, "adding ids to batches", |work| async move {
            add_batch_ids(&work).await.map_err(|error| error.to_string())
        });
        self.repeat(UNUSED_SERIES_EVERY, work, "removing unused series", |work| async move {
            work.backfill.remove_unused().await.map_err(|error| error.to_string())
        });
        self.repeat(PARTITIONS_EVERY, work, "creating partitions", |work| async move {
            ensure_partitions(&work.databases.system).await.map(drop).map_err(|error| error.to_string())
        });
    }

    fn repeat<T, F>(&self, every: Duration, work: &Arc<BackgroundParts>, what: &'static str, turn: T)
    where
        T: Fn(Arc<BackgroundParts>) -> F + Send + 'static,
        F: Future<Output = Result<(), String>> + Send,
    {
        let (end, work) = (self.end.clone(), work.clone());
        self.tasks.spawn(async move {
            let mut outcome = FailureLog::of(what);
            while end.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
                outcome.note(turn(work.clone()).await);
            }
        });
    }

    /// At shutdown, the upload that is being compiled is released: compiling may take long.
    fn process_uploads(&self, uploads: Arc<Uploads>, profile: Profile) {
        let end = self.end.clone();
        self.tasks.spawn(async move {
            let mut outcome = FailureLog::of("processing uploads");
            while !end.is_cancelled() {
                let taken_in = uploads.process_waiting(profile, &end).await;
                outcome.note(taken_in.map_err(|error| error.to_string()));
                let waiting = tokio::time::timeout(UPLOADS_EVERY, uploads.wait_for_upload(profile));
                end.run_until_cancelled(waiting).await;
            }
        });
    }

    /// Starts without a delay, because activations wait until this node has loaded the
    /// plugins.
    fn load_new_plugins(&self, nodes: Arc<Nodes>) {
        let end = self.end.clone();
        self.tasks.spawn(async move {
            let mut outcome = FailureLog::of("loading new plugins");
            while let Some(loaded) = end.run_until_cancelled(nodes.load_new()).await {
                outcome.note(loaded.map_err(|error| error.to_string()));
                end.run_until_cancelled(tokio::time::sleep(NEW_PLUGINS_EVERY)).await;
            }
        });
    }

    fn fill_in_aggregates(&self, backfill: Arc<AggregateBackfill>) {
        let end = self.end.clone();
        self.tasks.spawn(async move { backfill.work(end).await });
    }

    fn remove_what_is_old(&self, retention: Arc<Retention>) {
        let end = self.end.clone();
        self.tasks.spawn(async move { retention.work(end).await });
    }

    fn index_for_search(&self, search: Arc<SearchIndex>) {
        let end = self.end.clone();
        self.tasks.spawn(async move { search.work(end).await });
    }

    /// Ends all tasks, each after its current run.
    pub async fn stop(&self) {
        self.end.cancel();
        self.tasks.wait().await;
    }

    /// Deletes this node's record, so that other nodes no longer wait for it.
    pub async fn leave(&self) {
        if let Err(error) = self.nodes.leave().await {
            tracing::warn!(%error, "this node could not sign off; other nodes will wait for it for a moment");
        }
    }
}

/// Logs only the first of several failures in a row.
struct FailureLog {
    what: &'static str,
    told: bool,
}

impl FailureLog {
    fn of(what: &'static str) -> Self {
        Self { what, told: false }
    }

    fn note(&mut self, result: Result<(), String>) {
        match result {
            Ok(()) => self.told = false,
            Err(error) if !self.told => {
                tracing::warn!(what = self.what, error, "background work failed and will be retried");
                self.told = true;
            }
            Err(_) => {}
        }
    }
}

/// Writing waits for the disk, so it runs on a blocking thread.
pub(super) async fn make_checkpoints(checkpoints: &Arc<Checkpoints>, world: &World) -> io::Result<()> {
    let (checkpoints, now_ms) = (checkpoints.clone(), world.now_ms());
    tokio::task::spawn_blocking(move || checkpoints.make(now_ms)).await?
}

async fn delete_old_shadow_runs(work: &BackgroundParts) -> Result<(), StorageError> {
    let kept_ms = u64::try_from(work.shadow_kept.as_millis()).unwrap_or(u64::MAX);
    let than_ms = work.world.now_ms().saturating_sub(kept_ms);
    for _ in 0..SHADOW_PORTIONS_MAX {
        let deleted = shadow_runs::delete_older(&work.databases.system, than_ms, SHADOW_PORTION).await?;
        if deleted < u64::from(SHADOW_PORTION) {
            break;
        }
    }
    Ok(())
}

async fn delete_old_sign_ins(work: &BackgroundParts) -> Result<(), StorageError> {
    work.revocations.delete_old().await?;
    let kept_ms = u64::try_from(work.sign_ins_kept.as_millis()).unwrap_or(u64::MAX);
    let since_ms = work.world.now_ms().saturating_sub(kept_ms);
    while sign_ins::delete_unused(&work.databases.system, since_ms, SIGN_IN_PORTION).await?
        == u64::from(SIGN_IN_PORTION)
    {}
    Ok(())
}

/// A node that stores decisions for nodes of the release before must leave them the last step.
async fn add_batch_ids(work: &BackgroundParts) -> Result<(), StorageError> {
    let may_require = work.evidence_version == EvidenceVersion::V3;
    for _ in 0..BATCH_ID_PAGES_MAX {
        match batch_ids::fill_in(&work.databases.system, may_require).await? {
            BatchIds::NothingToDo | BatchIds::NotYetRequired => break,
            BatchIds::Page { filled } => {
                metrics::counter!("tollgate_journal_batch_ids_filled_total").increment(filled);
            }
            BatchIds::Complete => {
                tracing::info!("all batches name their decisions; the index by position was dropped");
            }
        }
    }
    Ok(())
}
