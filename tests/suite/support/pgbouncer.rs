//! A PgBouncer between Tollgate and the test cluster.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::program::TEST_TIMEOUT;

/// Stopped when dropped.
pub struct PgBouncer {
    process: Child,
    pub folder: tempfile::TempDir,
    pub port: u16,
}

impl PgBouncer {
    /// Starts PgBouncer in front of the server at this URL.
    pub fn start(url: &str, settings: &str, users: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("pgbouncer").tempdir_in("/tmp").unwrap();
        Self::start_in(folder, 5432, url, settings, users)
    }

    /// Like `start`, in a folder that may contain files for the settings. The port is used for TCP
    /// if the settings allow it.
    pub fn start_in(folder: tempfile::TempDir, port: u16, url: &str, settings: &str, users: &[&str]) -> Self {
        let (_, socket) = url.split_once("?host=").unwrap();
        // PgBouncer runs as the server's user: it needs access to the socket and refuses to run as
        // root.
        let owner = Path::new(socket).metadata().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = |name: &str| folder.path().join(name);
        let users: String = users.iter().map(|user| format!("\"{user}\" \"\"\n")).collect();
        std::fs::write(path("users"), users).unwrap();
        let at = folder.path().display();
        let configuration = format!(
            "[databases]\n* = host={socket} port=5432\n[pgbouncer]\nlisten_port = {port}\nunix_socket_dir = {at}\n\
             auth_type = trust\nauth_file = {at}/users\ndefault_pool_size = 60\n{settings}\n"
        );
        std::fs::write(path("configuration"), configuration).unwrap();
        let files = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path());
        for path in files.chain([folder.path().to_owned()]) {
            chown(path, Some(owner.uid()), Some(owner.gid())).unwrap();
        }
        let log = std::fs::File::create(path("log")).unwrap();
        let mut command = Command::new(program());
        command.arg("-q").arg(path("configuration")).stdin(Stdio::null()).current_dir(folder.path());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        if owner.uid() != rustix::process::geteuid().as_raw() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        let mut pooler = Self { process: command.spawn().expect("PgBouncer"), folder, port };
        let begun = Instant::now();
        // The socket exists a moment before PgBouncer listens on it.
        while UnixStream::connect(pooler.folder.path().join(format!(".s.PGSQL.{port}"))).is_err() {
            let ended = pooler.process.try_wait().unwrap().is_some();
            assert!(!ended && begun.elapsed() < TEST_TIMEOUT, "{}", pooler.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        pooler
    }

    /// The URL of the same database and user through this PgBouncer.
    pub fn url(&self, url: &str) -> String {
        let (database, _socket) = url.split_once("?host=").unwrap();
        format!("{database}?host={}", self.folder.path().display())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Debian installs it outside the PATH of ordinary users.
fn program() -> PathBuf {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into(), "/opt/homebrew/bin".into()])
        .map(|folder: PathBuf| folder.join("pgbouncer"))
        .find(|program| program.exists())
        .expect("pgbouncer is not installed: run scripts/ensure-test-tools")
}
