//! The checks of a pool's connections: before one is used, and after it was returned.

use std::time::Duration;

use sqlx::pool::PoolConnectionMetadata;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use crate::storage::session::{Role, STILL_PROVEN};
use crate::storage::time_limit;

/// A connection that was returned within this time is assumed to work.
const TRUSTED_IDLE_MAX: Duration = Duration::from_millis(250);

/// A connection that does not respond to a ping in this time is closed, and another is opened.
const PING_MAX: Duration = Duration::from_secs(1);

/// Checks a connection only if it was idle for a while: it may have been lost meanwhile.
pub(super) async fn responds_after_idling(
    connection: &mut PgConnection,
    metadata: PoolConnectionMetadata,
) -> Result<bool, sqlx::Error> {
    if metadata.idle_for > TRUSTED_IDLE_MAX { responds(connection).await } else { Ok(true) }
}

pub(super) async fn responds(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    time_limit::within(PING_MAX, connection.ping()).await.map(|()| true)
}

/// The statement for `is_clean`. It must be sent as a single simple query: then `now()` differs
/// from the statement's time only if a transaction was open before. In a failed transaction the
/// statement fails, which closes the connection as well.
pub(super) fn is_clean_statement(role: Role) -> String {
    format!(
        "select now() = statement_timestamp()
            and coalesce(current_setting('app.tenant_id', true), '') = ''
            and coalesce(current_setting('app.tenants', true), '') = ''
            and {STILL_PROVEN}'{}'",
        role.name()
    )
}

/// Whether the next caller may use a connection. sqlx cannot answer this: if a `begin` is dropped
/// halfway, sqlx does not know of its transaction, and the next caller's writes would be rolled
/// back with it.
pub(super) async fn is_clean(connection: &mut PgConnection, statement: String) -> Result<bool, sqlx::Error> {
    let row = sqlx::raw_sql(AssertSqlSafe(statement)).fetch_one(connection).await?;
    let clean: bool = row.try_get(0)?;
    if !clean {
        tracing::error!(
            "a connection was returned inside a transaction, with a tenant set or as another role; it is \
             closed"
        );
    }
    Ok(clean)
}
