//! The wiring: the only place that sees every room.
//!
//! Owns which implementation stands behind each port, the order of starting and
//! stopping, and the background tasks. Must never hold logic of the trade.

mod background;
pub mod database;
pub mod demo;
pub mod imports;
mod journal;
pub mod keys;
mod measures;
mod parts;
mod readiness;
pub mod stopping;
pub mod tenants;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use background::{Background, Work, make_checkpoints};
use figment::providers::Serialized;
use parts::{quarantine_threshold, quotas, root_secret, sandbox_settings, upload_settings};
use rocket::fairing::AdHoc;
use rocket::{Ignite, Rocket};
use rocket_db_pools::Database as _;
use stopping::{CHECKPOINTS_MAX, JOURNAL_MAX, LEAVING_MAX, WORK_MAX, unless_it_hangs};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::auth::AuthError;
use crate::auth::checkpoint::CheckpointKey;
use crate::auth::password::{HashingLimits, SecretHasher};
use crate::auth::root_secret::Purpose;
use crate::auth::sign_in_limits::SignInLimits;
use crate::auth::token::{AccessTokens, Issuer, TokenSettings};
use crate::config::Config;
use crate::decisions::backtest::Backtests;
use crate::decisions::card_checks::CardChecks;
use crate::decisions::checkpoints::Checkpoints;
use crate::decisions::compile_turns::CompileTurns;
use crate::decisions::counts::DecisionCounts;
use crate::decisions::deployments::Deployments;
use crate::decisions::diagnoses::Diagnoses;
use crate::decisions::dry_run::DryRuns;
use crate::decisions::in_flight::PaymentsInFlight;
use crate::decisions::journal_clock::JournalClock;
use crate::decisions::nodes::Nodes;
use crate::decisions::plugins::Plugins;
use crate::decisions::quarantine::Quarantines;
use crate::decisions::replay::Replays;
use crate::decisions::rulesets::Rulesets;
use crate::decisions::shadow::ShadowRuns;
use crate::decisions::single_flight::SingleFlight;
use crate::decisions::stages::StageMeters;
use crate::decisions::submit::Submissions;
use crate::decisions::uploads::Uploads;
use crate::domain::plugin::Plugin;
use crate::domain::time::{Machine, World};
use crate::http;
use crate::http::edge::EdgeLimits;
use crate::http::edge::client_rates::ClientRates;
use crate::http::edge::streams::Streams;
use crate::http::readiness::Readiness;
use crate::http::request::cursor::CursorKey;
use crate::http::services::{BodyLimits, Metrics, Services, Tokens};
use crate::rules::{LocalEngine, LocalEngineError, RuleEngine};
use crate::storage::StorageError;
use crate::storage::facts::FactReader;
use crate::storage::journal::Journal;
use crate::storage::nodes::Node;
use crate::storage::pool::{DatabaseSettings, Databases, Db};
use crate::telemetry;
use crate::world::{machine, with_clock};

/// A new version of the engine compiles every plugin anew at its first start.
const PLUGINS_AT_START: Duration = Duration::from_secs(600);

/// How long a change of what decides waits for nodes that lack a plugin.
const NODES_PATIENCE_MAX: Duration = Duration::from_secs(2);

