//! One configuration, from Rocket.toml, its profiles and the environment.
//!
//! Owns every key's name, default and range; checked once, at start, with
//! errors that name the key and what is allowed. Must never be read piecemeal
//! elsewhere: rooms get plain settings.

use std::path::PathBuf;

use figment::providers::{Env, Format, Toml};
use figment::{Figment, Profile};
use rocket::data::ToByteUnit;
use serde::Deserialize;
use thiserror::Error;

use crate::domain::tenant::REQUESTS_PER_S_MAX;
use crate::rules;
use crate::storage::pool::{DatabaseSettings, DatabaseUrlError};

/// What may stand at the top level: Rocket's own keys, the databases, ours.
const TOP_LEVEL_KEYS: [&str; 19] = [
    "address",
    "port",
    "workers",
    "max_blocking",
    "ident",
    "ip_header",
    "proxy_proto_header",
    "limits",
    "temp_dir",
    "keep_alive",
    "shutdown",
    "log_level",
    "cli_colors",
    "secret_key",
    "tls",
    "profile",
    "databases",
    "tollgate",
    "http2_keep_alive",
];

#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("configuration: {0}")]
    Figment(Box<figment::Error>),
    #[error("configuration: unknown key `{key}`; allowed keys are {}", TOP_LEVEL_KEYS.join(", "))]
    UnknownKey { key: String },
    #[error("configuration: `{key}` is {found}; expected {expected}")]
    OutOfRange { key: String, found: String, expected: String },
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
        // figment quotes what it found, and here that is a password or a key.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// The keys of `[*.tollgate]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where the private Postgres, the compiled plugins and the root secret live.
    pub data_dir: PathBuf,
    /// Plugins in here are shared by all tenants.
    pub plugins_dir: PathBuf,
    /// 32 bytes in base64 or hexadecimal. Made and kept in `data_dir` when not given.
    pub root_secret: Option<String>,
    /// Seed a demonstration tenant.
    pub demo: bool,
    pub log_format: LogFormat,
    /// As of tracing's `EnvFilter`.
    pub log_filter: String,
    /// `iss` of access tokens and of the authorization server's metadata; by the
    /// address and port where it is left out.
    pub issuer: Option<String>,
    /// `aud` of access tokens.
    pub audience: String,
    pub access_token_lifetime_s: u64,
    /// Bounds one request, waiting included.
    pub deadline_ms: u64,
    /// Requests served at once; more are turned away with 503.
    pub requests_max: usize,
    /// Of one client, on this node; zero for no limit. More are turned away with 429.
    pub client_requests_per_s: u32,
    /// At once, by a client that was idle; a second's worth at least.
    pub client_requests_burst: u32,
    pub plugin_size_max_bytes: u64,
    /// Uploads of one tenant that wait to be taken in; more are turned away with 429.
    pub tenant_uploads_waiting_max: u32,
    /// Plugins of one tenant that are not retired.
    pub tenant_plugins_max: u32,
    /// The same with the retired ones, whose bytes are kept.
    pub tenant_plugins_stored_max: u32,
    /// Lists of one tenant that are not closed; more are turned away with 429, as are those below.
    pub tenant_lists_max: u32,
    /// Entries of one list that have not ended.
    pub list_entries_max: u32,
    /// Revisions of one ruleset; none is ever deleted.
    pub ruleset_revisions_max: u32,
    /// Events told of one payment; none is ever deleted.
    pub payment_events_max: u32,
    /// Processor time of one compilation of a small plugin; a large one gets six times as much.
    pub compile_cpu_s: u64,
    pub journal_queue_max: usize,
    pub journal_batch_max: usize,
    pub journal_writers: usize,
    /// Threads for rules that take long; zero for one for two cores.
    pub rule_threads: usize,
    /// Payments of one tenant whose rules run at once; zero for the sandbox's own default, 8.
    pub tenant_concurrency: usize,
    /// Payments of one tenant that may wait for that.
    pub tenant_waiting_max: usize,
    pub compiled_plugins_max: usize,
    /// How often the tips of this node's chains are signed and written down.
    pub checkpoint_every_s: u64,
    /// So many failures of a live rule within the window put it into quarantine,
    pub quarantine_failures_min: u32,
    /// if they are so much of its runs.
    pub quarantine_share_percent: u32,
    pub quarantine_window_s: u64,
    /// Payments that wait for their shadow runs, a quarter of it of one tenant; more are skipped.
    pub shadow_queue_max: usize,
    /// Shadow runs are deleted when they are older.
    pub shadow_keep_days: u64,
    /// Between "not ready" and refusing connections, for load balancers to notice.
    pub shutdown_notice_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: ".tollgate".into(),
            plugins_dir: "plugins".into(),
            root_secret: None,
            demo: false,
            log_format: LogFormat::Text,
            log_filter: "info".into(),
            issuer: None,
            audience: "tollgate".into(),
            access_token_lifetime_s: 600,
            deadline_ms: 3_000,
            requests_max: 2_048,
            client_requests_per_s: 0,
            client_requests_burst: 0,
            plugin_size_max_bytes: 24 << 20,
            tenant_uploads_waiting_max: 8,
            tenant_plugins_max: 200,
            tenant_plugins_stored_max: 1_000,
            tenant_lists_max: 200,
            list_entries_max: 100_000,
            ruleset_revisions_max: 10_000,
            payment_events_max: 200,
            compile_cpu_s: 10,
            journal_queue_max: 8_192,
            journal_batch_max: 512,
            journal_writers: 1,
            rule_threads: 0,
            tenant_concurrency: 0,
            tenant_waiting_max: 1_024,
            compiled_plugins_max: 1_000,
            checkpoint_every_s: 60,
            quarantine_failures_min: 20,
            quarantine_share_percent: 50,
            quarantine_window_s: 60,
            shadow_queue_max: 4_096,
            shadow_keep_days: 30,
            shutdown_notice_ms: 0,
        }
    }
}

