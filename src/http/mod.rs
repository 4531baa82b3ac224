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
    pub readiness: Arc<Readiness>,
    pub metrics: Metrics,
    pub limits: BodyLimits,
    pub edge: EdgeLimits,
    pub streams: Arc<Streams>,
    /// Whose pages may use the API from a browser.
    pub origins: Vec<WebOrigin>,
}

pub fn mount(rocket: Rocket<Build>, parts: Parts) -> Rocket<Build> {
    let edge = Edge::new(parts.edge);
    let mounted = routes::mounts()
        .into_iter()
        .fold(rocket, |rocket, mount| rocket.mount(mount.base, edge.wrap(mount.class, mount.routes)));
    let mounted = match Cors::of(parts.origins) {
        Some(cors) => {
            let preflights = cors.routes();
            preflights.fold(mounted, |rocket, (base, routes)| rocket.mount(base, routes)).attach(cors.clone())
        }
        None => mounted,
    };
    mounted
        .manage(parts.services.world.clone())
        .manage(parts.services)
        .manage(parts.tokens)
        .manage(parts.rates)
        .manage(parts.readiness)
        .manage(parts.metrics)
        .manage(parts.limits)
        .manage(parts.streams)
        .manage(Arc::new(UploadSlots::default()))
        .register("/", catchers![response::problem::default_catcher])
        .attach(RequestTelemetry::of(&routes::operations::routes()))
}
