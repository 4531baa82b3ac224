//! The pools of sessions, and where their database is.
//!
//! Owns how many there are. A connection goes back to its pool only without an
//! open transaction, without a tenant and as the role it was proven to be; how
//! it became that is `session.rs`'s.

use std::sync::Arc;
use std::time::Duration;

use figment::Figment;
use rocket_db_pools::Database;
use serde::Deserialize;
use sqlx::pool::{PoolConnection, PoolConnectionMetadata};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool, Postgres, Row};
use thiserror::Error;
use tokio::time::timeout;

use super::StorageError;
use super::at_work::while_at_work;
use super::database_url;
pub use super::database_url::DatabaseUrlError;
use super::diagnosis::OfStatement;
use super::facts;
use super::line;
use super::lists;
use super::migrate::{MigrationError, migrate};
use super::partitions::ensure_decision_partitions;
use super::provision::{ProvisionError, provision};
use super::reach::{self, ReachError};
use super::session::{Refused, STILL_PROVEN};
pub use super::session::{Role, Sessions, Unproven};

/// `databases.main` of the configuration. The names of the limits are those of rocket_db_pools.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
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
    #[serde(default = "default_idle_timeout")]
    pub idle_timeout: u64,
}

/// A connection of facts that came back within this time is taken for one that works.
const UNASKED_MAX: Duration = Duration::from_millis(250);

/// One that does not answer a look at it in this time is closed, and another is made.
const PING_MAX: Duration = Duration::from_secs(1);

/// How long the end of the pools waits for connections that are still in use.
pub const CLOSING_MAX: Duration = Duration::from_secs(2);

/// For a few statements, and for another process that runs them at the same time.
const PROVISIONING_MAX: Duration = Duration::from_secs(30);

/// Routers on the way forget a connection that is silent for longer than four to six minutes.
const IDLE_TIMEOUT_S: u64 = 180;

/// One for each statement under way, and one to ask whether facts can be read.
const FACT_CONNECTIONS: u32 = (facts::TOGETHER + facts::APART + 1) as u32;

fn default_max_connections() -> u32 {
    16
}

fn default_system_max_connections() -> u32 {
    4
}

fn default_connect_timeout() -> u64 {
    5
}

