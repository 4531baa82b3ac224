//! The keys of `[*.tollgate]`: their names, defaults and ranges.

use std::path::PathBuf;

use serde::Deserialize;

use super::SettingRange;
use super::listener::{ListenerSettings, ProxySettings};
use super::roles::{Roles, RulesSettings};
use crate::domain::decision::EvidenceVersion;
use crate::domain::openid::IssuerAddress;
use crate::domain::quotas::TableQuotas;
use crate::domain::table::ROWS_MAX;
use crate::domain::tenant::REQUESTS_PER_S_MAX;
use crate::domain::web_origin::WebOrigin;
use crate::door::tls::TlsSettings;
use crate::rules;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// The keys of `[*.tollgate.cors]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CorsSettings {
    /// The origins whose pages may use the API from a browser.
    pub origins: Vec<WebOrigin>,
}

/// The keys of `[*.tollgate]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeSettings {
    /// Holds the private Postgres, the compiled plugins, the checkpoints and the root secret.
    pub data_dir: PathBuf,
    /// The plugins of this folder are shared by all tenants.
    pub plugins_dir: PathBuf,
    /// 32 bytes in base64 or hexadecimal. If not set, one is generated and stored in `data_dir`.
    pub root_secret: Option<String>,
    /// What this process does.
    pub roles: Roles,
    pub rules: RulesSettings,
    /// Whether to create the demonstration tenant.
    pub demo: bool,
    pub log_format: LogFormat,
    /// A filter in the syntax of tracing's `EnvFilter`.
    pub log_filter: String,
    /// `iss` of access tokens and of the authorization server's metadata. If not set, it is made from
    /// the address and the port.
    pub issuer: Option<String>,
    /// `aud` of access tokens.
    pub audience: String,
    pub cors: CorsSettings,
    pub listener: ListenerSettings,
    pub proxies: ProxySettings,
    /// Without it, requests come without TLS.
    pub tls: Option<TlsSettings>,
    pub access_token_lifetime_s: u64,
    /// Providers of OpenID Connect to which this server may connect: issuers, or origins for all their
    /// issuers. None by default.
    pub openid_issuers: Vec<IssuerAddress>,
    /// A person's session ends if it is not used for this long.
    pub session_idle_max_s: u64,
    /// A person's session ends after this long in any case.
    pub session_max_s: u64,
    /// Bounds one request, including its time in queues.
    pub deadline_ms: u64,
    /// Concurrent requests. More are refused with 503.
    pub requests_max: usize,
    /// Of one tenant. 0 means half of `requests_max`.
    pub tenant_requests_max: usize,
    /// Of one address, without a believed token. 0 means an eighth of `requests_max`.
    pub address_requests_max: usize,
    /// The rate of one client on this node. 0 means no limit. More are refused with 429.
    pub client_requests_per_s: u32,
    /// How many requests an idle client can send at once. At least the rate of one second.
    pub client_requests_burst: u32,
    pub plugin_size_max_bytes: u64,
    /// Unfinished uploads of one tenant. More are refused with 429.
    pub tenant_uploads_waiting_max: u32,
    /// Plugins of one tenant that are not retired.
    pub tenant_plugins_max: u32,
    /// All plugins of one tenant, including the retired ones, whose bytes are kept.
    pub tenant_plugins_stored_max: u32,
    /// Lists of one tenant that are not closed. More are refused with 429, as for the limits below.
    pub tenant_lists_max: u32,
    /// Entries of one list that have not ended.
    pub list_entries_max: u32,
    /// Revisions of one ruleset. They are never deleted.
    pub ruleset_revisions_max: u32,
    /// Events of one payment. They are never deleted.
    pub payment_events_max: u32,
    /// Tables of one tenant that are not closed.
    pub tenant_tables_max: u32,
    /// Versions of one table. They are never deleted.
    pub table_versions_max: u32,
    /// Rows of one version.
    pub table_rows_max: u32,
    /// The rows of all versions of one tenant's tables. They are never deleted.
    pub tenant_tables_stored_max_bytes: u64,
    /// Processor time for compiling a small plugin. A large one gets six times as much.
    pub compile_cpu_s: u64,
    pub journal_queue_max: usize,
    pub journal_batch_max: usize,
    pub journal_writers: usize,
    /// The version in which decisions are stored. 2 while nodes of the release before are running.
    pub evidence_version: EvidenceVersion,
    /// Threads for rules that run long. 0 means one for every two cores.
    pub rule_threads: usize,
    /// Payments of one tenant whose rules run concurrently. 0 means the sandbox's default, 8.
    pub tenant_concurrency: usize,
    /// Payments of one tenant that wait for their rules to run.
    pub tenant_waiting_max: usize,
    pub compiled_plugins_max: usize,
    /// Tenants whose rulesets are kept in memory. Those of other tenants are loaded for a payment.
    pub deployments_kept_max: usize,
    /// The interval at which the tips of this node's chains are signed and stored.
    pub checkpoint_every_s: u64,
    /// A live rule goes into quarantine if it fails at least this often within the window, and in at
    /// least this share of its runs.
    pub quarantine_failures_min: u32,
    pub quarantine_share_percent: u32,
    pub quarantine_window_s: u64,
    /// Payments that wait for their shadow runs, of which one tenant may have a quarter. More are
    /// skipped.
    pub shadow_queue_max: usize,
    /// Older shadow runs are deleted.
    pub shadow_keep_days: u64,
    /// Tables, and lists that rules search for similar names, in memory. The least recently used are
    /// dropped and read again when needed.
    pub reference_memory_max_bytes: usize,
    /// The time between reporting "not ready" and refusing connections, so that load balancers notice.
    pub shutdown_notice_ms: u64,
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self {
            data_dir: ".tollgate".into(),
            plugins_dir: "plugins".into(),
            root_secret: None,
            roles: Roles::default(),
            rules: RulesSettings::default(),
            demo: false,
            log_format: LogFormat::Text,
            log_filter: "info".into(),
            issuer: None,
            audience: "tollgate".into(),
            cors: CorsSettings::default(),
            listener: ListenerSettings::default(),
            proxies: ProxySettings::default(),
            tls: None,
            access_token_lifetime_s: 600,
            openid_issuers: Vec::new(),
            session_idle_max_s: 8 * 3_600,
            session_max_s: 24 * 3_600,
            deadline_ms: 3_000,
            requests_max: 2_048,
            tenant_requests_max: 0,
            address_requests_max: 0,
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
            tenant_tables_max: 100,
            table_versions_max: 1_000,
            table_rows_max: ROWS_MAX,
            tenant_tables_stored_max_bytes: 16 << 30,
            compile_cpu_s: 10,
            journal_queue_max: 8_192,
            journal_batch_max: 512,
            journal_writers: 1,
            evidence_version: EvidenceVersion::V3,
            rule_threads: 0,
            tenant_concurrency: 0,
            tenant_waiting_max: 1_024,
            compiled_plugins_max: 1_000,
            deployments_kept_max: 10_000,
            checkpoint_every_s: 60,
            quarantine_failures_min: 20,
            quarantine_share_percent: 50,
            quarantine_window_s: 60,
            shadow_queue_max: 4_096,
            shadow_keep_days: 30,
            reference_memory_max_bytes: 256 << 20,
            shutdown_notice_ms: 0,
        }
    }
}

