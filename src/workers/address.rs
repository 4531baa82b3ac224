//! Where a worker listens, and where workers are found.
//!
//! Payments must not cross a network without TLS, so an address without it is on this machine.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;
use thiserror::Error;

const UNIX: &str = "unix:";

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{found:?} is not {expected}")]
pub struct AddressError {
    found: String,
    expected: &'static str,
}

/// Where a worker listens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum ListenAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Where workers are found. Each address that a name has is a worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub enum WorkerAddress {
    Tcp { host: String, port: u16, has_tls: bool },
    Unix(PathBuf),
}

impl ListenAddress {
    /// Whether only programs of this machine reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl WorkerAddress {
    pub fn has_tls(&self) -> bool {
        matches!(self, Self::Tcp { has_tls: true, .. })
    }
}

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = AddressError {
            found: text.to_owned(),
            expected: "an address with a port, such as 0.0.0.0:8200, or unix: and an absolute path",
        };
        match text.strip_prefix(UNIX) {
            Some(path) => absolute(path).map(Self::Unix).ok_or(error),
            None => text.parse().map(Self::Tcp).map_err(|_| error),
        }
    }
}

impl FromStr for WorkerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = |expected| AddressError { found: text.to_owned(), expected };
        if let Some(path) = text.strip_prefix(UNIX) {
            return absolute(path).map(Self::Unix).ok_or(error("unix: and an absolute path"));
        }
        let (has_tls, authority) = match text.split_once("://") {
            Some(("https", authority)) => (true, authority),
            Some(("http", authority)) => (false, authority),
            _ => return Err(error("https://name:port, http:// on this machine, or unix: and a path")),
        };
        let named = authority.trim_end_matches('/').rsplit_once(':');
        let named = named.and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        let Some((host, port)) = named.filter(|(host, port)| is_host(host) && *port > 0) else {
            return Err(error("an address with a name and a port, such as https://rules.internal:8200"));
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if !has_tls && !is_this_machine(&host) {
            return Err(error("an address with https://, which payments need beyond this machine"));
        }
        Ok(Self::Tcp { host, port, has_tls })
    }
}

fn absolute(path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(path);
    path.is_absolute().then_some(path)
}

fn is_host(host: &str) -> bool {
    let unbracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match unbracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        }
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl TryFrom<String> for ListenAddress {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl TryFrom<String> for WorkerAddress {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl fmt::Display for WorkerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, has_tls } => {
                let scheme = if *has_tls { "https" } else { "http" };
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                write!(f, "{scheme}://{host}:{port}")
            }
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_as_it_is_written() {
        for text in [
            "https://rules.internal:8200",
            "http://127.0.0.1:8200",
            "http://localhost:8200",
            "http://[::1]:8200",
            "https://[fd00::1]:8200",
            "unix:/run/tollgate/rules.sock",
        ] {
            assert_eq!(text.parse::<WorkerAddress>().expect(text).to_string(), text);
        }
        for text in ["0.0.0.0:8200", "[::]:8200", "unix:/run/tollgate/rules.sock"] {
            assert_eq!(text.parse::<ListenAddress>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn an_address_that_cannot_be_used_is_refused_with_what_was_expected() {
        for (text, expected) in [
            ("", "https://name:port"),
            ("rules.internal:8200", "https://name:port"),
            ("tcp://rules.internal:8200", "https://name:port"),
            ("https://rules.internal", "a name and a port"),
            ("https://rules.internal:0", "a name and a port"),
            ("https://rules.internal:82000", "a name and a port"),
            ("https://:8200", "a name and a port"),
            ("https://rules.internal:8200/path", "a name and a port"),
            ("https://ann@rules.internal:8200", "a name and a port"),
            ("https://fd00::1:8200", "a name and a port"),
            ("http://rules.internal:8200", "https://, which payments need"),
            ("http://10.0.0.1:8200", "https://, which payments need"),
            ("unix:rules.sock", "an absolute path"),
        ] {
            let error = text.parse::<WorkerAddress>().expect_err(text).to_string();
            assert!(error.contains(expected), "{error}");
        }
        for text in ["", "8200", "localhost:8200", "unix:rules.sock", "https://0.0.0.0:8200"] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
    }
}
