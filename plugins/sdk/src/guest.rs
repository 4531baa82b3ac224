//! Owns what happens at the border of the sandbox: bytes to types, the rule,
//! types to bytes. Must never know a particular rule.

use core::marker::PhantomData;

use crate::bindings::exports::tollgate::rules::rule as exports;
use crate::bindings::tollgate::rules::types as wire;
use crate::convert::contract_reasons;
use crate::{
    Described, Description, Evaluation, Fact, Payment, Prepared, Reason, Rule, settings, too_many_facts,
};

/// The largest state that the contract allows.
const LARGEST_STATE_BYTES: usize = 64 << 10;

/// A rule as the contract's export.
#[derive(Debug)]
pub struct Guest<R>(PhantomData<R>);

impl<R: Described> exports::Guest for Guest<R> {
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

/// Called once in each instance, before its only call.
fn begin() {
    #[cfg(target_arch = "wasm32")]
    crate::last_words::leave_last_words();
}

/// How the rule introduces itself.
pub fn describe<R: Described>() -> Description {
    R::DESCRIPTION
}

/// Settings as text to queries and state as bytes.
pub fn prepare<R: Rule>(settings: &str) -> Result<Prepared<Vec<u8>>, Vec<Reason>> {
    let prepared = R::prepare(settings::from_json(settings)?)?;
    if let Some(reason) = too_many_facts(&prepared.queries, "") {
        return Err(vec![reason]);
    }
    let counted = (prepared.queries.len(), prepared.state);
    match postcard::to_allocvec(&counted) {
        Ok(state) if state.len() > LARGEST_STATE_BYTES => {
            let message = format!(
                "The settings are too many: {} bytes, at most {LARGEST_STATE_BYTES} are kept.",
                state.len()
            );
            Err(vec![Reason::new("settings-too-large", message).at("")])
        }
        Ok(state) => Ok(Prepared { queries: prepared.queries, state }),
        Err(error) => Err(vec![Reason::new("settings-not-storable", error.to_string()).at("")]),
    }
}

/// One payment judged with a state that `prepare` made.
pub fn evaluate<R: Rule>(payment: &Payment, facts: &[Fact], state: &[u8]) -> Result<Evaluation, String> {
    let (queries, state): (usize, R::State) = postcard::from_bytes(state)
        .map_err(|_| "the state was not made by this version of the rule".to_owned())?;
    if queries != facts.len() {
        return Err(format!("{queries} facts were asked for and {} given", facts.len()));
    }
    R::evaluate(payment, facts, &state)
}
