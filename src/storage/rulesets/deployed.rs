//! What is deployed by all tenants, for a node that follows the activation log.
//!
//! A node reads this before it is ready, so nothing here may cost a statement for each tenant.

use std::collections::{BTreeSet, HashMap};

use futures::TryStreamExt;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, PgConnection, Postgres, Row};
use uuid::Uuid;

use super::super::StorageError;
use super::super::columns::digest;
use super::super::pool::SystemPool;
use super::super::time_limit::TimeLimit;
use super::activations::read_deployment;
use super::{WHAT, read_rules};
use crate::domain::plugin::Digest;
use crate::domain::ruleset::{ActivatedDeployment, DecisionPoint};
use crate::domain::tenant::TenantId;

/// The same rules, however many tenants deploy them.
#[derive(Debug)]
pub struct DeployedRules {
    pub tenants: Vec<TenantId>,
    /// `None` if the rules cannot be read.
    pub plugins: Option<BTreeSet<Digest>>,
}

/// The deployments that were activated above `sequence`, in order. Nodes poll this.
pub async fn activations_since(
    system: &SystemPool,
    sequence: i64,
) -> Result<Vec<(TenantId, ActivatedDeployment)>, StorageError> {
    system
        .transaction_within(TimeLimit::SHORT, move |connection| {
            Box::pin(async move {
                let rows = sqlx::query(
                    "select tenant_id, sequence, point, revision, canary_revision, canary_share,
                            shadow_revision
                     from activations
                     where sequence > $1
                     order by sequence",
                )
                .bind(sequence)
                .fetch_all(connection)
                .await?;
                rows.iter().map(read_with_tenant).collect()
            })
        })
        .await
}

/// The newest deployment of every tenant, for a node that starts. Takes as long as there are
/// tenants, however long the log is.
pub async fn latest_activations(
    system: &SystemPool,
    point: DecisionPoint,
) -> Result<Vec<(TenantId, ActivatedDeployment)>, StorageError> {
    system
        .transaction(move |connection| {
            Box::pin(async move {
                let rows = sqlx::query(
                    "select newest.*
                     from tenants
                     cross join lateral (
                         select tenant_id, sequence, point, revision, canary_revision, canary_share,
                                shadow_revision
                         from activations
                         where tenant_id = tenants.id and point = $1
                         order by sequence desc
                         limit 1
                     ) newest",
                )
                .bind(point.name())
                .fetch_all(connection)
                .await?;
                rows.iter().map(read_with_tenant).collect()
            })
        })
        .await
}

fn read_with_tenant(row: &PgRow) -> Result<(TenantId, ActivatedDeployment), StorageError> {
    Ok((TenantId(row.try_get("tenant_id")?), read_deployment(row)?))
}

/// The rules of these revisions. Rules of several tenants that are the same are read once.
pub async fn deployed_rules(
    system: &SystemPool,
    point: DecisionPoint,
    revisions: Vec<(TenantId, i32)>,
) -> Result<Vec<DeployedRules>, StorageError> {
    system
        .transaction_within(TimeLimit::PAGE, move |connection| {
            Box::pin(async move {
                let mut examples = Vec::new();
                let mut tenants: HashMap<Digest, Vec<TenantId>> = HashMap::new();
                for (tenant, number, rules) in digests_of(connection, point, revisions).await? {
                    let users = tenants.entry(rules).or_default();
                    if users.is_empty() {
                        examples.push((tenant, number));
                    }
                    users.push(tenant);
                }
                let mut plugins = plugins_by_rules(connection, point, examples).await?;
                let found = tenants
                    .into_iter()
                    .map(|(rules, tenants)| DeployedRules { tenants, plugins: plugins.remove(&rules) });
                Ok(found.collect())
            })
        })
        .await
}

async fn digests_of(
    connection: &mut PgConnection,
    point: DecisionPoint,
    revisions: Vec<(TenantId, i32)>,
) -> Result<Vec<(TenantId, i32, Digest)>, StorageError> {
    let asked = select("tenant_id, number, digest", point, revisions);
    let rows = asked.fetch_all(connection).await?;
    let read = |row: &PgRow| {
        let rules = digest(row.try_get("digest")?, WHAT)?;
        Ok((TenantId(row.try_get("tenant_id")?), row.try_get("number")?, rules))
    };
    rows.iter().map(read).collect()
}

/// By the digest of the rules. Rules that cannot be read are left out. They are read one at a time,
/// since together they may be large.
async fn plugins_by_rules(
    connection: &mut PgConnection,
    point: DecisionPoint,
    revisions: Vec<(TenantId, i32)>,
) -> Result<HashMap<Digest, BTreeSet<Digest>>, StorageError> {
    let mut rows = select("rules_version, rules, digest", point, revisions).fetch(connection);
    let mut plugins = HashMap::new();
    while let Some(row) = rows.try_next().await? {
        if let Ok(rules) = read_rules(&row) {
            let used = rules.iter().map(|rule| rule.entry.plugin).collect();
            plugins.insert(digest(row.try_get("digest")?, WHAT)?, used);
        }
    }
    Ok(plugins)
}

/// A query for these columns of the revisions.
fn select(
    columns: &'static str,
    point: DecisionPoint,
    revisions: Vec<(TenantId, i32)>,
) -> Query<'static, Postgres, PgArguments> {
    let statement = format!(
        "select {columns}
         from unnest($2::uuid[], $3::int[]) as deployed (tenant_id, number)
         join revisions using (tenant_id, number)
         where point = $1"
    );
    let (tenants, numbers): (Vec<Uuid>, Vec<i32>) =
        revisions.into_iter().map(|(tenant, number)| (tenant.0, number)).unzip();
    sqlx::query(AssertSqlSafe(statement)).bind(point.name()).bind(tenants).bind(numbers)
}
