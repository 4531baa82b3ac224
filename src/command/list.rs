//! `tollgate list import` and `tollgate list export`: the entries of a list as a file.
//!
//! A server may run at the same time. Must never print what a line contains.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use thiserror::Error;
use tokio::io::AsyncReadExt;

use super::Failure;
use super::administration::{ACTOR, on_database};
use super::output::{print_result, print_status, write_results};
use crate::app::tenants::TenantError;
use crate::config::Config;
use crate::decisions::journal_clock::JournalClock;
use crate::domain::line_format::LineFormat;
use crate::domain::reference::VALID_AFTER_MS;
use crate::domain::tenant::TenantId;
use crate::domain::time::Clock;
use crate::http::routes::lists::lines::{BadLines, EntryReader, LINES_MAX, header, line_of};
use crate::storage::card_checks;
use crate::storage::databases::Databases;
use crate::storage::lists::{self, AddEntryError, EntryFilter, ListHead};
use crate::storage::tenants;
use crate::world::{OsRandomness, machine};

/// The number of entries that an export reads in one statement.
const PAGE: u32 = 1_000;

#[derive(Debug, clap::Args)]
pub struct ListOrder {
    /// Name of the tenant.
    #[arg(long)]
    tenant: String,
    /// Name of the list.
    #[arg(long)]
    list: String,
    /// csv or jsonl. Default: by the file name's extension, otherwise csv.
    #[arg(long, value_parser = LineFormat::parse)]
    format: Option<LineFormat>,
}

#[derive(Debug, clap::Subcommand)]
pub enum ListCommand {
    /// Add the entries of a file to a list.
    ///
    /// Values that are already on the list are skipped. If any line has an error, nothing is added.
    /// Entries are added 10,000 at a time: if the import fails, run it again to add the rest.
    Import {
        #[command(flatten)]
        order: ListOrder,
        /// CSV with the columns value and reason, or JSON lines. - for standard input.
        file: PathBuf,
    },
    /// Write the entries of a list that have not ended to standard output.
    Export {
        #[command(flatten)]
        order: ListOrder,
    },
}

/// An import that failed. Each part is a separate transaction, so earlier parts stay on the list.
#[derive(Debug, Error)]
#[error(
    "the import stopped after adding {added} of {read} entries ({already_there} were already on the list). \
     Run it again to add the rest"
)]
struct ImportStoppedError {
    read: usize,
    added: usize,
    already_there: usize,
    #[source]
    because: AddEntryError,
}

pub async fn run(config: Config, command: ListCommand) -> Result<ExitCode, Failure> {
    match command {
        ListCommand::Import { order, file } => import(config, order, &file).await,
        ListCommand::Export { order } => export(config, order).await,
    }
}

async fn import(config: Config, order: ListOrder, file: &Path) -> Result<ExitCode, Failure> {
    // Read before the database is started, so that a missing file is reported at once.
    let bytes = bytes_of(file).await?;
    let format = order.format.unwrap_or_else(|| format_of(file));
    let entries_max = config.settings.list_entries_max;
    let mut code = ExitCode::SUCCESS;
    on_database(config, async |pools| {
        let (tenant, head) = find(pools, &order).await?;
        let now_ms = JournalClock::start(pools.system.clone(), machine()).await?.now_ms();
        let reader =
            EntryReader { kinds: &head.kinds, added_by: ACTOR.to_owned(), now_ms, randomness: &OsRandomness };
        let unchecked = card_checks::unchecked(&pools.system, tenant).await?;
        let lines = match reader.lines(format, &bytes, unchecked, entries_max as usize) {
            Ok(lines) => lines,
            Err(bad) => {
                print_bad_lines(&bad);
                print_result!("Nothing was added. Lines with errors: {}.", bad.lines);
                code = ExitCode::FAILURE;
                return Ok(());
            }
        };
        let (read, mut offered, mut added, mut valid_from_ms) = (lines.len(), 0, 0, None);
        let mut entries = lines.into_iter().map(|line| line.entry);
        loop {
            let part: Vec<_> = entries.by_ref().take(LINES_MAX).collect();
            if part.is_empty() {
                break;
            }
            let size = part.len();
            let stored =
                lists::add_entries(&pools.app, tenant, &head.name, part, entries_max, &ACTOR.into(), now_ms)
                    .await;
            let already_there = offered - added;
            let stored =
                stored.map_err(|because| ImportStoppedError { read, added, already_there, because })?;
            if !stored.ids.is_empty() {
                valid_from_ms = Some(stored.valid_from_ms);
            }
            added += stored.ids.len();
            offered += size;
        }
        print_result!("{read} entries: {added} added, {} already on the list", read - added);
        if let Some(valid_from_ms) = valid_from_ms {
            print_result!(
                "Those that do not begin later are valid from {valid_from_ms} (milliseconds since 1970)."
            );
        }
        Ok(())
    })
    .await?;
    Ok(code)
}

fn print_bad_lines(bad: &BadLines) {
    for (line, error) in &bad.errors {
        let place = if error.pointer.is_empty() { "the line" } else { &error.pointer };
        print_status!("line {line}: {place}: {}", error.detail);
    }
}

async fn bytes_of(file: &Path) -> Result<Vec<u8>, Failure> {
    let named = |error: std::io::Error| format!("{}: {error}", file.display());
    if file != Path::new("-") {
        return Ok(tokio::fs::read(file).await.map_err(named)?);
    }
    let mut bytes = Vec::new();
    tokio::io::stdin().read_to_end(&mut bytes).await.map_err(named)?;
    Ok(bytes)
}

pub(super) fn format_of(file: &Path) -> LineFormat {
    let is_lines = file.extension().is_some_and(|extension| extension == "jsonl" || extension == "ndjson");
    if is_lines { LineFormat::Jsonl } else { LineFormat::Csv }
}

async fn find(pools: &Databases, order: &ListOrder) -> Result<(TenantId, ListHead), Failure> {
    let tenant = tenants::tenant_by_name(&pools.system, &order.tenant).await?;
    let tenant = tenant.ok_or_else(|| TenantError::Unknown(order.tenant.clone()))?;
    let head = lists::head(&pools.app, tenant, &order.list).await?;
    let unknown = || format!("the tenant {} has no list {}", order.tenant, order.list);
    Ok((tenant, head.ok_or_else(unknown)?))
}

async fn export(config: Config, order: ListOrder) -> Result<ExitCode, Failure> {
    let format = order.format.unwrap_or(LineFormat::Csv);
    on_database(config, async |pools| {
        let (tenant, head) = find(pools, &order).await?;
        let now_ms = JournalClock::start(pools.system.clone(), machine()).await?.now_ms();
        write_results(&header(format));
        let mut after = None;
        loop {
            // What ends so soon could not be imported again.
            let not_ended_at_ms = Some(now_ms + VALID_AFTER_MS);
            let filter = EntryFilter { not_ended_at_ms, ..EntryFilter::default() };
            let page = lists::entries(&pools.app, tenant, &head.name, filter, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            let text: String = page.iter().map(|entry| line_of(entry, format, now_ms)).collect();
            write_results(&text);
        }
        Ok(())
    })
    .await
}
