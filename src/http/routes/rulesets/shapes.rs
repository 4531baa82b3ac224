//! Revisions as JSON.
//!
//! The prepared state of a rule is never shown: only the rule can interpret it.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::plugin::Digest;
use crate::domain::ruleset::{Mode, PreparedRule, RULES_MAX, Revision, RuleEntry};
use crate::domain::verdict::FailureOutcome;
use crate::http::request::codecs::{
    Integer, any_object, flag, integer, items, object, one_of, or, parsed, text,
};
use crate::http::request::declaration::body;
use crate::http::response::moment::Moment;
use crate::http::routes::decisions::evidence::facts::QueryShape;

body! {
    /// The content of a new revision.
    pub struct RevisionBody as "NewRevision" {
        note: String = or(text(500), String::new()),
        rules: Vec<RuleEntry> = items(object::<RuleEntry>(), RULES_MAX),
    }
}

body! {
    /// A rule of the ruleset: a plugin with its settings.
    for RuleEntry as "RuleEntry" {
        /// Unique in the revision. Lower-case words joined by hyphens.
        #[example = "amount-limits"]
        name = text(64),
        /// SHA-256 of the plugin, in hexadecimal.
        plugin = parsed(Digest::parse, Digest::to_string).length(64..=64).pattern("^[0-9a-f]{64}$"),
        /// A JSON object that is valid under the plugin's `settings_schema`.
        settings = any_object(),
        /// What a failure of the rule counts as. Default: `review`.
        on_failure = or(one_of(&FailureOutcome::ALL, FailureOutcome::name), FailureOutcome::Review),
        /// Whether another rule's `allow` cancels this rule's review or reject. Default: false.
        overridable = or(flag(), false),
        /// A rule in shadow mode runs without affecting outcomes. Default: `live`.
        mode = or(one_of(&Mode::ALL, Mode::name), Mode::Live),
    }
}

/// The number of a revision.
pub fn revision_number() -> Integer<i32> {
    integer(1..=i64::from(i32::MAX))
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
    pub created_at_ms: Moment,
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
    pub created_at_ms: Moment,
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
            created_at_ms: revision.created_at_ms.into(),
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
            created_at_ms: revision.created_at_ms.into(),
            rules: revision.rules.into_iter().map(|rule| rule.entry.name).collect(),
        }
    }
}
