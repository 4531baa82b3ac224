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
    let mut full = full;
    for (member, value) in optional_members() {
        full.pointer_mut(member.rsplit_once('/').expect("a pointer").0).expect(member)
            [member.rsplit('/').next().expect("a name")] = value;
    }
    let order = order_of(&full.to_string()).expect("good");
    assert_eq!(serde_json::to_value(PaymentShape(order)).expect("JSON"), full);
}

/// The members that came with version 3 of the evidence.
fn optional_members() -> [(&'static str, Value); 11] {
    let address = json!({
        "department": "a", "sub_department": "b", "street_name": "Hauptstraße", "building_number": "1a",
        "building_name": "c", "floor": "d", "post_box": "e", "room": "f", "post_code": "10115",
        "town_name": "Berlin", "town_location_name": "g", "district_name": "h", "country_sub_division": "i",
        "country": "DE", "address_lines": ["behind the church", "second door"]
    });
    let short = json!({ "town_name": "Paris", "country": "FR" });
    let ultimate = json!({
        "name": "Ann", "account": { "iban": "DE89370400440532013000" }, "country": "DE", "address": short
    });
    [
        ("/debtor/address", address),
        ("/creditor/address", short.clone()),
        ("/ultimate_debtor", ultimate),
        ("/ultimate_creditor", json!({ "name": "Bob" })),
        ("/intermediary_agents", json!(["DEUTDEFF", "20-20-15", "BNPAFRPP"])),
        ("/merchant_category", json!("0742")),
        ("/end_to_end_id", json!("NOTPROVIDED")),
        ("/uetr", json!("eb6305c9-1f7f-49de-aed0-16487c27b42d")),
        ("/charge_bearer", json!("SLEV")),
        ("/payee_verification", json!({ "outcome": "CMTC", "suggested_name": "Bob Ltd" })),
        ("/signals", json!({ "label": "high", "score": -0.000001, "tries": 3, "most": 999_999_999.999_999 })),
    ]
}

#[test]
fn a_uetr_in_upper_case_is_kept_in_lower_case() {
    let mut upper = body();
    upper["uetr"] = json!("EB6305C9-1F7F-49DE-AED0-16487C27B42D");
    let order = order_of(&upper.to_string()).expect("good");
    assert_eq!(order.uetr.expect("a UETR").to_string(), "eb6305c9-1f7f-49de-aed0-16487c27b42d");
}

#[test]
fn a_signals_number_is_read_exactly_as_it_is_written() {
    for (written, shown) in [
        ("0.10", "0.1"),
        ("1e-06", "0.000001"),
        ("1E3", "1000"),
        ("-7", "-7"),
        ("-0.0", "0"),
        ("123456789.654321", "123456789.654321"),
        ("1000000000.000000", "1000000000"),
    ] {
        // A float before it and numbers in texts must not be taken for it.
        let signals = format!(r#""signals": {{"a": 0.25, "b": "3.5", "score": {written}}}, "reference""#);
        let order = order_of(&body().to_string().replace("\"reference\"", &signals)).expect(written);
        assert_eq!(order.signals[2].1.to_string(), shown);
        let shown_again = serde_json::to_string(&PaymentShape(order.clone())).expect("JSON");
        assert_eq!(order_of(&shown_again).expect("good"), order, "{shown_again}");
    }
}

#[test]
fn a_signals_number_that_would_have_to_be_rounded_is_refused_with_what_is_expected() {
    for written in
        ["0.0000001", "0.10000000000000000001", "1000000000.000001", "1e10", "18446744073709551616"]
    {
        let signals = format!(r#""signals": {{"score": {written}}}, "reference""#);
        let problem = order_of(&body().to_string().replace("\"reference\"", &signals)).expect_err(written);
        let [error] = &problem.errors[..] else { panic!("{problem:?}") };
        assert_eq!(error.pointer.as_deref(), Some("/signals/score"), "{written}");
        assert_eq!(error.detail, "expected a number from -1000000000 to 1000000000 with at most 6 decimals");
    }
}

#[test]
fn each_newer_member_has_its_form() {
    let address = |name: &str, value: Value| {
        let mut address = json!({ "town_name": "Berlin", "country": "DE" });
        address[name] = value;
        address
    };
    let ultimate = |name: &str, value: Value| json!({ "name": "Ann", name: value });
    for (pointer, value, at, detail) in [
        ("/debtor/address", json!("Berlin"), "/debtor/address", "expected an object"),
        ("/debtor/address", json!({"country": "DE"}), "/debtor/address/town_name", "is required"),
        ("/debtor/address", json!({"town_name": "Berlin"}), "/debtor/address/country", "is required"),
        ("/debtor/address", address("country", json!("de")), "/debtor/address/country", "country code"),
        ("/debtor/address", address("country", json!("ZZ")), "/debtor/address/country", "country code"),
        ("/debtor/address", address("town_name", json!(" ")), "/debtor/address/town_name", "1 to 35"),
        (
            "/debtor/address",
            address("street_name", json!("s".repeat(71))),
            "/debtor/address/street_name",
            "1 to 70",
        ),
        ("/creditor/address", address("room", json!("")), "/creditor/address/room", "1 to 70"),
        (
            "/creditor/address",
            address("post_code", json!("1".repeat(17))),
            "/creditor/address/post_code",
            "1 to 16",
        ),
        ("/creditor/address", address("street", json!("s")), "/creditor/address/street", "not a known field"),
        (
            "/creditor/address",
            address("address_lines", json!("a")),
            "/creditor/address/address_lines",
            "an array",
        ),
        (
            "/creditor/address",
            address("address_lines", json!(["a", "b", "c"])),
            "/creditor/address/address_lines",
            "at most 2",
        ),
        (
            "/creditor/address",
            address("address_lines", json!(["a", "b".repeat(71)])),
            "/creditor/address/address_lines/1",
            "1 to 70",
        ),
        ("/ultimate_debtor", json!({}), "/ultimate_debtor/name", "is required"),
        ("/ultimate_debtor", json!("Ann"), "/ultimate_debtor", "expected an object"),
        (
            "/ultimate_debtor",
            ultimate("account", json!({"iban": "DE8"})),
            "/ultimate_debtor/account/iban",
            "IBAN",
        ),
        ("/ultimate_debtor", ultimate("country", json!("UK")), "/ultimate_debtor/country", "country code"),
        ("/ultimate_creditor", ultimate("bank", json!("X")), "/ultimate_creditor/bank", "not a known field"),
        (
            "/ultimate_creditor",
            ultimate("address", json!({"town_name": "B"})),
            "/ultimate_creditor/address/country",
            "is required",
        ),
        ("/intermediary_agents", json!("DEUTDEFF"), "/intermediary_agents", "an array"),
        ("/intermediary_agents", json!(["A", "B", "C", "D"]), "/intermediary_agents", "at most 3"),
        ("/intermediary_agents", json!(["A", ""]), "/intermediary_agents/1", "1 to 35"),
        ("/merchant_category", json!(5411), "/merchant_category", "expected text"),
        ("/merchant_category", json!("541"), "/merchant_category", "four digits"),
        ("/merchant_category", json!("54111"), "/merchant_category", "four digits"),
        ("/merchant_category", json!("54a1"), "/merchant_category", "four digits"),
        ("/merchant_category", json!("\u{665}411"), "/merchant_category", "four digits"),
        ("/end_to_end_id", json!("e".repeat(36)), "/end_to_end_id", "1 to 35"),
        ("/end_to_end_id", json!("a\nb"), "/end_to_end_id", "control characters"),
        ("/uetr", json!("eb6305c91f7f49deaed016487c27b42d"), "/uetr", "UUID of version 4"),
        ("/uetr", json!("01890a5d-ac96-774b-bcce-b302099a8057"), "/uetr", "UUID of version 4"),
        ("/uetr", json!(7), "/uetr", "expected text"),
        ("/charge_bearer", json!("shared"), "/charge_bearer", "expected one of DEBT, CRED, SHAR, SLEV"),
        ("/payee_verification", json!({}), "/payee_verification/outcome", "is required"),
        (
            "/payee_verification",
            json!({"outcome": "match"}),
            "/payee_verification/outcome",
            "MTCH, CMTC, NMTC, NOAP",
        ),
        (
            "/payee_verification",
            json!({"outcome": "MTCH", "suggested_name": "Bob"}),
            "/payee_verification/suggested_name",
            "only allowed with the outcome CMTC",
        ),
        (
            "/payee_verification",
            json!({"outcome": "CMTC", "suggested_name": "n".repeat(141)}),
            "/payee_verification/suggested_name",
            "1 to 140",
        ),
        ("/signals", json!([1]), "/signals", "expected an object"),
        ("/signals", json!({"Score": 1}), "/signals/Score", "a-z"),
        ("/signals", json!({"score": true}), "/signals/score", "expected a number or text, found a boolean"),
        ("/signals", json!({"score": null}), "/signals/score", "expected a number or text, found null"),
        ("/signals", json!({"score": [1]}), "/signals/score", "expected a number or text, found an array"),
        ("/signals", json!({"score": ""}), "/signals/score", "1 to 64"),
        ("/signals", json!({"score": "w".repeat(65)}), "/signals/score", "1 to 64"),
    ] {
        assert_one_error(pointer, value, at, detail);
    }
    let many: serde_json::Map<_, _> = (0..33).map(|n| (format!("k{n}"), json!(n))).collect();
    assert_one_error("/signals", many.into(), "/signals", "at most 32");
    let repeated = body().to_string().replacen('{', r#"{"signals": {"a": 1, "a": 2},"#, 1);
    let problem = order_of(&repeated).expect_err("repeated");
    assert_eq!(problem.errors[0].pointer.as_deref(), Some("/signals/a"));
}

#[test]
fn an_address_of_lines_alone_is_refused_and_told_why() {
    let errors = errors_with("/debtor/address", json!({ "address_lines": ["1 High Street", "London"] }));
    let told: Vec<_> = errors.iter().map(|(pointer, detail)| (pointer.as_str(), detail.as_str())).collect();
    assert_eq!(
        told[..2],
        [("/debtor/address/town_name", "is required"), ("/debtor/address/country", "is required")]
    );
    assert_eq!(told[2].0, "/debtor/address/address_lines");
    assert!(told[2].1.contains("an address of lines alone is no longer accepted"), "{told:?}");
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
        (
            "/debtor/address",
            json!({"town_name": "4111111111111111", "country": "DE"}),
            "/debtor/address/town_name",
        ),
        (
            "/debtor/address",
            json!({"town_name": "B", "country": "DE", "address_lines": ["4111 1111 1111 1111"]}),
            "/debtor/address/address_lines/0",
        ),
        ("/ultimate_debtor", json!({"name": "4111111111111111"}), "/ultimate_debtor/name"),
        (
            "/ultimate_creditor",
            json!({"name": "Ann", "account": {"other": "4111111111111111"}}),
            "/ultimate_creditor/account/other",
        ),
        ("/intermediary_agents", json!(["4111111111111111"]), "/intermediary_agents/0"),
        ("/merchant_category", json!("4111111111111111"), "/merchant_category"),
        ("/end_to_end_id", json!("4111111111111111"), "/end_to_end_id"),
        ("/uetr", json!("4111111111111111"), "/uetr"),
        ("/charge_bearer", json!("4111111111111111"), "/charge_bearer"),
        (
            "/payee_verification",
            json!({"outcome": "CMTC", "suggested_name": "4111111111111111"}),
            "/payee_verification/suggested_name",
        ),
        ("/signals", json!({"score": "4111111111111111"}), "/signals/score"),
        ("/signals", json!({"score": 378_282_246.310_005}), "/signals/score"),
        ("/signals", json!({"4111111111111111": 1}), "/signals"),
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
    full["ultimate_creditor"] = json!({"name": "Bob", "account": {"other": number}});
    full["intermediary_agents"] = json!([number]);
    full["end_to_end_id"] = json!(number);
    let root = json::parse(full.to_string().as_bytes()).expect("JSON");
    let pointers = |unchecked: UncheckedFields| -> Vec<String> {
        let read = screen(&root, Context::of(unchecked, NOW_MS), PaymentOrder::read)
            .expect("right but for the numbers");
        read.refused_now.into_iter().filter_map(|error| error.pointer).collect()
    };
    let all = pointers(UncheckedFields::NONE);
    for (field, own) in [
        (CheckedField::Reference, &["/reference", "/end_to_end_id"][..]),
        (CheckedField::AccountOther, &["/creditor/account/other", "/ultimate_creditor/account/other"]),
        (CheckedField::Bank, &["/creditor/bank", "/intermediary_agents/0"]),
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
