//! Changes of lists, which hold two seconds after they were written.

use std::time::Duration;

use serde_json::Value;
use sqlx::PgConnection;

use super::decisions::now_ms;

/// The clocks of ready nodes and of the database differ by less.
const CLOCKS_DIFFER_MS: u64 = 250;

/// Waits until this time has come on every node.
pub async fn until(at_ms: u64) {
    let left_ms = (at_ms + CLOCKS_DIFFER_MS).saturating_sub(now_ms());
    tokio::time::sleep(Duration::from_millis(left_ms)).await;
}

/// Waits until an entry is valid, or many are. `added` is the response to adding them.
pub async fn until_valid(added: &Value) {
    until(added["valid_from_ms"].as_u64().expect("when it is valid")).await;
}

/// Waits until an entry has ended. `closed` is the response to closing it.
pub async fn until_ended(closed: &Value) {
    until(closed["valid_to_ms"].as_u64().expect("when it ends")).await;
}

/// From now on this session writes entries with any times, as they were written before changes of
/// lists had to hold later. Only for a session of the superuser.
pub async fn write_as_before(superuser: &mut PgConnection) {
    sqlx::query("set session_replication_role = replica").execute(superuser).await.unwrap();
}