fn default_idle_timeout() -> u64 {
    IDLE_TIMEOUT_S
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
            idle_timeout: default_idle_timeout(),
        }
    }

    /// Whether each URL is one, before anybody connects.
    pub fn check(&self) -> Result<(), DatabaseUrlError> {
        let all = [Role::Owner, Role::App, Role::Journal, Role::System];
        all.into_iter().try_for_each(|role| self.sessions(role).map(drop))
    }

    /// Each limit with its value, and the least and the most that it may be.
    pub fn ranges(&self) -> [(&'static str, u64, u64, u64); 5] {
        [
            ("max_connections", self.max_connections.into(), 1, 10_000),
            ("min_connections", self.min_connections.into(), 0, 10_000),
            ("system_max_connections", self.system_max_connections.into(), 2, 10_000),
            ("connect_timeout", self.connect_timeout, 1, 60),
            ("idle_timeout", self.idle_timeout, 10, 86_400),
        ]
    }

    /// The sessions of a role, by themselves.
    pub fn sessions(&self, role: Role) -> Result<Sessions, DatabaseUrlError> {
        self.sessions_among(role, &Arc::default())
    }

    /// The sessions of a role; none is given out while one of another is refused.
    fn sessions_among(&self, role: Role, refused: &Arc<Refused>) -> Result<Sessions, DatabaseUrlError> {
        let (key, own_url) = match role {
            Role::Owner => ("url", None),
            Role::App => ("app_url", self.app_url.as_deref()),
            Role::Journal => ("journal_url", self.journal_url.as_deref()),
            Role::System => ("system_url", self.system_url.as_deref()),
        };
        let key = if own_url.is_some() { key } else { "url" };
        let options = database_url::parse(key, own_url.unwrap_or(&self.url))?.options;
        let options = options.application_name(role.name());
        Ok(Sessions::new(role, options, key, own_url.is_some(), refused))
    }

    fn pool(&self, role: Role, max: u32, refused: &Arc<Refused>) -> Result<PgPool, DatabaseUrlError> {
        let sessions = self.sessions_among(role, refused)?;
        let (clean, among) = (is_clean_statement(role), sessions.clone());
        let options = self
            .pool_options(max, &sessions)
            .before_acquire(move |connection, _| {
                let trusted = !among.are_refused();
                Box::pin(async move { Ok(trusted && answers(connection).await?) })
            })
            .after_release(move |connection, _| Box::pin(is_clean(connection, clean.clone())));
        Ok(options.connect_lazy_with(sessions.options().clone()))
    }

    /// Only for the look-up of facts, for many payments at once. The plan of its
    /// one statement is made once for a connection: left to itself, Postgres
    /// makes it anew each time, which takes longer than to carry it out. It uses
    /// indexes even while the tables are empty, since it outlives that. Nothing
    /// but a `TenantsReader` uses it, so what a look at each connection that comes
    /// back would find cannot happen.
    fn facts_pool(&self, refused: &Arc<Refused>) -> Result<PgPool, DatabaseUrlError> {
        let sessions = self
            .sessions_among(Role::Journal, refused)?
            .with("plan_cache_mode", "force_generic_plan")
            .with("enable_seqscan", "off")
            .with("jit", "off");
        let pool = self.pool_options(FACT_CONNECTIONS, &sessions);
        let among = sessions.clone();
        let pool = pool.before_acquire(move |connection, metadata| {
            let trusted = !among.are_refused();
            Box::pin(async move { Ok(trusted && is_there(connection, metadata).await?) })
        });
        Ok(pool.connect_lazy_with(sessions.options().clone()))
    }

    /// Each new connection is made a session and proven, or closed.
    fn pool_options(&self, max_connections: u32, sessions: &Sessions) -> PgPoolOptions {
        let sessions = sessions.clone();
        PgPoolOptions::new()
            .after_connect(move |connection, _| {
                let sessions = sessions.clone();
                Box::pin(async move { sessions.establish(connection).await.map(drop) })
            })
            .max_connections(max_connections)
            .min_connections(self.min_connections.min(max_connections))
            .acquire_timeout(Duration::from_secs(self.connect_timeout))
            .idle_timeout(Duration::from_secs(self.idle_timeout))
            // Each pool looks for itself: sqlx would wait for as long as it may wait for a
            // connection, and then have no time left to make another.
            .test_before_acquire(false)
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
    pub journal: Sessions,
    settings: DatabaseSettings,
}

impl Databases {
    /// Connects at the first use and again after every outage: nothing fails
    /// here because the database is down.
    pub fn connect_lazily(settings: &DatabaseSettings) -> Result<Self, DatabaseUrlError> {
        let refused = Arc::default();
        Ok(Self {
            app: settings.pool(Role::App, settings.max_connections, &refused)?,
            facts: settings.facts_pool(&refused)?,
            system: settings.pool(Role::System, settings.system_max_connections, &refused)?,
            journal: settings.sessions_among(Role::Journal, &refused)?,
            settings: settings.clone(),
        })
    }

    /// Brings the database up to date (roles, schema, migrations, partitions), then connects.
    pub async fn open(settings: &DatabaseSettings) -> Result<Self, OpenError> {
        let settings = &reach::reached(settings).await?;
        let login = database_url::parse("url", &settings.url)?.options;
        let connect_max = Duration::from_secs(settings.connect_timeout);
        let mut connection = line::within(connect_max, login.connect()).await.of_statement()?;
        timeout(PROVISIONING_MAX, provision(&mut connection)).await.map_err(|_| line::no_answer())??;
        line::within(CLOSING_MAX, connection.close()).await.of_statement()?;

        let mut owner = settings.sessions(Role::Owner)?.connect().await.of_statement()?;
        let process = line::within(connect_max, process_of(&mut owner)).await.of_statement()?;
        let migrated = while_at_work(&login, process, migrate(&mut owner)).await;
        // Closed in any case: a failed migration leaves its lock held.
        let closed = line::within(CLOSING_MAX, owner.close()).await;
        migrated.ok_or_else(line::no_answer)??;
        closed.of_statement()?;

        let databases = Self::connect_lazily(settings)?;
        databases.prove().await?;
        // Before anything is decided: an entry of an earlier form would be missed.
        lists::bring_over(&databases.system).await?;
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

    pub async fn close(&self) {
        let all = futures::future::join3(self.app.close(), self.facts.close(), self.system.close());
        if timeout(CLOSING_MAX, all).await.is_err() {
            tracing::warn!("gave up closing database connections: some are still in use");
        }
    }
}

/// Asks a connection that was not used for a while: the database may have gone meanwhile.
async fn is_there(
    connection: &mut PgConnection,
    metadata: PoolConnectionMetadata,
) -> Result<bool, sqlx::Error> {
    if metadata.idle_for > UNASKED_MAX { answers(connection).await } else { Ok(true) }
}

async fn answers(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    line::within(PING_MAX, connection.ping()).await.map(|()| true)
}

/// As one simple query its time is the time of its transaction, unless one was
/// open before. In a failed transaction it is refused, which closes the connection as well.
fn is_clean_statement(role: Role) -> String {
    format!(
        "select now() = statement_timestamp()
            and coalesce(current_setting('app.tenant_id', true), '') = ''
            and coalesce(current_setting('app.tenants', true), '') = ''
            and {STILL_PROVEN}'{}'",
        role.name()
    )
}

/// Whether a connection may be used by the next caller. sqlx cannot tell: a
/// `begin` that was dropped half-way leaves a transaction it does not know of,
/// and the next caller's write would be rolled back with it.
async fn is_clean(connection: &mut PgConnection, statement: String) -> Result<bool, sqlx::Error> {
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

/// The process of the server behind a connection.
async fn process_of(connection: &mut PgConnection) -> sqlx::Result<i32> {
    sqlx::query_scalar("select pg_backend_pid()").fetch_one(connection).await
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
        // What reads the configuration has checked it.
        let databases =
            Databases::connect_lazily(&settings).map_err(|error| figment::Error::from(error.to_string()))?;
        Ok(Self(databases))
    }

    async fn get(&self) -> Result<Self::Connection, Self::Error> {
        self.0.app.acquire().await.map_err(|error| rocket_db_pools::Error::Get(error.into()))
    }

    /// Rocket closes its pools when it is told to stop, and the requests under
    /// way still need theirs: the wiring closes them after the last answer.
    async fn close(&self) {}
}
