//! Country codes (ISO 3166-1 alpha-2): those that are assigned, and those withdrawn in this century
//! with the end of their validity.

use super::time::day_start_ms;

/// The 249 assigned codes and XK for Kosovo. XK is user-assigned in the standard, but used in IBANs
/// and BICs. `UK` and `EU` are reserved and not countries.
const ASSIGNED: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM \
    BN BO BQ BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO \
    DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK \
    HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI \
    LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF \
    NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE \
    SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG \
    UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW";

/// From ISO 3166-3, with the first moment at which the code was no longer assigned.
const WITHDRAWN: [(&str, u64); 4] = [
    ("AN", day_start_ms(2010, 12, 15)),
    ("CS", day_start_ms(2006, 9, 26)),
    ("TP", day_start_ms(2002, 5, 20)),
    ("YU", day_start_ms(2003, 7, 23)),
];

pub fn is_assigned(code: &str) -> bool {
    code.len() == 2 && ASSIGNED.split_ascii_whitespace().any(|assigned| assigned == code)
}

pub fn was_assigned_at(code: &str, at_ms: u64) -> bool {
    is_assigned(code) || WITHDRAWN.iter().any(|(withdrawn, end_ms)| *withdrawn == code && at_ms < *end_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_assigned_codes_are_those_of_the_standard_and_kosovo() {
        let codes: Vec<&str> = ASSIGNED.split_ascii_whitespace().collect();
        assert_eq!(codes.len(), 249 + 1);
        assert!(codes.is_sorted() && codes.iter().all(|code| is_assigned(code)));
        for code in [
            "UK", "ZZ", "AN", "EU", "SU", "DD", "XX", "QQ", "AA", "AC", "TA", "XI", "de", "D", "DEU", "",
            "E A",
        ] {
            assert!(!is_assigned(code), "{code}");
        }
    }

    #[test]
    fn a_withdrawn_code_was_assigned_until_its_day() {
        for (code, end_ms) in WITHDRAWN {
            assert!(was_assigned_at(code, end_ms - 1), "{code}");
            assert!(!was_assigned_at(code, end_ms), "{code}");
        }
        assert!(was_assigned_at("DE", 0) && !was_assigned_at("UK", 0));
    }
}
