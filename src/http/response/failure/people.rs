//! Maps errors of signing in and of administering people to problems.

use crate::auth::AuthError;
use crate::domain::proposal::OPEN_PROPOSALS_MAX;
use crate::http::edge::client_rates::whole_seconds;
use crate::http::response::failure::internal;
use crate::http::response::problem::{PartError, Problem, ProblemKind};
use crate::people::clients::ClientError;
use crate::people::openid::OpenidSettingsError;
use crate::people::second_factor::SecondFactorError;
use crate::people::sign_in::SignInError;
use crate::people::tenants::TenantError;
use crate::people::users::UserError;
use crate::proposals::ProposalError;
use crate::storage::proposals::ProposeError;

fn invalid(pointer: &str, detail: String) -> Problem {
    let part = PartError { pointer: Some(pointer.to_owned()), parameter: None, detail };
    Problem::with_errors(ProblemKind::InvalidBody, "Part of the body is invalid.", vec![part])
}

fn too_many(next_in: std::time::Duration) -> Problem {
    let detail = "Too many attempts have failed. Try again after the time in Retry-After.";
    let problem = Problem::new(ProblemKind::TooManyAttempts, detail);
    Problem { retry_after_seconds: Some(whole_seconds(next_in)), ..problem }
}

/// Names the member of the body that has the new password.
pub fn password_refused(error: SignInError, pointer: &str) -> Problem {
    match error {
        SignInError::Password(error) => invalid(pointer, error.to_string()),
        error => error.into(),
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Busy => Self::new(ProblemKind::Busy, "Too many passwords are being checked."),
            error => {
                tracing::error!(%error, "a secret could not be handled");
                internal()
            }
        }
    }
}

impl From<SignInError> for Problem {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Wrong => {
                let detail = "The tenant, the e-mail address, the password or the code is wrong.";
                Self::new(ProblemKind::SignInFailed, detail)
            }
            SignInError::PasswordsOff => {
                let detail =
                    "Passwords are switched off for this tenant. Sign in with your company's account.";
                Self::new(ProblemKind::SignInFailed, detail)
            }
            SignInError::CodeRequired => {
                let detail = "Repeat the request with a code of the second factor, or a recovery code.";
                Self::new(ProblemKind::SecondFactorRequired, detail)
            }
            SignInError::TooManyFailures { next_in } => too_many(next_in),
            SignInError::Ended => Self::new(ProblemKind::SessionEnded, "Sign in again."),
            SignInError::Link => {
                let detail = "The link is wrong, has expired, or was used before. An administrator can \
                              create another.";
                Self::new(ProblemKind::SignInFailed, detail)
            }
            SignInError::Password(error) => invalid("/password", error.to_string()),
            SignInError::Auth(error) => error.into(),
            SignInError::Storage(error) => error.into(),
        }
    }
}

impl From<SecondFactorError> for Problem {
    fn from(error: SecondFactorError) -> Self {
        match error {
            SecondFactorError::UnknownUser => Self::not_found("user"),
            SecondFactorError::Present => {
                Self::new(ProblemKind::Conflict, "The second factor is set up already. Remove it first.")
            }
            SecondFactorError::NothingToConfirm => {
                let detail = "There is no second factor to confirm. Begin to set one up first.";
                Self::new(ProblemKind::Conflict, detail)
            }
            SecondFactorError::WrongCode => {
                invalid("/code", "is wrong, or was used before: wait for the next code".to_owned())
            }
            SecondFactorError::TooManyFailures { next_in } => too_many(next_in),
            SecondFactorError::Auth(error) => error.into(),
            SecondFactorError::Storage(error) => error.into(),
        }
    }
}

