//! The rule `party-lists`: checks values of a payment against lists, which the
//! host keeps.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tollgate_rule::fact::is_list_name;
use tollgate_rule::{
    Consequence, Evaluation, Fact, FactQuery, Findings, Matching, Payment, Prepared, Reason, Rule, Selector,
    invalid_setting, too_many_facts,
};

struct PartyLists;

tollgate_rule::export_rule!(PartyLists);
tollgate_rule::cases!(PartyLists, "cases");

/// The lists against which payments are checked.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// All lists are checked. The strictest match gives the verdict.
    #[schemars(length(min = 1))]
    lists: Vec<ListCheck>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListCheck {
    /// The name of the list: lower-case words joined by hyphens.
    #[schemars(length(max = 64), regex(pattern = "^[a-z0-9]+(-[a-z0-9]+)*$"))]
    list: String,
    /// The value of the payment to look up.
    selector: Selector,
    /// How the list's entries are compared with the value.
    #[serde(default)]
    matching: Matching,
    /// What happens to a payment whose value is on the list.
    verdict: ListVerdict,
    /// What happens to a payment without this value.
    #[serde(default = "pass")]
    when_absent: Consequence,
}

/// What happens to a payment whose value is on a list.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ListVerdict {
    /// Cancels the reviews and rejects of overridable rules.
    Allow,
    /// A person should review the payment.
    Review,
    /// The payment should not be made.
    Reject,
}

fn pass() -> Consequence {
    Consequence::Pass
}

impl Rule for PartyLists {
    type Settings = Settings;
    /// Each check has one query, so its fact has the same index.
    type State = Vec<ListCheck>;

    fn prepare(settings: Settings) -> Result<Prepared<Vec<ListCheck>>, Vec<Reason>> {
        let errors = settings_errors(&settings);
        if !errors.is_empty() {
            return Err(errors);
        }
        let queries: Vec<FactQuery> = settings.lists.iter().map(ListCheck::query).collect();
        match too_many_facts(&queries, "/lists") {
            Some(reason) => Err(vec![reason]),
            None => Ok(Prepared { queries, state: settings.lists }),
        }
    }

    fn evaluate(payment: &Payment, facts: &[Fact], state: &Vec<ListCheck>) -> Result<Evaluation, String> {
        let mut findings = Findings::new();
        for (check, fact) in state.iter().zip(facts) {
            match fact.listed()? {
                Some(true) => check.add_match(payment, &mut findings),
                Some(false) => {}
                None => findings.add(check.when_absent, check.absence(payment)),
            }
        }
        Ok(findings.into_evaluation())
    }
}

fn settings_errors(settings: &Settings) -> Vec<Reason> {
    let mut errors = Vec::new();
    if settings.lists.is_empty() {
        errors.push(invalid_setting("/lists", "At least one list is required."));
    }
    for (index, check) in settings.lists.iter().enumerate() {
        let field = format!("/lists/{index}");
        if !is_list_name(&check.list) {
            let message = "A list's name is lower-case words joined by hyphens, with at most 64 characters.";
            errors.push(invalid_setting(format!("{field}/list"), message));
        }
        if check.selector.is_always_given() && check.when_absent != Consequence::Pass {
            let message = "Every payment has this value, so this setting has no effect.";
            errors.push(invalid_setting(format!("{field}/when_absent"), message));
        }
        let earlier = &settings.lists[..index];
        if earlier.iter().any(|earlier| earlier.lookup() == check.lookup()) {
            let message = "An earlier entry looks up the same value in the same list.";
            errors.push(Reason::new("duplicate-list", message).at(field));
        }
    }
    errors
}

impl ListCheck {
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

    fn add_match(&self, payment: &Payment, findings: &mut Findings) {
        let reason = |code| {
            let message = format!("{} is on the list '{}'.", self.subject(), self.list);
            Reason::new(code, message).at(self.selector.field_in(payment))
        };
        match self.verdict {
            ListVerdict::Allow => findings.allow(reason("on-allow-list")),
            ListVerdict::Review => findings.review(reason("on-review-list")),
            ListVerdict::Reject => findings.reject(reason("on-block-list")),
        }
    }

    fn absence(&self, payment: &Payment) -> Reason {
        let (subject, list) = (self.subject(), &self.list);
        let message = format!("{subject} is missing and cannot be checked against the list '{list}'.");
        Reason::new("listed-value-missing", message).at(self.selector.field_in(payment))
    }

    fn subject(&self) -> String {
        self.selector.at_the_start_of_a_sentence()
    }
}
