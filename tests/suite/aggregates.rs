//! Storage of decisions, lists, rulesets and clients, with a real Postgres.

mod decisions;
mod lists;
mod rulesets;
mod sign_in;

use tollgate::domain::tenant::TenantId;
use tollgate::storage::databases::Databases;
use tollgate::storage::tenants::create_tenant;
use uuid::Uuid;

async fn tenant(databases: &Databases) -> TenantId {
    let tenant = TenantId(Uuid::now_v7());
    create_tenant(&databases.system, tenant, &format!("t{}", tenant.0.simple()), 1, "test").await.unwrap();
    tenant
}
