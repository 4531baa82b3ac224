//! Owns the rule `velocity`: how many payments, and how much, one value of a
//! payment may make in a time. Must never count itself: the host does, and
//! without the payment at hand, which is added here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tollgate_rule::payment::amount_in_words;
use tollgate_rule::{
    Consequence, Counting, Evaluation, Fact, FactQuery, Findings, Payment, Prepared, Reason, Rule, Selector,
    Velocity, ask, currency, invalid_setting, too_many_facts,
};

const LONGEST_WINDOW_SECONDS: u64 = 366 * 24 * 60 * 60;
/// The contract's own bound of an amount: 2^53-1.
const LARGEST_MINOR: i64 = 9_007_199_254_740_991;

struct VelocityLimits;

tollgate_rule::export_rule!(VelocityLimits);
tollgate_rule::cases!(VelocityLimits, "cases");

/// Limits in time.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// All hold; the strictest that is exceeded gives the verdict.
    #[schemars(length(min = 1))]
    limits: Vec<Limit>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Limit {
    /// Payments with the same value are counted together.
    selector: Selector,
    /// How far back from the time of receipt.
    #[schemars(range(min = 1, max = 31_622_400))]
    window_seconds: u64,
    /// Which earlier payments count.
    #[serde(default)]
    counting: Counting,
    /// At most so many payments in the window, this one included.
    #[serde(default)]
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_u64))]
    max_count: Option<u64>,
    /// At most so much in the window, this payment included. In minor units of `currency`.
    #[serde(default)]
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_u64))]
    max_total_minor: Option<i64>,
    /// The limit is only for payments in this currency. A sum needs one.
    #[serde(default)]
    #[schemars(regex(pattern = "^[A-Z]{3}$"))]
    currency: Option<String>,
    /// What becomes of a payment that exceeds the limit.
    verdict: Strictness,
    /// What becomes of a payment that has no such value.
    #[serde(default = "pass")]
    when_absent: Consequence,
}

/// What becomes of a payment that exceeds a limit.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Strictness {
    /// A person should look at it.
    Review,
    /// The payment should not be made.
    Reject,
}

fn pass() -> Consequence {
    Consequence::Pass
}

/// A limit and where the answer to its query stands.
#[derive(Serialize, Deserialize)]
struct Watch {
    limit: Limit,
    fact_index: usize,
}

impl Rule for VelocityLimits {
    type Settings = Settings;
    type State = Vec<Watch>;

