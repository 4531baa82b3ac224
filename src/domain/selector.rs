//! Selectors, which name a value of a payment; queries of rules about such a value; and facts,
//! which are the answers.

use serde::{Deserialize, Serialize};

use super::aggregate::{AggregateFact, AggregateQuery, Millionths};
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
    /// All selectors except metadata keys.
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

    /// The name as stored and shown. For metadata it is `metadata:<key>`.
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

    /// The form in which payments with this value are counted and found. For names it is the
    /// normalized name, unless that is empty.
    pub fn counted_form(&self, value: &str) -> String {
        let name = if self.kind() == ValueKind::Name { non_empty_name(value) } else { None };
        name.unwrap_or_else(|| self.kind().form_of_value(value))
    }

    /// The normalized name with which a list is searched. `None` if the query does not match by
    /// name or the normalized name is empty; the list is then searched with the value's form.
    pub fn list_search_name(&self, matching: Matching, value: &str) -> Option<String> {
        let by_name = matching == Matching::NormalizedName && matching.suits(self.kind());
        if by_name { non_empty_name(value) } else { None }
    }

    /// The payment's value as it was written. `None` if the payment has no such value.
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

    /// All selectors for which the payment has a value, with the values.
    pub fn values(order: &PaymentOrder) -> Vec<(Self, String)> {
        let metadata = order.metadata.iter().map(|(key, _)| Self::Metadata(key.clone()));
        Self::FIXED
            .into_iter()
            .chain(metadata)
            .filter_map(|selector| selector.value_of(order).map(|value| (selector, value)))
            .collect()
    }
}

/// The normalized name. `None` if it is empty: all names of punctuation only would be equal.
fn non_empty_name(value: &str) -> Option<String> {
    Some(normalized_name(value)).filter(|name| !name.is_empty())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Matching {
    Exact,
    /// A list entry matches all values that begin with it.
    Prefix,
    NormalizedName,
}

impl Matching {
    /// The name in settings, responses and case files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Prefix => "prefix",
            Self::NormalizedName => "normalized_name",
        }
    }

    /// Whether this kind of matching is allowed for values of `kind`. Accounts, banks, countries
    /// and addresses are not names, and a prefix of a country or an address has no meaning. Old
    /// revisions may contain such queries; they are matched exactly.
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
    /// All earlier payments.
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
    /// Count and sum of payments with the same value and currency in the window.
    Velocity {
        selector: Selector,
        window_ms: u64,
        counting: Counting,
    },
    Aggregate(Box<AggregateQuery>),
    /// The row of a table for the value.
    Table {
        table: String,
        selector: Selector,
        lookup: TableLookup,
    },
    /// The entry of a list that is most similar to the name.
    Similar {
        list: String,
        selector: Selector,
        /// 50 to 100.
        score_at_least: u8,
    },
}

impl FactQuery {
    /// The selectors whose values the answer depends on.
    pub fn selectors(&self) -> Vec<&Selector> {
        match self {
            Self::Listed { selector, .. }
            | Self::Velocity { selector, .. }
            | Self::Table { selector, .. }
            | Self::Similar { selector, .. } => vec![selector],
            Self::Aggregate(query) => query.selectors.iter().chain(&query.distinct).collect(),
        }
    }

    /// The list that is asked, with the selector.
    pub fn list(&self) -> Option<(&str, &Selector)> {
        match self {
            Self::Listed { list, selector, .. } | Self::Similar { list, selector, .. } => {
                Some((list, selector))
            }
            Self::Velocity { .. } | Self::Aggregate(_) | Self::Table { .. } => None,
        }
    }
}

/// How a row of a table is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TableLookup {
    Exact,
    LongestPrefix,
    /// By a range of numbers.
    Range,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact {
    /// The payment has no value for the selector.
    Absent,
    Listed(bool),
    Velocity {
        count: u64,
        total_minor: i64,
    },
    Aggregate(Box<AggregateFact>),
    /// The cells of the row by the names of their columns. `None` if the table has no row for the
    /// value.
    Table(Option<Vec<(String, Cell)>>),
    /// `None` if no entry is similar enough.
    Similar(Option<SimilarEntry>),
}

/// A value in a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cell {
    Text(String),
    Integer(i64),
    Number(Millionths),
    Flag(bool),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimilarEntry {
    /// As it was written.
    pub entry: String,
    /// 0 to 100.
    pub score: u8,
}
