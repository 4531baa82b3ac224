//! Nodes that run in this process, and clients that call them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tollgate::app::tenants::{ClientRequest, CreatedClient, create_client, create_tenant};
use tollgate::app::{self, App, IgnitedServer};
use tollgate::auth::scope::ScopeSet;
use tollgate::config::Config;
use tollgate::decisions::replay::ReplayError;
use tollgate::domain::tenant::Scope;
use tollgate::domain::time::Machine;
use tollgate::storage::StorageError;
use tollgate::storage::databases::Databases;
use tollgate::storage::decisions::{self, StoredSince};
use tollgate::storage::pool::DatabaseSettings;
use tollgate::world::machine;

use super::components::component;
use super::database::TestDatabase;
use super::program::TEST_TIMEOUT;

/// All tests have the same root secret, so that plugins are compiled only once.
pub const ROOT_SECRET: &str = "5b0f7c6a2e1d4f93887766554433221100ffeeddccbbaa99deadbeefcafef00d";

/// The largest deadline, so that no test fails on a busy machine. Tests of the deadline set another.
pub const DEADLINE_MS: u64 = 60_000;

pub fn shipped_plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins")
}

pub fn data_dir() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("data")
}

/// A node. Several may share a database.
pub struct Node {
    pub url: String,
    pub databases: Databases,
    pub app: Arc<App>,
    shutdown: CancellationToken,
    server_task: JoinHandle<()>,
}

impl Node {
    pub async fn start(database: &TestDatabase) -> Self {
        Self::start_with(database, &[]).await
    }

    pub async fn start_with(database: &TestDatabase, settings: &[(&str, Value)]) -> Self {
        Self::start_at(database, &database.url, settings).await
    }

    /// Starts a node with another URL of the database than the tests use.
    pub async fn start_at(database: &TestDatabase, url: &str, settings: &[(&str, Value)]) -> Self {
        Self::assemble(database, url, settings, env!("CARGO_BIN_EXE_tollgate"), machine()).await
    }

    /// Starts a node with another compiler and another folder for compiled plugins.
    pub async fn start_with_compiler(database: &TestDatabase, data_dir: &Path, program: &str) -> Self {
        Self::assemble(database, &database.url, &[("data_dir", json!(data_dir))], program, machine()).await
    }

    /// Starts a node with other clocks.
    pub async fn start_on(database: &TestDatabase, machine: Machine) -> Self {
        Self::assemble(database, &database.url, &[], env!("CARGO_BIN_EXE_tollgate"), machine).await
    }

    async fn assemble(
        database: &TestDatabase,
        url: &str,
        settings: &[(&str, Value)],
        program: &str,
        machine: Machine,
    ) -> Self {
        let databases = database.databases();
        let mut figment = rocket::Config::figment()
            .select("debug")
            .merge(("address", "127.0.0.1"))
            .merge(("port", 0))
            .merge(("log_level", "off"))
            .merge(("databases.main.url", url))
            .merge(("tollgate.deadline_ms", DEADLINE_MS))
            .merge(("tollgate.data_dir", data_dir()))
            .merge(("tollgate.plugins_dir", shipped_plugins()))
            .merge(("tollgate.root_secret", ROOT_SECRET))
            // All nodes of a database need the same issuer.
            .merge(("tollgate.issuer", "http://127.0.0.1:8000"));
        for (key, value) in settings {
            figment = figment.merge((format!("tollgate.{key}"), value));
        }
        let config = Config::from_figment(figment).expect("configuration");
        let database = DatabaseSettings::for_url(url);
        let ignited = app::ignite_on(&config, &database, program.into(), machine).await;
        let IgnitedServer { server, app } = ignited.expect("a node");
        let listening = server.listen().await.expect("an address");
        let url = listening.url();
        let shutdown = listening.stopping();
        let server_task = tokio::spawn(listening.serve());
        Self { url, databases, app, shutdown, server_task }
    }

