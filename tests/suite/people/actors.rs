//! The names of those who did something.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tollgate::domain::tenant::Scope;
use uuid::Uuid;

use crate::support::database::TestDatabase;
use crate::support::people::{create_user, operator, sign_in};
use crate::support::service::{Caller, Node};

#[tokio::test]
async fn actors_have_their_present_names_and_those_of_other_tenants_are_unknown() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let admin = Caller::of_new_tenant(&node, "acme").await;
    let other = Caller::of_new_tenant(&node, "globex").await;
    let user = create_user(&admin, "ann@example.com", &["admin"]).await;
    let ann = sign_in(&node, "acme", "ann@example.com").await;
    let list = json!({"name": "friends", "kind": "text"});
    assert_eq!(ann.send(Method::POST, "/lists", &list).await.0, StatusCode::CREATED);
    let (_, lists) = admin.get("/lists").await;
    let creator = lists["items"][0]["created_by"].as_str().unwrap();
    assert_eq!(creator, format!("user:{user}"));

    let client = format!("client:{}", admin.client_id);
    let ids = [creator, &client, "command line", "user:nobody", &format!("user:{}", Uuid::now_v7())];
    let query: Vec<String> = ids.iter().map(|id| format!("id={}", id.replace(' ', "%20"))).collect();
    let path = format!("/actors?{}", query.join("&"));
    let (status, found) = admin.get(&path).await;
    assert_eq!(status, StatusCode::OK, "{found}");
    let find = |found: &Value, id: &str| {
        let items = found["items"].as_array().unwrap();
        items.iter().find(|item| item["id"] == id).cloned().unwrap_or_default()
    };
    let named =
        |kind, name, disabled, id: &str| json!({"id": id, "kind": kind, "name": name, "disabled": disabled});
    assert_eq!(found["items"].as_array().unwrap().len(), 3, "{found}");
    assert_eq!(find(&found, creator), named("user", "Ann Miller", false, creator));
    assert_eq!(find(&found, &client), named("client", "test", false, &client));
    assert_eq!(find(&found, "command line"), named("system", "command line", false, "command line"));
    let (_, of_other) = other.get(&path).await;
    assert_eq!(of_other["items"].as_array().unwrap().len(), 1, "{of_other}");

    create_user(&admin, "bob@example.com", &["admin"]).await;
    let change = json!({"display_name": "Ann Smith", "disabled": true});
    let changed = admin.request(Method::PATCH, &format!("/users/{user}")).json(&change).send().await.unwrap();
    assert_eq!(changed.status(), StatusCode::OK);
    let (_, found) = admin.get(&path).await;
    assert_eq!(find(&found, creator), named("user", "Ann Smith", true, creator));
    node.stop().await;
}

#[tokio::test]
async fn any_scope_that_shows_an_actor_is_enough_and_others_are_not() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    Caller::of_new_tenant(&node, "acme").await;
    for (scope, expected) in [
        (Scope::ListsRead, StatusCode::OK),
        (Scope::DecisionsRead, StatusCode::OK),
        (Scope::PaymentsWrite, StatusCode::FORBIDDEN),
    ] {
        let caller = Caller::of_tenant(&node, "acme", [scope].into_iter().collect()).await;
        assert_eq!(caller.get("/actors?id=import").await.0, expected, "{scope:?}");
    }
    let olga = operator(&node).await;
    let user = olga.session["user"]["id"].as_str().unwrap();
    let (status, found) = olga.get(&format!("/actors?id=user:{user}")).await;
    assert_eq!((status, &found["items"][0]["name"]), (StatusCode::OK, &json!("Olga")));
    node.stop().await;
}

#[tokio::test]
async fn up_to_a_hundred_actors_are_named_at_once() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let ids = |count: usize| vec![format!("id=client:{}", caller.client_id); count].join("&");
    for (query, expected) in [
        (ids(100), StatusCode::OK),
        (ids(101), StatusCode::BAD_REQUEST),
        (String::new(), StatusCode::BAD_REQUEST),
        (format!("id={}", "a".repeat(201)), StatusCode::BAD_REQUEST),
        (format!("{}&name=x", ids(1)), StatusCode::BAD_REQUEST),
    ] {
        let (status, answer) = caller.get(&format!("/actors?{query}")).await;
        assert_eq!(status, expected, "{answer}");
    }
    let (_, twice) = caller.get(&format!("/actors?{}", ids(2))).await;
    assert_eq!(twice["items"].as_array().unwrap().len(), 1);
    let (status, problem) = caller.get("/audit?actor=a&actor=b").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(problem["errors"][0]["detail"], "appears more than once");
    node.stop().await;
}
