//! Which plugins the revisions of a tenant use, and which series they ask about.
//!
//! Revisions are read one at a time, since together they may be large.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use sqlx::{PgConnection, Row};

use super::super::StorageError;
use super::super::advisory_locks::DatabaseLock;
use super::super::columns::bigint;
use super::super::pool::{AppPool, SystemPool};
use super::activations::log;
use super::plan::{ActivateError, ActivationRequest, NewActivation, plan};
use super::{find, read, read_rules};
use crate::domain::plugin::Digest;
use crate::domain::ruleset::{DecisionPoint, PluginUse, Revision};
use crate::domain::series::AskedSeries;
use crate::domain::tenant::TenantId;

/// The most revisions that are read to find uses.
const REVISIONS_READ_MAX: i64 = 200;

/// The uses of `plugin`, or of every plugin, in the newest revisions, newest first.
pub async fn plugin_uses(
    app: &AppPool,
    tenant: TenantId,
    point: DecisionPoint,
    plugin: Option<Digest>,
) -> Result<Vec<PluginUse>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let latest = log(connection, tenant, point, None, 1).await?.pop();
            let deployment = latest.map(|activation| activation.deployment);
            let mut revisions = sqlx::query(
                "select point, number, rules_version, rules, digest, note, created_by, created_at_ms
                 from revisions
                 where tenant_id = $1 and point = $2
                 order by number desc
                 limit $3",
            )
            .bind(tenant.0)
            .bind(point.name())
            .bind(REVISIONS_READ_MAX)
            .fetch(connection);
            let mut uses = Vec::new();
            while let Some(row) = revisions.try_next().await? {
                let Revision { number, rules, .. } = read(&row)?;
                let named = rules.into_iter().map(|rule| rule.entry);
                uses.extend(named.filter(|entry| plugin.is_none_or(|plugin| plugin == entry.plugin)).map(
                    |entry| {
                        PluginUse {
                            plugin: entry.plugin,
                            point,
                            revision: number,
                            rule: entry.name,
                            active: deployment.is_some_and(|deployed| deployed.revision == number),
                            canary: deployment
                                .and_then(|deployed| deployed.canary)
                                .is_some_and(|canary| canary.revision == number),
                            shadow: deployment.and_then(|deployed| deployed.shadow) == Some(number),
                        }
                    },
                ));
            }
            Ok(uses)
        })
    })
    .await
}

/// The revisions of the deployment, with their plugins. The deployment cannot change until the
/// transaction ends.
pub async fn plugins_in_deployment(
    connection: &mut PgConnection,
    tenant: TenantId,
    point: DecisionPoint,
) -> Result<Vec<(i32, BTreeSet<Digest>)>, StorageError> {
    DatabaseLock::ActivationSequence.take_in_transaction(connection).await?;
    let latest = log(connection, tenant, point, None, 1).await?.pop();
    let mut revisions = Vec::new();
    for number in latest.iter().flat_map(|activation| activation.deployment.revisions()) {
        revisions.push((number, plugins_of(connection, tenant, point, &[number]).await?));
    }
    Ok(revisions)
}

/// The plugins of the revisions that an activation would add. The caller checks whether the nodes
/// can run them.
pub async fn plugins_to_add(
    app: &AppPool,
    new: &NewActivation,
    request: ActivationRequest,
) -> Result<Vec<Digest>, ActivateError> {
    let new = new.clone();
    app.transaction(new.tenant, move |connection| {
        Box::pin(async move {
            let added = plan(connection, &new, request).await?.added_revisions();
            let plugins = plugins_of(connection, new.tenant, new.point, &added).await?;
            Ok(plugins.into_iter().collect())
        })
    })
    .await
}

/// The series that the revisions ask about which an activation would add.
pub async fn series_to_add(
    app: &AppPool,
    new: &NewActivation,
    request: ActivationRequest,
) -> Result<Vec<AskedSeries>, ActivateError> {
    let new = new.clone();
    app.transaction(new.tenant, move |connection| {
        Box::pin(async move {
            let mut series = BTreeSet::new();
            for number in plan(connection, &new, request).await?.added_revisions() {
                let found = find(connection, new.tenant, new.point, number).await?;
                let rules = found.map(|found| found.rules).unwrap_or_default();
                series.extend(AskedSeries::of(rules.iter().flat_map(|rule| &rule.queries)));
            }
            Ok(series.into_iter().collect())
        })
    })
    .await
}

/// The series that the revisions ask about which decided or ran in shadow at any time since then.
pub async fn series_in_use(
    system: &SystemPool,
    since_ms: u64,
) -> Result<BTreeMap<TenantId, BTreeSet<AskedSeries>>, StorageError> {
    system
        .transaction(move |connection| {
            Box::pin(async move {
                let mut rows = sqlx::query(
                    "with deployed as (
                         select tenant_id, point, revision, canary_revision, shadow_revision,
                                lead(activated_at_ms) over (partition by tenant_id, point order by sequence)
                                    as until_ms
                         from activations
                     )
                     select distinct r.tenant_id, r.rules_version, r.rules, r.digest
                     from deployed d
                     join revisions r on r.tenant_id = d.tenant_id and r.point = d.point
                         and r.number in (d.revision, d.canary_revision, d.shadow_revision)
                     where d.until_ms is null or d.until_ms >= $1",
                )
                .bind(bigint(since_ms))
                .fetch(connection);
                let mut in_use: BTreeMap<TenantId, BTreeSet<AskedSeries>> = BTreeMap::new();
                while let Some(row) = rows.try_next().await? {
                    let tenant = TenantId(row.try_get("tenant_id")?);
                    let rules = read_rules(&row)?;
                    let series = AskedSeries::of(rules.iter().flat_map(|rule| &rule.queries));
                    in_use.entry(tenant).or_default().extend(series);
                }
                Ok(in_use)
            })
        })
        .await
}

/// The plugins of the revisions. Numbers without a revision are ignored.
pub(super) async fn plugins_of(
    connection: &mut PgConnection,
    tenant: TenantId,
    point: DecisionPoint,
    numbers: &[i32],
) -> Result<BTreeSet<Digest>, StorageError> {
    let mut plugins = BTreeSet::new();
    for number in numbers {
        let revision = find(connection, tenant, point, *number).await?;
        plugins.extend(revision.into_iter().flat_map(|found| found.rules).map(|rule| rule.entry.plugin));
    }
    Ok(plugins)
}

/// One of the plugins that the tenant has retired, if any.
pub(super) async fn retired_among(
    connection: &mut PgConnection,
    tenant: TenantId,
    plugins: &BTreeSet<Digest>,
) -> Result<Option<Digest>, StorageError> {
    let digests: Vec<[u8; 32]> = plugins.iter().map(|digest| digest.0).collect();
    let retired: Option<Vec<u8>> = sqlx::query_scalar(
        "select own.digest
         from tenant_plugins own join plugins p using (digest)
         where own.tenant_id = $1 and own.digest = any ($2) and own.retired_at_ms is not null and not p.shared
         order by own.digest
         limit 1",
    )
    .bind(tenant.0)
    .bind(digests)
    .fetch_optional(connection)
    .await?;
    retired.map(|digest| super::digest(&digest, super::WHAT)).transpose()
}
