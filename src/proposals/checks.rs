//! What is checked when a change is proposed: that it could be made now.
//!
//! A proposal is bound to the state that its author saw. If that changes, nobody can approve it.

use uuid::Uuid;

use super::{ProposalError, Proposals};
use crate::decisions::rulesets::ActivationGuard;
use crate::domain::payment::PaymentId;
use crate::domain::proposal::{Change, ProposedCanary, ProposedEntry, ProposedGuard};
use crate::domain::ruleset::{Canary, DecisionPoint};
use crate::domain::table::TableName;
use crate::domain::tenant::TenantId;
use crate::domain::user::{Role, UserId};
use crate::people::users::{UserError, UserOrder};
use crate::storage::erasures::EraseError;
use crate::storage::lists::{AddEntryError, CloseListError, ListHead, NewEntry};
use crate::storage::rulesets::{ActivateError, DeploymentVersion, ExpectedActivation};
use crate::storage::tables::{ActivateTableError, CloseTableError, LogFilter};
use crate::storage::users::UserChange;
use crate::storage::{StorageError, decisions, lists, rulesets, tables, users};

impl Proposals {
    pub async fn activation(
        &self,
        tenant: TenantId,
        point: DecisionPoint,
        revision: i32,
        guard: Option<ActivationGuard>,
        expected: &ExpectedActivation,
    ) -> Result<Change, ProposalError> {
        let seen = self.seen_deployment(tenant, point, revision, expected).await?;
        self.rulesets.check_guard(tenant, point, revision, guard).await?;
        let guard = guard.map(|guard| ProposedGuard {
            backtest: guard.backtest,
            changed_max_ten_thousandths: guard.changed_max_ten_thousandths,
        });
        Ok(Change::Activation { point, revision, guard, seen })
    }

    pub async fn canary(
        &self,
        tenant: TenantId,
        point: DecisionPoint,
        canary: Option<Canary>,
        expected: &ExpectedActivation,
    ) -> Result<Change, ProposalError> {
        let active = rulesets::active(&self.app, tenant, point).await?;
        let active = active.ok_or(ActivateError::NothingActive)?.deployment.revision;
        let revision = canary.map_or(active, |canary| canary.revision);
        let seen = self.seen_deployment(tenant, point, revision, expected).await?;
        if canary.is_some_and(|canary| canary.revision == active) {
            return Err(ActivateError::AlreadyActive.into());
        }
        let canary = canary.map(|canary| ProposedCanary {
            revision: canary.revision,
            share_ten_thousandths: canary.share.ten_thousandths(),
        });
        Ok(Change::Canary { point, canary, seen })
    }

    async fn seen_deployment(
        &self,
        tenant: TenantId,
        point: DecisionPoint,
        revision: i32,
        expected: &ExpectedActivation,
    ) -> Result<Option<i64>, ProposalError> {
        let active = rulesets::active(&self.app, tenant, point).await?;
        let seen = active.map(|activation| activation.sequence);
        if !expected.is(DeploymentVersion::of(seen)) {
            return Err(ActivateError::Conflict { current: seen }.into());
        }
        match rulesets::get(&self.app, tenant, point, revision).await? {
            Some(_) => Ok(seen),
            None => Err(ActivateError::UnknownRevision.into()),
        }
    }

    pub fn list_entries(&self, list: &ListHead, entries: Vec<NewEntry>) -> Result<Change, ProposalError> {
        if list.is_closed {
            return Err(AddEntryError::Closed.into());
        }
        let proposed = |entry: NewEntry| ProposedEntry {
            value: entry.value,
            reason: entry.reason,
            valid_from_ms: entry.valid_from_ms,
            valid_to_ms: entry.valid_to_ms,
        };
        let entries = entries.into_iter().map(proposed).collect();
        Ok(Change::ListEntries { list: list.name.clone(), entries })
    }

    pub async fn list_entry_closed(
        &self,
        tenant: TenantId,
        list: &str,
        entry: Uuid,
    ) -> Result<Change, ProposalError> {
        let now_ms = self.world.now_ms();
        let open = lists::open_entry(&self.app, tenant, list, entry, now_ms).await?;
        let value = open.ok_or(ProposalError::UnknownEntry)?.value;
        Ok(Change::ListEntryClosed { list: list.to_owned(), entry, value })
    }

