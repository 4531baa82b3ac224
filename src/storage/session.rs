//! Sessions: how a connection becomes a session of a role, and the proof that it is one.
//!
//! Owns every connection that a role's work is done on: pools and the journal
//! come through here. What a session needs is set by statement and checked in
//! the same round trip, never asked for at the start of the connection: a pooler
//! may drop that without a word, and every tenant's rows would be open.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row};
use thiserror::Error;

use super::line::{self, Patience};

/// For a connection outside of a pool; a pool has its own limit.
const CONNECTING_MAX: Duration = Duration::from_secs(10);
/// For a database that says nothing: the proof takes milliseconds.
const PROVING_MAX: Duration = Duration::from_secs(10);

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

    /// After this time the server cancels a statement. Zero means no limit, which
    /// migrations need: they may rewrite a whole table.
    fn statement_timeout_ms(self) -> u64 {
        match self {
            Self::App => Patience::USUAL.statement_max_ms(),
            Self::Journal => 30_000,
            Self::System => 600_000,
            Self::Owner => 0,
        }
    }

    /// After this time the server ends a session that is idle inside a transaction, since
    /// that transaction holds locks and keeps old rows from being removed.
    fn idle_in_transaction_timeout_ms(self) -> u64 {
        if self == Self::Owner { 0 } else { 15_000 }
    }
}

/// A session that row security may not bind. It is closed, and nothing is done on it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a connection of `databases.main.{key}` was refused: {found}; expected {expected}")]
pub struct Unproven {
    pub key: &'static str,
    found: String,
    expected: String,
}

/// What a proof has found that is no reason to refuse the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// What the login may become by one `SET ROLE`, where that is more than its role.
    pub login_reaches: Option<String>,
}

/// How often a role that was refused is tried again while nobody else does.
const TRIED_AGAIN_EVERY: Duration = Duration::from_secs(1);

/// The roles whose last session was refused, as bits. While there is one, no
/// session of any role is given out: nothing is served by half.
#[derive(Debug, Default)]
pub(super) struct Refused(AtomicU8);

impl Refused {
    fn bit(role: Role) -> u8 {
        1 << role as u8
    }

    /// Whether that is news.
    fn add(&self, role: Role) -> bool {
        self.0.fetch_or(Self::bit(role), Ordering::AcqRel) & Self::bit(role) == 0
    }

    /// Whether it was among them.
    fn remove(&self, role: Role) -> bool {
        self.0.fetch_and(!Self::bit(role), Ordering::AcqRel) & Self::bit(role) != 0
    }

    fn is_any(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }
}

/// How the sessions of one role come to be.
#[derive(Clone)]
struct Way {
    role: Role,
    options: PgConnectOptions,
    /// The key of the configuration that names the login.
    key: &'static str,
    /// The login is this role's alone, so it must not be able to do more.
    own_login: bool,
    setup: String,
}

/// The sessions of one role. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    way: Way,
    refused: Arc<Refused>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("role", &self.way.role).finish_non_exhaustive()
    }
}

impl Sessions {
    pub(super) fn new(
        role: Role,
        options: PgConnectOptions,
        key: &'static str,
        own_login: bool,
        refused: &Arc<Refused>,
    ) -> Self {
        // A pooler that does not reset its connections hands over what the last
        // client has prepared, under the same names.
        // pg_temp is named so that it comes last: else it would come first, before our tables.
        let setup = format!(
            "deallocate all; set role {}; set search_path = tollgate, pg_temp; set row_security = on",
            role.name()
        );
        let way = Way { role, options, key, own_login, setup };
        Self { way, refused: Arc::clone(refused) }
            .with("statement_timeout", &role.statement_timeout_ms().to_string())
            .with("idle_in_transaction_session_timeout", &role.idle_in_transaction_timeout_ms().to_string())
            // Whoever had the connection before may have left them.
            .with("app.tenant_id", "")
            .with("app.tenants", "")
    }

