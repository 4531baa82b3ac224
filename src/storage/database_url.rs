//! Parses the database URLs of the configuration.
//!
//! An error names the key of the URL, and must never repeat a part of the URL itself: it holds a
//! password, and a password that is not percent-encoded can be taken for any part.

use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use thiserror::Error;

/// The parameters of libpq that sqlx supports.
const PARAMETERS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];
const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
/// Schemes of other databases and drivers. A message can name these without revealing a secret.
const OTHER_SCHEMES: [&str; 12] = [
    "jdbc",
    "mysql",
    "mariadb",
    "sqlite",
    "sqlserver",
    "mssql",
    "oracle",
    "mongodb",
    "redis",
    "http",
    "https",
    "r2dbc",
];

/// Parameters of libpq that have no effect here. Any other name may be a part of a password
/// in which an `&` is not encoded.
const KNOWN_UNUSED: [&str; 24] = [
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "passfile",
    "replication",
    "require_auth",
    "requirepeer",
    "service",
    "sslcompression",
    "sslcrl",
    "sslnegotiation",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
];

/// Describes the fault. Never repeats the value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`databases.main.{key}` {fault}; expected a URL such as `postgres://user:password@host:5432/database`, \
     with special characters in names and passwords percent-encoded"
)]
pub struct DatabaseUrlError {
    pub key: &'static str,
    fault: String,
}

/// A parsed URL.
pub(super) struct DatabaseUrl {
    pub options: PgConnectOptions,
    /// Names of parameters that have no effect.
    pub unused: Vec<&'static str>,
}

/// The options hold the password.
impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseUrl").field("unused", &self.unused).finish_non_exhaustive()
    }
}

pub(super) fn parse(key: &'static str, text: &str) -> Result<DatabaseUrl, DatabaseUrlError> {
    read(text.trim()).map_err(|fault| DatabaseUrlError { key, fault })
}

/// The same URL with TLS disabled. Of two parameters with the same name, the last one counts.
pub(super) fn without_tls(text: &str) -> String {
    let text = text.trim();
    let joined_by = if text.contains('?') { '&' } else { '?' };
    format!("{text}{joined_by}sslmode=disable")
}

fn read(text: &str) -> Result<DatabaseUrl, String> {
    check_scheme(text)?;
    if text.contains('#') {
        return Err("contains a `#`, which must be written as %23".to_owned());
    }
    check_authority(text)?;
    let (place, query) = text.split_once('?').unwrap_or((text, ""));
    let mut unused = Vec::new();
    let mut used = Vec::new();
    let mut verifies = std::env::var_os("PGSSLROOTCERT").is_some();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        if !PARAMETERS.contains(&name) && !name.starts_with("options[") {
            unused.push(printable(name));
            continue;
        }
        check_parameter(name, value)?;
        verifies |= ["sslrootcert", "ssl-root-cert", "ssl-ca"].contains(&name);
        used.push(part);
    }
    let url = format!("{place}?{}", used.join("&"));
    // sqlx's own error is dropped, so that no part of the URL can get into the message.
    let mut options = PgConnectOptions::from_str(&url).map_err(|_| {
        "is not a valid URL: a part of it cannot be read, most often the password or the port".to_owned()
    })?;
    if options.get_host().contains(',') {
        return Err("names several hosts, but only one is supported".to_owned());
    }
    // The brackets around an IPv6 address belong to the URL, not to the address.
    if let Some(address) = options.get_host().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address = address.to_owned();
        options = options.host(&address);
    }
    // With a root certificate, libpq verifies against it even for `require`. sqlx does not.
    if verifies && matches!(options.get_ssl_mode(), PgSslMode::Require) {
        options = options.ssl_mode(PgSslMode::VerifyCa);
    }
    // sqlx sets `extra_float_digits` by default. It is not needed here, and connection poolers
    // reject it.
    Ok(DatabaseUrl { options: options.extra_float_digits(None), unused })
}

