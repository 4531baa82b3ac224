//! The kinds of lists: how entries are parsed, stored, shown and compared.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{add, add_now, close_now, list, outcome, values};
use crate::support::database::TestDatabase;
use crate::support::lists::until_valid;
use crate::support::service::{Caller, Node, payment_with};

const IBAN: &str = "GB33BUKB20201555555555";

fn creditor(member: &str, value: &Value) -> Value {
    let mut creditor = json!({"name": "Quick Cash", "account": {"iban": "NL91ABNA0417164300"}});
    creditor[member] = value.clone();
    payment_with(&json!({"creditor": creditor}))
}

fn iban(text: &str) -> Value {
    creditor("account", &json!({"iban": text}))
}

fn other(text: &str) -> Value {
    creditor("account", &json!({"other": text}))
}

fn with(member: &str, value: &str) -> Value {
    payment_with(&json!({member: value}))
}

/// An entry, its canonical form, and payments that it matches and does not match.
struct Case {
    kind: &'static str,
    selector: Value,
    matching: &'static str,
    entry: &'static str,
    compared_as: &'static str,
    hit: Vec<Value>,
    missed: Vec<Value>,
}

fn case(kind: &'static str, selector: &str, entry: &'static str, compared_as: &'static str) -> Case {
    let (hit, missed) = (vec![], vec![]);
    Case { kind, selector: json!(selector), matching: "exact", entry, compared_as, hit, missed }
}

impl Case {
    fn by(self, matching: &'static str) -> Self {
        Self { matching, ..self }
    }

    fn of(self, selector: Value) -> Self {
        Self { selector, ..self }
    }

    fn matches(self, hit: Vec<Value>) -> Self {
        Self { hit, ..self }
    }

    fn does_not_match(self, missed: Vec<Value>) -> Self {
        Self { missed, ..self }
    }
}

fn accounts() -> Vec<Case> {
    let account = |entry| case("account", "creditor_account", entry, IBAN);
    let missed = || vec![iban("GB94BARC10201530093459")];
    vec![
        account("gb33 bukb 2020 1555 5555 55")
            .matches(vec![iban(IBAN), other(IBAN)])
            .does_not_match(missed()),
        account("GB33\u{a0}BUKB\u{a0}2020\u{a0}1555\u{a0}5555\u{a0}55").matches(vec![iban(IBAN)]),
        account("GB33-BUKB-2020-1555-5555-55").matches(vec![iban("gb33 bukb 2020 1555 5555 55")]),
        account("\u{200b}GB33\u{2009}BUKB\u{2011}20201555555555").matches(vec![iban(IBAN)]),
        account("ＧＢ33BUKB20201555555555").matches(vec![iban(IBAN)]),
        case("account", "creditor_account", "GB33 BUKB", "GB33BUKB")
            .by("prefix")
            .matches(vec![iban(IBAN), other("gb33bukb-1")])
            .does_not_match(missed()),
        case("account", "creditor_account", "12-34-56 789", "123456789")
            .matches(vec![other("123456789"), other("12 34 56-789")])
            .does_not_match(vec![other("1234567890")]),
    ]
}

fn banks_and_places() -> Vec<Case> {
    let bank = |text: &str| creditor("bank", &json!(text));
    let country = |text: &str| creditor("country", &json!(text));
    vec![
        case("bank", "creditor_bank", "DEUTDEFF", "DEUTDEFFXXX")
            .matches(vec![bank("DEUTDEFFXXX"), bank("deut de ff")])
            .does_not_match(vec![bank("DEUTDEFF500")]),
        case("bank", "creditor_bank", "deutdeffxxx", "DEUTDEFFXXX").matches(vec![bank("DEUTDEFF")]),
        case("bank", "creditor_bank", "DEUT", "DEUT")
            .by("prefix")
            .matches(vec![bank("deutdeff"), bank("DEUTDEFF500")])
            .does_not_match(vec![bank("BUKBGB22")]),
        case("bank", "creditor_bank", "DEUTDEFF", "DEUTDEFFXXX")
            .by("prefix")
            .matches(vec![bank("DEUTDEFF"), bank("DEUTDEFFXXX"), bank("deutdeff500")])
            .does_not_match(vec![bank("DEUTDEBB")]),
        case("bank", "creditor_bank", "20-20-15", "202015").matches(vec![bank("20 20 15")]),
        case("country", "creditor_country", "ir", "IR")
            .matches(vec![country("IR")])
            .does_not_match(vec![country("IQ")]),
        case("ip", "ip", "2001:DB8::1", "2001:db8::1")
            .matches(vec![with("ip", "2001:0db8:0:0::1")])
            .does_not_match(vec![with("ip", "2001:db8::2")]),
        case("ip", "ip", "203.0.113.7", "203.0.113.7").matches(vec![with("ip", "::ffff:203.0.113.7")]),
        case("ip", "ip", "::ffff:203.0.113.7", "203.0.113.7").matches(vec![with("ip", "203.0.113.7")]),
        case("ip", "ip", "203.0.113.77/24", "203.0.113.0/24")
            .matches(vec![with("ip", "203.0.113.1"), with("ip", "::ffff:203.0.113.255")])
            .does_not_match(vec![with("ip", "203.0.114.1")]),
        case("ip", "ip", "2001:DB8:AA::/48", "2001:db8:aa::/48")
            .matches(vec![with("ip", "2001:db8:aa:1::9")])
            .does_not_match(vec![with("ip", "2001:db8:ab::")]),
    ]
}