    /// The same with another setting. Never user input.
    pub(super) fn with(self, setting: &str, value: &str) -> Self {
        self.with_statement(&format!("set {setting} = '{value}'"))
    }

    pub(super) fn with_statement(mut self, statement: &str) -> Self {
        self.way.setup.push_str("; ");
        self.way.setup.push_str(statement);
        self
    }

    /// The same by another way to the same database.
    pub fn through(mut self, way: impl FnOnce(PgConnectOptions) -> PgConnectOptions) -> Self {
        self.way.options = way(self.way.options);
        self
    }

    pub fn options(&self) -> &PgConnectOptions {
        &self.way.options
    }

    /// A session was refused: those that were proven earlier are not to be trusted either.
    pub(super) fn are_refused(&self) -> bool {
        self.refused.is_any()
    }

    /// A session outside of any pool.
    pub async fn connect(&self) -> sqlx::Result<PgConnection> {
        self.connect_with_proof().await.map(|(connection, _)| connection)
    }

    pub(super) async fn connect_with_proof(&self) -> sqlx::Result<(PgConnection, Proof)> {
        let mut connection = line::within(CONNECTING_MAX, self.way.options.connect()).await?;
        match self.establish(&mut connection).await {
            Ok(proof) => Ok((connection, proof)),
            Err(error) => {
                let _ = connection.close().await;
                Err(error)
            }
        }
    }

    /// Makes a new connection a session of the role and proves it, in one round trip.
    pub(super) async fn establish(&self, connection: &mut PgConnection) -> sqlx::Result<Proof> {
        let proof = self.way.prove(connection).await.map_err(|failure| match failure {
            Failure::Unproven(unproven) => self.refuse(unproven),
            Failure::Database(error) => error,
        })?;
        if self.refused.remove(self.way.role) {
            tracing::info!(
                role = self.way.role.name(),
                "connections with this role pass the isolation checks again"
            );
        }
        if self.refused.is_any() {
            let unproven =
                self.way.unproven("connections with another role are refused", "all roles to pass");
            return Err(sqlx::Error::Configuration(Box::new(unproven)));
        }
        Ok(proof)
    }

    /// Told once, until a session is proven again.
    fn refuse(&self, unproven: Unproven) -> sqlx::Error {
        if self.refused.add(self.way.role) {
            tracing::error!(role = self.way.role.name(), "{unproven}");
            tokio::spawn(try_again(self.way.clone(), Arc::downgrade(&self.refused)));
        }
        sqlx::Error::Configuration(Box::new(unproven))
    }
}

/// Until a session of the role is proven, or nobody is left who wants one: a
/// node that nobody asks for anything has to come back, too.
async fn try_again(way: Way, refused: Weak<Refused>) {
    loop {
        tokio::time::sleep(TRIED_AGAIN_EVERY).await;
        let Some(refused) = refused.upgrade() else { return };
        if refused.0.load(Ordering::Acquire) & Refused::bit(way.role) == 0 {
            return;
        }
        let sessions = Sessions { way: way.clone(), refused };
        if let Ok(connection) = sessions.connect().await {
            let _ = connection.close().await;
        }
    }
}