impl std::fmt::Debug for NodeSettings {
    /// Does not show the root secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeSettings").field("data_dir", &self.data_dir).finish_non_exhaustive()
    }
}

impl NodeSettings {
    /// The settings of the sandbox, for a server and for the commands that run a plugin.
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

    /// For a server, and for the commands that store tables.
    pub fn table_quotas(&self) -> TableQuotas {
        TableQuotas {
            tables_max: self.tenant_tables_max,
            versions_max: self.table_versions_max,
            rows_max: self.table_rows_max,
            stored_bytes_max: self.tenant_tables_stored_max_bytes,
        }
    }

    pub(super) fn ranges(&self) -> [SettingRange; 38] {
        [
            ("access_token_lifetime_s", self.access_token_lifetime_s, 300, 600),
            ("session_idle_max_s", self.session_idle_max_s, 1, 31_536_000),
            ("session_max_s", self.session_max_s, 1, 31_536_000),
            ("deadline_ms", self.deadline_ms, 100, 60_000),
            ("requests_max", self.requests_max as u64, 1, 1_000_000),
            ("tenant_requests_max", self.tenant_requests_max as u64, 0, 1_000_000),
            ("address_requests_max", self.address_requests_max as u64, 0, 1_000_000),
            ("client_requests_per_s", self.client_requests_per_s.into(), 0, REQUESTS_PER_S_MAX.into()),
            ("client_requests_burst", self.client_requests_burst.into(), 0, REQUESTS_PER_S_MAX.into()),
            ("plugin_size_max_bytes", self.plugin_size_max_bytes, 1_024, 128 << 20),
            ("tenant_uploads_waiting_max", self.tenant_uploads_waiting_max.into(), 1, 1_000),
            ("tenant_plugins_max", self.tenant_plugins_max.into(), 1, 100_000),
            ("tenant_plugins_stored_max", self.tenant_plugins_stored_max.into(), 1, 1_000_000),
            ("tenant_lists_max", self.tenant_lists_max.into(), 1, 100_000),
            ("list_entries_max", self.list_entries_max.into(), 1, 10_000_000),
            ("ruleset_revisions_max", self.ruleset_revisions_max.into(), 1, 1_000_000),
            ("payment_events_max", self.payment_events_max.into(), 1, 100_000),
            ("tenant_tables_max", self.tenant_tables_max.into(), 1, 10_000),
            ("table_versions_max", self.table_versions_max.into(), 1, 1_000_000),
            ("table_rows_max", self.table_rows_max.into(), 1, ROWS_MAX.into()),
            ("tenant_tables_stored_max_bytes", self.tenant_tables_stored_max_bytes, 1 << 20, 1 << 50),
            ("compile_cpu_s", self.compile_cpu_s, 1, 600),
            ("journal_queue_max", self.journal_queue_max as u64, 1, 1_000_000),
            ("journal_batch_max", self.journal_batch_max as u64, 1, 4_096),
            ("journal_writers", self.journal_writers as u64, 1, 16),
            ("rule_threads", self.rule_threads as u64, 0, 1_024),
            ("tenant_concurrency", self.tenant_concurrency as u64, 0, 100_000),
            ("tenant_waiting_max", self.tenant_waiting_max as u64, 1, 1_000_000),
            ("checkpoint_every_s", self.checkpoint_every_s, 1, 3_600),
            ("compiled_plugins_max", self.compiled_plugins_max as u64, 1, 100_000),
            ("deployments_kept_max", self.deployments_kept_max as u64, 1, 1_000_000),
            ("quarantine_failures_min", self.quarantine_failures_min.into(), 1, 1_000_000),
            ("quarantine_share_percent", self.quarantine_share_percent.into(), 1, 100),
            ("quarantine_window_s", self.quarantine_window_s, 1, 3_600),
            ("shadow_queue_max", self.shadow_queue_max as u64, 1, 100_000),
            ("shadow_keep_days", self.shadow_keep_days, 1, 3_650),
            ("reference_memory_max_bytes", self.reference_memory_max_bytes as u64, 1 << 20, 1 << 40),
            ("shutdown_notice_ms", self.shutdown_notice_ms, 0, 600_000),
        ]
    }
}