fn texts() -> Vec<Case> {
    let motor = "AB12 Motor Parts Ltd";
    let name = |text: &str| creditor("name", &json!(text));
    let shop = |text: &str| payment_with(&json!({"metadata": {"shop": text}}));
    let mut cases: Vec<Case> = ["merchant", "customer", "device"]
        .into_iter()
        .map(|kind| {
            case(kind, kind, motor, motor)
                .matches(vec![with(kind, motor), with(kind, "AB12  Motor\u{a0}Parts Ltd ")])
                .does_not_match(vec![with(kind, "AB12MotorPartsLtd"), with(kind, "ab12 motor parts ltd")])
        })
        .collect();
    cases.extend([
        case("customer", "customer", "c-78 ", "c-78").matches(vec![with("customer", "c-78 ")]),
        case("text", "customer", " c-78", "c-78").matches(vec![with("customer", "c-78")]),
        case("text", "", "Shop\u{200b} 7", "Shop 7")
            .of(json!({"metadata": "shop"}))
            .matches(vec![shop("Shop 7")]),
        case("name", "creditor_name", motor, motor).matches(vec![name(motor)]),
        case("name", "creditor_name", "QUICK Cásh, Ltd.", "QUICK Cásh, Ltd.")
            .by("normalized_name")
            .matches(vec![name("quick cash ltd"), name("Quick-Cash\u{ad} LTD")])
            .does_not_match(vec![name("quick cash limited")]),
    ]);
    cases
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_matches_all_notations_of_its_value() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let cases: Vec<Case> = accounts().into_iter().chain(banks_and_places()).chain(texts()).collect();
    let checks: Vec<Value> = cases
        .iter()
        .enumerate()
        .map(|(place, case)| {
            json!({"list": format!("l-{place}"), "selector": case.selector, "matching": case.matching, "verdict": "reject"})
        })
        .collect();
    for (place, case) in cases.iter().enumerate() {
        list(&caller, &format!("l-{place}"), case.kind).await;
    }
    caller.activate(&[("party-lists", json!({"lists": checks}))]).await;
    let mut last = Value::Null;
    for (place, case) in cases.iter().enumerate() {
        let (status, entry) = add(&caller, &format!("l-{place}"), case.entry).await;
        assert_eq!(status, StatusCode::CREATED, "{}: {entry}", case.entry);
        assert_eq!(
            (&entry["value"], &entry["compared_as"]),
            (&json!(case.entry), &json!(case.compared_as)),
            "both are shown: {entry}"
        );
        last = entry;
    }
    until_valid(&last).await;
    for (place, case) in cases.iter().enumerate() {
        let name = format!("l-{place}");
        for (number, body) in case.hit.iter().enumerate() {
            let decided = paid(&caller, &format!("{name}-hit-{number}"), body).await;
            assert!(is_on(&name, &decided), "{} and {body}: {decided}", case.entry);
        }
        for (number, body) in case.missed.iter().enumerate() {
            let decided = paid(&caller, &format!("{name}-miss-{number}"), body).await;
            assert!(!is_on(&name, &decided), "{} and {body}: {decided}", case.entry);
        }
    }
    node.stop().await;
}

async fn paid(caller: &Caller, key: &str, body: &Value) -> Value {
    let (status, decided) = caller.pay(key, body).await;
    assert_eq!(status, StatusCode::CREATED, "{decided}");
    decided
}

