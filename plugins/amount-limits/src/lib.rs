//! The rule `amount-limits`: checks the amount of a payment against the most
//! specific limit for its currency and method. It does not convert currencies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tollgate_rule::payment::amount_in_words;
use tollgate_rule::{
    Consequence, Evaluation, Fact, Findings, Method, Payment, Prepared, Reason, Rule, currency,
    invalid_setting, pass,
};

/// The contract's limit on amounts: 2^53-1.
const MAX_AMOUNT_MINOR: i64 = 9_007_199_254_740_991;
const MAX_AMOUNT_MINOR_PLUS_ONE: i64 = MAX_AMOUNT_MINOR + 1;

struct AmountLimits;

tollgate_rule::export_rule!(AmountLimits);
tollgate_rule::cases!(AmountLimits, "cases");

/// Limits on the amounts of payments.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Only the most specific limit applies: for currency and method, currency, method, or neither.
    #[schemars(length(min = 1))]
    limits: Vec<Limit>,
    /// What happens to a payment to which no limit applies.
    #[serde(default = "review")]
    without_limit: Consequence,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Limit {
    /// The code of an active currency of ISO 4217. Without it, the limit is for every currency.
    #[serde(default)]
    #[schemars(regex(pattern = "^[A-Z]{3}$"))]
    currency: Option<String>,
    /// Without it, the limit is for every method.
    #[serde(default)]
    method: Option<Method>,
    /// Smaller amounts are rejected. In minor units.
    #[serde(default)]
    #[schemars(range(min = 2, max = 9_007_199_254_740_991_u64))]
    minimum_minor: Option<i64>,
    /// Larger amounts are reviewed. In minor units.
    #[serde(default)]
    #[schemars(range(min = 1, max = 9_007_199_254_740_990_u64))]
    review_above_minor: Option<i64>,
    /// Larger amounts are rejected. In minor units.
    #[serde(default)]
    #[schemars(range(min = 1, max = 9_007_199_254_740_990_u64))]
    maximum_minor: Option<i64>,
}

fn review() -> Consequence {
    Consequence::Review
}

impl Rule for AmountLimits {
    type Settings = Settings;
    type State = Settings;

    fn prepare(settings: Settings) -> Result<Prepared<Settings>, Vec<Reason>> {
        let mut errors = Vec::new();
        if settings.limits.is_empty() {
            errors.push(invalid_setting("/limits", "At least one limit is required."));
        }
        for (index, limit) in settings.limits.iter().enumerate() {
            let field = format!("/limits/{index}");
            limit.check(&field, &mut errors);
            if limit.has_a_more_specific_limit_for_every_method(&settings.limits) {
                let message = "This limit never applies: there is a more specific limit for every method.";
                errors.push(Reason::new("limit-never-applies", message).at(field));
            }
            if settings.limits[..index].iter().any(|earlier| earlier.scope() == limit.scope()) {
                let message = "An earlier limit is for the same currency and method.";
                errors.push(Reason::new("duplicate-limit", message).at(format!("/limits/{index}")));
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Prepared::without_facts(settings))
    }

    fn evaluate(payment: &Payment, _: &[Fact], state: &Settings) -> Result<Evaluation, String> {
        let limits = state.limits.iter().filter(|limit| limit.is_for(payment));
        Ok(match limits.max_by_key(|limit| limit.specificity()) {
            Some(limit) => limit.judge(payment),
            None => without_limit(payment, state.without_limit),
        })
    }
}

fn without_limit(payment: &Payment, consequence: Consequence) -> Evaluation {
    let (currency, method) = (&payment.amount.currency, payment.method.plural());
    let message = format!("There is no limit for {method} in {currency}.");
    let mut findings = Findings::new();
    findings.add(consequence, Reason::new("amount-without-limit", message).at("/currency"));
    findings.into_evaluation()
}

impl Limit {
    fn scope(&self) -> (Option<&str>, Option<Method>) {
        (self.currency.as_deref(), self.method)
    }

