//! Which tokens end before their time, in memory: those of ended sign-ins, and those of a client's
//! earlier secrets.
//!
//! A copy of what the database has. A request must never ask the database for it.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use super::token::{LEEWAY_S, LIFETIMES_S};
use super::verified_token::Subject;
use crate::domain::revocation::Revocation;
use crate::domain::tenant::ClientId;
use crate::domain::user::SignInId;

/// For this long after a revocation a token may exist that would still be accepted. A minute is
/// added for nodes whose time differs, and for a token that is issued while it is revoked.
pub const REMEMBERED_MS: u64 = (*LIFETIMES_S.end() + LEEWAY_S + 60) * 1_000;

#[derive(Debug, Default)]
pub struct Revoked(RwLock<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    /// With the time of the revocation.
    sign_ins: HashMap<SignInId, u64>,
    clients: HashMap<ClientId, (u32, u64)>,
}

impl Revoked {
    /// Forgets what no token can be affected by any more.
    pub fn add(&self, revocations: &[(Revocation, u64)], now_ms: u64) {
        let mut remembered = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (revocation, at_ms) in revocations {
            match revocation {
                Revocation::SignIn(id) => {
                    remembered.sign_ins.insert(*id, *at_ms);
                }
                Revocation::Client { id, generation } => {
                    let newest = remembered.clients.entry(*id).or_default();
                    *newest = (*newest).max((*generation, *at_ms));
                }
            }
        }
        let is_needed = |at_ms: &u64| now_ms < at_ms.saturating_add(REMEMBERED_MS);
        remembered.sign_ins.retain(|_, at_ms| is_needed(at_ms));
        remembered.clients.retain(|_, (_, at_ms)| is_needed(at_ms));
    }

    pub fn has(&self, subject: Subject) -> bool {
        let remembered = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match subject {
            Subject::User { sign_in, .. } => remembered.sign_ins.contains_key(&sign_in),
            Subject::Client { id, generation } => {
                remembered.clients.get(&id).is_some_and(|(newest, _)| generation < *newest)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::user::UserId;

    fn user(sign_in: u128) -> Subject {
        Subject::User { id: UserId(Uuid::nil()), sign_in: SignInId(Uuid::from_u128(sign_in)) }
    }

    fn client(generation: u32) -> Subject {
        Subject::Client { id: ClientId(Uuid::nil()), generation }
    }

    #[test]
    fn only_what_was_revoked_is_refused_and_only_as_long_as_a_token_can_live() {
        let revoked = Revoked::default();
        let sign_in = Revocation::SignIn(SignInId(Uuid::from_u128(1)));
        let secret = |generation| Revocation::Client { id: ClientId(Uuid::nil()), generation };
        revoked.add(&[(sign_in, 1_000), (secret(2), 1_000), (secret(1), 1_000)], 1_000);
        let refused =
            |revoked: &Revoked| [user(1), user(2), client(1), client(2)].map(|subject| revoked.has(subject));
        assert_eq!(refused(&revoked), [true, false, true, false]);
        revoked.add(&[], 1_000 + REMEMBERED_MS - 1);
        assert_eq!(refused(&revoked), [true, false, true, false]);
        revoked.add(&[], 1_000 + REMEMBERED_MS);
        assert_eq!(refused(&revoked), [false; 4]);
    }
}
