//! Card numbers are refused in all fields, and neither stored nor logged.

use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::support::database::TestDatabase;
use crate::support::program::{Program, TEST_TIMEOUT, run_command, tollgate_on};
use crate::support::service::{Caller, FullResponse, Node, payment, payment_with};

const NUMBER: &str = "4111111111111111";
const SPACED: &str = "5555 5555 5555 4444";

fn has_card_number(text: &str) -> bool {
    [NUMBER, SPACED, "5555555555554444", "5555+5555", "5555%20"].iter().any(|number| text.contains(number))
}

/// Requests with a card number, and the pointer that the response must have.
fn requests(caller: &Caller, payment_id: &str) -> Vec<(RequestBuilder, &'static str)> {
    let pay = |changes: Value| {
        let request = caller.request(Method::POST, "/payments").header("Idempotency-Key", "k-new");
        request.json(&payment_with(&changes))
    };
    let post = |path: &str, body: Value| caller.request(Method::POST, path).json(&body);
    let lines = |kind: &str, text: String| {
        let request = caller.request(Method::POST, "/lists/watched/entries");
        request.header("Content-Type", kind).body(text)
    };
    let get = |path: String| caller.request(Method::GET, &path);
    let keyed = caller.request(Method::POST, "/payments").header("Idempotency-Key", NUMBER).json(&payment());
    let plugin = "0".repeat(64);
    let rule = |settings: Value| json!([{"name": "r", "plugin": plugin, "settings": settings}]);
    vec![
        (pay(json!({"reference": NUMBER})), "/reference"),
        (pay(json!({"remittance": format!("card {SPACED}")})), "/remittance"),
        (pay(json!({"metadata": {"a": SPACED}})), "/metadata/a"),
        (pay(json!({"metadata": {NUMBER: "a"}})), "/metadata"),
        (pay(json!({"debtor": {"name": SPACED}})), "/debtor/name"),
        (keyed, "Idempotency-Key"),
        (
            post(
                "/rulesets/payment/dry-runs",
                json!({"revision": 1, "payment": payment_with(&json!({"device": NUMBER}))}),
            ),
            "/payment/device",
        ),
        (
            post(
                "/rulesets/payment/dry-runs",
                json!({"rules": rule(json!({"a": NUMBER})), "payment": payment()}),
            ),
            "/rules/0/settings/a",
        ),
        (post("/rulesets/payment/revisions", json!({"note": SPACED, "rules": []})), "/note"),
        (
            post("/rulesets/payment/revisions", json!({"rules": rule(json!({"a": [NUMBER]}))})),
            "/rules/0/settings/a/0",
        ),
        (
            post(
                "/rulesets/payment/revisions",
                json!({"rules": rule(json!({"a": 4_111_111_111_111_111_u64}))}),
            ),
            "/rules/0/settings/a",
        ),
        (post("/lists", json!({"name": NUMBER, "kind": "text"})), "/name"),
        (post("/lists", json!({"name": "l", "kind": "text", "description": SPACED})), "/description"),
        (post("/lists/watched/entries", json!({"value": NUMBER, "reason": "r"})), "/value"),
        (post("/lists/watched/entries", json!({"value": "v", "reason": SPACED})), "/reason"),
        (lines("text/csv", format!("value,reason\nv,r\n{NUMBER},r\n")), "/3/value"),
        (lines("application/x-ndjson", json!({"value": "v", "reason": SPACED}).to_string()), "/1/reason"),
        (
            post(&format!("/payments/{payment_id}/events"), json!({"kind": "settled", "note": SPACED})),
            "/note",
        ),
        (get(format!("/payments?reference={NUMBER}")), "reference"),
        (get(format!("/payments?account={NUMBER}")), "account"),
        (get("/payments?customer=5555+5555+5555+4444".to_owned()), "customer"),
        (get("/payments?merchant=5555%205555%205555%204444".to_owned()), "merchant"),
        (get(format!("/payments?card={NUMBER}")), "card"),
        (get(format!("/payments?idempotency_key={NUMBER}")), "idempotency_key"),
        (get(format!("/lists/watched/entries?value={NUMBER}")), "value"),
        (get(format!("/audit?actor={NUMBER}")), "actor"),
        (get(format!("/audit?subject={NUMBER}")), "subject"),
    ]
}

