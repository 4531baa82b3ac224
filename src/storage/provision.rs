//! Creates the roles and the schema, which must exist before the first migration.
//!
//! Roles belong to the whole cluster, so migrations cannot create them. Only missing things are
//! created, so that a login without rights works once an administrator has run the statements.

use sqlx::{AssertSqlSafe, PgConnection};
use thiserror::Error;

use super::advisory_locks::DatabaseLock;
use super::query_error::QueryError;

/// All roles, the owner of the tables first.
pub const ROLES: [&str; 4] = ["tollgate_owner", "tollgate_app", "tollgate_journal", "tollgate_system"];

/// How often a statement is tried. The lock covers only one database, so the provisioning of two
/// databases of a cluster can still collide over a role.
const ATTEMPTS: u32 = 20;

#[derive(Debug, Error)]
pub enum ProvisionError {
    #[error("the database rejected a statement during provisioning: {0}")]
    Database(QueryError),
    #[error(
        "the login {login} is not allowed to create what Tollgate needs. Ask a database administrator to run \
         this once, in this database:\n\n{statements}"
    )]
    NotAllowed { login: String, statements: String, source: QueryError },
    #[error(
        "the role {0} is a superuser or has BYPASSRLS, so tenants would not be isolated from each other. \
         Remove these attributes from the role"
    )]
    RoleTooPowerful(String),
}

impl From<sqlx::Error> for ProvisionError {
    #[track_caller]
    fn from(error: sqlx::Error) -> Self {
        Self::Database(QueryError::new(error))
    }
}

/// Creates missing roles, memberships and schema.
pub async fn provision(connection: &mut PgConnection) -> Result<(), ProvisionError> {
    DatabaseLock::Provisioning.take(connection).await?;
    let result = provision_locked(connection).await;
    DatabaseLock::Provisioning.release(connection).await?;
    result
}

async fn provision_locked(connection: &mut PgConnection) -> Result<(), ProvisionError> {
    let login: String = sqlx::query_scalar("select session_user::text").fetch_one(&mut *connection).await?;
    for role in ROLES {
        ensure_role(connection, &login, role).await?;
        ensure_membership(connection, &login, role).await?;
    }
    ensure_schema(connection, &login).await
}

/// The statements that an administrator must run for a login that lacks the rights.
pub fn administrator_statements(login: &str) -> String {
    let login = quoted(login);
    let roles = ROLES.map(|role| {
        format!(
            "do $$ begin create role {role} nologin; exception when duplicate_object then null; end $$;\n"
        )
    });
    let roles = roles.concat();
    format!(
        "{roles}grant {} to {login};\n{};\n{};\n",
        ROLES.join(", "),
        CREATE_SCHEMA,
        SCHEMA_GRANTS.join(";\n")
    )
}

const CREATE_SCHEMA: &str = "create schema if not exists tollgate authorization tollgate_owner";
const SCHEMA_GRANTS: [&str; 2] = [
    "revoke all on schema tollgate from public",
    "grant usage on schema tollgate to tollgate_app, tollgate_journal, tollgate_system",
];

async fn ensure_role(connection: &mut PgConnection, login: &str, role: &str) -> Result<(), ProvisionError> {
    let powerful: Option<bool> =
        sqlx::query_scalar("select rolsuper or rolbypassrls from pg_roles where rolname = $1")
            .bind(role)
            .fetch_optional(&mut *connection)
            .await?;
    match powerful {
        Some(true) => Err(ProvisionError::RoleTooPowerful(role.to_owned())),
        Some(false) => Ok(()),
        // The defaults of `create role` are right: no login, no superuser, no bypassrls.
        None => change(connection, login, &format!("create role {role} nologin")).await,
    }
}

/// Makes the login a member of the role, so that its sessions can switch to the role.
async fn ensure_membership(
    connection: &mut PgConnection,
    login: &str,
    role: &str,
) -> Result<(), ProvisionError> {
    // Since Postgres 16 a membership may lack the option SET. The creator of a role gets such a
    // membership.
    let member: bool = sqlx::query_scalar(
        "select pg_has_role(session_user, $1, case when current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end)",
    )
    .bind(role)
    .fetch_one(&mut *connection)
    .await?;
    if member {
        return Ok(());
    }
    change(connection, login, &format!("grant {role} to {}", quoted(login))).await
}

async fn ensure_schema(connection: &mut PgConnection, login: &str) -> Result<(), ProvisionError> {
    let complete: Option<bool> = sqlx::query_scalar(
        "select has_schema_privilege('tollgate_app', oid, 'usage') and has_schema_privilege('tollgate_journal', oid, 'usage')
            and has_schema_privilege('tollgate_system', oid, 'usage') from pg_namespace where nspname = 'tollgate'",
    )
    .fetch_optional(&mut *connection)
    .await?;
    if complete == Some(true) {
        return Ok(());
    }
    change(connection, login, CREATE_SCHEMA).await?;
    for grant in SCHEMA_GRANTS {
        change(connection, login, &format!("begin; set local role tollgate_owner; {grant}; commit")).await?;
    }
    Ok(())
}

/// Runs one statement, and repeats it if another database of the cluster was provisioned at the same
/// moment.
async fn change(connection: &mut PgConnection, login: &str, statement: &str) -> Result<(), ProvisionError> {
    let mut attempt = 1;
    loop {
        let error = match sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *connection).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        // A statement of several parts may have left its transaction open.
        let _ = sqlx::raw_sql("rollback").execute(&mut *connection).await;
        match code(&error).as_deref() {
            // duplicate_object, unique_violation or duplicate_schema: it already exists.
            Some("42710" | "23505" | "42P06") => return Ok(()),
            Some("42501") => {
                let statements = administrator_statements(login);
                return Err(ProvisionError::NotAllowed {
                    login: login.to_owned(),
                    statements,
                    source: error.into(),
                });
            }
            // XX000 includes "tuple concurrently updated", which has no other code.
            Some("XX000" | "40001" | "40P01") if attempt < ATTEMPTS => {
                tokio::time::sleep(std::time::Duration::from_millis(10 * u64::from(attempt))).await;
                attempt += 1;
            }
            _ => return Err(error.into()),
        }
    }
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(|code| code.into_owned())
}

fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}
