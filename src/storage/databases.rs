//! Prepares the database of a process, and opens the pools of all roles.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{ConnectOptions, Connection, PgConnection};
use thiserror::Error;
use tokio::time::timeout;

use super::StorageError;
use super::active_session::while_active;
use super::database_url::{self, DatabaseUrlError};
use super::lists;
use super::migrate::{MigrationError, migrate};
use super::partitions::ensure_partitions;
use super::pool::{AppPool, ConnectionCounts, DatabaseSettings, FactsPool, SystemPool};
use super::provision::{ProvisionError, provision};
use super::query_error::OfStatement;
use super::reach::{self, ReachError};
use super::session::{Role, Sessions};
use super::time_limit;

/// How long closing the pools waits for connections that are still in use.
pub const CLOSING_MAX: Duration = Duration::from_secs(2);

/// Provisioning takes a few statements, but may wait for another process that provisions at the
/// same time.
const PROVISIONING_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Error)]
pub enum OpenError {
    #[error(transparent)]
    Url(#[from] DatabaseUrlError),
    #[error(transparent)]
    Reach(#[from] ReachError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    #[error(transparent)]
    Migration(#[from] MigrationError),
}

/// The pools of a process. Cheap to clone: the clones share the pools.
#[derive(Debug, Clone)]
pub struct Databases {
    pub app: AppPool,
    pub facts: FactsPool,
    pub system: SystemPool,
    /// Not a pool: each writer of the journal has its own connection.
    pub journal: Sessions,
    settings: DatabaseSettings,
}

impl Databases {
    /// The pools connect at their first use, and again after an outage. So this does not fail if
    /// the database is down.
    pub fn connect_lazily(settings: &DatabaseSettings) -> Result<Self, DatabaseUrlError> {
        let refused = Arc::default();
        Ok(Self {
            app: settings.app_pool(&refused)?,
            facts: settings.facts_pool(&refused)?,
            system: settings.system_pool(&refused)?,
            journal: settings.sessions_among(Role::Journal, &refused)?,
            settings: settings.clone(),
        })
    }

    /// Prepares the database (roles, schema, migrations, lists, partitions) and connects.
    pub async fn open(settings: &DatabaseSettings) -> Result<Self, OpenError> {
        let settings = &reach::reached(settings).await?;
        let login = database_url::parse("url", &settings.url)?.options;
        let connect_max = Duration::from_secs(settings.connect_timeout);
        let mut connection = time_limit::within(connect_max, login.connect()).await.of_statement()?;
        timeout(PROVISIONING_MAX, provision(&mut connection))
            .await
            .map_err(|_| time_limit::no_response())??;
        time_limit::within(CLOSING_MAX, connection.close()).await.of_statement()?;

        let mut owner = settings.sessions(Role::Owner)?.connect().await.of_statement()?;
        let process = time_limit::within(connect_max, process_of(&mut owner)).await.of_statement()?;
        let migrated = while_active(&login, process, migrate(&mut owner)).await;
        // The connection is closed in any case: a failed migration leaves its lock held.
        let closed = time_limit::within(CLOSING_MAX, owner.close()).await;
        migrated.ok_or_else(time_limit::no_response)??;
        closed.of_statement()?;

        let databases = Self::connect_lazily(settings)?;
        databases.prove().await?;
        // Must be done before the first decision: list entries in an earlier form would not match.
        lists::convert_lists(&databases.system).await?;
        // An error is only logged: without these partitions, decisions are stored in the default
        // partition.
        if let Err(error) = ensure_partitions(&databases.system).await {
            tracing::error!(%error, "the partitions for the next months are missing");
        }
        Ok(databases)
    }

    /// The settings, with the URLs that are really used.
    pub fn settings(&self) -> &DatabaseSettings {
        &self.settings
    }

    /// Opens one session of each role, so that a wrong login is reported at start.
    async fn prove(&self) -> Result<(), OpenError> {
        let mut near = Vec::new();
        for role in [Role::App, Role::Journal, Role::System] {
            let (connection, proof) =
                self.settings.sessions(role)?.connect_with_proof().await.of_statement()?;
            connection.close().await.of_statement()?;
            if let Some(reaches) = proof.login_reaches {
                near.push(format!("{} may become {reaches}", role.name()));
            }
        }
        if !near.is_empty() {
            tracing::warn!(
                sessions = near.join("; "),
                "database logins can switch to the roles of other connections: give databases.main.app_url, \
                 journal_url and system_url separate logins, as described in docs/OPERATING.md"
            );
        }
        Ok(())
    }

    /// The counts of each pool, by the pool's name in the metrics.
    pub fn connection_counts(&self) -> [(&'static str, ConnectionCounts); 3] {
        [("app", self.app.counts()), ("facts", self.facts.counts()), ("system", self.system.counts())]
    }

    pub async fn close(&self) {
        let all = futures::future::join3(self.app.close(), self.facts.close(), self.system.close());
        if timeout(CLOSING_MAX, all).await.is_err() {
            tracing::warn!("gave up closing database connections: some are still in use");
        }
    }
}

/// The id of the server process of a connection.
async fn process_of(connection: &mut PgConnection) -> sqlx::Result<i32> {
    sqlx::query_scalar("select pg_backend_pid()").fetch_one(connection).await
}
