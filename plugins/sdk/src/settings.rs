//! Owns the way from a settings text to the rule's own type, and what is said
//! when it is wrong. Must never accept a setting that the rule does not know:
//! a misspelt limit is no limit.

mod json;
mod typed;

use serde::de::DeserializeOwned;

use crate::selector::pointer_step;
use crate::verdict::Reason;
use json::NotJson;
use typed::{Kind, Wrong};

/// Reads settings, or says which of them is wrong and where it stands.
pub fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, Vec<Reason>> {
    let json = json::parse(text).map_err(|wrong| vec![not_json(&wrong)])?;
    T::deserialize(&json).map_err(|wrong| vec![explain(&wrong)])
}

/// A setting of the right type that makes no sense, at its JSON pointer.
pub fn invalid_setting(field: impl Into<String>, message: impl Into<String>) -> Reason {
    Reason::new("invalid-setting", message).at(field)
}

fn not_json(wrong: &NotJson) -> Reason {
    let NotJson { what, offset_bytes } = wrong;
    let message = format!("The settings are not JSON: {what} at byte {offset_bytes}.");
    Reason::new("settings-not-json", message).at("")
}

fn explain(wrong: &Wrong) -> Reason {
    let mut field = String::new();
    for step in wrong.reversed_steps.iter().rev() {
        field.push('/');
        field.push_str(&pointer_step(step));
    }
    let name = wrong.reversed_steps.first().map_or("", String::as_str);
    match &wrong.kind {
        Kind::Unknown { known } => {
            let known = known.join(", ");
            let message = format!("There is no setting '{name}' here. There are: {known}.");
            Reason::new("unknown-setting", message).at(field)
        }
        Kind::Missing => {
            let message = format!("The setting '{name}' is required.");
            Reason::new("missing-setting", message).at(field)
        }
        Kind::Invalid(what) => invalid_setting(field, format!("Wrong setting: {what}.")),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::selector::Selector;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        #[allow(dead_code)]
        limits: Vec<Limit>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Limit {
        #[allow(dead_code)]
        selector: Selector,
        #[allow(dead_code)]
        most: u64,
    }

    fn refusal(text: &str) -> (String, String) {
        let mut reasons = from_json::<Settings>(text).expect_err("the settings are wrong");
        let reason = reasons.remove(0);
        (reason.code, reason.field.expect("a refusal points somewhere"))
    }

    fn expect(text: &str, code: &str, field: &str) {
        assert_eq!(refusal(text), (code.to_owned(), field.to_owned()), "{text}");
    }

    #[test]
    fn wrong_settings_are_refused_at_the_place_that_is_wrong() {
        expect("{", "settings-not-json", "");
        expect(r#"{"limits": []} x"#, "settings-not-json", "");
        expect("[]", "invalid-setting", "");
        expect("7", "invalid-setting", "");
        expect("{}", "missing-setting", "/limits");
        expect(r#"{"limits": [["ip", 1]]}"#, "invalid-setting", "/limits/0");
        expect(r#"{"limits": 1}"#, "invalid-setting", "/limits");
        expect(r#"{"limits": [], "a/b": 1}"#, "unknown-setting", "/a~1b");
        let limit = |inner: &str| format!(r#"{{"limits": [{{{inner}}}]}}"#);
        expect(&limit(r#""selector": "ip""#), "missing-setting", "/limits/0/most");
        expect(&limit(r#""selector": "ip", "most": -1"#), "invalid-setting", "/limits/0/most");
        expect(&limit(r#""selector": "iq", "most": 1"#), "invalid-setting", "/limits/0/selector");
        let wrong_key = limit(r#""selector": {"metadata": 1}, "most": 1"#);
        expect(&wrong_key, "invalid-setting", "/limits/0/selector/metadata");
    }

    #[test]
    fn a_setting_given_twice_is_refused() {
        expect(r#"{"limits": [], "limits": []}"#, "invalid-setting", "/limits");
    }
}
