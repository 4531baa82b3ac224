//! The second person: changes that are proposed by one and approved by another.
//!
//! A route asks `is_needed` before it makes a change. What a change does must not be written here a
//! second time: `applying.rs` calls what the routes call.

mod applying;
mod checks;

use std::sync::Arc;

use thiserror::Error;

use crate::auth::scope::ScopeSet;
use crate::decisions::reviews::Reviews;
use crate::decisions::rulesets::{GuardedActivationError, Rulesets};
use crate::domain::audit::{Approval, Authority};
use crate::domain::proposal::{Change, Proposal, ProposalEnd, ProposalId, ProposalState};
use crate::domain::tenant::{ClientId, TenantId};
use crate::domain::time::World;
use crate::domain::user::{Role, UserId};
use crate::people::openid::{Openid, OpenidSettingsError};
use crate::people::users::{PasswordLink, UserError, Users};
use crate::storage::StorageError;
use crate::storage::erasures::EraseError;
use crate::storage::lists::{AddEntryError, CloseListError};
use crate::storage::pool::{AppPool, SystemPool};
use crate::storage::proposals::{self, ProposeError};
use crate::storage::rulesets::ActivateError;
use crate::storage::tables::{ActivateTableError, CloseTableError};
use crate::storage::users;

#[derive(Debug, Error)]
pub enum ProposalError {
    #[error("there is no such proposal")]
    Unknown,
    #[error("the proposal was {} before", .0.name())]
    Decided(ProposalState),
    /// The person proposed it, or holds a secret of the client that did.
    #[error("another person has to approve the proposal")]
    OwnProposal,
    #[error("only who made the proposal can withdraw it")]
    OfAnother,
    #[error("fewer than two administrators could propose and approve")]
    TooFewAdministrators,
    #[error("there is no such open entry")]
    UnknownEntry,
    #[error(transparent)]
    Propose(#[from] ProposeError),
    #[error(transparent)]
    Activate(#[from] GuardedActivationError),
    #[error(transparent)]
    AddEntry(#[from] AddEntryError),
    #[error(transparent)]
    CloseList(#[from] CloseListError),
    #[error(transparent)]
    ActivateTable(#[from] ActivateTableError),
    #[error(transparent)]
    CloseTable(#[from] CloseTableError),
    #[error(transparent)]
    Erase(#[from] EraseError),
    #[error(transparent)]
    User(#[from] UserError),
    #[error(transparent)]
    Openid(#[from] OpenidSettingsError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A person who decides on proposals.
#[derive(Debug, Clone)]
pub struct Approver {
    pub tenant: TenantId,
    pub user: UserId,
    pub scopes: ScopeSet,
}

impl From<ActivateError> for ProposalError {
    fn from(error: ActivateError) -> Self {
        Self::Activate(error.into())
    }
}

impl Approver {
    fn name(&self) -> String {
        format!("user:{}", self.user)
    }
}

/// An approved proposal, and the link that its change made.
#[derive(Debug)]
pub struct Approved {
    pub proposal: Proposal,
    /// It must be shown once, to whoever approved.
    pub link: Option<PasswordLink>,
}

#[derive(Debug)]
pub struct Proposals {
    pub app: AppPool,
    pub system: SystemPool,
    pub rulesets: Arc<Rulesets>,
    pub reviews: Arc<Reviews>,
    pub users: Arc<Users>,
    pub openid: Arc<Openid>,
    /// How many entries that have not ended a list may have.
    pub list_entries_max: u32,
    pub world: World,
}

impl Proposals {
    pub async fn is_needed(&self, tenant: TenantId) -> Result<bool, StorageError> {
        proposals::is_second_person_needed(&self.app, tenant).await
    }

    /// From then on, changes need a second person. Refused if there are not two who could be that.
    pub async fn turn_on(&self, tenant: TenantId, actor: Authority) -> Result<(), ProposalError> {
        let people = users::list(&self.app, tenant, None, ADMINISTRATORS_SOUGHT_AMONG).await?;
        let can_approve = people.iter().filter(|user| {
            user.disabled_at_ms.is_none() && user.has_password && user.roles.contains(&Role::Admin)
        });
        if can_approve.count() < 2 {
            return Err(ProposalError::TooFewAdministrators);
        }
        proposals::set_second_person(&self.system, tenant, true, actor, self.world.now_ms()).await?;
        Ok(())
    }

    pub async fn propose(
        &self,
        tenant: TenantId,
        proposed_by: String,
        change: Change,
    ) -> Result<Proposal, ProposalError> {
        let now_ms = self.world.now_ms();
        let id = ProposalId(self.world.uuid_v7(now_ms));
        Ok(proposals::propose(&self.app, tenant, id, change, proposed_by, now_ms).await?)
    }

    /// Makes the change of a proposal. If that fails, the proposal stays open.
    pub async fn approve(&self, approver: &Approver, id: ProposalId) -> Result<Approved, ProposalError> {
        let proposal = self.open(approver.tenant, id).await?;
        if self.is_own(approver, &proposal).await? {
            return Err(ProposalError::OwnProposal);
        }
        let approval = Approval { proposal: id, approved_by: approver.name() };
        let actor = Authority::approved(proposal.proposed_by.clone(), approval.clone());
        let link = self.apply(approver, proposal.change, actor).await?;
        let decided = proposals::get(&self.app, approver.tenant, id).await?.ok_or(ProposalError::Unknown)?;
        if decided.end.is_some() {
            return Ok(Approved { proposal: decided, link });
        }
        // The state was as proposed already, so there was nothing to record.
        proposals::approve_without_effect(&self.app, approver.tenant, approval, self.world.now_ms()).await?;
        let decided = proposals::get(&self.app, approver.tenant, id).await?.ok_or(ProposalError::Unknown)?;
        Ok(Approved { proposal: decided, link })
    }

    pub async fn decline(
        &self,
        approver: &Approver,
        id: ProposalId,
        note: String,
    ) -> Result<Proposal, ProposalError> {
        let proposal = self.open(approver.tenant, id).await?;
        self.end(approver.tenant, proposal, ProposalState::Declined, approver.name(), note).await
    }

    pub async fn withdraw(
        &self,
        tenant: TenantId,
        actor: String,
        id: ProposalId,
    ) -> Result<Proposal, ProposalError> {
        let proposal = self.open(tenant, id).await?;
        if proposal.proposed_by != actor {
            return Err(ProposalError::OfAnother);
        }
        self.end(tenant, proposal, ProposalState::Withdrawn, actor, String::new()).await
    }

    async fn end(
        &self,
        tenant: TenantId,
        proposal: Proposal,
        state: ProposalState,
        decided_by: String,
        note: String,
    ) -> Result<Proposal, ProposalError> {
        let end = ProposalEnd { state, decided_by, decided_at_ms: self.world.now_ms(), note };
        Ok(proposals::reject(&self.app, tenant, proposal, end).await?)
    }

    async fn open(&self, tenant: TenantId, id: ProposalId) -> Result<Proposal, ProposalError> {
        let proposal = proposals::get(&self.app, tenant, id).await?.ok_or(ProposalError::Unknown)?;
        match &proposal.end {
            None => Ok(proposal),
            Some(end) => Err(ProposalError::Decided(end.state)),
        }
    }

    /// Who made a client, or a secret of it, could propose as the client and approve as a person.
    async fn is_own(&self, approver: &Approver, proposal: &Proposal) -> Result<bool, StorageError> {
        let name = approver.name();
        let client = proposal.proposed_by.strip_prefix("client:").and_then(|id| id.parse().ok());
        match client {
            Some(client) => {
                proposals::has_made_secret_of(&self.app, approver.tenant, name, ClientId(client)).await
            }
            None => Ok(proposal.proposed_by == name),
        }
    }
}

/// A tenant with more people has two administrators among the first of them.
const ADMINISTRATORS_SOUGHT_AMONG: u32 = 10_000;
