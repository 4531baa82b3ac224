//! The folder of the private server's Unix socket.
//!
//! Access to the socket is the only authentication, so the folder must belong to the server's user
//! and be closed to all others.

use std::path::{Path, PathBuf};

use super::PrivateServerError;
use super::account::{ServerAccount, short_digest};

/// The kernel allows 108 bytes with the terminator on Linux and 104 on macOS.
const LONGEST_SOCKET_BYTES: usize = 99;
pub(super) const SOCKET_NAME: &str = "/.s.PGSQL.5432";

/// Creates the folder: in the data directory, or in /tmp if that path is too long or not plain.
pub(super) fn prepare(account: ServerAccount, data_dir: &Path) -> Result<PathBuf, PrivateServerError> {
    let usual = data_dir.join("socket");
    if fits(&usual) {
        return account.private_folder(&usual);
    }
    let short =
        PathBuf::from(format!("/tmp/tollgate-{}-{}", account.uid, short_digest(data_dir.as_os_str())));
    let folder = account.private_folder(&short)?;
    tracing::info!(
        socket = %folder.display(),
        "the path of the data directory is too long for a socket; using another folder"
    );
    Ok(folder)
}

/// Only plain paths fit: Postgres reads the setting as a list with commas and quotes, and the URL
/// must need no escapes.
fn fits(folder: &Path) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
    let bytes = folder.as_os_str().as_encoded_bytes();
    bytes.len() + SOCKET_NAME.len() <= LONGEST_SOCKET_BYTES && bytes.iter().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_plain_paths_hold_a_socket() {
        assert!(fits(Path::new("/home/ada/tollgate/.tollgate/postgres/socket")));
        assert!(!fits(Path::new("/home/ada/my payments/socket")));
        assert!(!fits(Path::new("/home/ada/a,b/socket")));
        assert!(!fits(&PathBuf::from(format!("/home/{}", "a".repeat(90)))));
    }
}
