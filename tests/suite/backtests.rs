//! Backtests over HTTP: a candidate revision on stored decisions.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tollgate::domain::decision::Origin;
use tollgate::domain::tenant::TenantId;
use tollgate::domain::verdict::Outcome;
use uuid::Uuid;

use crate::support::database::TestDatabase;
use crate::support::decisions::{decision_on, journal, now_ms, order};
use crate::support::lists::until_valid;
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::{Caller, Node, payment_with, send};

mod guard;
mod interrupted;
mod pages;
mod recorded;

const BACKTESTS: &str = "/rulesets/payment/backtests";

fn review_above(minor: u64) -> Value {
    json!({"limits": [{"review_above_minor": minor}]})
}

/// Creates a revision without activating it.
pub async fn candidate(caller: &Caller, rules: &[(&str, Value)]) -> Value {
    let mut entries = Vec::new();
    for (name, settings) in rules {
        entries.push(json!({"name": name, "plugin": caller.plugin(name).await, "settings": settings}));
    }
    let (status, revision) = caller.post("/rulesets/payment/revisions", &json!({"rules": entries})).await;
    assert_eq!(status, StatusCode::CREATED, "{revision}");
    revision["number"].clone()
}

async fn start(caller: &Caller, body: &Value) -> String {
    let (status, backtest) = caller.post(BACKTESTS, body).await;
    assert_eq!((status, &backtest["state"]), (StatusCode::ACCEPTED, &json!("waiting")), "{backtest}");
    format!("{BACKTESTS}/{}", backtest["id"].as_str().unwrap())
}

