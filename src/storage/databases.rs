//! The database of a process: bringing it up to date, and the pools of all roles.

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
use super::partitions::ensure_decision_partitions;
use super::pool::{AppPool, ConnectionCounts, DatabaseSettings, FactsPool, SystemPool};
use super::provision::{ProvisionError, provision};
use super::query_error::OfStatement;
use super::reach::{self, ReachError};
use super::session::{Role, Sessions};
use super::time_limit;

/// How long the end of the pools waits for connections that are still in use.
pub const CLOSING_MAX: Duration = Duration::from_secs(2);

/// For a few statements, and for another process that runs them at the same time.
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

/// The pools of a process. Cheap to clone; the clones share them.
#[derive(Debug, Clone)]
pub struct Databases {
    pub app: AppPool,
    pub facts: FactsPool,
    pub system: SystemPool,
    /// The journal's writers hold connections of their own.
    pub journal: Sessions,
    settings: DatabaseSettings,
}

impl Databases {
    /// Connects at the first use and again after every outage: nothing fails
    /// here because the database is down.
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

    /// Brings the database up to date (roles, schema, migrations, partitions), then connects.
    pub async fn open(settings: &DatabaseSettings) -> Result<Self, OpenError> {
        let settings = &reach::reached(settings).await?;
        let login = database_url::parse("url", &settings.url)?.options;
        let connect_max = Duration::from_secs(settings.connect_timeout);
        let mut connection = time_limit::within(connect_max, login.connect()).await.of_statement()?;
        timeout(PROVISIONING_MAX, provision(&mut connection))
            .await
            .map_err(|_| time_limit::no_answer())??;
        time_limit::within(CLOSING_MAX, connection.close()).await.of_statement()?;

        let mut owner = settings.sessions(Role::Owner)?.connect().await.of_statement()?;
        let process = time_limit::within(connect_max, process_of(&mut owner)).await.of_statement()?;
        let migrated = while_active(&login, process, migrate(&mut owner)).await;
        // Closed in any case: a failed migration leaves its lock held.
        let closed = time_limit::within(CLOSING_MAX, owner.close()).await;
        migrated.ok_or_else(time_limit::no_answer)??;
        closed.of_statement()?;

        let databases = Self::connect_lazily(settings)?;
        databases.prove().await?;
        // Before anything is decided: an entry of an earlier form would be missed.
        lists::convert_lists(&databases.system).await?;
        // Decisions can be stored without them, in the default partition.
        if let Err(error) = ensure_decision_partitions(&databases.system).await {
            tracing::error!(%error, "the partitions for the next months are missing");
        }
        Ok(databases)
    }

    /// Where they lead, each URL as it can be used.
    pub fn settings(&self) -> &DatabaseSettings {
        &self.settings
    }

    /// One session of each role, so that a start says at once what is wrong with a login.
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

/// The process of the server behind a connection.
async fn process_of(connection: &mut PgConnection) -> sqlx::Result<i32> {
    sqlx::query_scalar("select pg_backend_pid()").fetch_one(connection).await
}
