//! What is asked of the engine. The deadline travels as the time that is left: clocks differ.

use std::sync::Arc;
use std::time::Duration;

use prost::bytes::Bytes;
use tokio::time::Instant;
use uuid::Uuid;

use super::{UnreadableMessage, digest_bytes, digest_of, packed, profile_number, profile_of, unpacked};
use crate::domain::tenant::TenantId;
use crate::rules::{self, FailedCall};

/// Nobody waits this long for a decision; a longer time must not overflow a clock.
const DEADLINE_MAX: Duration = Duration::from_secs(3_600);

impl super::RulesetCall {
    pub fn of(number: u32, call: &rules::RulesetCall) -> Self {
        let left = call.deadline.saturating_duration_since(Instant::now());
        Self {
            number,
            tenant: Bytes::copy_from_slice(call.tenant.0.as_bytes()),
            payment: packed(&*call.payment),
            rules: call.rules.iter().map(super::RuleCall::of).collect(),
            deadline_us: u64::try_from(left.as_micros()).unwrap_or(u64::MAX),
        }
    }

    pub fn read(self) -> Result<rules::RulesetCall, UnreadableMessage> {
        let tenant = Uuid::from_slice(&self.tenant);
        let left = Duration::from_micros(self.deadline_us).min(DEADLINE_MAX);
        Ok(rules::RulesetCall {
            tenant: TenantId(
                tenant.map_err(|_| UnreadableMessage("the id of a tenant is not 16 bytes long"))?,
            ),
            payment: Arc::new(unpacked(&self.payment, "a payment")?),
            rules: self.rules.into_iter().map(super::RuleCall::read).collect::<Result<_, _>>()?,
            deadline: Instant::now() + left,
        })
    }
}

impl super::RuleCall {
    pub fn of(call: &rules::RuleCall) -> Self {
        Self {
            plugin: digest_bytes(call.plugin),
            profile: profile_number(call.profile),
            state: Bytes::copy_from_slice(&call.state),
            facts: packed(&call.facts),
            fuel_spent_before: call.fuel_spent_before,
        }
    }

    pub fn read(self) -> Result<rules::RuleCall, UnreadableMessage> {
        Ok(rules::RuleCall {
            plugin: digest_of(&self.plugin)?,
            profile: profile_of(self.profile)?,
            state: Arc::from(&self.state[..]),
            facts: unpacked(&self.facts, "facts")?,
            fuel_spent_before: self.fuel_spent_before,
        })
    }
}

impl super::DiagnoseRequest {
    pub fn of(call: &FailedCall, bytes: Bytes) -> Self {
        use super::diagnose_request::Call;
        let call = match call {
            FailedCall::Prepare { plugin, settings } => Call::Prepare(super::PrepareRequest {
                plugin: digest_bytes(*plugin),
                settings: settings.clone(),
            }),
            FailedCall::Evaluate { payment, rule } => Call::Evaluate(super::EvaluateOne {
                payment: packed(&**payment),
                rule: Some(super::RuleCall::of(rule)),
            }),
        };
        Self { call: Some(call), bytes }
    }

    /// The call, and the bytes of its plugin.
    pub fn read(self) -> Result<(FailedCall, Arc<[u8]>), UnreadableMessage> {
        use super::diagnose_request::Call;
        let call = match self.call.ok_or(UnreadableMessage("no call"))? {
            Call::Prepare(call) => {
                FailedCall::Prepare { plugin: digest_of(&call.plugin)?, settings: call.settings }
            }
            Call::Evaluate(call) => FailedCall::Evaluate {
                payment: Arc::new(unpacked(&call.payment, "a payment")?),
                rule: call.rule.ok_or(UnreadableMessage("no rule"))?.read()?,
            },
        };
        Ok((call, Arc::from(&self.bytes[..])))
    }
}
