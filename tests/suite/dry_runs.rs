//! Dry runs: the result of a ruleset for one payment.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::timeout;
use tollgate::domain::tenant::Scope;

use crate::support::database::TestDatabase;
use crate::support::lists::until_valid;
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::{Caller, Node, payment, payment_with};

const DRY_RUNS: &str = "/rulesets/payment/dry-runs";

async fn entry(caller: &Caller, name: &str, plugin: &str, settings: Value) -> Value {
    json!({"name": name, "plugin": caller.plugin(plugin).await, "settings": settings, "overridable": true})
}

async fn velocity(caller: &Caller, window_seconds: u64, max_count: u64) -> Value {
    let limit = json!({"selector": "customer", "window_seconds": window_seconds, "max_count": max_count, "verdict": "reject"});
    entry(caller, "velocity", "velocity", json!({"limits": [limit]})).await
}

async fn dry_run(caller: &Caller, body: Value) -> Value {
    let (status, response) = caller.post(DRY_RUNS, &body).await;
    assert_eq!(status, StatusCode::OK, "{response}");
    response
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_of_unsaved_rules_on_a_new_payment_stores_nothing() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    caller.post("/lists", &json!({"name": "friends", "kind": "customer"})).await;
    let listed = json!({"value": "customer-1", "reason": "r"});
    until_valid(&caller.post("/lists/friends/entries", &listed).await.1).await;
    let limits = json!({"limits": [{"currency": "EUR", "review_above_minor": 100, "maximum_minor": 9_000}]});
    let friends = json!({"lists": [{"list": "friends", "selector": "customer", "verdict": "allow"}]});
    let suspects = json!({"lists": [{"list": "friends", "selector": "customer", "verdict": "reject"}]});
    let mut tried = entry(&caller, "tried", "party-lists", suspects).await;
    tried["mode"] = json!("shadow");
    let rules = json!([
        entry(&caller, "limits", "amount-limits", limits).await,
        entry(&caller, "friends", "party-lists", friends).await,
        tried,
    ]);

    let run = dry_run(&caller, json!({"rules": rules, "payment": payment()})).await;
    assert_eq!((&run["outcome"], run.get("decided")), (&json!("approve"), None), "{run}");
    assert_eq!(
        run["fold"],
        json!([
            {"rule": "limits", "counts_as": "review", "overridable": true, "cancelled_by": ["friends"], "decides": false},
            {"rule": "friends", "counts_as": "approve", "overridable": true, "cancelled_by": [], "decides": false}
        ])
    );
    let friends = &run["rules"][1];
    assert_eq!(friends["facts"][0]["listed"], true, "{run}");
    assert_eq!(friends["facts"][0]["query"]["list"], "friends", "{run}");
    assert_eq!(friends["fact_sources"], json!(["current"]));
    assert!(
        friends["fuel_used"].as_u64() > Some(0)
            && run["rules"][0]["result"]["reasons"][0]["message"].is_string()
    );
    // The shadow rule runs and is shown, but has no effect.
    assert_eq!(run["rules"][2]["result"]["verdict"], "reject", "{run}");

    let stranger = payment_with(&json!({"customer": "somebody"}));
    let run = dry_run(&caller, json!({"rules": rules, "payment": stranger})).await;
    assert_eq!((&run["outcome"], &run["fold"][0]["decides"]), (&json!("review"), &json!(true)), "{run}");
    for place in ["/payments", "/rulesets/payment/revisions"] {
        assert_eq!(caller.get(place).await.1["items"], json!([]), "{place}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_of_a_stored_payment_uses_recorded_facts_and_computes_others_as_of_its_time() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    caller.post("/lists", &json!({"name": "foes", "kind": "customer"})).await;
    caller.activate_entries(&json!([velocity(&caller, 3_600, 10).await])).await;
    for key in ["k1", "k2"] {
        caller.pay(key, &payment()).await;
    }
    let (_, third) = caller.pay("k3", &payment()).await;
    // Later payments have no effect.
    caller.pay("k4", &payment()).await;
    caller.post("/lists/foes/entries", &json!({"value": "customer-1", "reason": "r"})).await;

    let foes = json!({"lists": [{"list": "foes", "selector": "customer", "verdict": "reject"}]});
    let mut other_window = velocity(&caller, 7_200, 1).await;
    other_window["name"] = json!("other-window");
    let rules = json!([
        velocity(&caller, 3_600, 1).await,
        other_window,
        entry(&caller, "foes", "party-lists", foes).await,
    ]);
    let run = dry_run(&caller, json!({"rules": rules, "payment_id": third["id"]})).await;
    assert_eq!((&run["outcome"], &run["decided"]), (&json!("reject"), &json!("approve")), "{run}");
    let reported: Vec<_> = run["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| {
            (&rule["fact_sources"][0], &rule["facts"][0]["velocity"]["count"], &rule["facts"][0]["listed"])
        })
        .collect();
    let (recorded, computed) = (json!("recorded"), json!("computed"));
    let (two, no) = (json!(2), json!(false));
    let nothing = Value::Null;
    assert_eq!(
        reported,
        [(&recorded, &two, &nothing), (&computed, &two, &nothing), (&computed, &nothing, &no)],
        "{run}"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_with_missing_or_forbidden_parts_is_refused_with_pointers() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let other = Caller::of_new_tenant(&node, "other").await;
    let limits = json!({"limits": [{"currency": "EUR", "maximum_minor": 9_000}]});
    let rules = json!([entry(&caller, "limits", "amount-limits", limits.clone()).await]);
    caller.activate_entries(&rules).await;
    let id = caller.pay("k", &payment()).await.1["id"].clone();
    let wrong = json!([entry(&caller, "limits", "amount-limits", json!({"limits": []})).await]);
    for (body, pointer) in [
        (json!({"revision": 9, "payment": payment()}), "/revision"),
        (json!({"revision": 1, "rules": rules, "payment": payment()}), "/revision"),
        (json!({"payment": payment()}), "/revision"),
        (json!({"rules": wrong, "payment": payment()}), "/rules/0/settings/limits"),
        (json!({"revision": 1}), "/payment"),
        (json!({"revision": 1, "payment": payment_with(&json!({"currency": "EURO"}))}), "/payment/currency"),
        (json!({"revision": 1, "payment": payment(), "payment_id": id}), "/payment"),
        (json!({"revision": 1, "payment_id": "x"}), "/payment_id"),
        (json!({"revision": 1, "payment_id": "01890000-0000-7000-8000-000000000000"}), "/payment_id"),
    ] {
        let (status, problem) = caller.post(DRY_RUNS, &body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {problem}");
        let errors = problem["errors"].as_array().expect("errors");
        assert!(errors.iter().any(|error| error["pointer"] == pointer), "{body}: {problem}");
    }
    let (status, problem) = other.post(DRY_RUNS, &json!({"rules": rules, "payment_id": id})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "another tenant's payment: {problem}");
    let composer = Caller::of_tenant(&node, "acme", [Scope::RulesetsWrite].into_iter().collect()).await;
    let (status, _) = composer.post(DRY_RUNS, &json!({"revision": 1, "payment_id": id})).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, _) = composer.post(DRY_RUNS, &json!({"revision": 1, "payment": payment()})).await;
    assert_eq!(status, StatusCode::OK);
    node.stop().await;
}

/// A series is kept for thirty days after it was asked about, and a tenant has room for 256.
#[tokio::test(flavor = "multi_thread")]
async fn dry_runs_leave_room_for_the_series_of_revisions() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let others = "select declare_series(current_tenant(), array_agg(gen_random_uuid()),
                                        array_agg('{\"selectors\": [\"merchant\"], \"conversion\": null, \"distinct\": null}'::jsonb),
                                        array_agg(false), 0)
                  from generate_series(1, 192)";
    let mut superuser = database.superuser().await;
    let tenant: uuid::Uuid = sqlx::query_scalar("select id from tenants where name = 'acme'")
        .fetch_one(&mut superuser)
        .await
        .unwrap();
    let complete = "update value_series set complete_at_ms = 0";
    for statement in [&format!("set app.tenant_id = '{tenant}'")[..], others, complete] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut superuser).await.unwrap();
    }
    let rules = json!([velocity(&caller, 3_600, 1).await]);
    let run = dry_run(&caller, json!({"rules": rules, "payment": payment()})).await;
    assert_eq!(run["rules"][0]["fact_sources"], json!(["not_known_yet"]), "{run}");
    let (status, made) = caller.post("/rulesets/payment/revisions", &json!({"rules": rules})).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let known = async {
        let body = json!({"rules": rules, "payment": payment()});
        while dry_run(&caller, body.clone()).await["rules"][0]["fact_sources"] != json!(["current"]) {}
    };
    timeout(TEST_TIMEOUT, known).await.unwrap();
}
