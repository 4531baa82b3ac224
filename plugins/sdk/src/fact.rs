//! Owns what a rule may ask the host for and what it is given. Must never
//! guess at an answer: an unexpected one is a failure of the rule.

use serde::Deserialize;

use schemars::JsonSchema;
use serde::Serialize;

use crate::selector::Selector;
use crate::verdict::Reason;

/// How an entry of a list is compared with the payment's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Matching {
    /// The whole value, however it is written: spaces and the like do not count.
    #[default]
    Exact,
    /// An entry matches every value that begins with it.
    Prefix,
    /// Without case, accents, punctuation and repeated spaces.
    NormalizedName,
}

/// Which earlier payments a velocity counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Counting {
    /// Every earlier payment, whatever became of it.
    #[default]
    Submitted,
    /// Earlier payments whose outcome was approve.
    Approved,
}

/// One question to the host, asked when the settings are prepared and
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
    /// How many earlier payments of the same value and currency, and how much?
    Velocity {
        /// Which value of the payment.
        selector: Selector,
        /// How far back from the time of receipt.
        window_ms: u64,
        /// Which of them count.
        counting: Counting,
    },
}

/// The most queries that the contract allows.
const MOST_FACTS: usize = 32;

/// Refuses the setting that the queries come from if the host would not answer so many.
pub fn too_many_facts(queries: &[FactQuery], field: impl Into<String>) -> Option<Reason> {
    let count = queries.len();
    let message =
        format!("These settings ask for {count} facts about each payment; at most {MOST_FACTS} are given.");
    (count > MOST_FACTS).then(|| Reason::new("too-many-facts", message).at(field))
}

/// One answer of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fact {
    /// The payment has no value for the selector.
    Absent,
    /// Whether the value is on the list.
    Listed(bool),
    /// Earlier payments in the window, this one not counted.
    Velocity(Velocity),
}

/// Earlier payments of the same value and currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Velocity {
    /// How many.
    pub count: u64,
    /// Their sum in minor units.
    pub total_minor: i64,
}

impl Fact {
    /// The answer to a listed query; `None` when the payment has no such value.
    pub fn listed(&self) -> Result<Option<bool>, String> {
        match self {
            Fact::Absent => Ok(None),
            Fact::Listed(listed) => Ok(Some(*listed)),
            Fact::Velocity(_) => Err("a velocity was given where a list was asked for".to_owned()),
        }
    }

    /// The answer to a velocity query; `None` when the payment has no such value.
    pub fn velocity(&self) -> Result<Option<Velocity>, String> {
        match self {
            Fact::Absent => Ok(None),
            Fact::Velocity(velocity) => Ok(Some(*velocity)),
            Fact::Listed(_) => Err("a list was given where a velocity was asked for".to_owned()),
        }
    }
}

/// Adds a query unless it is asked already; the answer stands at the returned
/// index of the facts.
pub fn ask(queries: &mut Vec<FactQuery>, query: FactQuery) -> usize {
    match queries.iter().position(|asked| *asked == query) {
        Some(index) => index,
        None => {
            queries.push(query);
            queries.len() - 1
        }
    }
}