    /// Asserts that all stored decisions replay identically, and stops.
    pub async fn stop(self) {
        self.replay_everything().await;
        self.app.streams.stop().await;
        self.shutdown.cancel();
        self.server_task.await.expect("served");
        self.app.stop().await;
    }

    async fn replay_everything(&self) {
        let all = decisions::since_in_pages(&self.databases.system, None, 0, None, 10_000).await;
        for StoredSince { tenant, id, .. } in all.expect("decisions") {
            match self.app.services.replays.replay(tenant, id).await {
                Ok(replay) => assert!(replay.is_identical(), "{id}: {:#?}", replay.differences),
                Err(ReplayError::Imported | ReplayError::Storage(StorageError::Erased)) => {}
                Err(error) => panic!("{id}: {error:?}"),
            }
        }
    }
}

/// A client of a node, with its token.
#[derive(Clone)]
pub struct Caller {
    pub url: String,
    pub client_id: String,
    pub client_secret: String,
    token: String,
    http: reqwest::Client,
}

impl Caller {
    /// A client with every scope for a new tenant.
    pub async fn of_new_tenant(node: &Node, tenant: &str) -> Self {
        create_tenant(&node.databases.system, tenant, "test").await.expect("tenant");
        Self::of_tenant(node, tenant, Scope::ALL.into_iter().collect()).await
    }

    pub async fn of_tenant(node: &Node, tenant: &str, scopes: ScopeSet) -> Self {
        let order = ClientRequest {
            tenant: tenant.to_owned(),
            name: "test".to_owned(),
            scopes,
            created_by: "test".to_owned(),
        };
        let CreatedClient { id, secret, .. } =
            create_client(&node.databases.system, order).await.expect("client");
        Self::sign_in(&node.url, &id.to_string(), secret.expose()).await
    }

    pub async fn sign_in(url: &str, client_id: &str, client_secret: &str) -> Self {
        Self::sign_in_over(reqwest::Client::new(), url, client_id, client_secret).await
    }

    /// As `sign_in`, on connections of this client.
    pub async fn sign_in_over(
        http: reqwest::Client,
        url: &str,
        client_id: &str,
        client_secret: &str,
    ) -> Self {
        let response = http
            .post(format!("{url}/oauth/token"))
            .basic_auth(client_id, Some(client_secret))
            .form(&[("grant_type", "client_credentials")])
            .send()
            .await
            .expect("a response");
        assert_eq!(response.status(), StatusCode::OK);
        let token: Value = response.json().await.expect("JSON");
        Self {
            url: url.to_owned(),
            client_id: client_id.to_owned(),
            client_secret: client_secret.to_owned(),
            token: token["access_token"].as_str().expect("a token").to_owned(),
            http,
        }
    }

    /// The same client at another node.
    pub fn at(&self, url: &str) -> Self {
        Self { url: url.to_owned(), ..self.clone() }
    }

    /// The same client and token on other connections.
    pub fn over(&self, http: reqwest::Client) -> Self {
        Self { http, ..self.clone() }
    }

    /// The same client with another token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}/api/v1{path}", self.url)).bearer_auth(&self.token)
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        send_until_not_busy(|| self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        send(self.request(Method::POST, path).json(body)).await
    }

    pub async fn pay(&self, key: &str, body: &Value) -> (StatusCode, Value) {
        let submit = || self.request(Method::POST, "/payments").header("Idempotency-Key", key).json(body);
        send_until_not_busy(submit).await
    }

    /// The digest of a shipped rule.
    pub async fn plugin(&self, name: &str) -> String {
        let (status, plugins) = self.get("/plugins").await;
        assert_eq!(status, StatusCode::OK, "{plugins}");
        let items = plugins["items"].as_array().expect("items");
        let found = items.iter().find(|plugin| plugin["name"] == name).expect(name);
        found["digest"].as_str().expect("digest").to_owned()
    }

