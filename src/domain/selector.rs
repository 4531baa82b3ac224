//! Selectors name the one value of a payment that lists and velocities are
//! kept by; fact queries ask about such a value, facts are the answers.

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::payment::PaymentOrder;

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Selector {
    DebtorAccount,
    CreditorAccount,
    DebtorName,
    CreditorName,
    DebtorBank,
    CreditorBank,
    DebtorCountry,
    CreditorCountry,
    Customer,
    Merchant,
    Card,
    Device,
    Ip,
    Metadata(String),
}

impl Selector {
    /// The selectors that are the same for every payment; metadata keys come on top.
    pub const FIXED: [Self; 13] = [
        Self::DebtorAccount,
        Self::CreditorAccount,
        Self::DebtorName,
        Self::CreditorName,
        Self::DebtorBank,
        Self::CreditorBank,
        Self::DebtorCountry,
        Self::CreditorCountry,
        Self::Customer,
        Self::Merchant,
        Self::Card,
        Self::Device,
        Self::Ip,
    ];

    /// As stored and shown; metadata reads `metadata:<key>`.
    pub fn name(&self) -> String {
        let fixed = match self {
            Self::DebtorAccount => "debtor_account",
            Self::CreditorAccount => "creditor_account",
            Self::DebtorName => "debtor_name",
            Self::CreditorName => "creditor_name",
            Self::DebtorBank => "debtor_bank",
            Self::CreditorBank => "creditor_bank",
            Self::DebtorCountry => "debtor_country",
            Self::CreditorCountry => "creditor_country",
            Self::Customer => "customer",
            Self::Merchant => "merchant",
            Self::Card => "card",
            Self::Device => "device",
            Self::Ip => "ip",
            Self::Metadata(key) => return format!("metadata:{key}"),
        };
        fixed.to_owned()
    }

    /// The payment's value, or nothing where it has none.
    pub fn value_of(&self, order: &PaymentOrder) -> Option<String> {
        let (debtor, creditor) = (&order.debtor, &order.creditor);
        match self {
            Self::DebtorAccount => debtor.account.as_ref().map(|account| account.as_str().to_owned()),
            Self::CreditorAccount => creditor.account.as_ref().map(|account| account.as_str().to_owned()),
            Self::DebtorName => Some(debtor.name.clone()),
            Self::CreditorName => Some(creditor.name.clone()),
            Self::DebtorBank => debtor.bank.clone(),
            Self::CreditorBank => creditor.bank.clone(),
            Self::DebtorCountry => debtor.country.as_ref().map(|country| country.as_str().to_owned()),
            Self::CreditorCountry => creditor.country.as_ref().map(|country| country.as_str().to_owned()),
            Self::Customer => order.customer.clone(),
            Self::Merchant => order.merchant.clone(),
            Self::Card => order.card.as_ref().map(|card| card.fingerprint.clone()),
            Self::Device => order.device.clone(),
            Self::Ip => order.ip.map(|ip| ip.to_string()),
            Self::Metadata(key) => {
                order.metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone())
            }
        }
    }

    /// Every selector this payment has a value for, with the value.
    pub fn values(order: &PaymentOrder) -> Vec<(Self, String)> {
        let metadata = order.metadata.iter().map(|(key, _)| Self::Metadata(key.clone()));
        Self::FIXED
            .into_iter()
            .chain(metadata)
            .filter_map(|selector| selector.value_of(order).map(|value| (selector, value)))
            .collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Matching {
    Exact,
    /// A list entry matches every value that begins with it.
    Prefix,
    NormalizedName,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Counting {
    /// Every earlier payment, whatever became of it.
    Submitted,
    /// Earlier payments whose outcome was approve.
    Approved,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FactQuery {
    Listed {
        list: String,
        selector: Selector,
        matching: Matching,
    },
    /// Per value of the selector and the payment's currency.
    Velocity {
        selector: Selector,
        window_ms: u64,
        counting: Counting,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact {
    /// The payment has no value for the selector.
    Absent,
    Listed(bool),
    Velocity {
        count: u64,
        total_minor: i64,
    },
}

/// A name without case, accents, punctuation and repeated spaces.
pub fn normalized_name(name: &str) -> String {
    let plain: String = name
        .nfkd()
        .filter(|c| !is_combining_mark(*c))
        .flat_map(char::to_lowercase)
        .map(|c| if c.is_alphanumeric() { c } else { ' ' })
        .collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_case_accents_punctuation_and_spaces() {
        for (name, expected) in [
            ("José  GARCÍA-López", "jose garcia lopez"),
            ("O'Neill, Ltd.", "o neill ltd"),
            ("  Müller & Söhne ", "muller sohne"),
            ("ＡＣＭＥ", "acme"),
            ("...", ""),
        ] {
            assert_eq!(normalized_name(name), expected, "{name}");
        }
    }
}
