//! The rule `name-screening`: objects to names that are similar to the entries
//! of lists. The host finds the most similar entry and its score.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tollgate_rule::fact::is_list_name;
use tollgate_rule::{
    Evaluation, Fact, FactQuery, Findings, Payment, Prepared, Reason, Rule, Selector, SimilarEntry,
    invalid_setting, too_many_facts,
};

struct NameScreening;

tollgate_rule::export_rule!(NameScreening);
tollgate_rule::cases!(NameScreening, "cases");

/// The lists of names against which payments are screened.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// All lists are searched. The strictest verdict is returned.
    #[schemars(length(min = 1))]
    lists: Vec<Screening>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Screening {
    /// The name of the list: lower-case words joined by hyphens.
    #[schemars(length(max = 64), regex(pattern = "^[a-z0-9]+(-[a-z0-9]+)*$"))]
    list: String,
    /// The names that are screened. All if left out.
    #[serde(default = "all_names")]
    #[schemars(length(min = 1))]
    names: Vec<Name>,
    /// A name with at least this score is reviewed. 100 is the same name.
    #[serde(default)]
    #[schemars(range(min = 50, max = 100))]
    review_from_score: Option<u8>,
    /// A name with at least this score is rejected.
    #[serde(default)]
    #[schemars(range(min = 50, max = 100))]
    reject_from_score: Option<u8>,
}

/// A name of a payment.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Name {
    /// The payer.
    Debtor,
    /// The payee.
    Creditor,
    /// Whoever the payer acts for.
    UltimateDebtor,
    /// Whoever the payee acts for.
    UltimateCreditor,
    /// The name that the payee's bank suggested.
    SuggestedPayee,
}

fn all_names() -> Vec<Name> {
    vec![Name::Debtor, Name::Creditor, Name::UltimateDebtor, Name::UltimateCreditor, Name::SuggestedPayee]
}

/// One name on one list. It has the same index as its fact.
#[derive(Serialize, Deserialize)]
struct Search {
    list: String,
    name: Name,
    review_from_score: Option<u8>,
    reject_from_score: Option<u8>,
}

impl Rule for NameScreening {
    type Settings = Settings;
    type State = Vec<Search>;

    fn prepare(settings: Settings) -> Result<Prepared<Vec<Search>>, Vec<Reason>> {
        let errors = settings.errors();
        if !errors.is_empty() {
            return Err(errors);
        }
        let searches: Vec<Search> = settings.lists.iter().flat_map(Screening::searches).collect();
        let queries: Vec<FactQuery> = searches.iter().map(Search::query).collect();
        match too_many_facts(&queries, "/lists") {
            Some(reason) => Err(vec![reason]),
            None => Ok(Prepared { queries, state: searches }),
        }
    }

    fn evaluate(payment: &Payment, facts: &[Fact], state: &Vec<Search>) -> Result<Evaluation, String> {
        let mut findings = Findings::new();
        for (search, fact) in state.iter().zip(facts) {
            if let Some(Some(found)) = fact.similar()? {
                search.judge(payment, found, &mut findings);
            }
        }
        Ok(findings.into_evaluation())
    }
}

impl Settings {
    fn errors(&self) -> Vec<Reason> {
        let mut errors = Vec::new();
        if self.lists.is_empty() {
            errors.push(invalid_setting("/lists", "At least one list is required."));
        }
        for (index, screening) in self.lists.iter().enumerate() {
            let field = format!("/lists/{index}");
            screening.check(&field, &mut errors);
            if self.lists[..index].iter().any(|earlier| earlier.list == screening.list) {
                let message = "An earlier entry screens against the same list.";
                errors.push(Reason::new("duplicate-list", message).at(field));
            }
        }
        errors
    }
}

impl Screening {
    fn searches(&self) -> impl Iterator<Item = Search> + '_ {
        self.names.iter().map(|name| Search {
            list: self.list.clone(),
            name: *name,
            review_from_score: self.review_from_score,
            reject_from_score: self.reject_from_score,
        })
    }

    fn check(&self, field: &str, errors: &mut Vec<Reason>) {
        let mut refuse = |name: &str, message: &str| {
            errors.push(invalid_setting(format!("{field}/{name}"), message));
        };
        if !is_list_name(&self.list) {
            let message = "A list's name is lower-case words joined by hyphens, with at most 64 characters.";
            refuse("list", message);
        }
        if self.names.is_empty() {
            refuse("names", "At least one name is required.");
        }
        for (index, name) in self.names.iter().enumerate() {
            if self.names[..index].contains(name) {
                refuse(&format!("names/{index}"), "This name is listed twice.");
            }
        }
        let scores =
            [("review_from_score", self.review_from_score), ("reject_from_score", self.reject_from_score)];
        for (name, score) in scores {
            if score.is_some_and(|score| !(50..=100).contains(&score)) {
                refuse(name, "The score must be between 50 and 100.");
            }
        }
        match (self.review_from_score, self.reject_from_score) {
            (None, None) => {
                let message = "A list needs review_from_score, reject_from_score or both.";
                errors.push(Reason::new("list-without-scores", message).at(field));
            }
            (Some(review), Some(reject)) if review >= reject => {
                let message = "Names from this score are rejected, so review_from_score must be lower.";
                refuse("review_from_score", message);
            }
            _ => {}
        }
    }
}

impl Search {
    fn query(&self) -> FactQuery {
        let scores = [self.review_from_score, self.reject_from_score];
        FactQuery::Similar {
            list: self.list.clone(),
            selector: self.name.selector(),
            score_at_least: scores.into_iter().flatten().min().unwrap_or(100),
        }
    }

    /// The message has no name: it is for the client's developer. The evidence has the entry.
    fn judge(&self, payment: &Payment, found: &SimilarEntry, findings: &mut Findings) {
        let selector = self.name.selector();
        let (score, list) = (found.score, &self.list);
        let reason = |code| {
            let subject = selector.at_the_start_of_a_sentence();
            let message = format!("{subject} is similar to an entry of the list '{list}' (score {score}).");
            Reason::new(code, message).at(selector.field_in(payment))
        };
        let is_reached = |from: Option<u8>| from.is_some_and(|from| score >= from);
        if is_reached(self.reject_from_score) {
            findings.reject(reason("name-rejected"));
        } else if is_reached(self.review_from_score) {
            findings.review(reason("name-needs-review"));
        }
    }
}

impl Name {
    fn selector(self) -> Selector {
        match self {
            Name::Debtor => Selector::DebtorName,
            Name::Creditor => Selector::CreditorName,
            Name::UltimateDebtor => Selector::UltimateDebtorName,
            Name::UltimateCreditor => Selector::UltimateCreditorName,
            Name::SuggestedPayee => Selector::SuggestedPayeeName,
        }
    }
}
