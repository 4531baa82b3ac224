//! How people write account numbers and BICs, and which of those signs have no meaning.
//!
//! Must never judge whether the rest is a valid number.

/// A text in its electronic form: capital letters, no spaces, hyphens or invisible signs,
/// and plain letters and digits instead of full-width ones.
pub(crate) fn in_electronic_form(text: &str) -> String {
    text.chars().filter(|c| !is_decoration(*c)).map(plain).collect()
}

/// Only the letters and digits of a number, since no other sign tells two accounts apart.
pub(crate) fn significant(number: &str) -> impl Iterator<Item = char> {
    number.chars().filter(|c| c.is_alphanumeric()).map(plain)
}

fn plain(c: char) -> char {
    match c {
        // The full-width forms repeat ASCII, in its order.
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c).to_ascii_uppercase(),
        _ => c.to_ascii_uppercase(),
    }
}

/// White space and hyphens of every kind, and what has no width.
fn is_decoration(c: char) -> bool {
    c.is_whitespace()
        || matches!(c,
            '-' | '\u{ad}' | '\u{58a}' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}'
            | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_hyphens_width_and_case_carry_no_meaning() {
        let written = [
            "DEUTDEFF",
            "deutdeff",
            "DEUT DE FF",
            "\tDEUT\u{a0}DE\u{202f}FF\n",
            "deut-de\u{2010}f\u{2013}f",
            "DE\u{ad}UT\u{200b}DE\u{2060}FF\u{feff}",
            "\u{ff24}\u{ff25}\u{ff35}\u{ff34}\u{3000}\u{ff44}\u{ff45}\u{ff46}\u{ff46}",
        ];
        for text in written {
            assert_eq!(in_electronic_form(text), "DEUTDEFF", "{text:?}");
        }
    }

    #[test]
    fn every_other_sign_stays() {
        for text in ["DEUT.DE", "DEUT/DE", "DEUT_DE", "DÉUT", "D\u{415}UT"] {
            assert_eq!(in_electronic_form(text), text);
        }
    }
}
