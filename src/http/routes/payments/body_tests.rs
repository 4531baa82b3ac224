//! Tests of valid and invalid payment bodies.

use serde_json::{Value, json};

use super::*;
use crate::domain::card_check::UncheckedFields;
use crate::http::request::body::JsonBody;
use crate::http::request::card_numbers::refused;
use crate::http::request::declaration::Body;
use crate::http::request::fields::{Context, Screened, screen};
use crate::http::request::json;
use crate::http::response::problem::Problem;

fn body() -> Value {
    json!({
        "reference": "INV-1",
        "amount_minor": 1234,
        "currency": "EUR",
        "method": "credit_transfer",
        "debtor": { "name": "Ada", "account": { "iban": "DE89 3704 0044 0532 0130 00" } },
        "creditor": { "name": "Bob", "account": { "other": "123" }, "bank": "COBADEFF", "country": "DE" }
    })
}

/// A moment in November 2026.
const NOW_MS: u64 = 1_795_000_000_000;

fn read(body: &JsonBody) -> Result<PaymentOrder, Problem> {
    let Screened { value, refused_now } = body.screen(NOW_MS)?;
    if refused_now.is_empty() { Ok(value) } else { Err(refused(refused_now)) }
}

fn order_of(body: &str) -> Result<PaymentOrder, Problem> {
    read(&JsonBody::of(json::parse(body.as_bytes()).expect("JSON")))
}

/// The errors of a valid body with one member replaced.
fn errors_with(pointer: &str, value: Value) -> Vec<(String, String)> {
    let mut changed = body();
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    changed.pointer_mut(parent).expect(parent)[key] = value;
    match order_of(&changed.to_string()) {
        Ok(_) => vec![],
        Err(problem) => problem
            .errors
            .into_iter()
            .map(|error| (error.pointer.expect("a pointer"), error.detail))
            .collect(),
    }
}

fn assert_one_error(pointer: &str, value: Value, at: &str, detail: &str) {
    let errors = errors_with(pointer, value.clone());
    assert_eq!(errors.len(), 1, "{pointer} {value}: {errors:?}");
    assert_eq!(errors[0].0, at);
    assert!(errors[0].1.contains(detail), "{pointer} {value}: {errors:?}");
}

#[test]
fn a_card_that_is_not_allowed_is_reported_beside_the_errors_in_it() {
    let errors = errors_with("/card", json!({ "fingerprint": "tok", "country": "de" }));
    let pointers: Vec<&str> = errors.iter().map(|(pointer, _)| pointer.as_str()).collect();
    assert_eq!(pointers, ["/card/country", "/card"]);
}

#[test]
fn a_good_body_becomes_an_order_and_is_shown_as_it_was_sent() {
    let full = json!({
        "reference": "INV-1", "amount_minor": 9_007_199_254_740_991_i64, "currency": "JPY", "method": "card",
        "debtor": { "name": "Ädä", "account": { "iban": "DE89370400440532013000" }, "bank": "X", "country": "DE" },
        "creditor": { "name": "Bob" },
        "customer": "c-1", "merchant": "m-1",
        "card": { "fingerprint": "fp_9f8a7b", "bin": "411111", "country": "US" },
        "device": "d-1", "ip": "2001:db8::1", "requested_at_ms": 1_700_000_000_000_u64,
        "purpose": "SALA", "remittance": "June", "metadata": { "a.b_c-9": "x", "b": "y" }
    });
    let order = order_of(&full.to_string()).expect("good");
    assert_eq!(serde_json::to_value(PaymentShape(order)).expect("JSON"), full);
}

#[test]
fn an_iban_in_printed_form_is_kept_in_electronic_form() {
    let order = order_of(&body().to_string()).expect("good");
    assert_eq!(order.debtor.account.expect("an account").as_str(), "DE89370400440532013000");
}

#[test]
fn amounts_that_are_no_positive_exact_integer_are_refused_with_the_range() {
    for text in ["0", "-1", "9007199254740992", "1.5", "1.0", "1e3", "\"100\"", "1e400000"] {
        let whole = body().to_string().replace("1234", text);
        let Ok(parsed) = json::parse(whole.as_bytes()) else {
            assert_eq!(text, "1e400000", "only a number beyond all range is no JSON for us");
            continue;
        };
        let problem = read(&JsonBody::of(parsed)).expect_err(text);
        assert_eq!(problem.errors.len(), 1, "{text}");
        assert_eq!(problem.errors[0].pointer.as_deref(), Some("/amount_minor"), "{text}");
        assert!(problem.errors[0].detail.contains("from 1 to 9007199254740991"), "{text}");
    }
}

