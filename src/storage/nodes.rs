//! The nodes, their heartbeats, and which plugins each can run.
//!
//! Only the database's clock decides whether a node is alive.

use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::StorageError;
use super::columns::{bigint, digest as read_digest, named};
use super::pool::SystemPool;
use super::time_limit::TimeLimit;
use crate::domain::plugin::{Digest, Profile};

const WHAT: &str = "node";

#[derive(Debug, Clone)]
pub struct NodeRecord {
    pub id: Uuid,
    pub name: String,
    pub started_at_ms: u64,
}

/// Whether a live node can run a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginReadiness {
    pub node: String,
    pub digest: Digest,
    pub ready: bool,
    /// Why it cannot. `None` if it has not tried yet.
    pub why: Option<String>,
}

/// Records a node's heartbeat, and deletes nodes that have had none for an hour.
pub async fn beat(system: &SystemPool, node: &NodeRecord) -> Result<(), StorageError> {
    let node = node.clone();
    system
        .transaction_within(TimeLimit::SHORT, move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "with gone as (delete from nodes where seen_at < now() - interval '1 hour' and id <> $1)
                 insert into nodes (id, name, started_at_ms, counts_by_series) values ($1, $2, $3, true)
                 on conflict (id) do update set seen_at = now()",
                )
                .bind(node.id)
                .bind(&node.name)
                .bind(bigint(node.started_at_ms))
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
}

/// Deletes a node that ends, so that no activation waits for it.
pub async fn leave(system: &SystemPool, node: Uuid) -> Result<(), StorageError> {
    system
        .transaction_within(TimeLimit::SHORT, move |connection| {
            Box::pin(async move {
                sqlx::query("delete from nodes where id = $1").bind(node).execute(connection).await?;
                Ok(())
            })
        })
        .await
}

/// The stored plugins that a node has not reported, and those that it failed to load before
/// `retry_before_ms`. Returns only the newest `of_tenant_max` plugins of each tenant and profile,
/// so that the slow plugins of one tenant do not delay others.
pub async fn unreported(
    system: &SystemPool,
    node: Uuid,
    retry_before_ms: u64,
    of_tenant_max: u32,
) -> Result<Vec<(Digest, Profile)>, StorageError> {
    system
        .transaction(move |connection| {
            Box::pin(async move {
                let rows: Vec<(Vec<u8>, String)> = sqlx::query_as(
                    "with new as (
                     select p.digest, p.profile, p.created_at_ms
                     from plugins p left join node_plugins r on r.node_id = $1 and r.digest = p.digest
                     where r.digest is null or (r.why is not null and r.ready_at_ms < $2)
                 ), ranked as (
                     select digest, profile, row_number() over (
                         partition by own.tenant_id, profile order by new.created_at_ms desc, digest) as rank
                     from new left join tenant_plugins own using (digest)
                 )
                 select digest, profile from ranked
                 group by digest, profile
                 having min(rank) <= $3
                 order by min(rank), digest",
                )
                .bind(node)
                .bind(bigint(retry_before_ms))
                .bind(i64::from(of_tenant_max))
                .fetch_all(connection)
                .await?;
                let read = |(digest, profile): &(Vec<u8>, String)| {
                    Ok((read_digest(digest, WHAT)?, named(Profile::parse(profile), WHAT)?))
                };
                rows.iter().map(read).collect()
            })
        })
        .await
}

/// Records that a node can run a plugin, or why not. Returns `false` if the node is unknown.
pub async fn report(
    system: &SystemPool,
    node: Uuid,
    digest: Digest,
    why: Option<&'static str>,
    now_ms: u64,
) -> Result<bool, StorageError> {
    system
        .transaction(move |connection| {
            Box::pin(async move { report_on(connection, node, digest, why, now_ms).await })
        })
        .await
}

pub(super) async fn report_on(
    connection: &mut PgConnection,
    node: Uuid,
    digest: Digest,
    why: Option<&str>,
    now_ms: u64,
) -> Result<bool, StorageError> {
    // A deleted node cannot report. It reports again after its next heartbeat.
    let reported = sqlx::query(
        "insert into node_plugins (node_id, digest, ready_at_ms, why)
         select id, $2, $3, $4 from nodes where id = $1
         on conflict (node_id, digest) do update set ready_at_ms = excluded.ready_at_ms, why = excluded.why",
    )
    .bind(node)
    .bind(digest.0)
    .bind(bigint(now_ms))
    .bind(why)
    .execute(connection)
    .await?;
    Ok(reported.rows_affected() > 0)
}

/// Whether each live node can run each of the plugins.
pub async fn readiness(
    system: &SystemPool,
    digests: &[Digest],
) -> Result<Vec<PluginReadiness>, StorageError> {
    let digests: Vec<[u8; 32]> = digests.iter().map(|digest| digest.0).collect();
    system
        .transaction(move |connection| {
            Box::pin(async move {
                let rows = sqlx::query(
                    "select n.name, wanted.digest, r.digest is not null and r.why is null as ready, r.why
                 from nodes n
                 cross join unnest($1::bytea[]) as wanted (digest)
                 left join node_plugins r on r.node_id = n.id and r.digest = wanted.digest
                 where n.seen_at > now() - interval '5 seconds'
                 order by n.started_at_ms, n.id, wanted.digest",
                )
                .bind(digests)
                .fetch_all(connection)
                .await?;
                let readiness = |row: &sqlx::postgres::PgRow| {
                    Ok(PluginReadiness {
                        node: row.try_get("name")?,
                        digest: read_digest(row.try_get("digest")?, WHAT)?,
                        ready: row.try_get("ready")?,
                        why: row.try_get("why")?,
                    })
                };
                rows.iter().map(readiness).collect()
            })
        })
        .await
}
