//! The wiring: builds the parts of a node from the configuration, starts them and stops them.
//!
//! The only module besides `command` that may import every room. Must never hold business logic.

mod assembly;
mod background;
pub mod database;
pub mod demo;
pub mod imports;
mod journal;
pub mod keys;
mod measures;
mod parts;
mod people;
mod readiness;
pub mod rule_engines;
pub mod rule_worker;
pub mod server;
pub mod stopping;
pub mod tenants;
pub mod users;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use assembly::assemble;
use background::{Background, make_checkpoints};
use futures::FutureExt;
use futures::future::OptionFuture;
use parts::root_secret;
use server::{Server, door_settings};
use stopping::{CHECKPOINTS_MAX, JOURNAL_MAX, LEAVING_MAX, WORK_MAX, unless_it_hangs};
use thiserror::Error;

use crate::auth::AuthError;
use crate::auth::checkpoint::CheckpointKey;
use crate::config::{Config, Role};
use crate::decisions::checkpoints::Checkpoints;
use crate::decisions::compile_turns::CompileTurns;
use crate::decisions::deployments::Deployments;
use crate::decisions::plugins::Plugins;
use crate::decisions::replay::Replays;
use crate::decisions::shadow::ShadowRuns;
use crate::domain::plugin::Plugin;
use crate::domain::time::{Machine, World};
use crate::door::tls::TlsError;
use crate::http;
use crate::http::edge::streams::Streams;
use crate::http::readiness::Readiness;
use crate::http::services::Services;
use crate::rules::LocalEngineError;
use crate::storage::StorageError;
use crate::storage::databases::Databases;
use crate::storage::facts::FactReader;
use crate::storage::journal::Journal;
use crate::storage::pool::{DatabaseSettings, DatabaseUrlError};
use crate::telemetry;
use crate::workers::{PeerFilesError, RuleListenerError, register_metrics};
use crate::world::machine;
use rule_engines::RuleService;

#[derive(Debug, Error)]
pub enum StartError {
    #[error("the root secret or a key derived from it cannot be used")]
    Auth(#[from] AuthError),
    #[error("the sandbox cannot be started")]
    Engine(#[from] LocalEngineError),
    #[error("the database cannot be used")]
    Storage(#[from] StorageError),
    #[error("the database cannot be used")]
    DatabaseUrl(#[from] DatabaseUrlError),
    #[error("the data folder {} cannot be used", path.display())]
    DataFolder { path: PathBuf, source: std::io::Error },
    #[error("the threads for backtests and uploads cannot be started: {0}")]
    Threads(std::io::Error),
    #[error("metrics cannot be recorded: {0}")]
    Metrics(String),
    #[error("the server cannot be set up: {0}")]
    Rocket(String),
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsError),
    #[error("the service for rules cannot be started")]
    RuleListener(#[from] RuleListenerError),
    #[error("rule workers cannot be asked")]
    PeerFiles(#[from] PeerFilesError),
    #[error("the server cannot listen at {address}: {source}")]
    Address { address: SocketAddr, source: std::io::Error },
}

/// The parts of a node that run beside Rocket.
#[derive(Debug)]
pub struct App {
    pub services: Arc<Services>,
    pub readiness: Arc<Readiness>,
    pub streams: Arc<Streams>,
    pub databases: Databases,
    pub active: Arc<Deployments>,
    /// The plugins of the shared folder that were loaded at start.
    pub shared_plugins: Vec<Plugin>,
    journal: Arc<Journal>,
    facts: FactReader,
    checkpoints: Arc<Checkpoints>,
    shadow: Arc<ShadowRuns>,
    /// If this process serves its rule engine to others.
    pub rules: Option<Arc<RuleService>>,
    background: Background,
    world: World,
}

/// A server that is ready to listen, and the parts beside it.
#[derive(Debug)]
pub struct IgnitedServer {
    pub server: Server,
    pub app: Arc<App>,
}

/// Builds a server on a database that is up to date. `program` is the executable that is run with
/// hidden commands, such as the compiler's: this one, except in tests.
pub async fn ignite(
    config: &Config,
    database: &DatabaseSettings,
    program: PathBuf,
) -> Result<IgnitedServer, StartError> {
    ignite_on(config, database, program, machine()).await
}

/// As [`ignite`], with given clocks.
pub async fn ignite_on(
    config: &Config,
    database: &DatabaseSettings,
    program: PathBuf,
    machine: Machine,
) -> Result<IgnitedServer, StartError> {
    // Opened early, since it may fail. Metrics come first: those that are taken before are lost.
    telemetry::metrics().map_err(StartError::Metrics)?;
    register_metrics();
    let door = door_settings(&config.settings)?;
    let databases = Databases::connect_lazily(database)?;
    let (app, parts) = assemble(config, databases, program, machine).await?;
    let rocket = rocket::custom(config.figment.clone());
    let rocket = if config.settings.roles.has(Role::Api) {
        http::mount(rocket, parts)
    } else {
        http::mount_operations(rocket, parts.operations)
    };
    let rocket = rocket.ignite().await;
    let rocket = rocket.map_err(|error| StartError::Rocket(error.kind().to_string()))?;
    let issuer = app.services.issuer.clone();
    let server = Server { rocket, issuer, door };
    Ok(IgnitedServer { server, app: Arc::new(app) })
}

/// Creates `Replays` for commands that run without a server.
pub async fn replays(
    config: &Config,
    databases: &Databases,
    program: PathBuf,
) -> Result<Replays, StartError> {
    let root = root_secret(&config.settings)?;
    let engine = rule_engines::in_process(&config.settings, &root, program)?;
    let (app, system) = (databases.app.clone(), databases.system.clone());
    let turns = Arc::new(CompileTurns::default());
    let plugins = Arc::new(Plugins::new(system, engine.clone(), turns));
    Ok(Replays { app, engine, plugins })
}

/// The key that signs and verifies checkpoints.
pub fn checkpoint_key(config: &Config) -> Result<CheckpointKey, StartError> {
    Ok(CheckpointKey::new(&root_secret(&config.settings)?)?)
}

impl App {
    /// Call this after the last request has its response. Stops the journal first, so that no accepted
    /// payment is lost. A step that hangs is abandoned; all steps take at most
    /// `stopping::STOP_MAX`.
    pub async fn stop(&self) {
        unless_it_hangs(JOURNAL_MAX, "storing accepted payments", self.journal.flush_and_stop()).await;
        let rules = OptionFuture::from(self.rules.as_ref().map(|rules| rules.stop()));
        tokio::join!(
            unless_it_hangs(WORK_MAX, "answering calls of rules", rules.map(drop)),
            unless_it_hangs(WORK_MAX, "storing shadow runs", self.shadow.stop()),
            unless_it_hangs(WORK_MAX, "looking up facts", self.facts.stop()),
            unless_it_hangs(WORK_MAX, "background work", self.background.stop()),
        );
        unless_it_hangs(LEAVING_MAX, "signing off from the other nodes", self.background.leave()).await;
        // Written after the last decisions were stored, and while the journal still knows its chain
        // tips.
        let checkpoints = async {
            if let Err(error) = make_checkpoints(&self.checkpoints, &self.world).await {
                tracing::warn!(%error, "the last checkpoints could not be written");
            }
        };
        unless_it_hangs(CHECKPOINTS_MAX, "writing the last checkpoints", checkpoints).await;
        self.databases.close().await;
    }
}
