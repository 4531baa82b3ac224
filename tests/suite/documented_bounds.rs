//! Every bound in the OpenAPI document is enforced: values at it are accepted, values beyond it
//! refused.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::database::TestDatabase;
use crate::support::service::{Caller, Node};

const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// The path of a member from the root of a body. `None` is the first item of an array.
type MemberPath = Vec<Option<String>>;

/// A member with bounds and its schema.
struct BoundedMember {
    way: MemberPath,
    schema: Value,
}

fn resolved<'d>(document: &'d Value, schema: &'d Value) -> &'d Value {
    if let Some(reference) = schema["$ref"].as_str() {
        return resolved(document, document.pointer(&reference[1..]).expect(reference));
    }
    let not_null = |schemas: &'d Value| schemas.as_array()?.iter().find(|schema| schema["type"] != "null");
    not_null(&schema["oneOf"])
        .filter(|_| schema["oneOf"].as_array().is_some_and(|of| of.len() == 2))
        .map_or(schema, |schema| resolved(document, schema))
}

fn is_of(schema: &Value, kind: &str) -> bool {
    schema["type"] == kind || schema["type"].as_array().is_some_and(|kinds| kinds.iter().any(|of| of == kind))
}

fn collect(document: &Value, schema: &Value, way: &MemberPath, found: &mut Vec<BoundedMember>) {
    let schema = resolved(document, schema);
    let step = |name: Option<&String>| [&way[..], &[name.cloned()]].concat();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        collect(document, property, &step(Some(name)), found);
    }
    if is_of(schema, "array") {
        found.push(BoundedMember { way: way.clone(), schema: schema.clone() });
        collect(document, &schema["items"], &step(None), found);
    } else if ["integer", "number", "string"].into_iter().any(|kind| is_of(schema, kind)) {
        found.push(BoundedMember { way: way.clone(), schema: schema.clone() });
    }
}

impl BoundedMember {
    /// Values at the bounds and just beyond them, each with whether it is valid.
    fn test_values(&self) -> impl Iterator<Item = (Value, bool)> {
        let (inside, outside) = self.ends();
        let inside = inside.into_iter().map(|value| (value, true));
        inside.chain(outside.into_iter().map(|value| (value, false)))
    }

    /// Values inside both bounds, and values just outside.
    fn ends(&self) -> (Vec<Value>, Vec<Value>) {
        let of = |name: &str| self.schema[name].as_u64().map(|number| usize::try_from(number).unwrap());
        let texts =
            |lengths: Vec<usize>| lengths.into_iter().map(|length| json!("x".repeat(length))).collect();
        if is_of(&self.schema, "integer") {
            let least = self.schema["minimum"].as_i64().expect("each number has a minimum");
            let format = if self.schema["format"] == "int32" { i64::from(i32::MAX) } else { i64::MAX };
            let most = self.schema["maximum"].as_i64().unwrap_or(format);
            let beyond = most.checked_add(1).map_or(json!(u64::MAX), |beyond| json!(beyond));
            return (vec![json!(least), json!(most)], vec![json!(least - 1), beyond]);
        }
        if is_of(&self.schema, "number") {
            let [least, most] = ["minimum", "maximum"].map(|name| self.schema[name].as_f64().expect(name));
            return (vec![json!(least), json!(most)], vec![json!(least - 0.01), json!(most + 0.01)]);
        }
        if is_of(&self.schema, "array") {
            let items = |count: usize| json!(vec![json!({}); count]);
            let most = of("maxItems").expect("each array has a bound");
            return (vec![items(most)], vec![items(most + 1)]);
        }
        match (of("minLength"), of("maxLength")) {
            (Some(least), Some(most)) => (texts(vec![least, most]), texts(vec![least - 1, most + 1])),
            // Texts with a pattern, such as codes, ids and digests.
            _ => (Vec::new(), texts(vec![0])),
        }
    }

    fn pointer(&self) -> String {
        let step = |step: &Option<String>| format!("/{}", step.as_deref().unwrap_or("0"));
        self.way.iter().map(step).collect()
    }

    fn body(&self, value: Value) -> Value {
        self.way.iter().rev().fold(value, |inside, step| match step {
            Some(name) => json!({ name.as_str(): inside }),
            None => json!([inside]),
        })
    }
}

/// Whether an error is about a bound.
fn is_about_a_bound(detail: &str) -> bool {
    ["expected a whole number from", "expected a number from", "expected text of", "expected at most"]
        .iter()
        .any(|begin| detail.starts_with(begin))
}

fn errors<'a>(body: &'a Value, member: &str, place: &str) -> Vec<&'a str> {
    let all = body["errors"].as_array().map_or(&[][..], Vec::as_slice);
    all.iter().filter(|error| error[member] == place).filter_map(|error| error["detail"].as_str()).collect()
}

/// A caller of a node with the list that paths use, and the node's document.
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

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_bound_of_a_body_is_enforced() {
    let database = TestDatabase::create().await;
    let (node, caller, document) = documented(&database).await;
    let (mut tried, mut wrong) = (0, Vec::new());
    for (path, method, operation) in operations(&document) {
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        let (Some(path), false) = (path_of(path), schema.is_null()) else { continue };
        let mut members = Vec::new();
        collect(&document, schema, &Vec::new(), &mut members);
        for member in members {
            let pointer = member.pointer();
            for (value, fits) in member.test_values() {
                let request = caller.request(method.clone(), &path).header("Idempotency-Key", "k");
                let response = request.json(&member.body(value.clone())).send().await.unwrap();
                let body: Value = response.json().await.unwrap();
                let reported = errors(&body, "pointer", &pointer);
                let refused =
                    if fits { reported.iter().any(|it| is_about_a_bound(it)) } else { !reported.is_empty() };
                tried += 1;
                if refused == fits {
                    let value: String = value.to_string().chars().take(40).collect();
                    wrong.push(format!("{path} {pointer} {value}: documented {fits}, reported {reported:?}"));
                }
            }
        }
    }
    assert!(tried > 150 && wrong.is_empty(), "{tried} tried: {wrong:#?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_bound_of_a_query_is_enforced() {
    let database = TestDatabase::create().await;
    let (node, caller, document) = documented(&database).await;
    let (mut tried, mut wrong) = (0, Vec::new());
    for (path, method, operation) in operations(&document) {
        let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
        for parameter in parameters.iter().filter(|it| it["in"] == "query" && is_of(&it["schema"], "integer"))
        {
            let name = parameter["name"].as_str().unwrap();
            let member = BoundedMember { way: Vec::new(), schema: parameter["schema"].clone() };
            for (value, fits) in member.test_values() {
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
