//! The parties of a payment, with their accounts and addresses.

use serde::Deserialize;

/// The debtor or the creditor of a payment.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Party {
    /// The name as the client wrote it.
    pub name: String,
    /// The account.
    #[serde(default)]
    pub account: Option<Account>,
    /// The bank's BIC or other identifier, as the client wrote it.
    #[serde(default)]
    pub bank: Option<String>,
    /// The ISO 3166-1 alpha-2 code in capital letters.
    #[serde(default)]
    pub country: Option<String>,
    /// The postal address.
    #[serde(default)]
    pub address: Option<Box<PostalAddress>>,
}

/// Whoever a debtor or a creditor acts for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UltimateParty {
    /// The name as the client wrote it.
    pub name: String,
    /// The account.
    #[serde(default)]
    pub account: Option<Account>,
    /// The ISO 3166-1 alpha-2 code in capital letters.
    #[serde(default)]
    pub country: Option<String>,
    /// The postal address.
    #[serde(default)]
    pub address: Option<Box<PostalAddress>>,
}

/// A postal address of ISO 20022 in structured or hybrid form. The texts are as the client wrote
/// them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostalAddress {
    /// A division of a large organisation.
    #[serde(default)]
    pub department: Option<String>,
    /// A part of the department.
    #[serde(default)]
    pub sub_department: Option<String>,
    /// The street.
    #[serde(default)]
    pub street_name: Option<String>,
    /// The number of the building.
    #[serde(default)]
    pub building_number: Option<String>,
    /// The name of the building.
    #[serde(default)]
    pub building_name: Option<String>,
    /// The floor.
    #[serde(default)]
    pub floor: Option<String>,
    /// The numbered post box.
    #[serde(default)]
    pub post_box: Option<String>,
    /// The room.
    #[serde(default)]
    pub room: Option<String>,
    /// The post code.
    #[serde(default)]
    pub post_code: Option<String>,
    /// The town.
    pub town_name: String,
    /// A place within the town.
    #[serde(default)]
    pub town_location_name: Option<String>,
    /// A district within the country's subdivision.
    #[serde(default)]
    pub district_name: Option<String>,
    /// A subdivision of the country, such as a state.
    #[serde(default)]
    pub country_sub_division: Option<String>,
    /// The ISO 3166-1 alpha-2 code in capital letters.
    pub country: String,
    /// At most two lines for what the other members do not hold.
    #[serde(default)]
    pub address_lines: Vec<String>,
}

/// An account number.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// An IBAN in electronic format. Length and check digits are not verified.
    Iban(String),
    /// Any other account number, as the client wrote it.
    Other(String),
}

impl Account {
    /// The number, of either kind.
    pub fn number(&self) -> &str {
        match self {
            Account::Iban(number) | Account::Other(number) => number,
        }
    }

    /// For messages: the last four characters of a number of at least eight, and
    /// none of a shorter one.
    pub fn masked(&self) -> String {
        let number = self.number();
        let length = number.chars().count();
        if length < 8 {
            return "…".to_owned();
        }
        let end: String = number.chars().skip(length - 4).collect();
        format!("…{end}")
    }

    /// The last part of the JSON pointer to it: `iban` or `other`.
    pub fn kind(&self) -> &'static str {
        match self {
            Account::Iban(_) => "iban",
            Account::Other(_) => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_account_shows_at_most_its_last_four_characters() {
        let iban = Account::Iban("GB29NWBK60161331926819".to_owned());
        assert_eq!(iban.masked(), "…6819");
        assert_eq!(Account::Other("12345".to_owned()).masked(), "…");
    }
}