    fn has_a_more_specific_limit_for_every_method(&self, limits: &[Limit]) -> bool {
        let has_own =
            |method| limits.iter().any(|limit| limit.scope() == (self.currency.as_deref(), Some(method)));
        self.method.is_none() && Method::ALL.into_iter().all(has_own)
    }

    fn specificity(&self) -> (bool, bool) {
        (self.currency.is_some(), self.method.is_some())
    }

    fn is_for(&self, payment: &Payment) -> bool {
        let currency = self.currency.as_ref();
        currency.is_none_or(|currency| *currency == payment.amount.currency)
            && self.method.is_none_or(|method| method == payment.method)
    }

    fn judge(&self, payment: &Payment) -> Evaluation {
        let amount = &payment.amount;
        let reason = |code, relation: &str, bound_minor: i64| {
            let bound = amount_in_words(bound_minor, &amount.currency, amount.exponent);
            let message = format!("The amount {} is {relation} {bound}.", amount.in_words());
            Reason::new(code, message).at("/amount_minor")
        };
        if let Some(minimum) = self.minimum_minor.filter(|minimum| amount.minor < *minimum) {
            let reason = reason("amount-below-minimum", "below the minimum of", minimum);
            return tollgate_rule::reject(reason);
        }
        if let Some(maximum) = self.maximum_minor.filter(|maximum| amount.minor > *maximum) {
            let reason = reason("amount-above-maximum", "above the maximum of", maximum);
            return tollgate_rule::reject(reason);
        }
        match self.review_above_minor.filter(|threshold| amount.minor > *threshold) {
            Some(threshold) => tollgate_rule::review(reason(
                "amount-above-review-threshold",
                "above the review threshold of",
                threshold,
            )),
            None => pass(),
        }
    }

    fn check(&self, field: &str, errors: &mut Vec<Reason>) {
        let code = self.currency.as_ref();
        errors.extend(code.and_then(|code| currency::mistake(code, format!("{field}/currency"))));
        let bounds = [
            ("minimum_minor", self.minimum_minor),
            ("review_above_minor", self.review_above_minor),
            ("maximum_minor", self.maximum_minor),
        ];
        let given = bounds.iter().filter_map(|(name, bound)| Some((*name, (*bound)?)));
        let mut lower: Option<(&str, i64)> = None;
        for (name, bound_minor) in given {
            let pointer = format!("{field}/{name}");
            if let Some(message) = bound_error(name, bound_minor) {
                errors.push(invalid_setting(pointer, message));
            } else if lower == Some(("review_above_minor", bound_minor)) {
                let message = "The maximum must be larger than review_above_minor, or no amount is reviewed.";
                errors.push(invalid_setting(pointer, message));
            } else if let Some((below, below_minor)) = lower
                && below_minor > bound_minor
            {
                let message = format!("The value must not be smaller than {below}.");
                errors.push(invalid_setting(pointer, message));
            }
            lower = Some((name, bound_minor));
        }
        if lower.is_none() {
            let message = "A limit needs a minimum, a review threshold or a maximum.";
            errors.push(Reason::new("limit-without-bounds", message).at(field));
        }
    }
}

/// Why a bound is not an amount or has no effect. `None` if it is useful.
fn bound_error(name: &str, bound_minor: i64) -> Option<&'static str> {
    match (name, bound_minor) {
        (_, ..=0 | MAX_AMOUNT_MINOR_PLUS_ONE..) => Some("The value must be between 1 and 9007199254740991."),
        ("minimum_minor", 1) => Some("Every amount is at least 1, so a minimum of 1 has no effect."),
        ("review_above_minor" | "maximum_minor", MAX_AMOUNT_MINOR) => {
            Some("No amount is above 9007199254740991, so this bound has no effect.")
        }
        _ => None,
    }
}
