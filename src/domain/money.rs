//! Money: an integer number of minor units in a currency of ISO 4217.

mod withdrawn;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use withdrawn::{WITHDRAWN, WithdrawnCode};

/// The largest amount, 2^53-1 minor units. JSON numbers are exact up to this value in all
/// languages.
pub const AMOUNT_MINOR_MAX: i64 = (1 << 53) - 1;

/// A currency of ISO 4217, current or withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency {
    code: [u8; 3],
    exponent: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MoneyError {
    #[error("expected an upper-case ISO 4217 currency code, for example EUR")]
    UnknownCurrency,
    #[error(
        "expected a currency that was valid under ISO 4217 at the time of the payment; this one has been \
         withdrawn"
    )]
    WithdrawnCurrency,
    #[error("expected a whole number of minor units from 1 to {AMOUNT_MINOR_MAX}")]
    AmountOutOfRange,
}

impl Currency {
    /// Also accepts withdrawn currencies, since stored payments may have them.
    pub fn parse(code: &str) -> Result<Self, MoneyError> {
        Self::parse_at(code, 0)
    }

    /// Accepts only currencies that were valid at this time.
    pub fn parse_at(code: &str, at_ms: u64) -> Result<Self, MoneyError> {
        let code: [u8; 3] = code.as_bytes().try_into().map_err(|_| MoneyError::UnknownCurrency)?;
        let listed = EXPONENTS
            .iter()
            .find(|(_, codes)| codes.as_bytes().chunks(4).any(|listed| listed[..3] == code))
            .map(|(exponent, _)| *exponent);
        if let Some(exponent) = listed {
            return Ok(Self { code, exponent });
        }
        let withdrawn = WITHDRAWN.iter().find(|withdrawn| withdrawn.code.as_bytes() == code);
        let WithdrawnCode { exponent, end_ms, .. } = withdrawn.ok_or(MoneyError::UnknownCurrency)?;
        if at_ms < *end_ms {
            Ok(Self { code, exponent: *exponent })
        } else {
            Err(MoneyError::WithdrawnCurrency)
        }
    }

    pub fn code(&self) -> &str {
        // All codes come from the tables and are ASCII.
        std::str::from_utf8(&self.code).unwrap_or_default()
    }

    /// Digits after the decimal point.
    pub fn exponent(&self) -> u8 {
        self.exponent
    }
}

impl TryFrom<String> for Currency {
    type Error = MoneyError;
    fn try_from(code: String) -> Result<Self, MoneyError> {
        Self::parse(&code)
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.code().to_owned()
    }
}

/// A positive amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    minor: i64,
    currency: Currency,
}

impl Money {
    pub fn new(minor: i64, currency: Currency) -> Result<Self, MoneyError> {
        if (1..=AMOUNT_MINOR_MAX).contains(&minor) {
            Ok(Self { minor, currency })
        } else {
            Err(MoneyError::AmountOutOfRange)
        }
    }

    pub fn minor(&self) -> i64 {
        self.minor
    }

    pub fn currency(&self) -> Currency {
        self.currency
    }
}

