//! The rule in Cedar. An evaluation is one authorization request, and the annotations of the
//! deciding policies define the result.

use std::collections::HashMap;
use std::str::FromStr;

use cedar_policy::{
    Authorizer, Context, Entities, EntityUid, PolicyId, PolicySet, Request, RestrictedExpression,
};

use crate::fields::{Fields, InputFields, Value};
use crate::forms::{Form, FunctionForm};
use crate::small_rule::RuleDecision;

pub fn form(given: InputFields) -> Box<dyn Form> {
    let policies =
        PolicySet::from_str(include_str!("../policies/rule.cedar")).expect("the policies are right");
    let decisions: HashMap<PolicyId, RuleDecision> = policies
        .policies()
        .map(|policy| {
            let verdict = policy.annotation("verdict").expect("each has one");
            (policy.id().clone(), RuleDecision::new(verdict, policy.annotation("code")))
        })
        .collect();
    let uid = |text: &str| EntityUid::from_str(text).expect("an entity");
    let (principal, action, resource) =
        (uid(r#"Service::"payments""#), uid(r#"Action::"pay""#), uid(r#"Payment::"new""#));
    let (authorizer, entities) = (Authorizer::new(), Entities::empty());
    FunctionForm::boxed(format!("cedar-policy, {}", given.name()), move |payment| {
        let pairs = Fields::of(payment, given).0.into_iter().map(|(name, value)| {
            let value = match value {
                Value::Number(number) => RestrictedExpression::new_long(number),
                Value::Text(text) => RestrictedExpression::new_string(text.into_owned()),
            };
            (name.to_owned(), value)
        });
        let context = Context::from_pairs(pairs).expect("each name once");
        let request = Request::new(principal.clone(), action.clone(), resource.clone(), context, None);
        let response = authorizer.is_authorized(&request.expect("without a schema"), &policies, &entities);
        let reasons = response.diagnostics().reason();
        // Selects the strictest verdict, since "reject" is before "review" in alphabetical order.
        reasons
            .map(|id| &decisions[id])
            .min_by_key(|decision| decision.verdict.as_str())
            .expect("one decided")
            .clone()
    })
}
