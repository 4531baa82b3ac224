//! The tests that need a real Postgres. One crate, so that there is one cluster.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod aggregates;
mod facts;
mod isolation;
mod journal;
mod outage;
mod payments;
mod private_server;
mod provisioning;
mod security;
mod support;
mod walls;
