//! Recovery codes, with which a person signs in who has lost the second factor. Each works once.
//!
//! A code has 80 random bits, so a plain digest of it may be stored.

use crate::domain::plugin::Digest;
use crate::domain::time::Randomness;

/// How many a person gets.
pub const RECOVERY_CODES: usize = 10;

/// Base 32 without letters and digits that look alike (Crockford).
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const CHARACTERS: usize = 16;

/// Four groups of four characters.
pub fn generate(randomness: &dyn Randomness) -> String {
    let mut bytes = [0; CHARACTERS];
    randomness.fill(&mut bytes);
    let code: Vec<u8> = bytes.iter().map(|byte| ALPHABET[usize::from(byte % 32)]).collect();
    let groups: Vec<String> =
        code.chunks(4).map(|group| String::from_utf8_lossy(group).into_owned()).collect();
    groups.join("-")
}

/// The digest of a code as it was typed: hyphens, spaces and case do not matter, nor does what looks
/// alike. `None` if it cannot be a code.
pub fn digest(typed: &str) -> Option<Digest> {
    let code: Vec<u8> = typed
        .chars()
        .filter(|char| !matches!(char, '-' | ' '))
        .map(|char| match char.to_ascii_lowercase() {
            'o' => Some(b'0'),
            'i' | 'l' => Some(b'1'),
            char => u8::try_from(char).ok().filter(|byte| ALPHABET.contains(byte)),
        })
        .collect::<Option<_>>()?;
    (code.len() == CHARACTERS).then(|| Digest::of(&code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::fixtures::CountingRandomness;

    #[test]
    fn a_code_is_recognised_however_it_is_typed() {
        let code = generate(&CountingRandomness::default());
        assert_eq!(code.len(), 19);
        let known = digest(&code).expect("a code");
        let looks_alike = code.replace('0', "O").replace('1', "l");
        for typed in [code.to_uppercase(), code.replace('-', ""), format!(" {code} "), looks_alike] {
            assert_eq!(digest(&typed), Some(known), "{typed}");
        }
    }

    #[test]
    fn what_cannot_be_a_code_has_no_digest() {
        for typed in
            ["", "123456", "uuuu-uuuu-uuuu-uuuu", "0000-0000-0000-000", "0000-0000-0000-0000-0", "ää"]
        {
            assert_eq!(digest(typed), None, "{typed}");
        }
    }
}
