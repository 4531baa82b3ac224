//! `tollgate serve`: starts everything, serves until a signal comes, and stops in order.
//!
//! A stop has these steps: Readiness fails and streams end. New connections are refused. Requests
//! in progress get their responses. The journal is flushed. The private Postgres stops.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rocket::error::ErrorKind;
use rocket::{Ignite, Orbit, Rocket};
use tokio::signal::unix::{SignalKind, signal};

use super::Failure;
use super::output::print_in_background;
use crate::app::database::Database;
use crate::app::demo::DemoAccess;
use crate::app::{self, App, IgnitedServer, demo, stopping};
use crate::config::Config;

/// How often a stopping node looks whether connections are still open.
const UNUSED_EVERY: Duration = Duration::from_millis(5);

pub async fn serve(config: Config) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    let database = Database::open(&config).await?;
    let served = serve_on(&config, &database, started).await;
    // Closed even after a failed start, which a private server must not outlive.
    database.close().await?;
    served
}

async fn serve_on(config: &Config, database: &Database, started: Instant) -> Result<ExitCode, Failure> {
    let IgnitedServer { rocket, app, address } =
        app::ignite(config, &database.settings, std::env::current_exe()?).await?;
    let welcome = if config.settings.demo { Some(seed(&app).await) } else { None };
    tokio::spawn(async move {
        let Ok(address) = address.await else { return };
        tracing::info!(%address, ready_ms = started.elapsed().as_millis(), "ready");
        if let Some(created) = welcome {
            print_in_background(demo::welcome(&format!("http://{address}"), created.as_ref()));
        }
    });
    let launched = launch(config, &app, rocket).await;
    app.stop().await;
    launched?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

async fn launch(config: &Config, app: &App, rocket: Rocket<Ignite>) -> Result<(), Failure> {
    let shutdown = rocket.shutdown();
    let of_rocket = &rocket.config().shutdown;
    // Rocket itself adds one second.
    let requests_max = Duration::from_secs(u64::from(of_rocket.grace) + u64::from(of_rocket.mercy) + 1);
    let (readiness, streams) = (app.readiness.clone(), app.streams.clone());
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
        stopping::end_in_any_case(notice + requests_max);
        readiness.shut_down();
        tokio::join!(tokio::time::sleep(notice), streams.stop());
        shutdown.notify();
    });
    match rocket.launch().await {
        Ok(_) => Ok(()),
        Err(error) => match error.kind() {
            ErrorKind::Shutdown(rocket, None) => {
                until_unused(rocket, requests_max).await;
                Ok(())
            }
            other => Err(other.to_string().into()),
        },
    }
}

/// Rocket reports a failed shutdown if its accept loop ends before it notices the request to stop,
/// and then waits for no request. Each open connection holds a reference.
async fn until_unused(rocket: &Arc<Rocket<Orbit>>, most: Duration) {
    let until = Instant::now() + most;
    while Arc::strong_count(rocket) > 1 && Instant::now() < until {
        tokio::time::sleep(UNUSED_EVERY).await;
    }
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