    pub async fn list_closed(&self, tenant: TenantId, list: &str) -> Result<Change, ProposalError> {
        match lists::head(&self.app, tenant, list).await? {
            Some(head) if !head.is_closed => Ok(Change::ListClosed { list: head.name }),
            _ => Err(CloseListError::Unknown.into()),
        }
    }

    pub async fn table_activation(
        &self,
        tenant: TenantId,
        table: &TableName,
        version: i32,
        expected: &ExpectedActivation,
    ) -> Result<Change, ProposalError> {
        let found = tables::get(&self.app, tenant, table).await?.ok_or(ActivateTableError::UnknownTable)?;
        if found.closed.is_some() {
            return Err(ActivateTableError::Closed.into());
        }
        if tables::version(&self.app, tenant, table, version).await?.is_none() {
            return Err(ActivateTableError::UnknownVersion.into());
        }
        let newest = tables::activations(&self.app, tenant, table, LogFilter::default(), 1).await?.pop();
        let seen = newest.as_ref().map(|line| line.sequence);
        if !expected.is(DeploymentVersion::of(seen)) {
            return Err(ActivateTableError::Conflict.into());
        }
        if newest.is_some_and(|line| line.version == version) {
            return Err(ActivateTableError::AlreadyActive.into());
        }
        Ok(Change::TableActivation { table: table.as_str().to_owned(), version, seen })
    }

    pub async fn table_closed(&self, tenant: TenantId, table: &TableName) -> Result<Change, ProposalError> {
        match tables::get(&self.app, tenant, table).await? {
            Some(found) if found.closed.is_none() => {
                Ok(Change::TableClosed { table: table.as_str().to_owned() })
            }
            _ => Err(CloseTableError::Unknown.into()),
        }
    }

    pub async fn erasure(
        &self,
        tenant: TenantId,
        payment: PaymentId,
        reason: String,
    ) -> Result<Change, ProposalError> {
        match decisions::get(&self.app, tenant, payment).await {
            Ok(Some(_)) | Err(StorageError::Erased) => Ok(Change::Erasure { payment, reason }),
            Ok(None) => Err(EraseError::UnknownPayment.into()),
            Err(error) => Err(error.into()),
        }
    }

    pub async fn new_user(&self, tenant: TenantId, order: UserOrder) -> Result<Change, ProposalError> {
        let UserOrder { email, display_name, roles } = order;
        if users::find_by_email(&self.app, tenant, email.compared()).await?.is_some() {
            return Err(UserError::EmailTaken.into());
        }
        let (email, display_name) = (email.as_str().to_owned(), Some(display_name));
        Ok(Change::User { user: None, email, display_name, roles: Some(roles), disabled: None })
    }

    pub async fn user_change(
        &self,
        tenant: TenantId,
        user: UserId,
        change: UserChange,
    ) -> Result<Change, ProposalError> {
        let email = self.email_of(tenant, user).await?;
        let UserChange { display_name, roles, disabled } = change;
        Ok(Change::User { user: Some(user), email, display_name, roles, disabled })
    }

    /// Whether a change gives somebody the role `admin`, or access to it. Nobody may do that alone,
    /// since administrators approve. Taking it away needs nobody else.
    pub async fn makes_administrator(
        &self,
        tenant: TenantId,
        user: Option<UserId>,
        change: &UserChange,
    ) -> Result<bool, ProposalError> {
        let is_to_be = change.roles.as_ref().map(|roles| roles.contains(&Role::Admin));
        let Some(user) = user else { return Ok(is_to_be == Some(true)) };
        let is_already = self.is_administrator(tenant, user).await?;
        let is_enabled = change.disabled == Some(false);
        Ok(is_to_be == Some(true) && !is_already || is_enabled && is_to_be.unwrap_or(is_already))
    }

    pub async fn is_administrator(&self, tenant: TenantId, user: UserId) -> Result<bool, ProposalError> {
        let found = users::find(&self.app, tenant, user).await?.ok_or(UserError::Unknown)?;
        Ok(found.user.roles.contains(&Role::Admin))
    }

    /// The address of a user, by which people know whom a proposal is about.
    pub async fn email_of(&self, tenant: TenantId, user: UserId) -> Result<String, ProposalError> {
        let found = users::find(&self.app, tenant, user).await?.ok_or(UserError::Unknown)?;
        Ok(found.user.email.as_str().to_owned())
    }
}
