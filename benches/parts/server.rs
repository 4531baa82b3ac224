//! The program under test, on its own database.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Certificate, Client};
use serde_json::Value;

/// Known in advance, so that the benchmark can sign tokens.
pub const ISSUER: &str = "http://tollgate.example";

/// Where requests go, and the client that sends them.
struct Entrance {
    url: String,
    client: Client,
}

/// Killed when dropped.
pub struct Tollgate {
    process: Child,
    program: PathBuf,
    entrance: Entrance,
    pub address: String,
    pub token: String,
    #[allow(dead_code, reason = "one bench of several wants it")]
    pub ready_ms: u128,
}

impl Tollgate {
    pub async fn start(database_url: &str, folder: &Path) -> Self {
        Self::start_with(database_url, folder, &[]).await
    }

    /// Starts the program. `settings` are environment variables with configuration keys.
    pub async fn start_with(database_url: &str, folder: &Path, settings: &[(&str, &str)]) -> Self {
        Self::start_program(&program(), database_url, folder, settings).await
    }

    /// Starts the program with TLS. The settings name its certificate, which is of this authority.
    #[allow(dead_code, reason = "one bench of several wants TLS")]
    pub async fn start_with_tls(
        database_url: &str,
        folder: &Path,
        settings: &[(&str, &str)],
        authority: Certificate,
    ) -> Self {
        Self::launch(&program(), database_url, folder, settings, Some(authority)).await
    }

    pub async fn start_program(
        program: &Path,
        database_url: &str,
        folder: &Path,
        settings: &[(&str, &str)],
    ) -> Self {
        Self::launch(program, database_url, folder, settings, None).await
    }

    async fn launch(
        program: &Path,
        database_url: &str,
        folder: &Path,
        settings: &[(&str, &str)],
        authority: Option<Certificate>,
    ) -> Self {
        let begun = Instant::now();
        let log = folder.join("tollgate.log");
        let file = std::fs::File::create(&log).unwrap();
        let process = Command::new(program)
            .env("ROCKET_PROFILE", "release")
            .env("ROCKET_ADDRESS", "127.0.0.1")
            .env("ROCKET_PORT", "0")
            .env("ROCKET_DATABASES", format!("{{main={{url=\"{database_url}\"}}}}"))
            .env("ROCKET_TOLLGATE_DATA_DIR", folder.join("data"))
            .env("ROCKET_TOLLGATE_ISSUER", ISSUER)
            // Only the first start creates the tenant. `new_client` creates a client after each
            // start.
            .env("ROCKET_TOLLGATE_DEMO", "true")
            .env("ROCKET_TOLLGATE_PLUGINS_DIR", Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins"))
            .envs(settings.iter().copied())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        let address = address_in(&log).await;
        let ready_ms = begun.elapsed().as_millis();
        let entrance = Entrance::to(&address, authority);
        let token = entrance.token_of_new_client(program, database_url, "demo").await;
        Self { process, program: program.to_owned(), entrance, address, token, ready_ms }
    }

    /// A token for a tenant, which must exist.
    #[allow(dead_code, reason = "one bench wants tokens of several tenants")]
    pub async fn new_token(&self, database_url: &str, tenant: &str) -> String {
        self.entrance.token_of_new_client(&self.program, database_url, tenant).await
    }

    /// Sends a request, which must succeed.
    pub async fn call(&self, method: reqwest::Method, path: &str, body: &Value) -> Value {
        self.call_as(&self.token, method, path, body).await
    }

    pub async fn call_as(&self, token: &str, method: reqwest::Method, path: &str, body: &Value) -> Value {
        let Entrance { url, client } = &self.entrance;
        let request = client.request(method, format!("{url}/api/v1{path}"));
        let answer = request.bearer_auth(token).json(body).send().await.unwrap();
        let (status, answer) = (answer.status(), answer.json().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    #[allow(dead_code, reason = "not every bench looks at the process")]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn resident_mb(&self) -> f64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or("0 0");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    }

    pub fn stop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Tollgate {
    fn drop(&mut self) {
        let _ = self.process.kill();
    }
}

impl Entrance {
    fn to(address: &str, authority: Option<Certificate>) -> Self {
        let scheme = if authority.is_some() { "https" } else { "http" };
        // A connection that is kept would count as the server's load.
        let client = Client::builder().no_proxy().pool_max_idle_per_host(0).tls_certs_only(authority);
        Self { url: format!("{scheme}://{address}"), client: client.build().unwrap() }
    }

    async fn token_of_new_client(&self, program: &Path, database_url: &str, tenant: &str) -> String {
        let created =
            administer(program, database_url, &["client", "create", "--tenant", tenant, "--name", "bench"]);
        let value = |name: &str| {
            let line = created.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{created}")).to_owned()
        };
        self.token(&value("client_id="), &value("client_secret=")).await
    }

    async fn token(&self, id: &str, secret: &str) -> String {
        let request = self.client.post(format!("{}/oauth/token", self.url)).basic_auth(id, Some(secret));
        let answer = request.form(&[("grant_type", "client_credentials")]).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }
}

/// The address in the line that says the server is ready.
async fn address_in(log: &PathBuf) -> String {
    for _ in 0..12_000 {
        let text = std::fs::read_to_string(log).unwrap();
        if let Some(rest) = text.split("\"address\":\"").nth(1) {
            return rest.split('"').next().unwrap().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not ready:\n{}", std::fs::read_to_string(log).unwrap());
}

/// Runs a command of the program and returns what it prints.
pub fn administer(program: &Path, database_url: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .env("ROCKET_DATABASES", format!("{{main={{url=\"{database_url}\"}}}}"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The program of this profile, unless `TOLLGATE_PROGRAM` names another.
pub fn program() -> PathBuf {
    std::env::var_os("TOLLGATE_PROGRAM").map_or(env!("CARGO_BIN_EXE_tollgate").into(), PathBuf::from)
}
