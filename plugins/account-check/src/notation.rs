//! How people write account numbers and BICs: which characters have no meaning.

/// The text in electronic form: capital letters, no spaces, hyphens or invisible characters,
/// and ASCII instead of full-width letters and digits.
pub(crate) fn in_electronic_form(text: &str) -> String {
    text.chars().filter(|c| !is_separator(*c)).map(ascii_capital).collect()
}

/// The letters and digits of a number. No other character distinguishes two accounts.
pub(crate) fn letters_and_digits(number: &str) -> impl Iterator<Item = char> {
    number.chars().filter(|c| c.is_alphanumeric()).map(ascii_capital)
}

fn ascii_capital(c: char) -> char {
    match c {
        // The full-width forms have the order of ASCII.
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c).to_ascii_uppercase(),
        _ => c.to_ascii_uppercase(),
    }
}

/// White space, hyphens and invisible characters of every kind.
fn is_separator(c: char) -> bool {
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
    fn spaces_hyphens_width_and_case_have_no_meaning() {
        let notations = [
            "DEUTDEFF",
            "deutdeff",
            "DEUT DE FF",
            "\tDEUT\u{a0}DE\u{202f}FF\n",
            "deut-de\u{2010}f\u{2013}f",
            "DE\u{ad}UT\u{200b}DE\u{2060}FF\u{feff}",
            "\u{ff24}\u{ff25}\u{ff35}\u{ff34}\u{3000}\u{ff44}\u{ff45}\u{ff46}\u{ff46}",
        ];
        for text in notations {
            assert_eq!(in_electronic_form(text), "DEUTDEFF", "{text:?}");
        }
    }

    #[test]
    fn other_characters_are_kept() {
        for text in ["DEUT.DE", "DEUT/DE", "DEUT_DE", "DÉUT", "D\u{415}UT"] {
            assert_eq!(in_electronic_form(text), text);
        }
    }
}