#[test]
fn each_member_has_its_form() {
    for (pointer, value, at, detail) in [
        ("/reference", json!("x".repeat(36)), "/reference", "1 to 35"),
        ("/reference", json!("a\u{0}b"), "/reference", "control characters"),
        ("/reference", json!(null), "/reference", "is required"),
        ("/currency", json!("eur"), "/currency", "ISO 4217"),
        ("/method", json!("cash"), "/method", "credit_transfer"),
        ("/debtor/name", json!("n".repeat(141)), "/debtor/name", "1 to 140"),
        ("/debtor/name", json!("Ada\nBob"), "/debtor/name", "control characters"),
        ("/debtor/account", json!({"iban": "DE8"}), "/debtor/account/iban", "IBAN"),
        ("/debtor/account", json!({}), "/debtor/account/iban", "or other"),
        (
            "/debtor/account",
            json!({"iban": "DE89370400440532013000", "other": "1"}),
            "/debtor/account/other",
            "without",
        ),
        ("/debtor/country", json!("de"), "/debtor/country", "country code"),
        ("/debtor/country", json!("UK"), "/debtor/country", "country code"),
        ("/creditor/country", json!("ZZ"), "/creditor/country", "country code"),
        ("/creditor/country", json!("AN"), "/creditor/country", "country code"),
        ("/currency", json!("BGN"), "/currency", "withdrawn"),
        ("/currency", json!("HRK"), "/currency", "withdrawn"),
        ("/currency", json!("XXX"), "/currency", "ISO 4217"),
        ("/debtor/nick", json!("A"), "/debtor/nick", "not a known field"),
        ("/customer", json!("c".repeat(65)), "/customer", "1 to 64"),
        ("/merchant", json!(""), "/merchant", "1 to 64"),
        ("/device", json!("d".repeat(129)), "/device", "1 to 128"),
        ("/ip", json!("1.2.3"), "/ip", "IPv4"),
        ("/ip", json!("1.2.3.4:80"), "/ip", "IPv4"),
        ("/requested_at_ms", json!(-1), "/requested_at_ms", "whole number"),
        ("/purpose", json!("SALAR"), "/purpose", "1 to 4"),
        ("/remittance", json!("r".repeat(141)), "/remittance", "1 to 140"),
        ("/metadata", json!({"A": "x"}), "/metadata/A", "a-z"),
        ("/metadata", json!({"a": 1}), "/metadata/a", "expected text"),
        ("/metadata", json!({"a": "v".repeat(201)}), "/metadata/a", "1 to 200"),
        ("/card", json!({"fingerprint": "fp"}), "/card", "methods card and wallet"),
        ("/extra", json!(1), "/extra", "not a known field"),
    ] {
        assert_one_error(pointer, value, at, detail);
    }
    let many: serde_json::Map<_, _> = (0..21).map(|n| (format!("k{n}"), json!("v"))).collect();
    assert_one_error("/metadata", many.into(), "/metadata", "at most 20");
}

#[test]
fn card_numbers_are_refused_wherever_the_card_has_a_place_for_them_and_never_repeated() {
    let mut with_card = body();
    with_card["method"] = json!("card");
    for (fingerprint, bin) in [
        ("4111111111111111", json!(null)),
        ("4111 1111 1111 1111", json!(null)),
        ("4111-1111-1111-1111", json!(null)),
        ("tok_4111111111111111", json!(null)),
        ("tok4111111111111111", json!(null)),
        ("card:4111.1111.1111.1111:x", json!(null)),
        ("2026-4111111111111111", json!(null)),
        ("378282246310005", json!(null)),
        ("fp", json!("4111111111111111")),
        ("fp", json!("4111 11")),
        ("fp", json!("4111111")),
    ] {
        with_card["card"] = json!({ "fingerprint": fingerprint, "bin": bin });
        let problem = order_of(&with_card.to_string()).expect_err(fingerprint);
        assert!(!format!("{problem:?}").contains("4111"), "{problem:?}");
        assert_eq!(problem.errors.len(), 1, "{problem:?}");
    }
    for fingerprint in ["fp_9f8a7b", "a4111111111111111f", "4111111111111112", &"0123456789abcdef".repeat(4)]
    {
        with_card["card"] = json!({ "fingerprint": fingerprint, "bin": "41111111" });
        assert!(order_of(&with_card.to_string()).is_ok(), "{fingerprint}");
    }
}

