//! The rule engine across processes: the gRPC service of a worker, and the engine that asks workers.
//!
//! Both are one [`RuleEngine`](crate::rules::RuleEngine) to everybody else. Nothing here may decide
//! anything: what a worker is not told by a call, it must not use.

mod address;
mod batches;
mod known_plugins;
mod listener;
mod messages;
mod remote_engine;
mod resolution;
mod service;
mod settings;
mod worker;

pub use address::{ListenAddress, WorkerAddress};
pub use listener::{RuleListener, RuleListenerError};
pub use remote_engine::{PluginSource, RemoteEngine};
pub use settings::{Fallback, PeerFiles, PeerFilesError, PeerIdentity, RemoteSettings, register_metrics};
