//! Revisions as JSON.
//!
//! A rule's prepared state is never shown: only the rule itself can interpret it.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::ruleset::{PreparedRule, Revision};
use crate::http::routes::decisions::evidence::QueryShape;

/// The content of a new revision.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewRevision)]
pub struct RevisionBody {
    #[schema(max_length = 500, required = false)]
    pub note: String,
    #[schema(max_items = 50)]
    pub rules: Vec<EntryBody>,
}

/// A rule of the ruleset: a plugin with its settings.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RuleEntry)]
pub struct EntryBody {
    /// Unique in the revision. Lower-case words joined by hyphens.
    #[schema(max_length = 64, example = "amount-limits")]
    pub name: String,
    /// SHA-256 of the plugin, in hexadecimal.
    pub plugin: String,
    /// A JSON object that is valid under the plugin's `settings_schema`.
    #[schema(value_type = Object)]
    pub settings: Value,
    /// What a failure of the rule counts as: `pass`, `review` (the default) or `reject`.
    #[schema(required = false)]
    pub on_failure: String,
    /// Whether another rule's `allow` cancels this rule's review or reject. Default: false.
    #[schema(required = false)]
    pub overridable: bool,
    /// `live` (the default) or `shadow`.
    #[schema(required = false)]
    pub mode: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Revision)]
pub struct RevisionShape {
    pub point: &'static str,
    pub number: i32,
    /// SHA-256 of the stored rules.
    pub digest: String,
    pub note: String,
    pub created_by: String,
    pub created_at_ms: u64,
    pub rules: Vec<RuleShape>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rule)]
pub struct RuleShape {
    pub name: String,
    pub plugin: String,
    #[schema(value_type = Object)]
    pub settings: Value,
    pub on_failure: &'static str,
    pub overridable: bool,
    pub mode: &'static str,
    pub profile: &'static str,
    /// The facts it asks for.
    pub queries: Vec<QueryShape>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RevisionSummary)]
pub struct RevisionSummaryShape {
    pub number: i32,
    pub digest: String,
    pub note: String,
    pub created_by: String,
    pub created_at_ms: u64,
    /// Names of its rules.
    pub rules: Vec<String>,
}

impl From<Revision> for RevisionShape {
    fn from(revision: Revision) -> Self {
        Self {
            point: revision.point.name(),
            number: revision.number,
            digest: revision.digest.to_string(),
            note: revision.note,
            created_by: revision.created_by,
            created_at_ms: revision.created_at_ms,
            rules: revision.rules.into_iter().map(RuleShape::from).collect(),
        }
    }
}

impl From<PreparedRule> for RuleShape {
    fn from(rule: PreparedRule) -> Self {
        let entry = rule.entry;
        Self {
            name: entry.name,
            plugin: entry.plugin.to_string(),
            settings: serde_json::from_str(&entry.settings).unwrap_or(Value::Null),
            on_failure: entry.on_failure.name(),
            overridable: entry.overridable,
            mode: entry.mode.name(),
            profile: rule.profile.name(),
            queries: rule.queries.iter().map(QueryShape::from).collect(),
        }
    }
}

impl From<Revision> for RevisionSummaryShape {
    fn from(revision: Revision) -> Self {
        Self {
            number: revision.number,
            digest: revision.digest.to_string(),
            note: revision.note,
            created_by: revision.created_by,
            created_at_ms: revision.created_at_ms,
            rules: revision.rules.into_iter().map(|rule| rule.entry.name).collect(),
        }
    }
}
