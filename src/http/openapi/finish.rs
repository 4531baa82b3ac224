//! Completes the generated OpenAPI document with what annotations cannot express: tags, page
//! items by reference, bounds from the constants that request reading uses, and security.
//!
//! Only one route is handled specially: the feed, whose events no content type describes.

use serde_json::{Map, Value, json};

use crate::domain::money::AMOUNT_MINOR_MAX;
use crate::http::openapi::moments::{describe_members, describe_parameters};
use crate::http::request::query::LIMIT_MAX;
use crate::http::rfc3339::TIME_MS_MAX;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

const TAGS: [(&str, &str); 19] = [
    (
        "audit",
        "Administrative acts, the names of those who did them, and signed checkpoints to verify the journal with.",
    ),
    ("backtests", "Tests of a candidate revision on stored decisions."),
    ("clients", "Machine clients: their scopes, rates and secrets."),
    ("decisions", "Decisions with their evidence, and their replay."),
    ("events", "A live stream of decisions and administrative acts."),
    ("lists", "Lists of values that rules can query."),
    ("me", "What a signed-in person has: sessions, password, second factor."),
    ("oauth", "Access tokens and the keys to verify them."),
    ("operations", "Health, readiness, metrics and the API document."),
    ("payments", "Payments, their outcomes and later events."),
    ("plugins", "The WebAssembly components that rules are made of."),
    ("proposals", "Changes that wait for a second person."),
    ("reviews", "The queue of what waits for a person, and how the tenant reviews."),
    ("rulesets", "Revisions of rulesets, and which of them decide."),
    ("session", "Signing in and out, for people."),
    ("settings", "What the administrators of a tenant set for it."),
    ("tables", "Reference tables in versions, in which rules look rows up."),
    ("tenants", "The tenants, for operators."),
    ("users", "The people of a tenant and their roles."),
];

pub fn finish(document: &mut Value) {
    document["tags"] =
        TAGS.map(|(name, description)| json!({"name": name, "description": description})).into();
    for operation in operations(document) {
        finish_operation(operation);
    }
    describe_events(document);
    let Some(schemas) = document["components"]["schemas"].as_object_mut() else { return };
    describe_members(schemas);
    let names: Vec<String> = schemas.keys().cloned().collect();
    for (name, schema) in schemas {
        refer_to_items(name, schema, &names);
        join_optional_part(schema);
        bound_properties(schema);
    }
}

fn operations(document: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let items = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    let members = items.filter_map(Value::as_object_mut).flatten();
    members.filter(|(name, _)| METHODS.contains(&name.as_str())).filter_map(|(_, it)| it.as_object_mut())
}

fn finish_operation(operation: &mut Map<String, Value>) {
    // Operations without a scope are public. A test checks that all others name their scope.
    operation.entry("security").or_insert_with(|| json!([]));
    if let Some(Value::String(summary)) = operation.get("summary")
        && !operation.contains_key("description")
    {
        let (first, rest) = match summary.split_once(". ") {
            Some((first, rest)) => (format!("{first}."), rest.to_owned()),
            None => (summary.clone(), summary.clone()),
        };
        operation.insert("summary".into(), first.into());
        operation.insert("description".into(), rest.into());
    }
    let answered = operation.get_mut("responses").and_then(Value::as_object_mut).into_iter().flatten();
    answered.for_each(|(_, response)| bytes_are_binary(response));
    if let Some(body) = operation.get_mut("requestBody") {
        bytes_are_binary(body);
    }
    let Some(parameters) = operation.get_mut("parameters").and_then(Value::as_array_mut) else { return };
    describe_parameters(parameters);
    for parameter in parameters {
        let name = parameter["name"].as_str().unwrap_or_default().to_owned();
        bound(&name, &mut parameter["schema"]);
    }
}

/// utoipa describes bytes as an array of numbers.
fn bytes_are_binary(message: &mut Value) {
    if let Some(content) = message.pointer_mut("/content/application~1wasm") {
        content["schema"] = json!({"type": "string", "format": "binary"});
    }
}

/// utoipa repeats the item's schema inside a generic page. This refers to the named schema instead.
fn refer_to_items(name: &str, schema: &mut Value, names: &[String]) {
    let of = name.strip_prefix("Page_").or_else(|| name.strip_prefix("Items_"));
    if let Some(of) = of.filter(|of| names.iter().any(|name| name == of)) {
        schema["properties"]["items"]["items"] = json!({"$ref": format!("#/components/schemas/{of}")});
    }
}

/// The members of a flattened `Option` belong to the whole object, and none is required.
/// utoipa makes the part `oneOf` its schema and null, which an object without these members
/// does not satisfy.
fn join_optional_part(schema: &mut Value) {
    let Some(parts) = schema.get_mut("allOf").and_then(Value::as_array_mut) else { return };
    for part in parts {
        let options = part["oneOf"].as_array().map_or(&[][..], Vec::as_slice);
        if let [optional, null] = options
            && null["type"] == "null"
            && optional["properties"].is_object()
        {
            let mut joined = optional.clone();
            joined["description"] = part["description"].clone();
            if let Some(joined) = joined.as_object_mut() {
                joined.retain(|name, value| name != "required" && !value.is_null());
            }
            *part = joined;
        }
    }
}

/// Sets the bounds of all members, at any depth.
fn bound_properties(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            for (name, property) in
                members.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten()
            {
                bound(name, property);
            }
            members.values_mut().for_each(bound_properties);
        }
        Value::Array(items) => items.iter_mut().for_each(bound_properties),
        _ => {}
    }
}

/// Adds the bounds of parameters, which `Query` checks, and of the members of responses.
/// Request bodies bring their own.
fn bound(name: &str, schema: &mut Value) {
    let is_integer = match &schema["type"] {
        Value::Array(types) => types.iter().any(|kind| kind == "integer"),
        kind => kind == "integer",
    };
    if is_integer && name.ends_with("_ms") && schema["maximum"].is_null() {
        schema["maximum"] = TIME_MS_MAX.into();
    }
    if is_integer && name == "limit" {
        (schema["minimum"], schema["maximum"]) = (1.into(), LIMIT_MAX.into());
    }
    if is_integer && ["amount_at_least", "amount_below"].contains(&name) {
        (schema["minimum"], schema["maximum"]) = (0.into(), AMOUNT_MINOR_MAX.into());
    }
    let is_number_of_a_version = ["revision", "version", "from", "to"].contains(&name);
    if is_integer && is_number_of_a_version && schema["maximum"].is_null() {
        (schema["minimum"], schema["maximum"]) = (1.into(), i32::MAX.into());
    }
    if schema["maxLength"].is_number() && schema["minLength"].is_null() {
        schema["minLength"] = 1.into();
    }
}

/// To OpenAPI the feed is one text. The `data:` of its events is JSON with these schemas.
fn describe_events(document: &mut Value) {
    let content = &mut document["paths"]["/api/v1/events"]["get"]["responses"]["200"]["content"];
    content["text/event-stream"]["schema"]["contentSchema"] = json!({"anyOf": [
        {"$ref": "#/components/schemas/DecisionEvent"},
        {"$ref": "#/components/schemas/ReviewEvent"},
        {"$ref": "#/components/schemas/AuditEvent"},
    ]});
}
