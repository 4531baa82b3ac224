//! Connections: which role a session has, and the pools of such sessions.
//!
//! Owns the settings of every session. A connection goes back to its pool only
//! without an open transaction and without a tenant; there is no session that
//! could see all tenants by accident.

use std::str::FromStr;
use std::time::Duration;

use figment::Figment;
use rocket_db_pools::Database;
use serde::Deserialize;
use sqlx::pool::{PoolConnection, PoolConnectionMetadata};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool, Postgres, Row};
use thiserror::Error;

use super::StorageError;
use super::facts;
use super::migrate::{MigrationError, migrate};
use super::partitions::ensure_decision_partitions;
use super::provision::{ProvisionError, provision};

/// Whom a session acts for. The policies and grants of the migrations follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Owns the tables and runs migrations.
    Owner,
    /// One request of one tenant.
    App,
    /// Reads facts and writes decisions, for the tenants of a batch.
    Journal,
    /// Background work and the command line, over all tenants.
    System,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::Owner => "tollgate_owner",
            Self::App => "tollgate_app",
            Self::Journal => "tollgate_journal",
            Self::System => "tollgate_system",
        }
    }

    /// A statement that runs longer has gone wrong: a request's is bounded by
    /// its deadline anyway, a migration may rewrite a table.
    fn statement_timeout_ms(self) -> u64 {
        match self {
            Self::App => 10_000,
            Self::Journal => 30_000,
            Self::System => 600_000,
            Self::Owner => 0,
        }
    }

    /// An idle transaction keeps locks and keeps old rows from being removed.
    fn idle_in_transaction_timeout_ms(self) -> u64 {
        if self == Self::Owner { 0 } else { 15_000 }
    }
}

/// `databases.main` of the configuration. The names of the limits are those of rocket_db_pools.
#[derive(Clone, Deserialize)]
pub struct DatabaseSettings {
    /// Provisions and migrates; alone, also the login of all sessions.
    pub url: String,
    /// With a URL of its own, a role logs in by it instead of being switched to.
    #[serde(default)]
    pub app_url: Option<String>,
    #[serde(default)]
    pub journal_url: Option<String>,
    #[serde(default)]
    pub system_url: Option<String>,
    #[serde(default = "default_max_connections")]
    pub max_connections: u32,
    #[serde(default)]
    pub min_connections: u32,
    #[serde(default = "default_system_max_connections")]
    pub system_max_connections: u32,
    /// Seconds that a caller waits for a connection.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout: u64,
    /// Seconds after which an unused connection is closed.
    #[serde(default)]
    pub idle_timeout: Option<u64>,
}

/// A connection of facts that came back within this time is taken for one that works.
const UNASKED_MAX: Duration = Duration::from_millis(250);

/// One for each statement under way.
const FACT_CONNECTIONS: u32 = (facts::TOGETHER + facts::APART) as u32;

fn default_max_connections() -> u32 {
    16
}

fn default_system_max_connections() -> u32 {
    4
}

fn default_connect_timeout() -> u64 {
    5
}

/// By hand, since the URLs hold passwords.
impl std::fmt::Debug for DatabaseSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseSettings")
            .field("max_connections", &self.max_connections)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Error)]
pub enum OpenError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    #[error(transparent)]
    Migration(#[from] MigrationError),
}

impl DatabaseSettings {
    pub fn for_url(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            app_url: None,
            journal_url: None,
            system_url: None,
            max_connections: default_max_connections(),
            min_connections: 0,
            system_max_connections: default_system_max_connections(),
            connect_timeout: default_connect_timeout(),
            idle_timeout: None,
        }
    }

    /// How a session of this role connects, switched to the role where it does not log in as it.
    pub fn connect_options(&self, role: Role) -> Result<PgConnectOptions, StorageError> {
        let own_url = match role {
            Role::Owner => None,
            Role::App => self.app_url.as_deref(),
            Role::Journal => self.journal_url.as_deref(),
            Role::System => self.system_url.as_deref(),
        };
        let options = PgConnectOptions::from_str(own_url.unwrap_or(&self.url)).map_err(StorageError::from)?;
        // Given at the start of a session these are its defaults, so that no reset can undo them.
        let options = options.application_name(role.name()).options([
            // pg_temp is named so that it comes last: else it would come first, before our tables.
            ("search_path", "tollgate,pg_temp".to_owned()),
            ("statement_timeout", role.statement_timeout_ms().to_string()),
            ("idle_in_transaction_session_timeout", role.idle_in_transaction_timeout_ms().to_string()),
        ]);
        Ok(if own_url.is_none() { options.options([("role", role.name())]) } else { options })
    }

    fn pool(&self, role: Role, max_connections: u32) -> Result<PgPool, StorageError> {
        let options =
            self.pool_options(max_connections).after_release(|connection, _| Box::pin(is_clean(connection)));
        Ok(options.connect_lazy_with(self.connect_options(role)?))
    }

    /// Only for the look-up of facts, for many payments at once. The plan of its
    /// one statement is made once for a connection: left to itself, Postgres
    /// makes it anew each time, which takes longer than to carry it out. It uses
    /// indexes even while the tables are empty, since it outlives that. Nothing
    /// but a `TenantsReader` uses it, so what a look at each connection that comes
    /// back would find cannot happen.
    fn facts_pool(&self) -> Result<PgPool, StorageError> {
        let options = self.connect_options(Role::Journal)?.options([
            ("plan_cache_mode", "force_generic_plan"),
            ("enable_seqscan", "off"),
            ("jit", "off"),
        ]);
        let pool = self.pool_options(FACT_CONNECTIONS).test_before_acquire(false);
        let pool = pool.before_acquire(|connection, metadata| Box::pin(is_there(connection, metadata)));
        Ok(pool.connect_lazy_with(options))
    }

    fn pool_options(&self, max_connections: u32) -> PgPoolOptions {
        PgPoolOptions::new()
            .max_connections(max_connections)
            .min_connections(self.min_connections.min(max_connections))
            .acquire_timeout(Duration::from_secs(self.connect_timeout))
            .idle_timeout(self.idle_timeout.map(Duration::from_secs))
    }
}

