//! What the tests stand on. Holds no tests.

pub mod cluster;
#[path = "../../sandbox/components.rs"]
pub mod components;
pub mod database;
pub mod decisions;
pub mod listener;
pub mod pgbouncer;
pub mod process;
pub mod program;
pub mod proxy;
pub mod service;
pub mod swallow;
