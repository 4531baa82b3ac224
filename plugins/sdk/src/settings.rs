//! Reads the settings of a rule and explains errors in them.
//!
//! Unknown settings must be refused: a misspelt limit would limit nothing.

mod json;
mod typed;

use serde::de::DeserializeOwned;

use crate::selector::pointer_step;
use crate::verdict::Reason;
use json::JsonError;
use typed::{SettingError, SettingErrorKind};

/// Reads settings. The reasons of an error point to the wrong setting.
pub fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, Vec<Reason>> {
    let json = json::parse(text).map_err(|error| vec![not_json(&error)])?;
    T::deserialize(&json).map_err(|error| vec![explain(&error)])
}

/// Refuses the setting at this JSON pointer.
pub fn invalid_setting(field: impl Into<String>, message: impl Into<String>) -> Reason {
    Reason::new("invalid-setting", message).at(field)
}

fn not_json(error: &JsonError) -> Reason {
    let JsonError { description, offset_bytes } = error;
    let message = format!("The settings are not valid JSON: {description} at byte {offset_bytes}.");
    Reason::new("settings-not-json", message).at("")
}

fn explain(error: &SettingError) -> Reason {
    let mut field = String::new();
    for step in error.reversed_steps.iter().rev() {
        field.push('/');
        field.push_str(&pointer_step(step));
    }
    let name = error.reversed_steps.first().map_or("", String::as_str);
    match &error.kind {
        SettingErrorKind::Unknown { known } => {
            let known = known.join(", ");
            let message = format!("Unknown setting '{name}'. The settings here are: {known}.");
            Reason::new("unknown-setting", message).at(field)
        }
        SettingErrorKind::Missing => {
            let message = format!("The setting '{name}' is required.");
            Reason::new("missing-setting", message).at(field)
        }
        SettingErrorKind::Invalid(description) => {
            invalid_setting(field, format!("Invalid setting: {description}."))
        }
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
    fn wrong_settings_are_refused_with_a_pointer_to_the_wrong_place() {
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
