//! Tollgate decides payments by rules that are sandboxed plugins: the answer
//! is durable before it is sent, and can be computed again for as long as it is kept.
//!
//! # The way of a payment
//!
//! `http` (edge, guards, body) -> `decisions::submit` -> `storage::facts` ->
//! `rules` -> `domain::verdict` (the fold) -> `storage::journal` -> the answer.
//!
//! # The rooms
//!
//! | room | owns | may import |
//! | --- | --- | --- |
//! | `domain` | the trade, pure | nothing of ours |
//! | `rules` | the sandbox, and the port to it | `domain` |
//! | `storage` | Postgres, all SQL, the journal | `domain` |
//! | `auth` | secrets, signing keys, tokens | `domain` |
//! | `decisions` | the use cases | the rooms above |
//! | `http` | the API and the page | the rooms above |
//! | `app` | the wiring, the one place that sees every room | all |
//! | `command` | the command line | all |
//!
//! `config`, `telemetry` and `world` (the clock and the random source) stand
//! beside them and serve the wiring. A test reads the sources and holds these walls.
//!
//! # What must never be given up
//!
//! - A decision depends on nothing but what is recorded with it.
//! - Acknowledged means durable, once.
//! - One tenant never harms another.

pub mod app;
pub mod auth;
pub mod command;
pub mod config;
pub mod decisions;
pub mod domain;
pub mod http;
pub mod rules;
pub mod storage;
pub mod telemetry;
pub mod world;
