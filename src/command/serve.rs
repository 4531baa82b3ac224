//! `tollgate serve`: starts everything, serves until a signal comes, and stops in order.
//!
//! A stop has these steps: Readiness fails and streams end. New connections are refused. Requests
//! in progress get their responses. The journal is flushed. The private Postgres stops.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use super::Failure;
use super::output::print_in_background;
use crate::app::database::Database;
use crate::app::demo::DemoAccess;
use crate::app::server::Server;
use crate::app::{self, App, IgnitedServer, demo, stopping};
use crate::config::Config;

pub async fn serve(config: Config) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    let database = Database::open(&config).await?;
    let served = serve_on(&config, &database, started).await;
    // Closed even after a failed start, which a private server must not outlive.
    database.close().await?;
    served
}

async fn serve_on(config: &Config, database: &Database, started: Instant) -> Result<ExitCode, Failure> {
    let IgnitedServer { server, app } =
        app::ignite(config, &database.settings, std::env::current_exe()?).await?;
    let welcome = if config.settings.demo { Some(seed(&app).await) } else { None };
    let served = listen_and_serve(config, &app, server, welcome, started).await;
    app.stop().await;
    served?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

async fn listen_and_serve(
    config: &Config,
    app: &App,
    server: Server,
    welcome: Option<Option<DemoAccess>>,
    started: Instant,
) -> Result<(), Failure> {
    let grace = server.grace();
    let listening = server.listen().await?;
    let (address, url) = (listening.address(), listening.url());
    let (readiness, streams, stop) = (app.readiness.clone(), app.streams.clone(), listening.stopping());
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
        readiness.shut_down();
        tokio::join!(tokio::time::sleep(notice), streams.stop());
        stop.cancel();
    });
    tracing::info!(%address, ready_ms = started.elapsed().as_millis(), "ready");
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
