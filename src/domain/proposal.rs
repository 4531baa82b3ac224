//! Changes that one person may not make alone, in tenants that want it so.
//!
//! A change is stored until it is decided, so its form must stay readable by later releases.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::openid::OpenidSettings;
use super::payment::PaymentId;
use super::retention::RetentionMonths;
use super::review::ReviewSettings;
use super::ruleset::DecisionPoint;
use super::tenant::Scope;
use super::user::{Role, UserId};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProposalId(pub Uuid);

impl fmt::Display for ProposalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The most proposals of a tenant that wait at the same time.
pub const OPEN_PROPOSALS_MAX: i64 = 100;

/// A change that was proposed, with everything that it needs to be made later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Change {
    Activation {
        point: DecisionPoint,
        revision: i32,
        guard: Option<ProposedGuard>,
        seen: Option<i64>,
    },
    /// Without a canary, it ends.
    Canary {
        point: DecisionPoint,
        canary: Option<ProposedCanary>,
        seen: Option<i64>,
    },
    ListEntries {
        list: String,
        entries: Vec<ProposedEntry>,
    },
    ListEntryClosed {
        list: String,
        entry: Uuid,
        value: String,
    },
    ListClosed {
        list: String,
    },
    TableActivation {
        table: String,
        version: i32,
        seen: Option<i64>,
    },
    TableClosed {
        table: String,
    },
    Erasure {
        payment: PaymentId,
        reason: String,
    },
    Retention {
        months: Option<RetentionMonths>,
    },
    /// Of a person with the role `admin`, or who gets it.
    User {
        user: Option<UserId>,
        email: String,
        display_name: Option<String>,
        roles: Option<Vec<Role>>,
        disabled: Option<bool>,
    },
    /// A link with which somebody sets the password of a person with the role `admin`.
    PasswordLink {
        user: UserId,
        email: String,
    },
    SecondFactorRemoved {
        user: UserId,
        email: String,
    },
    /// How people sign in with their company's accounts. Without settings, they cannot.
    Openid {
        settings: Option<Box<OpenidSettings>>,
    },
    ReviewSettings {
        settings: ReviewSettings,
    },
    /// From then on, one person is enough.
    SecondPersonOff,
}

/// A finished backtest of the revision, and the largest share of outcomes that it may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposedGuard {
    pub backtest: Uuid,
    pub changed_max_ten_thousandths: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposedCanary {
    pub revision: i32,
    pub share_ten_thousandths: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposedEntry {
    pub value: String,
    pub reason: String,
    pub valid_from_ms: u64,
    pub valid_to_ms: Option<u64>,
}

impl Change {
    /// What a person needs to make this change, and so to approve it.
    pub fn scope(&self) -> Scope {
        match self {
            Self::Activation { .. } | Self::Canary { .. } => Scope::RulesetsWrite,
            Self::ListEntries { .. }
            | Self::ListEntryClosed { .. }
            | Self::ListClosed { .. }
            | Self::TableActivation { .. }
            | Self::TableClosed { .. } => Scope::ListsWrite,
            Self::Erasure { .. } => Scope::PaymentsErase,
            Self::Retention { .. }
            | Self::Openid { .. }
            | Self::ReviewSettings { .. }
            | Self::SecondPersonOff => Scope::SettingsWrite,
            Self::User { .. } | Self::PasswordLink { .. } | Self::SecondFactorRemoved { .. } => {
                Scope::UsersWrite
            }
        }
    }

    /// What somebody needs to see the details of this change.
    pub fn reading_scope(&self) -> Scope {
        match self.scope() {
            Scope::ListsWrite => Scope::ListsRead,
            Scope::PaymentsErase => Scope::PaymentsRead,
            Scope::SettingsWrite => Scope::SettingsRead,
            Scope::UsersWrite => Scope::UsersRead,
            _ => Scope::RulesetsRead,
        }
    }

    /// The name of the kind, as it is stored and shown.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Activation { .. } => "activation",
            Self::Canary { .. } => "canary",
            Self::ListEntries { .. } => "list_entries",
            Self::ListEntryClosed { .. } => "list_entry_closed",
            Self::ListClosed { .. } => "list_closed",
            Self::TableActivation { .. } => "table_activation",
            Self::TableClosed { .. } => "table_closed",
            Self::Erasure { .. } => "erasure",
            Self::Retention { .. } => "retention",
            Self::User { .. } => "user",
            Self::PasswordLink { .. } => "password_link",
            Self::SecondFactorRemoved { .. } => "second_factor_removed",
            Self::Openid { .. } => "openid",
            Self::ReviewSettings { .. } => "review_settings",
            Self::SecondPersonOff => "second_person_off",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProposalState {
    Open,
    Approved,
    Declined,
    Withdrawn,
}

impl ProposalState {
    pub const ALL: [Self; 4] = [Self::Open, Self::Approved, Self::Declined, Self::Withdrawn];

    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approved => "approved",
            Self::Declined => "declined",
            Self::Withdrawn => "withdrawn",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// Who decided a proposal, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposalEnd {
    pub state: ProposalState,
    pub decided_by: String,
    pub decided_at_ms: u64,
    /// Empty if the person gave none.
    pub note: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    pub id: ProposalId,
    pub change: Change,
    pub proposed_by: String,
    pub proposed_at_ms: u64,
    /// `None` while it waits.
    pub end: Option<ProposalEnd>,
}

impl Proposal {
    pub fn state(&self) -> ProposalState {
        self.end.as_ref().map_or(ProposalState::Open, |end| end.state)
    }
}
