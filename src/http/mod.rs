//! The API and the page: Rocket, and every JSON shape.
//!
//! Owns routes, guards, problems, the edge and the OpenAPI document. Must
//! never decide anything of the trade, and never put payment data, tokens or
//! raw paths into a log.

pub mod edge;
pub mod openapi;
pub mod readiness;
pub mod request;
mod response;
pub mod routes;
pub mod services;

use std::sync::Arc;

use rocket::{Build, Rocket, catchers};

use edge::client_rates::ClientRates;
use edge::streams::Streams;
use edge::upload_turns::UploadTurns;
use edge::{Edge, EdgeLimits, Telling};
use readiness::Readiness;
use services::{Limits, Metrics, Services, Tokens};

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
    let mounted = routes::mounts()
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
        .manage(Arc::new(UploadTurns::default()))
        .register("/", catchers![response::problem::default_catcher])
        .attach(Telling::of(&routes::operations::routes()))
}
