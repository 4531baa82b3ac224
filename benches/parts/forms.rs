//! Measures several forms of one rule in turns, so that other load on the machine affects all
//! equally.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate::domain::payment::{Method, Payment};

use crate::small_rule::{Limits, RuleDecision, SETTINGS, examples, payment};

const ROUNDS: usize = 300;
/// Evaluations per turn.
pub const TURN: usize = 20;
/// Evaluations before each turn that are not measured.
const WARM_UP: usize = 20;

pub trait Form {
    fn name(&self) -> &str;
    /// Prepares a turn. Not measured.
    fn ready(&mut self) {}
    /// Evaluates the rule this many times and returns the last decision.
    fn decide(&mut self, payment: &Arc<Payment>, times: usize) -> RuleDecision;
}

/// A form that consists of a function.
pub struct FunctionForm<F> {
    name: String,
    decide: F,
}

impl<F: FnMut(&Payment) -> RuleDecision> FunctionForm<F> {
    pub fn boxed<'a>(name: impl Into<String>, decide: F) -> Box<dyn Form + 'a>
    where
        F: 'a,
    {
        Box::new(Self { name: name.into(), decide })
    }
}

impl<F: FnMut(&Payment) -> RuleDecision> Form for FunctionForm<F> {
    fn name(&self) -> &str {
        &self.name
    }

    fn decide(&mut self, payment: &Arc<Payment>, times: usize) -> RuleDecision {
        for _ in 1..times {
            black_box((self.decide)(black_box(payment)));
        }
        (self.decide)(black_box(payment))
    }
}

pub fn native() -> Vec<Box<dyn Form>> {
    let limits = Limits::parse(SETTINGS);
    vec![
        FunctionForm::boxed("native Rust", move |payment| limits.decide(payment)),
        FunctionForm::boxed("native Rust, settings parsed each time", |payment| {
            Limits::parse(black_box(SETTINGS)).decide(payment)
        }),
    ]
}

/// Ends the benchmark if two forms decide differently.
pub fn must_agree(forms: &mut [Box<dyn Form + '_>]) {
    for form in forms {
        for (payment, expected) in examples() {
            form.ready();
            let decided = form.decide(&payment, 1);
            assert_eq!(decided, expected, "{} on {:?}", form.name(), payment.order.amount);
        }
    }
}

/// Prints one line per form: the microseconds for a payment that passes and for a payment that is
/// rejected with a reason, and the ratio to the form named `unit`.
pub fn print_table(forms: &mut [Box<dyn Form + '_>], unit: &str) {
    let passing = medians_us(forms, &payment(12_345, "EUR", Method::CreditTransfer));
    let rejected = medians_us(forms, &payment(6_000_000, "EUR", Method::CreditTransfer));
    let unit = forms.iter().position(|form| form.name() == unit).expect("a form of that name");
    println!("{:<58} {:>9} {:>9} {:>8}", "us per evaluation, medians", "passes", "rejects", "ratio");
    for (place, form) in forms.iter().enumerate() {
        let ratio = passing[place] / passing[unit];
        println!("{:<58} {:>9.2} {:>9.2} {:>8.2}", form.name(), passing[place], rejected[place], ratio);
    }
}

fn medians_us(forms: &mut [Box<dyn Form + '_>], payment: &Arc<Payment>) -> Vec<f64> {
    let mut times = vec![Vec::with_capacity(ROUNDS); forms.len()];
    for _ in 0..ROUNDS {
        for (form, times) in forms.iter_mut().zip(&mut times) {
            form.ready();
            // A warm-up, since the processor's caches contain the data of the previous form.
            black_box(form.decide(black_box(payment), WARM_UP));
            let started = Instant::now();
            black_box(form.decide(black_box(payment), TURN));
            times.push(started.elapsed());
        }
    }
    times.iter_mut().map(|times| median(times).as_secs_f64() * 1e6 / TURN as f64).collect()
}

pub fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}
