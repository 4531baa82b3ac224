//! The exported functions of a rule: they convert the arguments, call the rule
//! and convert its result.

use core::marker::PhantomData;

use crate::bindings::exports::tollgate::rules::rule as exports;
use crate::bindings::tollgate::rules::types as wire;
use crate::convert::contract_reasons;
use crate::{
    Describe, Description, Evaluation, Fact, Payment, Prepared, Reason, Rule, settings, too_many_facts,
};

/// The contract's limit on the state.
const MAX_STATE_BYTES: usize = 64 << 10;

/// A rule in the form that the contract exports.
#[derive(Debug)]
pub struct Guest<R>(PhantomData<R>);

impl<R: Describe> exports::Guest for Guest<R> {
    fn describe() -> wire::Description {
        begin();
        let description = describe::<R>();
        wire::Description {
            name: description.name.to_owned(),
            version: description.version.to_owned(),
            summary: description.summary.to_owned(),
            settings_schema: description.settings_schema.to_owned(),
        }
    }

    fn prepare(settings: String) -> Result<wire::Prepared, Vec<wire::Reason>> {
        begin();
        let prepared = prepare::<R>(&settings).map_err(contract_reasons)?;
        let queries = prepared.queries.into_iter().map(wire::FactQuery::from).collect();
        Ok(wire::Prepared { queries, state: prepared.state })
    }

    fn evaluate(
        payment: wire::Payment,
        facts: Vec<wire::Fact>,
        state: Vec<u8>,
    ) -> Result<wire::Evaluation, String> {
        begin();
        let facts: Vec<Fact> = facts.into_iter().map(Fact::from).collect();
        evaluate::<R>(&payment.into(), &facts, &state).map(wire::Evaluation::from)
    }
}

/// Runs before anything else in an instance, which serves one call.
fn begin() {
    #[cfg(target_arch = "wasm32")]
    crate::panic_message::install_panic_hook();
}

/// The rule's name, version, summary and schema.
pub fn describe<R: Describe>() -> Description {
    R::DESCRIPTION
}

/// Reads the settings, calls the rule's `prepare` and returns the queries and the state as bytes.
pub fn prepare<R: Rule>(settings: &str) -> Result<Prepared<Vec<u8>>, Vec<Reason>> {
    let prepared = R::prepare(settings::from_json(settings)?)?;
    if let Some(reason) = too_many_facts(&prepared.queries, "") {
        return Err(vec![reason]);
    }
    let counted_state = (prepared.queries.len(), prepared.state);
    match postcard::to_allocvec(&counted_state) {
        Ok(state) if state.len() > MAX_STATE_BYTES => {
            let message = format!(
                "The settings take {} bytes in their stored form; at most {MAX_STATE_BYTES} are allowed.",
                state.len()
            );
            Err(vec![Reason::new("settings-too-large", message).at("")])
        }
        Ok(state) => Ok(Prepared { queries: prepared.queries, state }),
        Err(error) => Err(vec![Reason::new("settings-not-storable", error.to_string()).at("")]),
    }
}

/// Evaluates one payment with a state that `prepare` returned.
pub fn evaluate<R: Rule>(payment: &Payment, facts: &[Fact], state: &[u8]) -> Result<Evaluation, String> {
    let (queries, state): (usize, R::State) = postcard::from_bytes(state)
        .map_err(|_| "the state is not in the format of this version of the rule".to_owned())?;
    if queries != facts.len() {
        return Err(format!("the rule asked for {queries} facts and got {}", facts.len()));
    }
    R::evaluate(payment, facts, &state)
}
