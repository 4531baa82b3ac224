//! Which lists and tables the rules of revisions query, and lists by which selectors.
//!
//! Revisions are read one at a time, since together they may be large.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use sqlx::PgConnection;

use super::super::StorageError;
use super::activations::log;
use super::plan::ClosedReference;
use super::{find, read};
use crate::domain::ruleset::{DecisionPoint, PreparedRule};
use crate::domain::selector::{FactQuery, Selector};
use crate::domain::tenant::TenantId;
use crate::storage::advisory_locks::DatabaseLock;

fn list_queries(rules: &[PreparedRule]) -> impl Iterator<Item = (&str, &Selector)> {
    rules.iter().flat_map(|rule| &rule.queries).filter_map(FactQuery::list)
}

/// For each list, the selectors by which any revision of the tenant queries it.
pub(in crate::storage) async fn selectors_by_list(
    connection: &mut PgConnection,
    tenant: TenantId,
) -> Result<BTreeMap<String, BTreeSet<Selector>>, StorageError> {
    let mut revisions = sqlx::query(
        "select point, number, rules_version, rules, digest, note, created_by, created_at_ms
         from revisions
         where tenant_id = $1",
    )
    .bind(tenant.0)
    .fetch(connection);
    let mut selectors: BTreeMap<String, BTreeSet<Selector>> = BTreeMap::new();
    while let Some(row) = revisions.try_next().await? {
        for (list, selector) in list_queries(&read(&row)?.rules) {
            selectors.entry(list.to_owned()).or_default().insert(selector.clone());
        }
    }
    Ok(selectors)
}

/// A revision of the deployment with such a query, if any. The deployment cannot change until the
/// transaction ends.
pub(in crate::storage) async fn deployed_revision_asking(
    connection: &mut PgConnection,
    tenant: TenantId,
    point: DecisionPoint,
    is_such: impl Fn(&FactQuery) -> bool,
) -> Result<Option<i32>, StorageError> {
    DatabaseLock::ActivationSequence.take_in_transaction(connection).await?;
    let latest = log(connection, tenant, point, None, 1).await?.pop();
    for number in latest.iter().flat_map(|activation| activation.deployment.revisions()) {
        let revision = find(connection, tenant, point, number).await?;
        let rules = revision.map(|revision| revision.rules).unwrap_or_default();
        if rules.iter().flat_map(|rule| &rule.queries).any(&is_such) {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// A closed list or table that one of the revisions queries, if any.
pub(super) async fn closed_among(
    connection: &mut PgConnection,
    tenant: TenantId,
    point: DecisionPoint,
    numbers: &[i32],
) -> Result<Option<ClosedReference>, StorageError> {
    let (mut lists, mut tables) = (BTreeSet::new(), BTreeSet::new());
    for number in numbers {
        let rules = find(connection, tenant, point, *number).await?.map(|revision| revision.rules);
        let rules = rules.unwrap_or_default();
        lists.extend(list_queries(&rules).map(|(list, _)| list.to_owned()));
        let queries = rules.iter().flat_map(|rule| &rule.queries);
        tables.extend(queries.filter_map(FactQuery::table).map(str::to_owned));
    }
    let closed: Option<(String, bool)> = sqlx::query_as(
        "select name, false from lists
         where tenant_id = $1 and name = any ($2) and closed_at_ms is not null
         union all
         select name, true from tables
         where tenant_id = $1 and name = any ($3) and closed_at_ms is not null
         order by 1
         limit 1",
    )
    .bind(tenant.0)
    .bind(lists.into_iter().collect::<Vec<_>>())
    .bind(tables.into_iter().collect::<Vec<_>>())
    .fetch_optional(connection)
    .await?;
    Ok(closed.map(
        |(name, is_table)| {
            if is_table { ClosedReference::Table(name) } else { ClosedReference::List(name) }
        },
    ))
}
