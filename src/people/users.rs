//! Users of a tenant: creating and changing them, and the links with which they set a password.
//!
//! Nobody may give, or take over, more than they have themselves.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use zeroize::Zeroizing;

use super::revocations::Revocations;
use crate::auth::one_time_link::OneTimeLink;
use crate::auth::scope::ScopeSet;
use crate::auth::token::TokenIssuer;
use crate::domain::audit::Authority;
use crate::domain::tenant::TenantId;
use crate::domain::time::World;
use crate::domain::user::{EmailAddress, Role, UserId};
use crate::storage::StorageError;
use crate::storage::pool::AppPool;
use crate::storage::users::{self, ChangeUserError, CreateUserError, Link, NewUser, User, UserChange};

/// How long a person has to set a password.
pub const LINK_LIFETIME: Duration = Duration::from_secs(72 * 3_600);

#[derive(Debug, Error)]
pub enum UserError {
    #[error("there is no such user")]
    Unknown,
    #[error("a user with this e-mail address exists")]
    EmailTaken,
    #[error("the role {} does not exist in this tenant", .0.name())]
    RoleOfOthers(Role),
    #[error("the caller does not have everything that the role {} allows", .0.name())]
    RoleExceedsCaller(Role),
    #[error("nobody would be left who may change users")]
    LastAdministrator,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<CreateUserError> for UserError {
    fn from(error: CreateUserError) -> Self {
        match error {
            CreateUserError::EmailTaken => Self::EmailTaken,
            CreateUserError::Storage(error) => error.into(),
        }
    }
}

impl From<ChangeUserError> for UserError {
    fn from(error: ChangeUserError) -> Self {
        match error {
            ChangeUserError::Unknown => Self::Unknown,
            ChangeUserError::LastAdministrator => Self::LastAdministrator,
            ChangeUserError::Storage(error) => error.into(),
        }
    }
}

/// Who administers users.
#[derive(Debug, Clone)]
pub struct Administrator {
    pub tenant: TenantId,
    /// As stored with what is changed.
    pub actor: Authority,
    pub scopes: ScopeSet,
}

impl Administrator {
    pub(super) fn may_give(&self, roles: &[Role]) -> Result<(), UserError> {
        for role in roles {
            if !role.exists_in(self.tenant) {
                return Err(UserError::RoleOfOthers(*role));
            }
            let needed: ScopeSet = role.scopes().iter().copied().collect();
            if !needed.is_subset_of(self.scopes) {
                return Err(UserError::RoleExceedsCaller(*role));
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
pub struct UserOrder {
    pub email: EmailAddress,
    pub display_name: String,
    pub roles: Vec<Role>,
}

/// A link for one person. It must be shown once, to whoever passes it on.
pub struct PasswordLink {
    pub address: Zeroizing<String>,
    pub expires_at_ms: u64,
}

/// Shows no secret.
impl std::fmt::Debug for PasswordLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordLink")
    }
}

#[derive(Debug)]
pub struct Users {
    pub app: AppPool,
    pub revocations: Arc<Revocations>,
    /// The address of the page is below it.
    pub issuer: TokenIssuer,
    pub world: World,
}

impl Users {
    pub async fn create(
        &self,
        by: &Administrator,
        order: UserOrder,
    ) -> Result<(User, PasswordLink), UserError> {
        by.may_give(&order.roles)?;
        let now_ms = self.world.now_ms();
        let id = UserId(self.world.uuid_v7(now_ms));
        let (link, shown) = new_link(self.issuer.as_str(), by.tenant, id, &self.world);
        let user = User {
            id,
            email: order.email.clone(),
            display_name: order.display_name.clone(),
            roles: order.roles.clone(),
            created_at_ms: now_ms,
            disabled_at_ms: None,
            last_sign_in_at_ms: None,
            has_password: false,
            has_second_factor: false,
            openid_issuer: None,
        };
        let new = NewUser {
            id,
            email: order.email,
            display_name: order.display_name,
            roles: order.roles,
            created_by: by.actor.clone(),
            created_at_ms: now_ms,
            link,
        };
        users::create(&self.app, by.tenant, new).await?;
        Ok((user, shown))
    }

    pub async fn change(
        &self,
        by: &Administrator,
        id: UserId,
        change: UserChange,
    ) -> Result<User, UserError> {
        self.may_administer(by, id).await?;
        by.may_give(change.roles.as_deref().unwrap_or_default())?;
        let now_ms = self.world.now_ms();
        let user = users::change(&self.app, by.tenant, id, change, by.actor.clone(), now_ms).await?;
        self.revocations.follow().await?;
        Ok(user)
    }

    /// Replaces the link of before.
    pub async fn new_link(&self, by: &Administrator, id: UserId) -> Result<PasswordLink, UserError> {
        self.may_administer(by, id).await?;
        let now_ms = self.world.now_ms();
        let (link, shown) = new_link(self.issuer.as_str(), by.tenant, id, &self.world);
        users::set_link(&self.app, by.tenant, id, link, by.actor.clone(), now_ms).await?;
        Ok(shown)
    }

    /// For a person who has lost it. Ends the person's sign-ins.
    pub async fn remove_second_factor(&self, by: &Administrator, id: UserId) -> Result<(), UserError> {
        self.may_administer(by, id).await?;
        let now_ms = self.world.now_ms();
        users::remove_second_factor(&self.app, by.tenant, id, by.actor.clone(), now_ms).await?;
        Ok(self.revocations.follow().await?)
    }

    pub async fn end_sign_ins(&self, by: &Administrator, id: UserId) -> Result<(), UserError> {
        self.may_administer(by, id).await?;
        users::end_sign_ins(&self.app, by.tenant, id, by.actor.clone(), self.world.now_ms()).await?;
        Ok(self.revocations.follow().await?)
    }

    /// Otherwise a caller with few scopes could set the password of an administrator.
    async fn may_administer(&self, by: &Administrator, id: UserId) -> Result<(), UserError> {
        let found = users::find(&self.app, by.tenant, id).await?.ok_or(UserError::Unknown)?;
        by.may_give(&found.user.roles)
    }
}

/// A link below the address of the page: what is stored of it, and what is shown.
pub fn new_link(page: &str, tenant: TenantId, user: UserId, world: &World) -> (Link, PasswordLink) {
    let link = OneTimeLink::generate(tenant, user, world.randomness());
    let lifetime_ms = u64::try_from(LINK_LIFETIME.as_millis()).unwrap_or(u64::MAX);
    let expires_at_ms = world.now_ms().saturating_add(lifetime_ms);
    let page = page.trim_end_matches('/');
    let address = Zeroizing::new(format!("{page}/admin/#/set-password/{}", link.token().as_str()));
    (Link { digest: link.digest(), expires_at_ms }, PasswordLink { address, expires_at_ms })
}
