//! `tollgate import`: imports the history of another system, one payment per line.
//!
//! A server may run at the same time. Must never hold a whole file in memory, and never print
//! what a line contains.

mod lines;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt, stream};
use tokio::io::{AsyncRead, BufReader};

use super::Failure;
use super::administration::on_database;
use super::output::{print_result, print_status};
use crate::app;
use crate::config::Config;
use crate::decisions::imports::{EarlierRuns, ImportCounts, ImportError, ImportedPayment, Imports};
use crate::domain::card_number::holds_card_number;
use crate::domain::time::Clock;
use crate::http::request::line_error::LineError;
use crate::http::routes::payments::import_line::{self, AcceptedLines, PastLine};
use crate::world::SystemClock;
use lines::{InputLine, InputLines, LINE_BYTES_MAX};

/// The most payments that wait for the journal, which stores many in one transaction.
const IN_FLIGHT_MAX: usize = 2_048;
/// The number of payments whose events are stored in one statement.
const EVENT_BATCH_PAYMENTS: usize = 1_024;
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// The most lines whose errors are printed. The summary counts all.
const PRINTED_LINES_MAX: u64 = 50;
/// The most errors that are printed for one line.
const PRINTED_ERRORS_MAX: usize = 5;

#[derive(Debug, clap::Args)]
pub struct ImportOrder {
    /// Name of the tenant.
    #[arg(long)]
    tenant: String,
    /// Import nothing if any line has an error. Reads the file twice.
    #[arg(long)]
    strict: bool,
    /// A file of JSON lines, or - for standard input.
    file: PathBuf,
}

/// The result of one line.
enum LineOutcome {
    Stored(ImportedPayment),
    Bad { line: u64, errors: Vec<LineError> },
}

#[derive(Debug, Default)]
struct ImportReport {
    counts: ImportCounts,
}

impl ImportReport {
    fn bad(&mut self, line: u64, errors: &[LineError]) {
        self.counts.refused += 1;
        if self.counts.refused > PRINTED_LINES_MAX {
            return;
        }
        for LineError { pointer, detail } in errors.iter().take(PRINTED_ERRORS_MAX) {
            let place = if pointer.is_empty() { "the line" } else { pointer };
            print_status!("line {line}: {place}: {detail}");
        }
        if errors.len() > PRINTED_ERRORS_MAX {
            print_status!("line {line}: and {} more errors", errors.len() - PRINTED_ERRORS_MAX);
        }
        if self.counts.refused == PRINTED_LINES_MAX {
            print_status!("further lines with errors are counted but not listed");
        }
    }

    fn read(&self) -> u64 {
        self.counts.stored + self.counts.already_there + self.counts.refused
    }

