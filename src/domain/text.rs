//! Unicode: invisible characters, digits of all scripts, the electronic form of numbers, and the
//! tidy form of free text. Names are normalized in `comparison::names`.

use icu_properties::CodePointSetData;
use icu_properties::props::{Dash, DefaultIgnorableCodePoint};
use unicode_normalization::UnicodeNormalization;

/// Characters that are not displayed: zero-width characters, soft hyphens, direction marks,
/// variation selectors, fillers, tags, and control characters other than white space.
pub fn is_invisible(c: char) -> bool {
    // A short cut for ASCII, which most text is.
    if c.is_ascii() {
        return c.is_control() && !c.is_whitespace();
    }
    let annotation = matches!(c, '\u{fff9}'..='\u{fffb}');
    let control = c.is_control() && !c.is_whitespace();
    annotation || control || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
}

/// The value of a decimal digit of any script. Full-width, raised and circled digits are not
/// included: their compatibility form is an ASCII digit.
pub fn digit_value(c: char) -> Option<u32> {
    let zero = ZEROS.iter().rev().find(|zero| **zero <= c)?;
    Some(u32::from(c) - u32::from(*zero)).filter(|value| *value < 10)
}

/// The zeros of the decimal digits of all scripts (Unicode 16, category Nd), except those with a
/// compatibility form.
const ZEROS: [char; 69] = [
    '0',
    '\u{660}',
    '\u{6f0}',
    '\u{7c0}',
    '\u{966}',
    '\u{9e6}',
    '\u{a66}',
    '\u{ae6}',
    '\u{b66}',
    '\u{be6}',
    '\u{c66}',
    '\u{ce6}',
    '\u{d66}',
    '\u{de6}',
    '\u{e50}',
    '\u{ed0}',
    '\u{f20}',
    '\u{1040}',
    '\u{1090}',
    '\u{17e0}',
    '\u{1810}',
    '\u{1946}',
    '\u{19d0}',
    '\u{1a80}',
    '\u{1a90}',
    '\u{1b50}',
    '\u{1bb0}',
    '\u{1c40}',
    '\u{1c50}',
    '\u{a620}',
    '\u{a8d0}',
    '\u{a900}',
    '\u{a9d0}',
    '\u{a9f0}',
    '\u{aa50}',
    '\u{abf0}',
    '\u{104a0}',
    '\u{10d30}',
    '\u{10d40}',
    '\u{11066}',
    '\u{110f0}',
    '\u{11136}',
    '\u{111d0}',
    '\u{112f0}',
    '\u{11450}',
    '\u{114d0}',
    '\u{11650}',
    '\u{116c0}',
    '\u{116d0}',
    '\u{116da}',
    '\u{11730}',
    '\u{118e0}',
    '\u{11950}',
    '\u{11bf0}',
    '\u{11c50}',
    '\u{11d50}',
    '\u{11da0}',
    '\u{11de0}',
    '\u{11f50}',
    '\u{16130}',
    '\u{16a60}',
    '\u{16ac0}',
    '\u{16b50}',
    '\u{16d70}',
    '\u{1e140}',
    '\u{1e2f0}',
    '\u{1e4f0}',
    '\u{1e5f1}',
    '\u{1e950}',
];

/// The electronic form of a number that is printed in groups, such as an IBAN or a BIC: in
/// compatibility form and upper case, without invisible characters, white space and dashes.
pub fn electronic(text: &str) -> String {
    if text.is_ascii() {
        let kept = text.chars().filter(|c| c.is_ascii_graphic() && *c != '-');
        return kept.map(|c| c.to_ascii_uppercase()).collect();
    }
    let dashes = CodePointSetData::new::<Dash>();
    let kept: String =
        text.nfkd().filter(|c| !is_invisible(*c) && !c.is_whitespace() && !dashes.contains(*c)).collect();
    kept.to_uppercase().nfkc().collect()
}

/// Free text as it looks: composed and trimmed, without invisible characters, and with single
/// spaces. Case is kept.
pub fn tidy(text: &str) -> String {
    let visible: String = text.chars().filter(|c| !is_invisible(*c)).nfc().collect();
    visible.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_all_scripts_have_their_value() {
        assert!(ZEROS.is_sorted());
        for (c, value) in [('0', 0), ('9', 9), ('٤', 4), ('५', 5), ('႐', 0), ('᭙', 9), ('\u{1e959}', 9)]
        {
            assert_eq!(digit_value(c), Some(value), "{c}");
        }
        for c in ['/', ':', 'a', '四', 'Ⅳ', '\u{10ffff}'] {
            assert_eq!(digit_value(c), None, "{c}");
        }
    }

    #[test]
    fn invisible_characters_are_not_spaces() {
        for c in [
            '\0',
            '\u{7f}',
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{180e}',
            '\u{200b}',
            '\u{200d}',
            '\u{200e}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{fffa}',
            '\u{e0041}',
            '\u{e0101}',
        ] {
            assert!(is_invisible(c), "{c:?}");
            assert_eq!(tidy(&format!("a{c}b")), "ab", "{c:?}");
            assert_eq!(electronic(&format!("a{c}b")), "AB", "{c:?}");
        }
        for c in ['\t', '\n', ' ', '\u{85}', '\u{a0}', '\u{2007}', '\u{2009}', '\u{202f}', '\u{3000}'] {
            assert!(!is_invisible(c), "{c:?}");
            assert_eq!(tidy(&format!("{c}a{c} b{c}")), "a b", "{c:?}");
            assert_eq!(electronic(&format!("{c}a{c} b{c}")), "AB", "{c:?}");
        }
    }

    #[test]
    fn an_electronic_form_has_no_dashes_of_any_kind() {
        for dash in [
            '-', '\u{2010}', '\u{2011}', '\u{2012}', '\u{2013}', '\u{2014}', '\u{2015}', '\u{2212}',
            '\u{fe58}', '\u{fe63}', '\u{ff0d}', '\u{301c}', '\u{2e3a}',
        ] {
            assert_eq!(electronic(&format!("de{dash}89")), "DE89", "{dash:?}");
        }
        assert_eq!(electronic("a/b.c_d+e"), "A/B.C_D+E", "other punctuation stays");
        assert_eq!(electronic("ｄｅ８９ ①"), "DE891");
    }

    /// Otherwise a form that is normalized again would not be equal to itself.
    #[test]
    fn a_form_of_a_form_is_the_form_for_every_character() {
        for c in ('\0'..=char::MAX).map(|c| format!("a{c}\u{301}z")) {
            assert_eq!(tidy(&tidy(&c)), tidy(&c), "{c:?}");
            assert_eq!(electronic(&electronic(&c)), electronic(&c), "{c:?}");
        }
    }
}