/// Whether a reason of the decision is that a value is on this list.
fn is_on(list: &str, decided: &Value) -> bool {
    let told = format!("is on the list '{list}'.");
    let reasons = decided["reasons"].as_array().unwrap();
    reasons.iter().any(|reason| reason["message"].as_str().unwrap().ends_with(&told))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_can_never_match_is_refused_with_the_reason() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let (status, problem) = caller.post("/lists", &json!({"name": "l", "kind": "colour"})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let expected = "expected one of account, name, bank, country, ip, customer, merchant, device, card, text";
    assert_eq!(problem["errors"], json!([{"pointer": "/kind", "detail": expected}]), "{problem}");

    for (kind, value, reported) in [
        ("account", " -\u{a0}", "account"),
        ("account", &"1".repeat(35), "34 characters"),
        ("bank", &"1".repeat(36), "35 characters"),
        ("bank", "-\u{200b}", "BIC"),
        ("country", "Iran", "country code"),
        ("country", "I", "country code"),
        ("ip", "203.0.113.256", "IP address"),
        ("ip", "203.0.113.0/33", "IP address"),
        ("ip", "example.org", "IP address"),
        ("card", "fingerprïnt", "ASCII"),
        ("customer", "\u{200b}", "can be seen"),
        ("merchant", &"m".repeat(65), "64 characters"),
        ("text", "\u{2060}\u{a0}", "can be seen"),
    ] {
        let name = format!("of-{kind}");
        caller.post("/lists", &json!({"name": name, "kind": kind})).await;
        let (status, problem) = add(&caller, &name, value).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{kind} {value:?}: {problem}");
        let error = &problem["errors"][0];
        assert_eq!(error["pointer"], "/value", "{problem}");
        assert!(error["detail"].as_str().unwrap().contains(reported), "{kind} {value:?}: {problem}");
    }
    let (_, page) = caller.get("/lists/of-ip/entries").await;
    assert_eq!(values(&page).len(), 0, "{page}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_unique_and_found_by_their_canonical_form() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    list(&caller, "blocked", "ip").await;
    add(&caller, "blocked", "2001:DB8::1").await;
    add(&caller, "blocked", "203.0.113.9/24").await;
    let (status, problem) = add(&caller, "blocked", "2001:0db8::1").await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    for (value, expected) in [
        ("2001:0db8:0:0::1", &["2001:DB8::1"][..]),
        ("203.0.113.200/24", &["203.0.113.9/24"]),
        ("203.0.113.200", &[]),
    ] {
        let (_, page) = caller.get(&format!("/lists/blocked/entries?value={value}")).await;
        assert_eq!(values(&page), expected, "{value}");
    }
    let (status, problem) = caller.get("/lists/blocked/entries?value=localhost").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "no page without a hit for what is no address: {problem}");
    let (_, acts) = caller.get("/audit?action=list_entry.added").await;
    let after = &acts["items"][1]["after"];
    assert_eq!(
        (&after["value"], &after["compared_as"]),
        (&json!("2001:DB8::1"), &json!("2001:db8::1")),
        "{acts}"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_office_is_one_entry_in_every_order_and_notation() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let bank = |text: &str| creditor("bank", &json!(text));
    let orders = [["DEUTDEFFXXX", "deutdeff"], ["DEUTDEFF", "deut de ff xxx"]];
    let checks = orders.iter().enumerate().flat_map(|(place, _)| {
        ["exact", "prefix"].map(|matching| {
            let verdict = if matching == "exact" { "reject" } else { "review" };
            json!({"list": format!("l-{place}"), "selector": "creditor_bank", "matching": matching, "verdict": verdict})
        })
    });
    let checks: Vec<Value> = checks.collect();
    for place in 0..orders.len() {
        list(&caller, &format!("l-{place}"), "bank").await;
    }
    caller.activate(&[("party-lists", json!({"lists": checks}))]).await;
    for (place, [first, second]) in orders.into_iter().enumerate() {
        let name = format!("l-{place}");
        let entry = add_now(&caller, &name, first).await;
        assert_eq!(entry.get("also_compared_as"), None, "{entry}");
        let (status, problem) = add(&caller, &name, second).await;
        assert_eq!(status, StatusCode::CONFLICT, "{second} after {first}: {problem}");
        for (value, expected) in [
            ("DEUTDEFF", "reject"),
            ("DEUTDEFFXXX", "reject"),
            ("DEUTDEFF500", "review"),
            ("DEUTDEBB", "approve"),
        ] {
            let key = format!("{name}-{value}");
            assert_eq!(outcome(&caller, &key, &bank(value)).await, expected, "{value} by {first}");
        }
        close_now(&caller, &name, &entry).await;
        assert_eq!(outcome(&caller, &format!("{name}-after"), &bank("DEUTDEFF")).await, "approve");
    }
    node.stop().await;
}
