//! Which lists the rules of revisions query, and by which selectors.
//!
//! Revisions are read one at a time, since together they may be large.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use sqlx::PgConnection;

use super::super::StorageError;
use super::activations::log;
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

/// A revision of the deployment that queries the list, if any. The deployment cannot change until
/// the transaction ends.
pub(in crate::storage) async fn deployed_revision_using_list(
    connection: &mut PgConnection,
    tenant: TenantId,
    point: DecisionPoint,
    list: &str,
) -> Result<Option<i32>, StorageError> {
    DatabaseLock::ActivationSequence.take_in_transaction(connection).await?;
    let latest = log(connection, tenant, point, None, 1).await?.pop();
    for number in latest.iter().flat_map(|activation| activation.deployment.revisions()) {
        let revision = find(connection, tenant, point, number).await?;
        if revision.is_some_and(|revision| list_queries(&revision.rules).any(|(name, _)| name == list)) {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// A closed list that one of the revisions queries, if any.
pub(super) async fn closed_list_among(
    connection: &mut PgConnection,
    tenant: TenantId,
    point: DecisionPoint,
    numbers: &[i32],
) -> Result<Option<String>, StorageError> {
    let mut lists = BTreeSet::new();
    for number in numbers {
        let rules = find(connection, tenant, point, *number).await?.map(|revision| revision.rules);
        lists.extend(list_queries(&rules.unwrap_or_default()).map(|(list, _)| list.to_owned()));
    }
    let closed = sqlx::query_scalar(
        "select name from lists
         where tenant_id = $1 and name = any ($2) and closed_at_ms is not null
         order by name
         limit 1",
    )
    .bind(tenant.0)
    .bind(lists.into_iter().collect::<Vec<_>>())
    .fetch_optional(connection)
    .await?;
    Ok(closed)
}
