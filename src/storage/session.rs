//! Makes a connection a session of a role, and proves that row security applies to it.
//!
//! Every connection of the pools and of the journal is set up here. Settings are made by
//! statements and checked in the same round trip. They must not be sent as startup parameters:
//! a connection pooler may drop those silently, and then every tenant's rows would be visible.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row};

use super::query_error::RefusedSession;
use super::time_limit::{self, TimeLimit};

/// The time limit for connecting outside of a pool. A pool has its own limit.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// The time limit for the proof. It takes milliseconds if the database responds.
const PROOF_MAX: Duration = Duration::from_secs(10);

/// The database role of a session. The migrations define its policies and grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Owns the tables and runs migrations.
    Owner,
    /// Serves requests. Each transaction is for one tenant.
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
            Self::App => TimeLimit::USUAL.statement_max_ms(),
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

/// A finding of the proof that does not lead to a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The other roles that the login may take by `SET ROLE`.
    pub login_reaches: Option<String>,
}

/// How often a refused role is tried again in the background.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// The roles whose last session was refused, as bits. While there is such a role, sessions of all
/// roles are refused, so that the node does not serve only some of its requests.
#[derive(Debug, Default)]
pub(super) struct RefusedRoles(AtomicU8);

impl RefusedRoles {
    fn bit(role: Role) -> u8 {
        1 << role as u8
    }

    /// Marks the role as refused. Returns whether it was not marked before.
    fn add(&self, role: Role) -> bool {
        self.0.fetch_or(Self::bit(role), Ordering::AcqRel) & Self::bit(role) == 0
    }

    /// Removes the mark. Returns whether there was one.
    fn remove(&self, role: Role) -> bool {
        self.0.fetch_and(!Self::bit(role), Ordering::AcqRel) & Self::bit(role) != 0
    }

    fn is_any(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }
}

/// How to set up sessions of one role.
#[derive(Clone)]
struct SessionSetup {
    role: Role,
    options: PgConnectOptions,
    /// The configuration key of the login.
    key: &'static str,
    /// Only this role uses the login, so the login must not be able to do more than the role.
    own_login: bool,
    statements: String,
}

/// The sessions of one role. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    setup: SessionSetup,
    refused: Arc<RefusedRoles>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("role", &self.setup.role).finish_non_exhaustive()
    }
}

impl Sessions {
    pub(super) fn new(
        role: Role,
        options: PgConnectOptions,
        key: &'static str,
        own_login: bool,
        refused: &Arc<RefusedRoles>,
    ) -> Self {
        // `deallocate all`: a pooler that does not reset its connections would leave prepared
        // statements of the previous client under the same names. `pg_temp` must be named:
        // otherwise Postgres would search it first.
        let statements = format!(
            "deallocate all; set role {}; set search_path = tollgate, pg_temp; set row_security = on",
            role.name()
        );
        let setup = SessionSetup { role, options, key, own_login, statements };
        Self { setup, refused: Arc::clone(refused) }
            .with("statement_timeout", &role.statement_timeout_ms().to_string())
            .with("idle_in_transaction_session_timeout", &role.idle_in_transaction_timeout_ms().to_string())
            // The previous client of a pooled connection may have left them set.
            .with("app.tenant_id", "")
            .with("app.tenants", "")
    }

    /// Adds a setting. Must never contain user input.
    pub(super) fn with(self, setting: &str, value: &str) -> Self {
        self.with_statement(&format!("set {setting} = '{value}'"))
    }

    pub(super) fn with_statement(mut self, statement: &str) -> Self {
        self.setup.statements.push_str("; ");
        self.setup.statements.push_str(statement);
        self
    }

    /// Changes how connections to the same database are made.
    pub fn through(mut self, change: impl FnOnce(PgConnectOptions) -> PgConnectOptions) -> Self {
        self.setup.options = change(self.setup.options);
        self
    }

    pub fn options(&self) -> &PgConnectOptions {
        &self.setup.options
    }

    /// Whether a session was refused. If so, sessions that passed earlier must not be used either.
    pub(super) fn are_refused(&self) -> bool {
        self.refused.is_any()
    }

    /// A session outside of any pool.
    pub async fn connect(&self) -> sqlx::Result<PgConnection> {
        self.connect_with_proof().await.map(|(connection, _)| connection)
    }

