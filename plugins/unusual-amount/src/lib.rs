//! The rule `unusual-amount`: objects to an amount that is far above the earlier
//! amounts of the same payer, payee or other value. The host computes mean,
//! standard deviation and largest amount of the earlier payments.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tollgate_rule::payment::{MAX_AMOUNT_MINOR, amount_in_words};
use tollgate_rule::{
    Aggregate, AggregateQuery, Asking, Consequence, Counting, Evaluation, Fact, FactQuery, Findings,
    Objection, Payment, Prepared, Reason, Rule, Selector, invalid_setting,
};

const MAX_WINDOW_DAYS: u64 = 400;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

struct UnusualAmount;

tollgate_rule::export_rule!(UnusualAmount);
tollgate_rule::cases!(UnusualAmount, "cases");

/// When an amount is unusual.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// All comparisons are made. The strictest verdict of those with an unusual amount is returned.
    #[schemars(length(min = 1))]
    comparisons: Vec<Comparison>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Comparison {
    /// The amount is compared with earlier payments with the same value of this selector.
    selector: Selector,
    /// The length of the window in days, which ends when the payment was received.
    #[schemars(range(min = 1, max = 400))]
    window_days: u64,
    /// Which earlier payments are compared.
    #[serde(default = "approved")]
    counting: Counting,
    /// With fewer earlier payments, no amount is unusual.
    #[schemars(range(min = 2, max = 100_000))]
    min_payments: u64,
    /// Amounts up to this one are never unusual. In minor units of the payment's currency.
    #[serde(default)]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_u64))]
    usual_up_to_minor: i64,
    /// An unusual amount is above the mean by more than this many standard deviations, in percent: 300
    /// are three.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100_000))]
    deviations_percent: Option<u32>,
    /// An unusual amount is more than this percentage of the largest earlier one: 200 is twice as much.
    #[serde(default)]
    #[schemars(range(min = 100, max = 1_000_000))]
    maximum_percent: Option<u32>,
    /// What happens to a payment with an unusual amount.
    verdict: Objection,
    /// What happens to a payment without this value.
    #[serde(default = "pass")]
    when_absent: Consequence,
}

fn approved() -> Counting {
    Counting::Approved
}

fn pass() -> Consequence {
    Consequence::Pass
}

impl Rule for UnusualAmount {
    type Settings = Settings;
    type State = Vec<Asking<Comparison>>;

    fn prepare(settings: Settings) -> Result<Prepared<Vec<Asking<Comparison>>>, Vec<Reason>> {
        let mut errors = Vec::new();
        if settings.comparisons.is_empty() {
            errors.push(invalid_setting("/comparisons", "At least one comparison is required."));
        }
        for (index, comparison) in settings.comparisons.iter().enumerate() {
            comparison.check(&format!("/comparisons/{index}"), &mut errors);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Prepared::asking(settings.comparisons, Comparison::query, "/comparisons")
    }

    fn evaluate(
        payment: &Payment,
        facts: &[Fact],
        state: &Vec<Asking<Comparison>>,
    ) -> Result<Evaluation, String> {
        let mut findings = Findings::new();
        for asking in state {
            let (comparison, fact) = (&asking.part, asking.fact(facts)?);
            if payment.amount.minor <= comparison.usual_up_to_minor {
                continue;
            }
            match fact.aggregate()? {
                Some(earlier) => comparison.judge(payment, earlier, &mut findings),
                None => findings.add(comparison.when_absent, comparison.absence(payment)),
            }
        }
        Ok(findings.into_evaluation())
    }
}

impl Comparison {
    fn query(&self) -> FactQuery {
        FactQuery::Aggregate(AggregateQuery {
            selectors: vec![self.selector.clone()],
            window_ms: self.window_days.saturating_mul(DAY_MS),
            filter: self.counting.into(),
            ..AggregateQuery::default()
        })
    }

    fn judge(&self, payment: &Payment, earlier: &Aggregate, findings: &mut Findings) {
        if earlier.count < self.min_payments {
            return;
        }
        let bounds = [
            self.deviations_percent.and_then(|percent| bound_of_deviations(earlier, percent)),
            self.maximum_percent.and_then(|percent| bound_of_maximum(earlier, percent)),
        ];
        // Both must be exceeded if both are set, so the larger one decides.
        let Some(bound_minor) = bounds.into_iter().flatten().max() else { return };
        if i128::from(payment.amount.minor) <= bound_minor {
            return;
        }
        let amount = &payment.amount;
        let bound_minor = i64::try_from(bound_minor).unwrap_or(i64::MAX);
        let message = format!(
            "The amount {} is unusual for {}: after {} payments within {} days, up to {} is usual.",
            amount.in_words(),
            self.selector.in_words(),
            earlier.count,
            self.window_days,
            amount_in_words(bound_minor, &amount.currency, amount.exponent),
        );
        findings.object(self.verdict, Reason::new("unusual-amount", message).at("/amount_minor"));
    }

    fn absence(&self, payment: &Payment) -> Reason {
        let subject = self.selector.at_the_start_of_a_sentence();
        let message = format!("{subject} is missing, so the amount cannot be compared.");
        Reason::new("unusual-amount-unknown", message).at(self.selector.field_in(payment))
    }

    fn check(&self, field: &str, errors: &mut Vec<Reason>) {
        let mut refuse = |name: &str, message: &str| {
            errors.push(invalid_setting(format!("{field}/{name}"), message));
        };
        if !self.selector.finds_payments() {
            refuse("selector", "Earlier payments cannot be found by this value.");
        }
        if self.selector.is_always_given() && self.when_absent != Consequence::Pass {
            refuse("when_absent", "Every payment has this value, so this setting has no effect.");
        }
        if !(1..=MAX_WINDOW_DAYS).contains(&self.window_days) {
            refuse("window_days", "The window must be between 1 and 400 days.");
        }
        if !(2..=100_000).contains(&self.min_payments) {
            refuse("min_payments", "The number must be between 2 and 100000.");
        }
        if !(0..=MAX_AMOUNT_MINOR).contains(&self.usual_up_to_minor) {
            refuse("usual_up_to_minor", "The amount must be between 0 and 9007199254740991 minor units.");
        }
        if self.deviations_percent.is_some_and(|percent| !(1..=100_000).contains(&percent)) {
            refuse("deviations_percent", "The percentage must be between 1 and 100000.");
        }
        if self.maximum_percent.is_some_and(|percent| !(100..=1_000_000).contains(&percent)) {
            refuse("maximum_percent", "The percentage must be between 100 and 1000000.");
        }
        if self.deviations_percent.is_none() && self.maximum_percent.is_none() {
            let message = "A comparison needs deviations_percent, maximum_percent or both.";
            errors.push(Reason::new("comparison-without-bounds", message).at(field));
        }
    }
}

/// The mean and a multiple of the standard deviation, rounded down to minor units.
fn bound_of_deviations(earlier: &Aggregate, percent: u32) -> Option<i128> {
    let (mean, deviation) = (i128::from(earlier.mean?.0), i128::from(earlier.deviation?.0));
    Some((mean + deviation * i128::from(percent) / 100).div_euclid(1_000_000))
}

/// A multiple of the largest amount, rounded down to minor units.
fn bound_of_maximum(earlier: &Aggregate, percent: u32) -> Option<i128> {
    Some(i128::from(earlier.maximum_minor?) * i128::from(percent) / 100)
}
