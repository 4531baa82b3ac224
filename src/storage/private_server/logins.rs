//! The logins of the private server, one for each role.
//!
//! They have no password: only Tollgate's own user can reach the socket.

use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

use super::NAME;
use crate::storage::pool::{DatabaseSettings, Role};

const ROLES: [Role; 3] = [Role::App, Role::Journal, Role::System];

fn login_of(role: Role) -> String {
    format!("{}_login", role.name())
}

pub(super) fn settings(url: &str) -> DatabaseSettings {
    let own = |role| url.replacen(&format!("//{NAME}@"), &format!("//{}@", login_of(role)), 1);
    DatabaseSettings {
        app_url: Some(own(Role::App)),
        journal_url: Some(own(Role::Journal)),
        system_url: Some(own(Role::System)),
        ..DatabaseSettings::for_url(url)
    }
}

/// Creates missing roles and logins. Provisioning does the rest.
pub(super) async fn ensure(url: &str) -> Result<(), sqlx::Error> {
    let mut superuser = PgConnectOptions::from_str(url)?.connect().await?;
    for role in ROLES {
        let login = login_of(role);
        create(&mut superuser, role.name(), "nologin").await?;
        create(&mut superuser, &login, &format!("login in role {}", role.name())).await?;
    }
    superuser.close().await
}

async fn create(superuser: &mut PgConnection, name: &str, attributes: &str) -> Result<(), sqlx::Error> {
    let exists: bool = sqlx::query_scalar("select exists (select from pg_roles where rolname = $1)")
        .bind(name)
        .fetch_one(&mut *superuser)
        .await?;
    if exists {
        return Ok(());
    }
    let statement = AssertSqlSafe(format!("create role {name} {attributes}"));
    match sqlx::raw_sql(statement).execute(superuser).await {
        // Another process created it at the same moment: duplicate_object or unique_violation.
        Err(sqlx::Error::Database(error)) if matches!(error.code().as_deref(), Some("42710" | "23505")) => {
            Ok(())
        }
        made => made.map(drop),
    }
}
