//! A Postgres of its own that listens at `localhost` and demands TLS.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tollgate::storage::binaries::Binaries;

use super::certificates::{Authority, Issued};
use super::program::TEST_TIMEOUT;

/// The superuser who needs no certificate, and the one who does: the name of its certificate.
pub const OPEN_USER: &str = "tollgate";
pub const CERTIFIED_USER: &str = "certified";

/// Stopped when dropped.
pub struct TlsPostgres {
    process: Child,
    folder: tempfile::TempDir,
    pub port: u16,
}

impl TlsPostgres {
    /// `clients` signs the certificates of users. `socket` is the socket folder of a server whose
    /// user runs this one, too.
    pub fn start(server: &Issued, clients: &Authority, socket: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("tlspg").tempdir_in("/tmp").unwrap();
        let owner = Path::new(socket).metadata().unwrap();
        let at = |name: &str| folder.path().join(name);
        let own = |path: &Path, mode: u32| {
            chown(path, Some(owner.uid()), Some(owner.gid())).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        own(folder.path(), 0o700);
        server.write(&at("crt"), &at("key"));
        std::fs::write(at("clients"), clients.pem()).unwrap();
        std::fs::write(
            at("hba"),
            format!(
                "local all all trust\nhostssl all {CERTIFIED_USER} all cert\nhostssl all all all trust\n"
            ),
        )
        .unwrap();
        for name in ["crt", "key", "clients", "hba"] {
            own(&at(name), 0o600);
        }
        let binaries = Binaries::find(None).unwrap();
        let run = |program: &Path, arguments: &[&str]| {
            let mut command = Command::new(program);
            command.args(arguments).current_dir(folder.path()).stdin(Stdio::null());
            if owner.uid() != rustix::process::geteuid().as_raw() {
                command.uid(owner.uid()).gid(owner.gid());
            }
            command
        };
        let data = at("data").display().to_string();
        let made =
            run(&binaries.initdb, &["-D", &data, "-U", OPEN_USER, "--no-sync", "-A", "trust"]).output();
        let made = made.unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let here = folder.path().display();
        let settings = format!(
            "ssl = on\nssl_cert_file = '{here}/crt'\nssl_key_file = '{here}/key'\nssl_ca_file = '{here}/clients'\n\
             hba_file = '{here}/hba'\nlisten_addresses = 'localhost'\nport = {port}\n\
             unix_socket_directories = '{here}'\nfsync = off\n"
        );
        std::fs::write(at("data/postgresql.auto.conf"), settings).unwrap();
        let log = std::fs::File::create(at("log")).unwrap();
        let mut command = run(&binaries.postgres, &["-D", &data]);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let process = command.spawn().expect("Postgres");
        let started = Self { process, folder, port };
        started.wait_until_ready();
        started
    }

    fn wait_until_ready(&self) {
        let begun = Instant::now();
        let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        while !log().contains("ready to accept connections") {
            assert!(begun.elapsed() < TEST_TIMEOUT, "{}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// For its socket, which needs no TLS.
    pub fn local_url(&self) -> String {
        format!(
            "postgres://{OPEN_USER}@localhost:{}/postgres?host={}",
            self.port,
            self.folder.path().display()
        )
    }
}

impl Drop for TlsPostgres {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
