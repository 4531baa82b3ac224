//! Makes the changes of approved proposals, by the functions that make them without a proposal.
//!
//! Each records its act last, with the actor that it gets from here, and so closes the proposal in
//! its own transaction. What has been approved is never made twice.

use super::{Approver, ProposalError, Proposals};
use crate::decisions::rulesets::ActivationGuard;
use crate::domain::audit::Authority;
use crate::domain::proposal::{Change, ProposedCanary, ProposedEntry, ProposedGuard};
use crate::domain::ruleset::{Canary, Share};
use crate::domain::table::TableName;
use crate::domain::tenant::TenantId;
use crate::domain::user::{EmailAddress, Role, UserId};
use crate::people::users::{Administrator, PasswordLink, UserOrder};
use crate::storage::erasures::{self, NewErasure};
use crate::storage::lists::{self, AddEntryError, NewEntry};
use crate::storage::rulesets::{ActivationRequest, DeploymentVersion, ExpectedActivation};
use crate::storage::tables::{self, ActivateTableError, CloseTableError, TableActivationRequest};
use crate::storage::users::UserChange;
use crate::storage::{StorageError, proposals, tenants};

/// A change of a person, as it was proposed.
struct ProposedUser {
    user: Option<UserId>,
    email: String,
    display_name: Option<String>,
    roles: Option<Vec<Role>>,
    disabled: Option<bool>,
}

/// The state must be the one that the author of the proposal saw.
fn as_seen(seen: Option<i64>) -> ExpectedActivation {
    ExpectedActivation { one_of: Some(vec![DeploymentVersion::of(seen)]), none_of: Vec::new() }
}

fn unreadable() -> ProposalError {
    StorageError::Unreadable { what: "proposal" }.into()
}

impl Proposals {
    pub(super) async fn apply(
        &self,
        approver: &Approver,
        change: Change,
        actor: Authority,
    ) -> Result<Option<PasswordLink>, ProposalError> {
        let (tenant, now_ms) = (approver.tenant, self.world.now_ms());
        match change {
            Change::Activation { point, revision, guard, seen } => {
                let guard = guard.map(|ProposedGuard { backtest, changed_max_ten_thousandths }| {
                    ActivationGuard { backtest, changed_max_ten_thousandths }
                });
                let rulesets = &self.rulesets;
                rulesets.activate_revision(tenant, point, revision, guard, actor, as_seen(seen)).await?;
            }
            Change::Canary { point, canary, seen } => {
                let request = ActivationRequest::Canary(canary.map(canary_of).transpose()?);
                self.rulesets.activate(tenant, point, request, actor, as_seen(seen)).await?;
            }
            Change::ListEntries { list, entries } => self.add_entries(tenant, list, entries, actor).await?,
            Change::ListEntryClosed { list, entry, .. } => {
                let closed = lists::close_entry(&self.app, tenant, &list, entry, now_ms, actor).await?;
                closed.ok_or(ProposalError::UnknownEntry)?;
            }
            Change::ListClosed { list } => lists::close(&self.app, tenant, &list, now_ms, actor).await?,
            Change::TableActivation { table, version, seen } => {
                let table = TableName::parse(&table).ok_or(ActivateTableError::UnknownTable)?;
                let request = TableActivationRequest::Activate { version };
                tables::activate(&self.app, &self.world, tenant, &table, request, actor, as_seen(seen))
                    .await?;
            }
            Change::TableClosed { table } => {
                let table = TableName::parse(&table).ok_or(CloseTableError::Unknown)?;
                tables::close(&self.app, tenant, &table, now_ms, actor).await?;
            }
            Change::Erasure { payment, reason } => {
                let new = NewErasure { payment, reason, actor, now_ms };
                erasures::erase(&self.app, tenant, new).await?;
            }
            Change::Retention { months } => {
                tenants::set_retention(&self.system, tenant, months, actor, now_ms).await?;
            }
            Change::Openid { settings } => {
                self.openid.apply(tenant, actor, settings.map(|settings| *settings)).await?;
            }
            Change::ReviewSettings { settings } => {
                self.reviews.apply_settings(tenant, actor, settings).await?;
            }
            Change::SecondPersonOff => {
                proposals::set_second_person(&self.system, tenant, false, actor, now_ms).await?;
            }
            Change::User { user, email, display_name, roles, disabled } => {
                let proposed = ProposedUser { user, email, display_name, roles, disabled };
                return self.apply_to_user(&administrator(approver, actor), proposed).await;
            }
            Change::PasswordLink { user, .. } => {
                return Ok(Some(self.users.new_link(&administrator(approver, actor), user).await?));
            }
            Change::SecondFactorRemoved { user, .. } => {
                self.users.remove_second_factor(&administrator(approver, actor), user).await?;
            }
        }
        Ok(None)
    }

    async fn add_entries(
        &self,
        tenant: TenantId,
        list: String,
        entries: Vec<ProposedEntry>,
        actor: Authority,
    ) -> Result<(), ProposalError> {
        let now_ms = self.world.now_ms();
        let head = lists::head(&self.app, tenant, &list).await?.ok_or(AddEntryError::UnknownList)?;
        let mut new = Vec::with_capacity(entries.len());
        for ProposedEntry { value, reason, valid_from_ms, valid_to_ms } in entries {
            let forms = head.kinds.forms(&value).map_err(|_| unreadable())?;
            let (id, added_by) = (self.world.uuid_v7(now_ms), actor.name().to_owned());
            new.push(NewEntry { id, value, forms, reason, valid_from_ms, valid_to_ms, added_by });
        }
        let most = self.list_entries_max;
        lists::add_entries(&self.app, tenant, &list, new, most, &actor, now_ms).await?;
        Ok(())
    }

    async fn apply_to_user(
        &self,
        by: &Administrator,
        proposed: ProposedUser,
    ) -> Result<Option<PasswordLink>, ProposalError> {
        let ProposedUser { user, email, display_name, roles, disabled } = proposed;
        match user {
            Some(user) => {
                self.users.change(by, user, UserChange { display_name, roles, disabled }).await?;
                Ok(None)
            }
            None => {
                let email = EmailAddress::parse(&email).map_err(|_| unreadable())?;
                let display_name = display_name.ok_or_else(unreadable)?;
                let order = UserOrder { email, display_name, roles: roles.unwrap_or_default() };
                let (_, link) = self.users.create(by, order).await?;
                Ok(Some(link))
            }
        }
    }
}

fn canary_of(proposed: ProposedCanary) -> Result<Canary, ProposalError> {
    let share = Share::new(proposed.share_ten_thousandths).ok_or_else(unreadable)?;
    Ok(Canary { revision: proposed.revision, share })
}

fn administrator(approver: &Approver, actor: Authority) -> Administrator {
    Administrator { tenant: approver.tenant, actor, scopes: approver.scopes }
}
