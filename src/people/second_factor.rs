//! The second factor of a person: setting it up, checking a code, taking it away.

use std::time::{Duration, Instant};

use thiserror::Error;

use super::attempts::TooManyFailures;
use super::sign_in::SignIns;
use crate::auth::AuthError;
use crate::auth::one_time_password::OneTimePasswords;
use crate::auth::recovery_code::{self, RECOVERY_CODES};
use crate::domain::plugin::Digest;
use crate::domain::tenant::TenantId;
use crate::domain::user::UserId;
use crate::storage::StorageError;
use crate::storage::users::{self, UserSecrets};

#[derive(Debug, Error)]
pub enum SecondFactorError {
    #[error("the user does not exist any more")]
    UnknownUser,
    #[error("the second factor is set up already; remove it first")]
    Present,
    #[error("there is no second factor to confirm; begin to set one up first")]
    NothingToConfirm,
    #[error("the code is wrong or was used before")]
    WrongCode,
    #[error("too many attempts have failed")]
    TooManyFailures { next_in: Duration },
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What a person puts into an authenticator app.
pub struct NewSecondFactor {
    pub secret_base32: String,
    pub address: String,
}

/// Shows no secret.
impl std::fmt::Debug for NewSecondFactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewSecondFactor")
    }
}

impl SignIns {
    /// Begins to set up the second factor. Sign-ins need it only once it is confirmed.
    pub async fn prepare_second_factor(
        &self,
        tenant: TenantId,
        user: UserId,
    ) -> Result<NewSecondFactor, SecondFactorError> {
        let found = users::find(&self.app, tenant, user).await?.ok_or(SecondFactorError::UnknownUser)?;
        let passwords = OneTimePasswords::generate(&found.user.email, self.world.randomness())?;
        let sealed = self.sealer.seal(passwords.secret(), &bound_to(user), self.world.randomness())?;
        let now_ms = self.world.now_ms();
        if !users::prepare_second_factor(&self.app, tenant, user, sealed, now_ms).await? {
            return Err(SecondFactorError::Present);
        }
        Ok(NewSecondFactor { secret_base32: passwords.secret_base32(), address: passwords.address()? })
    }

    /// Returns the recovery codes, which are shown once.
    pub async fn confirm_second_factor(
        &self,
        tenant: TenantId,
        user: UserId,
        code: &str,
    ) -> Result<Vec<String>, SecondFactorError> {
        let found = users::find(&self.app, tenant, user).await?.ok_or(SecondFactorError::UnknownUser)?;
        if found.user.has_second_factor {
            return Err(SecondFactorError::Present);
        }
        let passwords = self.passwords_of(&found)?.ok_or(SecondFactorError::NothingToConfirm)?;
        let now_ms = self.world.now_ms();
        let step = passwords.check(code, now_ms).ok_or(SecondFactorError::WrongCode)?;
        let codes: Vec<String> =
            (0..RECOVERY_CODES).map(|_| recovery_code::generate(self.world.randomness())).collect();
        let digests = codes.iter().filter_map(|code| recovery_code::digest(code)).collect();
        if !users::confirm_second_factor(&self.app, tenant, user, step, digests, now_ms).await? {
            return Err(SecondFactorError::NothingToConfirm);
        }
        Ok(codes)
    }

    /// Takes the second factor away, for a person who has a code of it. Ends all sign-ins.
    pub async fn remove_second_factor(
        &self,
        tenant: TenantId,
        user: UserId,
        code: &str,
        now: Instant,
    ) -> Result<(), SecondFactorError> {
        let account = Digest::of(user.0.as_bytes());
        if let Err(TooManyFailures { next_in }) = self.attempts.admit(&account, None, now) {
            return Err(SecondFactorError::TooManyFailures { next_in });
        }
        let found = users::find(&self.app, tenant, user).await?.ok_or(SecondFactorError::UnknownUser)?;
        if !self.spend_code(tenant, &found, code).await? {
            return Err(SecondFactorError::WrongCode);
        }
        self.attempts.give_back(Some(&account), None, now);
        let actor = format!("user:{user}");
        users::remove_second_factor(&self.app, tenant, user, actor.into(), self.world.now_ms()).await?;
        self.revocations.follow().await?;
        Ok(())
    }

    /// Spends a one-time password or a recovery code. Returns `false` if it is wrong or was spent
    /// before.
    pub(super) async fn spend_code(
        &self,
        tenant: TenantId,
        found: &UserSecrets,
        code: &str,
    ) -> Result<bool, SecondFactorError> {
        let id = found.user.id;
        if let Some(digest) = recovery_code::digest(code) {
            return Ok(users::spend_recovery_code(&self.app, tenant, id, digest).await?);
        }
        let passwords = self.passwords_of(found)?;
        match passwords.and_then(|passwords| passwords.check(code, self.world.now_ms())) {
            Some(step) => Ok(users::spend_step(&self.app, tenant, id, step).await?),
            None => Ok(false),
        }
    }

    fn passwords_of(&self, found: &UserSecrets) -> Result<Option<OneTimePasswords>, AuthError> {
        let Some(sealed) = &found.totp_sealed else { return Ok(None) };
        let secret = self.sealer.open(sealed, &bound_to(found.user.id))?;
        OneTimePasswords::of(&secret, &found.user.email).map(Some)
    }
}

/// A sealed secret cannot be moved to another user's row.
fn bound_to(user: UserId) -> String {
    format!("second factor of {user}")
}
