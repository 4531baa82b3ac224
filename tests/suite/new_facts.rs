//! The facts of contract 1.1.0 through the API: the rules that ask for them, from the first revision
//! to replay and backtest.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::database::TestDatabase;
use crate::support::lists::until_valid;
use crate::support::service::{Caller, Node, payment_with};

/// From one account to another, in cents.
fn transfer(creditor_account: &str, amount_minor: i64) -> Value {
    payment_with(&json!({
        "debtor": {"name": "Ada Lovelace", "account": {"iban": "DE89370400440532013000"}},
        "creditor": {"name": "Grace Hopper", "account": {"other": creditor_account}},
        "amount_minor": amount_minor,
        "currency": "EUR",
        "method": "credit_transfer",
    }))
}

fn rules() -> [(&'static str, Value); 5] {
    [
        ("new-payee", json!({"limits": [{"currency": "EUR", "above_minor": 100_000, "verdict": "review"}]})),
        (
            "unusual-amount",
            json!({"comparisons": [{"selector": "debtor_account", "window_days": 90, "min_payments": 5,
                "deviations_percent": 300, "maximum_percent": 200, "verdict": "review"}]}),
        ),
        (
            "structuring",
            json!({"patterns": [{"selector": "debtor_account", "currency": "EUR", "threshold_minor": 1_000_000,
                "from_minor": 900_000, "window_seconds": 604_800, "min_count": 3, "verdict": "reject"}]}),
        ),
        ("duplicate-payment", json!({"verdict": "review"})),
        (
            "name-screening",
            json!({"lists": [{"list": "sanctions", "review_from_score": 80, "reject_from_score": 95}]}),
        ),
    ]
}

fn codes(decided: &Value) -> Vec<&str> {
    let reasons = decided["reasons"].as_array().expect("reasons");
    reasons.iter().map(|reason| reason["code"].as_str().expect("a code")).collect()
}

async fn add_to_list(caller: &Caller, name: &str) {
    let (status, added) =
        caller.post("/lists/sanctions/entries", &json!({"value": name, "reason": "a test"})).await;
    assert!(status.is_success(), "{added}");
    until_valid(&added).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_new_rule_decides_by_earlier_payments_of_before_and_after_its_revision() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    caller.post("/lists", &json!({"name": "sanctions", "kind": "name"})).await;
    // These are decided before any rule asks about them.
    for number in 0..6 {
        let (_, decided) = caller.pay(&format!("early-{number}"), &transfer("known", 10_000 + number)).await;
        assert_eq!(codes(&decided), ["no-active-ruleset"], "{decided}");
    }
    caller.activate(&rules()).await;

    add_to_list(&caller, "Vladimir Ivanov").await;
    let to_listed = json!({"creditor": {"name": "IVANOV, Vladimir"}, "amount_minor": 10});
    for (key, payment, outcome, expected) in [
        ("early again", transfer("known", 10_003), "review", vec!["duplicate-payment"]),
        ("usual", transfer("known", 10_050), "approve", vec![]),
        ("usual again", transfer("known", 10_050), "review", vec!["duplicate-payment"]),
        ("large", transfer("known", 150_000), "approve", vec![]),
        ("large to a new payee", transfer("new", 150_001), "review", vec!["new-payee"]),
        ("below the threshold", transfer("known", 950_000), "approve", vec![]),
        ("below it again", transfer("known", 950_001), "approve", vec![]),
        ("below it once more", transfer("known", 950_002), "reject", vec!["structuring"]),
        ("usual at last", transfer("known", 10_051), "approve", vec![]),
        ("unusual", transfer("known", 2_900_000), "review", vec!["unusual-amount"]),
        ("to a listed name", payment_with(&to_listed), "reject", vec!["name-rejected"]),
    ] {
        let key = key.replace(' ', "-");
        let (status, decided) = caller.pay(&key, &payment).await;
        assert_eq!(status, StatusCode::CREATED, "{decided}");
        assert_eq!((&decided["outcome"], codes(&decided)), (&json!(outcome), expected), "{key}: {decided}");
        let id = decided["id"].as_str().expect("an id");
        let (_, replay) = caller.get(&format!("/decisions/{id}/replay")).await;
        assert_eq!(replay["identical"], true, "{key}: {replay}");
    }
    node.stop().await;
}
