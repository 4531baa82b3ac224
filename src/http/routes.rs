//! The resources of the API, each with its routes and its JSON shapes. Also the paths under which
//! they are mounted.

pub(super) mod actors;
pub(super) mod admin_page;
pub(super) mod api_page;
pub(super) mod audit;
pub(super) mod backtests;
pub(super) mod checkpoints;
pub(super) mod clients;
pub(super) mod decisions;
pub(super) mod feed;
pub(super) mod index;
pub mod lists;
pub(super) mod me;
pub(super) mod oauth;
pub(super) mod openid;
pub(super) mod operations;
pub mod payments;
pub(super) mod plugins;
pub(super) mod problem_pages;
pub(super) mod proposals;
pub(super) mod reviews;
pub(super) mod rulesets;
pub(super) mod session;
pub(super) mod settings;
pub(super) mod tables;
pub(super) mod tenants;
pub(super) mod users;

use rocket::Route;

use crate::http::edge::RouteClass;
use crate::http::openapi;

/// Routes with the same base path and class.
pub(super) struct Mount {
    pub base: &'static str,
    pub class: RouteClass,
    pub routes: Vec<Route>,
}

pub(super) fn operations_mount() -> Mount {
    Mount { base: "/", class: RouteClass::Operation, routes: operations::routes() }
}

pub(super) fn mounts() -> Vec<Mount> {
    let mount = |base, class, routes| Mount { base, class, routes };
    let api = |class, routes| mount("/api/v1", class, routes);
    vec![
        api(RouteClass::Ordinary, payments::routes()),
        api(RouteClass::Ordinary, payments::events::routes()),
        api(RouteClass::Ordinary, decisions::routes()),
        api(RouteClass::Ordinary, decisions::counts::routes()),
        api(RouteClass::Ordinary, decisions::diagnoses::routes()),
        api(RouteClass::Ordinary, decisions::erasure::routes()),
        api(RouteClass::Ordinary, rulesets::routes()),
        api(RouteClass::Ordinary, rulesets::deployments::routes()),
        api(RouteClass::Ordinary, rulesets::dry_runs::routes()),
        api(RouteClass::Ordinary, backtests::routes()),
        api(RouteClass::Ordinary, rulesets::canary::routes()),
        api(RouteClass::Ordinary, rulesets::rule_reports::routes()),
        api(RouteClass::Ordinary, rulesets::shadow::routes()),
        api(RouteClass::Ordinary, rulesets::quarantines::routes()),
        api(RouteClass::Ordinary, lists::routes()),
        api(RouteClass::Ordinary, lists::entries::routes()),
        api(RouteClass::Upload, lists::entries::filling_routes()),
        api(RouteClass::Ordinary, tables::routes()),
        api(RouteClass::Ordinary, tables::versions::routes()),
        api(RouteClass::Upload, tables::versions::upload_routes()),
        api(RouteClass::Ordinary, tables::rows::routes()),
        api(RouteClass::Upload, tables::rows::comparison_routes()),
        api(RouteClass::Ordinary, tables::activations::routes()),
        api(RouteClass::Ordinary, checkpoints::routes()),
        api(RouteClass::Ordinary, plugins::routes()),
        api(RouteClass::Upload, plugins::upload_routes()),
        api(RouteClass::Ordinary, audit::routes()),
        api(RouteClass::Ordinary, actors::routes()),
        api(RouteClass::Ordinary, users::routes()),
        api(RouteClass::Ordinary, clients::routes()),
        api(RouteClass::Ordinary, settings::retention::routes()),
        api(RouteClass::Ordinary, tenants::routes()),
        api(RouteClass::Ordinary, proposals::routes()),
        api(RouteClass::Ordinary, settings::second_person::routes()),
        api(RouteClass::Ordinary, me::routes()),
        api(RouteClass::Ordinary, settings::openid::routes()),
        api(RouteClass::Upload, settings::openid::test_routes()),
        api(RouteClass::Ordinary, reviews::routes()),
        api(RouteClass::Ordinary, settings::reviews::routes()),
        api(RouteClass::Stream, feed::routes()),
        api(RouteClass::Ordinary, openapi::routes()),
        mount("/", RouteClass::Ordinary, oauth::routes()),
        mount("/", RouteClass::Ordinary, session::routes()),
        mount("/", RouteClass::Upload, openid::routes()),
        mount("/", RouteClass::Ordinary, api_page::routes()),
        mount("/", RouteClass::Ordinary, admin_page::routes()),
        mount("/", RouteClass::Ordinary, index::routes()),
        mount("/", RouteClass::Ordinary, problem_pages::routes()),
        operations_mount(),
    ]
}
