//! The second factor.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::kind;
use crate::support::database::TestDatabase;
use crate::support::people::{PASSWORD, SignedIn, code_of, create_user, sign_in, try_to_sign_in};
use crate::support::service::{Caller, Node};

fn credentials(code: Option<&str>) -> Value {
    json!({"tenant": "acme", "email": "ann@example.com", "password": PASSWORD, "code": code})
}

async fn with_second_factor(node: &Node) -> (Caller, String, SignedIn, String, Vec<String>) {
    let admin = Caller::of_new_tenant(node, "acme").await;
    let user = create_user(&admin, "ann@example.com", &["auditor"]).await;
    let ann = sign_in(node, "acme", "ann@example.com").await;
    let (status, new) = ann.send(Method::POST, "/me/second-factor", &json!({})).await;
    assert_eq!(status, StatusCode::OK);
    let secret = new["secret"].as_str().unwrap().to_owned();
    assert!(new["otpauth_uri"].as_str().unwrap().contains(&secret));
    let wrong = json!({"code": "000000"});
    let (status, _) = ann.send(Method::POST, "/me/second-factor/confirm", &wrong).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    sign_in(node, "acme", "ann@example.com").await;
    let right = json!({"code": code_of(&secret, 0)});
    let (status, codes) = ann.send(Method::POST, "/me/second-factor/confirm", &right).await;
    assert_eq!(status, StatusCode::OK, "{codes}");
    let codes: Vec<String> = serde_json::from_value(codes["recovery_codes"].clone()).unwrap();
    assert_eq!(codes.len(), 10);
    (admin, user, ann, secret, codes)
}

#[tokio::test]
async fn signing_in_needs_a_code_that_works_once() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let (_, _, ann, secret, recovery) = with_second_factor(&node).await;
    let response = try_to_sign_in(&node.url, &credentials(None)).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(kind(&response.json::<Value>().await.unwrap()), "second-factor-required");
    let mut wrong_password = credentials(None);
    wrong_password["password"] = "wrong".into();
    let response = try_to_sign_in(&node.url, &wrong_password).await;
    assert_eq!(kind(&response.json::<Value>().await.unwrap()), "sign-in-failed", "the code is not revealed");

    // The code of the present step was spent when it was confirmed.
    let next = code_of(&secret, 1);
    assert_eq!(try_to_sign_in(&node.url, &credentials(Some(&next))).await.status(), StatusCode::OK);
    assert_eq!(try_to_sign_in(&node.url, &credentials(Some(&next))).await.status(), StatusCode::UNAUTHORIZED);
    let typed = recovery[3].to_uppercase().replace('-', " ");
    assert_eq!(try_to_sign_in(&node.url, &credentials(Some(&typed))).await.status(), StatusCode::OK);
    assert_eq!(
        try_to_sign_in(&node.url, &credentials(Some(&typed))).await.status(),
        StatusCode::UNAUTHORIZED
    );

    let (status, _) = ann.send(Method::POST, "/me/second-factor", &json!({})).await;
    assert_eq!(status, StatusCode::CONFLICT, "it is set up already");
    let (status, _) = ann.send(Method::DELETE, "/me/second-factor", &json!({"code": "000000"})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let (status, _) = ann.send(Method::DELETE, "/me/second-factor", &json!({"code": recovery[0]})).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    sign_in(&node, "acme", "ann@example.com").await;
    node.stop().await;
}

#[tokio::test]
async fn an_administrator_removes_the_second_factor_of_a_person_who_has_lost_it() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let (admin, user, ann, _, _) = with_second_factor(&node).await;
    let removed =
        admin.request(Method::DELETE, &format!("/users/{user}/second-factor")).send().await.unwrap();
    assert_eq!(removed.status(), StatusCode::NO_CONTENT);
    assert_eq!(ann.get("/me").await.0, StatusCode::UNAUTHORIZED);
    sign_in(&node, "acme", "ann@example.com").await;
    node.stop().await;
}
