//! Bank accounts of several countries: IBANs with the right length, structure and check digits.
//!
//! Must never return an account that is on the demonstration's lists.

use super::random::Random;

/// Country, the beginning of its account numbers, the number of digits that follow, and the BIC
/// of a bank.
#[derive(Debug, Clone, Copy)]
pub struct BankCountry {
    pub code: &'static str,
    banks: &'static [&'static str],
    digits: usize,
    pub bic: &'static str,
}

pub const COUNTRIES: [BankCountry; 10] = [
    BankCountry { code: "DE", banks: &["37040044", "50010517", "70051003"], digits: 10, bic: "COBADEFF" },
    BankCountry { code: "NL", banks: &["ABNA", "INGB", "RABO"], digits: 10, bic: "INGBNL2A" },
    BankCountry { code: "FR", banks: &["3000600001", "3000400003"], digits: 13, bic: "BNPAFRPP" },
    BankCountry { code: "ES", banks: &["21000418", "00491500"], digits: 12, bic: "CAIXESBB" },
    BankCountry { code: "IT", banks: &["X0542811101", "X0306909606"], digits: 12, bic: "BCITITMM" },
    BankCountry { code: "AT", banks: &["19043", "20111"], digits: 11, bic: "GIBAATWW" },
    BankCountry { code: "BE", banks: &["310", "539"], digits: 9, bic: "BBRUBEBB" },
    BankCountry { code: "PL", banks: &["10901014", "11402004"], digits: 16, bic: "BREXPLPW" },
    BankCountry { code: "GB", banks: &["NWBK601613", "LOYD309634"], digits: 8, bic: "NWBKGB2L" },
    BankCountry { code: "CH", banks: &["00762", "08390"], digits: 12, bic: "UBSWCHZH" },
];

pub fn iban(country: BankCountry, random: &mut Random) -> String {
    let number = format!("{}{}", random.pick(country.banks), random.digits(country.digits));
    format!("{}{:02}{number}", country.code, check_digits(country.code, &number))
}

/// The same account with wrong check digits, as after a typing error.
pub fn mistyped(iban: &str) -> String {
    let (before, last) = iban.split_at(iban.len() - 1);
    let digit = last.parse::<u8>().unwrap_or_default();
    format!("{before}{}", (digit + 1) % 10)
}

/// ISO 13616: 98 minus the number modulo 97, letters as 10 to 35.
fn check_digits(country: &str, number: &str) -> u32 {
    98 - remainder(&format!("{number}{country}00"))
}

fn remainder(text: &str) -> u32 {
    text.chars().filter_map(|c| c.to_digit(36)).fold(0, |rest, value| {
        let shift = if value < 10 { 10 } else { 100 };
        (rest * shift + value) % 97
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_right(iban: &str) -> bool {
        remainder(&format!("{}{}", &iban[4..], &iban[..4])) == 1
    }

    #[test]
    fn check_digits_are_right_and_those_of_a_slip_are_wrong() {
        assert!(is_right("DE89370400440532013000") && is_right("GB33BUKB20201555555555"));
        let mut random = Random::new(1);
        for country in COUNTRIES {
            for _ in 0..200 {
                let iban = iban(country, &mut random);
                assert!(is_right(&iban), "{iban}");
                assert!(!is_right(&mistyped(&iban)), "{iban}");
            }
        }
    }
}
