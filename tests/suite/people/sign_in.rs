//! Signing in with a password.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{RETRY_AFTER, SET_COOKIE};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::kind;
use crate::support::database::TestDatabase;
use crate::support::people::{PASSWORD, create_user, set_password, sign_in, try_to_sign_in};
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::{Caller, Node};

#[tokio::test]
async fn an_invited_person_sets_a_password_and_signs_in() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let admin = Caller::of_new_tenant(&node, "acme").await;
    create_user(&admin, "Ann@Example.com", &["author", "reviewer"]).await;
    let credentials = json!({"tenant": "acme", "email": "ann@EXAMPLE.com", "password": PASSWORD});
    let response = try_to_sign_in(&node.url, &credentials).await;
    assert_eq!(response.status(), StatusCode::OK);
    let cookie = response.headers()[SET_COOKIE].to_str().unwrap().to_owned();
    for part in ["tollgate-session=tgr_", "HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie} has no {part}");
    }
    assert!(!cookie.contains("Secure"), "a server without TLS cannot set such a cookie");
    let session: Value = response.json().await.unwrap();
    assert_eq!(session["user"]["email"], "Ann@Example.com");
    assert_eq!(session["tenant"]["name"], "acme");

    let ann = sign_in(&node, "acme", "ann@example.com").await;
    let (status, me) = ann.get("/me").await;
    assert_eq!(status, StatusCode::OK);
    let scopes: Vec<&str> = me["scopes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(scopes.contains(&"rulesets:write") && scopes.contains(&"reviews:write"), "{scopes:?}");
    assert!(!scopes.contains(&"payments:write") && !scopes.contains(&"users:read"), "{scopes:?}");
    assert_eq!(ann.get("/payments").await.0, StatusCode::OK);
    assert_eq!(ann.get("/users").await.0, StatusCode::FORBIDDEN);
    let payment = json!({"reference": "r"});
    assert_eq!(ann.send(reqwest::Method::POST, "/payments", &payment).await.0, StatusCode::FORBIDDEN);
    let (_, users) = admin.get("/users").await;
    assert_eq!(users["items"][0]["state"], "active");
    assert!(users["items"][0]["last_sign_in_at_ms"].is_u64());
    node.stop().await;
}

#[tokio::test]
async fn whatever_is_wrong_the_response_is_the_same() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let admin = Caller::of_new_tenant(&node, "acme").await;
    create_user(&admin, "ann@example.com", &["admin"]).await;
    let (_, invited) = admin
        .post("/users", &json!({"email": "new@example.com", "display_name": "New", "roles": ["auditor"]}))
        .await;
    assert_eq!(invited["user"]["state"], "invited");
    let mut responses = Vec::new();
    for (tenant, email, password) in [
        ("acme", "ann@example.com", "a wrong password"),
        ("acme", "bob@example.com", PASSWORD),
        ("other", "ann@example.com", PASSWORD),
        ("acme", "new@example.com", PASSWORD),
        ("acme", "not an address", PASSWORD),
    ] {
        let credentials = json!({"tenant": tenant, "email": email, "password": password});
        let response = try_to_sign_in(&node.url, &credentials).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let mut problem: Value = response.json().await.unwrap();
        problem.as_object_mut().unwrap().remove("request_id");
        responses.push(problem);
    }
    assert_eq!(kind(&responses[0]), "sign-in-failed");
    assert!(responses.iter().all(|response| *response == responses[0]), "{responses:#?}");
    node.stop().await;
}

#[tokio::test]
async fn after_several_wrong_passwords_the_next_must_wait_and_the_right_one_ends_that() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let admin = Caller::of_new_tenant(&node, "acme").await;
    create_user(&admin, "ann@example.com", &["admin"]).await;
    create_user(&admin, "bob@example.com", &["admin"]).await;
    let with = |password: &str| json!({"tenant": "acme", "email": "ann@example.com", "password": password});
    let delayed = async {
        loop {
            let response = try_to_sign_in(&node.url, &with("wrong")).await;
            if response.status() == StatusCode::TOO_MANY_REQUESTS {
                return response;
            }
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        }
    };
    let response = timeout(TEST_TIMEOUT, delayed).await.expect("a delay");
    let seconds: u64 = response.headers()[RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds));
    assert_eq!(kind(&response.json::<Value>().await.unwrap()), "too-many-attempts");
    sign_in(&node, "acme", "bob@example.com").await;
    let right = async {
        while try_to_sign_in(&node.url, &with(PASSWORD)).await.status() != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(TEST_TIMEOUT, right).await.expect("a person is not locked out");
    assert_eq!(try_to_sign_in(&node.url, &with("wrong")).await.status(), StatusCode::UNAUTHORIZED);
    node.stop().await;
}

#[tokio::test]
async fn a_link_works_once_and_only_for_a_password_that_is_hard_to_guess() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let admin = Caller::of_new_tenant(&node, "acme").await;
    let user = create_user(&admin, "ann@example.com", &["admin"]).await;
    let ann = sign_in(&node, "acme", "ann@example.com").await;
    let (status, first) = admin.post(&format!("/users/{user}/password-link"), &json!({})).await;
    assert_eq!(status, StatusCode::OK);
    let (_, second) = admin.post(&format!("/users/{user}/password-link"), &json!({})).await;
    let token = |link: &Value| link["url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let new = "nine loud magpies at noon";
    assert_eq!(set_password(&node.url, &token(&first), new).await.status(), StatusCode::UNAUTHORIZED);
    for (password, expected) in [("short", "12 to 128"), ("ann@example.com", "easy to guess")] {
        let refused = set_password(&node.url, &token(&second), password).await;
        assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
        let problem: Value = refused.json().await.unwrap();
        assert_eq!(problem["errors"][0]["pointer"], "/password");
        assert!(problem["errors"][0]["detail"].as_str().unwrap().contains(expected), "{problem}");
    }
    assert_eq!(set_password(&node.url, &token(&second), new).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(set_password(&node.url, &token(&second), new).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(ann.get("/me").await.0, StatusCode::UNAUTHORIZED, "a new password ends all sessions");
    let with = |password| json!({"tenant": "acme", "email": "ann@example.com", "password": password});
    assert_eq!(try_to_sign_in(&node.url, &with(PASSWORD)).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(try_to_sign_in(&node.url, &with(new)).await.status(), StatusCode::OK);
    node.stop().await;
}

#[tokio::test]
async fn two_tenants_may_have_a_user_with_the_same_address() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    for tenant in ["acme", "other"] {
        let admin = Caller::of_new_tenant(&node, tenant).await;
        create_user(&admin, "ann@example.com", &["admin"]).await;
        let body = json!({"email": "ANN@example.com", "display_name": "Ann", "roles": ["auditor"]});
        let (status, problem) = admin.post("/users", &body).await;
        assert_eq!((status, kind(&problem)), (StatusCode::CONFLICT, "conflict"));
    }
    for tenant in ["acme", "other"] {
        let ann = sign_in(&node, tenant, "ann@example.com").await;
        assert_eq!(ann.session["tenant"]["name"], tenant);
        let (_, users) = ann.get("/users").await;
        assert_eq!(users["items"].as_array().unwrap().len(), 1);
    }
    node.stop().await;
}