    pub(super) async fn connect_with_proof(&self) -> sqlx::Result<(PgConnection, Proof)> {
        let mut connection = time_limit::within(CONNECT_MAX, self.setup.options.connect()).await?;
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
        let proof = self.setup.prove(connection).await.map_err(|error| match error {
            ProofError::Refused(session) => self.refuse(session),
            ProofError::Database(error) => error,
        })?;
        if self.refused.remove(self.setup.role) {
            tracing::info!(
                role = self.setup.role.name(),
                "connections with this role pass the isolation checks again"
            );
        }
        if self.refused.is_any() {
            let session =
                self.setup.refusal("connections with another role are refused", "all roles to pass");
            return Err(sqlx::Error::Configuration(Box::new(session)));
        }
        Ok(proof)
    }

    /// Logs the refusal, but only once until a session of the role passes again.
    fn refuse(&self, session: RefusedSession) -> sqlx::Error {
        if self.refused.add(self.setup.role) {
            tracing::error!(role = self.setup.role.name(), "{session}");
            tokio::spawn(retry(self.setup.clone(), Arc::downgrade(&self.refused)));
        }
        sqlx::Error::Configuration(Box::new(session))
    }
}

/// Opens a session every `RETRY_EVERY` until one passes, so that a node without requests recovers
/// as well. Ends if all `Sessions` are dropped.
async fn retry(setup: SessionSetup, refused: Weak<RefusedRoles>) {
    loop {
        tokio::time::sleep(RETRY_EVERY).await;
        let Some(refused) = refused.upgrade() else { return };
        if refused.0.load(Ordering::Acquire) & RefusedRoles::bit(setup.role) == 0 {
            return;
        }
        let sessions = Sessions { setup: setup.clone(), refused };
        if let Ok(connection) = sessions.connect().await {
            let _ = connection.close().await;
        }
    }
}

enum ProofError {
    Refused(RefusedSession),
    Database(sqlx::Error),
}

impl From<sqlx::Error> for ProofError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl SessionSetup {
    async fn prove(&self, connection: &mut PgConnection) -> Result<Proof, ProofError> {
        // Settings take effect statement by statement, so the proof sees them.
        let statements = AssertSqlSafe(format!("{}; {PROOF}", self.statements));
        let proof = sqlx::raw_sql(statements).fetch_all(connection);
        let rows = time_limit::within(PROOF_MAX, proof).await.map_err(|error| {
            let code = error.as_database_error().and_then(|database| database.code());
            match code.as_deref() {
                // The role does not exist, or the login is not a member of it.
                Some("42501" | "22023") => {
                    let role = self.role.name();
                    let found = format!("its login cannot act as the role {role}");
                    ProofError::Refused(self.refusal(found, format!("a login that is a member of {role}")))
                }
                _ => ProofError::Database(error),
            }
        })?;
        let row = rows.last().ok_or(sqlx::Error::RowNotFound)?;
        match self.fault(row)? {
            Some((found, expected)) => Err(ProofError::Refused(self.refusal(found, expected))),
            None => Ok(Proof { login_reaches: row.try_get("login_reaches")? }),
        }
    }

    fn refusal(&self, found: impl Into<String>, expected: impl Into<String>) -> RefusedSession {
        RefusedSession { key: self.key, found: found.into(), expected: expected.into() }
    }

    /// The fault of the session, and what was expected. `None` if the session passes.
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

/// A condition for a `select`, to be followed by the role's name: whether a session that passed
/// would still pass.
pub(super) const STILL_PROVEN: &str = "row_security_active('tollgate.tenants')
    and current_setting('row_security') = 'on' and current_schema() = 'tollgate' and current_user = ";

/// Returns one row about the session. It checks the tables that have a `tenant_id`. Partitions are
/// left out: they are accessed only through their parents.
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
              -- A table that the role has no privileges on, such as a private copy, does not matter.
              and (has_any_column_privilege(oid, 'select, insert, update')
                   or has_table_privilege(oid, 'delete, truncate'))) as open,
           -- A role that it may take by SET ROLE counts as its own.
           (select case when bool_or(rolsuper) then 'is a superuser or may become one'
                        when bool_or(rolbypassrls) then 'has BYPASSRLS or may become a role that has it'
                        when exists (select from tables where pg_has_role(session_user, relowner, 'member'))
                        then 'may become the owner of the tables' end
            from pg_roles where pg_has_role(session_user, oid, 'member')) as login_is,
           (select string_agg(rolname, ', ' order by rolname) from pg_roles
            where rolname in ('tollgate_owner', 'tollgate_app', 'tollgate_journal', 'tollgate_system')
              and rolname <> current_user and pg_has_role(session_user, oid, 'member')) as login_reaches";
