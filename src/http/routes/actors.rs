//! The names of those who did something, for everybody who may read what they did.
//!
//! An e-mail address or a role must not be shown here.

use rocket::http::Status;
use rocket::{Route, get, routes};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::actor::{Actor, NamedActor};
use crate::http::edge::guard::{ActorsRead, Caller};
use crate::http::openapi::problems::ListProblems;
use crate::http::request::fields::text_error;
use crate::http::request::query::Query;
use crate::http::response::problem::Problem;
use crate::http::response::{ApiResponse, Items};
use crate::http::services::ServiceState;
use crate::storage::actors;

/// As many as a page of a list has, at most.
const IDS_MAX: usize = 100;

/// In characters. Every actor is shorter.
const ID_LENGTH_MAX: usize = 200;

pub fn routes() -> Vec<Route> {
    routes![names]
}

#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ActorKind {
    User,
    Client,
    /// The command line, or a task of a node.
    System,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Actor)]
pub struct ActorShape {
    /// As it was asked for.
    pub id: String,
    pub kind: ActorKind,
    /// The present name of the person or the client.
    pub name: String,
    pub disabled: bool,
}

impl From<NamedActor> for ActorShape {
    fn from(named: NamedActor) -> Self {
        let kind = match named.actor {
            Actor::User(_) => ActorKind::User,
            Actor::Client(_) => ActorKind::Client,
            Actor::System(_) => ActorKind::System,
        };
        Self { id: named.actor.to_string(), kind, name: named.name, disabled: named.is_disabled }
    }
}

/// Returns the names of actors: of those whom `actor`, `created_by` and the like name.
///
/// Ids of users and clients that the tenant does not have are absent. Any scope that allows reading
/// something with an actor is enough.
#[utoipa::path(
    tag = "audit",
    params((
        "id" = Vec<String>, Query, explode = true, min_items = 1, max_items = 100,
        description = "An actor as other responses have it, such as `user:` with an id. May appear up to 100 times"
    )),
    responses((status = 200, body = Items<ActorShape>), ListProblems),
    security(
        ("oauth" = ["audit:read"]),
        ("oauth" = ["rulesets:read"]),
        ("oauth" = ["lists:read"]),
        ("oauth" = ["plugins:read"]),
        ("oauth" = ["payments:read"]),
        ("oauth" = ["decisions:read"]),
        ("oauth" = ["payments:erase"]),
        ("oauth" = ["reviews:read"]),
        ("oauth" = ["users:read"]),
        ("oauth" = ["clients:read"]),
        ("oauth" = ["settings:read"]),
    )
)]
#[get("/actors")]
pub async fn names(
    caller: Caller<ActorsRead>,
    mut query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let asked = query
        .repeated("id", IDS_MAX, |text| text_error(text, ID_LENGTH_MAX).map_or(Ok(Actor::parse(text)), Err));
    query.finish()?;
    let (mut users, mut clients, mut found) = (Vec::new(), Vec::new(), Vec::new());
    for actor in asked.into_iter().flatten() {
        match actor {
            Actor::User(id) => users.push(id),
            Actor::Client(id) => clients.push(id),
            Actor::System(name) => {
                found.push(NamedActor { actor: Actor::System(name.clone()), name, is_disabled: false });
            }
        }
    }
    found.extend(actors::names(&services.app, caller.tenant, users, clients).await?);
    let items = found.into_iter().map(ActorShape::from).collect();
    ApiResponse::json(Status::Ok, &Items { items })
}
