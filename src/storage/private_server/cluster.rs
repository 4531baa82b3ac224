//! The files of the cluster, which initdb creates, and the settings of its server.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::account::ServerAccount;
use super::{NAME, PrivateServerError, PrivateServerSettings, files_error};
use crate::storage::binaries::Binaries;

/// Access to the socket is the only authentication.
const HOST_BASED_AUTHENTICATION: &str = "local all all trust\n";

/// Everything that is needed to start the server.
#[derive(Debug)]
pub(super) struct Cluster {
    pub account: ServerAccount,
    pub binaries: Binaries,
    pub shim_exe: PathBuf,
    pub durable: bool,
    pub data_dir: PathBuf,
    /// The folder that Postgres calls its data directory.
    pub folder: PathBuf,
    pub log: PathBuf,
}

impl Cluster {
    /// Opens the cluster of a data directory, and creates it if it is missing. The caller must hold
    /// the directory's lock.
    pub fn open(
        settings: &PrivateServerSettings,
        account: ServerAccount,
        data_dir: &Path,
    ) -> Result<Self, PrivateServerError> {
        let folder = data_dir.join("cluster");
        let stored = stored_major(&folder)?;
        let binaries = Binaries::find(stored)?;
        if let Some(stored) = stored.filter(|stored| *stored != binaries.major) {
            let data_dir = data_dir.to_owned();
            return Err(PrivateServerError::VersionMismatch { data_dir, stored, installed: binaries.major });
        }
        let cluster = Self {
            account,
            binaries,
            shim_exe: settings.shim_exe.clone(),
            durable: settings.durable,
            data_dir: data_dir.to_owned(),
            log: data_dir.join("server.log"),
            folder,
        };
        if stored.is_none() {
            cluster.create()?;
        }
        Ok(cluster)
    }

    /// Creates the cluster under a temporary name, so that an incomplete one is recognised and
    /// removed.
    fn create(&self) -> Result<(), PrivateServerError> {
        let unfinished = self.data_dir.join("cluster.unfinished");
        if unfinished.exists() {
            tracing::info!("an earlier initdb did not finish; starting over");
            remove_folder(&unfinished)?;
        }
        tracing::info!(
            data_dir = %self.data_dir.display(), version = self.binaries.major,
            "creating a private Postgres"
        );
        let begun = std::time::Instant::now();
        let (mut command, _shim) = self.account.command(&self.shim_exe, &self.binaries.initdb)?;
        command.current_dir(&self.data_dir).arg("--pgdata").arg(&unfinished);
        command.args(["--username", NAME, "--auth=trust", "--encoding=UTF8", "--locale=C"]);
        if !self.durable {
            command.arg("--no-sync");
        }
        let output =
            command.output().map_err(|source| files_error("cannot run", &self.binaries.initdb, source))?;
        if !output.status.success() {
            return Err(PrivateServerError::Initdb(
                String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            ));
        }
        let rules = unfinished.join("pg_hba.conf");
        std::fs::write(&rules, HOST_BASED_AUTHENTICATION)
            .and_then(|()| File::open(&rules)?.sync_all())
            .map_err(|source| files_error("cannot write", &rules, source))?;
        std::fs::rename(&unfinished, &self.folder)
            .and_then(|()| File::open(&self.data_dir)?.sync_all())
            .map_err(|source| files_error("cannot rename", &unfinished, source))?;
        tracing::info!(elapsed_ms = begun.elapsed().as_millis(), "created the private Postgres");
        Ok(())
    }

    /// The command that runs the server, and the file that must stay open until it is spawned.
    pub fn server_command(&self, socket_dir: &Path) -> Result<(Command, File), PrivateServerError> {
        let (mut command, shim) = self.account.command(&self.shim_exe, &self.binaries.postgres)?;
        command.current_dir(&self.data_dir).arg("-D").arg(&self.folder);
        let mut set = |setting: &str| _ = command.args(["-c", setting]);
        set("listen_addresses=");
        set("port=5432");
        set(&format!("unix_socket_directories={}", socket_dir.display()));
        set("unix_socket_permissions=0700");
        set("timezone=UTC");
        set("log_timezone=UTC");
        set("log_checkpoints=off");
        // The log must not quote statements or rows.
        set("log_min_error_statement=panic");
        set("log_error_verbosity=terse");
        if self.durable {
            set("max_connections=100");
            // Enough for the indexes of a few million payments. A page that does not fit is read
            // again for the next payment.
            set("shared_buffers=512MB");
            // After a checkpoint the first change of each page writes the whole page. With the
            // default there is a checkpoint each minute under load.
            set("max_wal_size=4GB");
        } else {
            for setting in [
                "fsync=off",
                "synchronous_commit=off",
                "full_page_writes=off",
                "autovacuum=off",
                "max_connections=300",
            ] {
                set(setting);
            }
        }
        let log = File::create(&self.log).map_err(|source| files_error("cannot write", &self.log, source))?;
        let _ = log.set_permissions(std::fs::Permissions::from_mode(0o600));
        let second = log.try_clone().map_err(|source| files_error("cannot write", &self.log, source))?;
        command.stdout(log).stderr(second);
        Ok((command, shim))
    }

    /// The end of the server's log, for an error message.
    pub fn log_tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

fn stored_major(folder: &Path) -> Result<Option<u32>, PrivateServerError> {
    let file = folder.join("PG_VERSION");
    match std::fs::read_to_string(&file) {
        Ok(version) => version
            .trim()
            .parse()
            .map(Some)
            .map_err(|_| files_error("cannot parse", &file, std::io::ErrorKind::InvalidData.into())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(files_error("cannot read", &file, source)),
    }
}

/// Retries: the initdb of a Tollgate that was just killed may still be removing files.
fn remove_folder(folder: &Path) -> Result<(), PrivateServerError> {
    let mut attempts_left = 50;
    loop {
        match std::fs::remove_dir_all(folder) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(_) if attempts_left > 0 => attempts_left -= 1,
            Err(source) => return Err(files_error("cannot remove", folder, source)),
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}
