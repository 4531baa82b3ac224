//! Facts: what a rule can ask the host about a payment, and the answers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, AggregateQuery};
use crate::selector::Selector;
use crate::table::{TableLookup, TableRow};
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
    /// What is known about earlier payments with the same values?
    Aggregate(AggregateQuery),
    /// What does the table say about the payment's value?
    Table {
        /// The name of the table.
        table: String,
        /// Which value of the payment.
        selector: Selector,
        /// How the row is found.
        lookup: TableLookup,
    },
    /// Which entry of the list is most similar to the payment's name?
    Similar {
        /// The name of the list.
        list: String,
        /// Which name of the payment.
        selector: Selector,
        /// 50 to 100. Only entries with at least this score are found.
        score_at_least: u8,
    },
}

/// Whether a list or a table can have this name: lower-case words joined by hyphens, with at most 64
/// characters.
pub fn is_list_name(text: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    text.len() <= MAX_NAME_CHARS && text.split('-').all(is_word)
}

const MAX_NAME_CHARS: usize = 64;

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
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fact {
    /// The payment has no value for the selector.
    Absent,
    /// Whether the value is on the list.
    Listed(bool),
    /// The earlier payments in the window, without the current one.
    Velocity(Velocity),
    /// The earlier payments that count, without the current one.
    Aggregate(Box<Aggregate>),
    /// The row for the value, if there is one.
    Table(Option<TableRow>),
    /// The most similar entry, if one is similar enough.
    Similar(Option<SimilarEntry>),
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

/// The entry of a list that is most similar to a name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimilarEntry {
    /// The entry as it was written.
    pub entry: String,
    /// 0 to 100.
    pub score: u8,
}

impl Fact {
    /// The answer to a list query. `None` if the payment has no such value.
    pub fn listed(&self) -> Result<Option<bool>, String> {
        match self {
            Fact::Absent => Ok(None),
            Fact::Listed(listed) => Ok(Some(*listed)),
            other => Err(other.is_not("a list fact")),
        }
    }

    /// The answer to a velocity query. `None` if the payment has no such value.
    pub fn velocity(&self) -> Result<Option<Velocity>, String> {
        match self {
            Fact::Absent => Ok(None),
            Fact::Velocity(velocity) => Ok(Some(*velocity)),
            other => Err(other.is_not("a velocity fact")),
        }
    }

    /// The answer to an aggregate query. `None` if the payment lacks one of the values.
    pub fn aggregate(&self) -> Result<Option<&Aggregate>, String> {
        match self {
            Fact::Absent => Ok(None),
            Fact::Aggregate(aggregate) => Ok(Some(aggregate)),
            other => Err(other.is_not("an aggregate fact")),
        }
    }

    /// The answer to a table query. `None` if the payment has no such value, and `Some(None)` if the
    /// table has no row for it.
    pub fn table(&self) -> Result<Option<Option<&TableRow>>, String> {
        match self {
            Fact::Absent => Ok(None),
            Fact::Table(row) => Ok(Some(row.as_ref())),
            other => Err(other.is_not("a table fact")),
        }
    }

    /// The answer to a query for similar names. `None` if the payment has no such name, and
    /// `Some(None)` if no entry is similar enough.
    pub fn similar(&self) -> Result<Option<Option<&SimilarEntry>>, String> {
        match self {
            Fact::Absent => Ok(None),
            Fact::Similar(found) => Ok(Some(found.as_ref())),
            other => Err(other.is_not("a fact about similar names")),
        }
    }

    fn is_not(&self, asked: &str) -> String {
        let got = match self {
            Fact::Absent => "no fact",
            Fact::Listed(_) => "a list fact",
            Fact::Velocity(_) => "a velocity fact",
            Fact::Aggregate(_) => "an aggregate fact",
            Fact::Table(_) => "a table fact",
            Fact::Similar(_) => "a fact about similar names",
        };
        format!("the rule asked for {asked} and got {got}")
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
