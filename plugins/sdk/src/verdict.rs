//! What a rule returns: a verdict with reasons, made from its findings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limits of the contract.
const MAX_MESSAGE_CHARS: usize = 500;
const MAX_FIELD_CHARS: usize = 256;

/// Why a rule returned a verdict or refused settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// A stable code for programs: lower-case words joined by hyphens.
    pub code: String,
    /// For people. Must not contain a whole account number or a name.
    pub message: String,
    /// A JSON pointer into the submitted payment or into the settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

impl Reason {
    /// A reason without a field.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        let mut message = message.into();
        // The message may contain names of any length from the settings.
        if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE_CHARS) {
            message.truncate(end);
        }
        Reason { code: code.to_owned(), message, field: None }
    }

    /// Sets the field.
    pub fn at(mut self, field: impl Into<String>) -> Self {
        let mut field = field.into();
        // The host refuses such a pointer, so the reason points to the parent.
        while field.chars().count() > MAX_FIELD_CHARS || field.chars().any(is_unreadable) {
            field.truncate(field.rfind('/').unwrap_or(0));
        }
        self.field = Some(field);
        self
    }
}

/// Control characters, and characters that reorder or break the text around them.
fn is_unreadable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// A rule's verdict about a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The rule has no objection.
    Pass,
    /// Cancels the reviews and rejects of overridable rules.
    Allow(Vec<Reason>),
    /// A person should review the payment.
    Review(Vec<Reason>),
    /// The payment should not be made.
    Reject(Vec<Reason>),
}

/// A verdict with notes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// The verdict.
    pub verdict: Verdict,
    /// Stored in the evidence, for people who may read decisions.
    pub notes: Vec<String>,
}

impl From<Verdict> for Evaluation {
    fn from(verdict: Verdict) -> Self {
        Evaluation { verdict, notes: Vec::new() }
    }
}

/// An evaluation with the verdict pass.
pub fn pass() -> Evaluation {
    Verdict::Pass.into()
}

/// An evaluation with the verdict allow.
pub fn allow(reason: Reason) -> Evaluation {
    Verdict::Allow(vec![reason]).into()
}

/// An evaluation with the verdict review.
pub fn review(reason: Reason) -> Evaluation {
    Verdict::Review(vec![reason]).into()
}

/// An evaluation with the verdict reject.
pub fn reject(reason: Reason) -> Evaluation {
    Verdict::Reject(vec![reason]).into()
}

/// What happens to the payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Consequence {
    /// No effect.
    Pass,
    /// A person should review the payment.
    Review,
    /// The payment should not be made.
    Reject,
}

/// What happens to a payment that a rule objects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Objection {
    /// A person should review the payment.
    Review,
    /// The payment should not be made.
    Reject,
}

/// Collects the findings of a rule. The strictest finding gives the verdict.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    allow: Vec<Reason>,
    review: Vec<Reason>,
    reject: Vec<Reason>,
    notes: Vec<String>,
}

impl Findings {
    /// No findings yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Allows the payment, unless there is a stricter finding.
    pub fn allow(&mut self, reason: Reason) {
        self.allow.push(reason);
    }

    /// Asks for a review.
    pub fn review(&mut self, reason: Reason) {
        self.review.push(reason);
    }

    /// Rejects the payment.
    pub fn reject(&mut self, reason: Reason) {
        self.reject.push(reason);
    }

    /// Reviews or rejects the payment.
    pub fn object(&mut self, objection: Objection, reason: Reason) {
        match objection {
            Objection::Review => self.review(reason),
            Objection::Reject => self.reject(reason),
        }
    }

    /// Adds a finding whose consequence the settings define.
    pub fn add(&mut self, consequence: Consequence, reason: Reason) {
        match consequence {
            Consequence::Pass => {}
            Consequence::Review => self.review(reason),
            Consequence::Reject => self.reject(reason),
        }
    }

    /// Adds a note.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The strictest verdict. A reject also keeps the reasons of reviews, after
    /// its own. Overruled reasons to allow become notes.
    pub fn into_evaluation(mut self) -> Evaluation {
        let strict = !self.reject.is_empty() || !self.review.is_empty();
        if strict {
            let overruled = self.allow.drain(..);
            self.notes.extend(
                overruled.map(|reason| format!("Overruled by a stricter finding: {}", reason.message)),
            );
        }
        let verdict = if !self.reject.is_empty() {
            self.reject.append(&mut self.review);
            Verdict::Reject(self.reject)
        } else if !self.review.is_empty() {
            Verdict::Review(self.review)
        } else if !self.allow.is_empty() {
            Verdict::Allow(self.allow)
        } else {
            Verdict::Pass
        };
        Evaluation { verdict, notes: self.notes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(code: &str) -> Reason {
        Reason::new(code, code)
    }

    #[test]
    fn the_strictest_finding_wins_and_keeps_the_milder_reasons() {
        let mut findings = Findings::new();
        findings.allow(reason("known"));
        findings.review(reason("odd"));
        findings.reject(reason("blocked"));
        let evaluation = findings.into_evaluation();
        assert_eq!(evaluation.verdict, Verdict::Reject(vec![reason("blocked"), reason("odd")]));
        assert_eq!(evaluation.notes, ["Overruled by a stricter finding: known"]);
    }

    #[test]
    fn a_message_is_cut_at_the_contracts_limit() {
        let length = |message: String| Reason::new("long", message).message.chars().count();
        assert_eq!(length("ä".repeat(500)), 500);
        assert_eq!(length("ä".repeat(501)), 500);
    }

    #[test]
    fn a_field_that_the_host_would_refuse_points_to_its_parent() {
        let field = |field: String| reason("wrong").at(field).field.expect("a field");
        assert_eq!(field("/a/b".to_owned()), "/a/b");
        assert_eq!(field(format!("/a/{}", "b".repeat(253))), format!("/a/{}", "b".repeat(253)));
        assert_eq!(field(format!("/a/{}", "b".repeat(254))), "/a");
        assert_eq!(field(format!("/{}", "b".repeat(256))), "");
        assert_eq!(field("/a/b\nc/d".to_owned()), "/a");
        assert_eq!(field("/a/\u{202e}b".to_owned()), "/a");
    }

    #[test]
    fn no_finding_means_pass() {
        assert_eq!(Findings::new().into_evaluation(), pass());
    }

    #[test]
    fn a_reason_to_allow_alone_allows() {
        let mut findings = Findings::new();
        findings.allow(reason("known"));
        assert_eq!(findings.into_evaluation(), allow(reason("known")));
    }
}
