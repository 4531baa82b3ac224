//! The user that Postgres runs as, and a data directory that it can reach.
//!
//! Postgres refuses to run as root, the usual user in containers. So it runs as another user, with
//! a data directory that this user can reach, which excludes root's home.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, Metadata, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::shim::SHIM_COMMAND;
use super::{PrivateServerError, files_error};
use crate::domain::plugin::Digest;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ServerAccount {
    pub uid: u32,
    gid: u32,
    /// Whether this process is root and has to switch to the account.
    switch: bool,
}

impl ServerAccount {
    pub fn choose() -> Result<Self, PrivateServerError> {
        let uid = rustix::process::geteuid();
        if !uid.is_root() {
            return Ok(Self { uid: uid.as_raw(), gid: rustix::process::getegid().as_raw(), switch: false });
        }
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| Some(Self { uid: id(&["-u", name])?, gid: id(&["-g", name])?, switch: true }))
            .ok_or(PrivateServerError::NoAccount)
    }

    /// The folders that the data directory may be in, the wanted folder first.
    fn candidates(self, wanted: &Path) -> Result<Vec<PathBuf>, PrivateServerError> {
        let wanted =
            std::path::absolute(wanted).map_err(|source| files_error("cannot find", wanted, source))?;
        let mut candidates = Vec::new();
        if self.switch {
            let name = short_digest(wanted.as_os_str());
            candidates.push(PathBuf::from("/var/lib/tollgate").join(&name));
            candidates.push(PathBuf::from(format!("/var/tmp/tollgate-{name}")));
        }
        candidates.insert(0, wanted);
        Ok(candidates)
    }

    /// The candidates that exist and belong to the account or to this process. Changes nothing.
    pub fn existing_data_dirs(self, wanted: &Path) -> Result<Vec<PathBuf>, PrivateServerError> {
        let candidates = self.candidates(wanted)?;
        Ok(candidates.into_iter().filter(|folder| self.owns(folder)).collect())
    }

    /// Creates the wanted folder, or another one if the account cannot reach it. The folder belongs
    /// to the account and is closed to others.
    pub fn prepare_data_dir(self, wanted: &Path) -> Result<PathBuf, PrivateServerError> {
        let candidates = self.candidates(wanted)?;
        let mut first_error = None;
        for (rank, place) in candidates.iter().enumerate() {
            match self.private_folder(place) {
                Ok(folder) => {
                    if rank > 0 {
                        tracing::info!(
                            wanted = %wanted.display(), used = %folder.display(),
                            "Postgres cannot run as root, and its user cannot access the chosen data \
                             directory"
                        );
                    }
                    return Ok(folder);
                }
                Err(error) => _ = first_error.get_or_insert(error),
            }
        }
        Err(first_error.unwrap_or(PrivateServerError::NoAccount))
    }

    /// Creates a folder that only the account (and root) can enter.
    pub fn private_folder(self, path: &Path) -> Result<PathBuf, PrivateServerError> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|source| files_error("cannot create", parent, source))?;
            self.check_reach(parent)?;
        }
        match DirBuilder::new().mode(0o700).create(path) {
            Err(source) if source.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(files_error("cannot create", path, source));
            }
            _ => {}
        }
        self.take(path)?;
        path.canonicalize().map_err(|source| files_error("cannot find", path, source))
    }

    /// Whether the folder belongs to the account or to this process. Where everybody can write,
    /// another user may have created this folder or a link in its place to get access to our data.
    fn owns(self, path: &Path) -> bool {
        let ours =
            |found: Metadata| found.uid() == self.uid || found.uid() == rustix::process::geteuid().as_raw();
        path.symlink_metadata().is_ok_and(ours)
            && path.metadata().is_ok_and(|found| found.is_dir() && ours(found))
    }

    fn take(self, path: &Path) -> Result<(), PrivateServerError> {
        if !self.owns(path) {
            return Err(PrivateServerError::FolderTaken(path.to_owned()));
        }
        if self.switch {
            chown(path, Some(self.uid), Some(self.gid))
                .map_err(|source| files_error("cannot change the owner of", path, source))?;
        }
        std::fs::set_permissions(path, Permissions::from_mode(0o700))
            .map_err(|source| files_error("cannot restrict access to", path, source))
    }

    fn check_reach(self, folder: &Path) -> Result<(), PrivateServerError> {
        if !self.switch {
            return Ok(());
        }
        let folder = folder.canonicalize().map_err(|source| files_error("cannot find", folder, source))?;
        for ancestor in folder.ancestors() {
            let metadata =
                ancestor.metadata().map_err(|source| files_error("cannot read", ancestor, source))?;
            if !self.may_enter(&metadata) {
                let source = std::io::ErrorKind::PermissionDenied.into();
                return Err(files_error("the user that runs Postgres cannot enter", ancestor, source));
            }
        }
        Ok(())
    }

    fn may_enter(self, folder: &Metadata) -> bool {
        // As in the kernel, only the most specific of owner, group and others counts.
        let bit = match (folder.uid() == self.uid, folder.gid() == self.gid) {
            (true, _) => 0o100,
            (false, true) => 0o010,
            (false, false) => 0o001,
        };
        folder.mode() & bit != 0
    }

    /// A command for a program of Postgres that runs as the account and ends with this thread. The
    /// returned file must stay open until the command is spawned.
    pub fn command(self, shim_exe: &Path, program: &Path) -> Result<(Command, File), PrivateServerError> {
        let shim = File::open(shim_exe).map_err(|source| files_error("cannot open", shim_exe, source))?;
        // The account may have no access to our binary's folder (such as root's home), but it can
        // run a file that is already open.
        let mut command = if self.switch && cfg!(target_os = "linux") {
            Command::new(format!("/proc/self/fd/{}", shim.as_raw_fd()))
        } else {
            Command::new(shim_exe)
        };
        command.arg(SHIM_COMMAND).arg(std::process::id().to_string()).arg(program);
        if self.switch {
            command.uid(self.uid).gid(self.gid);
        }
        // The child must not get our environment: it may contain secrets and PG* settings.
        command.env_clear().env("LC_ALL", "C").stdin(Stdio::null());
        for name in ["PATH", "LD_LIBRARY_PATH"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        // Ctrl-C goes to the terminal's process group. Only Tollgate should get it, and then stop
        // Postgres.
        command.process_group(0);
        Ok((command, shim))
    }
}

fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).stderr(Stdio::null()).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// Twelve hexadecimal digits that identify a path. Must stay the same in every version.
pub(super) fn short_digest(path: &OsStr) -> String {
    Digest::of(path.as_encoded_bytes()).short(6)
}
