//! Maps errors about reference tables to problems.
//!
//! What is refused in a file is named by line and column, and its text must not be repeated.

use super::internal;
use crate::decisions::spool::SpoolError;
use crate::decisions::tables::reading::{BadRows, RowFault};
use crate::decisions::tables::{LookUpError, UploadRowsError};
use crate::http::response::problem::{PartError, Problem, ProblemKind};
use crate::storage::tables::{ActivateTableError, AddVersionError, CloseTableError, CreateTableError};

impl From<CreateTableError> for Problem {
    fn from(error: CreateTableError) -> Self {
        match error {
            CreateTableError::NameTaken => {
                Self::new(ProblemKind::Conflict, "A table with this name already exists.")
            }
            CreateTableError::TooMany(most) => {
                let detail = format!(
                    "This tenant already has {most} open tables, the maximum. Close tables that are no longer \
                     used, or ask the operator to raise tenant_tables_max."
                );
                Self::new(ProblemKind::QuotaExceeded, detail)
            }
            CreateTableError::TooManyKept(most) => {
                let detail = format!(
                    "This tenant already has {most} tables, counting closed tables, which are kept forever. \
                     That is the maximum: ten times tenant_tables_max. Upload versions to existing tables, or \
                     ask the operator to raise tenant_tables_max."
                );
                Self::new(ProblemKind::QuotaExceeded, detail)
            }
            CreateTableError::Storage(error) => error.into(),
        }
    }
}

impl From<CloseTableError> for Problem {
    fn from(error: CloseTableError) -> Self {
        match error {
            CloseTableError::Unknown => Self::not_found("open table"),
            CloseTableError::InUse { revision } => {
                let detail = format!(
                    "The revision {revision} is deployed and uses the table. Deploy another revision first."
                );
                Self::new(ProblemKind::Conflict, detail)
            }
            CloseTableError::Storage(error) => error.into(),
        }
    }
}

impl From<AddVersionError> for Problem {
    fn from(error: AddVersionError) -> Self {
        match error {
            AddVersionError::UnknownTable => Self::not_found("table"),
            AddVersionError::Closed => {
                Self::new(ProblemKind::Conflict, "The table is closed and accepts no more versions.")
            }
            AddVersionError::TooManyVersions(most) => {
                let detail = format!(
                    "A table can have at most {most} versions, which are kept forever. Nothing was added. \
                     Continue with another table, or ask the operator to raise table_versions_max."
                );
                Self::new(ProblemKind::QuotaExceeded, detail)
            }
            AddVersionError::TooManyBytes(most) => {
                let detail = format!(
                    "All versions of this tenant's tables can have at most {most} bytes together, and they are \
                     kept forever. Nothing was added. Ask the operator to raise \
                     tenant_tables_stored_max_bytes."
                );
                Self::new(ProblemKind::QuotaExceeded, detail)
            }
            AddVersionError::Storage(error) => error.into(),
        }
    }
}

impl From<UploadRowsError> for Problem {
    fn from(error: UploadRowsError) -> Self {
        match error {
            UploadRowsError::Bad(bad) => bad_rows(bad),
            UploadRowsError::Read(error) => SpoolError::Keep(error).into(),
            UploadRowsError::Task(error) => {
                tracing::error!(%error, "reading the submitted rows failed");
                internal()
            }
            UploadRowsError::Add(error) => error.into(),
        }
    }
}

fn bad_rows(bad: BadRows) -> Problem {
    let errors = bad.faults.into_iter().map(|RowFault { line, column, detail }| PartError {
        pointer: Some(column.map_or_else(|| format!("/{line}"), |column| format!("/{line}/{column}"))),
        parameter: None,
        detail: format!("line {line}: {detail}"),
    });
    let detail = format!("Nothing was added. {} lines have errors.", bad.lines);
    Problem::with_errors(ProblemKind::InvalidBody, detail, errors.collect())
}

impl From<LookUpError> for Problem {
    fn from(error: LookUpError) -> Self {
        match error {
            LookUpError::Key(error) => {
                let parameter = Some("key".to_owned());
                let error = PartError { pointer: None, parameter, detail: error.to_string() };
                Self::with_errors(ProblemKind::InvalidQuery, "The query has errors.", vec![error])
            }
            LookUpError::Storage(error) => error.into(),
        }
    }
}

impl From<ActivateTableError> for Problem {
    fn from(error: ActivateTableError) -> Self {
        match error {
            ActivateTableError::UnknownTable => Self::not_found("table"),
            ActivateTableError::UnknownVersion => Self::not_found("version"),
            ActivateTableError::Closed => Self::new(ProblemKind::Conflict, "The table is closed."),
            ActivateTableError::Conflict => {
                let detail = "The active version does not match If-Match or If-None-Match.";
                Self::new(ProblemKind::PreconditionFailed, detail)
            }
            ActivateTableError::AlreadyActive => {
                Self::new(ProblemKind::Conflict, "The version is already the active one.")
            }
            ActivateTableError::NeverValid => {
                let detail = "The version was never valid. Activate it instead.";
                Self::new(ProblemKind::Conflict, detail)
            }
            ActivateTableError::NothingBefore => {
                Self::new(ProblemKind::Conflict, "There is no version before the active one.")
            }
            ActivateTableError::Storage(error) => error.into(),
        }
    }
}