/// The pools of a process. Cheap to clone; the clones share them.
#[derive(Debug, Clone)]
pub struct Databases {
    pub app: PgPool,
    /// Of the journal's role, for `facts::FactReader` alone.
    pub facts: PgPool,
    pub system: PgPool,
    /// The journal's writers hold connections of their own.
    pub journal: PgConnectOptions,
}

impl Databases {
    /// Connects at the first use and again after every outage: nothing fails
    /// here because the database is down.
    pub fn connect_lazily(settings: &DatabaseSettings) -> Result<Self, StorageError> {
        Ok(Self {
            app: settings.pool(Role::App, settings.max_connections)?,
            facts: settings.facts_pool()?,
            system: settings.pool(Role::System, settings.system_max_connections)?,
            journal: settings.connect_options(Role::Journal)?,
        })
    }

    /// Brings the database up to date (roles, schema, migrations, partitions), then connects.
    pub async fn open(settings: &DatabaseSettings) -> Result<Self, OpenError> {
        let login = PgConnectOptions::from_str(&settings.url).map_err(StorageError::from)?;
        let mut connection = login.connect().await.map_err(StorageError::from)?;
        provision(&mut connection).await?;
        connection.close().await.map_err(StorageError::from)?;

        let mut owner = settings.connect_options(Role::Owner)?.connect().await.map_err(StorageError::from)?;
        let migrated = migrate(&mut owner).await;
        // Closed in any case: a failed migration leaves its lock held.
        let closed = owner.close().await;
        migrated?;
        closed.map_err(StorageError::from)?;

        let databases = Self::connect_lazily(settings)?;
        // Decisions can be stored without them, in the default partition.
        if let Err(error) = ensure_decision_partitions(&databases.system).await {
            tracing::error!(%error, "the partitions of the next months are missing");
        }
        Ok(databases)
    }

    pub async fn close(&self) {
        tokio::join!(self.app.close(), self.facts.close(), self.system.close());
    }
}

/// Asks a connection that was not used for a while: the database may have gone meanwhile.
async fn is_there(
    connection: &mut PgConnection,
    metadata: PoolConnectionMetadata,
) -> Result<bool, sqlx::Error> {
    if metadata.idle_for > UNASKED_MAX {
        connection.ping().await?;
    }
    Ok(true)
}

/// Whether a connection may be used by the next caller. sqlx cannot tell: a
/// `begin` that was dropped half-way leaves a transaction it does not know of,
/// and the next caller's write would be rolled back with it.
async fn is_clean(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    // As one simple query its time is the time of its transaction, unless one was
    // open before. In a failed transaction it is refused, which closes the connection as well.
    let row = sqlx::raw_sql(
        "select now() = statement_timestamp()
            and coalesce(current_setting('app.tenant_id', true), '') = ''
            and coalesce(current_setting('app.tenants', true), '') = ''",
    )
    .fetch_one(connection)
    .await?;
    let clean: bool = row.try_get(0)?;
    if !clean {
        tracing::error!("a connection came back inside a transaction or with a tenant; it is closed");
    }
    Ok(clean)
}

/// The pools as Rocket manages them, under `databases.main`. Its connections are the app role's.
#[derive(Debug, Clone)]
pub struct Pg(Databases);

#[derive(Debug, Clone, Database)]
#[database("main")]
pub struct Db(Pg);

impl Pg {
    pub fn databases(&self) -> &Databases {
        &self.0
    }
}

#[async_trait::async_trait]
impl rocket_db_pools::Pool for Pg {
    type Connection = PoolConnection<Postgres>;
    type Error = rocket_db_pools::Error<StorageError>;

    async fn init(figment: &Figment) -> Result<Self, Self::Error> {
        let settings: DatabaseSettings = figment.extract()?;
        Databases::connect_lazily(&settings).map(Self).map_err(rocket_db_pools::Error::Init)
    }

    async fn get(&self) -> Result<Self::Connection, Self::Error> {
        self.0.app.acquire().await.map_err(|error| rocket_db_pools::Error::Get(error.into()))
    }

    /// Rocket closes its pools when it is told to stop, and the requests under
    /// way still need theirs: the wiring closes them after the last answer.
    async fn close(&self) {}
}
