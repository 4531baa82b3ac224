//! Which passwords people may choose. By length and by how guessable they are, never by kinds of
//! characters.

use thiserror::Error;
use unicode_normalization::UnicodeNormalization;
use zxcvbn::{Score, zxcvbn};

use crate::auth::password::SecretText;

/// In characters.
pub const PASSWORD_LENGTH: std::ops::RangeInclusive<usize> = 12..=128;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PasswordError {
    #[error(
        "expected {} to {} characters",
        PASSWORD_LENGTH.start(),
        PASSWORD_LENGTH.end()
    )]
    Length,
    #[error(
        "is easy to guess: expected several unusual words or random characters, without your name or address"
    )]
    Guessable,
}

/// The form in which passwords are hashed: keyboards write the same letter in different ways.
pub fn normalized(password: &str) -> SecretText {
    SecretText::new(password.nfc().collect())
}

/// `known` is what an attacker would try first: the person's name and address.
pub fn check(password: &str, known: &[&str]) -> Result<SecretText, PasswordError> {
    if !PASSWORD_LENGTH.contains(&password.chars().count()) {
        return Err(PasswordError::Length);
    }
    // The first hundred characters decide, so that a long password takes no long time.
    let beginning: String = password.chars().take(100).collect();
    if zxcvbn(&beginning, known).score() < Score::Three {
        return Err(PasswordError::Guessable);
    }
    Ok(normalized(password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_long_and_guessable_passwords_are_refused() {
        let known = ["ann.miller@example.com", "Ann Miller", "acme"];
        for (password, expected) in [
            ("x7#Qm2!pLz9", Err(PasswordError::Length)),
            (&"ä-X9".repeat(33), Err(PasswordError::Length)),
            ("passwordpassword", Err(PasswordError::Guessable)),
            ("aaaaaaaaaaaaaaaa", Err(PasswordError::Guessable)),
            ("annmillerannmiller", Err(PasswordError::Guessable)),
            ("qwertyuiop123456", Err(PasswordError::Guessable)),
            ("correct horse battery staple", Ok(())),
            ("fünf-Ziegen-am-Deich", Ok(())),
        ] {
            assert_eq!(check(password, &known).map(drop), expected, "{password}");
        }
    }

    #[test]
    fn a_password_is_the_same_however_its_letters_are_composed() {
        assert_eq!(normalized("u\u{308}ber").expose(), normalized("\u{fc}ber").expose());
    }
}
