//! Reads the configuration from Rocket.toml, its profiles and the environment, and checks it.
//!
//! It is checked once, at start. Each error names the key and the allowed values. No other module
//! may read settings of Tollgate from the file or the environment.

mod listener;
mod roles;
mod settings;

use figment::providers::{Env, Format, Toml};
use figment::{Figment, Profile};
use serde::Deserialize;
use thiserror::Error;

pub use roles::{Role, Roles, RulesSettings};
pub use settings::{LogFormat, NodeSettings};

use crate::storage::pool::{DatabaseSettings, DatabaseUrlError};

/// The allowed keys of the top level: Rocket's, `databases` and `tollgate`.
const TOP_LEVEL_KEYS: [&str; 8] =
    ["address", "port", "workers", "shutdown", "log_level", "profile", "databases", "tollgate"];

/// Rocket's keys for what this server does itself, and those for it.
const REPLACED_KEYS: [(&str, &str); 6] = [
    ("keep_alive", "tollgate.listener.idle_max_ms"),
    ("http2_keep_alive", "tollgate.listener.idle_max_ms"),
    ("tls", "tollgate.tls"),
    ("ip_header", "tollgate.proxies"),
    ("proxy_proto_header", "tollgate.proxies"),
    ("limits", "tollgate.plugin_size_max_bytes and tollgate.listener"),
];

#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("configuration: {0}")]
    Figment(Box<figment::Error>),
    #[error("configuration: unknown key `{key}`; allowed keys are {}", TOP_LEVEL_KEYS.join(", "))]
    UnknownKey { key: String },
    #[error("configuration: `{key}` has no effect on this server; use {instead}")]
    Replaced { key: &'static str, instead: &'static str },
    #[error("configuration: `{key}` is {found}; expected {expected}")]
    OutOfRange { key: String, found: String, expected: String },
    #[error(
        "configuration: `{key}` is not set, but this process has only the roles {roles}; expected {expected}"
    )]
    Missing { key: &'static str, roles: String, expected: &'static str },
    #[error("configuration: `{key}` has the wrong type; expected {expected}")]
    Kind { key: String, expected: &'static str },
    #[error("configuration: {0}")]
    DatabaseUrl(#[from] DatabaseUrlError),
    #[error(
        "configuration: `databases.main.url` is not set; outside the debug profile a database is required, \
         for example ROCKET_DATABASES='{{main={{url=\"postgres://user@host/tollgate\"}}}}'"
    )]
    NoDatabase,
}

impl From<figment::Error> for ConfigError {
    fn from(error: figment::Error) -> Self {
        use figment::error::Kind;
        // figment quotes the value that it found, which may be a password or a key.
        let secret = error.path.iter().any(|part| part == "databases" || part == "root_secret");
        if secret && let Kind::InvalidType(..) | Kind::InvalidValue(..) = error.kind {
            return Self::Kind { key: error.path.join("."), expected: expected_of(&error.path) };
        }
        Self::Figment(Box::new(error))
    }
}

fn expected_of(path: &[String]) -> &'static str {
    match path.last().map(String::as_str) {
        Some("databases") => "a table, such as {main={url=\"postgres://user@host/tollgate\"}}",
        Some("main") => "a table, such as {url=\"postgres://user@host/tollgate\"}",
        Some("url" | "app_url" | "journal_url" | "system_url" | "root_secret") => "a string",
        _ => "a number",
    }
}

