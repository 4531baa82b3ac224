//! What the tests stand on. Holds no tests.

pub mod cluster;
pub mod database;
pub mod decisions;
pub mod process;
pub mod program;
pub mod proxy;
pub mod service;
