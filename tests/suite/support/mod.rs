//! Support code for the tests.

pub mod certificates;
pub mod cluster;
#[path = "../../sandbox/components.rs"]
pub mod components;
pub mod database;
pub mod decisions;
pub mod faulty_proxy;
pub mod feed_client;
pub mod hostile_provider;
pub mod lists;
pub mod openid;
pub mod people;
pub mod pgbouncer;
pub mod program;
pub mod raw_client;
pub mod service;
pub mod silent_proxy;
pub mod subprocess;
pub mod tls_postgres;
