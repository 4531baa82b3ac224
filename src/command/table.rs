//! `tollgate table`: the versions of a table as files, what differs between them, and rolling back.
//!
//! A server may run at the same time. Must never print what a line of an imported file contains.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use super::Failure;
use super::administration::{ACTOR, on_database};
use super::list::format_of;
use super::output::{print_result, print_status, write_results};
use crate::app::tenants::TenantError;
use crate::config::Config;
use crate::decisions::journal_clock::JournalClock;
use crate::decisions::tables::reading::BadRows;
use crate::decisions::tables::writing::{header_line, row_line, row_object};
use crate::decisions::tables::{Differences, DifferencesRequest, RowsUpload, Tables, UploadRowsError};
use crate::domain::line_format::LineFormat;
use crate::domain::table::{Row, RowChange, TableName, rows_of};
use crate::domain::tenant::TenantId;
use crate::domain::time::World;
use crate::storage::card_checks;
use crate::storage::databases::Databases;
use crate::storage::rulesets::ExpectedActivation;
use crate::storage::tables::{self, Table, TableActivationRequest, TableVersion};
use crate::storage::tenants;
use crate::world::{machine, with_clock};

/// How many changes are read at a time.
const CHANGES: usize = 1_000;

#[derive(Debug, clap::Args)]
pub struct TableChoice {
    /// Name of the tenant.
    #[arg(long)]
    tenant: String,
    /// Name of the table.
    #[arg(long)]
    table: String,
}

#[derive(Debug, clap::Subcommand)]
pub enum TableCommand {
    /// Store the rows of a file as a new version, which is valid two seconds later.
    ///
    /// If any line has an error, nothing is stored.
    Import {
        #[command(flatten)]
        choice: TableChoice,
        /// csv or jsonl. Default: by the file name's extension, otherwise csv.
        #[arg(long, value_parser = LineFormat::parse)]
        format: Option<LineFormat>,
        /// Why the version was made.
        #[arg(long, default_value = "")]
        note: String,
        /// CSV with a header line of all columns, or JSON lines. - for standard input.
        file: PathBuf,
    },
    /// Write the rows of a version to standard output.
    Export {
        #[command(flatten)]
        choice: TableChoice,
        /// csv or jsonl. Default: csv.
        #[arg(long, value_parser = LineFormat::parse)]
        format: Option<LineFormat>,
        /// The number of the version. Default: the one that is valid now.
        #[arg(long)]
        version: Option<i32>,
    },
    /// Show the rows that differ between two versions: + added, - removed, both for changed ones.
    Diff {
        #[command(flatten)]
        choice: TableChoice,
        /// The number of the earlier version.
        from: i32,
        /// The number of the later version.
        to: i32,
    },
    /// Make an earlier version valid again, two seconds later.
    RollBack {
        #[command(flatten)]
        choice: TableChoice,
        /// The number of the version. Default: the one before the active one.
        #[arg(long)]
        version: Option<i32>,
    },
}

pub async fn run(config: Config, command: TableCommand) -> Result<ExitCode, Failure> {
    match command {
        TableCommand::Import { choice, format, note, file } => {
            import(config, choice, format, note, &file).await
        }
        TableCommand::Export { choice, format, version } => export(config, choice, format, version).await,
        TableCommand::Diff { choice, from, to } => diff(config, choice, from, to).await,
        TableCommand::RollBack { choice, version } => roll_back(config, choice, version).await,
    }
}

async fn find(pools: &Databases, choice: &TableChoice) -> Result<(TenantId, Table), Failure> {
    let tenant = tenants::tenant_by_name(&pools.system, &choice.tenant).await?;
    let tenant = tenant.ok_or_else(|| TenantError::Unknown(choice.tenant.clone()))?;
    let unknown = || format!("the tenant {} has no table {}", choice.tenant, choice.table);
    let name = TableName::parse(&choice.table).ok_or_else(unknown)?;
    Ok((tenant, tables::get(&pools.app, tenant, &name).await?.ok_or_else(unknown)?))
}

async fn find_version(
    pools: &Databases,
    tenant: TenantId,
    table: &Table,
    number: i32,
) -> Result<TableVersion, Failure> {
    let found = tables::version(&pools.app, tenant, &table.name, number).await?;
    Ok(found.ok_or_else(|| format!("the table {} has no version {number}", table.name.as_str()))?)
}

async fn world(pools: &Databases) -> Result<World, Failure> {
    Ok(with_clock(Arc::new(JournalClock::start(pools.system.clone(), machine()).await?)))
}

fn source_of(file: &Path) -> Result<Box<dyn Read + Send>, Failure> {
    if file == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    Ok(Box::new(File::open(file).map_err(|error| format!("{}: {error}", file.display()))?))
}

