//! Runs the Tollgate program as a process.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tollgate::app::tenants::{ClientRequest, CreatedClient, create_client, create_tenant};
use tollgate::domain::tenant::Scope;
use tollgate::storage::databases::Databases;
use tollgate::storage::pool::DatabaseSettings;

use super::database::TestDatabase;
use super::service::{Caller, DEADLINE_MS, ROOT_SECRET, data_dir, shipped_plugins};

/// How long tests wait. Long, since a debug build on a busy machine is slow.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(600);

/// The program with the shipped configuration, without this process's environment.
pub fn tollgate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(arguments).env_clear().stdin(Stdio::null()).current_dir(env!("CARGO_TARGET_TMPDIR"));
    for name in ["PATH", "PG_BIN", "LD_LIBRARY_PATH", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
        .env("ROCKET_CONFIG", Path::new(env!("CARGO_MANIFEST_DIR")).join("Rocket.toml"))
        .env("ROCKET_PROFILE", "debug")
        .env("ROCKET_PORT", "0")
        .env("ROCKET_TOLLGATE_DEADLINE_MS", DEADLINE_MS.to_string())
        .env("ROCKET_TOLLGATE_DEMO", "false")
        .env("ROCKET_TOLLGATE_PLUGINS_DIR", shipped_plugins())
        .env("ROCKET_TOLLGATE_DATA_DIR", data_dir())
        .env("ROCKET_TOLLGATE_ROOT_SECRET", ROOT_SECRET)
        // All nodes of a database need the same issuer.
        .env("ROCKET_TOLLGATE_ISSUER", "http://127.0.0.1:8000");
    command
}

/// The program on a database.
pub fn tollgate_on(database: &TestDatabase, arguments: &[&str]) -> Command {
    let mut command = tollgate(arguments);
    command.env("ROCKET_DATABASES", format!("{{main={{url={:?},max_connections=4}}}}", database.url));
    command
}

/// The program without a database: it starts a private Postgres in the folder.
pub fn tollgate_in(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = tollgate(arguments);
    command
        .env("ROCKET_TOLLGATE_DATA_DIR", folder.join("data"))
        .env("ROCKET_TOLLGATE_PLUGINS_DIR", folder.join("plugins"));
    command
}

/// Runs a command to its end. Returns its exit status, standard output and standard error.
pub fn run_command(mut command: Command) -> (ExitStatus, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status, String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A running `tollgate serve`. Killed when dropped.
pub struct Program {
    pub url: String,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Program {
    /// Starts the program and waits until it is ready.
    pub async fn start(command: Command) -> Self {
        tokio::task::spawn_blocking(|| Self::start_blocking(command)).await.unwrap()
    }

    pub async fn serve(database: &TestDatabase) -> Self {
        Self::start(tollgate_on(database, &["serve"])).await
    }

    /// Starts the program with other outputs. One of the two must be `Stdio::piped()` and show the
    /// address, as the standard output of a demonstration does.
    pub async fn start_with_output(mut command: Command, stdout: Stdio, stderr: Stdio) -> Self {
        command.stdout(stdout).stderr(stderr);
        tokio::task::spawn_blocking(|| Self::spawn(command)).await.unwrap()
    }

    fn start_blocking(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        // The command holds the child's ends of the pipes, which must close with the child.
        drop(command);
        let lines = Arc::default();
        let readers = [
            child.stdout.take().map(|stdout| collect(stdout, &lines)),
            child.stderr.take().map(|stderr| collect(stderr, &lines)),
        ];
        let readers = readers.into_iter().flatten().collect();
        let mut program = Self { url: String::new(), child, lines, readers };
        let begun = Instant::now();
        loop {
            let address = program.lines().iter().find_map(|line| address_of(line).map(str::to_owned));
            if let Some(address) = address {
                program.url = format!("http://{address}");
                return program;
            }
            let ended = program.child.try_wait().unwrap().is_some();
            assert!(!ended && begun.elapsed() < TEST_TIMEOUT, "it did not start:\n{}", program.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The output and log so far.
    pub fn log(&self) -> String {
        self.lines().join("\n")
    }

    pub fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The peak of resident memory.
    pub fn peak_memory_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib << 10
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits until the program has ended and its whole log is read.
    pub async fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < TEST_TIMEOUT, "it does not end:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        status
    }

    /// Stops the program as an operator does.
    pub async fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.wait().await;
        assert!(status.success(), "{status}\n{}", self.log());
    }

    /// A client with every scope for a new tenant.
    pub async fn caller_of_new_tenant(&self, database: &TestDatabase, tenant: &str) -> Caller {
        self.caller_in(&database.settings(), tenant).await
    }

    /// Like `caller_of_new_tenant`, in the database of these settings.
    pub async fn caller_in(&self, settings: &DatabaseSettings, tenant: &str) -> Caller {
        let pool = Databases::connect_lazily(settings).unwrap().system;
        create_tenant(&pool, tenant, "test").await.unwrap();
        let scopes = Scope::ALL.into_iter().collect();
        let order = ClientRequest {
            tenant: tenant.to_owned(),
            name: "test".to_owned(),
            scopes,
            created_by: "test".to_owned(),
        };
        let CreatedClient { id, secret, .. } = create_client(&pool, order).await.unwrap();
        pool.close().await;
        Caller::sign_in(&self.url, &id.to_string(), secret.expose()).await
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(output: impl Read + Send + 'static, lines: &Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    let lines = Arc::clone(lines);
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    })
}

/// The address in the line that says the program is ready (text or JSON), or in the welcome of a
/// demonstration.
fn address_of(line: &str) -> Option<&str> {
    if let Some((_, address)) = line.split_once("export TOLLGATE=http://") {
        return Some(address);
    }
    let rest = line.split_once("address=").or_else(|| line.split_once("\"address\":\""))?.1;
    line.contains("ready_ms").then(|| rest.split([' ', '"']).next()).flatten()
}
