//! The settings of the database, and the pools that they describe.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use super::checks;
use super::{AppPool, FactsPool, SystemPool};
use crate::storage::database_url::{self, DatabaseUrlError};
use crate::storage::facts;
use crate::storage::session::{RefusedRoles, Role, Sessions};

/// `databases.main` of the configuration.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSettings {
    /// The login that provisions and migrates. Also used for each role that has no URL of its own.
    pub url: String,
    /// If a role has its own URL, its sessions log in with it. Otherwise they log in with `url` and
    /// switch to the role.
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
    /// In seconds: how long a caller waits for a connection.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout: u64,
    /// In seconds: after this time an unused connection is closed.
    #[serde(default = "default_idle_timeout")]
    pub idle_timeout: u64,
}

/// Routers may drop a connection that is silent for four to six minutes.
const IDLE_TIMEOUT_S: u64 = 180;

/// One for each statement that runs at the same time, and one to check whether facts can be read.
const FACT_CONNECTIONS: u32 = (facts::SHARED_CONNECTIONS + facts::SEPARATE_CONNECTIONS + 1) as u32;

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

/// Written by hand, since the URLs contain passwords.
impl std::fmt::Debug for DatabaseSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseSettings")
            .field("max_connections", &self.max_connections)
            .finish_non_exhaustive()
    }
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

    /// Checks each URL without connecting.
    pub fn check(&self) -> Result<(), DatabaseUrlError> {
        let all = [Role::Owner, Role::App, Role::Journal, Role::System];
        all.into_iter().try_for_each(|role| self.sessions(role).map(drop))
    }

    /// Each number with its name, its value, and the smallest and largest value that it may have.
    pub fn ranges(&self) -> [(&'static str, u64, u64, u64); 5] {
        [
            ("max_connections", self.max_connections.into(), 1, 10_000),
            ("min_connections", self.min_connections.into(), 0, 10_000),
            ("system_max_connections", self.system_max_connections.into(), 2, 10_000),
            ("connect_timeout", self.connect_timeout, 1, 60),
            ("idle_timeout", self.idle_timeout, 10, 86_400),
        ]
    }

    /// The sessions of a role, independent of other roles.
    pub fn sessions(&self, role: Role) -> Result<Sessions, DatabaseUrlError> {
        self.sessions_among(role, &Arc::default())
    }

    /// The sessions of a role. None is used while a session of any role that shares `refused` is
    /// refused.
    pub(in crate::storage) fn sessions_among(
        &self,
        role: Role,
        refused: &Arc<RefusedRoles>,
    ) -> Result<Sessions, DatabaseUrlError> {
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

    pub(in crate::storage) fn app_pool(
        &self,
        refused: &Arc<RefusedRoles>,
    ) -> Result<AppPool, DatabaseUrlError> {
        self.checked_pool(Role::App, self.max_connections, refused).map(AppPool::new)
    }

    pub(in crate::storage) fn system_pool(
        &self,
        refused: &Arc<RefusedRoles>,
    ) -> Result<SystemPool, DatabaseUrlError> {
        self.checked_pool(Role::System, self.system_max_connections, refused).map(SystemPool::new)
    }

    /// Checks each connection before it is used and after it was returned.
    fn checked_pool(
        &self,
        role: Role,
        max: u32,
        refused: &Arc<RefusedRoles>,
    ) -> Result<PgPool, DatabaseUrlError> {
        let sessions = self.sessions_among(role, refused)?;
        let (is_clean, among) = (checks::is_clean_statement(role), sessions.clone());
        let options = self
            .pool_options(max, &sessions)
            .before_acquire(move |connection, _| {
                let trusted = !among.are_refused();
                Box::pin(async move { Ok(trusted && checks::responds(connection).await?) })
            })
            .after_release(move |connection, _| Box::pin(checks::is_clean(connection, is_clean.clone())));
        Ok(options.connect_lazy_with(sessions.options().clone()))
    }

    /// Postgres plans the statement for facts only once for each connection: planning takes longer
    /// than running it. The plan must use indexes even if the tables are still empty, since it is
    /// used for as long as the connection is open.
    ///
    /// Connections are not checked when they are returned: only a `TenantsReader` uses them, and it
    /// begins no transaction.
    pub(in crate::storage) fn facts_pool(
        &self,
        refused: &Arc<RefusedRoles>,
    ) -> Result<FactsPool, DatabaseUrlError> {
        let sessions = self
            .sessions_among(Role::Journal, refused)?
            .with("plan_cache_mode", "force_generic_plan")
            .with("enable_seqscan", "off")
            .with("jit", "off");
        let options = self.pool_options(FACT_CONNECTIONS, &sessions);
        let among = sessions.clone();
        let options = options.before_acquire(move |connection, metadata| {
            let trusted = !among.are_refused();
            Box::pin(async move { Ok(trusted && checks::responds_after_idling(connection, metadata).await?) })
        });
        Ok(FactsPool::new(options.connect_lazy_with(sessions.options().clone())))
    }

    /// Each new connection becomes a checked session, or is closed.
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
            // Each pool has its own check. That of sqlx could use up the whole time for acquiring a
            // connection, and leave none to open another.
            .test_before_acquire(false)
    }
}
