//! A decision: the payment, everything its outcome depended on, and the outcome.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::payment::{Payment, PaymentId, PaymentOrder};
use super::plugin::{Digest, Profile};
use super::ruleset::Mode;
use super::selector::Fact;
use super::tenant::{ClientId, TenantId};
use super::verdict::{
    FailureOutcome, FoldResult, OutcomeReason, RuleResult, Vote, fold_of, fold_v2, no_active_ruleset,
};

/// The engine that computed the verdicts: the Wasmtime version and all settings that can change a
/// result or its fuel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EngineId(pub String);

/// How a payment came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Origin {
    Api,
    /// A past payment of another system. Its outcome was not decided here, so it cannot be
    /// replayed.
    Import,
}

impl Origin {
    pub const ALL: [Self; 2] = [Self::Api, Self::Import];

    pub fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Import => "import",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|origin| origin.name() == name)
    }
}

/// The client's key for one submission: 1 to 255 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    pub const LENGTH_MAX: usize = 255;

    pub fn parse(text: &str) -> Option<Self> {
        let valid =
            (1..=Self::LENGTH_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        valid.then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RevisionReference {
    pub number: i32,
    pub digest: Digest,
}

/// One rule of a decision: its entry in the ruleset, its facts and its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleEvidence {
    pub name: String,
    pub plugin: Digest,
    pub profile: Profile,
    pub on_failure: FailureOutcome,
    pub overridable: bool,
    pub mode: Mode,
    pub facts: Vec<Fact>,
    /// `None` for a rule in shadow mode.
    pub result: Option<RuleResult>,
    pub fuel_used: u64,
    /// Shown, but never compared by a replay.
    pub elapsed_us: u32,
}

/// The version in which evidence is stored. A node can write the version before the newest, so that
/// nodes of the release before can read everything while they are replaced one by one. Whatever
/// only the newest version can hold must be refused meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u16")]
pub enum EvidenceVersion {
    V2,
    V3,
}

impl EvidenceVersion {
    pub fn number(self) -> i16 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }

    /// The members of a payment that this version cannot hold, as JSON pointers.
    pub fn lacks(self, order: &PaymentOrder) -> Vec<&'static str> {
        if self == Self::V3 {
            return vec![];
        }
        let new = [
            ("/debtor/address", order.debtor.address.is_some()),
            ("/creditor/address", order.creditor.address.is_some()),
            ("/ultimate_debtor", order.ultimate_debtor.is_some()),
            ("/ultimate_creditor", order.ultimate_creditor.is_some()),
            ("/intermediary_agents", !order.intermediary_agents.is_empty()),
            ("/merchant_category", order.merchant_category.is_some()),
            ("/end_to_end_id", order.end_to_end_id.is_some()),
            ("/uetr", order.uetr.is_some()),
            ("/charge_bearer", order.charge_bearer.is_some()),
            ("/payee_verification", order.payee_verification.is_some()),
            ("/signals", !order.signals.is_empty()),
        ];
        new.into_iter().filter_map(|(member, is_present)| is_present.then_some(member)).collect()
    }
}

impl TryFrom<u16> for EvidenceVersion {
    type Error = &'static str;

    fn try_from(number: u16) -> Result<Self, Self::Error> {
        match number {
            2 => Ok(Self::V2),
            3 => Ok(Self::V3),
            _ => Err("expected 2 or 3"),
        }
    }
}

/// The recorded input and output of a decision, in the form that is stored as version 3. The bytes
/// of each version are frozen: any change of a type in here needs a new version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    pub payment: Arc<Payment>,
    /// `None` if no ruleset was active.
    pub revision: Option<RevisionReference>,
    pub rules: Vec<RuleEvidence>,
    pub engine: EngineId,
    pub fold_version: u16,
    pub reasons: Vec<OutcomeReason>,
    /// How the values were compared when the facts were looked up.
    pub comparison_version: u16,
}

impl Evidence {
    /// The outcome of the recorded results by the recorded fold version. The caller must have
    /// refused unknown versions.
    pub fn fold(&self) -> FoldResult {
        if self.revision.is_none() {
            return no_active_ruleset();
        }
        let votes: Vec<Vote<'_>> = self
            .rules
            .iter()
            .filter_map(|rule| {
                let result = rule.result.as_ref()?;
                Some(Vote {
                    rule: &rule.name,
                    overridable: rule.overridable,
                    on_failure: rule.on_failure,
                    result,
                })
            })
            .collect();
        fold_of(self.fold_version).unwrap_or(fold_v2)(&votes)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub tenant: TenantId,
    pub client: ClientId,
    pub key: IdempotencyKey,
    /// The hash of the payment as parsed, or of the request body in earlier releases. It
    /// distinguishes a retry from another payment with the same key.
    pub request_hash: Digest,
    pub origin: Origin,
    pub outcome: super::verdict::Outcome,
    pub evidence: Evidence,
}

impl Decision {
    pub fn id(&self) -> PaymentId {
        self.evidence.payment.id
    }
}
