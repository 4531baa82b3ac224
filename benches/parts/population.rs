//! Creates many tenants with clients, lists and active rules quickly, by copying the rows of the
//! demonstration's tenant.

use std::path::Path;
use std::sync::Arc;

use sqlx::PgConnection;
use tollgate::app::keys::SigningKeys;
use tollgate::auth::root_secret::RootSecret;
use tollgate::auth::token::{AccessTokens, Subject, TokenIssuer, TokenSettings};
use tollgate::config::NodeSettings;
use tollgate::domain::tenant::{ClientId, Scope, TenantId};
use tollgate::domain::time::Clock;
use tollgate::storage::databases::Databases;
use tollgate::world::{OsRandomness, SystemClock, system};
use uuid::Uuid;

use super::server::ISSUER;

/// Adds tenants up to this number, including the demonstration's.
const GROW: &str = "
    with template as (select id from tenants where name = 'demo'),
    made as (
        insert into tenants (id, name, created_at_ms)
        select md5('tenant ' || n)::uuid, 'tenant-' || n, 0 from generate_series($1::int, $2::int) n
        returning id
    ),
    signing_in as (
        insert into clients (tenant_id, id, name, secret_hash, scopes, created_at_ms)
        select made.id, md5('client ' || made.id)::uuid, 'bench', '', '{}', 0 from made
    ),
    listing as (
        insert into lists (tenant_id, name, description, kinds, created_by, created_at_ms)
        select made.id, l.name, '', l.kinds, 'bench', 0 from made, lists l join template on l.tenant_id = template.id
    ),
    listed as (
        insert into list_entries (tenant_id, list, id, value, comparable, normalized_name, reason,
                                  valid_from_ms, added_by, comparison_version)
        select made.id, e.list, e.id, e.value, e.comparable, e.normalized_name, e.reason, 0, 'bench',
               e.comparison_version
        from made, list_entries e join template on e.tenant_id = template.id
    ),
    revised as (
        insert into revisions (tenant_id, point, number, rules_version, rules, digest, note, created_by, created_at_ms)
        select made.id, r.point, r.number, r.rules_version, r.rules, r.digest, '', 'bench', 0
        from made, revisions r join template on r.tenant_id = template.id where r.number = 1
    )
    insert into activations (tenant_id, point, revision, activated_by, activated_at_ms)
    select id, 'payment', 1, 'bench', 0 from made";

const AT_ONCE: i32 = 500;

pub async fn grow_to(superuser: &mut PgConnection, count: i32) {
    let present: i64 =
        sqlx::query_scalar("select count(*) from tenants").fetch_one(&mut *superuser).await.unwrap();
    // Each list is a lock of the transaction, and Postgres has room for a few thousand.
    for from in (i32::try_from(present).unwrap()..count).step_by(AT_ONCE as usize) {
        let last = (from + AT_ONCE).min(count) - 1;
        sqlx::query(GROW).bind(from).bind(last).execute(&mut *superuser).await.unwrap();
    }
}

/// Each tenant with one of its clients.
pub async fn clients(superuser: &mut PgConnection) -> Vec<(TenantId, ClientId)> {
    let statement = "select distinct on (tenant_id) tenant_id, id from clients order by tenant_id";
    let found: Vec<(Uuid, Uuid)> = sqlx::query_as(statement).fetch_all(superuser).await.unwrap();
    found.into_iter().map(|(tenant, client)| (TenantId(tenant), ClientId(client))).collect()
}

/// Signs tokens as the server does. Signing in instead would take 13 ms of hashing for each.
pub async fn tokens(databases: &Databases, folder: &Path, clients: &[(TenantId, ClientId)]) -> Arc<[String]> {
    let root = RootSecret::open_or_create(&folder.join("data/root-secret"), &OsRandomness).unwrap();
    let ring = SigningKeys::new(databases, &root).unwrap().open(SystemClock.now_ms()).await.unwrap();
    let NodeSettings { audience, access_token_lifetime_s, .. } = NodeSettings::default();
    let settings =
        TokenSettings::new(TokenIssuer::configured(ISSUER), audience, access_token_lifetime_s).unwrap();
    let tokens = AccessTokens::new(settings, ring, system());
    let all = || Scope::ALL.into_iter().collect();
    clients
        .iter()
        .map(|(tenant, client)| {
            tokens
                .issue(*tenant, Subject::Client { id: *client, generation: 0 }, all(), None, None)
                .unwrap()
                .text
        })
        .collect()
}