async fn wait_until(caller: &Caller, path: &str, what: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let (status, backtest) = caller.get(path).await;
        assert_eq!(status, StatusCode::OK, "{backtest}");
        if what(&backtest) {
            return backtest;
        }
        assert!(begun.elapsed() < TEST_TIMEOUT, "{backtest}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs a backtest to its end and returns its report.
pub async fn report(caller: &Caller, body: &Value) -> Value {
    let path = start(caller, body).await;
    let backtest = wait_until(caller, &path, |backtest| backtest["finished_at_ms"].is_u64()).await;
    assert_eq!(backtest["state"], "finished", "{backtest}");
    assert_eq!(backtest["done"], backtest["total"], "{backtest}");
    backtest["report"].clone()
}

/// Submits a payment of a new customer for each amount and returns the ids.
async fn pay(caller: &Caller, payments: &[(u64, &str)]) -> Vec<String> {
    let mut ids = Vec::new();
    for (amount_minor, currency) in payments {
        let key = Uuid::now_v7().to_string();
        let changes = json!({"amount_minor": amount_minor, "currency": currency, "customer": key});
        let (status, response) = caller.pay(&key, &payment_with(&changes)).await;
        assert_eq!(status, StatusCode::CREATED, "{response}");
        ids.push(response["id"].as_str().unwrap().to_owned());
    }
    ids
}

async fn tenant_of(database: &TestDatabase, name: &str) -> TenantId {
    let id = sqlx::query_scalar("select id from tenants where name = $1").bind(name);
    TenantId(id.fetch_one(&mut database.superuser().await).await.unwrap())
}

async fn report_events(database: &TestDatabase, payment: &str, kinds: &[&str]) {
    let statement = "insert into payment_events
        select tenant_id, id, gen_random_uuid(), unnest($2), 0, 0, 'test', '' from decisions where id = $1::uuid";
    let kinds: Vec<String> = kinds.iter().map(ToString::to_string).collect();
    let mut superuser = database.superuser().await;
    sqlx::query(statement).bind(payment).bind(kinds).execute(&mut superuser).await.unwrap();
}

/// `{"approve>review": [count, {currency: [count, amount]}]}`
fn cells(cells: &Value) -> Value {
    let mut all = json!({});
    for cell in cells.as_array().unwrap() {
        let place = format!("{}>{}", cell["was"].as_str().unwrap(), cell["would_be"].as_str().unwrap());
        let amounts = cell["amounts"].as_object().unwrap().iter();
        let amounts = amounts.map(|(code, sum)| (code.clone(), json!([sum["count"], sum["amount_minor"]])));
        all[place] = json!([cell["count"], Value::Object(amounts.collect())]);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backtest_of_a_lower_limit_reports_payments_amounts_labels_and_reasons() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    caller.activate(&[("amount-limits", review_above(10_000)), ("account-check", json!({}))]).await;
    let paid = [(1_000, "EUR"), (6_000, "EUR"), (7_000, "EUR"), (8_000, "USD"), (20_000, "EUR")];
    let ids = pay(&caller, &paid).await;
    report_events(&database, &ids[1], &["claimed", "settled", "fraud", "refunded"]).await;
    report_events(&database, &ids[2], &["claimed"]).await;
    let lower = candidate(
        &caller,
        &[
            ("amount-limits", review_above(5_000)),
            (
                "velocity",
                json!({"limits": [{
        "selector": "customer", "window_seconds": 60, "max_count": 5, "verdict": "reject"}]}),
            ),
        ],
    )
    .await;

    let path = start(&caller, &json!({"revision": lower})).await;
    let backtest = wait_until(&caller, &path, |backtest| backtest["state"] == "finished").await;
    let found = &backtest["report"];
    let expected = json!({
        "approve>approve": [1, {"EUR": [1, 1_000]}],
        "approve>review": [3, {"EUR": [2, 13_000], "USD": [1, 8_000]}],
        "review>review": [1, {"EUR": [1, 20_000]}],
    });
    assert_eq!(cells(&found["matrix"]), expected);
    assert_eq!(cells(&found["by_label"]["fraud"]), json!({"approve>review": [1, {"EUR": [1, 6_000]}]}));
    assert_eq!(
        cells(&found["by_label"]["none"])["approve>review"],
        json!([2, {"EUR": [1, 7_000], "USD": [1, 8_000]}])
    );
    assert_eq!(found["by_label"].as_object().unwrap().len(), 2);
    let figures =
        json!([found["compared"], found["changed"], found["changed_percent"], found["partly_computed"]]);
    assert_eq!(figures, json!([5, 3, 60.0, 5]), "the velocity was not recorded");
    let says = |pass: u64, review: u64| json!({"pass": pass, "allow": 0, "review": review, "reject": 0, "failed": 0});
    let rules = json!({
        "amount-limits": {"baseline": says(4, 1), "candidate": says(1, 4), "changed": 3},
        "velocity": {"baseline": says(0, 0), "candidate": says(5, 0), "changed": 0},
    });
    assert_eq!((&found["rules"], &found["other_rules"]), (&rules, &says(5, 0)));

    let (status, examples) = caller.get(&format!("{path}/examples?was=approve&limit=2")).await;
    assert_eq!(status, StatusCode::OK, "{examples}");
    let cursor = examples["next_cursor"].as_str().unwrap();
    let (_, rest) = caller.get(&format!("{path}/examples?was=approve&limit=2&cursor={cursor}")).await;
    let example = |place: usize, label: &str| {
        json!({
            "payment": ids[place], "was": "approve", "would_be": "review", "amount_minor": paid[place].0,
            "currency": paid[place].1, "label": label, "was_codes": [],
            "would_be_codes": ["amount-above-review-threshold"],
        })
    };
    assert_eq!(examples["items"], json!([example(3, "none"), example(2, "none")]), "the newest first");
    assert_eq!(rest, json!({"items": [example(1, "fraud")]}));
    let (_, of_fraud) = caller.get(&format!("{path}/examples?label=fraud&would_be=review")).await;
    assert_eq!(of_fraud, json!({"items": [example(1, "fraud")]}));

    let newest =
        json!({"revision": lower, "newest": 3, "filter": {"currency": "EUR", "amount_minor_min": 2_000}});
    assert_eq!(report(&caller, &newest).await["compared"], 3);
    for filter in [json!({"outcome": "review"}), json!({"currency": "USD", "method": "credit_transfer"})] {
        assert_eq!(
            report(&caller, &json!({"revision": lower, "filter": filter})).await["compared"],
            1,
            "{filter}"
        );
    }
    for filter in [json!({"origin": "import"}), json!({"method": "card"}), json!({"amount_minor_max": 999})] {
        let found = report(&caller, &json!({"revision": lower, "filter": filter})).await;
        assert_eq!((&found["compared"], found.get("changed_percent")), (&json!(0), None), "{filter}");
    }
    node.stop().await;
}

/// The four shipped rules. `more` changes only their prepared state.
async fn four_rules(more: bool) -> Vec<(&'static str, Value)> {
    let limit = |window_seconds, max_count| json!({"selector": "customer", "window_seconds": window_seconds, "max_count": max_count, "verdict": "review"});
    let mut limits = review_above(5_000);
    let (mut lists, mut velocity) = (json!({"lists": []}), json!({"limits": [limit(3_600, 2)]}));
    lists["lists"] = json!([{"list": "blocked", "selector": "customer", "verdict": "reject"}]);
    if more {
        limits["limits"]
            .as_array_mut()
            .unwrap()
            .push(json!({"currency": "USD", "review_above_minor": 5_000}));
        lists["lists"]
            .as_array_mut()
            .unwrap()
            .push(json!({"list": "blocked-merchants", "selector": "merchant", "verdict": "review"}));
        velocity["limits"].as_array_mut().unwrap().push(limit(7_200, 1_000));
    }
    let check = if more { json!({"bic": "review"}) } else { json!({}) };
    vec![("amount-limits", limits), ("account-check", check), ("party-lists", lists), ("velocity", velocity)]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backtest_of_the_active_rules_reports_no_change() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    caller.post("/lists", &json!({"name": "blocked", "kind": "customer"})).await;
    caller.post("/lists", &json!({"name": "blocked-merchants", "kind": "merchant"})).await;
    let entry = json!({"value": "mallory", "reason": "fraud"});
    until_valid(&caller.post("/lists/blocked/entries", &entry).await.1).await;
    let active = caller.activate(&four_rules(false).await).await;
    for place in 0..40 {
        let customer = if place % 8 == 0 { "mallory".to_owned() } else { format!("c-{}", place % 5) };
        let changes = json!({"customer": customer, "amount_minor": 1_000 + 300 * place});
        assert_eq!(caller.pay(&format!("k{place}"), &payment_with(&changes)).await.0, StatusCode::CREATED);
    }
    let otherwise = candidate(&caller, &four_rules(true).await).await;
    let mut reports = Vec::new();
    for body in [
        json!({"revision": active}),
        json!({"revision": otherwise}),
        json!({"revision": otherwise, "baseline": "active"}),
        json!({"revision": active, "baseline_revision": otherwise}),
    ] {
        let found = report(&caller, &body).await;
        let figures =
            (&found["compared"], &found["changed"], &found["changed_percent"], &found["not_replayable"]);
        assert_eq!(figures, (&json!(40), &json!(0), &json!(0.0), &json!({})), "{body}");
        assert_eq!(found["rules"].as_object().unwrap().len(), 4, "{found}");
        reports.push(found);
    }
    assert_eq!(reports[0]["partly_computed"], 0, "all facts are on record");
    assert_eq!(cells(&reports[0]["matrix"]), cells(&reports[3]["matrix"]));
    assert!(cells(&reports[0]["matrix"])["reject>reject"][0] == 5, "{}", reports[0]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_that_were_not_recorded_are_computed_as_of_the_payments_time() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    caller.activate(&[("amount-limits", review_above(10_000))]).await;
    caller.post("/lists", &json!({"name": "blocked", "kind": "customer"})).await;
    for place in 0..5 {
        if place == 3 {
            let entry = json!({"value": "customer-1", "reason": "fraud"});
            until_valid(&caller.post("/lists/blocked/entries", &entry).await.1).await;
        }
        let (status, response) = caller.pay(&format!("k{place}"), &payment_with(&json!({}))).await;
        assert_eq!(status, StatusCode::CREATED, "{response}");
    }
    let limit = json!({"selector": "customer", "window_seconds": 3_600, "max_count": 2, "verdict": "review"});
    let velocity = ("velocity", json!({"limits": [limit]}));
    let list = json!({"list": "blocked", "selector": "customer", "verdict": "reject"});
    let lists = ("party-lists", json!({"lists": [list]}));
    let both = candidate(&caller, &[velocity, lists]).await;
    let found = report(&caller, &json!({"revision": both})).await;
    let expected = json!({
        "approve>approve": [2, {"EUR": [2, 5_000]}],
        "approve>review": [1, {"EUR": [1, 2_500]}],
        "approve>reject": [2, {"EUR": [2, 5_000]}],
    });
    assert_eq!((cells(&found["matrix"]), &found["partly_computed"]), (expected, &json!(5)), "{found}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn imported_decisions_are_compared_and_erased_ones_are_counted_as_missing() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let tenant = tenant_of(&database, "acme").await;
    let journal = journal(node.databases.journal.clone()).await;
    let imported = [(1_000, Outcome::Approve), (2_000, Outcome::Reject), (9_000, Outcome::Approve)];
    for (place, (amount_minor, outcome)) in imported.into_iter().enumerate() {
        let order = order("c-1", amount_minor, "EUR");
        let mut decision = decision_on(tenant, &format!("k{place}"), outcome, now_ms() - 1_000, order);
        decision.origin = Origin::Import;
        journal.store(decision).await.unwrap();
    }
    let [erased, damaged] = [(3, "payload = null"), (4, "payload_version = 99")].map(|(place, change)| {
        let decision =
            decision_on(tenant, &format!("k{place}"), Outcome::Approve, now_ms(), order("c-2", 1, "EUR"));
        (decision, change)
    });
    for (decision, change) in [erased, damaged] {
        journal.store(decision.clone()).await.unwrap();
        let statement = sqlx::AssertSqlSafe(format!("update decisions set {change} where id = $1"));
        let mut superuser = database.superuser().await;
        sqlx::query(statement).bind(decision.id().0).execute(&mut superuser).await.unwrap();
    }
    let limit = json!({"selector": "customer", "window_seconds": 3_600, "max_total_minor": 11_000, "currency": "EUR", "verdict": "review"});
    let limited = [("amount-limits", review_above(5_000)), ("velocity", json!({"limits": [limit]}))];
    let limited = candidate(&caller, &limited).await;
    let found = report(&caller, &json!({"revision": limited})).await;
    let expected = json!({
        "approve>approve": [1, {"EUR": [1, 1_000]}],
        "reject>approve": [1, {"EUR": [1, 2_000]}],
        "approve>review": [1, {"EUR": [1, 9_000]}],
    });
    assert_eq!(cells(&found["matrix"]), expected, "{found}");
    assert_eq!(
        found["rules"]["velocity"]["candidate"]["review"], 1,
        "1,000, 2,000 and 9,000 together: {found}"
    );
    assert_eq!(found["partly_computed"], 3);
    assert_eq!(found["not_replayable"], json!({"erased": 1, "unreadable": 1}));
    let only_here = json!({"revision": limited, "filter": {"origin": "import", "outcome": "reject"}});
    assert_eq!(report(&caller, &only_here).await["compared"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backtest_that_cannot_run_is_refused_and_other_tenants_see_no_backtests() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let revision = candidate(&caller, &[("account-check", json!({}))]).await;
    for (body, pointers) in [
        (json!({"revision": 7}), &["/revision"][..]),
        (json!({"revision": revision, "baseline": "active"}), &["/baseline"]),
        (json!({"revision": revision, "baseline_revision": 9}), &["/baseline_revision"]),
        (
            json!({"revision": 0, "baseline": "x", "from_ms": 2, "to_ms": 1, "newest": 0, "filter": {"a": 1, "currency": "x"}}),
            &["/revision", "/baseline", "/newest", "/filter/currency", "/filter/a", "/to_ms"],
        ),
    ] {
        let (status, problem) = caller.post(BACKTESTS, &body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        let errors = problem["errors"].as_array().unwrap().iter();
        assert_eq!(
            errors.map(|error| error["pointer"].as_str().unwrap()).collect::<Vec<_>>(),
            pointers,
            "{body}"
        );
    }
    let path = start(&caller, &json!({"revision": revision})).await;
    let finished = wait_until(&caller, &path, |backtest| backtest["state"] == "finished").await;
    assert_eq!(caller.get(BACKTESTS).await.1["items"][0]["id"], finished["id"]);
    let (status, problem) = send(caller.request(Method::POST, &format!("{path}/cancel"))).await;
    assert_eq!((status, &problem["type"]), (StatusCode::CONFLICT, &json!("/problems/conflict")), "{problem}");

    let other = Caller::of_new_tenant(&node, "other").await;
    assert_eq!(other.get(BACKTESTS).await.1, json!({"items": []}));
    for (method, below) in [(Method::GET, ""), (Method::GET, "/examples"), (Method::POST, "/cancel")] {
        let (status, problem) = send(other.request(method, &format!("{path}{below}"))).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{below}: {problem}");
    }
    let scopes = [tollgate::domain::tenant::Scope::RulesetsRead].into_iter().collect();
    let blind = Caller::of_tenant(&node, "acme", scopes).await;
    assert_eq!(blind.get(&path).await.0, StatusCode::OK);
    assert_eq!(blind.get(&format!("{path}/examples")).await.0, StatusCode::FORBIDDEN);
    node.stop().await;
}
