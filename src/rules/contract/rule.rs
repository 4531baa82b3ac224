//! The calls into a plugin, the same for every version of the contract. What differs between the
//! versions is in [`Contract`].
//!
//! An answer must never be returned before it was checked against the bounds.

use std::marker::PhantomData;

use wasmtime::Store;
use wasmtime::component::{ComponentExportIndex, ComponentType, Instance, InstancePre, Lift, Lower};

use super::answer::{CallFault, SettingsAnswer};
use super::bounds::{self, Violation};
use super::input::PaymentInput;
use crate::domain::plugin::Description;
use crate::domain::selector::{Fact, FactQuery};
use crate::domain::verdict::{Evaluation, Reason};
use crate::rules::call_state::CallState;
use crate::rules::component::ContractVersion;

/// A version of the contract: its types, and how they are converted.
pub(in crate::rules) trait Contract: 'static {
    const VERSION: ContractVersion;

    type Payment: ComponentType + Lower + Send + Sync + 'static;
    type Fact: ComponentType + Lower + Send + Sync + 'static;
    type Description: ComponentType + Lift + Send + Sync + 'static;
    type Prepared: ComponentType + Lift + Send + Sync + 'static;
    type Reason: ComponentType + Lift + Send + Sync + 'static;
    type Evaluation: ComponentType + Lift + Send + Sync + 'static;

    fn payment(input: &PaymentInput) -> &Self::Payment;
    fn fact(fact: &Fact) -> Self::Fact;
    fn description(description: Self::Description) -> Description;
    /// The queries, and the state. Fails if a query has no form in the domain.
    fn prepared(prepared: Self::Prepared) -> Result<(Vec<FactQuery>, Vec<u8>), Violation>;
    fn reason(reason: Self::Reason) -> Reason;
    fn evaluation(evaluation: Self::Evaluation) -> Evaluation;
}

type DescribeResults<C> = (<C as Contract>::Description,);
type PrepareResults<C> = (Result<<C as Contract>::Prepared, Vec<<C as Contract>::Reason>>,);
type EvaluateParameters<'a, C> = (&'a <C as Contract>::Payment, &'a [<C as Contract>::Fact], &'a [u8]);
type EvaluateResults<C> = (Result<<C as Contract>::Evaluation, String>,);

/// A plugin of one version, ready for instances of it.
pub(in crate::rules) struct Rule<C> {
    linked: InstancePre<CallState>,
    describe: ComponentExportIndex,
    prepare: ComponentExportIndex,
    evaluate: ComponentExportIndex,
    version: PhantomData<fn(C)>,
}

impl<C: Contract> Rule<C> {
    pub(super) fn new(linked: InstancePre<CallState>) -> wasmtime::Result<Self> {
        let function = |name: &str| {
            let component = linked.component();
            component
                .get_export_index(None, C::VERSION.export_name())
                .and_then(|rule| component.get_export_index(Some(&rule), name))
                .ok_or_else(|| wasmtime::format_err!("it exports no `{name}`"))
        };
        let [describe, prepare, evaluate] =
            [function("describe")?, function("prepare")?, function("evaluate")?];
        Ok(Self { linked, describe, prepare, evaluate, version: PhantomData })
    }

    /// Also checks the types of the other functions, since every plugin is described before its
    /// first use.
    pub(super) async fn describe(&self, store: &mut Store<CallState>) -> Result<Description, CallFault> {
        let instance = self.instance(store).await?;
        let describe = instance
            .get_typed_func::<(), DescribeResults<C>>(&mut *store, &self.describe)
            .map_err(CallFault::Instance)?;
        instance
            .get_typed_func::<(&str,), PrepareResults<C>>(&mut *store, &self.prepare)
            .map_err(CallFault::Instance)?;
        instance
            .get_typed_func::<EvaluateParameters<'_, C>, EvaluateResults<C>>(&mut *store, &self.evaluate)
            .map_err(CallFault::Instance)?;
        let (description,) = describe.call_async(store, ()).await?;
        bounds::description(C::description(description)).map_err(CallFault::OutOfBounds)
    }

    pub(super) async fn prepare(
        &self,
        store: &mut Store<CallState>,
        settings: &str,
    ) -> Result<SettingsAnswer, CallFault> {
        let instance = self.instance(store).await?;
        let prepare = instance
            .get_typed_func::<(&str,), PrepareResults<C>>(&mut *store, &self.prepare)
            .map_err(CallFault::Instance)?;
        let (answer,) = prepare.call_async(store, (settings,)).await?;
        match answer {
            Ok(prepared) => C::prepared(prepared).and_then(|(queries, state)| {
                bounds::prepared(&queries, &state).map(|()| SettingsAnswer::Accepted { queries, state })
            }),
            Err(reasons) => {
                bounds::refusal(reasons.into_iter().map(C::reason).collect()).map(SettingsAnswer::Refused)
            }
        }
        .map_err(CallFault::OutOfBounds)
    }

    /// Checks the types of this function only. Those of all three would take a twentieth of an
    /// evaluation.
    pub(super) async fn evaluate(
        &self,
        store: &mut Store<CallState>,
        input: &PaymentInput,
        facts: &[Fact],
        state: &[u8],
    ) -> Result<Evaluation, CallFault> {
        let instance = self.instance(store).await?;
        let evaluate = instance
            .get_typed_func::<EvaluateParameters<'_, C>, EvaluateResults<C>>(&mut *store, &self.evaluate)
            .map_err(CallFault::Instance)?;
        let facts: Vec<C::Fact> = facts.iter().map(C::fact).collect();
        let (answer,) = evaluate.call_async(store, (C::payment(input), &facts, state)).await?;
        let evaluation = answer.map_err(CallFault::Rule)?;
        bounds::evaluation(C::evaluation(evaluation)).map_err(CallFault::OutOfBounds)
    }

    async fn instance(&self, store: &mut Store<CallState>) -> Result<Instance, CallFault> {
        self.linked.instantiate_async(store).await.map_err(CallFault::Instance)
    }
}
