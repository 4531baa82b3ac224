//! Selectors, which name a value of a payment; queries of rules about such a value; and facts,
//! which are the answers.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::aggregate::{AggregateFact, AggregateQuery, Conversion, PaymentFilter};
use super::comparison::{ValueKind, normalized_name};
use super::millionths::Millionths;
use super::party::{Account, Country};
use super::payment::PaymentOrder;
use super::signal::Signal;
use super::verdict::Outcome;

/// Stands for an end-to-end id in ISO 20022 if there is none, so it is not a value.
const NOT_PROVIDED: &str = "NOTPROVIDED";

/// New ones must be added at the end: stored queries contain their positions.
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
    UltimateDebtorAccount,
    UltimateCreditorAccount,
    UltimateDebtorName,
    UltimateCreditorName,
    /// The name that the payee's bank suggested.
    SuggestedPayeeName,
    CardBin,
    CardCountry,
    MerchantCategory,
    Reference,
    EndToEndId,
    Uetr,
    Purpose,
    Remittance,
    /// The currency and the minor units, such as `EUR 1234`.
    Amount,
    Currency,
    Method,
    /// The value of a signal: its word, or its number in decimal notation.
    Signal(String),
}

impl Selector {
    /// All selectors except those of metadata and signals, in the order of their contracts.
    pub const FIXED: [Self; 29] = [
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
        Self::UltimateDebtorAccount,
        Self::UltimateCreditorAccount,
        Self::UltimateDebtorName,
        Self::UltimateCreditorName,
        Self::SuggestedPayeeName,
        Self::CardBin,
        Self::CardCountry,
        Self::MerchantCategory,
        Self::Reference,
        Self::EndToEndId,
        Self::Uetr,
        Self::Purpose,
        Self::Remittance,
        Self::Amount,
        Self::Currency,
        Self::Method,
    ];

    /// How many of them are from contract 1.0.0.
    const EARLIEST: usize = 13;

    /// Later selectors by which payments can be found, as by the earliest and metadata. Each costs an
    /// entry of the search index.
    const SEARCHED_LATER: [Self; 3] = [Self::Reference, Self::EndToEndId, Self::Uetr];

    /// Whether it is from contract 1.0.0.
    fn is_earliest(&self) -> bool {
        matches!(self, Self::Metadata(_))
            || Self::FIXED.iter().take(Self::EARLIEST).any(|known| known == self)
    }

    /// The name as stored and shown. For metadata it is `metadata:<key>`, for signals
    /// `signal:<name>`.
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
            Self::UltimateDebtorAccount => "ultimate_debtor_account",
            Self::UltimateCreditorAccount => "ultimate_creditor_account",
            Self::UltimateDebtorName => "ultimate_debtor_name",
            Self::UltimateCreditorName => "ultimate_creditor_name",
            Self::SuggestedPayeeName => "suggested_payee_name",
            Self::CardBin => "card_bin",
            Self::CardCountry => "card_country",
            Self::MerchantCategory => "merchant_category",
            Self::Reference => "reference",
            Self::EndToEndId => "end_to_end_id",
            Self::Uetr => "uetr",
            Self::Purpose => "purpose",
            Self::Remittance => "remittance",
            Self::Amount => "amount",
            Self::Currency => "currency",
            Self::Method => "method",
            Self::Signal(name) => return format!("signal:{name}"),
        };
        fixed.to_owned()
    }

    pub fn kind(&self) -> ValueKind {
        match self {
            Self::DebtorAccount
            | Self::CreditorAccount
            | Self::UltimateDebtorAccount
            | Self::UltimateCreditorAccount => ValueKind::Account,
            Self::DebtorName
            | Self::CreditorName
            | Self::UltimateDebtorName
            | Self::UltimateCreditorName
            | Self::SuggestedPayeeName => ValueKind::Name,
            Self::DebtorBank | Self::CreditorBank => ValueKind::Bank,
            Self::DebtorCountry | Self::CreditorCountry | Self::CardCountry => ValueKind::Country,
            Self::Customer => ValueKind::Customer,
            Self::Merchant => ValueKind::Merchant,
            Self::Card => ValueKind::Card,
            Self::Device => ValueKind::Device,
            Self::Ip => ValueKind::Ip,
            Self::Metadata(_)
            | Self::CardBin
            | Self::MerchantCategory
            | Self::Reference
            | Self::EndToEndId
            | Self::Uetr
            | Self::Purpose
            | Self::Remittance
            | Self::Amount
            | Self::Currency
            | Self::Method
            | Self::Signal(_) => ValueKind::Text,
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
        let account = |account: Option<&Account>| Some(account?.as_str().to_owned());
        let country = |country: Option<&Country>| Some(country?.as_str().to_owned());
        let (ultimate_debtor, ultimate_creditor) =
            (order.ultimate_debtor.as_ref(), order.ultimate_creditor.as_ref());
        match self {
            Self::DebtorAccount => account(debtor.account.as_ref()),
            Self::CreditorAccount => account(creditor.account.as_ref()),
            Self::DebtorName => Some(debtor.name.clone()),
            Self::CreditorName => Some(creditor.name.clone()),
            Self::DebtorBank => debtor.bank.clone(),
            Self::CreditorBank => creditor.bank.clone(),
            Self::DebtorCountry => country(debtor.country.as_ref()),
            Self::CreditorCountry => country(creditor.country.as_ref()),
            Self::Customer => order.customer.clone(),
            Self::Merchant => order.merchant.clone(),
            Self::Card => Some(order.card.as_ref()?.fingerprint.clone()),
            Self::Device => order.device.clone(),
            Self::Ip => order.ip.map(|ip| ip.to_string()),
            Self::Metadata(key) => keyed(&order.metadata, key).cloned(),
            Self::UltimateDebtorAccount => account(ultimate_debtor?.account.as_ref()),
            Self::UltimateCreditorAccount => account(ultimate_creditor?.account.as_ref()),
            Self::UltimateDebtorName => Some(ultimate_debtor?.name.clone()),
            Self::UltimateCreditorName => Some(ultimate_creditor?.name.clone()),
            Self::SuggestedPayeeName => order.payee_verification.as_ref()?.suggested_name.clone(),
            Self::CardBin => order.card.as_ref()?.bin.clone(),
            Self::CardCountry => country(order.card.as_ref()?.country.as_ref()),
            Self::MerchantCategory => order.merchant_category.clone(),
            Self::Reference => Some(order.reference.clone()),
            Self::EndToEndId => order.end_to_end_id.clone().filter(|id| id != NOT_PROVIDED),
            Self::Uetr => order.uetr.map(|uetr| uetr.to_string()),
            Self::Purpose => order.purpose.clone(),
            Self::Remittance => order.remittance.clone(),
            Self::Amount => Some(format!("{} {}", order.amount.currency().code(), order.amount.minor())),
            Self::Currency => Some(order.amount.currency().code().to_owned()),
            Self::Method => Some(order.method.name().to_owned()),
            Self::Signal(name) => keyed(&order.signals, name).map(Signal::to_string),
        }
    }

    /// The selectors by which the payment can be found, with its values.
    pub fn searched_values(order: &PaymentOrder) -> Vec<(Self, String)> {
        let metadata = order.metadata.iter().map(|(key, _)| Self::Metadata(key.clone()));
        let earliest = Self::FIXED.into_iter().take(Self::EARLIEST);
        earliest
            .chain(Self::SEARCHED_LATER)
            .chain(metadata)
            .filter_map(|selector| selector.value_of(order).map(|value| (selector, value)))
            .collect()
    }
}

