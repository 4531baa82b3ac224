//! The HTTP API and the page, served by Rocket: routes, guards, JSON shapes, problems and the
//! OpenAPI document.
//!
//! Business rules belong in `decisions` and `domain`. Logs must never contain payment data,
//! tokens or raw paths.

pub mod edge;
pub mod hand_over;
pub mod openapi;
pub mod readiness;
pub mod request;
mod response;
pub mod rfc3339;
pub mod routes;
pub mod services;

use std::sync::Arc;

use rocket::{Build, Rocket, catchers};

use crate::domain::time::World;
use crate::domain::web_origin::WebOrigin;
use edge::client_rates::ClientRates;
use edge::cors::Cors;
use edge::streams::Streams;
use edge::upload_slots::UploadSlots;
use edge::{Edge, EdgeLimits, RequestTelemetry};
use readiness::Readiness;
use services::{BodyLimits, Metrics, Services, Tokens};

/// The parts of the server that `app` builds and this module mounts.
#[derive(Debug)]
pub struct Parts {
    pub services: Arc<Services>,
    pub tokens: Tokens,
    pub rates: ClientRates,
    pub operations: OperationsParts,
    pub limits: BodyLimits,
    pub streams: Arc<Streams>,
    /// Whose pages may use the API from a browser.
    pub origins: Vec<WebOrigin>,
}

/// What every process serves, whatever its roles are.
#[derive(Debug)]
pub struct OperationsParts {
    pub readiness: Arc<Readiness>,
    pub metrics: Metrics,
    pub edge: EdgeLimits,
    pub world: World,
}

pub fn mount(rocket: Rocket<Build>, parts: Parts) -> Rocket<Build> {
    let edge = Edge::new(parts.operations.edge);
    let rocket = manage_operations(rocket, parts.operations);
    let mounted = with_routes(rocket, &edge, routes::mounts());
    let mounted = match Cors::of(parts.origins) {
        Some(cors) => {
            let preflights = cors.routes();
            preflights.fold(mounted, |rocket, (base, routes)| rocket.mount(base, routes)).attach(cors.clone())
        }
        None => mounted,
    };
    mounted
        .manage(parts.services)
        .manage(parts.tokens)
        .manage(parts.rates)
        .manage(parts.limits)
        .manage(parts.streams)
        .manage(Arc::new(UploadSlots::default()))
}

/// Health, readiness and metrics only, for a process without the API.
pub fn mount_operations(rocket: Rocket<Build>, parts: OperationsParts) -> Rocket<Build> {
    let edge = Edge::new(parts.edge);
    with_routes(manage_operations(rocket, parts), &edge, vec![routes::operations_mount()])
}

fn with_routes(rocket: Rocket<Build>, edge: &Edge, mounts: Vec<routes::Mount>) -> Rocket<Build> {
    mounts
        .into_iter()
        .fold(rocket, |rocket, mount| rocket.mount(mount.base, edge.wrap(mount.class, mount.routes)))
}

fn manage_operations(rocket: Rocket<Build>, parts: OperationsParts) -> Rocket<Build> {
    rocket
        .manage(parts.world)
        .manage(parts.readiness)
        .manage(parts.metrics)
        .register("/", catchers![response::problem::default_catcher])
        .attach(RequestTelemetry::of(&routes::operations::routes()))
}