    fn prepare(settings: Settings) -> Result<Prepared<Vec<Watch>>, Vec<Reason>> {
        let mut wrong = Vec::new();
        if settings.limits.is_empty() {
            wrong.push(invalid_setting("/limits", "At least one limit is needed."));
        }
        for (index, limit) in settings.limits.iter().enumerate() {
            let field = format!("/limits/{index}");
            limit.check(&field, &mut wrong);
            if settings.limits[..index].iter().any(|earlier| limit.repeats(earlier)) {
                let message = "An earlier limit has the same payments and verdict, so the looser of the two has no effect.";
                wrong.push(Reason::new("duplicate-limit", message).at(field));
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let mut queries = Vec::new();
        let watches = settings.limits.into_iter().map(|limit| {
            let fact_index = ask(&mut queries, limit.query());
            Watch { limit, fact_index }
        });
        let state = watches.collect();
        match too_many_facts(&queries, "/limits") {
            Some(reason) => Err(vec![reason]),
            None => Ok(Prepared { queries, state }),
        }
    }

    fn evaluate(payment: &Payment, facts: &[Fact], state: &Vec<Watch>) -> Result<Evaluation, String> {
        let mut findings = Findings::new();
        for Watch { limit, fact_index } in state {
            let fact = facts.get(*fact_index).ok_or("a fact is missing")?;
            let currency = limit.currency.as_ref();
            if currency.is_some_and(|currency| *currency != payment.amount.currency) {
                continue;
            }
            match fact.velocity()? {
                Some(earlier) => limit.judge(payment, earlier, &mut findings),
                None => findings.add(limit.when_absent, limit.absent(payment)),
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

    /// Whether both bound the same number of the same payments, to the same end.
    fn repeats(&self, other: &Limit) -> bool {
        let counts = self.max_count.is_some() && other.max_count.is_some();
        let sums = self.max_total_minor.is_some() && other.max_total_minor.is_some();
        let same_payments = self.query() == other.query() && self.currency == other.currency;
        (counts || sums) && same_payments && self.verdict == other.verdict
    }

    fn judge(&self, payment: &Payment, earlier: Velocity, findings: &mut Findings) {
        let field = || self.selector.field_in(payment);
        let (subject, window) = (self.subject(), window_in_words(self.window_seconds));
        // Saturating: a sum that no number holds is above every limit.
        let count = earlier.count.saturating_add(1);
        if let Some(most) = self.max_count.filter(|most| count > *most) {
            let what = format!("payment number {count} within {window}; at most {most} may be made");
            let message = format!("{subject}: {what}.");
            self.add(findings, Reason::new("velocity-count-exceeded", message).at(field()));
        }
        let amount = &payment.amount;
        let total_minor = earlier.total_minor.saturating_add(amount.minor);
        if let Some(most_minor) = self.max_total_minor.filter(|most| total_minor > *most) {
            let in_words = |minor| amount_in_words(minor, &amount.currency, amount.exponent);
            let (total, most) = (in_words(total_minor), in_words(most_minor));
            let message = format!("{subject}: {total} within {window}; at most {most} may be paid.");
            self.add(findings, Reason::new("velocity-total-exceeded", message).at(field()));
        }
    }

    fn add(&self, findings: &mut Findings, reason: Reason) {
        match self.verdict {
            Strictness::Review => findings.review(reason),
            Strictness::Reject => findings.reject(reason),
        }
    }

    fn absent(&self, payment: &Payment) -> Reason {
        let message = format!("{} is not given, but payments are counted by it.", self.subject());
        Reason::new("velocity-value-missing", message).at(self.selector.field_in(payment))
    }

    fn subject(&self) -> String {
        self.selector.at_the_start_of_a_sentence()
    }

    fn check(&self, field: &str, wrong: &mut Vec<Reason>) {
        let mut refuse = |name: &str, message: &str| {
            wrong.push(invalid_setting(format!("{field}/{name}"), message));
        };
        if !(1..=LONGEST_WINDOW_SECONDS).contains(&self.window_seconds) {
            refuse("window_seconds", "A window is 1 to 31622400 seconds (366 days).");
        }
        if self.max_count == Some(0) {
            refuse("max_count", "At least one payment must be possible.");
        }
        if self.max_count.is_some_and(|most| most > LARGEST_MINOR.unsigned_abs()) {
            refuse("max_count", "A count is 1 to 9007199254740991: no more payments are ever counted.");
        }
        if self.selector.is_always_given() && self.when_absent != Consequence::Pass {
            refuse("when_absent", "Each payment has this value, so this setting has no effect.");
        }
        if self.max_total_minor.is_some_and(|most| !(1..=LARGEST_MINOR).contains(&most)) {
            refuse("max_total_minor", "An amount is 1 to 9007199254740991 minor units.");
        }
        let code = self.currency.as_ref();
        wrong.extend(code.and_then(|code| currency::mistake(code, format!("{field}/currency"))));
        if self.max_total_minor.is_some() && self.currency.is_none() {
            let message = "A limit of a sum needs the currency that it is in.";
            wrong.push(Reason::new("missing-setting", message).at(format!("{field}/currency")));
        }
        if self.max_count.is_none() && self.max_total_minor.is_none() {
            let message = "A limit needs max_count, max_total_minor or both.";
            wrong.push(Reason::new("limit-without-bounds", message).at(field));
        }
    }
}

/// In the largest unit that holds it whole: "2 hours", not "7200 seconds".
fn window_in_words(seconds: u64) -> String {
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    let whole = units.into_iter().find(|(size, _)| seconds.is_multiple_of(*size));
    let (size, unit) = whole.unwrap_or((1, "second"));
    match seconds / size {
        1 => format!("1 {unit}"),
        count => format!("{count} {unit}s"),
    }
}