/// The sections that belong to Tollgate. They are read from the root, so that errors name the whole
/// path of a key.
#[derive(Deserialize)]
struct Sections {
    #[serde(default)]
    tollgate: NodeSettings,
    #[serde(default)]
    databases: DatabasesSection,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DatabasesSection {
    main: Option<DatabaseSettings>,
}

#[derive(Clone)]
pub struct Config {
    /// For Rocket.
    pub figment: Figment,
    pub settings: NodeSettings,
    /// `None` if the private Postgres is to be used.
    pub database: Option<DatabaseSettings>,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Config {
    /// As [`Config::load`], for commands that use neither a server nor a database.
    pub fn load_settings() -> Result<NodeSettings, ConfigError> {
        let figment = Self::figment();
        check_top_level(&figment)?;
        let Sections { tollgate: settings, .. } = figment.extract()?;
        check_within("tollgate", &settings.ranges())?;
        Ok(settings)
    }

    /// As [`Config::load_settings`], with the address of the server. The roles may be those of another
    /// command, so nothing is checked that depends on them.
    pub fn load_for_probe() -> Result<(rocket::Config, NodeSettings), ConfigError> {
        let figment = Self::figment();
        check_top_level(&figment)?;
        let rocket = figment.extract::<rocket::Config>()?;
        let Sections { tollgate, .. } = figment.extract()?;
        Ok((rocket, tollgate))
    }

    /// Reads Rocket.toml (or the file `ROCKET_CONFIG` names) and the environment.
    pub fn load() -> Result<Self, ConfigError> {
        Self::from_figment(Self::figment())
    }

    /// As [`Config::load`]. The given roles replace those of the configuration.
    pub fn load_with_roles(roles: Option<Vec<Role>>) -> Result<Self, ConfigError> {
        let figment = Self::figment();
        Self::from_figment(match roles {
            None => figment,
            Some(roles) => {
                let names: Vec<&str> = roles.into_iter().map(Role::name).collect();
                figment.merge(("tollgate.roles", names))
            }
        })
    }

    fn figment() -> Figment {
        let ours = |key: &figment::value::UncasedStr| key.starts_with("tollgate_");
        let file = Env::var_or("ROCKET_CONFIG", "Rocket.toml");
        Figment::from(rocket::Config::default())
            .merge(Toml::file(file).nested())
            .merge(
                Env::prefixed("ROCKET_")
                    .ignore(&["PROFILE", "CONFIG"])
                    .filter(move |key| !ours(key))
                    .global(),
            )
            .merge(Env::prefixed("ROCKET_TOLLGATE_").map(|key| format!("tollgate.{key}").into()).global())
            .select(Profile::from_env_or("ROCKET_PROFILE", rocket::Config::DEFAULT_PROFILE))
    }

    pub fn from_figment(figment: Figment) -> Result<Self, ConfigError> {
        check_top_level(&figment)?;
        // Also checks Rocket's own values, because here the error can name the key.
        let rocket = figment.extract::<rocket::Config>()?;
        let Sections { tollgate: settings, databases } = figment.extract()?;
        check_within("tollgate", &settings.ranges())?;
        check_within("tollgate.listener", &settings.listener.ranges())?;
        settings.rules.check(&settings.roles)?;
        let needs_database = !settings.roles.is_rule_worker();
        if needs_database && databases.main.is_none() && figment.profile() != rocket::Config::DEBUG_PROFILE {
            return Err(ConfigError::NoDatabase);
        }
        if let Some(database) = &databases.main {
            database.check()?;
            check_within("databases.main", &database.ranges())?;
        }
        // A request in progress gets its whole deadline, and a second for its response.
        let grace = u64::from(rocket.shutdown.grace).max(settings.deadline_ms / 1_000 + 1);
        let figment = figment
            // Programs that attack a server choose by its name.
            .merge(("ident", false))
            // Addresses come from the door, which knows the proxies.
            .merge(("ip_header", false))
            // `command::serve` handles signals: readiness must fail before connections are refused.
            .merge(("shutdown.grace", grace))
            .merge(("shutdown.ctrlc", false))
            .merge(("shutdown.signals", Vec::<String>::new()));
        Ok(Self { figment, settings, database: databases.main })
    }
}

fn check_top_level(figment: &Figment) -> Result<(), ConfigError> {
    // Rocket's own defaults have every key.
    let is_set =
        |key: &str| figment.find_metadata(key).is_some_and(|from| !from.name.starts_with("rocket::"));
    if let Some((key, instead)) = REPLACED_KEYS.into_iter().find(|(key, _)| is_set(key)) {
        return Err(ConfigError::Replaced { key, instead });
    }
    let all: figment::value::Dict = figment.extract()?;
    match all.keys().find(|key| !TOP_LEVEL_KEYS.contains(&key.as_str()) && is_set(key)) {
        Some(key) => Err(ConfigError::UnknownKey { key: key.clone() }),
        None => Ok(()),
    }
}

/// A key, its value, and the least and the greatest allowed value.
type SettingRange = (&'static str, u64, u64, u64);

fn check_within(section: &str, ranges: &[SettingRange]) -> Result<(), ConfigError> {
    match ranges.iter().find(|(_, found, least, most)| !(least..=most).contains(&found)) {
        Some((key, found, least, most)) => {
            let expected = format!("a number from {least} to {most}");
            Err(ConfigError::OutOfRange {
                key: format!("{section}.{key}"),
                found: found.to_string(),
                expected,
            })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(toml: &str) -> Result<Config, ConfigError> {
        let figment = Figment::from(rocket::Config::debug_default())
            .merge(Toml::string(toml).nested())
            .select(rocket::Config::DEBUG_PROFILE);
        Config::from_figment(figment)
    }

    #[test]
    fn the_shipped_file_is_valid() {
        let config = config(include_str!("../Rocket.toml")).expect("valid");
        assert!(config.settings.demo);
        assert!(config.database.is_none());
    }

    #[test]
    fn a_wrong_key_is_told_by_its_name_with_what_is_allowed() {
        for (toml, told) in [
            ("[default]\nporrt = 1", vec!["porrt", "address"]),
            ("[default]\nport = \"x\"", vec!["port", "u16"]),
            ("[default.tollgate]\ndeadline = 1", vec!["deadline", "deadline_ms"]),
            ("[default.tollgate]\ndeadline_ms = \"soon\"", vec!["tollgate.deadline_ms", "u64"]),
            ("[default.tollgate]\ndeadline_ms = 1", vec!["tollgate.deadline_ms", "100 to 60000"]),
            (
                "[default.tollgate]\naccess_token_lifetime_s = 3600",
                vec!["access_token_lifetime_s", "300 to 600"],
            ),
            (
                "[default.tollgate]\ntenant_concurrency = 9223372036854775807",
                vec!["tenant_concurrency", "100000"],
            ),
            (
                "[default.tollgate.cors]\norigins = [\"https://pay.example.com/\"]",
                vec!["tollgate.cors.origins", "https://pay.example.com"],
            ),
            ("[default.tollgate.cors]\norigin = \"*\"", vec!["origins"]),
            ("[default.databases.main]\nuri = 1", vec!["url"]),
            (
                "[default.databases.main]\nurl = \"postgres://db/t\"\nmax_connections = 0",
                vec!["`databases.main.max_connections`", "1 to 10000"],
            ),
            (
                "[default.databases.main]\nurl = \"postgres://db/t\"\nconnect_timeout = 9223372036854775807",
                vec!["databases.main.connect_timeout"],
            ),
        ] {
            let message = config(toml).expect_err(toml).to_string();
            for part in told {
                assert!(message.contains(part), "{toml:?}: {message}");
            }
        }
    }

    #[test]
    fn a_database_that_is_written_wrongly_is_refused_by_its_key_and_its_password_is_not_told() {
        for (toml, told) in [
            ("[default]\ndatabases = \"postgres://ann:hush-hush@db/t\"", "`databases`"),
            ("[default.databases]\nmain = \"postgres://ann:hush-hush@db/t\"", "`databases.main`"),
            ("[default.databases.main]\nurl = [\"postgres://ann:hush-hush@db/t\"]", "`databases.main.url`"),
            (
                "[default.databases.main]\nurl = \"jdbc:postgresql://db/t?password=hush-hush\"",
                "`databases.main.url`",
            ),
            (
                "[default.databases.main]\nurl = \"postgres://db/t\"\napp_url = \"mysql://ann:hush-hush@db/t\"",
                "`databases.main.app_url`",
            ),
            ("[default.databases.main]\nurl = \"postgres://db/t\"\nap_url = \"hush-hush\"", "ap_url"),
            (
                "[default.databases.main]\nurl = \"postgres://db/t\"\nmax_connections = \"hush-hush\"",
                "`databases.main.max_connections`",
            ),
            ("[default.tollgate]\nroot_secret = [\"hush-hush\"]", "`tollgate.root_secret`"),
        ] {
            let message = config(toml).expect_err(toml).to_string();
            assert!(message.contains(told) && message.contains("expected"), "{toml:?}: {message}");
            assert!(!message.contains("hush"), "{toml:?}: {message}");
        }
    }

    #[test]
    fn outside_of_the_debug_profile_a_database_must_be_named() {
        let figment =
            Figment::from(rocket::Config::release_default()).select(rocket::Config::RELEASE_PROFILE);
        assert!(matches!(Config::from_figment(figment), Err(ConfigError::NoDatabase)));
    }

    #[test]
    fn the_root_secret_is_not_in_the_debug_form() {
        let config = config("[default.tollgate]\nroot_secret = \"hush\"").expect("valid");
        assert!(!format!("{config:?}").contains("hush"));
    }
}