/// Every row of every table as text.
async fn assert_nothing_is_stored(database: &TestDatabase) {
    let mut superuser = database.superuser().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class
         where relnamespace = 'tollgate'::regnamespace and relkind in ('r', 'p') order by 1",
    )
    .fetch_all(&mut superuser)
    .await
    .unwrap();
    assert!(tables.len() > 10, "{tables:?}");
    for table in tables {
        let statement = format!("select t::text from tollgate.{table} t");
        let rows: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(statement)).fetch_all(&mut superuser).await.unwrap();
        assert!(!rows.iter().any(|row| has_card_number(row)), "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_number_is_refused_in_every_field_and_is_not_echoed_stored_or_logged() {
    let database = TestDatabase::create().await;
    let mut program = Program::serve(&database).await;
    let caller = program.caller_of_new_tenant(&database, "acme").await;
    let (_, paid) = caller.pay("k-1", &payment()).await;
    let (status, list) = caller.post("/lists", &json!({"name": "watched", "kind": "text"})).await;
    assert_eq!(status, StatusCode::CREATED, "{list}");
    for (request, place) in requests(&caller, paid["id"].as_str().unwrap()) {
        let response = FullResponse::of(request.header("X-Request-Id", format!("id-{NUMBER}"))).await;
        assert_eq!(response.status, 422, "{place}: {}", response.text);
        let errors = response.json()["errors"].clone();
        let reported = errors.as_array().unwrap().iter().any(|error| {
            (error["pointer"] == place || error["parameter"] == place)
                && error["detail"].as_str().unwrap().contains("card number")
        });
        assert!(reported, "{place}: {}", response.text);
        assert!(
            !has_card_number(&response.text) && !has_card_number(response.header("X-Request-Id")),
            "{}",
            response.text
        );
    }
    // If the parameter has other errors too, its card number is still not repeated.
    for path in [format!("/payments?{NUMBER}=1"), format!("/payments?nobody={NUMBER}&limit=0")] {
        let response = FullResponse::of(caller.request(Method::GET, &path)).await;
        assert_eq!(response.status, 400, "{}", response.text);
        assert!(!has_card_number(&response.text), "{}", response.text);
    }
    program.signal(rustix::process::Signal::TERM);
    assert!(program.wait().await.success());
    assert!(!has_card_number(&program.log()), "{}", program.log());
    assert_nothing_is_stored(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn card_numbers_are_refused_in_names_on_the_command_line() {
    let database = TestDatabase::create().await;
    let number_as_name = "4111-1111-1111-1111";
    for arguments in [
        &["tenant", "create", number_as_name][..],
        &["client", "create", "--tenant", "acme", "--name", SPACED],
    ] {
        let (status, output, log) = run_command(tollgate_on(&database, arguments));
        assert!(!status.success() && log.contains("looks like a card number"), "{output}\n{log}");
        assert!(!log.contains(number_as_name) && !has_card_number(&log), "{log}");
    }
}

fn switch_check(database: &TestDatabase, field: &str, state: &str) -> String {
    let arguments = ["tenant", "card-check", "--tenant", "acme", "--field", field, state];
    let (status, output, log) = run_command(tollgate_on(database, &arguments));
    assert!(status.success(), "{output}\n{log}");
    output
}

/// Repeats the request until it has this status.
async fn wait_for_status(caller: &Caller, path: &str, status: StatusCode) {
    let begun = Instant::now();
    loop {
        let (found, response) = caller.get(path).await;
        if found == status {
            return;
        }
        assert!(begun.elapsed() < TEST_TIMEOUT, "{response}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_can_switch_the_check_of_a_field_off_and_on_for_a_tenant() {
    let database = TestDatabase::create().await;
    let (node, other_node) = (Node::start(&database).await, Node::start(&database).await);
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let other_tenant = Caller::of_new_tenant(&node, "bolt").await;
    let search = format!("/payments?customer={NUMBER}");
    let body = payment_with(&json!({"customer": NUMBER}));
    assert_eq!(caller.pay("k", &body).await.0, StatusCode::UNPROCESSABLE_ENTITY);

    assert!(switch_check(&database, "customer", "off").contains("is off."));
    assert!(switch_check(&database, "customer", "off").contains("is off already."));
    for url in [&node.url, &other_node.url] {
        wait_for_status(&caller.at(url), &search, StatusCode::OK).await;
    }
    let (status, paid) = caller.at(&other_node.url).pay("k", &body).await;
    assert_eq!(status, StatusCode::CREATED, "{paid}");
    let (_, found) = caller.at(&other_node.url).get(&search).await;
    assert_eq!(found["items"][0]["id"], paid["id"], "{found}");
    // Only that field of that tenant is unchecked.
    let merchant = payment_with(&json!({"customer": NUMBER, "merchant": NUMBER}));
    let (status, refused) = caller.pay("k2", &merchant).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    assert_eq!(refused["errors"].as_array().unwrap().len(), 1, "{refused}");
    assert_eq!(other_tenant.pay("k", &body).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    let (_, output, _) = run_command(tollgate_on(&database, &["tenant", "card-check", "--tenant", "acme"]));
    assert!(output.contains("customer: off") && output.contains("merchant: on"), "{output}");

    switch_check(&database, "customer", "on");
    for url in [&node.url, &other_node.url] {
        wait_for_status(&caller.at(url), &search, StatusCode::UNPROCESSABLE_ENTITY).await;
    }
    let (_, acts) = caller.get("/audit?action=card_check.changed").await;
    let reported: Vec<(&Value, &Value, &Value)> = acts["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|act| (&act["subject"], &act["before"]["checked"], &act["after"]["checked"]))
        .collect();
    let (customer, on, off) = (json!("customer"), json!(true), json!(false));
    assert_eq!(reported, [(&customer, &off, &on), (&customer, &on, &off)], "{acts}");
    node.stop().await;
    other_node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_of_a_stored_payment_gets_the_same_response() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let search = format!("/payments?idempotency_key={NUMBER}");
    let body = payment_with(&json!({"customer": SPACED}));
    switch_check(&database, "customer", "off");
    switch_check(&database, "idempotency_key", "off");
    wait_for_status(&caller, &search, StatusCode::OK).await;
    let (status, first) = caller.pay(NUMBER, &body).await;
    assert_eq!(status, StatusCode::CREATED, "{first}");
    switch_check(&database, "customer", "on");
    switch_check(&database, "idempotency_key", "on");
    wait_for_status(&caller, &search, StatusCode::UNPROCESSABLE_ENTITY).await;

    let again = caller.request(Method::POST, "/payments").header("Idempotency-Key", NUMBER).json(&body);
    let again = FullResponse::of(again).await;
    assert_eq!((again.status, again.header("Idempotent-Replayed")), (200, "true"), "{}", again.text);
    assert_eq!(again.json()["id"], first["id"]);
    let (status, another) = caller.pay(NUMBER, &payment()).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(another["type"], "/problems/idempotency-key-reused", "{another}");
    let (status, fresh) = caller.pay("k", &body).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(fresh["errors"][0]["pointer"], "/customer", "{fresh}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistyped_iban_is_accepted_in_payments_searches_and_lists() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let mistyped = "CH36 0076 2944 6325 9106 2";
    let (status, paid) = caller
        .pay("k", &payment_with(&json!({"debtor": {"name": "Ada", "account": {"iban": mistyped}}})))
        .await;
    assert_eq!(status, StatusCode::CREATED, "{paid}");
    let (_, found) = caller.get("/payments?account=CH36+0076+2944+6325+9106+2").await;
    assert_eq!(found["items"][0]["id"], paid["id"], "{found}");
    caller.post("/lists", &json!({"name": "accounts", "kind": "account"})).await;
    let entry = json!({"value": mistyped, "reason": "r"});
    let (status, added) = caller.post("/lists/accounts/entries", &entry).await;
    assert_eq!(status, StatusCode::CREATED, "{added}");
    let (_, found) = caller.get("/lists/accounts/entries?value=CH3600762944632591062").await;
    assert_eq!(found["items"][0]["id"], added["id"], "{found}");
    node.stop().await;
}
