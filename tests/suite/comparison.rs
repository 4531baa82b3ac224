//! Different notations of one value are counted, found and matched together, and stored as
//! submitted.

use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::Row;

use crate::support::database::TestDatabase;
use crate::support::lists::until_valid;
use crate::support::service::{Caller, Node, payment, payment_with};

/// Selectors with pairs of payments that have the same value in different notations.
fn spellings() -> Vec<(Value, Value, Value)> {
    let debtor = |member: &str, value: Value| json!({"debtor": with(&payment()["debtor"], member, value)});
    let creditor =
        |member: &str, value: Value| json!({"creditor": with(&payment()["creditor"], member, value)});
    let iban = |text: &str| debtor("account", json!({"iban": text}));
    let other = |text: &str| debtor("account", json!({"other": text}));
    let name = |text: &str| creditor("name", json!(text));
    let by_card = |text: &str| json!({"method": "wallet", "card": {"fingerprint": text}});
    let bank = |text: &str| debtor("bank", json!(text));
    vec![
        (json!("debtor_account"), iban("GB33BUKB20201555555555"), iban("gb33 bukb 2020 1555 5555 55")),
        (
            json!("debtor_account"),
            iban("GB33\u{a0}BUKB\u{a0}2020\u{a0}1555 5555 55"),
            iban("GB33-BUKB-2020-1555-5555-55"),
        ),
        (
            json!("debtor_account"),
            iban("FR1420041010050500013M02606"),
            other("fr14 2004 1010 0505 0001 3m02 606"),
        ),
        (json!("debtor_account"), other("12-34 x"), other("1234X")),
        (json!("creditor_name"), name("José  García"), name("JOSE GARCIA")),
        (json!("creditor_name"), name("O'Brien Straße"), name("OBRIEN STRASSE")),
        (json!("creditor_name"), name("Qu\u{200b}ick Cash"), name("Quick\u{ad} Cash")),
        (json!("creditor_name"), name("🏦  🏦"), name("🏦 🏦")),
        (json!("debtor_bank"), bank("DEUTDEFF"), bank("deut de ff xxx")),
        (json!("ip"), json!({"ip": "203.0.113.7"}), json!({"ip": "::ffff:203.0.113.7"})),
        (json!("ip"), json!({"ip": "2001:DB8::1"}), json!({"ip": "2001:0db8:0::1"})),
        (json!("customer"), json!({"customer": "c-78"}), json!({"customer": "c-78 "})),
        (
            json!("merchant"),
            json!({"merchant": "Motor Parts"}),
            json!({"merchant": "Motor\u{a0} Parts\u{200b}"}),
        ),
        (json!("device"), json!({"device": "café"}), json!({"device": "cafe\u{301}"})),
        (json!("card"), by_card("fp 1"), by_card(" fp  1")),
        (
            json!({"metadata": "shop"}),
            json!({"metadata": {"shop": "7 b"}}),
            json!({"metadata": {"shop": "7\u{3000}b"}}),
        ),
    ]
}

fn with(object: &Value, member: &str, value: Value) -> Value {
    let mut object = object.clone();
    object[member] = value;
    object
}

async fn list(caller: &Caller, kind: &str) {
    let (status, list) = caller.post("/lists", &json!({"name": "blocked", "kind": kind})).await;
    assert_eq!(status, StatusCode::CREATED, "{list}");
}

async fn add(caller: &Caller, value: &str) -> Value {
    let body = json!({"value": value, "reason": "a test"});
    let (status, entry) = caller.post("/lists/blocked/entries", &body).await;
    assert_eq!(status, StatusCode::CREATED, "{entry}");
    entry
}

#[tokio::test(flavor = "multi_thread")]
async fn a_velocity_counts_a_value_in_all_its_notations() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    for (place, (selector, one, other)) in spellings().into_iter().enumerate() {
        let caller = Caller::of_new_tenant(&node, &format!("tenant-{place}")).await;
        let limit =
            json!({"selector": selector, "window_seconds": 3_600, "max_count": 1, "verdict": "reject"});
        caller.activate(&[("velocity", json!({"limits": [limit]}))]).await;
        let (status, first) = caller.pay("first", &payment_with(&one)).await;
        assert_eq!((status, &first["outcome"]), (StatusCode::CREATED, &json!("approve")), "{first}");
        let (status, second) = caller.pay("second", &payment_with(&other)).await;
        assert_eq!(
            (status, &second["outcome"]),
            (StatusCode::CREATED, &json!("reject")),
            "{other} after {one}"
        );
    }
    node.stop().await;
}

