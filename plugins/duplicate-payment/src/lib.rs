//! The rule `duplicate-payment`: objects to a payment with the same payer, payee
//! and amount as an earlier one in a time window.
//!
//! A request that is sent again with the same idempotency key never gets here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tollgate_rule::selector::{Payer, first_missing};
use tollgate_rule::{
    Aggregate, AggregateQuery, Consequence, Evaluation, Fact, FactQuery, Findings, Method, Objection,
    Outcome, Payment, PaymentFilter, Prepared, Reason, Rule, Selector, invalid_setting, window,
};

struct DuplicatePayment;

tollgate_rule::export_rule!(DuplicatePayment);
tollgate_rule::cases!(DuplicatePayment, "cases");

/// Which payments repeat an earlier one.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// By what a payer is recognised.
    #[serde(default)]
    payer: Payer,
    /// The length of the window, which ends when the payment was received.
    #[serde(default = "day")]
    #[schemars(range(min = 1, max = 31_622_400))]
    window_seconds: u64,
    /// Which earlier payments can be repeated.
    #[serde(default = "not_rejected")]
    counting: Counting,
    /// How many earlier payments may be the same.
    #[serde(default)]
    #[schemars(range(max = 1000))]
    allowed: u64,
    /// Payments below this amount are passed. In minor units of their currency.
    #[serde(default)]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_u64))]
    from_minor: i64,
    /// Only payments by these methods are checked. All if empty.
    #[serde(default)]
    methods: Vec<Method>,
    /// What happens to a payment that repeats an earlier one.
    verdict: Objection,
    /// What happens to a payment whose payer or payee has no account or customer id.
    #[serde(default = "pass")]
    when_absent: Consequence,
}

/// Which earlier payments can be repeated.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Counting {
    /// All earlier payments, whatever their outcome.
    Submitted,
    /// Earlier payments with the outcome approve or review. A payment may be sent again after it was
    /// rejected.
    NotRejected,
}

fn day() -> u64 {
    86_400
}

fn not_rejected() -> Counting {
    Counting::NotRejected
}

fn pass() -> Consequence {
    Consequence::Pass
}

impl Rule for DuplicatePayment {
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
        if settings.checks(payment) {
            match earlier {
                None => findings.add(settings.when_absent, settings.absence(payment)),
                Some(earlier) if earlier.count > settings.allowed => {
                    findings.object(settings.verdict, settings.objection(payment, earlier));
                }
                Some(_) => {}
            }
        }
        Ok(findings.into_evaluation())
    }
}

impl Settings {
    fn query(&self) -> FactQuery {
        let outcomes = match self.counting {
            Counting::Submitted => vec![],
            Counting::NotRejected => vec![Outcome::Approve, Outcome::Review],
        };
        FactQuery::Aggregate(AggregateQuery {
            selectors: vec![self.payer.selector(), Selector::CreditorAccount, Selector::Amount],
            window_ms: self.window_seconds.saturating_mul(1000),
            filter: PaymentFilter { outcomes, ..PaymentFilter::default() },
            first_and_last: true,
            ..AggregateQuery::default()
        })
    }

    fn checks(&self, payment: &Payment) -> bool {
        let by_method = self.methods.is_empty() || self.methods.contains(&payment.method);
        by_method && payment.amount.minor >= self.from_minor
    }

    fn objection(&self, payment: &Payment, earlier: &Aggregate) -> Reason {
        let times = match earlier.count {
            1 => "once".to_owned(),
            count => format!("{count} times"),
        };
        let (amount, window) = (payment.amount.in_words(), window::in_words(self.window_seconds));
        let last = earlier.last.as_ref().map_or_else(String::new, |last| {
            let seconds = payment.received_at_ms.saturating_sub(last.received_at_ms) / 1000;
            format!(", last {} ago", window::in_words(rounded(seconds)))
        });
        let message = format!("{amount} were already paid {times} to this payee within {window}{last}.");
        Reason::new("duplicate-payment", message).at("/amount_minor")
    }

    /// The host gives no fact if one of the accounts or the customer is missing.
    fn absence(&self, payment: &Payment) -> Reason {
        let parties = [self.payer.selector(), Selector::CreditorAccount];
        let missing = first_missing(&parties, payment).unwrap_or(&parties[1]);
        let subject = missing.at_the_start_of_a_sentence();
        let message = format!("{subject} is missing, so it is unknown whether the payment is a duplicate.");
        Reason::new("duplicate-unknown", message).at(missing.field_in(payment))
    }

    fn errors(&self) -> Vec<Reason> {
        let mut errors = Vec::new();
        errors.extend(window::mistake(self.window_seconds, "/window_seconds"));
        if self.allowed > 1000 {
            errors.push(invalid_setting("/allowed", "The number must be between 0 and 1000."));
        }
        if !(0..=tollgate_rule::payment::MAX_AMOUNT_MINOR).contains(&self.from_minor) {
            let message = "The amount must be between 0 and 9007199254740991 minor units.";
            errors.push(invalid_setting("/from_minor", message));
        }
        for (index, method) in self.methods.iter().enumerate() {
            if self.methods[..index].contains(method) {
                errors.push(invalid_setting(format!("/methods/{index}"), "This method is listed twice."));
            }
        }
        errors
    }
}

/// Without the smaller units, which nobody needs: 90 minutes are 1 hour.
fn rounded(seconds: u64) -> u64 {
    let unit = [86_400, 3_600, 60].into_iter().find(|unit| seconds >= *unit).unwrap_or(1);
    seconds - seconds % unit
}
