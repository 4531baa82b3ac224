//! The pools of sessions of the database, one type for each role.
//!
//! A connection must not return to its pool with an open transaction, with a tenant set or as
//! another role. `session.rs` checks the role.

mod app;
mod checks;
mod counts;
mod facts;
mod settings;
mod system;
mod tenant_turns;

pub use super::database_url::DatabaseUrlError;
pub use super::query_error::RefusedSession;
pub use super::session::{Role, Sessions};
pub use app::AppPool;
pub use counts::ConnectionCounts;
pub use facts::{FactsPool, TenantsReader};
pub use settings::DatabaseSettings;
pub use system::SystemPool;
