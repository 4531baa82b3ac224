//! Selectors name the one value of a payment that lists and velocities are
//! kept by; fact queries ask about such a value, facts are the answers.

use serde::{Deserialize, Serialize};

use super::comparison::{ValueKind, normalized_name};
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

    pub fn kind(&self) -> ValueKind {
        match self {
            Self::DebtorAccount | Self::CreditorAccount => ValueKind::Account,
            Self::DebtorName | Self::CreditorName => ValueKind::Name,
            Self::DebtorBank | Self::CreditorBank => ValueKind::Bank,
            Self::DebtorCountry | Self::CreditorCountry => ValueKind::Country,
            Self::Customer => ValueKind::Customer,
            Self::Merchant => ValueKind::Merchant,
            Self::Card => ValueKind::Card,
            Self::Device => ValueKind::Device,
            Self::Ip => ValueKind::Ip,
            Self::Metadata(_) => ValueKind::Text,
        }
    }

    /// The form under which payments with this value are counted and found: of names
    /// the normalized one, unless nothing is left of it.
    pub fn counted_form(&self, value: &str) -> String {
        let name = if self.kind() == ValueKind::Name { name_left_of(value) } else { None };
        name.unwrap_or_else(|| self.kind().form_of_value(value))
    }

    /// The normalized name by which a list is asked for this value. Without one it is asked
    /// for the value's form: where the rule says so, and where nothing is left of the name.
    pub fn asked_by_name(&self, matching: Matching, value: &str) -> Option<String> {
        let by_name = matching == Matching::NormalizedName && matching.suits(self.kind());
        if by_name { name_left_of(value) } else { None }
    }

    /// The payment's value, as it was written, or nothing where it has none.
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

/// The normalized name, unless nothing is left of it: names of punctuation alone are not one name.
fn name_left_of(value: &str) -> Option<String> {
    Some(normalized_name(value)).filter(|name| !name.is_empty())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Matching {
    Exact,
    /// A list entry matches every value that begins with it.
    Prefix,
    NormalizedName,
}

impl Matching {
    /// As settings, answers and cases write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Prefix => "prefix",
            Self::NormalizedName => "normalized_name",
        }
    }

    /// Whether it means anything for values of this kind. Accounts, banks, countries and
    /// addresses are no names, and a country or an address is whole or it is another one.
    /// Revisions from before this was checked ask all the same, and are answered exactly.
    pub fn suits(self, kind: ValueKind) -> bool {
        use ValueKind::{Account, Bank, Country, Ip};
        match self {
            Self::Exact => true,
            Self::Prefix => !matches!(kind, Country | Ip),
            Self::NormalizedName => !matches!(kind, Account | Bank | Country | Ip),
        }
    }
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