fn keyed<'v, V>(values: &'v [(String, V)], key: &str) -> Option<&'v V> {
    values.iter().find(|(name, _)| name == key).map(|(_, value)| value)
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

impl Counting {
    /// The name in settings, responses and case files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Approved => "approved",
        }
    }
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
    /// Whether only rules of contract 1.1.0 can ask it.
    pub fn is_new(&self) -> bool {
        match self {
            Self::Velocity { selector, .. } => !selector.is_earliest(),
            Self::Listed { .. } => false,
            Self::Aggregate(_) | Self::Table { .. } | Self::Similar { .. } => true,
        }
    }

    /// What it counts, if it asks about earlier payments. A velocity is an aggregate of a single
    /// selector.
    pub fn counted(&self) -> Option<Cow<'_, AggregateQuery>> {
        match self {
            Self::Velocity { selector, window_ms, counting } => Some(Cow::Owned(AggregateQuery {
                selectors: vec![selector.clone()],
                window_ms: *window_ms,
                filter: PaymentFilter {
                    outcomes: match counting {
                        Counting::Submitted => Vec::new(),
                        Counting::Approved => vec![Outcome::Approve],
                    },
                    ..PaymentFilter::default()
                },
                conversion: None,
                distinct: None,
                first_and_last: false,
            })),
            Self::Aggregate(query) => Some(Cow::Borrowed(query)),
            Self::Listed { .. } | Self::Table { .. } | Self::Similar { .. } => None,
        }
    }

    /// How the amounts of earlier payments are converted.
    pub fn conversion(&self) -> Option<&Conversion> {
        if let Self::Aggregate(query) = self { query.conversion.as_ref() } else { None }
    }

    /// The table that is asked, or by which amounts are converted.
    pub fn table(&self) -> Option<&str> {
        match self {
            Self::Table { table, .. } => Some(table),
            Self::Aggregate(query) => query.conversion.as_ref().map(|conversion| conversion.table.as_str()),
            Self::Listed { .. } | Self::Velocity { .. } | Self::Similar { .. } => None,
        }
    }

    /// How far back it looks at earlier payments, if it does.
    pub fn window_ms(&self) -> Option<u64> {
        match self {
            Self::Velocity { window_ms, .. } => Some(*window_ms),
            Self::Aggregate(query) => Some(query.window_ms),
            Self::Listed { .. } | Self::Table { .. } | Self::Similar { .. } => None,
        }
    }

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

#[cfg(test)]
#[path = "selector_tests.rs"]
mod tests;
