//! Acts of administrators: who changed what and when, with the state before and after.

use super::proposal::ProposalId;

/// On whose authority something is changed: the actor's and, if one was needed, the second person's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// As [`super::actor::Actor`] is written.
    name: String,
    approval: Option<Approval>,
}

/// The second person behind a change that one person may not make alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    pub proposal: ProposalId,
    pub approved_by: String,
}

impl Authority {
    /// Who proposed a change, acting on the approval of another.
    pub fn approved(name: String, approval: Approval) -> Self {
        Self { name, approval: Some(approval) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn approval(&self) -> Option<&Approval> {
        self.approval.as_ref()
    }
}

impl From<String> for Authority {
    fn from(name: String) -> Self {
        Self { name, approval: None }
    }
}

impl From<&str> for Authority {
    fn from(name: &str) -> Self {
        name.to_owned().into()
    }
}

/// The kinds of acts. The name of each is stored and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    TenantCreated,
    ClientCreated,
    PluginUploaded,
    PluginRefused,
    PluginRetired,
    RevisionCreated,
    RevisionActivated,
    RevisionRolledBack,
    CanaryChanged,
    ShadowChanged,
    RuleQuarantined,
    QuarantineLifted,
    BacktestStarted,
    BacktestCancelled,
    ListCreated,
    ListBroughtOver,
    ListClosed,
    ListEntryAdded,
    ListEntriesImported,
    ListEntryClosed,
    HistoryImported,
    CardCheckChanged,
    TableCreated,
    TableClosed,
    TableVersionUploaded,
    TableVersionActivated,
    TableVersionRolledBack,
    RetentionChanged,
    DecisionsRemoved,
    PaymentErased,
    ClientChanged,
    ClientSecretReplaced,
    UserCreated,
    UserChanged,
    UserLinkCreated,
    PasswordChanged,
    SecondFactorAdded,
    SecondFactorRemoved,
    SignInsEnded,
    RefreshTokenReused,
    ProposalMade,
    ProposalDeclined,
    ProposalWithdrawn,
    SecondPersonChanged,
    UserLinked,
    OpenidChanged,
    ReviewDecided,
    ReviewExpired,
    ReviewSettingsChanged,
}

impl Action {
    pub const ALL: [Self; 49] = [
        Self::TenantCreated,
        Self::ClientCreated,
        Self::PluginUploaded,
        Self::PluginRefused,
        Self::PluginRetired,
        Self::RevisionCreated,
        Self::RevisionActivated,
        Self::RevisionRolledBack,
        Self::CanaryChanged,
        Self::ShadowChanged,
        Self::RuleQuarantined,
        Self::QuarantineLifted,
        Self::BacktestStarted,
        Self::BacktestCancelled,
        Self::ListCreated,
        Self::ListBroughtOver,
        Self::ListClosed,
        Self::ListEntryAdded,
        Self::ListEntriesImported,
        Self::ListEntryClosed,
        Self::HistoryImported,
        Self::CardCheckChanged,
        Self::TableCreated,
        Self::TableClosed,
        Self::TableVersionUploaded,
        Self::TableVersionActivated,
        Self::TableVersionRolledBack,
        Self::RetentionChanged,
        Self::DecisionsRemoved,
        Self::PaymentErased,
        Self::ClientChanged,
        Self::ClientSecretReplaced,
        Self::UserCreated,
        Self::UserChanged,
        Self::UserLinkCreated,
        Self::PasswordChanged,
        Self::SecondFactorAdded,
        Self::SecondFactorRemoved,
        Self::SignInsEnded,
        Self::RefreshTokenReused,
        Self::ProposalMade,
        Self::ProposalDeclined,
        Self::ProposalWithdrawn,
        Self::SecondPersonChanged,
        Self::UserLinked,
        Self::OpenidChanged,
        Self::ReviewDecided,
        Self::ReviewExpired,
        Self::ReviewSettingsChanged,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::TenantCreated => "tenant.created",
            Self::ClientCreated => "client.created",
            Self::PluginUploaded => "plugin.uploaded",
            Self::PluginRefused => "plugin.refused",
            Self::PluginRetired => "plugin.retired",
            Self::RevisionCreated => "revision.created",
            Self::RevisionActivated => "revision.activated",
            Self::RevisionRolledBack => "revision.rolled_back",
            Self::CanaryChanged => "canary.changed",
            Self::ShadowChanged => "shadow.changed",
            Self::RuleQuarantined => "rule.quarantined",
            Self::QuarantineLifted => "quarantine.lifted",
            Self::BacktestStarted => "backtest.started",
            Self::BacktestCancelled => "backtest.cancelled",
            Self::ListCreated => "list.created",
            Self::ListBroughtOver => "list.brought_over",
            Self::ListClosed => "list.closed",
            Self::ListEntryAdded => "list_entry.added",
            Self::ListEntriesImported => "list_entries.imported",
            Self::ListEntryClosed => "list_entry.closed",
            Self::HistoryImported => "history.imported",
            Self::CardCheckChanged => "card_check.changed",
            Self::TableCreated => "table.created",
            Self::TableClosed => "table.closed",
            Self::TableVersionUploaded => "table_version.uploaded",
            Self::TableVersionActivated => "table_version.activated",
            Self::TableVersionRolledBack => "table_version.rolled_back",
            Self::RetentionChanged => "retention.changed",
            Self::DecisionsRemoved => "decisions.removed",
            Self::PaymentErased => "payment.erased",
            Self::ClientChanged => "client.changed",
            Self::ClientSecretReplaced => "client_secret.replaced",
            Self::UserCreated => "user.created",
            Self::UserChanged => "user.changed",
            Self::UserLinkCreated => "user_link.created",
            Self::PasswordChanged => "password.changed",
            Self::SecondFactorAdded => "second_factor.added",
            Self::SecondFactorRemoved => "second_factor.removed",
            Self::SignInsEnded => "sign_ins.ended",
            Self::RefreshTokenReused => "refresh_token.reused",
            Self::ProposalMade => "proposal.made",
            Self::ProposalDeclined => "proposal.declined",
            Self::ProposalWithdrawn => "proposal.withdrawn",
            Self::SecondPersonChanged => "second_person.changed",
            Self::UserLinked => "user.linked",
            Self::OpenidChanged => "openid.changed",
            Self::ReviewDecided => "review.decided",
            Self::ReviewExpired => "review.expired",
            Self::ReviewSettingsChanged => "review_settings.changed",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }
}

/// An act. It is recorded in the same transaction as the change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    pub at_ms: u64,
    pub actor: Authority,
    pub action: Action,
    /// The number of a revision, the digest of a plugin or the name of a list, for example.
    pub subject: String,
    /// JSON text. It must contain no secrets and no data of payments.
    pub before: Option<String>,
    pub after: Option<String>,
}

/// A recorded act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// Rises in commit order within a tenant.
    pub sequence: i64,
    pub act: Act,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_read_back_from_its_name() {
        for action in Action::ALL {
            assert_eq!(Action::parse(action.name()), Some(action));
        }
    }
}
