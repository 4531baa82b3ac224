//! Retries: a payment is recognised as the same in any notation.

use aws_lc_rs::{digest, hmac};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tollgate::auth::root_secret::{Purpose, RootSecret};

use crate::support::database::TestDatabase;
use crate::support::service::{Caller, Node, ROOT_SECRET, payment_with};

fn body() -> Value {
    payment_with(&json!({"ip": "203.0.113.7", "metadata": {"a": "1", "b": "2"}}))
}

async fn send_text(caller: &Caller, key: &str, text: &str) -> (StatusCode, Value) {
    let request = caller.request(reqwest::Method::POST, "/payments");
    let request = request.header("Idempotency-Key", key).header("Content-Type", "application/json");
    crate::support::service::send(request.body(text.to_owned())).await
}

/// `body()` with this member replaced.
fn with_value(pointer: &str, value: Value) -> Value {
    let mut changed = body();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    changed.pointer_mut(parent).unwrap()[key] = value;
    changed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_in_another_notation_gets_the_first_decision() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let (status, first) = caller.pay("k", &body()).await;
    assert_eq!(status, StatusCode::CREATED, "{first}");

    let text = body().to_string();
    let turned = text.replacen('{', r#"{ "device" : null,"#, 1).replace("\"1\"", "\"\\u0031\"");
    for same in [
        with_value("/merchant", Value::Null),
        with_value("/card", Value::Null),
        with_value("/debtor/country", Value::Null),
        with_value("/debtor/account", json!({"iban": "DE89370400440532013000", "other": null})),
        with_value("/debtor/account/iban", json!("de89 3704 0044 0532 0130 00")),
        with_value("/debtor/account/iban", json!("DE89-3704-0044-0532-0130-00")),
        with_value("/creditor/account/iban", json!("NL91\u{a0}ABNA\u{a0}0417\u{a0}1643\u{a0}00")),
        with_value("/ip", json!("::ffff:203.0.113.7")),
        with_value("/metadata", json!({"b": "2", "a": "1"})),
    ]
    .iter()
    .map(Value::to_string)
    .chain([turned])
    {
        let (status, again) = send_text(&caller, "k", &same).await;
        assert_eq!((status, &again["id"]), (StatusCode::OK, &first["id"]), "{same}: {again}");
    }
    for other in [
        with_value("/amount_minor", json!(2_501)),
        with_value("/debtor/name", json!("ann jones")),
        with_value("/debtor/account", json!({"other": "DE89370400440532013000"})),
        with_value("/remittance", json!("June")),
        with_value("/metadata", json!({"a": "1"})),
        with_value("/customer", Value::Null),
        with_value("/customer", json!("customer-1 ")),
        with_value("/ip", json!("203.0.113.8")),
        with_value("/creditor/country", json!("NL")),
    ] {
        let (status, refused) = caller.pay("k", &other).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{other}: {refused}");
        assert_eq!(refused["type"], "/problems/idempotency-key-reused", "{other}");
    }
    node.stop().await;
}

/// The hash that earlier releases stored: a MAC over the digest of the body's canonical JSON.
fn earlier_hash(body: &Value) -> Vec<u8> {
    let root = RootSecret::from_text(ROOT_SECRET).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, root.derive(Purpose::RequestHashes).unwrap().expose());
    let digest = digest::digest(&digest::SHA256, body.to_string().as_bytes());
    hmac::sign(&key, digest.as_ref()).as_ref().to_vec()
}

/// Changes a stored key to this body, as if a release that accepted it had stored it.
async fn store_as_earlier(database: &TestDatabase, key: &str, body: &Value) {
    let mut superuser = database.superuser().await;
    for statement in [
        "update tollgate.decisions set request_hash = $1 where idempotency_key = $2",
        "update tollgate.idempotency_keys set request_hash = $1 where key = $2",
    ] {
        let update = sqlx::query(statement).bind(earlier_hash(body)).bind(key);
        assert_eq!(update.execute(&mut superuser).await.unwrap().rows_affected(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_of_a_payment_that_is_refused_now_gets_its_stored_decision() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let card = json!({"fingerprint": "fp-\u{e4}"});
    let with_card = payment_with(&json!({"method": "card", "card": card}));
    for (key, refused_now, pointer) in [
        ("k-1", with_value("/debtor/country", json!("UK")), "/debtor/country"),
        ("k-2", with_value("/creditor/country", json!("ZZ")), "/creditor/country"),
        ("k-3", with_value("/currency", json!("BGN")), "/currency"),
        ("k-4", with_value("/debtor/account/iban", json!("DE41 1111 1111 1111 11")), "/debtor/account/iban"),
        ("k-5", with_value("/customer", json!("4111 1111 1111 1111")), "/customer"),
        ("k-6", with_card, "/card/fingerprint"),
    ] {
        let (status, fresh) = caller.pay(key, &refused_now).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{fresh}");
        assert_eq!(fresh["errors"][0]["pointer"], pointer, "{fresh}");
        let (status, first) = caller.pay(key, &body()).await;
        assert_eq!(status, StatusCode::CREATED, "{first}");
        let (_, other) = caller.pay(key, &refused_now).await;
        assert_eq!(other["type"], "/problems/idempotency-key-reused", "{pointer}: {other}");
        store_as_earlier(&database, key, &refused_now).await;
        let (status, again) = caller.pay(key, &refused_now).await;
        assert_eq!((status, &again["id"]), (StatusCode::OK, &first["id"]), "{pointer}: {again}");
        // Bodies that no release accepted are still errors.
        let mut wrong = refused_now;
        wrong["amount_minor"] = json!(0);
        let (status, wrong) = caller.pay(key, &wrong).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
        assert_eq!(wrong["errors"].as_array().unwrap().len(), 2, "{wrong}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_an_earlier_release_is_compared_by_the_method_of_that_release() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let (_, first) = caller.pay("k", &body()).await;
    store_as_earlier(&database, "k", &body()).await;
    let (status, again) = caller.pay("k", &body()).await;
    assert_eq!((status, &again["id"]), (StatusCode::OK, &first["id"]), "{again}");
    // Whether these are the same payment can no longer be determined.
    let (status, other) = caller.pay("k", &with_value("/merchant", Value::Null)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{other}");
    node.stop().await;
}
