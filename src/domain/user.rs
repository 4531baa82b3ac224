//! The people of a tenant: their e-mail addresses, names and roles.
//!
//! A role is only a name for scopes. Whoever checks a permission must check a scope.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use unicode_normalization::UnicodeNormalization;
use uuid::{Uuid, uuid};

use crate::domain::tenant::{Scope, TenantId};

/// The tenant of the operators, who stand above all other tenants. It has no payments.
pub const OPERATORS: TenantId = TenantId(uuid!("00000000-0000-7000-8000-00006f706572"));

/// The name of [`OPERATORS`].
pub const OPERATORS_NAME: &str = "operators";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(pub Uuid);

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The time from a person's signing in to signing out, in one browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SignInId(pub Uuid);

impl fmt::Display for SignInId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected an e-mail address such as ann@example.com, at most {EMAIL_LENGTH_MAX} characters")]
pub struct EmailAddressError;

/// The limit of RFC 5321 for a path, without its angle brackets.
pub const EMAIL_LENGTH_MAX: usize = 254;

/// An e-mail address as it was written. Addresses are compared without regard to case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailAddress(String);

impl EmailAddress {
    /// Accepts what mail servers accept in practice, also beyond ASCII (RFC 6531), but no quoted
    /// local parts and no comments. Whether the address exists is not known.
    pub fn parse(text: &str) -> Result<Self, EmailAddressError> {
        let (local, domain) = text.rsplit_once('@').ok_or(EmailAddressError)?;
        let is_plain = |part: &str| {
            part.chars()
                .all(|char| !char.is_whitespace() && !char.is_control() && !"()<>[]:;@\\,\"".contains(char))
        };
        let has_parts = |part: &str| part.split('.').all(|piece| !piece.is_empty());
        let is_host = |label: &str| !label.starts_with('-') && !label.ends_with('-');
        let fits = text.len() <= EMAIL_LENGTH_MAX && local.len() <= 64;
        let is_valid = fits
            && [local, domain].into_iter().all(|part| is_plain(part) && has_parts(part))
            && domain.split('.').all(is_host);
        if is_valid { Ok(Self(text.to_owned())) } else { Err(EmailAddressError) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form by which addresses are compared: compatibility composition, lower case.
    pub fn compared(&self) -> String {
        // Upper case first, so that letters with several lower-case forms become one.
        let folded: String = self.0.nfkc().collect::<String>().to_uppercase().to_lowercase();
        folded.nfkc().collect()
    }
}

/// In characters.
pub const DISPLAY_NAME_LENGTH_MAX: usize = 100;

/// What a person may do. The names are part of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Admin,
    Author,
    Reviewer,
    Auditor,
    /// Only in the tenant [`OPERATORS`], in which there is no other role.
    Operator,
}

impl Role {
    pub const ALL: [Self; 5] = [Self::Admin, Self::Author, Self::Reviewer, Self::Auditor, Self::Operator];

    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Author => "author",
            Self::Reviewer => "reviewer",
            Self::Auditor => "auditor",
            Self::Operator => "operator",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    pub fn exists_in(self, tenant: TenantId) -> bool {
        (self == Self::Operator) == (tenant == OPERATORS)
    }

    /// Payments are submitted by clients only, so no role has the scope for that.
    pub fn scopes(self) -> &'static [Scope] {
        use Scope::{
            AuditRead, ClientsRead, ClientsWrite, DecisionsRead, ListsRead, ListsWrite, PaymentsErase,
            PaymentsRead, PluginsRead, PluginsWrite, ProposalsApprove, ReviewsRead, ReviewsWrite,
            RulesetsRead, RulesetsWrite, SettingsRead, SettingsWrite, TenantsRead, TenantsWrite, UsersRead,
            UsersWrite,
        };
        match self {
            Self::Admin => &[
                PaymentsRead,
                PaymentsErase,
                DecisionsRead,
                RulesetsRead,
                RulesetsWrite,
                ListsRead,
                ListsWrite,
                PluginsRead,
                PluginsWrite,
                AuditRead,
                ReviewsRead,
                ReviewsWrite,
                UsersRead,
                UsersWrite,
                ClientsRead,
                ClientsWrite,
                SettingsRead,
                SettingsWrite,
                ProposalsApprove,
            ],
            Self::Author => &[
                PaymentsRead,
                DecisionsRead,
                RulesetsRead,
                RulesetsWrite,
                ListsRead,
                ListsWrite,
                PluginsRead,
                PluginsWrite,
                ReviewsRead,
                SettingsRead,
            ],
            Self::Reviewer => &[
                PaymentsRead,
                DecisionsRead,
                RulesetsRead,
                ListsRead,
                PluginsRead,
                ReviewsRead,
                ReviewsWrite,
                SettingsRead,
            ],
            Self::Auditor => &[
                PaymentsRead,
                DecisionsRead,
                RulesetsRead,
                ListsRead,
                PluginsRead,
                AuditRead,
                ReviewsRead,
                UsersRead,
                ClientsRead,
                SettingsRead,
            ],
            Self::Operator => {
                &[TenantsRead, TenantsWrite, UsersRead, UsersWrite, ClientsRead, ClientsWrite, AuditRead]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_compared_without_regard_to_case() {
        for (one, other) in [
            ("Ann@Example.com", "ann@EXAMPLE.COM"),
            ("Änn@example.com", "änn@example.com"),
            ("stra\u{df}e@example.com", "STRASSE@example.com"),
            ("σας@example.com", "ΣΑΣ@example.com"),
            ("a\u{308}nn@example.com", "änn@example.com"),
        ] {
            let compared = |text| EmailAddress::parse(text).expect("parses").compared();
            assert_eq!(compared(one), compared(other), "{one} {other}");
        }
    }

    #[test]
    fn what_is_not_an_address_is_refused() {
        let long = format!("{}@example.com", "a".repeat(65));
        for text in [
            "",
            "@",
            "ann",
            "ann@",
            "@example.com",
            "ann@@example.com",
            "an n@example.com",
            "ann@exam\nple.com",
            ".ann@example.com",
            "ann@example..com",
            "ann@-example.com",
            "<ann@example.com>",
            &long,
        ] {
            assert_eq!(EmailAddress::parse(text), Err(EmailAddressError), "{text:?}");
        }
    }

    #[test]
    fn roles_are_read_back_from_their_names_and_none_submits_payments() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.name()), Some(role));
            assert!(!role.scopes().contains(&Scope::PaymentsWrite));
        }
    }

    #[test]
    fn an_auditor_may_only_read_and_an_operator_sees_no_payments() {
        assert!(Role::Auditor.scopes().iter().all(|scope| scope.name().ends_with(":read")));
        let of_payments = ["payments:", "decisions:", "reviews:", "lists:", "rulesets:"];
        for scope in Role::Operator.scopes() {
            assert!(!of_payments.iter().any(|prefix| scope.name().starts_with(prefix)), "{scope:?}");
        }
    }
}