/// List one of ISO 4217 by exponent, without funds codes, metals and test codes. An exponent must
/// never change, and a withdrawn code moves to the table of withdrawn codes: stored payments are
/// read with both tables, and a replay gives rules the exponents again.
const EXPONENTS: [(u8, &str); 4] = [
    (0, "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"),
    (
        2,
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD \
         CAD CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS \
         GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP \
         LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK \
         NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS \
         SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST \
         XCD XCG YER ZAR ZMW ZWG",
    ),
    (3, "BHD IQD JOD KWD LYD OMR TND"),
    (4, "UYW CLF"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_listed_code_parses_with_its_exponent() {
        for (exponent, codes) in EXPONENTS {
            for code in codes.split(' ') {
                let currency = Currency::parse(code).expect(code);
                assert_eq!((currency.code(), currency.exponent()), (code, exponent));
            }
        }
    }

    /// The page shows and reads amounts in major units. Browsers' own tables differ from ISO 4217.
    #[test]
    fn the_page_knows_every_exponent_that_is_not_two() {
        let source = include_str!("../../static/rules/amounts.js");
        let (_, table) = source.split_once("const EXPONENTS = {\n").expect("the table");
        let (table, _) = table.split_once("};").expect("its end");
        let of_page: Vec<(u8, &str)> = table
            .lines()
            .filter_map(|line| line.trim().split_once(": "))
            .map(|(exponent, codes)| (exponent.parse().expect("a number"), codes.trim_matches(['"', ','])))
            .collect();
        assert_eq!(of_page, EXPONENTS.into_iter().filter(|(exponent, _)| *exponent != 2).collect::<Vec<_>>());
    }

    /// Rules check the currencies in their settings against a table of their own.
    #[test]
    fn rules_know_the_currencies_that_payments_are_made_in_and_no_others() {
        let source = include_str!("../../plugins/sdk/src/currency.rs");
        let (_, table) = source.split_once("CURRENCIES: [(u8, &str); 4] = [").expect("the table");
        let (table, _) = table.split_once("];").expect("its end");
        let (mut of_rules, mut exponent) = (BTreeMap::new(), None);
        for word in table.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
            match word.parse::<u8>() {
                Ok(number) => exponent = Some(number),
                Err(_) => assert_eq!(of_rules.insert(word, exponent.expect("its exponent")), None, "{word}"),
            }
        }
        let listed =
            |(exponent, codes): (u8, &'static str)| codes.split(' ').map(move |code| (code, exponent));
        let of_payments: BTreeMap<&str, u8> = EXPONENTS.into_iter().flat_map(listed).collect();
        assert_eq!(of_rules, of_payments);
    }

    #[test]
    fn a_withdrawn_code_is_a_currency_until_its_day_and_is_read_back_for_ever() {
        assert!(WITHDRAWN.is_sorted_by_key(|withdrawn| withdrawn.code));
        for WithdrawnCode { code, exponent, end_ms } in WITHDRAWN {
            let currency = Currency::parse_at(code, end_ms - 1).expect(code);
            assert_eq!((currency.code(), currency.exponent()), (code, exponent));
            assert_eq!(Currency::parse_at(code, end_ms), Err(MoneyError::WithdrawnCurrency), "{code}");
            assert_eq!(Currency::parse(code), Ok(currency), "{code}");
            assert!(EXPONENTS.iter().all(|(_, codes)| !codes.contains(code)), "{code} is listed");
        }
        for (code, last_ms) in [
            ("BGN", 1_767_225_599_999),
            ("HRK", 1_672_531_199_999),
            ("ANG", 1_743_465_599_999),
            ("SLL", 1_704_067_199_999),
            ("ZWL", 1_725_148_799_999),
        ] {
            assert!(Currency::parse_at(code, last_ms).is_ok(), "{code}");
            assert!(Currency::parse_at(code, last_ms + 1).is_err(), "{code}");
        }
        for code in ["SLE", "VED", "XCG", "ZWG", "EUR"] {
            assert!(Currency::parse_at(code, u64::MAX).is_ok(), "{code}");
        }
    }

    #[test]
    fn what_is_no_currency_is_refused() {
        for code in ["", "eur", "EU", "EURO", "XXX", "XTS", "UR ", "R U", "ÄÖ"] {
            assert_eq!(Currency::parse(code), Err(MoneyError::UnknownCurrency), "{code}");
        }
    }

    #[test]
    fn amounts_are_from_one_to_the_largest_exact_integer() {
        let euro = Currency::parse("EUR").expect("EUR");
        for minor in [1, AMOUNT_MINOR_MAX] {
            assert!(Money::new(minor, euro).is_ok(), "{minor}");
        }
        for minor in [i64::MIN, -1, 0, AMOUNT_MINOR_MAX + 1] {
            assert_eq!(Money::new(minor, euro), Err(MoneyError::AmountOutOfRange), "{minor}");
        }
    }
}
