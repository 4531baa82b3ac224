//! Sessions: their refresh tokens, and how they end.

use std::time::Duration;

use futures::future::join_all;
use reqwest::header::SET_COOKIE;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::kind;
use crate::support::database::TestDatabase;
use crate::support::people::{PASSWORD, SignedIn, create_user, sign_in};
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::{Caller, Node};

/// A spent refresh token gets its successor for this long.
const GRACE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn fifty_refreshes_at_once_leave_one_live_branch_and_a_stolen_token_ends_it() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let admin = Caller::of_new_tenant(&node, "acme").await;
    create_user(&admin, "ann@example.com", &["admin"]).await;
    let ann = sign_in(&node, "acme", "ann@example.com").await;
    let responses = join_all((0..50).map(|_| ann.refresh())).await;
    let mut cookies: Vec<String> = responses
        .iter()
        .map(|response| {
            assert_eq!(response.status(), StatusCode::OK);
            response.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned()
        })
        .collect();
    cookies.dedup();
    assert_eq!(cookies.len(), 1, "all get the same successor");
    let mut renewed = ann.clone();
    renewed.cookie = cookies.remove(0);
    let renewed = SignedIn::of(&node.url, renewed.refresh().await).await;
    assert_eq!(renewed.get("/me").await.0, StatusCode::OK);

    sleep(GRACE).await;
    let stolen = ann.refresh().await;
    assert_eq!(stolen.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(kind(&stolen.json::<Value>().await.unwrap()), "session-ended");
    assert_eq!(renewed.refresh().await.status(), StatusCode::UNAUTHORIZED, "the whole family ends");
    assert_eq!(renewed.get("/me").await.0, StatusCode::UNAUTHORIZED, "and its access tokens");
    let (_, acts) = admin.get("/audit?action=refresh_token.reused").await;
    assert_eq!(acts["items"].as_array().unwrap().len(), 1);
    node.stop().await;
}

