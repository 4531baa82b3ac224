//! The audit log: each act has one record, which cannot be changed.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgConnection;
use tollgate::domain::tenant::{ClientId, Scope, TenantId};
use tollgate::storage::StorageError;
use tollgate::storage::clients::find_credentials;

use crate::support::database::TestDatabase;
use crate::support::decisions::now_ms;
use crate::support::program::{Program, run_command, tollgate_on};
use crate::support::service::{Caller, Node, send};

async fn acts(caller: &Caller, query: &str) -> Vec<Value> {
    let (status, page) = caller.get(&format!("/audit?limit=200{query}")).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    page["items"].as_array().unwrap().clone()
}

/// Action, subject, before and after of all records, oldest first.
async fn list_acts(caller: &Caller) -> Vec<(String, String, Value, Value)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = acts(caller, "").await.into_iter().rev();
    all.map(|act| (text(&act["action"]), text(&act["subject"]), act["before"].clone(), act["after"].clone()))
        .collect()
}

async fn list_entry(caller: &Caller, body: &Value) -> Value {
    let (status, entry) = caller.post("/lists/watched/entries", body).await;
    assert_eq!(status, StatusCode::CREATED, "{entry}");
    entry
}

/// An entry as its acts have it: they are stored with times in milliseconds.
fn as_recorded(entry: &Value) -> Value {
    let mut recorded = entry.clone();
    recorded.as_object_mut().unwrap().retain(|name, _| !["valid_from", "valid_to"].contains(&name.as_str()));
    recorded
}

fn limits(plugin: &str, maximum_minor: i64) -> Value {
    let settings = json!({"limits": [{"currency": "EUR", "maximum_minor": maximum_minor}]});
    json!({"name": "limits", "plugin": plugin, "settings": settings})
}

