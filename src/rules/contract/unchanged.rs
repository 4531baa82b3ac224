//! Conversions of the types that are the same in all versions of the contract.
//!
//! A macro, since each version has Rust types of its own. A type that a later version changes must
//! move from here into the modules of the versions, as it is.

/// Defines the conversions in the module of a version, where `types` are its types.
macro_rules! unchanged_conversions {
    () => {
        fn money_of(money: crate::domain::money::Money) -> types::Money {
            types::Money {
                minor: money.minor(),
                currency: money.currency().code().to_owned(),
                exponent: money.currency().exponent(),
            }
        }

        fn account_of(account: &crate::domain::party::Account) -> types::Account {
            use crate::domain::party::Account;
            match account {
                Account::Iban(iban) => types::Account::Iban(iban.as_str().to_owned()),
                Account::Other(number) => types::Account::Other(number.clone()),
            }
        }

        fn card_of(card: &crate::domain::payment::Card) -> types::Card {
            types::Card {
                fingerprint: card.fingerprint.clone(),
                bin: card.bin.clone(),
                country: card.country.as_ref().map(|country| country.as_str().to_owned()),
            }
        }

        fn method_of(method: crate::domain::payment::Method) -> types::Method {
            use crate::domain::payment::Method;
            match method {
                Method::Card => types::Method::Card,
                Method::CreditTransfer => types::Method::CreditTransfer,
                Method::Instant => types::Method::Instant,
                Method::DirectDebit => types::Method::DirectDebit,
                Method::Wallet => types::Method::Wallet,
                Method::Other => types::Method::Other,
            }
        }

        fn matching_from(matching: types::Matching) -> crate::domain::selector::Matching {
            use crate::domain::selector::Matching;
            match matching {
                types::Matching::Exact => Matching::Exact,
                types::Matching::Prefix => Matching::Prefix,
                types::Matching::NormalizedName => Matching::NormalizedName,
            }
        }

        fn counting_from(counting: types::Counting) -> crate::domain::selector::Counting {
            use crate::domain::selector::Counting;
            match counting {
                types::Counting::Submitted => Counting::Submitted,
                types::Counting::Approved => Counting::Approved,
            }
        }

        fn reason_from(reason: types::Reason) -> crate::domain::verdict::Reason {
            crate::domain::verdict::Reason { code: reason.code, message: reason.message, field: reason.field }
        }

        fn evaluation_from(evaluation: types::Evaluation) -> crate::domain::verdict::Evaluation {
            use crate::domain::verdict::{Evaluation, Verdict};
            let reasons = |list: Vec<types::Reason>| list.into_iter().map(reason_from).collect();
            let verdict = match evaluation.verdict {
                types::Verdict::Pass => Verdict::Pass,
                types::Verdict::Allow(list) => Verdict::Allow(reasons(list)),
                types::Verdict::Review(list) => Verdict::Review(reasons(list)),
                types::Verdict::Reject(list) => Verdict::Reject(reasons(list)),
            };
            Evaluation { verdict, notes: evaluation.notes }
        }

        fn description_from(description: types::Description) -> crate::domain::plugin::Description {
            let types::Description { name, version, summary, settings_schema } = description;
            crate::domain::plugin::Description { name, version, summary, settings_schema }
        }
    };
}

pub(super) use unchanged_conversions;
