//! The rule `velocity`: limits the number and the sum of payments with the same
//! value in a time window. The host counts the earlier payments; this rule adds
//! the current one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tollgate_rule::payment::{MAX_AMOUNT_MINOR, amount_in_words};
use tollgate_rule::{
    Asking, Consequence, Counting, Evaluation, Fact, FactQuery, Findings, Objection, Payment, Prepared,
    Reason, Rule, Selector, Velocity, currency, invalid_setting, window,
};

const MAX_COUNT: u64 = MAX_AMOUNT_MINOR.unsigned_abs();

struct VelocityLimits;

tollgate_rule::export_rule!(VelocityLimits);
tollgate_rule::cases!(VelocityLimits, "cases");

/// Limits on payments in time windows.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// All limits apply. The strictest verdict of those that are exceeded is returned.
    #[schemars(length(min = 1))]
    limits: Vec<Limit>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Limit {
    /// Payments with the same value are counted together.
    selector: Selector,
    /// The length of the window, which ends when the payment was received.
    #[schemars(range(min = 1, max = 31_622_400))]
    window_seconds: u64,
    /// Which earlier payments are counted.
    #[serde(default)]
    counting: Counting,
    /// The largest allowed number of payments in the window, with the current one.
    #[serde(default)]
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_u64))]
    max_count: Option<u64>,
    /// The largest allowed sum in the window, with the current payment. In minor units of `currency`.
    #[serde(default)]
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_u64))]
    max_total_minor: Option<i64>,
    /// The limit is only for payments in this currency. Required with `max_total_minor`.
    #[serde(default)]
    #[schemars(regex(pattern = "^[A-Z]{3}$"))]
    currency: Option<String>,
    /// What happens to a payment that exceeds the limit.
    verdict: Objection,
    /// What happens to a payment without this value.
    #[serde(default = "pass")]
    when_absent: Consequence,
}

fn pass() -> Consequence {
    Consequence::Pass
}

impl Rule for VelocityLimits {
    type Settings = Settings;
    type State = Vec<Asking<Limit>>;

    fn prepare(settings: Settings) -> Result<Prepared<Vec<Asking<Limit>>>, Vec<Reason>> {
        let mut errors = Vec::new();
        if settings.limits.is_empty() {
            errors.push(invalid_setting("/limits", "At least one limit is required."));
        }
        for (index, limit) in settings.limits.iter().enumerate() {
            let field = format!("/limits/{index}");
            limit.check(&field, &mut errors);
            if settings.limits[..index].iter().any(|earlier| limit.repeats(earlier)) {
                let message = "An earlier limit is for the same payments with the same verdict, so only one of the two has an effect.";
                errors.push(Reason::new("duplicate-limit", message).at(field));
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Prepared::asking(settings.limits, Limit::query, "/limits")
    }

    fn evaluate(payment: &Payment, facts: &[Fact], state: &Vec<Asking<Limit>>) -> Result<Evaluation, String> {
        let mut findings = Findings::new();
        for asking in state {
            let (limit, fact) = (&asking.part, asking.fact(facts)?);
            let currency = limit.currency.as_ref();
            if currency.is_some_and(|currency| *currency != payment.amount.currency) {
                continue;
            }
            match fact.velocity()? {
                Some(earlier) => limit.judge(payment, earlier, &mut findings),
                None => findings.add(limit.when_absent, limit.absence(payment)),
            }
        }
        Ok(findings.into_evaluation())
    }
}

impl Limit {
    fn query(&self) -> FactQuery {
        FactQuery::Velocity {
            selector: self.selector.clone(),
            window_ms: self.window_seconds.saturating_mul(1000),
            counting: self.counting,
        }
    }

    /// Whether both limit the same number of the same payments with the same verdict.
    fn repeats(&self, other: &Limit) -> bool {
        let counts = self.max_count.is_some() && other.max_count.is_some();
        let sums = self.max_total_minor.is_some() && other.max_total_minor.is_some();
        let same_payments = self.query() == other.query() && self.currency == other.currency;
        (counts || sums) && same_payments && self.verdict == other.verdict
    }

    fn judge(&self, payment: &Payment, earlier: Velocity, findings: &mut Findings) {
        let field = || self.selector.field_in(payment);
        let (subject, window) = (self.selector.in_words(), window::in_words(self.window_seconds));
        // Saturating: a sum that does not fit is above every limit.
        let count = earlier.count.saturating_add(1);
        if let Some(most) = self.max_count.filter(|most| count > *most) {
            let message =
                format!("This is payment number {count} for {subject} within {window}; the limit is {most}.");
            findings.object(self.verdict, Reason::new("velocity-count-exceeded", message).at(field()));
        }
        let amount = &payment.amount;
        let total_minor = earlier.total_minor.saturating_add(amount.minor);
        if let Some(most_minor) = self.max_total_minor.filter(|most| total_minor > *most) {
            let in_words = |minor| amount_in_words(minor, &amount.currency, amount.exponent);
            let (total, most) = (in_words(total_minor), in_words(most_minor));
            let message =
                format!("The payments for {subject} within {window} sum up to {total}; the limit is {most}.");
            findings.object(self.verdict, Reason::new("velocity-total-exceeded", message).at(field()));
        }
    }

    fn absence(&self, payment: &Payment) -> Reason {
        let subject = self.selector.at_the_start_of_a_sentence();
        let message = format!("{subject} is missing, so the payment cannot be counted.");
        Reason::new("velocity-value-missing", message).at(self.selector.field_in(payment))
    }

    fn check(&self, field: &str, errors: &mut Vec<Reason>) {
        errors.extend(window::mistake(self.window_seconds, format!("{field}/window_seconds")));
        let mut refuse = |name: &str, message: &str| {
            errors.push(invalid_setting(format!("{field}/{name}"), message));
        };
        if self.max_count.is_some_and(|most| !(1..=MAX_COUNT).contains(&most)) {
            refuse("max_count", "The count must be between 1 and 9007199254740991.");
        }
        if !self.selector.finds_payments() {
            refuse("selector", "Earlier payments cannot be found by this value.");
        }
        if self.selector.is_always_given() && self.when_absent != Consequence::Pass {
            refuse("when_absent", "Every payment has this value, so this setting has no effect.");
        }
        if self.max_total_minor.is_some_and(|most| !(1..=MAX_AMOUNT_MINOR).contains(&most)) {
            refuse("max_total_minor", "The sum must be between 1 and 9007199254740991 minor units.");
        }
        let code = self.currency.as_ref();
        errors.extend(code.and_then(|code| currency::mistake(code, format!("{field}/currency"))));
        if self.max_total_minor.is_some() && self.currency.is_none() {
            let message = "max_total_minor requires a currency.";
            errors.push(Reason::new("missing-setting", message).at(format!("{field}/currency")));
        }
        if self.max_count.is_none() && self.max_total_minor.is_none() {
            let message = "A limit needs max_count, max_total_minor or both.";
            errors.push(Reason::new("limit-without-bounds", message).at(field));
        }
    }
}