fn check_scheme(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme).to_ascii_lowercase();
    if ["postgres", "postgresql"].contains(&scheme.as_str()) {
        let rest = &text[scheme.len()..];
        return if rest.starts_with("://") {
            Ok(())
        } else {
            Err("is missing `//` after its scheme".to_owned())
        };
    }
    Err(match OTHER_SCHEMES.iter().find(|known| **known == scheme) {
        Some(known) => format!("begins with `{known}:`, which is not a Postgres address"),
        None => "does not begin with `postgres://`".to_owned(),
    })
}

/// An unencoded `/` or `?` in a password ends the server's part of the URL early. Then a part of
/// the password would be read as the port, the database or a parameter, and reported as such. Such
/// a URL has its `@` after the `/` or `?`.
fn check_authority(text: &str) -> Result<(), String> {
    let (_, rest) = text.split_once("://").unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    if !rest[end..].contains('@') {
        return Ok(());
    }
    Err("contains an `@` after a `/` or `?`: in a name, password or parameter, write them as %40, %2F and %3F"
        .to_owned())
}

fn check_parameter(name: &str, value: &str) -> Result<(), String> {
    let number = |expected: &str| Err(format!("has an invalid `{name}`, which must be {expected}"));
    match name {
        "sslmode" | "ssl-mode" if !SSL_MODES.contains(&value.to_ascii_lowercase().as_str()) => {
            Err(format!("has an invalid `{name}`, which must be one of {}", SSL_MODES.join(", ")))
        }
        "port" if value.parse::<u16>().is_ok_and(|port| port > 0) => Ok(()),
        "port" => number("a number from 1 to 65535"),
        "statement-cache-capacity" if value.parse::<usize>().is_err() => number("a number"),
        "hostaddr" if value.parse::<std::net::IpAddr>().is_err() => number("an IP address"),
        _ => Ok(()),
    }
}

