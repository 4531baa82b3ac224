//! Every bound in the OpenAPI document is enforced: values at it are accepted, values beyond it
//! refused.

mod cases;

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::database::TestDatabase;
use crate::support::service::{Caller, Node};
use cases::{ID, cases, integer_ends};

/// Bodies that are not JSON and so not tested here. Lines are read by the code that reads a single
/// entry.
const OTHER_BODIES: [(&str, &str); 6] = [
    ("POST /api/v1/lists/{name}/entries", "application/x-ndjson"),
    ("POST /api/v1/lists/{name}/entries", "text/csv"),
    ("POST /api/v1/plugins", "application/wasm"),
    ("POST /api/v1/tables/{name}/versions", "application/x-ndjson"),
    ("POST /api/v1/tables/{name}/versions", "text/csv"),
    ("POST /oauth/token", "application/x-www-form-urlencoded"),
];

/// Bodies of people, who are delayed after a few attempts, or which clients may not send. `people` and
/// `reviews` try these.
const OF_PEOPLE: [&str; 7] = [
    "POST /session",
    "POST /session/password",
    "POST /api/v1/me/password",
    "POST /api/v1/me/second-factor/confirm",
    "DELETE /api/v1/me/second-factor",
    "POST /api/v1/proposals/{id}/decline",
    "POST /api/v1/reviews/{id}/decision",
];

fn errors<'a>(body: &'a Value, member: &str, place: &str) -> Vec<&'a str> {
    let all = body["errors"].as_array().map_or(&[][..], Vec::as_slice);
    all.iter().filter(|error| error[member] == place).filter_map(|error| error["detail"].as_str()).collect()
}

