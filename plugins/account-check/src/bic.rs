//! The form of a BIC (ISO 9362).

use crate::notation::in_electronic_form;

/// ISO 3166-1 alpha-2, and XK, which SWIFT uses for Kosovo.
const COUNTRIES: &str = "\
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR \
    BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ \
    EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW \
    GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY \
    KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV \
    MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY \
    QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG \
    TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA \
    ZM ZW ";

/// A BIC has four characters for the institution, two for its country, two for
/// its place and optionally three for the branch.
pub(crate) fn is_well_formed(text: &str) -> bool {
    let bic = in_electronic_form(text);
    let bytes = bic.as_bytes();
    let character = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
    matches!(bytes.len(), 8 | 11) && bytes.iter().all(character) && is_country(&bytes[4..6])
}

/// Whether these two capital letters are a country code.
pub(crate) fn is_country(code: &[u8]) -> bool {
    COUNTRIES.as_bytes().chunks(3).any(|country| &country[..2] == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_or_eleven_characters_with_a_country_are_well_formed() {
        for bic in
            ["DEUTDEFF", "deutdeff", "DEUT DE FF", "DEUTDEFF500", "NEDSZAJJXXX", "PCBKXKPR", "ZMBAZWHX"]
        {
            assert!(is_well_formed(bic), "{bic}");
        }
    }

    #[test]
    fn other_lengths_characters_and_countries_are_not_well_formed() {
        for bic in
            ["", "DEUTDEF", "DEUTDEFF5", "DEUTDEFF50", "DEUTXXFF", "DEUTDEFÄ", "DEUT D FF", "DEUT.DEFF"]
        {
            assert!(!is_well_formed(bic), "{bic}");
        }
    }

    #[test]
    fn the_countries_are_complete_and_sorted() {
        let countries: Vec<&str> = COUNTRIES.split_whitespace().collect();
        assert_eq!(countries.len(), 250);
        assert!(countries.is_sorted());
        assert!(COUNTRIES.as_bytes().chunks(3).all(|chunk| chunk[2] == b' '));
    }
}
