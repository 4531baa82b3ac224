//! People: signing in, sessions, roles, second factors, second persons, and what administrators do
//! with users, clients, tenants and settings.

mod actors;
mod clients;
mod retention;
mod roles;
mod second_factor;
mod second_person;
mod sessions;
mod sign_in;

use serde_json::Value;

/// The type of a problem.
fn kind(problem: &Value) -> &str {
    problem["type"].as_str().and_then(|kind| kind.rsplit('/').next()).unwrap_or_default()
}