enum Failure {
    Unproven(Unproven),
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl Way {
    async fn prove(&self, connection: &mut PgConnection) -> Result<Proof, Failure> {
        // Settings take effect statement by statement, so the proof sees them.
        let statements = AssertSqlSafe(format!("{}; {PROOF}", self.setup));
        let proving = sqlx::raw_sql(statements).fetch_all(connection);
        let rows = line::within(PROVING_MAX, proving).await.map_err(|error| {
            let code = error.as_database_error().and_then(|database| database.code());
            match code.as_deref() {
                // The role is missing, or the login is no member of it.
                Some("42501" | "22023") => {
                    let role = self.role.name();
                    let found = format!("its login cannot act as the role {role}");
                    Failure::Unproven(self.unproven(found, format!("a login that is a member of {role}")))
                }
                _ => Failure::Database(error),
            }
        })?;
        let row = rows.last().ok_or(sqlx::Error::RowNotFound)?;
        match self.fault(row)? {
            Some((found, expected)) => Err(Failure::Unproven(self.unproven(found, expected))),
            None => Ok(Proof { login_reaches: row.try_get("login_reaches")? }),
        }
    }

    fn unproven(&self, found: impl Into<String>, expected: impl Into<String>) -> Unproven {
        Unproven { key: self.key, found: found.into(), expected: expected.into() }
    }

    /// What is wrong with a session, and what was expected of it.
    fn fault(&self, row: &PgRow) -> sqlx::Result<Option<(String, String)>> {
        let role = self.role.name();
        let acts_as: String = row.try_get("acts_as")?;
        if acts_as != role {
            return Ok(Some((format!("it acts as {acts_as}"), format!("the role {role}"))));
        }
        if row.try_get("powerful")? {
            let found = format!("{role} is a superuser or has BYPASSRLS");
            return Ok(Some((found, "a role that is subject to row security".to_owned())));
        }
        if self.role == Role::Owner {
            return Ok(None);
        }
        if !row.try_get::<bool, _>("row_security")? {
            return Ok(Some(("row_security is off".to_owned(), "on".to_owned())));
        }
        let schema: Option<String> = row.try_get("schema")?;
        if schema.as_deref() != Some("tollgate") {
            let found = format!("its first schema is {}", schema.as_deref().unwrap_or("none"));
            return Ok(Some((found, "tollgate, as created by `tollgate migrate`".to_owned())));
        }
        if row.try_get("owns")? {
            return Ok(Some((
                format!("{role} may become the owner of the tables"),
                "a separate role".into(),
            )));
        }
        if let Some(open) = row.try_get::<Option<String>, _>("open")? {
            let found = format!("row security does not apply to {role} on: {open}");
            return Ok(Some((found, "row security to be enabled and forced".to_owned())));
        }
        let login_is: Option<String> = row.try_get("login_is")?;
        Ok(login_is.filter(|_| self.own_login).map(|is| {
            (
                format!("its login {is}"),
                format!(
                    "a separate login that is a member of {role} and is neither a superuser nor the owner"
                ),
            )
        }))
    }
}

/// Whether a session is still what it was proven to be; a part of a `select`.
pub(super) const STILL_PROVEN: &str = "row_security_active('tollgate.tenants')
    and current_setting('row_security') = 'on' and current_schema() = 'tollgate' and current_user = ";

/// One row about the session. The tables are those with a tenant, without
/// partitions, which only their parents lead to.
const PROOF: &str = "
    with tables as (
        select c.oid, c.relname, c.relowner from pg_class c
        where c.relnamespace = to_regnamespace('tollgate') and c.relkind in ('r', 'p') and not c.relispartition
          and exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped)
    )
    select current_user::text as acts_as,
           (select rolsuper or rolbypassrls from pg_roles where rolname = current_user) as powerful,
           current_setting('row_security') = 'on' as row_security,
           current_schema()::text as schema,
           exists (select from tables where pg_has_role(current_user, relowner, 'member')) as owns,
           (select string_agg(relname, ', ') from tables
            where not row_security_active(oid)
              -- A copy that somebody made for himself closes nothing, unless it was granted.
              and (has_any_column_privilege(oid, 'select, insert, update')
                   or has_table_privilege(oid, 'delete, truncate'))) as open,
           -- What it may become by SET ROLE counts as what it is.
           (select case when bool_or(rolsuper) then 'is a superuser or may become one'
                        when bool_or(rolbypassrls) then 'has BYPASSRLS or may become a role that has it'
                        when exists (select from tables where pg_has_role(session_user, relowner, 'member'))
                        then 'may become the owner of the tables' end
            from pg_roles where pg_has_role(session_user, oid, 'member')) as login_is,
           (select string_agg(rolname, ', ' order by rolname) from pg_roles
            where rolname in ('tollgate_owner', 'tollgate_app', 'tollgate_journal', 'tollgate_system')
              and rolname <> current_user and pg_has_role(session_user, oid, 'member')) as login_reaches";
