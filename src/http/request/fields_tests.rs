//! Tests of reading valid and invalid bodies.

use super::*;
use crate::domain::card_check::CheckedField;
use crate::http::request::codecs::{
    KeyForm, any_object, dictionary, flag, integer, items, object, optional, or, text,
};
use crate::http::request::declaration::body;
use crate::http::request::json;
use crate::http::response::problem::{ERRORS_MAX, ProblemKind};

body! {
    pub struct Inner as "Inner" {
        x: String = text(5),
    }
}

body! {
    pub struct Item as "Item" {
        n: i64 = integer::<i64>(1..=9),
    }
}

fn anytime() -> Context<'static> {
    Context::of(UncheckedFields::NONE, 0)
}

fn errors_of<T: std::fmt::Debug>(
    body: &str,
    fields: impl FnOnce(&mut Fields<'_>) -> Option<T>,
) -> Vec<(String, String)> {
    let root = json::parse(body.as_bytes()).expect("JSON");
    let problem = read(&root, anytime(), fields).expect_err(body);
    assert_eq!(problem.kind, ProblemKind::InvalidBody);
    problem.errors.into_iter().map(|error| (error.pointer.expect("a pointer"), error.detail)).collect()
}

fn told(errors: &[(String, String)]) -> Vec<(&str, &str)> {
    errors.iter().map(|(pointer, detail)| (pointer.as_str(), detail.as_str())).collect()
}

#[test]
fn every_error_of_a_body_is_told_at_once_with_its_place() {
    let body =
        r#"{"name":7,"age":1.5,"inner":{"x":"ok","y/z":1,"x":2},"extra":true,"items":[{"n":1},{"n":0},3]}"#;
    let errors = errors_of(body, |fields| {
        let name = fields.member("name", &text(10));
        let age = fields.member("age", &integer::<i64>(0..=150));
        let missing = fields.member("missing", &text(10));
        let inner = fields.member("inner", &object::<Inner>());
        let items = fields.member("items", &items(object::<Item>(), 5));
        Some((name?, age?, missing?, inner?, items?))
    });
    assert_eq!(
        told(&errors),
        [
            ("/name", "expected text, found a whole number"),
            (
                "/age",
                "expected a whole number from 0 to 150, found a number with a fraction, an exponent or too many digits"
            ),
            ("/missing", "is required"),
            ("/inner/x", "appears more than once in its object"),
            ("/inner/y~1z", "is not a known field"),
            ("/items/1/n", "expected a whole number from 1 to 9"),
            ("/items/2", "expected an object, found a whole number"),
            ("/extra", "is not a known field"),
        ]
    );
}

#[test]
fn text_is_bounded_in_characters_and_free_of_control_characters() {
    for (value, good) in [
        ("\"abc\"", true),
        ("\"äöü\"", true),
        ("\"\"", false),
        ("\"   \"", false),
        ("\"abcd\"", false),
        ("\"a\\u0000\"", false),
        ("\"a\\n\"", false),
        ("\"a\\u0085\"", false),
        ("null", false),
        ("[\"a\"]", false),
    ] {
        let root = json::parse(format!("{{\"t\":{value}}}").as_bytes()).expect("JSON");
        assert_eq!(read(&root, anytime(), |fields| fields.member("t", &text(3))).is_ok(), good, "{value}");
    }
}

#[test]
fn null_counts_as_absent_where_absence_is_allowed() {
    let root = json::parse(br#"{"a":null,"b":null,"c":null,"d":null}"#).expect("JSON");
    let read = read(&root, anytime(), |fields| {
        Some((
            fields.member("a", &optional(text(3)))?,
            fields.member("b", &optional(integer::<i64>(1..=2)))?,
            fields.member("c", &or(flag(), true))?,
            fields.member("d", &optional(object::<Inner>()))?.is_none(),
        ))
    });
    assert_eq!(read, Ok((None, None, true, true)));
}

#[test]
fn any_object_refuses_repeated_keys_at_every_depth() {
    let errors = errors_of(r#"{"s":{"a":[{"b":1,"b":2}]}}"#, |fields| fields.member("s", &any_object()));
    assert_eq!(told(&errors), [("/s/a/0/b", "appears more than once in its object")]);
    let root = json::parse(br#"{"s":{"b":1.50,"a":{}}}"#).expect("JSON");
    assert_eq!(
        read(&root, anytime(), |fields| fields.member("s", &any_object())),
        Ok(r#"{"a":{},"b":1.5}"#.to_owned())
    );
}

#[test]
fn a_hostile_body_gets_a_bounded_list_of_errors() {
    let keys: Vec<String> = (0..5000).map(|n| format!("\"{}{n}\":0", "k".repeat(500))).collect();
    let errors = errors_of(&format!("{{{}}}", keys.join(",")), |_| Some(()));
    assert_eq!(errors.len(), ERRORS_MAX);
    assert!(errors.iter().all(|(pointer, _)| pointer.len() <= KEY_SHOWN_MAX + 1));
}

#[test]
fn settings_may_hold_no_card_number_at_any_depth_in_value_or_key() {
    let number = "4111 1111 1111 1111";
    for (settings, at) in [
        (format!(r#"{{"a":"{number}"}}"#), "/s/a"),
        (format!(r#"{{"a":[{{"b":["x","{number}"]}}]}}"#), "/s/a/0/b/1"),
        (format!(r#"{{"a":{{"{number}":1}}}}"#), "/s/a"),
        (r#"{"a":4111111111111111}"#.to_owned(), "/s/a"),
        (r#"{"a":[{"b":-4111111111111111}]}"#.to_owned(), "/s/a/0/b"),
        (r#"{"a":4111111111111111.0}"#.to_owned(), "/s/a"),
        (r#"{"a":4.111111111111111e15}"#.to_owned(), "/s/a"),
        (r#"{"a":0.4111111111111111}"#.to_owned(), "/s/a"),
    ] {
        let errors = errors_of(&format!(r#"{{"s":{settings}}}"#), |fields| fields.member("s", &any_object()));
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!(errors[0].0, at);
        assert!(!errors[0].1.contains("4111"));
    }
}

#[test]
fn what_settings_count_and_measure_in_numbers_is_no_card_number() {
    for number in [
        "0",
        "-1",
        "0.3333333333333333",
        "0.6666666666666666",
        "1732000000123",
        "253402300799999",
        "9007199254740991",
        "1e300",
        "1000000000000000",
        "500000000000",
        "6000000000000000",
    ] {
        let root = json::parse(format!(r#"{{"s":{{"a":{number}}}}}"#).as_bytes()).expect("JSON");
        assert!(read(&root, anytime(), |fields| fields.member("s", &any_object())).is_ok(), "{number}");
    }
}

#[test]
fn a_key_that_is_too_long_is_refused_by_its_object_and_never_looked_through() {
    let number = "4111111111111111";
    let key = |length: usize| format!("{number}{}", "-".repeat(length - number.len()));
    let too_long = format!("has a key longer than {KEY_LENGTH_MAX} characters");
    for (body, at) in [
        (format!(r#"{{"{}":1}}"#, key(KEY_LENGTH_MAX + 1)), ""),
        (format!(r#"{{"s":{{"a":{{"{}":1}}}}}}"#, key(KEY_LENGTH_MAX + 1)), "/s/a"),
        (format!(r#"{{"d":{{"{}":"v"}}}}"#, key(KEY_LENGTH_MAX + 1)), "/d"),
        (format!(r#"{{"s":{{"{0}":1,"{0}":1}}}}"#, key(KEY_LENGTH_MAX + 1)), "/s"),
    ] {
        let errors = errors_of(&body, |fields| {
            let any_key = KeyForm { check: |_| Ok(()), pattern: "" };
            let settings = fields.has("s").then(|| fields.member("s", &any_object()));
            let metadata = text(200).checked(CheckedField::Metadata);
            let texts = fields.member("d", &dictionary(Some(CheckedField::Metadata), 20, any_key, metadata));
            Some((settings, texts))
        });
        assert!(told(&errors).contains(&(at, too_long.as_str())), "{errors:?}");
        assert!(!format!("{errors:?}").contains("4111"), "{errors:?}");
    }
    let settings = format!(r#"{{"s":{{"{}":1}}}}"#, "k".repeat(KEY_LENGTH_MAX));
    let root = json::parse(settings.as_bytes()).expect("JSON");
    assert!(read(&root, anytime(), |fields| fields.member("s", &any_object())).is_ok());
}