    /// Creates a revision with these shipped rules and settings, and activates it.
    pub async fn activate(&self, rules: &[(&str, Value)]) -> i64 {
        let mut entries = Vec::new();
        for (name, settings) in rules {
            entries.push(json!({"name": name, "plugin": self.plugin(name).await, "settings": settings}));
        }
        let (status, revision) = self.post("/rulesets/payment/revisions", &json!({"rules": entries})).await;
        assert_eq!(status, StatusCode::CREATED, "{revision}");
        let number = revision["number"].as_i64().expect("number");
        let (status, activation) =
            self.post("/rulesets/payment/activations", &json!({"revision": number})).await;
        assert!(status.is_success(), "{activation}");
        number
    }

    /// Creates a revision of these entries and activates it.
    pub async fn activate_entries(&self, rules: &Value) -> i64 {
        let (status, revision) = self.post("/rulesets/payment/revisions", &json!({"rules": rules})).await;
        assert_eq!(status, StatusCode::CREATED, "{revision}");
        let number = revision["number"].as_i64().expect("number");
        let body = json!({"revision": number});
        let (status, activation) = self.post("/rulesets/payment/activations", &body).await;
        assert_eq!(status, StatusCode::CREATED, "{activation}");
        number
    }

    /// Submits a plugin without waiting until it is accepted or refused.
    pub async fn submit_plugin(&self, bytes: Vec<u8>) -> (StatusCode, Value) {
        let request = self.request(Method::POST, "/plugins").header("Content-Type", "application/wasm");
        send(request.body(bytes)).await
    }

    /// Waits until a plugin is ready or refused.
    pub async fn wait_for_plugin(&self, digest: &str) -> Value {
        let begun = Instant::now();
        loop {
            let (status, plugin) = self.get(&format!("/plugins/{digest}")).await;
            assert_eq!(status, StatusCode::OK, "{plugin}");
            if plugin["state"] == "ready" || plugin["state"] == "refused" {
                return plugin;
            }
            assert!(begun.elapsed() < TEST_TIMEOUT, "{plugin}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Uploads a valid plugin and waits until it is ready.
    pub async fn upload(&self, bytes: Vec<u8>) -> Value {
        let (status, upload) = self.submit_plugin(bytes).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{upload}");
        let plugin = self.wait_for_plugin(upload["digest"].as_str().expect("digest")).await;
        assert_eq!(plugin["state"], "ready", "{plugin}");
        plugin
    }

    /// Uploads a fixture of `tests/hostile` and returns its digest.
    pub async fn upload_fixture(&self, fixture: &str) -> String {
        self.upload(component(fixture)).await["digest"].as_str().expect("digest").to_owned()
    }

    pub fn token(&self) -> &str {
        &self.token
    }
}

/// A response with its headers.
#[derive(Debug)]
pub struct FullResponse {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl FullResponse {
    pub async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.expect("a response");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, text: response.text().await.expect("a body") }
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

/// Sends a request that may be repeated, until the node is no longer busy.
async fn send_until_not_busy(request: impl Fn() -> RequestBuilder) -> (StatusCode, Value) {
    let begun = Instant::now();
    loop {
        let (status, body) = send(request()).await;
        let busy = ["/problems/busy", "/problems/deadline"].iter().any(|kind| body["type"] == *kind);
        if !busy || begun.elapsed() > TEST_TIMEOUT {
            return (status, body);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub async fn send(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.expect("a response");
    let status = response.status();
    let text = response.text().await.expect("a body");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// A payment that the shipped rules approve.
pub fn payment() -> Value {
    json!({
        "reference": "order-1",
        "amount_minor": 2_500,
        "currency": "EUR",
        "method": "credit_transfer",
        "debtor": {"name": "Ann Jones", "account": {"iban": "DE89370400440532013000"}},
        "creditor": {"name": "Blue Bikes", "account": {"iban": "NL91ABNA0417164300"}},
        "customer": "customer-1"
    })
}

/// `payment()` with these members replaced.
pub fn payment_with(changes: &Value) -> Value {
    let mut payment = payment();
    for (key, value) in changes.as_object().expect("an object") {
        payment[key] = value.clone();
    }
    payment
}
