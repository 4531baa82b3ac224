//! A real provider of OpenID Connect, and people who sign in by it with a browser that keeps cookies.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Response, Url};
use serde_json::{Value, json};

use super::people::SignedIn;
use super::program::TEST_TIMEOUT;
use super::service::{Caller, Node, send};

/// The nodes of the tests have this issuer, so providers send browsers there.
pub const REDIRECT: &str = "http://127.0.0.1:8000/session/openid/return";

pub const CLIENT_SECRET: &str = "a secret of the tests";

fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/openid")
}

/// Whether the provider is installed. Without it a test passes with a message, unless it is required.
pub fn is_installed() -> bool {
    let runs = Command::new("node").arg("--version").stdout(Stdio::null()).status().is_ok();
    let installed = runs && tools().join("node_modules/oidc-provider").is_dir();
    let required = std::env::var("TOLLGATE_OPENID").is_ok_and(|value| value == "required");
    assert!(installed || !required, "the provider is missing: run scripts/ensure-test-tools");
    if !installed {
        eprintln!("not tested with a provider: run scripts/ensure-test-tools with npm");
    }
    installed
}

/// A port of this machine that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// `oidc-provider`, in a process of its own. Stopped when dropped.
pub struct Provider {
    pub issuer: String,
    accounts: PathBuf,
    process: Child,
    _folder: tempfile::TempDir,
}

impl Provider {
    pub fn start(port: u16, redirect: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (accounts, log) = (folder.path().join("accounts.json"), folder.path().join("log"));
        std::fs::write(&accounts, "{}").unwrap();
        let process = Command::new("node")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openid/provider.mjs"))
            .args([tools().as_os_str(), port.to_string().as_ref(), redirect.as_ref(), accounts.as_os_str()])
            .stdout(std::fs::File::create(&log).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while !std::fs::read_to_string(&log).unwrap().contains("listening at") {
            assert!(begun.elapsed() < TEST_TIMEOUT, "the provider does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        let issuer = format!("http://127.0.0.1:{port}");
        Self { issuer, accounts, process, _folder: folder }
    }

    /// Replaces all accounts: the claims of each login.
    pub fn set_accounts(&self, accounts: &Value) {
        std::fs::write(&self.accounts, accounts.to_string()).unwrap();
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The settings of a tenant whose administrators, reviewers and auditors come from an issuer.
pub fn settings(issuer: &str) -> Value {
    json!({
        "issuer": issuer,
        "client_id": "tollgate",
        "client_secret": CLIENT_SECRET,
        "role_mapping": [
            {"value": "payments-admins", "role": "admin"},
            {"value": "payments-reviewers", "role": "reviewer"},
            {"value": "auditors", "role": "auditor"},
        ],
        "password_sign_in": true,
    })
}

pub async fn set(by: &Caller, settings: &Value) {
    let request = by.request(reqwest::Method::PUT, "/settings/openid").json(settings);
    let (status, answer) = send(request).await;
    assert_eq!(status, 200, "{answer}");
}

/// A browser, as far as signing in needs one. It has cookies for the node and for the provider.
pub struct Browser {
    pub cookies: BTreeMap<String, String>,
    node_url: String,
    http: reqwest::Client,
}

impl Browser {
    pub fn new(node: &Node) -> Self {
        let http = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
        Self { cookies: BTreeMap::new(), node_url: node.url.clone(), http }
    }

    async fn send(&mut self, request: RequestBuilder) -> Response {
        let all: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let response = request.header(COOKIE, all.join("; ")).send().await.unwrap();
        for cookie in response.headers().get_all(SET_COOKIE) {
            let (name, rest) = cookie.to_str().unwrap().split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            match value.is_empty() {
                true => self.cookies.remove(name),
                false => self.cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
        response
    }

    /// Goes to an address. Returns the address to which the response leads.
    pub async fn go(&mut self, address: &str) -> String {
        let response = self.send(self.http.get(address)).await;
        assert_eq!(response.status(), 303, "{address}: {:?}", response.text().await);
        response.headers()[LOCATION].to_str().unwrap().to_owned()
    }

    /// Begins to sign in. Returns the address at the provider, or in the page if that fails.
    pub async fn start(&mut self, tenant: &str) -> String {
        self.go(&format!("{}/session/openid?tenant={tenant}&place=decisions", self.node_url)).await
    }

    /// Signs in at the real provider. Returns the address to which it sends the browser back.
    pub async fn log_in(&mut self, address: &str, login: &str) -> String {
        let mut at = Url::parse(address).unwrap();
        for _ in 0..20 {
            let request = match at.path().starts_with("/interaction/") {
                true => self.http.post(at.clone()).form(&[
                    ("prompt", "login"),
                    ("login", login),
                    ("password", "any"),
                ]),
                false => self.http.get(at.clone()),
            };
            let response = self.send(request).await;
            let status = response.status();
            let next = response.headers().get(LOCATION).map(|next| next.to_str().unwrap().to_owned());
            let Some(next) = next else { panic!("{at}: {status} {:?}", response.text().await) };
            if next.starts_with(REDIRECT) {
                return next;
            }
            at = at.join(&next).unwrap();
        }
        panic!("the provider does not send the browser back from {at}");
    }

    /// Comes back from the provider. Returns the address in the page.
    pub async fn come_back(&mut self, address: &str) -> String {
        let query = address.strip_prefix(REDIRECT).expect("the address of the return");
        self.go(&format!("{}/session/openid/return{query}", self.node_url)).await
    }

    /// The whole way. Returns the address in the page.
    pub async fn sign_in(&mut self, tenant: &str, login: &str) -> String {
        let address = self.start(tenant).await;
        let back = self.log_in(&address, login).await;
        self.come_back(&back).await
    }

    /// The session of this browser, as the page asks for it.
    pub async fn session(&mut self) -> SignedIn {
        let response = self.send(self.http.post(format!("{}/session/refresh", self.node_url))).await;
        assert_eq!(response.status(), 200);
        SignedIn::of(&self.node_url, response).await
    }
}

/// A parameter of an address.
pub fn parameter(address: &str, name: &str) -> String {
    let url = Url::parse(address).unwrap();
    let found = url.query_pairs().find(|(found, _)| found == name);
    found.map(|(_, value)| value.into_owned()).unwrap_or_else(|| panic!("{address} has no {name}"))
}
