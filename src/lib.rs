//! Tollgate decides payments by rules that are sandboxed plugins. A decision is durable before
//! its response is sent, and can be replayed for as long as it is kept.
//!
//! # The way of a payment
//!
//! `http` (edge, guards, body) -> `decisions::submit` -> `storage::facts` ->
//! `rules` -> `domain::verdict` (the fold) -> `storage::journal` -> the response.
//!
//! # The rooms
//!
//! | room | contains | may import |
//! | --- | --- | --- |
//! | `domain` | the business rules, without input or output | no other room |
//! | `rules` | the sandbox, and the port to it | `domain` |
//! | `storage` | Postgres, all SQL, the journal | `domain` |
//! | `auth` | secrets, signing keys, tokens | `domain` |
//! | `decisions` | the use cases of payments and rules | the rooms above |
//! | `people` | the use cases of users, clients and tenants | `domain`, `storage`, `auth` |
//! | `proposals` | changes that need a second person | the rooms above |
//! | `door` | connections: their bounds, raw heads, TLS | `domain` |
//! | `workers` | the rule engine across processes | `domain`, `rules` |
//! | `http` | the API and the page | the rooms above, except `workers` |
//! | `app` | the wiring of all rooms | all |
//! | `command` | the command line | all |
//!
//! `config`, `telemetry` and `world` (the clock and the random source) serve the wiring.
//! `tests/suite/room_imports.rs` reads the sources and enforces this table.
//!
//! # Guarantees
//!
//! - A decision depends only on what is recorded with it.
//! - An acknowledged payment is durable, and is decided once.
//! - No tenant can harm another.

pub mod app;
pub mod auth;
pub mod command;
pub mod config;
pub mod decisions;
pub mod domain;
pub mod door;
pub mod http;
pub mod people;
pub mod proposals;
pub mod rules;
pub mod storage;
pub mod telemetry;
pub mod workers;
pub mod world;
