//! The API and the page: Rocket, and every JSON shape.
//!
//! Owns routes, guards, problems, the edge and the OpenAPI document. Must
//! never decide anything of the trade, and never put payment data, tokens or
//! raw paths into a log.

mod admin_page;
mod answer;
mod audit;
mod backtest_shapes;
mod backtests;
mod body;
mod canary;
mod card_checks;
mod checkpoints;
pub mod client_rates;
mod context;
mod counts;
pub mod cursor;
mod decisions;
mod deployments;
mod diagnoses;
mod documented;
mod dry_runs;
pub mod edge;
mod entity_tags;
mod events;
mod evidence;
mod failure;
mod fields;
mod guard;
pub mod import_line;
mod json;
pub mod line_error;
mod list_entries;
pub mod list_lines;
mod lists;
mod oauth;
pub mod openapi;
mod openapi_finish;
mod operations;
mod payment_body;
mod payment_events;
mod payments;
mod plugin_download;
mod plugin_shapes;
mod plugins;
mod problem;
mod quarantines;
mod query;
pub mod readiness;
mod ruleset_shapes;
mod rulesets;
pub mod services;
mod shadow;
pub mod streams;
mod upload_turns;

use std::sync::Arc;

use rocket::{Build, Rocket, Route, catchers};

use client_rates::ClientRates;
use edge::{Edge, EdgeLimits, Telling, Treatment};
use readiness::Readiness;
use services::{Limits, Metrics, Services, Tokens};
use streams::Streams;

/// Routes that share a place and a treatment.
struct Mount {
    base: &'static str,
    treatment: Treatment,
    routes: Vec<Route>,
}

fn mounts() -> Vec<Mount> {
    let mount = |base, treatment, routes| Mount { base, treatment, routes };
    let api = |treatment, routes| mount("/api/v1", treatment, routes);
    vec![
        api(Treatment::Ordinary, payments::routes()),
        api(Treatment::Ordinary, payment_events::routes()),
        api(Treatment::Ordinary, decisions::routes()),
        api(Treatment::Ordinary, diagnoses::routes()),
        api(Treatment::Ordinary, rulesets::routes()),
        api(Treatment::Ordinary, deployments::routes()),
        api(Treatment::Ordinary, dry_runs::routes()),
        api(Treatment::Ordinary, backtests::routes()),
        api(Treatment::Ordinary, canary::routes()),
        api(Treatment::Ordinary, shadow::routes()),
        api(Treatment::Ordinary, quarantines::routes()),
        api(Treatment::Ordinary, lists::routes()),
        api(Treatment::Ordinary, list_entries::routes()),
        api(Treatment::Upload, list_entries::filling_routes()),
        api(Treatment::Ordinary, checkpoints::routes()),
        api(Treatment::Ordinary, plugins::routes()),
        api(Treatment::Upload, plugins::upload_routes()),
        api(Treatment::Ordinary, audit::routes()),
        api(Treatment::Stream, events::routes()),
        api(Treatment::Ordinary, openapi::routes()),
        mount("/", Treatment::Ordinary, oauth::routes()),
        mount("/", Treatment::Ordinary, openapi::page_routes()),
        mount("/", Treatment::Ordinary, admin_page::routes()),
        mount("/", Treatment::Operation, operations::routes()),
    ]
}

/// What the wiring hands over.
#[derive(Debug)]
pub struct Parts {
    pub services: Arc<Services>,
    pub tokens: Tokens,
    pub rates: ClientRates,
    pub readiness: Arc<Readiness>,
    pub metrics: Metrics,
    pub limits: Limits,
    pub edge: EdgeLimits,
    pub streams: Arc<Streams>,
}

/// Mounts everything.
pub fn mount(rocket: Rocket<Build>, parts: Parts) -> Rocket<Build> {
    let edge = Edge::new(parts.edge);
    let mounted = mounts()
        .into_iter()
        .fold(rocket, |rocket, mount| rocket.mount(mount.base, edge.surround(mount.treatment, mount.routes)));
    mounted
        .manage(parts.services)
        .manage(parts.tokens)
        .manage(parts.rates)
        .manage(parts.readiness)
        .manage(parts.metrics)
        .manage(parts.limits)
        .manage(parts.streams)
        .manage(Arc::new(upload_turns::UploadTurns::default()))
        .register("/", catchers![problem::default_catcher])
        .attach(Telling::of(&operations::routes()))
}