#[test]
fn all_errors_of_a_payment_come_at_once() {
    let problem =
        order_of(r#"{"amount_minor":0,"currency":"X","debtor":{},"creditor":7,"card":{}}"#).expect_err("bad");
    let pointers: Vec<_> = problem.errors.iter().filter_map(|error| error.pointer.as_deref()).collect();
    let expected = [
        "/reference",
        "/amount_minor",
        "/currency",
        "/method",
        "/debtor/name",
        "/creditor",
        "/card/fingerprint",
    ];
    assert_eq!(pointers, expected);
}

#[test]
fn no_text_of_a_payment_may_hold_a_card_number_and_its_place_is_told() {
    for (pointer, value, at) in [
        ("/reference", json!("4111 1111 1111 1111"), "/reference"),
        ("/remittance", json!("card 4111-1111-1111-1111"), "/remittance"),
        ("/customer", json!("c4111111111111111"), "/customer"),
        ("/merchant", json!("5555555555554444"), "/merchant"),
        ("/device", json!("378282246310005"), "/device"),
        ("/purpose", json!("4111111111111111"), "/purpose"),
        ("/ip", json!("4111111111111111"), "/ip"),
        ("/debtor/name", json!("Ada 4111111111111111"), "/debtor/name"),
        ("/creditor/name", json!("\u{664}\u{661}11111111111111"), "/creditor/name"),
        ("/debtor/account", json!({"other": "6011111111111117"}), "/debtor/account/other"),
        ("/debtor/account", json!({"iban": "4111111111111111"}), "/debtor/account/iban"),
        ("/debtor/account", json!({"iban": "DE41 1111 1111 1111 11"}), "/debtor/account/iban"),
        ("/debtor/bank", json!("4111.1111.1111.1111"), "/debtor/bank"),
        ("/debtor/country", json!("4111111111111111"), "/debtor/country"),
        ("/currency", json!("4111111111111111"), "/currency"),
        ("/method", json!("4111111111111111"), "/method"),
        ("/metadata", json!({"note": "4111111111111111"}), "/metadata/note"),
        ("/metadata", json!({"4111111111111111": "v"}), "/metadata"),
        ("/metadata", json!({"a-4111111111111111": "4111111111111111"}), "/metadata"),
    ] {
        let mut changed = body();
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        changed.pointer_mut(parent).expect(parent)[key] = value.clone();
        let problem = order_of(&changed.to_string()).expect_err(pointer);
        assert_eq!(problem.kind.status().code, 422);
        assert!(problem.errors.iter().all(|error| error.pointer.as_deref() == Some(at)), "{problem:?}");
        for digits in ["4111", "5555", "3782", "6011", "\u{664}"] {
            assert!(!format!("{problem:?}").contains(digits), "{problem:?}");
        }
    }
}

#[test]
fn what_an_earlier_release_took_is_read_and_refused_now() {
    for (pointer, value) in [
        ("/debtor/country", json!("UK")),
        ("/creditor/country", json!("ZZ")),
        ("/currency", json!("BGN")),
        ("/debtor/account/iban", json!("DE41 1111 1111 1111 11")),
        ("/remittance", json!("card 4111-1111-1111-1111")),
    ] {
        let mut changed = body();
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        changed.pointer_mut(parent).expect(parent)[key] = value;
        let root = json::parse(changed.to_string().as_bytes()).expect("JSON");
        let screened = JsonBody::of(root).screen::<PaymentOrder>(NOW_MS).expect(pointer);
        let told: Vec<_> = screened.refused_now.iter().filter_map(|error| error.pointer.as_deref()).collect();
        assert_eq!(told, [pointer]);
    }
}

#[test]
fn an_unknown_member_named_like_a_card_number_is_not_repeated() {
    let errors = errors_with("/4111111111111111", json!(1));
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors.iter().all(|(pointer, detail)| pointer.is_empty() && !detail.contains("4111")));
}

#[test]
fn a_field_that_the_tenant_has_unchecked_takes_what_looks_like_a_card_number() {
    let number = "4111111111111111";
    let mut full = body();
    full["reference"] = json!(number);
    full["customer"] = json!(number);
    full["merchant"] = json!(number);
    full["device"] = json!(number);
    full["remittance"] = json!(number);
    full["metadata"] = json!({"order": number, number: "v"});
    full["creditor"] = json!({"name": "Bob", "account": {"other": number}, "bank": number});
    let root = json::parse(full.to_string().as_bytes()).expect("JSON");
    let pointers = |unchecked: UncheckedFields| -> Vec<String> {
        let read = screen(&root, Context::of(unchecked, NOW_MS), PaymentOrder::read)
            .expect("right but for the numbers");
        read.refused_now.into_iter().filter_map(|error| error.pointer).collect()
    };
    let all = pointers(UncheckedFields::NONE);
    for (field, own) in [
        (CheckedField::Reference, &["/reference"][..]),
        (CheckedField::AccountOther, &["/creditor/account/other"]),
        (CheckedField::Bank, &["/creditor/bank"]),
        (CheckedField::Customer, &["/customer"]),
        (CheckedField::Merchant, &["/merchant"]),
        (CheckedField::Device, &["/device"]),
        (CheckedField::Remittance, &["/remittance"]),
        (CheckedField::Metadata, &["/metadata", "/metadata/order"]),
    ] {
        let left = pointers(UncheckedFields::NONE.with(field));
        assert_eq!(left.len() + own.len(), all.len(), "{field:?}: {left:?}");
        assert!(own.iter().all(|pointer| !left.iter().any(|left| left == pointer)), "{field:?}: {left:?}");
    }
    assert_eq!(pointers(CheckedField::ALL.into_iter().collect()), Vec::<String>::new());
}