/// Rules that check the values on a list and in a window.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_differ_in_meaningful_marks_are_different() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    list(&caller, "name").await;
    for entry in ["रमा", "かき", "กัน"] {
        until_valid(&add(&caller, entry).await).await;
    }
    let check = json!({"list": "blocked", "selector": "creditor_name", "matching": "normalized_name", "verdict": "reject"});
    let limit =
        json!({"selector": "creditor_name", "window_seconds": 3_600, "max_count": 1, "verdict": "review"});
    let rules = [("party-lists", json!({"lists": [check]})), ("velocity", json!({"limits": [limit]}))];
    caller.activate(&rules).await;
    for (key, name, expected) in [
        ("1", "रमा", "reject"),
        ("2", "राम", "approve"),
        ("3", "かき", "reject"),
        ("4", "がき", "approve"),
        ("5", "กัน", "reject"),
        ("6", "กิน", "approve"),
    ] {
        let creditor = json!({"creditor": {"name": name, "account": {"other": "1"}}});
        let (_, decided) = caller.pay(key, &payment_with(&creditor)).await;
        assert_eq!(decided["outcome"], expected, "{name}: {decided}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_found_by_all_notations_of_its_values_and_shown_as_submitted() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let written = json!({
        "method": "wallet",
        "reference": "invoice\u{a0}17", "customer": "c-78 ", "merchant": "Motor  Parts", "ip": "::ffff:203.0.113.7",
        "card": {"fingerprint": "fp  1"},
        "debtor": {"name": "Ann\u{200b} Jones", "account": {"other": "ab 12-3"}, "bank": "deutdeff"},
    });
    let (_, decided) = caller.pay("k", &payment_with(&written)).await;
    for (member, value) in written.as_object().unwrap() {
        assert_eq!(decided["payment"][member], *value, "kept as it was written");
    }
    caller.pay("other", &payment()).await;
    for query in [
        "customer=c-78",
        "customer=c-78%20",
        "customer=%20c-78",
        "merchant=Motor%20Parts",
        "card=fp%201",
        "account=AB123",
        "account=ab%2012-3",
        "account=a-b-1-2-3",
        "reference=invoice%2017",
    ] {
        let (status, page) = caller.get(&format!("/payments?{query}")).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        let found: Vec<&Value> = page["items"].as_array().unwrap().iter().map(|item| &item["id"]).collect();
        assert_eq!(found, [&decided["id"]], "{query}");
    }
    for query in ["customer=C-78", "merchant=MotorParts", "account=AB124", "reference=invoice17"] {
        assert_eq!(caller.get(&format!("/payments?{query}")).await.1["items"], json!([]), "{query}");
    }
    let (_, page) = caller.get("/payments?account=de89%203704-0044%200532%200130%2000").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 1, "an IBAN as it is printed: {page}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_matches_a_payment_in_all_notations() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let debtor = |account: Value| json!({"debtor": {"name": "Ann", "account": account}});
    let iban = || debtor(json!({"iban": "GB33BUKB20201555555555"}));
    let of_debtor =
        |member: &str, text: &str| json!({"debtor": with(&payment()["debtor"], member, json!(text))});
    let by_name = |name: &str| json!({"creditor": {"name": name, "account": {"other": "1"}}});
    let cases = [
        ("debtor_account", "exact", "gb33 bukb 2020 1555 5555 55", iban()),
        ("debtor_account", "exact", "GB33\u{a0}BUKB\u{a0}2020\u{a0}1555\u{a0}5555\u{a0}55", iban()),
        ("debtor_account", "exact", "GB33-BUKB-2020-1555-5555-55", iban()),
        (
            "debtor_account",
            "exact",
            "GB33BUKB20201555555555",
            debtor(json!({"other": "gb33 bukb 20201555555555"})),
        ),
        ("ip", "exact", "2001:DB8::1", json!({"ip": "2001:db8::1"})),
        ("ip", "exact", "2001:0db8::1", json!({"ip": "2001:db8::1"})),
        ("ip", "exact", "203.0.113.7", json!({"ip": "::ffff:203.0.113.7"})),
        ("ip", "exact", "203.0.113.0/24", json!({"ip": "::ffff:203.0.113.7"})),
        ("ip", "exact", "2001:db8::/32", json!({"ip": "2001:db8:9::1"})),
        ("debtor_bank", "exact", "DEUTDEFF", of_debtor("bank", "DEUTDEFFXXX")),
        ("debtor_bank", "exact", "deutdeff", of_debtor("bank", "DEUTDEFF")),
        ("debtor_bank", "prefix", "deut de", of_debtor("bank", "DEUTDEFF500")),
        ("debtor_bank", "exact", "hwupkr0mpou8fgxbt394", of_debtor("bank", "HWUPKR0MPOU8FGXBT394")),
        ("debtor_bank", "exact", "Sparkasse", of_debtor("bank", "SPARKASSE")),
        ("debtor_account", "exact", "IBAN GB33 BUKB 2020 1555 5555 55", iban()),
        (
            "debtor_account",
            "exact",
            "IBAN GB33 BUKB 2020 1555 5555 55",
            debtor(json!({"other": "IBAN GB33BUKB20201555555555"})),
        ),
        ("creditor_name", "normalized_name", "\u{1f3e6}  !", by_name("\u{1f3e6} !")),
        ("debtor_country", "exact", "ir", of_debtor("country", "IR")),
        ("debtor_account", "prefix", "GB33 BUKB", iban()),
        ("merchant", "exact", "AB12 Motor Parts Ltd", json!({"merchant": "AB12 Motor Parts Ltd"})),
        ("customer", "exact", "c-78 ", json!({"customer": "c-78 "})),
        ("customer", "exact", "c-78 ", json!({"customer": "c-78"})),
        ("creditor_name", "normalized_name", "STRASSE'S Łódź", by_name("straßes lodz")),
        ("creditor_name", "normalized_name", "ＡＣＭＥ\u{200b} Ltd.", by_name("A.C.M.E.-Ltd")),
        ("creditor_name", "exact", "Acme  Ltd", by_name("Acme\u{a0}Ltd")),
    ];
    let mut added = Vec::new();
    for (place, (selector, matching, entry, met)) in cases.into_iter().enumerate() {
        let caller = Caller::of_new_tenant(&node, &format!("tenant-{place}")).await;
        let kind = match selector {
            "debtor_account" => "account",
            "debtor_bank" => "bank",
            "debtor_country" => "country",
            "creditor_name" => "name",
            other => other,
        };
        list(&caller, kind).await;
        let check =
            json!({"list": "blocked", "selector": selector, "matching": matching, "verdict": "reject"});
        caller.activate(&[("party-lists", json!({"lists": [check]}))]).await;
        assert_eq!(caller.pay("before", &payment_with(&met)).await.1["outcome"], "approve", "{entry}");
        added.push((add(&caller, entry).await, caller, met));
    }
    for (entry, caller, met) in added {
        until_valid(&entry).await;
        assert_eq!(caller.pay("after", &payment_with(&met)).await.1["outcome"], "reject", "{entry}");
    }
    node.stop().await;
}

