//! Facts: what a rule can ask the host about a payment, and the answers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::selector::Selector;
use crate::verdict::Reason;

/// How list entries are compared with the payment's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Matching {
    /// The whole values are equal. Spaces and similar differences in notation are ignored.
    #[default]
    Exact,
    /// The payment's value begins with the entry.
    Prefix,
    /// The names are equal without case, accents, punctuation and repeated spaces.
    NormalizedName,
}

/// Which earlier payments are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Counting {
    /// All earlier payments, whatever their outcome.
    #[default]
    Submitted,
    /// Only earlier payments with the outcome approve.
    Approved,
}

/// A question to the host. It is asked when the settings are prepared, and
/// answered for every payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FactQuery {
    /// Is the payment's value on the list?
    Listed {
        /// The name of the list.
        list: String,
        /// Which value of the payment.
        selector: Selector,
        /// How values are compared.
        matching: Matching,
    },
    /// How many earlier payments have the same value and currency, and what is their sum?
    Velocity {
        /// Which value of the payment.
        selector: Selector,
        /// The length of the window, which ends when the payment was received.
        window_ms: u64,
        /// Which earlier payments are counted.
        counting: Counting,
    },
}

/// The contract's limit on queries.
const MAX_FACTS: usize = 32;

/// The reason to refuse the settings at `field` if they need more facts than the contract allows.
pub fn too_many_facts(queries: &[FactQuery], field: impl Into<String>) -> Option<Reason> {
    let count = queries.len();
    let message =
        format!("These settings need {count} facts for each payment; at most {MAX_FACTS} are allowed.");
    (count > MAX_FACTS).then(|| Reason::new("too-many-facts", message).at(field))
}

/// The host's answer to a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fact {
    /// The payment has no value for the selector.
    Absent,
    /// Whether the value is on the list.
    Listed(bool),
    /// The earlier payments in the window, without the current one.
    Velocity(Velocity),
}

/// Count and sum of earlier payments with the same value and currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Velocity {
    /// The number of payments.
    pub count: u64,
    /// Their sum in minor units.
    pub total_minor: i64,
}

impl Fact {
    /// The answer to a list query. `None` if the payment has no such value.
    pub fn listed(&self) -> Result<Option<bool>, String> {
        match self {
            Fact::Absent => Ok(None),
            Fact::Listed(listed) => Ok(Some(*listed)),
            Fact::Velocity(_) => Err("the rule asked for a list fact and got a velocity fact".to_owned()),
        }
    }

    /// The answer to a velocity query. `None` if the payment has no such value.
    pub fn velocity(&self) -> Result<Option<Velocity>, String> {
        match self {
            Fact::Absent => Ok(None),
            Fact::Velocity(velocity) => Ok(Some(*velocity)),
            Fact::Listed(_) => Err("the rule asked for a velocity fact and got a list fact".to_owned()),
        }
    }
}

/// Adds a query, unless the same query is there already. Returns the index of
/// its fact in the facts of an evaluation.
pub fn ask(queries: &mut Vec<FactQuery>, query: FactQuery) -> usize {
    match queries.iter().position(|earlier| *earlier == query) {
        Some(index) => index,
        None => {
            queries.push(query);
            queries.len() - 1
        }
    }
}