#[tokio::test]
async fn signing_out_ends_the_tokens_of_one_session_or_of_all() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let admin = Caller::of_new_tenant(&node, "acme").await;
    create_user(&admin, "ann@example.com", &["auditor"]).await;
    let [one, two, three, four] = [(); 4].map(|()| sign_in(&node, "acme", "ann@example.com")).map(Box::pin);
    let (one, two, three, four) = (one.await, two.await, three.await, four.await);
    let (_, sessions) = four.get("/me/sessions").await;
    assert_eq!(sessions["items"].as_array().unwrap().len(), 4);
    assert_eq!(sessions["items"][0]["is_current"], true, "the newest first");
    assert_eq!(one.sign_out().await, StatusCode::NO_CONTENT);
    assert_eq!(one.get("/me").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(one.refresh().await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(one.sign_out().await, StatusCode::NO_CONTENT, "again");

    let (_, own) = two.get("/me").await;
    let path = format!("/me/sessions/{}", own["session"].as_str().unwrap());
    assert_eq!(three.send(Method::DELETE, &path, &json!({})).await.0, StatusCode::NO_CONTENT);
    assert_eq!(three.send(Method::DELETE, &path, &json!({})).await.0, StatusCode::NOT_FOUND);
    assert_eq!(two.get("/me").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(three.send(Method::DELETE, "/me/sessions", &json!({})).await.0, StatusCode::NO_CONTENT);
    for session in [&three, &four] {
        assert_eq!(session.get("/me").await.0, StatusCode::UNAUTHORIZED);
        assert_eq!(session.refresh().await.status(), StatusCode::UNAUTHORIZED);
    }
    node.stop().await;
}

#[tokio::test]
async fn a_disabled_user_is_refused_on_every_node_and_streams_end() {
    let database = TestDatabase::create().await;
    let (one, two) = (Node::start(&database).await, Node::start(&database).await);
    let admin = Caller::of_new_tenant(&one, "acme").await;
    let user = create_user(&admin, "ann@example.com", &["auditor"]).await;
    let ann = sign_in(&one, "acme", "ann@example.com").await;
    let elsewhere = ann.at(&two);
    assert_eq!(elsewhere.get("/me").await.0, StatusCode::OK);
    let mut stream = elsewhere.request(Method::GET, "/events").send().await.unwrap();
    assert_eq!(stream.status(), StatusCode::OK);
    let change = admin.request(Method::PATCH, &format!("/users/{user}")).json(&json!({"disabled": true}));
    assert_eq!(change.send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(ann.get("/me").await.0, StatusCode::UNAUTHORIZED, "at once where it was done");
    timeout(TEST_TIMEOUT, elsewhere.until_refused()).await.expect("refused on the other node");
    let end = async { while stream.chunk().await.unwrap().is_some() {} };
    timeout(TEST_TIMEOUT, end).await.expect("the stream ends");
    assert_eq!(ann.refresh().await.status(), StatusCode::UNAUTHORIZED);
    let credentials = json!({"tenant": "acme", "email": "ann@example.com", "password": PASSWORD});
    let refused = crate::support::people::try_to_sign_in(&one.url, &credentials).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    let change = admin.request(Method::PATCH, &format!("/users/{user}")).json(&json!({"disabled": false}));
    assert_eq!(change.send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(elsewhere.get("/me").await.0, StatusCode::UNAUTHORIZED, "old tokens stay refused");
    sign_in(&two, "acme", "ann@example.com").await;
    two.stop().await;
    one.stop().await;
}

#[tokio::test]
async fn a_session_that_nobody_uses_or_that_is_too_old_has_ended() {
    let database = TestDatabase::create().await;
    for (setting, refreshes) in [("session_idle_max_s", false), ("session_max_s", true)] {
        let node = Node::start_with(&database, &[(setting, 2_u64.into())]).await;
        let admin = Caller::of_new_tenant(&node, &setting.replace('_', "-")).await;
        create_user(&admin, "ann@example.com", &["auditor"]).await;
        let mut ann = sign_in(&node, &setting.replace('_', "-"), "ann@example.com").await;
        if refreshes {
            sleep(Duration::from_millis(1_200)).await;
            ann = SignedIn::of(&node.url, ann.refresh().await).await;
        }
        sleep(Duration::from_secs(2)).await;
        assert_eq!(ann.refresh().await.status(), StatusCode::UNAUTHORIZED, "{setting}");
        node.stop().await;
    }
}

#[tokio::test]
async fn a_page_of_another_site_cannot_use_a_session() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let admin = Caller::of_new_tenant(&node, "acme").await;
    create_user(&admin, "ann@example.com", &["auditor"]).await;
    let ann = sign_in(&node, "acme", "ann@example.com").await;
    for (site, expected) in [("cross-site", StatusCode::BAD_REQUEST), ("same-origin", StatusCode::OK)] {
        let request = reqwest::Client::new().post(format!("{}/session/refresh", node.url));
        let request = request.header("Cookie", &ann.cookie).header("Sec-Fetch-Site", site);
        assert_eq!(request.send().await.unwrap().status(), expected, "{site}");
    }
    node.stop().await;
}

#[tokio::test]
async fn changing_the_own_password_needs_the_present_one_and_ends_all_sessions() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let admin = Caller::of_new_tenant(&node, "acme").await;
    create_user(&admin, "ann@example.com", &["auditor"]).await;
    let ann = sign_in(&node, "acme", "ann@example.com").await;
    let body = |current: &str, new: &str| json!({"current_password": current, "new_password": new});
    let new = "nine loud magpies at noon";
    let (status, problem) = ann.send(Method::POST, "/me/password", &body("wrong", new)).await;
    assert_eq!((status, kind(&problem)), (StatusCode::UNAUTHORIZED, "sign-in-failed"));
    let (status, problem) = ann.send(Method::POST, "/me/password", &body(PASSWORD, "too-short")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problem["errors"][0]["pointer"], "/new_password");
    let (status, _) = ann.send(Method::POST, "/me/password", &body(PASSWORD, new)).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(ann.get("/me").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(admin.get("/me").await.0, StatusCode::FORBIDDEN, "a client has no password");
    node.stop().await;
}
