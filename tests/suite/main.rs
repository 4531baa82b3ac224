//! The tests that need a real Postgres. One crate, so that there is one cluster.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod aggregates;
mod command_line;
mod crash;
mod facts;
mod isolation;
mod journal;
mod log;
mod outage;
mod payments;
mod private_server;
mod provisioning;
mod stopping;
mod support;
mod two_processes;
mod walls;