fn printable(name: &str) -> &'static str {
    KNOWN_UNUSED.into_iter().find(|known| *known == name).unwrap_or("an unknown one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_url_is_refused_by_its_key_with_what_was_expected_and_without_its_password() {
        for (text, told) in [
            ("", "is empty"),
            ("  ", "is empty"),
            ("jdbc:postgresql://db:5432/tollgate?user=ann&password=hush-hush", "`jdbc:`"),
            ("r2dbc:postgresql://ann:hush-hush@db/tollgate", "`r2dbc:`"),
            ("mysql://ann:hush-hush@db/tollgate", "`mysql:`"),
            ("MySQL://ann:hush-hush@db/tollgate", "`mysql:`"),
            ("sqlite://hush-hush.db", "`sqlite:`"),
            ("https://ann:hush-hush@db/tollgate", "`https:`"),
            ("hush-hush:ann@db/tollgate", "does not begin"),
            ("db.example/tollgate", "does not begin"),
            ("host=db user=ann password=hush-hush dbname=tollgate", "does not begin"),
            ("postgres:hush-hush@db/tollgate", "`//`"),
            ("postgres:/db/hush-hush", "`//`"),
            ("postgres://ann:hush#hush@db/tollgate", "%23"),
            ("postgres://ann:hush/hush@db/tollgate", "%2F"),
            ("postgres://ann:hush?hush@db/tollgate", "%3F"),
            ("postgres://ann:hush-hush@db:port/tollgate", "not a valid URL"),
            ("postgres://ann:hush-hush@db:99999/tollgate", "not a valid URL"),
            ("postgres://ann:hush-hush@one,two/tollgate", "several hosts"),
            ("postgres://ann:hush-hush@db/tollgate?sslmode=on", "verify-full"),
            ("postgres://ann:hush-hush@db/tollgate?port=hush", "1 to 65535"),
            ("postgres://ann:hush-hush@db/tollgate?port=0", "1 to 65535"),
            ("postgres://ann:hush-hush@db/tollgate?hostaddr=hush", "an IP address"),
        ] {
            let error = parse("app_url", text).expect_err(text).to_string();
            for part in ["`databases.main.app_url`", told, "expected", "postgres://user:password@host"] {
                assert!(error.contains(part), "{text}: {error}");
            }
            assert!(!error.contains("hush"), "{text}: {error}");
        }
    }

    /// An unencoded `/`, `?` or `#` in a password ends the server's part of the URL, and an `&`
    /// ends a parameter. The rest of the password is then read as something else, and must not be
    /// reported.
    #[test]
    fn no_part_of_a_password_is_told_whatever_it_is_taken_for() {
        for text in [
            "postgres://ann:12?hush@db/tollgate",
            "postgres://ann:12?hush=x@db/tollgate",
            "postgres://ann:12?hush&hush@db/tollgate",
            "postgres://ann:12?x&hush=@db/tollgate",
            "postgres://ann:?hush=1@db/tollgate",
            "postgres://ann:12/hush@db/tollgate",
            "postgres://ann:/hush@db/tollgate",
            "postgres://ann:12/x?hush@db/tollgate",
            "postgres://ann:12?x/hush=x@db/tollgate",
            "postgres://hush/x:hush@db/tollgate",
            "postgres://ann:12?host=hush@db/tollgate",
            "postgres://ann:12?port=hush@db/tollgate",
            "postgres://ann:12?application_name=hush@db/tollgate",
            "postgres://db/tollgate?user=ann&password=p@hush",
        ] {
            let error = parse("app_url", text).expect_err(text).to_string();
            assert!(error.contains("%40") && !error.contains("hush"), "{text}: {error}");
        }
        for text in [
            "postgres://db/tollgate?user=ann&password=x&hush",
            "postgres://db/tollgate?user=ann&password=x&hush=1",
            "postgres://db/tollgate?user=ann&password=x&hush_hush",
            "postgres://db/tollgate?user=ann&password=x/hush&hush/x=1",
            "postgres://db/tollgate?password=x&sslmode_hush=1",
        ] {
            let url = parse("url", text).expect(text);
            assert_eq!(url.unused, ["an unknown one"], "{text}");
            assert!(!format!("{url:?}").contains("hush"), "{url:?}");
        }
        let url = parse("url", "postgres://ann:hush@db/tollgate").expect("a URL");
        assert!(!format!("{url:?}").contains("hush"), "{url:?}");
    }

    #[test]
    fn what_libpq_takes_is_taken() {
        for (text, host, port) in [
            ("postgres://ann:p%23%2F@db.example:6432/tollgate", "db.example", 6432),
            ("postgresql://ann@db/tollgate?sslmode=VERIFY-FULL", "db", 5432),
            ("POSTGRES://ann@db/tollgate", "db", 5432),
            (" postgres://ann@db/tollgate\n", "db", 5432),
            ("postgres://ann@[::1]:6432/tollgate", "::1", 6432),
            ("postgres:///tollgate?host=db&port=6432", "db", 6432),
            ("postgres://ann@server:p@db/tollgate?sslrootcert=/ca.pem", "db", 5432),
            ("postgres://db/tollgate?user=ann%40server&password=p%40", "db", 5432),
        ] {
            let options = parse("url", text).expect(text).options;
            assert_eq!((options.get_host(), options.get_port()), (host, port), "{text}");
        }
        let with_unused = "postgres://ann@db/tollgate?channel_binding=require&hush-hush=1&sslmode=disable";
        let url = parse("url", with_unused).expect("a URL");
        assert_eq!(url.unused, ["channel_binding", "an unknown one"]);
    }

    #[test]
    fn require_with_a_root_certificate_verifies_against_it() {
        let mode = |text: &str| parse("url", text).expect(text).options.get_ssl_mode();
        let url = "postgres://ann@db/tollgate?sslmode=require";
        assert!(matches!(mode(url), PgSslMode::Require));
        assert!(matches!(mode(&format!("{url}&sslrootcert=/ca.pem")), PgSslMode::VerifyCa));
        assert!(matches!(mode(&without_tls(url)), PgSslMode::Disable));
    }
}
