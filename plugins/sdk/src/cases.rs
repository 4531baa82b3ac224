//! Runs a rule's case files natively.
//!
//! plugins/README.md describes the format. The host runs the same files on the
//! built component, so both must read them in the same way.

mod format;

use std::fs;
use std::path::{Path, PathBuf};

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::{AggregateQuery, Describe, Evaluation, FactQuery, Reason, Rule, Verdict, guest};
use format::{Case, CaseFile, Expectation, ExpectedReason};

/// Panics if a case fails, and lists all failed cases of all files in the folder.
pub fn assert_folder_holds<R: Rule>(folder: &Path) {
    let files = case_files(folder);
    assert!(!files.is_empty(), "no case files in {}", folder.display());
    let failures: Vec<String> = files.iter().flat_map(|file| failures_of::<R>(file)).collect();
    let count = failures.len();
    assert!(failures.is_empty(), "{count} cases failed\n\n{}", failures.join("\n\n"));
}

/// Panics if the committed schema differs from the settings' type. If the
/// environment variable `UPDATE` is set, writes the schema instead.
pub fn assert_schema_is_current<R: Describe>(file: &Path) {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<R::Settings>();
    let mut current = serde_json::to_string_pretty(&schema).expect("a schema is JSON");
    current.push('\n');
    if std::env::var_os("UPDATE").is_some() {
        fs::write(file, current).expect("the schema can be written");
    } else {
        let stale = current != R::DESCRIPTION.settings_schema;
        assert!(!stale, "{} is out of date: run the tests with UPDATE=1", file.display());
    }
}

fn case_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder of cases can be read");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("the folder of cases can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    files
}

fn failures_of<R: Rule>(file: &Path) -> Vec<String> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let text = fs::read_to_string(file).expect("a case file can be read");
    let parsed = match CaseFile::parse(&text) {
        Ok(parsed) => parsed,
        Err(error) => return vec![format!("{name}: {error}")],
    };
    let cases = parsed.cases();
    let failed = cases.filter_map(|case| match case.and_then(|case| check::<R>(&case)) {
        Ok(()) => None,
        Err(failure) => Some(format!("{name}: {failure}")),
    });
    failed.collect()
}

fn check<R: Rule>(case: &Case) -> Result<(), String> {
    let failure = |text: String| format!("{}\n{text}", case.name);
    let prepared = match (guest::prepare::<R>(&case.settings.to_string()), &case.expectation) {
        (Err(reasons), Expectation::RefusedSettings(expected)) => {
            return compare_reasons(expected, &reasons).map_err(failure);
        }
        (Err(reasons), _) => return Err(failure(format!("  settings refused: {}", reasons_json(&reasons)))),
        (Ok(_), Expectation::RefusedSettings(_)) => {
            return Err(failure("  expected the settings to be refused; they were accepted".to_owned()));
        }
        (Ok(prepared), _) => prepared,
    };
    if let Some(expected) = &case.queries
        && canonical(expected) != canonical(&prepared.queries)
    {
        let queries = &prepared.queries;
        return Err(failure(format!("  expected queries {expected:?}\n  got      queries {queries:?}")));
    }
    let payment = case.payment.as_ref().map_err(|error| failure(format!("  payment: {error}")))?;
    let result = guest::evaluate::<R>(payment, &case.facts, &prepared.state);
    compare(&case.expectation, &result).map_err(failure)
}

/// Without the order of selectors, methods and outcomes, which has no meaning.
fn canonical(queries: &[FactQuery]) -> Vec<FactQuery> {
    let mut queries = queries.to_vec();
    for query in &mut queries {
        if let FactQuery::Aggregate(AggregateQuery { selectors, filter, .. }) = query {
            selectors.sort();
            filter.methods.sort();
            filter.outcomes.sort();
        }
    }
    queries
}

fn compare(expectation: &Expectation, result: &Result<Evaluation, String>) -> Result<(), String> {
    match (expectation, result) {
        (Expectation::Failure(text), Err(error)) if error.contains(text) => Ok(()),
        (Expectation::Failure(text), _) => {
            Err(format!("  expected a failure with '{text}'\n  got {result:?}"))
        }
        (Expectation::Evaluation { verdict, reasons, notes }, Ok(evaluation)) => {
            let (word, given) = parts(&evaluation.verdict);
            if *verdict != word {
                let reasons = reasons_json(given);
                return Err(format!("  expected {verdict}\n  got      {word} {reasons}"));
            }
            compare_reasons(reasons, given)?;
            match notes {
                Some(notes) if *notes != evaluation.notes => {
                    Err(format!("  expected notes {notes:?}\n  got      notes {:?}", evaluation.notes))
                }
                _ => Ok(()),
            }
        }
        (_, result) => Err(format!("  expected an evaluation\n  got {result:?}")),
    }
}

fn parts(verdict: &Verdict) -> (&'static str, &[Reason]) {
    match verdict {
        Verdict::Pass => ("pass", &[]),
        Verdict::Allow(reasons) => ("allow", reasons),
        Verdict::Review(reasons) => ("review", reasons),
        Verdict::Reject(reasons) => ("reject", reasons),
    }
}

fn compare_reasons(expected: &[ExpectedReason], given: &[Reason]) -> Result<(), String> {
    let same_length = expected.len() == given.len();
    if same_length && expected.iter().zip(given).all(|(expected, given)| expected.matches(given)) {
        return Ok(());
    }
    let expected = serde_json::to_string(expected).expect("reasons are JSON");
    Err(format!("  expected reasons {expected}\n  got      reasons {}", reasons_json(given)))
}

fn reasons_json(reasons: &[Reason]) -> Value {
    serde_json::to_value(reasons).expect("reasons are JSON")
}