#[tokio::test(flavor = "multi_thread")]
async fn each_act_is_recorded_with_the_state_before_and_after() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let begun_ms = now_ms();
    caller.post("/lists", &json!({"name": "watched", "kind": "text", "description": "Who to watch"})).await;
    let entry = list_entry(&caller, &json!({"value": "John Q. Sample", "reason": "a test"})).await;
    let path = format!("/lists/watched/entries/{}", entry["id"].as_str().unwrap());
    assert_eq!(send(caller.request(Method::DELETE, &path)).await.0, StatusCode::OK);
    let plugin = caller.plugin("amount-limits").await;
    for note in ["first", "second"] {
        let body = json!({"note": note, "rules": [limits(&plugin, 100)]});
        let (status, revision) = caller.post("/rulesets/payment/revisions", &body).await;
        assert_eq!(status, StatusCode::CREATED, "{revision}");
    }
    let (_, revision) = caller.get("/rulesets/payment/revisions/1").await;
    caller.post("/rulesets/payment/activations", &json!({"revision": 1})).await;
    caller.post("/rulesets/payment/activations", &json!({"revision": 2})).await;
    let canary = caller.request(Method::PUT, "/rulesets/payment/canary");
    send(canary.json(&json!({"revision": 1, "share_percent": 5}))).await;
    let shadow = caller.request(Method::PUT, "/rulesets/payment/shadow");
    send(shadow.json(&json!({"revision": 1}))).await;
    caller.post("/rulesets/payment/rollback", &json!({})).await;

    let (_, entries) = caller.get("/lists/watched/entries").await;
    let closed = as_recorded(&entries["items"][0]);
    let mut open = as_recorded(&entry);
    open["valid_to_ms"] = Value::Null;
    let rules = json!([{"name": "limits", "plugin": plugin}]);
    let reported = list_acts(&caller).await;
    let tenant = &reported[0].3["id"];
    let expected = [
        ("tenant.created", "acme", Value::Null, json!({"id": tenant, "name": "acme"})),
        (
            "client.created",
            &caller.client_id,
            Value::Null,
            json!({"name": "test", "scopes": Scope::ALL.map(Scope::name)}),
        ),
        ("list.created", "watched", Value::Null, json!({"description": "Who to watch", "kind": "text"})),
        ("list_entry.added", "watched", Value::Null, open.clone()),
        ("list_entry.closed", "watched", open, closed.clone()),
        (
            "revision.created",
            "1",
            Value::Null,
            json!({"digest": revision["digest"], "note": "first", "rules": rules}),
        ),
    ];
    for (found, (action, subject, before, after)) in reported.iter().zip(&expected) {
        assert_eq!(found, &((*action).to_owned(), (*subject).to_owned(), before.clone(), after.clone()));
    }
    let actions: Vec<&str> = reported[expected.len()..].iter().map(|(action, ..)| action.as_str()).collect();
    assert_eq!(
        actions,
        [
            "revision.created",
            "revision.activated",
            "revision.activated",
            "canary.changed",
            "shadow.changed",
            "revision.rolled_back"
        ]
    );
    assert_eq!(reported[8].2["revision"], 1, "the previous activation is recorded: {reported:?}");
    assert_eq!((&reported[8].1, &reported[8].3["revision"]), (&"2".to_owned(), &json!(2)));

    let all = acts(&caller, "").await;
    for act in &all[..all.len() - 2] {
        assert_eq!(act["actor"], format!("client:{}", caller.client_id), "{act}");
        assert!((begun_ms..=now_ms()).contains(&act["at_ms"].as_u64().unwrap()), "{act}");
    }
    let sequences: Vec<i64> = all.iter().map(|act| act["sequence"].as_i64().unwrap()).collect();
    assert!(sequences.is_sorted_by(|newer, older| newer > older), "{sequences:?}");
    let text = serde_json::to_string(&all).unwrap();
    assert!(!text.contains(&caller.client_secret) && !text.contains("argon2"), "{text}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_act_that_fails_is_not_recorded() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let plugin = caller.plugin("amount-limits").await;
    caller.post("/lists", &json!({"name": "watched", "kind": "text"})).await;
    let entry = list_entry(&caller, &json!({"value": "c-1", "reason": "r"})).await;
    let path = format!("/lists/watched/entries/{}", entry["id"].as_str().unwrap());
    send(caller.request(Method::DELETE, &path)).await;
    list_entry(&caller, &json!({"value": "c-1", "reason": "r"})).await;
    caller.post("/rulesets/payment/revisions", &json!({"rules": [limits(&plugin, 100)]})).await;
    caller.post("/rulesets/payment/activations", &json!({"revision": 1})).await;
    let before = list_acts(&caller).await;

    let entry = json!({"value": "c-1", "reason": "r"});
    for (path, body, expected) in [
        ("/lists", json!({"name": "watched", "kind": "text"}), 409),
        ("/lists/watched/entries", entry.clone(), 409),
        ("/lists/nowhere/entries", entry, 404),
        ("/rulesets/payment/revisions", json!({"rules": [limits(&"0".repeat(64), 100)]}), 422),
        ("/rulesets/payment/activations", json!({"revision": 99}), 422),
        ("/rulesets/payment/rollback", json!({}), 409),
    ] {
        let (status, problem) = caller.post(path, &body).await;
        assert_eq!(status.as_u16(), expected, "{path}: {problem}");
    }
    assert_eq!(send(caller.request(Method::DELETE, &path)).await.0, StatusCode::NOT_FOUND);
    let stale = caller.request(Method::POST, "/rulesets/payment/activations").header("If-Match", "\"none\"");
    assert_eq!(send(stale.json(&json!({"revision": 1}))).await.0, StatusCode::PRECONDITION_FAILED);
    let taken = tollgate::app::tenants::create_tenant(&node.databases.system, "acme", "test").await;
    assert!(taken.is_err());
    assert_eq!(list_acts(&caller).await, before);
    // Of concurrent requests to close an entry, one succeeds.
    let (_, entries) = caller.get("/lists/watched/entries").await;
    let path = format!("/lists/watched/entries/{}", entries["items"][1]["id"].as_str().unwrap());
    let closing = (0..6).map(|_| send(caller.request(Method::DELETE, &path)));
    let closed = futures::future::join_all(closing).await;
    assert_eq!(closed.iter().filter(|(status, _)| *status == StatusCode::OK).count(), 1);
    assert_eq!(list_acts(&caller).await.len(), before.len() + 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acts_are_found_by_action_actor_and_time_and_only_by_their_tenant() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let stranger = Caller::of_new_tenant(&node, "other").await;
    for place in 0..5 {
        caller.post("/lists", &json!({"name": format!("list-{place}"), "kind": "text"})).await;
    }
    assert_eq!(acts(&caller, "&action=list.created").await.len(), 5);
    assert_eq!(acts(&caller, "&actor=test").await.len(), 2, "the tenant and its client");
    assert_eq!(acts(&caller, &format!("&actor=client:{}", caller.client_id)).await.len(), 5);
    let one = acts(&caller, "&subject=list-3&action=list.created").await;
    assert_eq!((one.len(), &one[0]["subject"]), (1, &json!("list-3")));
    let at_ms = one[0]["at_ms"].as_u64().unwrap();
    assert!(acts(&caller, &format!("&from_ms={at_ms}")).await.contains(&one[0]));
    assert!(!acts(&caller, &format!("&to_ms={at_ms}")).await.contains(&one[0]));

    let mut found = Vec::new();
    let mut path = "/audit?limit=2".to_owned();
    loop {
        let (_, page) = caller.get(&path).await;
        found.extend(page["items"].as_array().unwrap().clone());
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/audit?limit=2&cursor={cursor}");
    }
    assert_eq!(found, acts(&caller, "").await, "pages follow one another");
    assert_eq!(acts(&stranger, "").await.len(), 2, "only its own");
    for query in ["action=nonsense", "colour=red", "from_ms=soon", "limit=0"] {
        assert_eq!(caller.get(&format!("/audit?{query}")).await.0, StatusCode::BAD_REQUEST, "{query}");
    }
    let others = Scope::ALL.into_iter().filter(|scope| *scope != Scope::AuditRead).collect();
    let narrow = Caller::of_tenant(&node, "acme", others).await;
    assert_eq!(narrow.get("/audit").await.0, StatusCode::FORBIDDEN);
    node.stop().await;
}

async fn run(connection: &mut PgConnection, statement: &'static str) -> Result<u64, StorageError> {
    Ok(sqlx::raw_sql(statement).execute(connection).await?.rows_affected())
}

fn is_refused(result: Result<u64, StorageError>) -> bool {
    matches!(result, Err(StorageError::Database(error))
        if error.as_database_error().and_then(|error| error.code()).as_deref() == Some("42501"))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_role_of_the_program_can_change_or_remove_a_record() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let client = ClientId(caller.client_id.parse().unwrap());
    let tenant: TenantId = find_credentials(&node.databases.app, client).await.unwrap().unwrap().tenant;
    let before = acts(&caller, "").await;
    for statement in
        ["update audit_events set actor = 'nobody'", "delete from audit_events", "truncate audit_events"]
    {
        let app = node.databases.app.transaction(tenant, |c| Box::pin(run(c, statement))).await;
        assert!(is_refused(app), "the application may {statement}");
        let system = node.databases.system.transaction(|c| Box::pin(run(c, statement))).await;
        assert!(is_refused(system), "background work may {statement}");
    }
    assert_eq!(acts(&caller, "").await, before);
    node.stop().await;
}

/// Actor, action and the other columns of a record.
async fn stored_records(database: &TestDatabase) -> Vec<(String, String, String)> {
    sqlx::query_as(
        "select actor, action, concat(subject, ' ', before, ' ', after) from audit_events order by sequence",
    )
    .fetch_all(&mut database.superuser().await)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_and_the_demonstration_are_recorded_without_secrets() {
    let database = TestDatabase::create().await;
    let mut secrets = Vec::new();
    for arguments in
        [["tenant", "create", "acme"].as_slice(), &["client", "create", "--tenant", "acme", "--name", "shop"]]
    {
        let command = tollgate_on(&database, arguments);
        let (status, output, log) = tokio::task::spawn_blocking(|| run_command(command)).await.unwrap();
        assert!(status.success(), "{log}");
        let secret = output.lines().find_map(|line| line.strip_prefix("client_secret="));
        secrets.extend(secret.map(str::to_owned));
    }
    assert_eq!(secrets.len(), 1);
    let acts = stored_records(&database).await;
    let actors: Vec<(&str, &str)> =
        acts.iter().map(|(actor, action, _)| (actor.as_str(), action.as_str())).collect();
    assert_eq!(actors, [("command line", "tenant.created"), ("command line", "client.created")]);
    assert!(acts[1].2.contains("shop"), "{acts:?}");

    let mut command = tollgate_on(&database, &["serve"]);
    command.env("ROCKET_TOLLGATE_DEMO", "true");
    let program = Program::start(command).await;
    let demonstration = stored_records(&database).await.split_off(2);
    let mut actions: Vec<&str> = demonstration.iter().map(|(_, action, _)| action.as_str()).collect();
    actions.dedup();
    assert_eq!(
        actions,
        [
            "tenant.created",
            "list.created",
            "list_entry.added",
            "list.created",
            "list_entry.added",
            "list.created",
            "list_entry.added",
            "revision.created",
            "revision.activated",
            "user.created",
            "client.created"
        ]
    );
    assert!(demonstration.iter().all(|(actor, ..)| actor == "demonstration"), "{demonstration:?}");
    let shown = "export CLIENT_SECRET=";
    let secret = || program.lines().iter().find_map(|line| Some(line.trim().strip_prefix(shown)?.to_owned()));
    // This line is printed a moment after the program is ready.
    while secret().is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    secrets.extend(secret());
    let everything = format!("{:?}", stored_records(&database).await);
    for secret in secrets {
        assert!(!everything.contains(&secret), "a secret is in the record");
    }
    assert!(!everything.contains("argon2"), "a hash is in the record");
    program.stop().await;
}
