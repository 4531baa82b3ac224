//! The second factor: one-time passwords by time (RFC 6238), as authenticator apps compute them.
//!
//! A code must be accepted once only. That is decided by the user's row, with the step that
//! [`OneTimePasswords::check`] returns.

use std::fmt;

use totp_rs::{Builder, Secret, Totp};
use zeroize::Zeroizing;

use super::AuthError;
use crate::domain::time::Randomness;
use crate::domain::user::EmailAddress;

/// The recommended length (RFC 4226 section 4).
const SECRET_BYTES: usize = 20;

/// The name that authenticator apps show.
const ISSUER: &str = "Tollgate";

/// The secret that the server and the person's app share.
pub struct OneTimePasswords(Totp);

impl fmt::Debug for OneTimePasswords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneTimePasswords(..)")
    }
}

impl OneTimePasswords {
    pub fn generate(email: &EmailAddress, randomness: &dyn Randomness) -> Result<Self, AuthError> {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        randomness.fill(secret.as_mut_slice());
        Self::of(secret.as_slice(), email)
    }

    /// Six digits every thirty seconds by SHA-1, which all apps support. One step before and one
    /// after the present one are accepted.
    pub fn of(secret: &[u8], email: &EmailAddress) -> Result<Self, AuthError> {
        Builder::new()
            .with_secret(Secret::new(secret.into()))
            .with_issuer(Some(ISSUER))
            // A colon would end the issuer in the address.
            .with_account_name(email.as_str().replace(':', ""))
            .build()
            .map(Self)
            .map_err(|_| AuthError::Cryptography("set up one-time passwords"))
    }

    pub fn secret(&self) -> &[u8] {
        self.0.secret().as_bytes()
    }

    /// As a person types it into an app.
    pub fn secret_base32(&self) -> String {
        self.0.secret().to_base32()
    }

    /// As an app reads it from a QR code.
    pub fn address(&self) -> Result<String, AuthError> {
        self.0.to_url().map_err(|_| AuthError::Cryptography("write the address of one-time passwords"))
    }

    /// Returns the time step of a right code. Spaces in the code do not matter.
    pub fn check(&self, code: &str, now_ms: u64) -> Option<u64> {
        let code: String = code.chars().filter(|char| *char != ' ').collect();
        let is_code = code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit());
        is_code.then(|| self.0.check(&code, now_ms / 1_000)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secret of the test vectors of RFC 6238.
    const SECRET: &[u8] = b"12345678901234567890";

    fn passwords() -> OneTimePasswords {
        OneTimePasswords::of(SECRET, &EmailAddress::parse("ann@example.com").expect("parses")).expect("works")
    }

    #[test]
    fn the_codes_are_those_of_the_standard() {
        for (at_s, code) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")] {
            assert_eq!(passwords().check(code, at_s * 1_000), Some(at_s / 30), "{at_s}");
        }
    }

    #[test]
    fn a_code_is_good_one_step_early_and_late_and_no_longer() {
        let at = |at_s: u64| passwords().check("081 804", at_s * 1_000).is_some();
        let step = 1_111_111_109 / 30;
        let good: Vec<u64> = (step - 3..step + 4).filter(|step| at(step * 30)).collect();
        assert_eq!(good, [step - 1, step, step + 1]);
    }

    #[test]
    fn what_is_not_six_digits_is_no_code() {
        for code in ["", "81804", "0081804", "08180a", "０８１８０４", "-81804"] {
            assert_eq!(passwords().check(code, 1_111_111_109_000), None, "{code}");
        }
    }

    #[test]
    fn the_address_has_what_an_app_needs() {
        let address = passwords().address().expect("an address");
        for part in
            ["otpauth://totp/Tollgate:ann%40example.com", "issuer=Tollgate", &passwords().secret_base32()]
        {
            assert!(address.contains(part), "{address} has no {part}");
        }
    }
}
