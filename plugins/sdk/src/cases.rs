//! Owns the native run of a rule's case files. Must never run in the sandbox,
//! and must read the files exactly as plugins/README.md describes them: the
//! host runs the same files against the built component.

mod format;

use std::fs;
use std::path::{Path, PathBuf};

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::{Described, Evaluation, Reason, Rule, Verdict, guest};
use format::{Case, CaseFile, Expected, ExpectedReason};

/// Panics with every case that does not hold, of every file in the folder.
pub fn assert_folder_holds<R: Rule>(folder: &Path) {
    let files = case_files(folder);
    assert!(!files.is_empty(), "no case files in {}", folder.display());
    let failures: Vec<String> = files.iter().flat_map(|file| failures_of::<R>(file)).collect();
    let count = failures.len();
    assert!(failures.is_empty(), "{count} cases do not hold\n\n{}", failures.join("\n\n"));
}

/// Panics when the committed schema differs from the settings' type; with
/// `UPDATE` in the environment it is rewritten instead.
pub fn assert_schema_is_current<R: Described>(file: &Path) {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<R::Settings>();
    let mut current = serde_json::to_string_pretty(&schema).expect("a schema is JSON");
    current.push('\n');
    if std::env::var_os("UPDATE").is_some() {
        fs::write(file, current).expect("the schema can be written");
    } else {
        let stale = current != R::DESCRIPTION.settings_schema;
        assert!(!stale, "{} is not current: run the tests with UPDATE=1", file.display());
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
    let told = |what: String| format!("{}\n{what}", case.name);
    let prepared = match (guest::prepare::<R>(&case.settings.to_string()), &case.expected) {
        (Err(reasons), Expected::RefusedSettings(expected)) => {
            return compare_reasons(expected, &reasons).map_err(told);
        }
        (Err(reasons), _) => return Err(told(format!("  settings refused: {}", shown(&reasons)))),
        (Ok(_), Expected::RefusedSettings(_)) => {
            return Err(told("  expected the settings to be refused; they were taken".to_owned()));
        }
        (Ok(prepared), _) => prepared,
    };
    if let Some(expected) = &case.queries
        && *expected != prepared.queries
    {
        let asked = &prepared.queries;
        return Err(told(format!("  expected queries {expected:?}\n     asked queries {asked:?}")));
    }
    let payment = case.payment.as_ref().map_err(|error| told(format!("  payment: {error}")))?;
    let result = guest::evaluate::<R>(payment, &case.facts, &prepared.state);
    compare(&case.expected, &result).map_err(told)
}

fn compare(expected: &Expected, result: &Result<Evaluation, String>) -> Result<(), String> {
    match (expected, result) {
        (Expected::Failure(text), Err(error)) if error.contains(text) => Ok(()),
        (Expected::Failure(text), _) => Err(format!("  expected a failure with '{text}'\n  got {result:?}")),
        (Expected::Evaluation { verdict, reasons, notes }, Ok(evaluation)) => {
            let (word, given) = parts(&evaluation.verdict);
            if *verdict != word {
                let reasons = shown(given);
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
    if same_length && expected.iter().zip(given).all(|(expected, given)| expected.fits(given)) {
        return Ok(());
    }
    let expected = serde_json::to_string(expected).expect("reasons are JSON");
    Err(format!("  expected reasons {expected}\n  got      reasons {}", shown(given)))
}

fn shown(reasons: &[Reason]) -> Value {
    serde_json::to_value(reasons).expect("reasons are JSON")
}