#[derive(Debug, Error)]
pub enum StartError {
    #[error("the root secret or a key derived from it cannot be used")]
    Auth(#[from] AuthError),
    #[error("the sandbox cannot be started")]
    Engine(#[from] LocalEngineError),
    #[error("the database cannot be used")]
    Storage(#[from] StorageError),
    #[error("the data folder {} cannot be used", path.display())]
    DataFolder { path: PathBuf, source: std::io::Error },
    #[error("the threads for backtests cannot be started: {0}")]
    Threads(std::io::Error),
    #[error("metrics cannot be recorded: {0}")]
    Metrics(String),
    #[error("the server cannot be set up: {0}")]
    Rocket(String),
    #[error("the server is missing some of its parts")]
    Unassembled,
}

/// Everything that runs beside Rocket, which manages it.
#[derive(Debug)]
pub struct App {
    pub services: Arc<Services>,
    pub readiness: Arc<Readiness>,
    pub streams: Arc<Streams>,
    pub databases: Databases,
    pub active: Arc<Deployments>,
    /// The plugins of the folder, as loaded at start.
    pub shared_plugins: Vec<Plugin>,
    journal: Arc<Journal>,
    facts: FactReader,
    checkpoints: Arc<Checkpoints>,
    shadow: Arc<ShadowRuns>,
    background: Background,
    world: World,
}

/// A server that is ready to be launched.
#[derive(Debug)]
pub struct Ignited {
    pub rocket: Rocket<Ignite>,
    pub app: Arc<App>,
    /// Where it listens, once it does.
    pub address: oneshot::Receiver<SocketAddr>,
}

/// Ignites the application on a database that is up to date. Its URLs stand above
/// those of the configuration, which may name none; `program` is the binary that
/// answers to the hidden commands: this one, except in tests.
pub async fn ignite(
    config: &Config,
    database: &DatabaseSettings,
    program: PathBuf,
) -> Result<Ignited, StartError> {
    ignite_on(config, database, program, machine()).await
}

/// The same with the given clocks of a machine, which tests can set wrong.
pub async fn ignite_on(
    config: &Config,
    database: &DatabaseSettings,
    program: PathBuf,
    machine: Machine,
) -> Result<Ignited, StartError> {
    let urls = [
        ("url", Some(&database.url)),
        ("app_url", database.app_url.as_ref()),
        ("journal_url", database.journal_url.as_ref()),
        ("system_url", database.system_url.as_ref()),
    ];
    let urls = urls.into_iter().filter_map(|(key, url)| Some((format!("databases.main.{key}"), url?)));
    let figment =
        urls.fold(config.figment.clone(), |figment, (key, url)| figment.merge(Serialized::global(&key, url)));
    let failure = Arc::new(Mutex::new(None));
    let (config, told) = (config.clone(), failure.clone());
    let assembling = AdHoc::try_on_ignite("assembling", |rocket| async move {
        let Some(db) = Db::fetch(&rocket) else { return Err(rocket) };
        match assemble(&config, db.databases().clone(), program, machine).await {
            Ok((app, parts)) => Ok(http::mount(rocket, parts).manage(Arc::new(app))),
            Err(error) => {
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Err(rocket)
            }
        }
    });
    let (tell, address) = oneshot::channel();
    let tell = Mutex::new(Some(tell));
    let listening = AdHoc::on_liftoff("listening", move |rocket| {
        let address = SocketAddr::new(rocket.config().address, rocket.config().port);
        if let Some(app) = rocket.state::<Arc<App>>() {
            app.services.issuer.listens_at(address);
        }
        if let Some(tell) = tell.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = tell.send(address);
        }
        Box::pin(async {})
    });
    let rocket = rocket::custom(figment).attach(Db::init()).attach(assembling).attach(listening);
    let rocket = rocket.ignite().await.map_err(|error| {
        // Looked at in any case: an error that nobody has seen panics when it is dropped.
        let kind = error.kind().to_string();
        let told = failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        told.unwrap_or(StartError::Rocket(kind))
    })?;
    let app = rocket.state::<Arc<App>>().cloned().ok_or(StartError::Unassembled)?;
    Ok(Ignited { rocket, app, address })
}

async fn assemble(
    config: &Config,
    databases: Databases,
    program: PathBuf,
    machine: Machine,
) -> Result<(App, http::Parts), StartError> {
    let settings = &config.settings;
    // First of all: meters that are looked up before this record nothing.
    let metrics = telemetry::metrics().map_err(StartError::Metrics)?;
    let journal_clock = Arc::new(JournalClock::start(databases.system.clone(), machine).await?);
    let world = with_clock(journal_clock.clone());
    let root = root_secret(settings)?;

    let keys = keys::Keys::new(&databases, &root)?;
    let ring = keys.open_or_create(&world).await?;
    let issuer = settings.issuer.clone().map_or_else(Issuer::default, Issuer::configured);
    let token_settings =
        TokenSettings::new(issuer.clone(), settings.audience.clone(), settings.access_token_lifetime_s)?;
    let tokens = Arc::new(AccessTokens::new(token_settings, ring, world.clone()));

    let engine: Arc<dyn RuleEngine> =
        Arc::new(LocalEngine::start(&sandbox_settings(settings, &root, program)?)?);
    let (app, system) = (databases.app.clone(), databases.system.clone());
    let turns = Arc::new(CompileTurns::default());
    let plugins = Arc::new(Plugins::new(system.clone(), engine.clone(), turns.clone()));
    let shared_plugins = plugins.load_folder(&settings.plugins_dir, &world).await?;
    let active = Arc::new(Deployments::new(system.clone(), plugins.clone()));
    active.catch_up_within(PLUGINS_AT_START).await?;
    let quarantines = Arc::new(Quarantines::new(
        app.clone(),
        system.clone(),
        world.clone(),
        quarantine_threshold(settings),
    ));
    quarantines.follow().await?;
    let card_checks = Arc::new(CardChecks::new(system.clone()));
    card_checks.follow().await?;
    let shadow = ShadowRuns::start(engine.clone(), system.clone(), settings.shadow_queue_max);
    let journal = Arc::new(journal::start(settings, &databases, world.clone()).await?);
    let facts = FactReader::start(databases.facts.clone());

    let checkpoints = journal::checkpoints(settings, &root, journal.clone())?;

    let started_at_ms = world.now_ms();
    let node = Node { id: world.uuid_v7(started_at_ms), name: journal::node_name(), started_at_ms };
    let nodes = Arc::new(Nodes::new(system.clone(), plugins.clone(), world.clone(), node));
    let uploads = Uploads::new(
        app.clone(),
        system.clone(),
        engine.clone(),
        turns,
        world.clone(),
        upload_settings(settings),
        nodes.own_id(),
    );
    let uploads = Arc::new(uploads.map_err(StartError::Threads)?);
    let deadline = Duration::from_millis(settings.deadline_ms);
    let diagnoses = Arc::new(Diagnoses::new(engine.clone(), plugins.clone()));
    let rulesets = Arc::new(Rulesets {
        app: app.clone(),
        engine: engine.clone(),
        plugins: plugins.clone(),
        diagnoses: diagnoses.clone(),
        active: active.clone(),
        nodes: nodes.clone(),
        // The rest of a request's time is for the change itself.
        patience: NODES_PATIENCE_MAX.min(deadline.mul_f64(0.6)),
        revisions_max: settings.ruleset_revisions_max,
        world: world.clone(),
    });
    let replays = Arc::new(Replays { app: app.clone(), engine: engine.clone(), plugins: plugins.clone() });
    let backtests = Backtests::new(system, engine.clone(), plugins.clone(), world.clone());
    let backtests = Arc::new(backtests.map_err(StartError::Threads)?);
    let submissions = Arc::new(Submissions {
        app: app.clone(),
        facts: facts.clone(),
        engine,
        active: active.clone(),
        quarantines: quarantines.clone(),
        shadow: shadow.clone(),
        journal: journal.clone(),
        flights: SingleFlight::default(),
        in_flight: Arc::new(PaymentsInFlight::default()),
        world: world.clone(),
        request_key: hmac::Key::new(hmac::HMAC_SHA256, root.derive(Purpose::RequestHashes)?.expose()),
        stages: StageMeters::default(),
        counts: DecisionCounts::default(),
    });
    let dry_runs = DryRuns { app: app.clone(), rulesets: rulesets.clone(), world: world.clone() };
    let services = Arc::new(Services {
        submissions,
        rulesets,
        diagnoses,
        uploads: uploads.clone(),
        nodes: nodes.clone(),
        replays,
        dry_runs,
        checkpoints: checkpoints.clone(),
        quarantines: quarantines.clone(),
        card_checks,
        app,
        hasher: Arc::new(SecretHasher::new(HashingLimits::default(), world.randomness())?),
        sign_ins: SignInLimits::new(world.randomness()),
        world: world.clone(),
        cursors: CursorKey::new(*root.derive(Purpose::Cursors)?.expose()),
        quotas: quotas(settings),
        issuer,
        // The rest is for the answer itself.
        submission_deadline: deadline.mul_f64(0.9),
    });
    let readiness = readiness::readiness(
        databases.app.clone(),
        facts.clone(),
        journal.clone(),
        journal_clock.clone(),
        active.clone(),
    );
    let readiness = Arc::new(readiness);
    nodes.beat().await?;
    // A node that serves is not behind because its start took long. Where this fails, the followers
    // go on.
    if let Err(error) = tokio::try_join!(active.catch_up(), journal_clock.follow()) {
        tracing::warn!(%error, "the database could not be read at start; this will be retried shortly");
    }
    let background = Background::start(Work {
        databases: databases.clone(),
        plugins_dir: settings.plugins_dir.clone(),
        plugins,
        active: active.clone(),
        nodes,
        uploads,
        backtests,
        keys,
        tokens: tokens.clone(),
        checkpoints: checkpoints.clone(),
        checkpoint_every: Duration::from_secs(settings.checkpoint_every_s),
        quarantines,
        card_checks: services.card_checks.clone(),
        shadow_kept: Duration::from_secs(settings.shadow_keep_days * 86_400),
        metrics: metrics.clone(),
        clock: journal_clock,
        world: world.clone(),
    });
    let streams = Arc::new(Streams::default());
    let parts = http::Parts {
        services: services.clone(),
        tokens: Tokens(tokens),
        rates: ClientRates::new(settings.client_requests_per_s, settings.client_requests_burst),
        readiness: readiness.clone(),
        metrics: Metrics(measures::page(metrics, databases.clone(), journal.clone())),
        limits: BodyLimits {
            body_bytes: 64 << 10,
            body_deadline: deadline,
            lines_bytes: 4 << 20,
            upload_bytes: usize::try_from(settings.plugin_size_max_bytes).unwrap_or(usize::MAX),
            form_bytes: 8 << 10,
        },
        edge: EdgeLimits {
            deadline,
            upload_deadline: deadline.max(Duration::from_secs(120)),
            slots: settings.requests_max,
        },
        streams: streams.clone(),
    };
    let app = App {
        services,
        readiness,
        streams,
        databases,
        active,
        shared_plugins,
        journal,
        facts,
        checkpoints,
        shadow,
        background,
        world,
    };
    Ok((app, parts))
}

/// What computes stored decisions again, without a server around it.
pub async fn replays(
    config: &Config,
    databases: &Databases,
    program: PathBuf,
) -> Result<Replays, StartError> {
    let root = root_secret(&config.settings)?;
    let engine: Arc<dyn RuleEngine> =
        Arc::new(LocalEngine::start(&sandbox_settings(&config.settings, &root, program)?)?);
    let (app, system) = (databases.app.clone(), databases.system.clone());
    let turns = Arc::new(CompileTurns::default());
    let plugins = Arc::new(Plugins::new(system, engine.clone(), turns));
    Ok(Replays { app, engine, plugins })
}

/// What checks the signatures of checkpoints, without a server around it.
pub fn checkpoint_key(config: &Config) -> Result<CheckpointKey, StartError> {
    Ok(CheckpointKey::new(&root_secret(&config.settings)?)?)
}

impl App {
    /// After the last request was answered: the journal first, so that nothing
    /// acknowledged or accepted is lost, then the rest. What hangs is given up:
    /// all of it takes `stopping::STOP_MAX` at most.
    pub async fn stop(&self) {
        unless_it_hangs(JOURNAL_MAX, "storing accepted payments", self.journal.flush_and_stop()).await;
        tokio::join!(
            unless_it_hangs(WORK_MAX, "storing shadow runs", self.shadow.stop()),
            unless_it_hangs(WORK_MAX, "looking up facts", self.facts.stop()),
            unless_it_hangs(WORK_MAX, "background work", self.background.stop()),
        );
        unless_it_hangs(LEAVING_MAX, "signing off from the other nodes", self.background.leave()).await;
        // With all that was stored in them, while the node still knows its tips.
        let checkpoints = async {
            if let Err(error) = make_checkpoints(&self.checkpoints, &self.world).await {
                tracing::warn!(%error, "the last checkpoints could not be written");
            }
        };
        unless_it_hangs(CHECKPOINTS_MAX, "writing the last checkpoints", checkpoints).await;
        self.databases.close().await;
    }
}
