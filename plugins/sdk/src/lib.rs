//! Write a Tollgate rule without seeing the component model.
//!
//! A rule is a type that implements [`Rule`]: `prepare` turns its settings
//! into what it reads fastest and says which facts it wants, `evaluate` judges
//! one payment. [`export_rule!`] makes it a component, [`cases!`] runs its case
//! files as native tests.
//!
//! The README of the workspace holds a whole rule, and the form of the case files.
//!
//! This crate must never offer a rule a clock, randomness, files or a network:
//! a rule that imports anything is refused by the host.

#[cfg(target_arch = "wasm32")]
mod allocator;
#[doc(hidden)]
pub mod bindings;
#[cfg(not(target_arch = "wasm32"))]
pub mod cases;
mod convert;
pub mod currency;
pub mod fact;
mod guest;
#[cfg(target_arch = "wasm32")]
mod last_words;
pub mod payment;
pub mod selector;
pub mod settings;
pub mod verdict;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use crate::fact::{Counting, Fact, FactQuery, Matching, Velocity, ask, too_many_facts};
#[doc(hidden)]
pub use crate::guest::{Guest, describe, evaluate, prepare};
pub use crate::payment::{Account, Card, Method, Money, Party, Payment};
pub use crate::selector::Selector;
pub use crate::settings::invalid_setting;
pub use crate::verdict::{Consequence, Evaluation, Findings, Reason, Verdict, allow, pass, reject, review};

/// A rule: a pure function of a payment, some facts and its settings.
pub trait Rule {
    /// What a person writes, as JSON. Let it `deny_unknown_fields`.
    type Settings: DeserializeOwned + JsonSchema;

    /// What `evaluate` reads: the settings, in the form that is fastest for it.
    type State: Serialize + DeserializeOwned;

    /// Checks the settings, once, when a revision is made. The reasons of an
    /// error point into the settings ([`invalid_setting`]).
    fn prepare(settings: Self::Settings) -> Result<Prepared<Self::State>, Vec<Reason>>;

    /// Judges one payment. `facts` answer the queries of `prepare`, one for
    /// one. An error means that the rule itself failed.
    fn evaluate(payment: &Payment, facts: &[Fact], state: &Self::State) -> Result<Evaluation, String>;
}

/// Checked settings and the facts they need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared<State> {
    /// The facts that every evaluation is given, in this order.
    pub queries: Vec<FactQuery>,
    /// What every evaluation is given.
    pub state: State,
}

impl<State> Prepared<State> {
    /// For a rule that looks at nothing but the payment.
    pub fn without_facts(state: State) -> Self {
        Prepared { queries: Vec::new(), state }
    }
}

/// How a rule introduces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The name of its crate.
    pub name: &'static str,
    /// The version of its crate.
    pub version: &'static str,
    /// The description of its crate.
    pub summary: &'static str,
    /// JSON Schema (draft 2020-12) of its settings.
    pub settings_schema: &'static str,
}

/// A rule with its description; [`export_rule!`] implements it.
pub trait Described: Rule {
    /// How the rule introduces itself.
    const DESCRIPTION: Description;
}

/// Makes a rule the export of its crate. Name, version and summary come from
/// Cargo.toml, the settings' schema from `settings.schema.json` beside it.
#[macro_export]
macro_rules! export_rule {
    ($rule:ident) => {
        impl $crate::Described for $rule {
            const DESCRIPTION: $crate::Description = $crate::Description {
                name: env!("CARGO_PKG_NAME"),
                version: env!("CARGO_PKG_VERSION"),
                summary: env!("CARGO_PKG_DESCRIPTION"),
                settings_schema: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/settings.schema.json")),
            };
        }

        // Built natively a rule exports nothing, and would count as dead code.
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

/// Makes two tests: every case file of the folder holds, and
/// `settings.schema.json` is what the settings' type says (`UPDATE=1` rewrites it).
#[macro_export]
macro_rules! cases {
    ($rule:ident, $folder:literal) => {
        #[cfg(test)]
        mod rule_cases {
            #[test]
            fn every_case_holds() {
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

/// Compiles the rule in the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
