//! What a tenant sets: who may, what is kept secret, and that nobody is locked out.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::Row;
use tollgate::domain::tenant::Scope;

use super::{REFUSED, node_with};
use crate::support::database::TestDatabase;
use crate::support::hostile_provider::HostileProvider;
use crate::support::openid::{Browser, CLIENT_SECRET, set, settings};
use crate::support::people::{PASSWORD, create_user, sign_in, try_to_sign_in};
use crate::support::program::{run_command, tollgate_on};
use crate::support::service::{Caller, Node, send};

async fn put(by: &Caller, settings: &Value) -> (StatusCode, Value) {
    send(by.request(Method::PUT, "/settings/openid").json(settings)).await
}

async fn acme(database: &TestDatabase) -> (Node, Caller, HostileProvider) {
    let provider = HostileProvider::start().await;
    let node = node_with(database, &[&provider.issuer]).await;
    let admin = Caller::of_new_tenant(&node, "acme").await;
    (node, admin, provider)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_is_sealed_and_never_shown() {
    let database = TestDatabase::create().await;
    let (node, admin, provider) = acme(&database).await;
    let (status, empty) = admin.get("/settings/openid").await;
    assert_eq!((status.as_u16(), &empty["settings"]), (200, &Value::Null));
    assert_eq!(empty["redirect_uri"], "http://127.0.0.1:8000/session/openid/return");
    set(&admin, &settings(&provider.issuer)).await;
    let (_, state) = admin.get("/settings/openid").await;
    assert_eq!(state["settings"]["has_client_secret"], true);
    assert_eq!(state["settings"]["roles_claim"], "groups");
    let (_, audit) = admin.get("/audit").await;
    assert_eq!(audit["items"][0]["action"], "openid.changed");
    let rows = sqlx::query("select openid_settings::text, client_secret_sealed from openid_settings");
    let row = rows.fetch_one(&mut database.superuser().await).await.unwrap();
    let sealed: Vec<u8> = row.get(1);
    assert!(!sealed.windows(6).any(|part| CLIENT_SECRET.as_bytes().starts_with(part)));
    for text in [state.to_string(), audit.to_string(), row.get::<String, _>(0)] {
        assert!(!text.contains(CLIENT_SECRET), "{text}");
    }

    // It stays when something else changes, and goes with the client that it belongs to.
    let mut changed = settings(&provider.issuer);
    changed.as_object_mut().unwrap().remove("client_secret");
    changed["roles_claim"] = json!("roles");
    set(&admin, &changed).await;
    assert_eq!(admin.get("/settings/openid").await.1["settings"]["has_client_secret"], true);
    changed["client_id"] = json!("another");
    set(&admin, &changed).await;
    assert_eq!(admin.get("/settings/openid").await.1["settings"]["has_client_secret"], false);
    let (status, _) = send(admin.request(Method::DELETE, "/settings/openid")).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(admin.get("/settings/openid").await.1["settings"], Value::Null);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_maps_to_roles_that_exceed_their_own() {
    let database = TestDatabase::create().await;
    let (node, admin, provider) = acme(&database).await;
    let few = [Scope::SettingsRead, Scope::SettingsWrite];
    let clerk = Caller::of_tenant(&node, "acme", few.into_iter().collect()).await;
    for (by, role, expected) in [
        (&clerk, "admin", StatusCode::FORBIDDEN),
        (&clerk, "auditor", StatusCode::FORBIDDEN),
        (&admin, "operator", StatusCode::UNPROCESSABLE_ENTITY),
        (&admin, "admin", StatusCode::OK),
    ] {
        let mut settings = settings(&provider.issuer);
        settings["role_mapping"] = json!([{"value": "any", "role": role}]);
        let (status, answer) = put(by, &settings).await;
        assert_eq!(status, expected, "{role}: {answer}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_without_openid_and_an_unknown_one_are_the_same_to_a_stranger() {
    let database = TestDatabase::create().await;
    let (node, ..) = acme(&database).await;
    for tenant in ["acme", "nobody"] {
        let place = Browser::new(&node).start(tenant).await;
        assert_eq!(place, format!("{REFUSED}not-set-up&tenant={tenant}"));
    }
    let strange = Browser::new(&node).start("%3Cb%3E%0d%0aSet-Cookie:a=b").await;
    assert_eq!(strange, format!("{REFUSED}not-set-up"), "nothing of it is sent back");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_switched_off_only_when_an_administrator_can_come_another_way() {
    let database = TestDatabase::create().await;
    let (node, admin, provider) = acme(&database).await;
    create_user(&admin, "ann@example.com", &["admin"]).await;
    let mut strict = settings(&provider.issuer);
    strict["password_sign_in"] = json!(false);
    let (status, problem) = put(&admin, &strict).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    sqlx::query("update users set openid_issuer = $1, openid_subject = 'ann'")
        .bind(&provider.issuer)
        .execute(&mut database.superuser().await)
        .await
        .unwrap();
    let (status, answer) = put(&admin, &strict).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let credentials = json!({"tenant": "acme", "email": "ann@example.com", "password": PASSWORD});
    let refused = try_to_sign_in(&node.url, &credentials).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    let detail = refused.json::<Value>().await.unwrap()["detail"].to_string();
    assert!(detail.contains("company's account"), "{detail}");
    let wrong = json!({"tenant": "acme", "email": "ann@example.com", "password": "wrong"});
    let wrong = try_to_sign_in(&node.url, &wrong).await.json::<Value>().await.unwrap()["detail"].to_string();
    assert!(!wrong.contains("company"), "only who knows the password is told: {wrong}");

    // Without permission of the operator for the issuer, passwords work again.
    let other = node_with(&database, &[]).await;
    sign_in(&other, "acme", "ann@example.com").await;
    other.stop().await;
    let command = tollgate_on(&database, &["tenant", "allow-passwords", "--tenant", "acme"]);
    let (status, output, log) = tokio::task::spawn_blocking(|| run_command(command)).await.unwrap();
    assert!(status.success() && output.contains("passwords again"), "{output}{log}");
    sign_in(&node, "acme", "ann@example.com").await;
    node.stop().await;
}
