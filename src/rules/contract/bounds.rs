//! The bounds of every answer, for all versions of the contract.
//!
//! Control characters in text for people become spaces. Everything else outside the bounds is
//! refused: a repaired answer could mean something that the rule did not say.

mod queries;

use crate::domain::plugin::Description;
use crate::domain::selector::FactQuery;
use crate::domain::verdict::{Evaluation, Reason, Verdict};

const CODE_CHARS_MAX: usize = 64;
const TEXT_CHARS_MAX: usize = 500;
const FIELD_CHARS_MAX: usize = 256;
const VERSION_CHARS_MAX: usize = 64;
const REASONS_MAX: usize = 32;
const NOTES_MAX: usize = 32;
/// All text of one evaluation. A decision stores the text of up to fifty rules and keeps it in
/// memory until then.
const EVALUATION_BYTES_MAX: usize = 32 << 10;
const QUERIES_MAX: usize = 32;
const STATE_BYTES_MAX: usize = 64 << 10;
const SCHEMA_BYTES_MAX: usize = 64 << 10;

/// The bound that the rule violated, as a text for its author.
pub(super) type Violation = String;

pub(super) fn evaluation(mut evaluation: Evaluation) -> Result<Evaluation, Violation> {
    let (name, needs_reason) = match &evaluation.verdict {
        Verdict::Pass => ("pass", false),
        Verdict::Allow(_) => ("allow", false),
        Verdict::Review(_) => ("review", true),
        Verdict::Reject(_) => ("reject", true),
    };
    if let Verdict::Allow(list) | Verdict::Review(list) | Verdict::Reject(list) = &mut evaluation.verdict {
        if needs_reason && list.is_empty() {
            return Err(format!("a {name} without a reason"));
        }
        reasons(list)?;
    }
    if evaluation.notes.len() > NOTES_MAX {
        return Err(format!("{} notes, at most {NOTES_MAX} are allowed", evaluation.notes.len()));
    }
    for note in &mut evaluation.notes {
        *note = text_for_people("a note", note)?;
    }
    let bytes = text_bytes(&evaluation);
    if bytes > EVALUATION_BYTES_MAX {
        return Err(format!("{bytes} bytes of text, at most {EVALUATION_BYTES_MAX} are allowed"));
    }
    Ok(evaluation)
}

fn text_bytes(evaluation: &Evaluation) -> usize {
    let reason = |reason: &Reason| {
        reason.code.len() + reason.message.len() + reason.field.as_ref().map_or(0, String::len)
    };
    evaluation.verdict.reasons().iter().map(reason).sum::<usize>()
        + evaluation.notes.iter().map(String::len).sum::<usize>()
}

pub(super) fn refusal(mut list: Vec<Reason>) -> Result<Vec<Reason>, Violation> {
    if list.is_empty() {
        return Err("settings refused without a reason".to_owned());
    }
    reasons(&mut list)?;
    Ok(list)
}

pub(super) fn prepared(asked: &[FactQuery], state: &[u8]) -> Result<(), Violation> {
    if state.len() > STATE_BYTES_MAX {
        return Err(format!("a state of {} bytes, at most {STATE_BYTES_MAX} are allowed", state.len()));
    }
    if asked.len() > QUERIES_MAX {
        return Err(format!("{} queries, at most {QUERIES_MAX} are allowed", asked.len()));
    }
    asked.iter().try_for_each(queries::query)
}

pub(super) fn description(mut description: Description) -> Result<Description, Violation> {
    if !is_slug(&description.name) {
        return Err(format!("a name that is not {SLUG}"));
    }
    if !is_semantic_version(&description.version) {
        return Err("a version that is not a semantic version such as 1.0.0".to_owned());
    }
    description.summary = text_for_people("a summary", &description.summary)?;
    let schema = &description.settings_schema;
    if schema.len() > SCHEMA_BYTES_MAX {
        return Err(format!("a settings schema of {} bytes, at most {SCHEMA_BYTES_MAX}", schema.len()));
    }
    if serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(schema).is_err() {
        return Err("a settings schema that is not a JSON object".to_owned());
    }
    Ok(description)
}

/// The error text of a rule. It decides nothing, so a long one is cut.
pub(in crate::rules) fn plain_detail(text: &str) -> String {
    plain(text).chars().take(TEXT_CHARS_MAX).collect()
}

fn reasons(list: &mut [Reason]) -> Result<(), Violation> {
    if list.len() > REASONS_MAX {
        return Err(format!("{} reasons, at most {REASONS_MAX} are allowed", list.len()));
    }
    for reason in list {
        if !is_slug(&reason.code) {
            return Err(format!("a reason code that is not {SLUG}"));
        }
        reason.message = text_for_people("a message", &reason.message)?;
        if reason.field.as_deref().is_some_and(|field| !is_json_pointer(field)) {
            return Err(format!(
                "a field that is not a JSON pointer of at most {FIELD_CHARS_MAX} characters"
            ));
        }
    }
    Ok(())
}

fn text_for_people(what: &str, text: &str) -> Result<String, Violation> {
    let length = text.chars().count();
    if length > TEXT_CHARS_MAX {
        return Err(format!("{what} of {length} characters, at most {TEXT_CHARS_MAX} are allowed"));
    }
    Ok(plain(text))
}

fn plain(text: &str) -> String {
    text.chars().map(|c| if is_invisible(c) { ' ' } else { c }).collect()
}

/// Control characters, and characters that reorder text or break its lines.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

const SLUG: &str = "lower-case words joined by hyphens, at most 64 characters";

fn is_slug(text: &str) -> bool {
    text.len() <= CODE_CHARS_MAX
        && text.split('-').all(|word| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        })
}

