//! The rule `structuring`: objects to a series of payments just below a
//! threshold, from one payer or to one payee. The host counts the earlier
//! payments of the series; this rule adds the current one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tollgate_rule::payment::{MAX_AMOUNT_MINOR, amount_in_words};
use tollgate_rule::{
    Aggregate, AggregateQuery, Asking, Consequence, Evaluation, Fact, FactQuery, Findings, Objection,
    Payment, PaymentFilter, Prepared, Reason, Rule, Selector, currency, invalid_setting, window,
};

struct Structuring;

tollgate_rule::export_rule!(Structuring);
tollgate_rule::cases!(Structuring, "cases");

/// Series of payments just below a threshold.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// All patterns are checked. The strictest verdict of those that are found is returned.
    #[schemars(length(min = 1))]
    patterns: Vec<Pattern>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Pattern {
    /// The payments of a series have the same value of this selector, such as `debtor_account` or
    /// `creditor_account`.
    selector: Selector,
    /// The currency of the threshold. Payments in other currencies pass.
    #[schemars(regex(pattern = "^[A-Z]{3}$"))]
    currency: String,
    /// The threshold that the payments stay below, in minor units.
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_u64))]
    threshold_minor: i64,
    /// Payments of at least this amount are just below the threshold. In minor units.
    #[schemars(range(min = 0, max = 9_007_199_254_740_990_u64))]
    from_minor: i64,
    /// The length of the window, which ends when the payment was received.
    #[schemars(range(min = 1, max = 31_622_400))]
    window_seconds: u64,
    /// A series has at least this many payments, with the current one.
    #[schemars(range(min = 2, max = 1000))]
    min_count: u64,
    /// The payments of a series sum up to at least this amount, with the current one. In minor units.
    #[serde(default)]
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_u64))]
    min_total_minor: Option<i64>,
    /// What happens to a payment that belongs to a series.
    verdict: Objection,
    /// What happens to a payment just below the threshold that lacks the value.
    #[serde(default = "pass")]
    when_absent: Consequence,
}

fn pass() -> Consequence {
    Consequence::Pass
}

impl Rule for Structuring {
    type Settings = Settings;
    type State = Vec<Asking<Pattern>>;

    fn prepare(settings: Settings) -> Result<Prepared<Vec<Asking<Pattern>>>, Vec<Reason>> {
        let errors = settings.errors();
        if !errors.is_empty() {
            return Err(errors);
        }
        Prepared::asking(settings.patterns, Pattern::query, "/patterns")
    }

    fn evaluate(
        payment: &Payment,
        facts: &[Fact],
        state: &Vec<Asking<Pattern>>,
    ) -> Result<Evaluation, String> {
        let mut findings = Findings::new();
        for asking in state {
            let (pattern, fact) = (&asking.part, asking.fact(facts)?);
            if !pattern.includes(payment) {
                continue;
            }
            match fact.aggregate()? {
                Some(earlier) => pattern.judge(payment, earlier, &mut findings),
                None => findings.add(pattern.when_absent, pattern.absence(payment)),
            }
        }
        Ok(findings.into_evaluation())
    }
}

impl Settings {
    fn errors(&self) -> Vec<Reason> {
        let mut errors = Vec::new();
        if self.patterns.is_empty() {
            errors.push(invalid_setting("/patterns", "At least one pattern is required."));
        }
        for (index, pattern) in self.patterns.iter().enumerate() {
            let field = format!("/patterns/{index}");
            pattern.check(&field, &mut errors);
            if self.patterns[..index].iter().any(|earlier| pattern.repeats(earlier)) {
                let message = "An earlier pattern is for the same payments with the same verdict.";
                errors.push(Reason::new("duplicate-pattern", message).at(field));
            }
        }
        errors
    }
}

impl Pattern {
    fn query(&self) -> FactQuery {
        FactQuery::Aggregate(AggregateQuery {
            selectors: vec![self.selector.clone()],
            window_ms: self.window_seconds.saturating_mul(1000),
            filter: PaymentFilter {
                amount_at_least: Some(self.from_minor),
                amount_below: Some(self.threshold_minor),
                ..PaymentFilter::default()
            },
            ..AggregateQuery::default()
        })
    }

    /// Whether the payment itself is just below the threshold.
    fn includes(&self, payment: &Payment) -> bool {
        let amount = &payment.amount;
        amount.currency == self.currency && (self.from_minor..self.threshold_minor).contains(&amount.minor)
    }

    fn judge(&self, payment: &Payment, earlier: &Aggregate, findings: &mut Findings) {
        // Saturating: a sum that does not fit is above every bound.
        let count = earlier.count.saturating_add(1);
        let total_minor = earlier.total_minor.saturating_add(payment.amount.minor);
        if count < self.min_count || self.min_total_minor.is_some_and(|least| total_minor < least) {
            return;
        }
        let in_words = |minor| amount_in_words(minor, &payment.amount.currency, payment.amount.exponent);
        let message = format!(
            "This is payment number {count} just below {threshold} for {subject} within {window}; together they \
             are {total}.",
            threshold = in_words(self.threshold_minor),
            subject = self.selector.in_words(),
            window = window::in_words(self.window_seconds),
            total = in_words(total_minor),
        );
        findings.object(self.verdict, Reason::new("structuring", message).at("/amount_minor"));
    }

    fn absence(&self, payment: &Payment) -> Reason {
        let subject = self.selector.at_the_start_of_a_sentence();
        let message = format!("{subject} is missing, so payments below the threshold cannot be counted.");
        Reason::new("structuring-unknown", message).at(self.selector.field_in(payment))
    }

    fn repeats(&self, other: &Pattern) -> bool {
        self.currency == other.currency
            && self.verdict == other.verdict
            && self.min_count == other.min_count
            && self.min_total_minor == other.min_total_minor
            && self.query() == other.query()
    }

    fn check(&self, field: &str, errors: &mut Vec<Reason>) {
        errors.extend(currency::mistake(&self.currency, format!("{field}/currency")));
        errors.extend(window::mistake(self.window_seconds, format!("{field}/window_seconds")));
        let mut refuse = |name: &str, message: &str| {
            errors.push(invalid_setting(format!("{field}/{name}"), message));
        };
        if !self.selector.finds_payments() {
            refuse("selector", "Earlier payments cannot be found by this value.");
        }
        if self.selector.is_always_given() && self.when_absent != Consequence::Pass {
            refuse("when_absent", "Every payment has this value, so this setting has no effect.");
        }
        if !(1..=MAX_AMOUNT_MINOR).contains(&self.threshold_minor) {
            refuse("threshold_minor", "The threshold must be between 1 and 9007199254740991 minor units.");
        }
        if !(0..self.threshold_minor.max(1)).contains(&self.from_minor) {
            refuse("from_minor", "The amount must be at least 0 and below the threshold.");
        }
        if !(2..=1000).contains(&self.min_count) {
            refuse("min_count", "A series has between 2 and 1000 payments.");
        }
        if self.min_total_minor.is_some_and(|least| !(1..=MAX_AMOUNT_MINOR).contains(&least)) {
            refuse("min_total_minor", "The sum must be between 1 and 9007199254740991 minor units.");
        }
    }
}
