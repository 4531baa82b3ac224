//! Owns what a rule answers: reasons, verdicts and how several findings become
//! one verdict. Must never fold the verdicts of several rules: the host does.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The contract's own bound.
const LONGEST_MESSAGE_CHARS: usize = 500;
const LONGEST_FIELD_CHARS: usize = 256;

/// Why a rule said what it said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// Stable and for machines: lower-case words joined by hyphens.
    pub code: String,
    /// For people. Never a whole account number, never a name.
    pub message: String,
    /// JSON pointer into the payment as submitted, or into the settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

impl Reason {
    /// A reason that points nowhere yet.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        let mut message = message.into();
        // Names that settings choose may be of any length.
        if let Some((end, _)) = message.char_indices().nth(LONGEST_MESSAGE_CHARS) {
            message.truncate(end);
        }
        Reason { code: code.to_owned(), message, field: None }
    }

    /// Points at a field of the payment as submitted, or of the settings.
    pub fn at(mut self, field: impl Into<String>) -> Self {
        let mut field = field.into();
        // The host does not accept a pointer to a setting of such a name, so it points to the parent.
        while field.chars().count() > LONGEST_FIELD_CHARS || field.chars().any(is_unreadable) {
            field.truncate(field.rfind('/').unwrap_or(0));
        }
        self.field = Some(field);
        self
    }
}

/// Control characters, and those that reorder or break the text around them.
fn is_unreadable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// What one rule says about a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to say.
    Pass,
    /// Cancels the review or reject of overridable rules.
    Allow(Vec<Reason>),
    /// A person should look at it.
    Review(Vec<Reason>),
    /// It should not be made.
    Reject(Vec<Reason>),
}

/// A verdict, with notes for those who may read decisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// What the rule says.
    pub verdict: Verdict,
    /// For the evidence only.
    pub notes: Vec<String>,
}

impl From<Verdict> for Evaluation {
    fn from(verdict: Verdict) -> Self {
        Evaluation { verdict, notes: Vec::new() }
    }
}

/// Nothing to say.
pub fn pass() -> Evaluation {
    Verdict::Pass.into()
}

/// Cancels the review or reject of overridable rules.
pub fn allow(reason: Reason) -> Evaluation {
    Verdict::Allow(vec![reason]).into()
}

/// A person should look at it.
pub fn review(reason: Reason) -> Evaluation {
    Verdict::Review(vec![reason]).into()
}

/// It should not be made.
pub fn reject(reason: Reason) -> Evaluation {
    Verdict::Reject(vec![reason]).into()
}

/// What a setting makes of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Consequence {
    /// Nothing comes of it.
    Pass,
    /// A person should look at it.
    Review,
    /// The payment should not be made.
    Reject,
}

/// Gathers what a rule finds; the strictest finding gives the verdict.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    allow: Vec<Reason>,
    review: Vec<Reason>,
    reject: Vec<Reason>,
    notes: Vec<String>,
}

impl Findings {
    /// Nothing found.
    pub fn new() -> Self {
        Self::default()
    }

    /// Allows the payment, unless something stricter is found.
    pub fn allow(&mut self, reason: Reason) {
        self.allow.push(reason);
    }

    /// Asks for a person.
    pub fn review(&mut self, reason: Reason) {
        self.review.push(reason);
    }

    /// Rejects the payment.
    pub fn reject(&mut self, reason: Reason) {
        self.reject.push(reason);
    }

    /// Whatever the settings make of it.
    pub fn add(&mut self, consequence: Consequence, reason: Reason) {
        match consequence {
            Consequence::Pass => {}
            Consequence::Review => self.review(reason),
            Consequence::Reject => self.reject(reason),
        }
    }

    /// For those who may read decisions; no part of the verdict.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The strictest verdict found. Its own reasons come first, then those of
    /// a milder review; an allowance that was overruled is kept as a note.
    pub fn into_evaluation(mut self) -> Evaluation {
        let strict = !self.reject.is_empty() || !self.review.is_empty();
        if strict {
            let overruled = self.allow.drain(..);
            self.notes.extend(overruled.map(|reason| format!("overruled: {}", reason.message)));
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
        assert_eq!(evaluation.notes, ["overruled: known"]);
    }

    #[test]
    fn a_message_is_cut_at_the_contracts_bound() {
        let length = |message: String| Reason::new("long", message).message.chars().count();
        assert_eq!(length("ä".repeat(500)), 500);
        assert_eq!(length("ä".repeat(501)), 500);
    }

    #[test]
    fn a_field_that_the_host_would_not_take_points_to_what_holds_it() {
        let field = |field: String| reason("wrong").at(field).field.expect("a field");
        assert_eq!(field("/a/b".to_owned()), "/a/b");
        assert_eq!(field(format!("/a/{}", "b".repeat(253))), format!("/a/{}", "b".repeat(253)));
        assert_eq!(field(format!("/a/{}", "b".repeat(254))), "/a");
        assert_eq!(field(format!("/{}", "b".repeat(256))), "");
        assert_eq!(field("/a/b\nc/d".to_owned()), "/a");
        assert_eq!(field("/a/\u{202e}b".to_owned()), "/a");
    }

    #[test]
    fn nothing_found_passes() {
        assert_eq!(Findings::new().into_evaluation(), pass());
    }

    #[test]
    fn an_allowance_alone_allows() {
        let mut findings = Findings::new();
        findings.allow(reason("known"));
        assert_eq!(findings.into_evaluation(), allow(reason("known")));
    }
}
