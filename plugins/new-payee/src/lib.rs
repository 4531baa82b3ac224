//! The rule `new-payee`: objects to a large payment if it is the first from its
//! payer to its payee. The host counts the earlier payments between the two.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tollgate_rule::payment::{MAX_AMOUNT_MINOR, amount_in_words};
use tollgate_rule::selector::{Payer, first_missing};
use tollgate_rule::{
    AggregateQuery, Consequence, Counting, Evaluation, Fact, FactQuery, Findings, Objection, Payment,
    Prepared, Reason, Rule, Selector, currency, invalid_setting,
};

const MAX_WINDOW_DAYS: u64 = 400;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

struct NewPayee;

tollgate_rule::export_rule!(NewPayee);
tollgate_rule::cases!(NewPayee, "cases");

/// Which first payments to a payee are too large.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// By what a payer is recognised.
    #[serde(default)]
    payer: Payer,
    /// For how many days a payee stays known after a payment.
    #[serde(default = "year")]
    #[schemars(range(min = 1, max = 400))]
    window_days: u64,
    /// Which earlier payments make a payee known.
    #[serde(default = "approved")]
    counting: Counting,
    /// How many such payments make a payee known.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    known_after: u64,
    /// All limits for the payment's currency apply. The strictest one gives the verdict. Payments in
    /// other currencies pass.
    #[schemars(length(min = 1))]
    limits: Vec<Limit>,
    /// What happens to a payment above a limit whose payer or payee has no account or customer id.
    #[serde(default = "pass")]
    when_absent: Consequence,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Limit {
    /// The currency of the limit.
    #[schemars(regex(pattern = "^[A-Z]{3}$"))]
    currency: String,
    /// Payments to a new payee above this amount are not passed. In minor units.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_u64))]
    above_minor: i64,
    /// What happens to such a payment.
    verdict: Objection,
}

fn year() -> u64 {
    365
}

fn approved() -> Counting {
    Counting::Approved
}

fn one() -> u64 {
    1
}

fn pass() -> Consequence {
    Consequence::Pass
}

impl Rule for NewPayee {
    type Settings = Settings;
    type State = Settings;

    fn prepare(settings: Settings) -> Result<Prepared<Settings>, Vec<Reason>> {
        let errors = settings.errors();
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Prepared { queries: vec![settings.query()], state: settings })
    }

    fn evaluate(payment: &Payment, facts: &[Fact], settings: &Settings) -> Result<Evaluation, String> {
        let mut findings = Findings::new();
        let earlier = facts.first().ok_or("the fact about earlier payments is missing")?.aggregate()?;
        for limit in settings.limits.iter().filter(|limit| limit.is_exceeded_by(payment)) {
            match earlier {
                None => findings.add(settings.when_absent, settings.absence(payment)),
                Some(earlier) if earlier.count < settings.known_after => {
                    findings.object(limit.verdict, settings.objection(limit, payment, earlier.count));
                }
                Some(_) => {}
            }
            if earlier.is_none() {
                break;
            }
        }
        Ok(findings.into_evaluation())
    }
}

impl Settings {
    fn query(&self) -> FactQuery {
        FactQuery::Aggregate(AggregateQuery {
            selectors: vec![self.payer.selector(), Selector::CreditorAccount],
            window_ms: self.window_days.saturating_mul(DAY_MS),
            filter: self.counting.into(),
            ..AggregateQuery::default()
        })
    }

    fn objection(&self, limit: &Limit, payment: &Payment, count: u64) -> Reason {
        let amount = &payment.amount;
        let most = amount_in_words(limit.above_minor, &amount.currency, amount.exponent);
        let (payer, days) = (self.payer.selector().in_words(), self.window_days);
        let history = match count {
            0 => format!("{payer} has not paid this payee within {days} days"),
            1 => format!("{payer} has paid this payee only once within {days} days"),
            count => format!("{payer} has paid this payee only {count} times within {days} days"),
        };
        let message = format!("The amount {} is above {most}, and {history}.", amount.in_words());
        Reason::new("new-payee", message).at(Selector::CreditorAccount.field_in(payment))
    }

    /// The host gives no fact if one of the accounts or the customer is missing.
    fn absence(&self, payment: &Payment) -> Reason {
        let parties = [self.payer.selector(), Selector::CreditorAccount];
        let missing = first_missing(&parties, payment).unwrap_or(&parties[1]);
        let subject = missing.at_the_start_of_a_sentence();
        let message = format!("{subject} is missing, so it is unknown whether the payee is new.");
        Reason::new("new-payee-unknown", message).at(missing.field_in(payment))
    }

    fn errors(&self) -> Vec<Reason> {
        let mut errors = Vec::new();
        if !(1..=MAX_WINDOW_DAYS).contains(&self.window_days) {
            errors.push(invalid_setting("/window_days", "The window must be between 1 and 400 days."));
        }
        if !(1..=1000).contains(&self.known_after) {
            errors.push(invalid_setting("/known_after", "The number must be between 1 and 1000."));
        }
        if self.limits.is_empty() {
            errors.push(invalid_setting("/limits", "At least one limit is required."));
        }
        for (index, limit) in self.limits.iter().enumerate() {
            let field = format!("/limits/{index}");
            errors.extend(currency::mistake(&limit.currency, format!("{field}/currency")));
            if !(0..=MAX_AMOUNT_MINOR).contains(&limit.above_minor) {
                let message = "The amount must be between 0 and 9007199254740991 minor units.";
                errors.push(invalid_setting(format!("{field}/above_minor"), message));
            }
            if self.limits[..index].iter().any(|earlier| limit.repeats(earlier)) {
                let message = "An earlier limit has the same currency and verdict, so only the lower one has an effect.";
                errors.push(Reason::new("duplicate-limit", message).at(field));
            }
        }
        errors
    }
}

impl Limit {
    fn is_exceeded_by(&self, payment: &Payment) -> bool {
        self.currency == payment.amount.currency && payment.amount.minor > self.above_minor
    }

    fn repeats(&self, other: &Limit) -> bool {
        self.currency == other.currency && self.verdict == other.verdict
    }
}
