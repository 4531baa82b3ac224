//! Tenants, clients, signing keys and plugins.

use futures::future::join_all;
use tollgate::domain::plugin::{Description, Digest, Plugin, Profile, UploadState};
use tollgate::domain::tenant::{ClientId, Scope};
use tollgate::storage::clients::{self, NewClient, find_credentials};
use tollgate::storage::signing_keys::{self, SigningKeyRow};
use tollgate::storage::tenants::{create_tenant, tenant_by_name};
use tollgate::storage::uploads::{self, NewUpload, UploadQuotas, UploadResult, UploadWork};
use tollgate::storage::{lists, plugins};
use uuid::Uuid;

use super::tenant;
use crate::support::database::TestDatabase;

#[tokio::test]
async fn a_client_is_found_by_its_id_alone() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = tenant(&databases).await;
    let client = NewClient {
        tenant,
        id: ClientId(Uuid::now_v7()),
        name: "shop".to_owned(),
        secret_hash: "$argon2id$".to_owned(),
        scopes: vec![Scope::PaymentsWrite, Scope::ListsRead],
        requests_per_s: Some(1_000_000),
        certificate: None,
        created_by: "test".to_owned(),
        created_at_ms: 5,
    };
    clients::create(&databases.system, &client).await.unwrap();
    let found = find_credentials(&databases.app, client.id).await.unwrap().unwrap();
    assert_eq!(
        (found.tenant, &found.secret_hash, &found.scopes, found.requests_per_s),
        (tenant, &client.secret_hash, &client.scopes, client.requests_per_s)
    );
    assert_eq!(find_credentials(&databases.app, ClientId(Uuid::now_v7())).await.unwrap(), None);

    create_tenant(&databases.system, tollgate::domain::tenant::TenantId(Uuid::now_v7()), "acme", 1, "test")
        .await
        .unwrap();
    assert!(tenant_by_name(&databases.system, "acme").await.unwrap().is_some());
    let again = create_tenant(&databases.system, tenant, "acme", 1, "test").await.unwrap_err();
    assert!(again.is_unique_violation());
    assert!(lists::list(&databases.app, tenant, None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn nodes_that_start_at_once_create_one_signing_key() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let keys: Vec<_> = (0..6)
        .map(|n| SigningKeyRow {
            kid: format!("kid-{n}"),
            public_key: vec![n],
            sealed_private_key: vec![n, n],
            created_at_ms: u64::from(n),
            retired_at_ms: None,
        })
        .collect();
    let inserted = join_all(keys.iter().map(|key| signing_keys::insert(&databases.system, key))).await;
    assert_eq!(inserted.iter().filter(|inserted| *inserted.as_ref().unwrap()).count(), 1);
    let listed = signing_keys::list(&databases.system).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert!(keys.contains(&listed[0]));
}

#[tokio::test]
async fn a_tenant_sees_shared_plugins_and_its_own() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let (app, system) = (&databases.app, &databases.system);
    let (one, other) = (tenant(&databases).await, tenant(&databases).await);
    let plugin = |n: u8| Plugin {
        digest: Digest([n; 32]),
        size_bytes: 3,
        contract: "1.0.0".to_owned(),
        profile: Profile::Small,
        description: Description {
            name: format!("plugin-{n}"),
            version: "1".to_owned(),
            summary: String::new(),
            settings_schema: "{}".to_owned(),
        },
        imports: vec!["tollgate:rules/types@1.0.0".to_owned()],
        compile_ms: 80,
    };
    plugins::add(system, &plugin(1), b"one", false, 1).await.unwrap();
    plugins::add(system, &plugin(1), b"one", false, 2).await.unwrap();
    plugins::add(system, &plugin(2), b"two", true, 1).await.unwrap();
    let quotas = UploadQuotas { waiting_max: 1, plugins_max: 1, stored_max: 1 };
    let (digest, node) = (Digest([1; 32]), Uuid::now_v7());
    for (now_ms, state) in [(3, UploadState::Waiting), (4, UploadState::Ready)] {
        let (actor, bytes) = ("alice".to_owned(), b"one".to_vec());
        let profile = Profile::Small;
        let new = NewUpload { tenant: one, digest, bytes, profile, actor, now_ms };
        let seen = uploads::add(app, new, quotas).await.unwrap();
        assert_eq!((seen.state, seen.uploaded_at_ms), (state, Some(3)));
        assert!(uploads::claim(system, node, 10_000, Profile::Large, now_ms).await.unwrap().is_none());
        if let Some(claim) = uploads::claim(system, node, 10_000, profile, now_ms).await.unwrap() {
            assert_eq!((claim.tenant, claim.digest), (one, digest));
            assert!(matches!(claim.matter, UploadWork::Stored { compile_ms: 80 }));
            assert!(uploads::finish(system, node, one, digest, UploadResult::Stored, 4).await.unwrap());
        }
    }

    let seen = async |tenant| {
        let list = plugins::list(app, tenant).await.unwrap();
        list.into_iter().map(|seen| seen.plugin.unwrap()).collect::<Vec<Plugin>>()
    };
    assert_eq!(seen(one).await, [plugin(1), plugin(2)]);
    assert_eq!(seen(other).await, [plugin(2)]);
    assert_eq!(plugins::get(app, other, Digest([1; 32])).await.unwrap(), None);
    for (offset, part) in [(0, "on"), (2, "e"), (3, "")] {
        let read = plugins::part(app, one, Digest([1; 32]), offset, 2).await.unwrap();
        assert_eq!(read.as_deref(), Some(part.as_bytes()));
    }
    assert_eq!(plugins::part(app, other, Digest([1; 32]), 0, 2).await.unwrap(), None);
    assert_eq!(plugins::bytes_any(system, Digest([1; 32])).await.unwrap().as_deref(), Some(&b"one"[..]));

    plugins::add(system, &plugin(1), b"one", true, 5).await.unwrap();
    assert_eq!(plugins::list(app, other).await.unwrap().len(), 2, "shared later");
}
