//! `tollgate serve`: starts everything, serves until a signal comes, and stops in order.
//!
//! A stop has these steps: Readiness fails and streams end. New connections are refused. Requests
//! in progress get their responses. The journal is flushed. The private Postgres stops.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use super::Failure;
use super::output::print_in_background;
use crate::app::database::Database;
use crate::app::demo::DemoAccess;
use crate::app::rule_engines::RuleService;
use crate::app::rule_worker::{self, IgnitedWorker};
use crate::app::server::Server;
use crate::app::stopping::{WORK_MAX, unless_it_hangs};
use crate::app::{self, App, IgnitedServer, demo, stopping};
use crate::config::{Config, Role};
use crate::http::edge::streams::Streams;
use crate::http::readiness::Readiness;

pub async fn serve(config: Config) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    if config.settings.roles.is_rule_worker() {
        return serve_rules(&config, started).await;
    }
    let database = Database::open(&config).await?;
    let served = serve_on(&config, &database, started).await;
    // Closed even after a failed start, which a private server must not outlive.
    database.close().await?;
    served
}

async fn serve_on(config: &Config, database: &Database, started: Instant) -> Result<ExitCode, Failure> {
    let IgnitedServer { server, app } =
        app::ignite(config, &database.settings, std::env::current_exe()?).await?;
    let has_api = config.settings.roles.has(Role::Api);
    let welcome = if has_api && config.settings.demo { Some(seed(&app).await) } else { None };
    let leaving =
        Leaving { readiness: app.readiness.clone(), streams: app.streams.clone(), rules: app.rules.clone() };
    let served = listen_and_serve(config, server, leaving, welcome, started).await;
    app.stop().await;
    served?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// What is told first when the process stops.
struct Leaving {
    readiness: Arc<Readiness>,
    streams: Arc<Streams>,
    rules: Option<Arc<RuleService>>,
}

/// A process that only runs rules for others.
async fn serve_rules(config: &Config, started: Instant) -> Result<ExitCode, Failure> {
    let IgnitedWorker { server, readiness, rules } =
        rule_worker::ignite(config, std::env::current_exe()?).await?;
    let leaving = Leaving { readiness, streams: Arc::default(), rules: Some(rules.clone()) };
    let served = listen_and_serve(config, server, leaving, None, started).await;
    unless_it_hangs(WORK_MAX, "answering calls of rules", rules.stop()).await;
    served?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

async fn listen_and_serve(
    config: &Config,
    server: Server,
    leaving: Leaving,
    welcome: Option<Option<DemoAccess>>,
    started: Instant,
) -> Result<(), Failure> {
    let grace = server.grace();
    let listening = server.listen().await?;
    let (address, url, stop) = (listening.address(), listening.url(), listening.stopping());
    let notice = Duration::from_millis(config.settings.shutdown_notice_ms);
    // Installed before the first connection, so that every serving node can be stopped in order.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stopping::end_in_any_case(notice + grace);
        leaving.readiness.shut_down();
        if let Some(rules) = &leaving.rules {
            rules.leave();
        }
        tokio::join!(tokio::time::sleep(notice), leaving.streams.stop());
        stop.cancel();
    });
    let roles = &config.settings.roles;
    tracing::info!(%address, %roles, ready_ms = started.elapsed().as_millis(), "ready");
    if let Some(created) = welcome {
        print_in_background(demo::welcome(&url, created.as_ref()));
    }
    listening.serve().await;
    Ok(())
}

/// A node serves even if the demonstration cannot be created.
async fn seed(app: &App) -> Option<DemoAccess> {
    let services = &app.services;
    let (plugins, rulesets) = (&services.rulesets.plugins, &services.rulesets);
    let now_ms = services.world.now_ms();
    let seeded = demo::seed(&app.databases, plugins, rulesets, &app.shared_plugins, now_ms);
    seeded.await.unwrap_or_else(|error| {
        tracing::warn!(%error, "the demonstration tenant could not be set up");
        None
    })
}