/// Removes the part that version 2 of the evidence added at its end.
async fn as_an_earlier_version_stored_it(database: &TestDatabase) {
    let statement = "update decisions
                     set payload = substr(payload, 1, length(payload) - 1), payload_version = 1
                     returning substr(payload, length(payload)) as last";
    let cut = sqlx::query(statement).fetch_all(&mut database.superuser().await).await.unwrap();
    assert!(!cut.is_empty());
    for row in cut {
        assert!(!row.get::<Vec<u8>, _>("last").is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_of_another_comparison_version_are_replayed_but_not_reused() {
    let database = TestDatabase::create().await;
    let node = Node::start_with(&database, &[("evidence_version", json!(2))]).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let limit = json!({"selector": "customer", "window_seconds": 3_600, "max_count": 5, "verdict": "reject"});
    let revision = caller.activate(&[("velocity", json!({"limits": [limit]}))]).await;
    let mut ids = Vec::new();
    for key in ["k1", "k2", "k3"] {
        ids.push(caller.pay(key, &payment()).await.1["id"].as_str().unwrap().to_owned());
    }
    let decision = format!("/decisions/{}", ids[2]);
    let seen = async || {
        let (_, stored) = caller.get(&decision).await;
        let (_, replay) = caller.get(&format!("{decision}/replay")).await;
        let body = json!({"revision": revision, "payment_id": ids[2]});
        let (_, tried) = caller.post("/rulesets/payment/dry-runs", &body).await;
        let report = super::backtests::report(&caller, &json!({"revision": revision})).await;
        let fact = |found: &Value| found["rules"][0]["facts"][0]["velocity"]["count"].clone();
        json!([
            stored["comparison_version"],
            fact(&stored),
            replay["identical"],
            tried["rules"][0]["fact_sources"],
            fact(&tried),
            report["compared"],
            report["changed"],
            report["partly_computed"],
        ])
    };
    assert_eq!(seen().await, json!([2, 2, true, ["recorded"], 2, 3, 0, 0]));
    as_an_earlier_version_stored_it(&database).await;
    assert_eq!(seen().await, json!([1, 2, true, ["computed"], 2, 3, 0, 3]));
    node.stop().await;
}
