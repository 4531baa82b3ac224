//! Reviews: the queue, and what people do with it.

mod ends;
mod events;

use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tollgate::auth::scope::ScopeSet;
use tollgate::domain::tenant::Scope;

use crate::support::database::TestDatabase;
use crate::support::people::{SignedIn, create_user, sign_in};
use crate::support::service::{Caller, Node, payment, payment_with};

/// A node with a tenant that has no rules, so that every payment waits for a person, and two
/// reviewers.
struct Scene {
    database: TestDatabase,
    node: Node,
    admin: Caller,
    rita: SignedIn,
    rob: SignedIn,
}

impl Scene {
    async fn new() -> Self {
        let database = TestDatabase::create().await;
        let node = Node::start(&database).await;
        let admin = Caller::of_new_tenant(&node, "acme").await;
        let [rita, rob] = [reviewer(&node, &admin, "rita").await, reviewer(&node, &admin, "rob").await];
        Self { database, node, admin, rita, rob }
    }

    /// Submits a payment that waits for a person, and returns the id of its review.
    async fn review(&self, key: &str) -> String {
        let (status, paid) = self.admin.pay(key, &payment_with(&json!({"reference": key}))).await;
        assert_eq!((status, &paid["outcome"]), (StatusCode::CREATED, &json!("review")), "{paid}");
        paid["id"].as_str().unwrap().to_owned()
    }

    async fn set(&self, settings: Value) {
        let request = self.admin.request(Method::PUT, "/settings/reviews").json(&settings);
        assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
    }

    async fn execute(&self, statement: &'static str) {
        sqlx::raw_sql(statement).execute(&mut self.database.superuser().await).await.unwrap();
    }
}

async fn reviewer(node: &Node, admin: &Caller, name: &str) -> SignedIn {
    let email = format!("{name}@example.com");
    create_user(admin, &email, &["reviewer"]).await;
    sign_in(node, "acme", &email).await
}

async fn act(by: &SignedIn, id: &str, act: &str) -> (StatusCode, Value) {
    by.send(Method::POST, &format!("/reviews/{id}/{act}"), &json!({})).await
}

async fn decide(by: &SignedIn, id: &str, outcome: &str, note: &str) -> (StatusCode, Value) {
    let body = json!({"outcome": outcome, "note": note});
    by.send(Method::POST, &format!("/reviews/{id}/decision"), &body).await
}