async fn import(
    config: Config,
    choice: TableChoice,
    format: Option<LineFormat>,
    note: String,
    file: &Path,
) -> Result<ExitCode, Failure> {
    // Opened before the database is started, so that a missing file is reported at once.
    let source = source_of(file)?;
    let format = format.unwrap_or_else(|| format_of(file));
    let quotas = config.settings.table_quotas();
    let mut code = ExitCode::SUCCESS;
    on_database(config, async |pools| {
        let (tenant, table) = find(pools, &choice).await?;
        let unchecked = card_checks::unchecked(&pools.system, tenant).await?;
        let tables = Tables::new(pools.app.clone(), world(pools).await?, quotas);
        let (actor, activates) = (ACTOR.to_owned(), true);
        let upload = RowsUpload { tenant, table, format, source, unchecked, note, actor, activates };
        match tables.upload(upload).await {
            Ok((TableVersion { number, rows, valid_from_ms, .. }, _)) => {
                let valid_from_ms = valid_from_ms.unwrap_or_default();
                print_result!("version {number}: {rows} rows, valid from {valid_from_ms}");
            }
            Err(UploadRowsError::Bad(bad)) => {
                print_bad_rows(&bad);
                print_result!("Nothing was stored. Lines with errors: {}.", bad.lines);
                code = ExitCode::FAILURE;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    })
    .await?;
    Ok(code)
}

fn print_bad_rows(bad: &BadRows) {
    for fault in &bad.faults {
        let column = fault.column.as_deref().unwrap_or("the line");
        print_status!("line {}: {column}: {}", fault.line, fault.detail);
    }
}

async fn export(
    config: Config,
    choice: TableChoice,
    format: Option<LineFormat>,
    number: Option<i32>,
) -> Result<ExitCode, Failure> {
    let format = format.unwrap_or(LineFormat::Csv);
    let quotas = config.settings.table_quotas();
    on_database(config, async |pools| {
        let (tenant, table) = find(pools, &choice).await?;
        let version = match number {
            Some(number) => find_version(pools, tenant, &table, number).await?,
            None => {
                let tables = Tables::new(pools.app.clone(), world(pools).await?, quotas);
                let valid = tables.valid_version(tenant, &table.name).await?;
                valid.ok_or_else(|| format!("the table {} has no valid version", choice.table))?
            }
        };
        write_results(&header_line(&table.schema, format));
        let mut place = 0;
        loop {
            let part = tables::chunks(&pools.app, tenant, version.content, place).await?;
            let Some(last) = part.last() else { break };
            place = last.place + 1;
            for chunk in &part {
                let mut text = String::new();
                for row in rows_of(&chunk.bytes) {
                    text += &row_line(&table.schema, format, &Row::read(table.schema.lookup(), row?)?);
                }
                write_results(&text);
            }
        }
        Ok(())
    })
    .await
}

async fn diff(config: Config, choice: TableChoice, from: i32, to: i32) -> Result<ExitCode, Failure> {
    let quotas = config.settings.table_quotas();
    on_database(config, async |pools| {
        let (tenant, table) = find(pools, &choice).await?;
        let mut request = DifferencesRequest {
            tenant,
            lookup: table.schema.lookup(),
            from: find_version(pools, tenant, &table, from).await?.content,
            to: find_version(pools, tenant, &table, to).await?.content,
            after: None,
            limit: CHANGES,
        };
        let tables = Tables::new(pools.app.clone(), world(pools).await?, quotas);
        let mut summary = String::new();
        loop {
            let Differences { counts, changes } = tables.differences(request.clone()).await?;
            if let Some(counts) = counts {
                let (added, removed, changed) = (counts.added, counts.removed, counts.changed);
                summary = format!("{added} added, {removed} removed, {changed} changed");
            }
            changes.iter().for_each(|(_, change)| print_change(&table, change));
            if changes.len() < CHANGES {
                break;
            }
            request.after = changes.into_iter().last().map(|(position, _)| position);
        }
        print_status!("{summary}");
        Ok(())
    })
    .await
}

fn print_change(table: &Table, change: &RowChange) {
    let (before, after) = match change {
        RowChange::Added(after) => (None, Some(after)),
        RowChange::Removed(before) => (Some(before), None),
        RowChange::Changed { before, after } => (Some(before), Some(after)),
    };
    for (sign, row) in [("-", before), ("+", after)] {
        if let Some(row) = row {
            print_result!("{sign} {}", row_object(&table.schema, row));
        }
    }
}

async fn roll_back(config: Config, choice: TableChoice, version: Option<i32>) -> Result<ExitCode, Failure> {
    on_database(config, async |pools| {
        let (tenant, table) = find(pools, &choice).await?;
        let (world, request) = (world(pools).await?, TableActivationRequest::RollBack { version });
        let any = ExpectedActivation::default();
        let line =
            tables::activate(&pools.app, &world, tenant, &table.name, request, ACTOR.into(), any).await?;
        print_result!("version {}: valid from {}", line.version, line.valid_from_ms);
        Ok(())
    })
    .await
}