impl std::fmt::Debug for Settings {
    /// By hand, so that the root secret cannot reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("data_dir", &self.data_dir).finish_non_exhaustive()
    }
}

/// The part of the tree that is ours; read from its root, so that errors tell the whole path of a key.
#[derive(Deserialize)]
struct Tree {
    #[serde(default)]
    tollgate: Settings,
    #[serde(default)]
    databases: Databases,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Databases {
    main: Option<DatabaseSettings>,
}

#[derive(Clone)]
pub struct Config {
    /// For Rocket and the database pool.
    pub figment: Figment,
    pub settings: Settings,
    /// Nothing: start the private Postgres.
    pub database: Option<DatabaseSettings>,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Settings {
    /// As [`Config::load`], for what needs no database.
    pub fn load() -> Result<Self, ConfigError> {
        let figment = Config::figment();
        check_top_level(&figment)?;
        let Tree { tollgate: settings, .. } = figment.extract()?;
        check_ranges(&settings)?;
        Ok(settings)
    }

    /// The sandbox's part of it, for a server and for an author's own runs alike.
    pub fn sandbox(
        &self,
        program: PathBuf,
        cache_dir: PathBuf,
        cache_key: [u8; 32],
    ) -> rules::EngineSettings {
        let mut sandbox = rules::EngineSettings::new(program, cache_dir, cache_key);
        sandbox.loaded_max = self.compiled_plugins_max;
        sandbox.compile_cpu_s = self.compile_cpu_s;
        if self.rule_threads > 0 {
            sandbox.threads = self.rule_threads;
        }
        if self.tenant_concurrency > 0 {
            sandbox.tenant_concurrency = self.tenant_concurrency;
        }
        sandbox.tenant_waiting_max = self.tenant_waiting_max;
        sandbox
    }
}

impl Config {
    /// Reads Rocket.toml (or the file `ROCKET_CONFIG` names) and the environment.
    pub fn load() -> Result<Self, ConfigError> {
        Self::from_figment(Self::figment())
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
        // Rocket's own values are checked here too, where the error can still name the key.
        let rocket = figment.extract::<rocket::Config>()?;
        let Tree { tollgate: settings, databases } = figment.extract()?;
        check_ranges(&settings)?;
        if databases.main.is_none() && figment.profile() != rocket::Config::DEBUG_PROFILE {
            return Err(ConfigError::NoDatabase);
        }
        if let Some(database) = &databases.main {
            database.check()?;
            check_within("databases.main", &database.ranges())?;
        }
        let limit = settings.plugin_size_max_bytes.bytes();
        // A request under way gets its whole deadline, and a moment to be answered.
        let grace = u64::from(rocket.shutdown.grace).max(settings.deadline_ms / 1_000 + 1);
        let figment = figment
            .merge(("limits.bytes", limit))
            // Signals are ours: readiness fails before connections are refused.
            .merge(("shutdown.grace", grace))
            .merge(("shutdown.ctrlc", false))
            .merge(("shutdown.signals", Vec::<String>::new()));
        Ok(Self { figment, settings, database: databases.main })
    }
}

fn check_top_level(figment: &Figment) -> Result<(), ConfigError> {
    let all: figment::value::Dict = figment.extract()?;
    match all.keys().find(|key| !TOP_LEVEL_KEYS.contains(&key.as_str())) {
        Some(key) => Err(ConfigError::UnknownKey { key: key.clone() }),
        None => Ok(()),
    }
}

fn check_ranges(settings: &Settings) -> Result<(), ConfigError> {
    let ranges: [(&'static str, u64, u64, u64); 28] = [
        ("access_token_lifetime_s", settings.access_token_lifetime_s, 300, 600),
        ("deadline_ms", settings.deadline_ms, 100, 60_000),
        ("requests_max", settings.requests_max as u64, 1, 1_000_000),
        ("client_requests_per_s", settings.client_requests_per_s.into(), 0, REQUESTS_PER_S_MAX.into()),
        ("client_requests_burst", settings.client_requests_burst.into(), 0, REQUESTS_PER_S_MAX.into()),
        ("plugin_size_max_bytes", settings.plugin_size_max_bytes, 1_024, 128 << 20),
        ("tenant_uploads_waiting_max", settings.tenant_uploads_waiting_max.into(), 1, 1_000),
        ("tenant_plugins_max", settings.tenant_plugins_max.into(), 1, 100_000),
        ("tenant_plugins_stored_max", settings.tenant_plugins_stored_max.into(), 1, 1_000_000),
        ("tenant_lists_max", settings.tenant_lists_max.into(), 1, 100_000),
        ("list_entries_max", settings.list_entries_max.into(), 1, 10_000_000),
        ("ruleset_revisions_max", settings.ruleset_revisions_max.into(), 1, 1_000_000),
        ("payment_events_max", settings.payment_events_max.into(), 1, 100_000),
        ("compile_cpu_s", settings.compile_cpu_s, 1, 600),
        ("journal_queue_max", settings.journal_queue_max as u64, 1, 1_000_000),
        ("journal_batch_max", settings.journal_batch_max as u64, 1, 4_096),
        ("journal_writers", settings.journal_writers as u64, 1, 16),
        ("rule_threads", settings.rule_threads as u64, 0, 1_024),
        ("tenant_concurrency", settings.tenant_concurrency as u64, 0, 100_000),
        ("tenant_waiting_max", settings.tenant_waiting_max as u64, 1, 1_000_000),
        ("checkpoint_every_s", settings.checkpoint_every_s, 1, 3_600),
        ("compiled_plugins_max", settings.compiled_plugins_max as u64, 1, 100_000),
        ("quarantine_failures_min", settings.quarantine_failures_min.into(), 1, 1_000_000),
        ("quarantine_share_percent", settings.quarantine_share_percent.into(), 1, 100),
        ("quarantine_window_s", settings.quarantine_window_s, 1, 3_600),
        ("shadow_queue_max", settings.shadow_queue_max as u64, 1, 100_000),
        ("shadow_keep_days", settings.shadow_keep_days, 1, 3_650),
        ("shutdown_notice_ms", settings.shutdown_notice_ms, 0, 600_000),
    ];
    check_within("tollgate", &ranges)
}

fn check_within(section: &str, ranges: &[(&str, u64, u64, u64)]) -> Result<(), ConfigError> {
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
