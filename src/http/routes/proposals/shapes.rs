//! How proposals and their changes look as JSON.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::openid::OpenidSettings;
use crate::domain::proposal::{Change, Proposal, ProposedEntry};
use crate::domain::ruleset::Share;
use crate::domain::tenant::Scope;
use crate::http::request::codecs::Percent;
use crate::http::response::moment::Moment;
use crate::http::routes::rulesets::deployments::{CanaryShape, GuardBody};
use crate::http::routes::settings::openid::MappedRoleShape;
use crate::http::routes::settings::reviews::ReviewSettingsBody;
use crate::http::routes::users::RoleShape;

/// The most entries of a list that are shown of a proposal.
const ENTRIES_SHOWN_MAX: usize = 100;

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Proposal)]
pub struct ProposalShape {
    pub id: Uuid,
    /// `open`, `approved`, `declined` or `withdrawn`.
    pub state: &'static str,
    /// What kind of change it is, such as `activation` or `list_entries`.
    pub kind: &'static str,
    /// Absent if the caller may not see what the change is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeShape>,
    pub proposed_by: String,
    pub proposed_at_ms: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_at_ms: Option<Moment>,
    /// What the person who declined it said.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(required = false)]
    pub note: String,
}

impl ProposalShape {
    /// `has` tells whether the caller has a scope.
    pub fn of(proposal: Proposal, has: impl Fn(Scope) -> bool) -> Self {
        let (state, kind) = (proposal.state().name(), proposal.change.kind());
        let is_shown = has(proposal.change.reading_scope());
        let (decided_by, decided_at_ms, note) = match proposal.end {
            Some(end) => (Some(end.decided_by), Some(end.decided_at_ms.into()), end.note),
            None => (None, None, String::new()),
        };
        Self {
            id: proposal.id.0,
            state,
            kind,
            change: is_shown.then(|| proposal.change.into()),
            proposed_by: proposal.proposed_by,
            proposed_at_ms: proposal.proposed_at_ms.into(),
            decided_by,
            decided_at_ms,
            note,
        }
    }
}

/// What would change. Only the members that belong to the kind of change are present.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = ProposedChange)]
pub struct ChangeShape {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point: Option<&'static str>,
    /// The revision to activate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guard: Option<GuardBody>,
    /// Absent if the canary ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryShape>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
    /// The first hundred entries to add.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<Vec<ProposedEntryShape>>,
    /// How many entries there are to add.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry_count: Option<usize>,
    /// The id of the entry to close.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<Uuid>,
    /// The value of the entry to close.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// The version of the table to activate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i32>,
    /// The payment to erase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For how many months decisions are kept. Absent if they are kept for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub months: Option<u16>,
    /// Absent if the user does not exist yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<RoleShape>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reviews: Option<ReviewSettingsBody>,
    /// Absent if nobody can sign in by OpenID Connect any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub openid: Option<ProposedOpenidShape>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProposedOpenidSettings)]
pub struct ProposedOpenidShape {
    pub issuer: String,
    pub client_id: String,
    pub roles_claim: String,
    pub role_mapping: Vec<MappedRoleShape>,
    pub password_sign_in: bool,
}

impl From<OpenidSettings> for ProposedOpenidShape {
    fn from(settings: OpenidSettings) -> Self {
        Self {
            issuer: settings.issuer.as_str().to_owned(),
            client_id: settings.client_id,
            roles_claim: settings.roles_claim,
            role_mapping: settings.role_mapping.into_iter().map(MappedRoleShape::from).collect(),
            password_sign_in: settings.password_sign_in,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProposedListEntry)]
pub struct ProposedEntryShape {
    pub value: String,
    pub reason: String,
    pub valid_from_ms: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_to_ms: Option<Moment>,
}

impl From<ProposedEntry> for ProposedEntryShape {
    fn from(entry: ProposedEntry) -> Self {
        let ProposedEntry { value, reason, valid_from_ms, valid_to_ms } = entry;
        Self { value, reason, valid_from_ms: valid_from_ms.into(), valid_to_ms: valid_to_ms.map(Moment) }
    }
}

impl From<Change> for ChangeShape {
    fn from(change: Change) -> Self {
        let empty = Self::default();
        match change {
            Change::Activation { point, revision, guard, .. } => {
                let guard = guard.map(|guard| GuardBody {
                    backtest: guard.backtest,
                    max_changed_percent: Percent(guard.changed_max_ten_thousandths),
                });
                Self { point: Some(point.name()), revision: Some(revision), guard, ..empty }
            }
            Change::Canary { point, canary, .. } => {
                let canary = canary.map(|canary| CanaryShape {
                    revision: canary.revision,
                    share_percent: Percent(canary.share_ten_thousandths.min(Share::WHOLE)),
                });
                Self { point: Some(point.name()), canary, ..empty }
            }
            Change::ListEntries { list, entries } => {
                let entry_count = Some(entries.len());
                let shown = entries.into_iter().take(ENTRIES_SHOWN_MAX).map(ProposedEntryShape::from);
                Self { list: Some(list), entries: Some(shown.collect()), entry_count, ..empty }
            }
            Change::ListEntryClosed { list, entry, value } => {
                Self { list: Some(list), entry: Some(entry), value: Some(value), ..empty }
            }
            Change::ListClosed { list } => Self { list: Some(list), ..empty },
            Change::TableActivation { table, version, .. } => {
                Self { table: Some(table), version: Some(version), ..empty }
            }
            Change::TableClosed { table } => Self { table: Some(table), ..empty },
            Change::Erasure { payment, reason } => {
                Self { payment_id: Some(payment.0), reason: Some(reason), ..empty }
            }
            Change::Retention { months } => Self { months: months.map(u16::from), ..empty },
            Change::User { user, email, display_name, roles, disabled } => {
                let roles = roles.map(|roles| roles.into_iter().map(RoleShape).collect());
                let user_id = user.map(|user| user.0);
                Self { user_id, email: Some(email), display_name, roles, disabled, ..empty }
            }
            Change::PasswordLink { user, email } | Change::SecondFactorRemoved { user, email } => {
                Self { user_id: Some(user.0), email: Some(email), ..empty }
            }
            Change::Openid { settings } => {
                Self { openid: settings.map(|settings| (*settings).into()), ..empty }
            }
            Change::ReviewSettings { settings } => Self { reviews: Some(settings.into()), ..empty },
            Change::SecondPersonOff => empty,
        }
    }
}
