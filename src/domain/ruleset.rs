//! Rulesets: the rules of a tenant for a decision point, in immutable revisions.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::plugin::{Digest, Profile};
use super::selector::FactQuery;
use super::verdict::FailureOutcome;

/// The most rules of one revision. Together with the fuel of a rule, this bounds the work of a
/// decision.
pub const RULES_MAX: usize = 50;

/// The most different queries of the rules of one revision. They are all looked up for each
/// payment, and a query by prefix compares up to 140 texts.
pub const QUERIES_MAX: usize = 128;

/// What a ruleset decides on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DecisionPoint {
    Payment,
}

impl DecisionPoint {
    pub fn name(self) -> &'static str {
        match self {
            Self::Payment => "payment",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        (name == Self::Payment.name()).then_some(Self::Payment)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mode {
    Live,
    /// The rule runs after the response, without effect on the outcome.
    Shadow,
}

impl Mode {
    pub const ALL: [Self; 2] = [Self::Live, Self::Shadow];

    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Shadow => "shadow",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// A plugin bound into a ruleset, as the administrator wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleEntry {
    /// Unique in its revision: lower-case words joined by hyphens, at most 64 characters.
    pub name: String,
    pub plugin: Digest,
    /// JSON text.
    pub settings: String,
    pub on_failure: FailureOutcome,
    pub overridable: bool,
    pub mode: Mode,
}

/// An entry, with the result of the rule's `prepare`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedRule {
    pub entry: RuleEntry,
    pub profile: Profile,
    pub queries: Vec<FactQuery>,
    pub state: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    pub point: DecisionPoint,
    /// Counts from 1 for each tenant and decision point.
    pub number: i32,
    /// The SHA-256 of the stored form of `rules`.
    pub digest: Digest,
    pub rules: Vec<PreparedRule>,
    pub note: String,
    pub created_by: String,
    pub created_at_ms: u64,
}

/// A rule that uses a plugin, and the revision that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginUse {
    pub plugin: Digest,
    pub point: DecisionPoint,
    pub revision: i32,
    pub rule: String,
    /// Whether the revision is the active one of the deployment, its canary or its shadow.
    pub active: bool,
    pub canary: bool,
    pub shadow: bool,
}

/// A share of all payments in ten-thousandths: 1 to 10 000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u16);

impl Share {
    pub const WHOLE: u16 = 10_000;

    pub fn new(ten_thousandths: u16) -> Option<Self> {
        (1..=Self::WHOLE).contains(&ten_thousandths).then_some(Self(ten_thousandths))
    }

    pub fn ten_thousandths(self) -> u16 {
        self.0
    }

    pub fn percent(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// Whether a payment belongs to the share. `drawn` is computed from the payment's key and
    /// evenly distributed.
    pub fn holds(self, drawn: u64) -> bool {
        drawn % u64::from(Self::WHOLE) < u64::from(self.0)
    }
}

/// A revision that decides for a share of the payments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canary {
    pub revision: i32,
    pub share: Share,
}

/// The revisions that take part in a tenant's decisions: the content of one activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deployment {
    /// The active revision.
    pub revision: i32,
    /// Decides for a share of the payments instead of the active revision.
    pub canary: Option<Canary>,
    /// Runs after the response, without effect.
    pub shadow: Option<i32>,
}

impl Deployment {
    /// The revisions of the deployment, each once.
    pub fn revisions(&self) -> Vec<i32> {
        let mut all = vec![self.revision];
        all.extend(self.canary.map(|canary| canary.revision));
        all.extend(self.shadow);
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// What decides from a line of the activation log on, and the place of that line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActivatedDeployment {
    /// Rises over all tenants. Nodes poll it.
    pub sequence: i64,
    pub point: DecisionPoint,
    pub deployment: Deployment,
}

/// What an activation changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivationKind {
    Activate,
    RollBack,
    Canary,
    Shadow,
}

impl ActivationKind {
    pub const ALL: [Self; 4] = [Self::Activate, Self::RollBack, Self::Canary, Self::Shadow];

