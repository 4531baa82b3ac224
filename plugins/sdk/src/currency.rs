//! The active currencies of ISO 4217 and their exponents.
//!
//! Codes that no payment can have (funds, metals, testing) are left out. A test of
//! the server compares this table with the server's.

use crate::settings::invalid_setting;
use crate::verdict::Reason;

/// Exponents and their currencies. A space follows each code.
const CURRENCIES: [(u8, &str); 4] = [
    (
        2,
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD \
         CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD \
         GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL \
         MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN \
         PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP \
         SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG ",
    ),
    (0, "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF "),
    (3, "BHD IQD JOD KWD LYD OMR TND "),
    (4, "CLF UYW "),
];

/// The number of decimals of an active currency.
pub fn exponent_of(code: &str) -> Option<u8> {
    let lists = |codes: &str| codes.as_bytes().chunks(4).any(|chunk| &chunk[..3] == code.as_bytes());
    CURRENCIES.iter().find(|(_, codes)| lists(codes)).map(|(exponent, _)| *exponent)
}

/// The reason to refuse the setting at `field` if no payment can have this currency.
pub fn mistake(code: &str, field: impl Into<String>) -> Option<Reason> {
    let message = "The currency must be the code of an active currency of ISO 4217, in capital letters.";
    exponent_of(code).is_none().then(|| invalid_setting(field, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn currencies_have_their_exponents() {
        let known = [("EUR", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4), ("ISK", 0), ("XOF", 0)];
        for (code, exponent) in known {
            assert_eq!(exponent_of(code), Some(exponent), "{code}");
        }
    }

    #[test]
    fn withdrawn_and_unpayable_codes_are_unknown() {
        // Kuna, lev, old leone, Antillean guilder, a funds code, gold, testing, no currency.
        for code in ["HRK", "BGN", "SLL", "ANG", "CHE", "XAU", "XTS", "XXX", "", "EU", "eur", "EUR "] {
            assert_eq!(exponent_of(code), None, "{code}");
        }
    }

    #[test]
    fn the_lists_are_sorted_and_have_no_currency_twice() {
        let mut all = Vec::new();
        for (_, codes) in CURRENCIES {
            let codes: Vec<&str> = codes.split_whitespace().collect();
            assert!(codes.is_sorted(), "{codes:?}");
            assert!(codes.iter().all(|code| code.len() == 3));
            all.extend(codes);
        }
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
