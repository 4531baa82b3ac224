//! Clients as administrators handle them.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::database::TestDatabase;
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::{Caller, Node};

async fn token_status(url: &str, id: &str, secret: &str) -> StatusCode {
    let request = reqwest::Client::new().post(format!("{url}/oauth/token")).basic_auth(id, Some(secret));
    request.form(&[("grant_type", "client_credentials")]).send().await.unwrap().status()
}

async fn until_refused(caller: &Caller) {
    while caller.get("/lists").await.0 != StatusCode::UNAUTHORIZED {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

async fn created(admin: &Caller, name: &str) -> (String, String) {
    let body = json!({"name": name, "scopes": ["payments:write", "lists:read"], "requests_per_s": 50});
    let (status, created) = admin.post("/clients", &body).await;
    assert_eq!(status, StatusCode::CREATED, "{created}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&created["client"]["id"]), text(&created["client_secret"]))
}

#[tokio::test]
async fn a_new_secret_with_an_overlap_leaves_the_old_one_valid_and_without_ends_it_on_all_nodes() {
    let database = TestDatabase::create().await;
    let (one, two) = (Node::start(&database).await, Node::start(&database).await);
    let admin = Caller::of_new_tenant(&one, "acme").await;
    let (id, first) = created(&admin, "shop").await;
    let shop = Caller::sign_in(&two.url, &id, &first).await;
    let path = format!("/clients/{id}/secret");
    let (status, overlapping) = admin.post(&path, &json!({"overlap_s": 3_600})).await;
    assert_eq!(status, StatusCode::OK);
    assert!(overlapping["client"]["previous_secret_until_ms"].is_u64());
    let second = overlapping["client_secret"].as_str().unwrap();
    for secret in [first.as_str(), second] {
        assert_eq!(token_status(&two.url, &id, secret).await, StatusCode::OK);
    }
    assert_eq!(shop.get("/lists").await.0, StatusCode::OK);

    let (_, alone) = admin.post(&path, &json!({"overlap_s": 0})).await;
    let third = alone["client_secret"].as_str().unwrap();
    for secret in [first.as_str(), second] {
        assert_eq!(token_status(&one.url, &id, secret).await, StatusCode::UNAUTHORIZED);
    }
    timeout(TEST_TIMEOUT, until_refused(&shop)).await.expect("tokens of before end on the other node");
    let shop = Caller::sign_in(&two.url, &id, third).await;
    assert_eq!(shop.get("/lists").await.0, StatusCode::OK);
    two.stop().await;
    one.stop().await;
}

#[tokio::test]
async fn a_disabled_client_and_one_with_other_scopes_lose_their_tokens() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let admin = Caller::of_new_tenant(&node, "acme").await;
    let (id, secret) = created(&admin, "shop").await;
    let change = |body: Value| admin.request(Method::PATCH, &format!("/clients/{id}")).json(&body).send();
    let shop = Caller::sign_in(&node.url, &id, &secret).await;
    assert_eq!(change(json!({"name": "store", "requests_per_s": 0})).await.unwrap().status(), StatusCode::OK);
    assert_eq!(shop.get("/lists").await.0, StatusCode::OK, "another name ends nothing");
    assert_eq!(change(json!({"scopes": ["payments:write"]})).await.unwrap().status(), StatusCode::OK);
    assert_eq!(shop.get("/lists").await.0, StatusCode::UNAUTHORIZED);
    let shop = Caller::sign_in(&node.url, &id, &secret).await;
    assert_eq!(shop.get("/lists").await.0, StatusCode::FORBIDDEN);
    let disabled: Value = change(json!({"disabled": true})).await.unwrap().json().await.unwrap();
    assert_eq!(disabled["state"], "disabled");
    assert_eq!(shop.get("/lists").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(token_status(&node.url, &id, &secret).await, StatusCode::UNAUTHORIZED);
    assert_eq!(change(json!({"disabled": false})).await.unwrap().status(), StatusCode::OK);
    assert_eq!(shop.get("/lists").await.0, StatusCode::UNAUTHORIZED, "old tokens stay refused");
    Caller::sign_in(&node.url, &id, &secret).await;
    let (_, clients) = admin.get("/clients").await;
    let listed = clients["items"].as_array().unwrap();
    assert_eq!(listed.len(), 2);
    assert!(!clients.to_string().contains("secret_hash") && !clients.to_string().contains("argon2"));
    node.stop().await;
}

#[tokio::test]
async fn a_clients_rate_goes_back_to_the_servers_with_null_and_stays_if_it_is_absent() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let admin = Caller::of_new_tenant(&node, "acme").await;
    let (id, _) = created(&admin, "shop").await;
    for (change, expected) in [
        (json!({"name": "store"}), json!(50)),
        (json!({"requests_per_s": 0}), json!(0)),
        (json!({"requests_per_s": null}), Value::Null),
        (json!({"name": "shop"}), Value::Null),
        (json!({"requests_per_s": 7}), json!(7)),
    ] {
        let request = admin.request(Method::PATCH, &format!("/clients/{id}")).json(&change);
        let client: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(client["requests_per_s"], expected, "{change}");
        assert_eq!(
            client.get("requests_per_s").is_none(),
            expected.is_null(),
            "absent if it is the server's"
        );
    }
    node.stop().await;
}
