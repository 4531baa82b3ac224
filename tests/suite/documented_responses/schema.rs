//! Checks a value against a schema of the OpenAPI document, with the keywords of JSON Schema that
//! the document uses.
//!
//! Existing crates would add up to 27 dependencies. Unknown keywords are errors. Unlike in JSON
//! Schema, members that no schema has are errors.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// Keywords that are not checked. Most of them do not restrict values.
const ANNOTATIONS: [&str; 5] = ["description", "example", "format", "contentSchema", "pattern"];

/// The members that a schema declares. `None` if the object may have any members.
type KnownMembers = Option<BTreeSet<String>>;

pub fn fits(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let known = check(document, schema, value)?;
    let (Some(known), Some(members)) = (known, value.as_object()) else { return Ok(()) };
    match members.keys().find(|name| !known.contains(*name)) {
        Some(name) => Err(format!("/{name} is not documented")),
        None => Ok(()),
    }
}

fn check(document: &Value, schema: &Value, value: &Value) -> Result<KnownMembers, String> {
    let schema = schema.as_object().expect("a schema");
    let mut known: KnownMembers = Some(BTreeSet::new());
    for (keyword, wanted) in schema {
        let wrong = || format!("is {value} and not of {keyword} {wanted}");
        let kept = match keyword.as_str() {
            "$ref" => {
                let reference = wanted.as_str().expect("a reference");
                let target = document.pointer(&reference[1..]).expect(reference);
                known = union(known, check(document, target, value)?);
                true
            }
            "allOf" => {
                for part in parts(wanted) {
                    known = union(known, check(document, part, value)?);
                }
                true
            }
            "oneOf" | "anyOf" => {
                let mut fitting = parts(wanted).iter().filter_map(|part| check(document, part, value).ok());
                let first = fitting.next().ok_or_else(wrong)?;
                let others = fitting.count();
                known = union(known, first);
                others == 0 || keyword == "anyOf"
            }
            "type" => is_of(wanted, value),
            "enum" => parts(wanted).contains(value),
            "properties" => {
                let properties = wanted.as_object().expect("properties");
                known = union(known, Some(properties.keys().cloned().collect()));
                each_member(value, |name, member| match properties.get(name) {
                    Some(schema) => fits(document, schema, member),
                    None => Ok(()),
                })?;
                true
            }
            // Unknown members are an error below, with or without this keyword.
            "additionalProperties" if *wanted == json!(false) => true,
            "additionalProperties" => {
                known = None;
                each_member(value, |_, member| fits(document, wanted, member))?;
                true
            }
            "propertyNames" => {
                each_member(value, |name, _| fits(document, wanted, &json!(name)))?;
                true
            }
            "required" => {
                let has = |name: &Value| value.get(name.as_str().expect("a name")).is_some();
                !value.is_object() || parts(wanted).iter().all(has)
            }
            "items" => {
                for (place, item) in value.as_array().into_iter().flatten().enumerate() {
                    fits(document, wanted, item).map_err(|why| format!("/{place}{why}"))?;
                }
                true
            }
            "minimum" => value.as_f64().is_none_or(|number| Some(number) >= wanted.as_f64()),
            "maximum" => value.as_f64().is_none_or(|number| Some(number) <= wanted.as_f64()),
            "minLength" => length(value).is_none_or(|length| Some(length) >= wanted.as_u64()),
            "maxLength" => length(value).is_none_or(|length| Some(length) <= wanted.as_u64()),
            "maxItems" => value.as_array().is_none_or(|items| Some(items.len() as u64) <= wanted.as_u64()),
            "maxProperties" => value.as_object().is_none_or(|it| Some(it.len() as u64) <= wanted.as_u64()),
            known if ANNOTATIONS.contains(&known) => true,
            unknown => panic!("a keyword that this does not know: {unknown}"),
        };
        if !kept {
            return Err(format!(" {}", wrong()));
        }
    }
    // An object without documented members may have any.
    let says_members =
        ["$ref", "allOf", "oneOf", "anyOf", "properties"].iter().any(|it| schema.contains_key(*it));
    Ok(known.filter(|_| says_members))
}

fn parts(schemas: &Value) -> &Vec<Value> {
    schemas.as_array().expect("an array")
}

fn union(one: KnownMembers, other: KnownMembers) -> KnownMembers {
    one.zip(other).map(|(one, other)| &one | &other)
}

fn each_member(value: &Value, check: impl Fn(&str, &Value) -> Result<(), String>) -> Result<(), String> {
    let mut members = value.as_object().into_iter().flat_map(Map::iter);
    members.try_for_each(|(name, member)| check(name, member).map_err(|why| format!("/{name}{why}")))
}

fn length(value: &Value) -> Option<u64> {
    value.as_str().map(|text| text.chars().count() as u64)
}

fn is_of(kinds: &Value, value: &Value) -> bool {
    let is = |kind: &Value| match kind.as_str().expect("a type") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        unknown => panic!("a type that this does not know: {unknown}"),
    };
    kinds.as_array().map_or_else(|| is(kinds), |kinds| kinds.iter().any(is))
}

#[test]
fn a_value_matches_if_every_keyword_holds_and_every_member_is_documented() {
    let document = json!({"part": {
        "type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}, "required": ["a"]
    }});
    let part = json!({"$ref": "#/part"});
    let whole =
        json!({"allOf": [part, {"type": "object", "properties": {"b": {"type": ["string", "null"]}}}]});
    let either = json!({"oneOf": [part, {"type": "null"}]});
    let counts = json!({"type": "object", "additionalProperties": {"type": "integer"}});
    for (schema, value, fit) in [
        (&part, json!({"a": 1}), true),
        (&part, json!({"a": 0}), false),
        (&part, json!({}), false),
        (&part, json!({"a": 1, "b": "described elsewhere"}), false),
        (&whole, json!({"a": 1, "b": null}), true),
        (&whole, json!({"b": null}), false),
        (&whole, json!({"a": 1, "b": 2}), false),
        (&whole, json!({"a": 1, "c": 2}), false),
        (&either, json!(null), true),
        (&either, json!({"a": 2}), true),
        (&either, json!("text"), false),
        (&counts, json!({"x": 1}), true),
        (&counts, json!({"x": "1"}), false),
        (&json!({"type": "array", "items": part}), json!([{"a": 1}, {}]), false),
        (&json!({"type": "object"}), json!({"anything": 1}), true),
        (&json!({"enum": ["a"]}), json!("b"), false),
    ] {
        assert_eq!(fits(&document, schema, &value).is_ok(), fit, "{schema} {value}");
    }
}
