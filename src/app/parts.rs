//! What each part gets of the configuration.
//!
//! Owns the shapes that rooms ask for, and the root secret. A part must never get
//! the whole configuration: rooms know plain settings only.

use std::path::{Path, PathBuf};

use super::StartError;
use crate::auth::root_secret::{Purpose, RootSecret};
use crate::config::Settings;
use crate::decisions::uploads::UploadSettings;
use crate::domain::quarantine::QuarantineThreshold;
use crate::domain::quotas::Quotas;
use crate::rules;
use crate::storage::uploads::UploadQuotas;
use crate::world::OsRandomness;

pub(super) fn upload_settings(settings: &Settings) -> UploadSettings {
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

pub(super) fn quarantine_threshold(settings: &Settings) -> QuarantineThreshold {
    QuarantineThreshold {
        failures_min: settings.quarantine_failures_min,
        share_percent: settings.quarantine_share_percent,
        window_ms: settings.quarantine_window_s * 1_000,
    }
}

pub(super) fn quotas(settings: &Settings) -> Quotas {
    Quotas {
        lists_max: settings.tenant_lists_max,
        list_entries_max: settings.list_entries_max,
        revisions_max: settings.ruleset_revisions_max,
        payment_events_max: settings.payment_events_max,
    }
}

pub(super) fn root_secret(settings: &Settings) -> Result<RootSecret, StartError> {
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
    settings: &Settings,
    root: &RootSecret,
    program: PathBuf,
) -> Result<rules::EngineSettings, StartError> {
    data_folder(&settings.data_dir)?;
    let key = *root.derive(Purpose::CompiledPlugins)?.expose();
    Ok(settings.sandbox(program, settings.data_dir.join("compiled-plugins"), key))
}
