//! From a payment in flight to its outcome: facts, then rules.
//!
//! Both are repeated if a payment that was counted no longer counts: it failed, or it was not
//! approved. Only the facts and results of the last round are kept.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::{Submissions, SubmitError};
use crate::decisions::deployment::DecisionPath;
use crate::decisions::evaluate::evaluate;
use crate::decisions::in_flight::{InFlightPayment, PaymentsAhead};
use crate::decisions::quarantine::QuarantinedRules;
use crate::decisions::runnable_ruleset::RunnableRuleset;
use crate::decisions::stages::{Stage, Stages};
use crate::domain::decision::{Evidence, IdempotencyKey};
use crate::domain::payment::{Payment, PaymentId};
use crate::domain::rates::Rates;
use crate::domain::selector::{Fact, FactQuery};
use crate::domain::tenant::{ClientId, TenantId};
use crate::domain::verdict::Outcome;
use crate::rules::EngineError;
use crate::storage::facts::{FactAnswer, FactRequest, InFlightValue};

/// The result of the last round stands, even if it counted a payment that has failed since.
const ROUNDS_MAX: u32 = 4;

/// What stays the same in all rounds of a payment.
pub(super) struct PaymentContext<'a> {
    pub(super) tenant: TenantId,
    pub(super) client: ClientId,
    pub(super) key: &'a IdempotencyKey,
    /// `None` if no ruleset is active.
    pub(super) path: Option<&'a DecisionPath>,
    pub(super) queries: Arc<[FactQuery]>,
    pub(super) rates: Rates,
    pub(super) entered: &'a InFlightPayment,
    pub(super) begun: Instant,
    pub(super) deadline: Instant,
}

pub(super) enum PaymentJudgement {
    /// The key is bound to this decision.
    AlreadyDecided(PaymentId),
    New {
        outcome: Outcome,
        evidence: Box<Evidence>,
        /// One for each query of the path, in their order.
        facts: Vec<Fact>,
    },
}

impl Submissions {
    /// If a payment ahead counts differently now, there is another round: no rule may refuse a payment
    /// because of one that failed. Velocities are only looked up again if the outcome is not approve.
    pub(super) async fn judge(
        &self,
        case: PaymentContext<'_>,
        payment: Arc<Payment>,
        mut ahead: Vec<PaymentsAhead>,
        stages: &mut Stages<'_>,
    ) -> Result<PaymentJudgement, SubmitError> {
        let quarantined = self.quarantines.of(case.tenant);
        let mut round = 1;
        loop {
            let FactAnswer { facts, bound, .. } = self.look_up(&case, payment.clone(), &ahead).await?;
            stages.ended(Stage::Facts);
            if let Some(bound) = bound {
                return Ok(PaymentJudgement::AlreadyDecided(bound.decision));
            }
            let (outcome, evidence) = self.run_rules(&case, &payment, &quarantined, &facts).await?;
            stages.ended(Stage::Rules);
            // More payments make a limit stricter, so an approved payment stands. Rules with
            // aggregates may also trust a payer because of earlier payments.
            let stands = outcome == Outcome::Approve && !asks_aggregates(&case.queries);
            if stands || round == ROUNDS_MAX || !ahead.iter().any(PaymentsAhead::has_changed) {
                return Ok(PaymentJudgement::New { outcome, evidence: Box::new(evidence), facts });
            }
            round += 1;
            ahead = case.entered.ahead(&case.queries, &case.rates);
        }
    }

    /// The facts, from memory, stored payments and those in flight. If nothing has to be looked up, the
    /// journal finds out whether the key is bound.
    async fn look_up(
        &self,
        case: &PaymentContext<'_>,
        payment: Arc<Payment>,
        ahead: &[PaymentsAhead],
    ) -> Result<FactAnswer, SubmitError> {
        if case.queries.is_empty() {
            return Ok(FactAnswer::default());
        }
        let request = FactRequest {
            tenant: case.tenant,
            payment: payment.clone(),
            queries: case.queries.clone(),
            in_flight: in_flight_values(ahead),
            key: Some((case.client, case.key.clone())),
            known: self.reference.known(case.tenant, &payment, &case.queries),
        };
        let mut answer = self.facts.look_up(request).await?;
        if answer.bound.is_some() {
            return Ok(answer);
        }
        for (place, ahead) in ahead.iter().enumerate() {
            answer.add_in_flight(place, &ahead.tally);
        }
        answer.conclude();
        let completing = self.reference.complete(case.tenant, &payment, &case.queries, &mut answer);
        timeout_at(case.deadline, completing).await.map_err(|_| SubmitError::Deadline)??;
        Ok(answer)
    }

    /// A missed deadline counts against the rules that caused it.
    async fn run_rules(
        &self,
        case: &PaymentContext<'_>,
        payment: &Arc<Payment>,
        quarantined: &QuarantinedRules,
        facts: &[Fact],
    ) -> Result<(Outcome, Evidence), SubmitError> {
        let ruleset: Option<&RunnableRuleset> = case.path.map(|path| path.ruleset.as_ref());
        let own_facts = case.path.map_or(&[][..], |path| path.own_facts(facts));
        let (engine, at_ms) = (self.engine.as_ref(), payment.received_at_ms);
        let run = || {
            let payment = payment.clone();
            evaluate(engine, case.tenant, payment, ruleset, quarantined, own_facts, case.deadline)
        };
        let mut rules_begun = Instant::now();
        let mut evaluated = run().await;
        // Compiled code is only cached and may be gone. The payment then waits until the plugin is
        // loaded again. If that fails, the rule counts as its entry says.
        if let Ok((_, evidence)) = &evaluated
            && self.active.recover(&evidence.rules, case.deadline).await?
        {
            rules_begun = Instant::now();
            evaluated = run().await;
        }
        if let (Err(EngineError::Deadline(missed)), Some(ruleset)) = (&mut evaluated, ruleset) {
            missed.caused_by_tenant &= had_their_time(case.begun, rules_begun, case.deadline);
            self.quarantines.watch_missed(case.tenant, ruleset, quarantined, missed, at_ms);
        }
        Ok(evaluated?)
    }
}

fn asks_aggregates(queries: &[FactQuery]) -> bool {
    queries.iter().any(|query| matches!(query, FactQuery::Aggregate(_)))
}

/// Whether the rules had at least half of the time. If not, a missed deadline is not their fault.
fn had_their_time(begun: Instant, rules_begun: Instant, deadline: Instant) -> bool {
    deadline.saturating_duration_since(rules_begun) >= rules_begun.saturating_duration_since(begun)
}

/// One entry for each value: all queries for the value have the same payments ahead.
fn in_flight_values(ahead: &[PaymentsAhead]) -> Vec<InFlightValue> {
    let mut values: Vec<InFlightValue> = Vec::new();
    for ahead in ahead.iter().filter(|ahead| !ahead.ids.is_empty()) {
        let Some(value_key) = ahead.value_key else { continue };
        if values.iter().all(|known| known.value_key != value_key) {
            values.push(InFlightValue { value_key, payments: ahead.ids.clone() });
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn rules_are_not_blamed_for_time_that_the_database_took() {
        let begun = Instant::now();
        let after = |ms| begun + Duration::from_millis(ms);
        for (rules_begun_ms, had) in [(0, true), (20, true), (1_350, true), (1_351, false), (3_000, false)] {
            assert_eq!(had_their_time(begun, after(rules_begun_ms), after(2_700)), had, "{rules_begun_ms}");
        }
    }
}
