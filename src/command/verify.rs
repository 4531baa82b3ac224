//! `tollgate verify`: checks all stored decisions against their chains.
//!
//! A server may run at the same time. Must never change anything.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use super::Failure;
use super::administration::on_database;
use super::output::print_result;
use super::progress::Progress;
use crate::app;
use crate::auth::checkpoint::CheckpointKey;
use crate::config::Config;
use crate::decisions::checkpoints::file::{self, CheckpointFile, CheckpointLine};
use crate::decisions::verify::{self, CheckpointComparison, VerificationCounts, VerificationEvent};
use crate::storage::databases::Databases;
use crate::storage::decisions;

pub async fn verify(config: Config, files: Vec<PathBuf>) -> Result<ExitCode, Failure> {
    // Read first, so that a wrong path is reported now and not after hours.
    let lines = lines_of(&config, files)?;
    let key = app::checkpoint_key(&config)?;
    let mut findings = 0;
    on_database(config, async |pools| {
        let (counts, rate) = chains(pools, &key).await?;
        let mut tell = |told: VerificationEvent| {
            if let VerificationEvent::Finding(finding) = told {
                print_result!("{finding}");
            }
        };
        let compared = verify::compare(&pools.system, &key, lines, &mut tell).await?;
        findings = counts.findings + compared.findings;
        print_result!(
            "{} decisions ({} erased) and {} keys in {} batches of {} writers: {findings} findings; \
             {rate:.0} decisions per second",
            counts.decisions,
            counts.erased,
            counts.keys,
            counts.batches,
            counts.writers.len(),
        );
        if counts.removals > 0 {
            print_result!(
                "{} decisions were removed by retention, as {} signed records say.",
                counts.removed,
                counts.removals
            );
        }
        print_result!("{}", checkpoint_summary(&counts, &compared));
        Ok(())
    })
    .await?;
    Ok(if findings == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The checkpoints in these files, or those of the data folder if there are none.
fn lines_of(config: &Config, files: Vec<PathBuf>) -> Result<Vec<CheckpointLine>, Failure> {
    let own = CheckpointFile::in_folder(&config.settings.data_dir);
    let files = match files.is_empty() {
        true if !own.path().exists() => Vec::new(),
        true => vec![own.path().to_owned()],
        false => files,
    };
    let mut lines = Vec::new();
    for path in files {
        lines.extend(file::read(&path).map_err(|error| format!("{}: {error}", path.display()))?);
    }
    Ok(lines)
}

async fn chains(pools: &Databases, key: &CheckpointKey) -> Result<(VerificationCounts, f64), Failure> {
    let total = decisions::count(&pools.system, None, 0).await?;
    let mut progress = Progress::new(total, "verified");
    let counts = verify::verify(&pools.system, key, &mut |told| match told {
        VerificationEvent::Finding(finding) => progress.tell(&finding.to_string()),
        VerificationEvent::Decisions(more) => progress.add(more),
    })
    .await?;
    progress.end();
    Ok((counts, progress.rate()))
}

fn checkpoint_summary(counts: &VerificationCounts, compared: &CheckpointComparison) -> String {
    let Some(newest_ms) = compared.newest_ms else {
        let why =
            if compared.findings == 0 { "No checkpoint to compare with" } else { "No checkpoint is valid" };
        return format!("{why}: removal of the newest entries cannot be detected.");
    };
    let written: BTreeSet<_> = counts.writers.iter().copied().collect();
    let without = written.difference(&compared.writers).count();
    format!(
        "{} checkpoints are valid, the newest from {newest_ms} ms. Removal of a writer's newest entries \
         cannot be detected after its last checkpoint, or at all for the {without} writers without a \
         checkpoint.",
        compared.matching
    )
}