fn references(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().filter_map(|item| item["reference"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_for_review_waits_in_the_queue_until_a_person_decides() {
    let scene = Scene::new().await;
    let id = scene.review("first").await;
    scene.review("second").await;
    let (_, page) = scene.rita.get("/reviews?state=open&limit=1").await;
    assert_eq!(references(&page), ["first"]);
    let item = &page["items"][0];
    assert_eq!(
        (&item["id"], &item["payment_id"], &item["cause"], &item["amount_minor"], &item["currency"]),
        (&json!(id), &json!(id), &json!("decision"), &json!(2_500), &json!("EUR"))
    );
    assert_eq!(item["reasons"][0]["code"], "no-active-ruleset");
    let next = format!("/reviews?state=open&limit=1&cursor={}", page["next_cursor"].as_str().unwrap());
    assert_eq!(references(&scene.rita.get(&next).await.1), ["second"]);

    let (status, claimed) = act(&scene.rita, &id, "claim").await;
    assert_eq!((status, &claimed["state"]), (StatusCode::OK, &json!("claimed")), "{claimed}");
    let (status, problem) = act(&scene.rob, &id, "claim").await;
    assert_eq!(status, StatusCode::CONFLICT);
    let detail = problem["detail"].as_str().unwrap();
    let until = claimed["claimed_until"].as_str().unwrap();
    assert!(detail.contains("Ann Miller") && detail.contains(until), "{detail}");
    for (path, expected) in [
        ("/reviews?state=open", vec!["second"]),
        ("/reviews?state=open,claimed", vec!["first", "second"]),
        ("/reviews?mine=true", vec!["first"]),
        ("/reviews?currency=USD", vec![]),
        ("/reviews?currency=EUR&amount_at_least=2500&amount_below=2501", vec!["first", "second"]),
        ("/reviews?cause=event", vec![]),
        ("/reviews?to_ms=1", vec![]),
    ] {
        assert_eq!(references(&scene.rita.get(path).await.1), expected, "{path}");
    }
    let (_, summary) = scene.rita.get("/reviews/summary").await;
    assert_eq!((&summary["open"], &summary["claimed"]), (&json!(1), &json!(1)), "{summary}");

    let (status, decided) = decide(&scene.rita, &id, "approve", "I called her.").await;
    assert_eq!((status, &decided["state"]), (StatusCode::OK, &json!("decided")), "{decided}");
    let again = decide(&scene.rita, &id, "approve", "I called her.").await;
    assert_eq!(again, (StatusCode::OK, decided.clone()), "a repetition");
    for (by, outcome, note) in [
        (&scene.rita, "reject", "I called her."),
        (&scene.rita, "approve", "Another note."),
        (&scene.rob, "approve", "I called her."),
    ] {
        let (status, problem) = decide(by, &id, outcome, note).await;
        assert_eq!(status, StatusCode::CONFLICT, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("with the outcome approve"), "{problem}");
    }
    for path in [format!("/payments/{id}"), format!("/decisions/{id}")] {
        let (_, shown) = scene.admin.get(&path).await;
        assert_eq!((&shown["outcome"], &shown["review"]["outcome"]), (&json!("review"), &json!("approve")));
        assert_eq!(shown["review"]["decided_by"], decided["decided_by"]);
    }
    let (_, one) = scene.rob.get(&format!("/reviews/{id}")).await;
    assert_eq!((&one["note"], &one["decided_by_name"]), (&json!("I called her."), &json!("Ann Miller")));
    let (_, acts) = scene.admin.get("/audit?action=review.decided").await;
    assert_eq!(acts["items"].as_array().unwrap().len(), 1, "{acts}");
    assert_eq!(acts["items"][0]["after"], json!({"payment": id, "outcome": "approve"}));
    let (_, summary) = scene.rita.get("/reviews/summary").await;
    assert_eq!(summary["decided_today"], 1, "{summary}");
    scene.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_handed_back_or_ends_and_is_then_free_for_others() {
    let scene = Scene::new().await;
    let id = scene.review("k").await;
    assert_eq!(act(&scene.rita, &id, "claim").await.0, StatusCode::OK);
    for refused in [act(&scene.rob, &id, "hand-back").await, decide(&scene.rob, &id, "reject", "n").await] {
        assert_eq!(refused.0, StatusCode::CONFLICT, "{refused:?}");
    }
    let (status, open) = act(&scene.rita, &id, "hand-back").await;
    assert_eq!((status, &open["state"]), (StatusCode::OK, &json!("open")), "{open}");
    assert_eq!(act(&scene.rob, &id, "claim").await.0, StatusCode::OK);
    // The lease ends.
    scene.execute("update reviews set claimed_until_ms = 1").await;
    let (_, one) = scene.rita.get(&format!("/reviews/{id}")).await;
    assert_eq!((&one["state"], one.get("claimed_by")), (&json!("open"), None), "{one}");
    assert_eq!(act(&scene.rita, &id, "claim").await.0, StatusCode::OK);
    assert_eq!(act(&scene.rob, &id, "claim").await.0, StatusCode::CONFLICT);
    assert_eq!(decide(&scene.rita, &id, "reject", "A stolen account.").await.0, StatusCode::OK);
    assert_eq!(act(&scene.rita, &id, "claim").await.0, StatusCode::CONFLICT);
    scene.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_decisions_at_once_exactly_one_wins() {
    let scene = Scene::new().await;
    let second = Node::start(&scene.database).await;
    let id = scene.review("k").await;
    let people = [scene.rita.clone(), scene.rob.clone(), scene.rita.at(&second), scene.rob.at(&second)];
    let deciding =
        (0..50).map(|place| {
            let (person, id) = (people[place % 4].clone(), id.clone());
            async move {
                decide(&person, &id, ["approve", "reject"][place / 4 % 2], &format!("note {place}")).await
            }
        });
    let answers = join_all(deciding).await;
    let won: Vec<&Value> =
        answers.iter().filter(|(status, _)| *status == StatusCode::OK).map(|(_, body)| body).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    assert!(answers.iter().all(|(status, _)| matches!(status.as_u16(), 200 | 409)), "{answers:?}");
    let (_, one) = scene.rita.get(&format!("/reviews/{id}")).await;
    assert_eq!((&one["note"], &one["outcome"]), (&won[0]["note"], &won[0]["outcome"]));
    let (_, acts) = scene.admin.get("/audit?action=review.decided").await;
    assert_eq!(acts["items"].as_array().unwrap().len(), 1);
    second.stop().await;
    scene.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_people_with_the_scope_decide_and_no_other_tenant_sees_a_review() {
    let scene = Scene::new().await;
    let id = scene.review("k").await;
    let decision = json!({"outcome": "approve", "note": "n"});
    for path in ["claim", "hand-back", "decision"] {
        let (status, problem) = scene.admin.post(&format!("/reviews/{id}/{path}"), &decision).await;
        assert_eq!((status, &problem["type"]), (StatusCode::FORBIDDEN, &json!("/problems/person-required")));
    }
    create_user(&scene.admin, "ada@example.com", &["auditor"]).await;
    let auditor = sign_in(&scene.node, "acme", "ada@example.com").await;
    assert_eq!(auditor.get(&format!("/reviews/{id}")).await.0, StatusCode::OK);
    let (status, problem) = decide(&auditor, &id, "approve", "n").await;
    assert_eq!((status, &problem["type"]), (StatusCode::FORBIDDEN, &json!("/problems/insufficient-scope")));

    let stranger = Caller::of_new_tenant(&scene.node, "other").await;
    create_user(&stranger, "rita@example.com", &["reviewer"]).await;
    let strange = sign_in(&scene.node, "other", "rita@example.com").await;
    assert_eq!(strange.get("/reviews").await.1["items"], json!([]));
    assert_eq!(strange.get(&format!("/reviews/{id}")).await.0, StatusCode::NOT_FOUND);
    assert_eq!(act(&strange, &id, "claim").await.0, StatusCode::NOT_FOUND);
    assert_eq!(decide(&strange, &id, "approve", "n").await.0, StatusCode::NOT_FOUND);
    assert_eq!(strange.get("/reviews/summary").await.1["open"], 0);
    assert!(!Scope::of_clients_by_default().any(|scope| scope == Scope::ReviewsWrite));
    let reads: ScopeSet = [Scope::ReviewsRead].into_iter().collect();
    let machine = Caller::of_tenant(&scene.node, "acme", reads).await;
    assert_eq!(machine.get("/reviews").await.0, StatusCode::OK);
    assert_eq!(machine.get("/reviews?mine=true").await.0, StatusCode::BAD_REQUEST);
    scene.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_is_required_and_bounded() {
    let scene = Scene::new().await;
    let id = scene.review("k").await;
    let body = |note: Value| json!({"outcome": "approve", "note": note});
    let path = format!("/reviews/{id}/decision");
    for (wrong, pointer) in [
        (json!({"outcome": "approve"}), "/note"),
        (body(json!("")), "/note"),
        (body(json!("n".repeat(2_001))), "/note"),
        (json!({"outcome": "review", "note": "n"}), "/outcome"),
    ] {
        let (status, problem) = scene.rita.send(Method::POST, &path, &wrong).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    let longest = body(json!("n".repeat(2_000)));
    assert_eq!(scene.rita.send(Method::POST, &path, &longest).await.0, StatusCode::OK);
    scene.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_that_need_no_person_and_retries_open_no_review() {
    let scene = Scene::new().await;
    scene.review("waits").await;
    assert_eq!(
        scene.admin.pay("waits", &payment_with(&json!({"reference": "waits"}))).await.0,
        StatusCode::OK
    );
    scene.admin.activate(&[("account-check", json!({}))]).await;
    let (_, paid) = scene.admin.pay("approved", &payment()).await;
    assert_eq!(paid["outcome"], "approve", "{paid}");
    assert!(
        scene
            .admin
            .get(&format!("/payments/{}", paid["id"].as_str().unwrap()))
            .await
            .1
            .get("review")
            .is_none()
    );
    assert_eq!(references(&scene.rita.get("/reviews").await.1), ["waits"]);
    scene.node.stop().await;
}
