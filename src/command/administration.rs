//! `tollgate migrate`, `tenant create` and `client create`: for operators, on
//! the database itself.
//!
//! Owns what is printed. Must never print a secret twice, or log one.

use std::process::ExitCode;

use super::Failure;
use crate::app::database::Database;
use crate::app::tenants::{self, ClientOrder};
use crate::auth::scope::ScopeSet;
use crate::config::Config;
use crate::domain::tenant::Scope;
use crate::storage::pool::Databases;

pub async fn migrate(config: Config) -> Result<ExitCode, Failure> {
    let database = Database::open(&config).await?;
    println!("The database is up to date.");
    database.close().await?;
    Ok(ExitCode::SUCCESS)
}

pub async fn create_tenant(config: Config, name: String) -> Result<ExitCode, Failure> {
    let database = Database::open(&config).await?;
    let pools = Databases::connect_lazily(&database.settings)?;
    let tenant = tenants::create_tenant(&pools.system, &name).await?;
    println!("tenant {name}: {tenant}");
    database.close().await?;
    Ok(ExitCode::SUCCESS)
}

pub async fn create_client(
    config: Config,
    tenant: String,
    name: String,
    scopes: Option<String>,
) -> Result<ExitCode, Failure> {
    let scopes = match scopes {
        Some(text) => ScopeSet::parse(&text).ok_or_else(|| {
            let known: Vec<&str> = Scope::ALL.into_iter().map(Scope::name).collect();
            format!("--scopes: expected some of: {}", known.join(" "))
        })?,
        None => Scope::ALL.into_iter().collect(),
    };
    let database = Database::open(&config).await?;
    let pools = Databases::connect_lazily(&database.settings)?;
    let created = tenants::create_client(&pools.system, ClientOrder { tenant, name, scopes }).await?;
    println!("client_id={}", created.id);
    println!("client_secret={}", created.secret.expose());
    println!("The secret is shown this once.");
    database.close().await?;
    Ok(ExitCode::SUCCESS)
}
