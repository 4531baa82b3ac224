//! Roles: who may give them, and what becomes of sessions when they change.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tollgate::auth::scope::ScopeSet;
use tollgate::domain::tenant::Scope;

use super::kind;
use crate::support::database::TestDatabase;
use crate::support::people::{create_user, operator, sign_in};
use crate::support::service::{Caller, Node};

#[tokio::test]
async fn other_roles_end_the_sessions_of_a_user_and_another_name_does_not() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let admin = Caller::of_new_tenant(&node, "acme").await;
    let user = create_user(&admin, "ann@example.com", &["auditor"]).await;
    let ann = sign_in(&node, "acme", "ann@example.com").await;
    let change = |body: Value| admin.request(Method::PATCH, &format!("/users/{user}")).json(&body).send();
    assert_eq!(change(json!({"display_name": "Ann Smith"})).await.unwrap().status(), StatusCode::OK);
    assert_eq!(ann.get("/me").await.1["user"]["display_name"], "Ann Smith");
    assert_eq!(change(json!({"roles": ["reviewer"]})).await.unwrap().status(), StatusCode::OK);
    assert_eq!(ann.get("/me").await.0, StatusCode::UNAUTHORIZED);
    let (_, acts) = admin.get("/audit?action=user.changed").await;
    assert_eq!(acts["items"][0]["before"]["roles"], json!(["auditor"]));
    assert_eq!(acts["items"][0]["after"]["roles"], json!(["reviewer"]));
    node.stop().await;
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let client = Caller::of_new_tenant(&node, "acme").await;
    let first = create_user(&client, "ann@example.com", &["admin"]).await;
    let ann = sign_in(&node, "acme", "ann@example.com").await;
    for body in [json!({"disabled": true}), json!({"roles": ["auditor"]})] {
        let (status, problem) = ann.send(Method::PATCH, &format!("/users/{first}"), &body).await;
        assert_eq!((status, kind(&problem)), (StatusCode::CONFLICT, "conflict"), "{body}");
    }
    create_user(&client, "bob@example.com", &["admin"]).await;
    let body = json!({"roles": ["auditor"]});
    assert_eq!(ann.send(Method::PATCH, &format!("/users/{first}"), &body).await.0, StatusCode::OK);
    node.stop().await;
}

#[tokio::test]
async fn nobody_gives_or_takes_over_more_than_they_have() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let all = Caller::of_new_tenant(&node, "acme").await;
    let admin = create_user(&all, "ann@example.com", &["admin"]).await;
    let few: ScopeSet = [Scope::UsersWrite, Scope::ClientsWrite, Scope::ListsRead].into_iter().collect();
    let few = Caller::of_tenant(&node, "acme", few).await;
    let user = json!({"email": "bob@example.com", "display_name": "Bob", "roles": ["admin"]});
    let client = |scope: &str| json!({"name": "robot", "scopes": [scope]});
    let own_client = format!("/clients/{}/secret", all.client_id);
    for (method, path, body, expected) in [
        (Method::POST, "/users".to_owned(), user, 403),
        (Method::POST, format!("/users/{admin}/password-link"), json!({}), 403),
        (Method::PATCH, format!("/users/{admin}"), json!({"disabled": true}), 403),
        (Method::DELETE, format!("/users/{admin}/second-factor"), json!({}), 403),
        (Method::POST, own_client, json!({"overlap_s": 0}), 403),
        (Method::POST, "/clients".to_owned(), client("rulesets:write"), 403),
        (Method::POST, "/clients".to_owned(), client("tenants:write"), 403),
        (Method::POST, "/clients".to_owned(), client("lists:read"), 201),
        (Method::POST, "/clients".to_owned(), client("payments:write"), 201),
    ] {
        let response = few.request(method.clone(), &path).json(&body).send().await.unwrap();
        assert_eq!(response.status().as_u16(), expected, "{method} {path} {body}");
    }
    let operator = json!({"email": "bob@example.com", "display_name": "Bob", "roles": ["operator"]});
    let (status, problem) = all.post("/users", &operator).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problem["errors"][0]["pointer"], "/roles");
    node.stop().await;
}

#[tokio::test]
async fn an_operator_creates_tenants_and_sees_nothing_of_them() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let acme = Caller::of_new_tenant(&node, "acme").await;
    assert_eq!(acme.get("/tenants").await.0, StatusCode::FORBIDDEN, "the scopes alone do not suffice");
    let olga = operator(&node).await;
    let (status, created) = olga.send(Method::POST, "/tenants", &json!({"name": "new-bank"})).await;
    assert_eq!(status, StatusCode::CREATED, "{created}");
    for name in ["new-bank", "operators"] {
        let (status, _) = olga.send(Method::POST, "/tenants", &json!({"name": name})).await;
        assert_eq!(status, StatusCode::CONFLICT, "{name}");
    }
    let (_, tenants) = olga.get("/tenants").await;
    let names: Vec<&str> =
        tenants["items"].as_array().unwrap().iter().filter_map(|tenant| tenant["name"].as_str()).collect();
    assert_eq!(names, ["acme", "new-bank", "operators"]);
    for path in ["/payments", "/lists", "/plugins", "/rulesets/payment/revisions", "/tables", "/events"] {
        assert_eq!(olga.get(path).await.0, StatusCode::FORBIDDEN, "{path}");
    }
    node.stop().await;
}
