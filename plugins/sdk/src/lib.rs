//! Write Tollgate rules in Rust.
//!
//! A rule is a type that implements [`Rule`]. `prepare` checks the settings,
//! converts them to a state and asks for facts. `evaluate` judges one payment.
//! [`export_rule!`] exports the rule from its component. [`cases!`] runs its
//! case files as native tests.
//!
//! The README of the workspace has a complete rule and the format of case files.
//!
//! This crate must not give rules a clock, randomness, files or a network: the
//! host refuses a plugin that imports anything.

pub mod aggregate;
#[cfg(target_arch = "wasm32")]
mod allocator;
#[doc(hidden)]
pub mod bindings;
#[cfg(not(target_arch = "wasm32"))]
pub mod cases;
mod convert;
pub mod currency;
pub mod decimal;
pub mod fact;
mod guest;
#[cfg(target_arch = "wasm32")]
mod panic_message;
pub mod party;
pub mod payment;
pub mod selector;
pub mod settings;
pub mod table;
pub mod verdict;
pub mod window;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use crate::aggregate::{
    Aggregate, AggregateQuery, Conversion, DistinctCount, Outcome, PaymentEvent, PaymentFilter, SeenPayment,
};
pub use crate::decimal::{Millionths, Signal};
pub use crate::fact::{Counting, Fact, FactQuery, Matching, SimilarEntry, Velocity, ask, too_many_facts};
#[doc(hidden)]
pub use crate::guest::{Guest, describe, evaluate, prepare};
pub use crate::party::{Account, Party, PostalAddress, UltimateParty};
pub use crate::payment::{Card, ChargeBearer, Method, Money, PayeeMatch, PayeeVerification, Payment};
pub use crate::selector::Selector;
pub use crate::settings::invalid_setting;
pub use crate::table::{Cell, TableLookup, TableRow};
pub use crate::verdict::{
    Consequence, Evaluation, Findings, Objection, Reason, Verdict, allow, pass, reject, review,
};

/// A rule: a pure function of a payment, facts and settings.
pub trait Rule {
    /// The settings, which people write as JSON. Use `deny_unknown_fields`.
    type Settings: DeserializeOwned + JsonSchema;

    /// The settings in the form in which `evaluate` reads them.
    type State: Serialize + DeserializeOwned;

    /// Called once, when a revision is made. Checks the settings. The reasons
    /// of an error point into the settings ([`invalid_setting`]).
    fn prepare(settings: Self::Settings) -> Result<Prepared<Self::State>, Vec<Reason>>;

    /// Judges one payment. `facts` has one answer for each query of `prepare`,
    /// in the same order. An error means that the rule itself failed.
    fn evaluate(payment: &Payment, facts: &[Fact], state: &Self::State) -> Result<Evaluation, String>;
}

/// The result of `prepare`: a state, and the facts that it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared<State> {
    /// The facts that every evaluation gets, in this order.
    pub queries: Vec<FactQuery>,
    /// The state that every evaluation gets.
    pub state: State,
}

impl<State> Prepared<State> {
    /// For a rule that needs no facts.
    pub fn without_facts(state: State) -> Self {
        Prepared { queries: Vec::new(), state }
    }
}

/// A part of the settings with the index of its fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asking<Part> {
    /// The part of the settings.
    pub part: Part,
    /// The index of its fact in the facts of an evaluation.
    pub fact_index: usize,
}

impl<Part> Asking<Part> {
    /// The fact for this part.
    pub fn fact<'f>(&self, facts: &'f [Fact]) -> Result<&'f Fact, String> {
        facts.get(self.fact_index).ok_or_else(|| "a fact is missing".to_owned())
    }
}

impl<Part> Prepared<Vec<Asking<Part>>> {
    /// Asks one query for each part of the settings. Parts with the same query share a fact. `field`
    /// is the setting that is refused if there are too many.
    pub fn asking(
        parts: Vec<Part>,
        query: impl Fn(&Part) -> FactQuery,
        field: &str,
    ) -> Result<Self, Vec<Reason>> {
        let mut queries = Vec::new();
        let asked = parts.into_iter().map(|part| {
            let fact_index = ask(&mut queries, query(&part));
            Asking { part, fact_index }
        });
        let state = asked.collect();
        match too_many_facts(&queries, field) {
            Some(reason) => Err(vec![reason]),
            None => Ok(Prepared { queries, state }),
        }
    }
}

/// A rule's description of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The name of its crate.
    pub name: &'static str,
    /// The version of its crate.
    pub version: &'static str,
    /// The description of its crate.
    pub summary: &'static str,
    /// The JSON Schema (draft 2020-12) of its settings.
    pub settings_schema: &'static str,
}

/// A rule with a description. [`export_rule!`] implements it.
pub trait Describe: Rule {
    /// The description.
    const DESCRIPTION: Description;
}

/// Exports a rule from its crate. Name, version and summary come from
/// `Cargo.toml`, the schema of the settings from `settings.schema.json`.
#[macro_export]
macro_rules! export_rule {
    ($rule:ident) => {
        impl $crate::Describe for $rule {
            const DESCRIPTION: $crate::Description = $crate::Description {
                name: env!("CARGO_PKG_NAME"),
                version: env!("CARGO_PKG_VERSION"),
                summary: env!("CARGO_PKG_DESCRIPTION"),
                settings_schema: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/settings.schema.json")),
            };
        }

        // A native build exports nothing, so the compiler would report dead code.
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            let _ = $crate::prepare::<$rule>;
            let _ = $crate::evaluate::<$rule>;
        };

        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code)]
        const _: () = {
            type Exported = $crate::Guest<$rule>;
    $crate::bindings::export_bindings!(Exported with_types_in $crate::bindings);
        };
    };
}

/// Defines two tests: all cases in the folder's files succeed, and
/// `settings.schema.json` is up to date (`UPDATE=1` rewrites it).
#[macro_export]
macro_rules! cases {
    ($rule:ident, $folder:literal) => {
        #[cfg(test)]
        mod rule_cases {
            #[test]
            fn every_case_succeeds() {
                let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/", $folder);
                $crate::cases::assert_folder_holds::<super::$rule>(folder.as_ref());
            }

            #[test]
            fn the_settings_schema_is_current() {
                let file = concat!(env!("CARGO_MANIFEST_DIR"), "/settings.schema.json");
                $crate::cases::assert_schema_is_current::<super::$rule>(file.as_ref());
            }
        }
    };
}

/// Compiles the example in the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
