//! Finds the PostgreSQL installations on this machine. Never downloads or installs anything.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use thiserror::Error;

/// Older servers lack features that the migrations use (`security_invoker`, SQL function bodies).
pub const OLDEST_SUPPORTED_MAJOR: u32 = 15;

/// The programs of one PostgreSQL installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    pub initdb: PathBuf,
    pub postgres: PathBuf,
    pub major: u32,
}

#[derive(Debug, Error)]
pub enum BinariesError {
    #[error("PG_BIN is set to {}, but initdb and postgres cannot be run from there", .0.display())]
    WrongPgBin(PathBuf),
    #[error(
        "no PostgreSQL {OLDEST_SUPPORTED_MAJOR} or newer was found (looked at PG_BIN, PATH, pg_config and the usual folders).\n\
         Install it, or point databases.main.url at a running server:\n\
         \x20 Debian, Ubuntu   sudo apt-get install postgresql\n\
         \x20 Fedora           sudo dnf install postgresql-server\n\
         \x20 Arch             sudo pacman -S postgresql\n\
         \x20 Alpine           sudo apk add postgresql\n\
         \x20 macOS            brew install postgresql@17\n\
         If it is installed elsewhere, set PG_BIN to the folder that holds initdb and postgres."
    )]
    Missing,
}

impl Binaries {
    /// The preferred installation. With `major`, an installation of that version if there is one:
    /// only that version can open an existing data directory.
    pub fn find(major: Option<u32>) -> Result<Self, BinariesError> {
        if let Some(folder) = std::env::var_os("PG_BIN").map(PathBuf::from) {
            return Self::in_folder(&folder).ok_or(BinariesError::WrongPgBin(folder));
        }
        Self::among(candidate_folders(), major)
    }

    fn among(folders: Vec<PathBuf>, major: Option<u32>) -> Result<Self, BinariesError> {
        let mut found = folders
            .into_iter()
            .filter_map(|folder| Self::in_folder(&folder))
            .filter(|one| one.major >= OLDEST_SUPPORTED_MAJOR);
        let first = found.next().ok_or(BinariesError::Missing)?;
        if major.is_none_or(|major| major == first.major) {
            return Ok(first);
        }
        // If none has that version, the caller reports it.
        Ok(found.find(|one| Some(one.major) == major).unwrap_or(first))
    }

    fn in_folder(folder: &Path) -> Option<Self> {
        // A program on PATH is often a link. The rest of the installation is beside the link's
        // target.
        let postgres = folder.join("postgres").canonicalize().ok()?;
        let initdb = folder.join("initdb").canonicalize().ok()?;
        let major = parse_major(&output_of(Command::new(&postgres).arg("--version"))?)?;
        Some(Self { initdb, postgres, major })
    }
}

fn candidate_folders() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Some(folder) = output_of(Command::new("pg_config").arg("--bindir")) {
        folders.push(PathBuf::from(folder.trim()));
    }
    folders.extend(versioned_folders(Path::new("/usr/lib/postgresql"), "bin"));
    folders.extend(versioned_folders(Path::new("/usr/libexec"), ""));
    folders.push(PathBuf::from("/usr/pgsql/bin"));
    for homebrew in ["/opt/homebrew/opt", "/usr/local/opt", "/home/linuxbrew/.linuxbrew/opt"] {
        folders.extend(versioned_folders(Path::new(homebrew), "bin"));
    }
    folders
}

/// The folders `parent/<name with a version>/below`, newest version first.
fn versioned_folders(parent: &Path, below: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix("postgresql").unwrap_or(&name).trim_start_matches(['@', '-']);
            Some((version.parse().ok()?, entry.path().join(below)))
        })
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, folder)| folder).collect()
}

fn output_of(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Parses output such as `postgres (PostgreSQL) 15.14 (Debian 15.14-1)` or `postgres (PostgreSQL)
/// 18beta1`.
fn parse_major(version: &str) -> Option<u32> {
    let number = version.split("(PostgreSQL)").nth(1)?.trim();
    let digits = number.find(|c: char| !c.is_ascii_digit()).map_or(number, |end| &number[..end]);
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_releases_and_betas() {
        assert_eq!(parse_major("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"), Some(15));
        assert_eq!(parse_major("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(parse_major("something else 15"), None);
    }

    #[test]
    fn without_any_installation_the_advice_names_the_package_of_each_system() {
        let nowhere = vec![PathBuf::from("/nowhere"), std::env::temp_dir()];
        let advice = Binaries::among(nowhere, None).expect_err("there is none").to_string();
        for words in [
            "apt-get install postgresql",
            "dnf install postgresql-server",
            "pacman -S postgresql",
            "apk add postgresql",
            "brew install",
        ] {
            assert!(advice.contains(words), "{words} is missing in {advice}");
        }
    }
}
