//! Owns the rule `party-lists`: what becomes of a payment whose values are on
//! lists. Must never compare values itself: the host keeps the lists.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tollgate_rule::{
    Consequence, Evaluation, Fact, FactQuery, Findings, Matching, Payment, Prepared, Reason, Rule, Selector,
    invalid_setting, too_many_facts,
};

/// Whether the host accepts it as the name of a list.
const LONGEST_NAME_CHARS: usize = 64;

struct PartyLists;

tollgate_rule::export_rule!(PartyLists);
tollgate_rule::cases!(PartyLists, "cases");

/// The lists that payments are held against.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// All are looked at; the strictest that matches gives the verdict.
    #[schemars(length(min = 1))]
    lists: Vec<Check>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Check {
    /// The name of the list: lower-case words joined by hyphens.
    #[schemars(length(max = 64), regex(pattern = "^[a-z0-9]+(-[a-z0-9]+)*$"))]
    list: String,
    /// The value of the payment that is looked up.
    selector: Selector,
    /// How entries and value are compared.
    #[serde(default)]
    matching: Matching,
    /// What being on the list means.
    verdict: Meaning,
    /// What becomes of a payment that has no such value.
    #[serde(default = "pass")]
    when_absent: Consequence,
}

/// What being on a list means.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Meaning {
    /// Cancels the review or reject of overridable rules.
    Allow,
    /// A person should look at it.
    Review,
    /// The payment should not be made.
    Reject,
}

fn pass() -> Consequence {
    Consequence::Pass
}

impl Rule for PartyLists {
    type Settings = Settings;
    /// Each check asks one query, so its fact has the same index.
    type State = Vec<Check>;

    fn prepare(settings: Settings) -> Result<Prepared<Vec<Check>>, Vec<Reason>> {
        let wrong = mistakes(&settings);
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let queries: Vec<FactQuery> = settings.lists.iter().map(Check::query).collect();
        match too_many_facts(&queries, "/lists") {
            Some(reason) => Err(vec![reason]),
            None => Ok(Prepared { queries, state: settings.lists }),
        }
    }

    fn evaluate(payment: &Payment, facts: &[Fact], state: &Vec<Check>) -> Result<Evaluation, String> {
        let mut findings = Findings::new();
        for (check, fact) in state.iter().zip(facts) {
            match fact.listed()? {
                Some(true) => check.matched(payment, &mut findings),
                Some(false) => {}
                None => findings.add(check.when_absent, check.absent(payment)),
            }
        }
        Ok(findings.into_evaluation())
    }
}

fn mistakes(settings: &Settings) -> Vec<Reason> {
    let mut wrong = Vec::new();
    if settings.lists.is_empty() {
        wrong.push(invalid_setting("/lists", "At least one list is needed."));
    }
    for (index, check) in settings.lists.iter().enumerate() {
        let field = format!("/lists/{index}");
        if !is_name_of_a_list(&check.list) {
            let message = "The name of a list is lower-case words joined by hyphens, at most 64 characters.";
            wrong.push(invalid_setting(format!("{field}/list"), message));
        }
        if check.selector.is_always_given() && check.when_absent != Consequence::Pass {
            let message = "Each payment has this value, so this setting has no effect.";
            wrong.push(invalid_setting(format!("{field}/when_absent"), message));
        }
        let earlier = &settings.lists[..index];
        if earlier.iter().any(|earlier| earlier.lookup() == check.lookup()) {
            let message = "An earlier entry looks up the same value on the same list.";
            wrong.push(Reason::new("duplicate-list", message).at(field));
        }
    }
    wrong
}

fn is_name_of_a_list(text: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    text.len() <= LONGEST_NAME_CHARS && text.split('-').all(is_word)
}

impl Check {
    fn lookup(&self) -> (&str, &Selector, Matching) {
        (&self.list, &self.selector, self.matching)
    }

    fn query(&self) -> FactQuery {
        FactQuery::Listed {
            list: self.list.clone(),
            selector: self.selector.clone(),
            matching: self.matching,
        }
    }

    fn matched(&self, payment: &Payment, findings: &mut Findings) {
        let told = |code| {
            let message = format!("{} is on the list '{}'.", self.subject(), self.list);
            Reason::new(code, message).at(self.selector.field_in(payment))
        };
        match self.verdict {
            Meaning::Allow => findings.allow(told("on-allow-list")),
            Meaning::Review => findings.review(told("on-review-list")),
            Meaning::Reject => findings.reject(told("on-block-list")),
        }
    }

    fn absent(&self, payment: &Payment) -> Reason {
        let (subject, list) = (self.subject(), &self.list);
        let message = format!("{subject} is not given, but is held against the list '{list}'.");
        Reason::new("listed-value-missing", message).at(self.selector.field_in(payment))
    }

    fn subject(&self) -> String {
        self.selector.at_the_start_of_a_sentence()
    }
}
