//! The sandbox's tests on the engine in this process.

mod cases;
#[path = "sandbox/local.rs"]
mod engine;
mod sandbox;
