//! The resources of the API, each with its routes and its JSON shapes, and where
//! they are mounted.

pub(super) mod admin_page;
pub(super) mod audit;
pub(super) mod backtests;
pub(super) mod checkpoints;
pub(super) mod decisions;
pub(super) mod events;
pub mod lists;
pub(super) mod oauth;
pub(super) mod operations;
pub mod payments;
pub(super) mod plugins;
pub(super) mod rulesets;

use rocket::Route;

use crate::http::edge::Treatment;
use crate::http::openapi;

/// Routes that share a place and a treatment.
pub(super) struct Mount {
    pub base: &'static str,
    pub treatment: Treatment,
    pub routes: Vec<Route>,
}

pub(super) fn mounts() -> Vec<Mount> {
    let mount = |base, treatment, routes| Mount { base, treatment, routes };
    let api = |treatment, routes| mount("/api/v1", treatment, routes);
    vec![
        api(Treatment::Ordinary, payments::routes()),
        api(Treatment::Ordinary, payments::events::routes()),
        api(Treatment::Ordinary, decisions::routes()),
        api(Treatment::Ordinary, decisions::diagnoses::routes()),
        api(Treatment::Ordinary, rulesets::routes()),
        api(Treatment::Ordinary, rulesets::deployments::routes()),
        api(Treatment::Ordinary, rulesets::dry_runs::routes()),
        api(Treatment::Ordinary, backtests::routes()),
        api(Treatment::Ordinary, rulesets::canary::routes()),
        api(Treatment::Ordinary, rulesets::shadow::routes()),
        api(Treatment::Ordinary, rulesets::quarantines::routes()),
        api(Treatment::Ordinary, lists::routes()),
        api(Treatment::Ordinary, lists::entries::routes()),
        api(Treatment::Upload, lists::entries::filling_routes()),
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
