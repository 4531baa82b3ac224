//! The settings of each part, made from the configuration, and the root secret.
//!
//! A part must never get the whole configuration: the other rooms must not depend on it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::StartError;
use crate::auth::root_secret::{Purpose, RootSecret};
use crate::config::NodeSettings;
use crate::decisions::uploads::UploadSettings;
use crate::domain::quarantine::QuarantineThreshold;
use crate::domain::quotas::Quotas;
use crate::domain::table::VERSION_BYTES_MAX;
use crate::http::edge::EdgeLimits;
use crate::http::edge::slots::SlotLimits;
use crate::http::services::BodyLimits;
use crate::rules;
use crate::storage::uploads::UploadQuotas;
use crate::world::OsRandomness;

const NODES_PATIENCE_MAX: Duration = Duration::from_secs(2);
const UPLOAD_DEADLINE_MIN: Duration = Duration::from_secs(120);

pub(super) fn upload_settings(settings: &NodeSettings) -> UploadSettings {
    UploadSettings {
        quotas: UploadQuotas {
            waiting_max: settings.tenant_uploads_waiting_max,
            plugins_max: settings.tenant_plugins_max,
            stored_max: settings.tenant_plugins_stored_max,
        },
        spool_folder: settings.data_dir.clone(),
        size_max_bytes: settings.plugin_size_max_bytes,
    }
}

pub(super) fn quarantine_threshold(settings: &NodeSettings) -> QuarantineThreshold {
    QuarantineThreshold {
        failures_min: settings.quarantine_failures_min,
        share_percent: settings.quarantine_share_percent,
        window_ms: settings.quarantine_window_s * 1_000,
    }
}

pub(super) fn quotas(settings: &NodeSettings) -> Quotas {
    Quotas {
        lists_max: settings.tenant_lists_max,
        list_entries_max: settings.list_entries_max,
        revisions_max: settings.ruleset_revisions_max,
        payment_events_max: settings.payment_events_max,
        tables: settings.table_quotas(),
    }
}

pub(super) fn body_limits(settings: &NodeSettings) -> BodyLimits {
    BodyLimits {
        body_bytes: 64 << 10,
        lines_bytes: 4 << 20,
        // Rows as text may have twice as many bytes as they are stored in.
        rows_bytes: 2 * VERSION_BYTES_MAX,
        upload_bytes: usize::try_from(settings.plugin_size_max_bytes).unwrap_or(usize::MAX),
        form_bytes: 8 << 10,
    }
}

pub(super) fn edge_limits(settings: &NodeSettings) -> EdgeLimits {
    let all = settings.requests_max;
    let share =
        |configured: usize, by_default: usize| if configured > 0 { configured } else { by_default.max(1) };
    EdgeLimits {
        deadline: deadline(settings),
        upload_deadline: deadline(settings).max(UPLOAD_DEADLINE_MIN),
        slots: SlotLimits {
            all,
            per_tenant: share(settings.tenant_requests_max, all / 2),
            per_address: share(settings.address_requests_max, all / 8),
        },
    }
}

/// How long an activation waits for nodes that lack a plugin. The rest of the request's time is for
/// the activation itself.
pub(super) fn nodes_wait_max(settings: &NodeSettings) -> Duration {
    NODES_PATIENCE_MAX.min(deadline(settings).mul_f64(0.6))
}

/// How long a submission may take. The rest of the request's time is for sending the response.
pub(super) fn submission_deadline(settings: &NodeSettings) -> Duration {
    deadline(settings).mul_f64(0.9)
}

fn deadline(settings: &NodeSettings) -> Duration {
    Duration::from_millis(settings.deadline_ms)
}

pub(super) fn root_secret(settings: &NodeSettings) -> Result<RootSecret, StartError> {
    if let Some(text) = &settings.root_secret {
        return Ok(RootSecret::from_text(text)?);
    }
    data_folder(&settings.data_dir)?;
    Ok(RootSecret::open_or_create(&settings.data_dir.join("root-secret"), &OsRandomness)?)
}

pub(super) fn data_folder(path: &Path) -> Result<(), StartError> {
    std::fs::create_dir_all(path).map_err(|source| StartError::DataFolder { path: path.to_owned(), source })
}

pub(super) fn sandbox_settings(
    settings: &NodeSettings,
    root: &RootSecret,
    program: PathBuf,
) -> Result<rules::EngineSettings, StartError> {
    data_folder(&settings.data_dir)?;
    let key = *root.derive(Purpose::CompiledPlugins)?.expose();
    Ok(settings.sandbox(program, settings.data_dir.join("compiled-plugins"), key))
}