    pub fn name(self) -> &'static str {
        match self {
            Self::Activate => "activate",
            Self::RollBack => "roll_back",
            Self::Canary => "canary",
            Self::Shadow => "shadow",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One line of the append-only activation log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    /// Rises over all tenants. Nodes poll it.
    pub sequence: i64,
    pub point: DecisionPoint,
    pub kind: ActivationKind,
    pub deployment: Deployment,
    /// The backtest whose result permitted the activation.
    pub guard_backtest: Option<Uuid>,
    pub activated_by: String,
    pub activated_at_ms: u64,
}

/// The revisions that were activated and not rolled back since, the active one last. `log` starts
/// with the oldest activation.
pub fn activated_and_not_undone(log: impl IntoIterator<Item = (ActivationKind, i32)>) -> Vec<i32> {
    let mut stack: Vec<i32> = Vec::new();
    for (kind, revision) in log {
        if kind == ActivationKind::RollBack
            && let Some(place) = stack.iter().rposition(|earlier| *earlier == revision)
        {
            stack.truncate(place);
        }
        if stack.last() != Some(&revision) {
            stack.push(revision);
        }
    }
    stack
}

/// Since when `holds` has been true for every deployment, up to the newest one. `None` if it is
/// false for the newest.
pub fn deployed_since_ms(newest_first: &[Activation], holds: impl Fn(&Deployment) -> bool) -> Option<u64> {
    let unbroken = newest_first.iter().take_while(|activation| holds(&activation.deployment));
    unbroken.last().map(|activation| activation.activated_at_ms)
}

/// Lower-case words of letters and digits joined by hyphens, at most 64 characters.
pub fn is_slug(text: &str) -> bool {
    text.len() <= 64
        && text.split('-').all(|word| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rolling_back_again_and_again_goes_further_back_and_never_in_circles() {
        use ActivationKind::{Activate, Canary, RollBack};
        for (log, left) in [
            (&[(Activate, 1), (Activate, 2), (Activate, 3)][..], &[1, 2, 3][..]),
            (&[(Activate, 1), (Activate, 2), (Activate, 3), (RollBack, 2)], &[1, 2]),
            (&[(Activate, 1), (Activate, 2), (Activate, 3), (RollBack, 2), (RollBack, 1)], &[1]),
            (&[(Activate, 1), (Activate, 2), (RollBack, 1), (Activate, 3)], &[1, 3]),
            (&[(Activate, 1), (Activate, 2), (Activate, 3), (RollBack, 1)], &[1]),
            (&[(Activate, 1), (Canary, 1), (Activate, 1)], &[1]),
            (&[(Activate, 1), (Activate, 2), (Activate, 1), (RollBack, 2)], &[1, 2]),
        ] {
            assert_eq!(activated_and_not_undone(log.iter().copied()), left, "{log:?}");
        }
    }

    #[test]
    fn what_is_deployed_counts_from_its_first_line_after_the_last_break() {
        let line = |at_ms: u64, revision: i32, shadow: Option<i32>| Activation {
            sequence: 0,
            point: DecisionPoint::Payment,
            kind: ActivationKind::Activate,
            deployment: Deployment { revision, canary: None, shadow },
            guard_backtest: None,
            activated_by: String::new(),
            activated_at_ms: at_ms,
        };
        let log = [line(50, 2, Some(3)), line(40, 1, Some(3)), line(30, 1, None), line(20, 1, Some(3))];
        assert_eq!(deployed_since_ms(&log, |deployment| deployment.shadow == Some(3)), Some(40));
        assert_eq!(deployed_since_ms(&log, |deployment| deployment.revision == 2), Some(50));
        assert_eq!(deployed_since_ms(&log, |deployment| deployment.revision == 1), None);
    }

    #[test]
    fn a_share_holds_as_many_of_ten_thousand_as_it_says_and_keeps_them_as_it_grows() {
        assert_eq!((Share::new(0), Share::new(10_001)), (None, None));
        let (small, large) = (Share::new(500).expect("valid"), Share::new(2_000).expect("valid"));
        assert_eq!((0..20_000).filter(|drawn| small.holds(*drawn)).count(), 1_000);
        assert!((0..20_000).all(|drawn| !small.holds(drawn) || large.holds(drawn)));
    }

    #[test]
    fn a_slug_is_lower_case_words_joined_by_hyphens() {
        for (text, expected) in [
            ("velocity", true),
            ("card-velocity-24h", true),
            ("", false),
            ("-a", false),
            ("a--b", false),
            ("Velocity", false),
            ("a_b", false),
        ] {
            assert_eq!(is_slug(text), expected, "{text}");
        }
        assert!(!is_slug(&"a".repeat(65)));
    }
}