impl From<UserError> for Problem {
    fn from(error: UserError) -> Self {
        match error {
            UserError::Unknown => Self::not_found("user"),
            UserError::EmailTaken => {
                Self::new(ProblemKind::Conflict, "A user with this e-mail address exists.")
            }
            UserError::RoleOfOthers(role) => {
                invalid("/roles", format!("the role {} does not exist in this tenant", role.name()))
            }
            UserError::RoleExceedsCaller(role) => {
                let detail =
                    format!("The caller does not have everything that the role {} allows.", role.name());
                Self::new(ProblemKind::InsufficientScope, detail)
            }
            UserError::LastAdministrator => {
                let detail = "Nobody would be left who may change users. Give another user the role first.";
                Self::new(ProblemKind::Conflict, detail)
            }
            UserError::Storage(error) => error.into(),
        }
    }
}

impl From<OpenidSettingsError> for Problem {
    fn from(error: OpenidSettingsError) -> Self {
        match error {
            OpenidSettingsError::Issuer(detail) => invalid("/issuer", format!("is no issuer: {detail}")),
            OpenidSettingsError::IssuerNotAllowed => {
                let detail = "is not allowed by the operator of this server: ask for it to be added to \
                              openid_issuers";
                invalid("/issuer", detail.to_owned())
            }
            OpenidSettingsError::NoAdministrator => {
                let detail = "Nobody who may change users has signed in by this provider yet, so everybody \
                              could be locked out. Sign in by it with such a role first.";
                Self::new(ProblemKind::Conflict, detail)
            }
            OpenidSettingsError::Roles(error) => error.into(),
            OpenidSettingsError::Auth(error) => error.into(),
            OpenidSettingsError::Storage(error) => error.into(),
        }
    }
}

impl From<ClientError> for Problem {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Unknown => Self::not_found("client"),
            ClientError::ScopeExceedsCaller(scope) => {
                let detail = format!("The caller cannot give the scope {}.", scope.name());
                Self::new(ProblemKind::InsufficientScope, detail)
            }
            ClientError::Auth(error) => error.into(),
            ClientError::Storage(error) => error.into(),
        }
    }
}

impl From<TenantError> for Problem {
    fn from(error: TenantError) -> Self {
        match error {
            TenantError::Taken => Self::new(ProblemKind::Conflict, "A tenant with this name exists."),
            TenantError::Storage(error) => error.into(),
        }
    }
}

pub(super) fn decided_meanwhile() -> Problem {
    Problem::new(ProblemKind::Conflict, "Somebody else decided the proposal in the meantime.")
}

impl From<ProposalError> for Problem {
    fn from(error: ProposalError) -> Self {
        match error {
            ProposalError::Unknown => Self::not_found("proposal"),
            ProposalError::UnknownEntry => Self::not_found("open entry"),
            ProposalError::Decided(state) => {
                let detail = format!("The proposal was {} before.", state.name());
                Self::new(ProblemKind::Conflict, detail)
            }
            ProposalError::OwnProposal => {
                let detail = "You have proposed this change, or made a secret of the client that did. \
                              Another administrator has to approve it.";
                Self::new(ProblemKind::SecondPersonRequired, detail)
            }
            ProposalError::OfAnother => {
                let detail = "Only who has made a proposal can withdraw it. An administrator can decline it.";
                Self::new(ProblemKind::SecondPersonRequired, detail)
            }
            ProposalError::TooFewAdministrators => {
                let detail = "At least two active users with the role admin are needed: one proposes, \
                              another approves.";
                Self::new(ProblemKind::Conflict, detail)
            }
            ProposalError::Propose(ProposeError::TooMany) => {
                let detail = format!(
                    "At most {OPEN_PROPOSALS_MAX} proposals can wait. Approve, decline or withdraw some first."
                );
                Self::new(ProblemKind::QuotaExceeded, detail)
            }
            ProposalError::Propose(ProposeError::Storage(error)) | ProposalError::Storage(error) => {
                error.into()
            }
            ProposalError::Activate(error) => error.into(),
            ProposalError::AddEntry(error) => error.into(),
            ProposalError::CloseList(error) => error.into(),
            ProposalError::ActivateTable(error) => error.into(),
            ProposalError::CloseTable(error) => error.into(),
            ProposalError::Erase(error) => error.into(),
            ProposalError::User(error) => error.into(),
            ProposalError::Openid(error) => error.into(),
        }
    }
}