    fn exit(&self) -> ExitCode {
        if self.counts.refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

pub async fn import(config: Config, order: ImportOrder) -> Result<ExitCode, Failure> {
    // Opened before the database is started, so that a missing file is reported at once.
    let source = open(&order.file).await?;
    if order.strict && !can_be_read_twice(&order.file).await {
        return Err("--strict reads the input twice, so it needs a regular file".into());
    }
    let own = config.clone();
    let (mut report, mut is_bad, begun) = (ImportReport::default(), false, Instant::now());
    on_database(config, async |pools| {
        let unchecked = app::tenants::unchecked(&pools.system, &order.tenant).await?;
        let accepted = AcceptedLines { unchecked, version: own.settings.evidence_version };
        if order.strict {
            let earlier = app::imports::earlier_runs(pools, &order.tenant).await?;
            let checked = check(&order.file, accepted, &earlier).await?;
            if checked.counts.refused > 0 {
                (report, is_bad) = (checked, true);
                return Ok(());
            }
        }
        let imports = app::imports::open(&own, pools, &order.tenant).await?;
        let worked = store_all(source, &imports, accepted, &mut report).await;
        let finished = imports.finish(&subject(&order.file), report.counts).await;
        worked?;
        Ok(finished?)
    })
    .await?;
    if is_bad {
        print_result!("Nothing was imported. Lines with errors: {}.", report.counts.refused);
        return Ok(report.exit());
    }
    let ImportCounts { stored, already_there, refused, events } = report.counts;
    print_result!(
        "{} lines in {:.1} s: {stored} stored, {already_there} already stored, {refused} refused; {events} \
         new events",
        report.read(),
        begun.elapsed().as_secs_f64(),
    );
    Ok(report.exit())
}

/// The subject in the audit log: the file name without its folder.
fn subject(file: &Path) -> String {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
    match name.filter(|name| name != "-") {
        Some(name) if holds_card_number(&name) => "a file named like a card number".to_owned(),
        Some(name) => name,
        None => "standard input".to_owned(),
    }
}

type Source = BufReader<Box<dyn AsyncRead + Send + Unpin>>;

async fn open(file: &Path) -> Result<Source, Failure> {
    let source: Box<dyn AsyncRead + Send + Unpin> = if file == Path::new("-") {
        Box::new(tokio::io::stdin())
    } else {
        Box::new(tokio::fs::File::open(file).await.map_err(|error| format!("{}: {error}", file.display()))?)
    };
    Ok(BufReader::with_capacity(64 << 10, source))
}

async fn can_be_read_twice(file: &Path) -> bool {
    let is_file = tokio::fs::metadata(file).await.is_ok_and(|metadata| metadata.is_file());
    file != Path::new("-") && is_file
}

/// The first of two passes. It checks all lines and stores nothing.
async fn check(file: &Path, accepted: AcceptedLines, earlier: &EarlierRuns) -> Result<ImportReport, Failure> {
    let (mut lines, mut report) = (InputLines::of(open(file).await?), ImportReport::default());
    while let Some(line) = lines.next().await? {
        // This pass stores nothing, so the clock of this machine is good enough.
        match parse(&line, SystemClock.now_ms(), accepted) {
            Ok(PastLine { refused_now, .. }) if refused_now.is_empty() => {}
            Ok(PastLine { payment, refused_now }) => match earlier.stored(&payment).await {
                Ok(Some(_)) => {}
                Ok(None) => report.bad(line.number, &refused_now),
                Err(error) => report.bad(line.number, &key_errors(error)?),
            },
            Err(errors) => report.bad(line.number, &errors),
        }
    }
    Ok(report)
}

fn parse(line: &InputLine, now_ms: u64, accepted: AcceptedLines) -> Result<PastLine, Vec<LineError>> {
    match &line.bytes {
        Some(bytes) => import_line::read(bytes, now_ms, accepted),
        None => Err(vec![LineError::whole(format!("expected at most {LINE_BYTES_MAX} bytes"))]),
    }
}

/// Turns an error of a key into errors of the line. An unreachable database ends the run.
fn key_errors(error: ImportError) -> Result<Vec<LineError>, Failure> {
    match error {
        ImportError::Unavailable => Err(error.into()),
        error => Ok(vec![LineError { pointer: "/key".to_owned(), detail: error.to_string() }]),
    }
}

/// Stores all lines. Reads only as fast as payments are stored.
async fn store_all(
    source: Source,
    imports: &Imports,
    accepted: AcceptedLines,
    report: &mut ImportReport,
) -> Result<(), Failure> {
    let fates = lines_of(source).map(|line| async move { store_line(imports, accepted, line?).await });
    let with_events =
        fates.buffered(IN_FLIGHT_MAX).chunks(EVENT_BATCH_PAYMENTS).map(|fates| store_events(imports, fates));
    let mut done = std::pin::pin!(with_events.buffered(2));
    let (begun, mut printed_at) = (Instant::now(), Instant::now());
    while let Some(part) = done.next().await {
        part.add_to(report)?;
        if printed_at.elapsed() >= PROGRESS_EVERY {
            printed_at = Instant::now();
            let rate = report.read() as f64 / begun.elapsed().as_secs_f64();
            print_status!("{} lines, {} refused, {rate:.0} per second", report.read(), report.counts.refused);
        }
    }
    Ok(())
}

/// The lines of the input. The stream ends after the first error.
fn lines_of(source: Source) -> impl Stream<Item = Result<InputLine, Failure>> {
    stream::try_unfold(InputLines::of(source), |mut lines| async move {
        Ok(lines.next().await?.map(|line| (line, lines)))
    })
}

async fn store_line(
    imports: &Imports,
    accepted: AcceptedLines,
    line: InputLine,
) -> Result<LineOutcome, Failure> {
    let (number, parsed) = (line.number, parse(&line, imports.world.now_ms(), accepted));
    // Frees the bytes of the line before the payment waits for the journal.
    drop(line);
    let bad = |errors| Ok(LineOutcome::Bad { line: number, errors });
    let (past, refused_now) = match parsed {
        Ok(PastLine { payment, refused_now }) => (payment, refused_now),
        Err(errors) => return bad(errors),
    };
    let stored =
        if refused_now.is_empty() { imports.store(past).await.map(Some) } else { imports.stored(past).await };
    match stored {
        Ok(Some(imported)) => Ok(LineOutcome::Stored(imported)),
        Ok(None) => bad(refused_now),
        Err(error) => bad(key_errors(error)?),
    }
}

#[derive(Default)]
struct ChunkReport {
    counts: ImportCounts,
    bad: Vec<(u64, Vec<LineError>)>,
    /// The error that ends the run.
    broken: Option<Failure>,
}

impl ChunkReport {
    fn add_to(self, report: &mut ImportReport) -> Result<(), Failure> {
        report.counts.stored += self.counts.stored;
        report.counts.already_there += self.counts.already_there;
        report.counts.events += self.counts.events;
        for (line, errors) in self.bad {
            report.bad(line, &errors);
        }
        self.broken.map_or(Ok(()), Err)
    }
}

/// Stores the events after their payments. If a run ends in between, the next run adds them.
async fn store_events(imports: &Imports, fates: Vec<Result<LineOutcome, Failure>>) -> ChunkReport {
    let (mut part, mut events) = (ChunkReport::default(), Vec::new());
    for fate in fates {
        match fate {
            Ok(LineOutcome::Stored(imported)) => {
                part.counts.stored += u64::from(imported.first);
                part.counts.already_there += u64::from(!imported.first);
                events.extend(imported.events);
            }
            Ok(LineOutcome::Bad { line, errors }) => part.bad.push((line, errors)),
            Err(error) => part.broken = part.broken.or(Some(error)),
        }
    }
    match imports.store_events(events).await {
        Ok(new) => part.counts.events = new,
        Err(error) => part.broken = part.broken.or(Some(error.into())),
    }
    part
}