fn is_json_pointer(text: &str) -> bool {
    let mut characters = text.chars().peekable();
    let mut escapes_hold = true;
    while let Some(c) = characters.next() {
        escapes_hold &= c != '~' || matches!(characters.peek(), Some('0' | '1'));
    }
    escapes_hold
        && (text.is_empty() || text.starts_with('/'))
        && text.chars().count() <= FIELD_CHARS_MAX
        && !text.chars().any(is_invisible)
}

fn is_semantic_version(text: &str) -> bool {
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<&str> = core.split('.').collect();
    text.len() <= VERSION_CHARS_MAX
        && numbers.len() == 3
        && numbers.iter().all(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::selector::{Matching, Selector};

    fn reason(code: &str, message: &str, field: Option<&str>) -> Reason {
        Reason { code: code.to_owned(), message: message.to_owned(), field: field.map(str::to_owned) }
    }

    fn rejected(reasons: Vec<Reason>) -> Result<Evaluation, Violation> {
        evaluation(Evaluation { verdict: Verdict::Reject(reasons), notes: vec![] })
    }

    #[test]
    fn reasons_are_held_to_their_form() {
        for code in ["a", "amount-above-2", &"x".repeat(64)] {
            assert!(rejected(vec![reason(code, "m", None)]).is_ok(), "{code}");
        }
        for code in ["", "A", "a_b", "-a", "a-", "a--b", "ä", "a b", &"x".repeat(65)] {
            assert!(rejected(vec![reason(code, "m", None)]).is_err(), "{code}");
        }
        for field in ["", "/", "/a/0", "/a~0b~1", &format!("/{}", "x".repeat(255))] {
            assert!(rejected(vec![reason("a", "m", Some(field))]).is_ok(), "{field}");
        }
        for field in ["a", "/~", "/~2", "/a\n", &format!("/{}", "x".repeat(256))] {
            assert!(rejected(vec![reason("a", "m", Some(field))]).is_err(), "{field}");
        }
    }

    #[test]
    fn a_review_and_a_reject_need_a_reason_and_an_allow_does_not() {
        let with = |verdict| evaluation(Evaluation { verdict, notes: vec![] });
        assert_eq!(rejected(vec![]), Err("a reject without a reason".to_owned()));
        assert_eq!(with(Verdict::Review(vec![])), Err("a review without a reason".to_owned()));
        assert!(with(Verdict::Allow(vec![])).is_ok());
        assert!(with(Verdict::Pass).is_ok());
    }

    #[test]
    fn numbers_and_lengths_are_bounded() {
        assert!(rejected(vec![reason("a", &"ü".repeat(500), None); 32]).is_ok());
        assert!(rejected(vec![reason("a", &"ü".repeat(501), None)]).is_err());
        assert!(rejected(vec![reason("a", "m", None); 33]).is_err());
        let noted = |notes| evaluation(Evaluation { verdict: Verdict::Pass, notes });
        assert!(noted(vec!["n".repeat(500); 32]).is_ok());
        assert!(noted(vec![String::new(); 33]).is_err());
        assert!(noted(vec!["n".repeat(501)]).is_err());
        assert!(noted(vec!["\u{1f4b6}".repeat(500); 16]).is_ok());
        assert!(noted(vec!["\u{1f4b6}".repeat(500); 17]).is_err(), "all text together");
    }

    #[test]
    fn text_for_people_loses_its_control_characters() {
        let evaluation = rejected(vec![reason("a", "one\r\ntwo\u{1b}[31m\u{202e}end", None)]);
        let message = evaluation.map(|evaluation| evaluation.verdict.reasons()[0].message.clone());
        assert_eq!(message, Ok("one  two [31m end".to_owned()));
    }

    #[test]
    fn what_a_rule_prepares_is_bounded() {
        let listed = |list: &str| FactQuery::Listed {
            list: list.to_owned(),
            selector: Selector::Ip,
            matching: Matching::Exact,
        };
        assert!(prepared(&vec![listed("blocked"); 32], &[0; 65536]).is_ok());
        assert!(prepared(&vec![listed("blocked"); 33], &[]).is_err());
        assert!(prepared(&[listed("blocked"), listed("Blocked")], &[]).is_err());
        assert!(prepared(&[], &[0; 65537]).is_err());
    }

    #[test]
    fn a_description_is_bounded() {
        let good = Description {
            name: "amount-limits".to_owned(),
            version: "1.2.3-rc.1+b5".to_owned(),
            summary: "Limits amounts.".to_owned(),
            settings_schema: "{\"type\":\"object\"}".to_owned(),
        };
        assert_eq!(description(good.clone()), Ok(good.clone()));
        for wrong in [
            Description { name: "Amount Limits".to_owned(), ..good.clone() },
            Description { version: "1.2".to_owned(), ..good.clone() },
            Description { version: "1.2.x".to_owned(), ..good.clone() },
            Description { version: "1.2.3 ".to_owned(), ..good.clone() },
            Description { summary: "s".repeat(501), ..good.clone() },
            Description { settings_schema: "[]".to_owned(), ..good.clone() },
            Description { settings_schema: "{".to_owned(), ..good.clone() },
            Description { settings_schema: format!("{{\"a\":\"{}\"}}", "x".repeat(65536)), ..good },
        ] {
            assert!(description(wrong.clone()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_detail_of_a_failure_is_cut_and_readable() {
        assert_eq!(plain_detail(&format!("a\0b{}", "x".repeat(600))).chars().count(), 500);
        assert_eq!(plain_detail("a\0b"), "a b");
    }
}
