//! A process that only runs rules for others. It has no database, and must not get one.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::background::METRICS_EVERY;
use super::parts::{edge_limits, root_secret};
use super::rule_engines::{self, RuleService};
use super::server::{Server, door_settings};
use super::{StartError, measures};
use crate::auth::token::TokenIssuer;
use crate::config::Config;
use crate::http::readiness::{LocalCheck, Readiness};
use crate::http::services::Metrics;
use crate::http::{self, OperationsParts};
use crate::telemetry;
use crate::workers::register_metrics;
use crate::world::system;

/// A worker that serves rules already, and the server of its health and metrics.
#[derive(Debug)]
pub struct IgnitedWorker {
    pub server: Server,
    pub readiness: Arc<Readiness>,
    pub rules: Arc<RuleService>,
}

/// Plugins are compiled under a key of its own, which is made from its own root secret.
pub async fn ignite(config: &Config, program: PathBuf) -> Result<IgnitedWorker, StartError> {
    let settings = &config.settings;
    let metrics = telemetry::metrics().map_err(StartError::Metrics)?;
    register_metrics();
    let (world, root) = (system(), root_secret(settings)?);
    let engine = rule_engines::in_process(settings, &root, program)?;
    let rules = RuleService::start(settings, engine, &world).await?;
    let rules = rules.expect("the configuration requires an address for a worker");
    let summaries = metrics.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(METRICS_EVERY).await;
            summaries.run_upkeep();
        }
    });
    let has_ended = rules.ends();
    let ended: LocalCheck =
        Box::new(move || has_ended.load(Ordering::Acquire).then_some("The service for rules has ended."));
    let readiness = Arc::new(Readiness::new(vec![ended], vec![]));
    let parts = OperationsParts {
        readiness: readiness.clone(),
        metrics: Metrics(measures::page_of_worker(metrics)),
        edge: edge_limits(settings),
        world,
    };
    let rocket = http::mount_operations(rocket::custom(config.figment.clone()), parts).ignite().await;
    let rocket = rocket.map_err(|error| StartError::Rocket(error.kind().to_string()))?;
    let server = Server { rocket, issuer: TokenIssuer::default(), door: door_settings(settings)? };
    Ok(IgnitedWorker { server, readiness, rules: Arc::new(rules) })
}