/// A node, a caller with the list that the paths refer to, and the OpenAPI document.
async fn documented(database: &TestDatabase) -> (Node, Caller, Value) {
    let node = Node::start(database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let (status, list) = caller.post("/lists", &json!({"name": "watched", "kind": "text"})).await;
    assert_eq!(status, StatusCode::CREATED, "{list}");
    let (_, document) = caller.get("/openapi.json").await;
    (node, caller, document)
}

/// All operations with their methods and paths.
fn operations(document: &Value) -> impl Iterator<Item = (&String, Method, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths.flat_map(|(path, item)| {
        let operations = item.as_object().unwrap().iter();
        operations.map(move |(method, operation)| {
            (path, Method::from_bytes(method.to_uppercase().as_bytes()).unwrap(), operation)
        })
    })
}

/// The path of an operation below the API, with parameters filled in.
fn path_of(path: &str) -> Option<String> {
    let path = path.strip_prefix("/api/v1")?;
    Some(
        path.replace("{point}", "payment")
            .replace("{id}", ID)
            .replace("{name}", "watched")
            .replace("{number}", "1"),
    )
}

/// Descriptions of all cases of one operation with a wrong response.
async fn broken_cases(
    caller: &Caller,
    document: &Value,
    (path, method): (&str, &Method),
    schema: &Value,
) -> Vec<String> {
    let (cases, mut wrong) = (cases(document, schema), Vec::new());
    assert!(cases.len() > 3, "{method} {path} has no bounds");
    for case in cases {
        let request = caller.request(method.clone(), path).header("Idempotency-Key", "k");
        let response = request.json(&case.body).send().await.unwrap();
        let status = response.status();
        let answer: Value = response.json().await.unwrap();
        let reported = errors(&answer, "pointer", &case.pointer);
        // A value within its bounds may be refused for its meaning, for example a time in the past
        // or two fields that exclude each other.
        let is_refused = reported.iter().any(|detail| !case.fits || detail.starts_with("expected"));
        let is_unanswered = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        if is_unanswered
            || is_refused == case.fits
            || (is_refused && status != StatusCode::UNPROCESSABLE_ENTITY)
        {
            let body: String = case.body.to_string().chars().take(60).collect();
            let fits = case.fits;
            wrong.push(format!("{method} {path} {} {body}: fits {fits}, got {answer}", case.pointer));
        }
    }
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_bound_of_a_body_is_enforced() {
    let database = TestDatabase::create().await;
    let (node, caller, document) = documented(&database).await;
    let (mut wrong, mut other_bodies) = (Vec::new(), BTreeSet::new());
    for (path, method, operation) in operations(&document) {
        if OF_PEOPLE.contains(&format!("{method} {path}").as_str()) {
            continue;
        }
        for (media_type, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
            if media_type != "application/json" {
                other_bodies.insert((format!("{method} {path}"), media_type.clone()));
                continue;
            }
            let path = path_of(path).expect(path);
            wrong.extend(broken_cases(&caller, &document, (&path, &method), &content["schema"]).await);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let known = OTHER_BODIES.map(|(operation, media_type)| (operation.to_owned(), media_type.to_owned()));
    assert_eq!(other_bodies, BTreeSet::from(known), "bodies whose bounds are not tried");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_form_needs_every_field_that_is_documented_as_required() {
    let database = TestDatabase::create().await;
    let (node, caller, document) = documented(&database).await;
    let content = &document["paths"]["/oauth/token"]["post"]["requestBody"]["content"];
    let reference = content["application/x-www-form-urlencoded"]["schema"]["$ref"].as_str().unwrap();
    let schema = document.pointer(&reference[1..]).unwrap();
    let fields = [
        ("grant_type", "client_credentials"),
        ("scope", "lists:read"),
        ("client_id", &caller.client_id),
        ("client_secret", &caller.client_secret),
    ];
    let documented: BTreeSet<&str> =
        schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(documented, fields.map(|(name, _)| name).into());
    let required = schema["required"].as_array().unwrap();
    for (left_out, _) in fields {
        let form: Vec<_> = fields.into_iter().filter(|(name, _)| *name != left_out).collect();
        let mut request = reqwest::Client::new().post(format!("{}/oauth/token", node.url)).form(&form);
        if left_out.starts_with("client_") {
            let form = form.iter().filter(|(name, _)| !name.starts_with("client_")).collect::<Vec<_>>();
            request = reqwest::Client::new().post(format!("{}/oauth/token", node.url)).form(&form);
            request = request.basic_auth(&caller.client_id, Some(&caller.client_secret));
        }
        let status = request.send().await.unwrap().status();
        let is_required = required.iter().any(|name| name == left_out);
        let expected = if is_required { StatusCode::BAD_REQUEST } else { StatusCode::OK };
        assert_eq!(status, expected, "without {left_out}");
    }
    node.stop().await;
}

/// Whether a parameter is an integer or an optional integer.
fn is_integer(schema: &Value) -> bool {
    schema["type"] == "integer"
        || schema["type"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "integer"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_bound_of_a_query_is_enforced() {
    let database = TestDatabase::create().await;
    let (node, caller, document) = documented(&database).await;
    let (mut tried, mut wrong) = (0, Vec::new());
    for (path, method, operation) in operations(&document) {
        let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
        for parameter in parameters.iter().filter(|it| it["in"] == "query" && is_integer(&it["schema"])) {
            let name = parameter["name"].as_str().unwrap();
            let (inside, outside) = integer_ends(&parameter["schema"]);
            let inside = inside.into_iter().map(|number| (json!(number), true));
            for (value, fits) in inside.chain(outside.into_iter().map(|number| (number, false))) {
                let path = format!("{}?{name}={value}", path_of(path).unwrap());
                let response = caller.request(method.clone(), &path).send().await.unwrap();
                let status = response.status();
                let body: Value = response.json().await.unwrap();
                let refused = !errors(&body, "parameter", name).is_empty();
                tried += 1;
                if refused == fits || (refused && status != StatusCode::BAD_REQUEST) {
                    wrong.push(format!("{path}: documented {fits}, answered {body}"));
                }
            }
        }
    }
    assert!(tried > 50 && wrong.is_empty(), "{tried} tried: {wrong:#?}");
    node.stop().await;
}
