//! Owns the way from a settings text to the rule's own type, and what is said
//! when it is wrong. Must never accept a setting that the rule does not know:
//! a misspelt limit is no limit.

use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};

use crate::selector::pointer_step;
use crate::verdict::Reason;

/// Reads settings, or says which of them is wrong and where it stands.
pub fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, Vec<Reason>> {
    // Serde would take an array for a struct, field by field.
    if text.trim_start().starts_with('[') {
        return Err(vec![invalid_setting(
            "",
            "The settings are an object, not an array.",
        )]);
    }
    let mut source = serde_json::Deserializer::from_str(text);
    let settings = serde_path_to_error::deserialize(&mut source)
        .map_err(|error| vec![explain(error.inner(), error.path())])?;
    source.end().map_err(|error| vec![not_json(&error)])?;
    Ok(settings)
}

/// A setting of the right type that makes no sense, at its JSON pointer.
pub fn invalid_setting(field: impl Into<String>, message: impl Into<String>) -> Reason {
    Reason::new("invalid-setting", message).at(field)
}

fn not_json(error: &serde_json::Error) -> Reason {
    Reason::new(
        "settings-not-json",
        format!("The settings are not a JSON document: {error}."),
    )
    .at("")
}

fn explain(error: &serde_json::Error, path: &Path) -> Reason {
    if !error.is_data() {
        return not_json(error);
    }
    let text = error.to_string();
    // The pointer says where; a line and column of canonical JSON help no one.
    let what = text
        .rsplit_once(" at line ")
        .map_or(text.as_str(), |(what, _)| what);
    let field = pointer(path);
    if what.starts_with("unknown field") {
        Reason::new(
            "unknown-setting",
            format!("There is no such setting: {what}."),
        )
        .at(field)
    } else if let Some(name) = missing_name(what) {
        let message = format!("The setting '{name}' is required.");
        Reason::new("missing-setting", message).at(format!("{field}/{}", pointer_step(name)))
    } else {
        invalid_setting(field, format!("The setting has the wrong form: {what}."))
    }
}

fn missing_name(what: &str) -> Option<&str> {
    what.strip_prefix("missing field `")?.strip_suffix('`')
}

fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => pointer.push_str(&format!("/{}", pointer_step(key))),
            Segment::Enum { variant } => pointer.push_str(&format!("/{}", pointer_step(variant))),
            Segment::Unknown => break,
        }
    }
    pointer
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
        (
            reason.code,
            reason.field.expect("a refusal points somewhere"),
        )
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
        expect(r#"{"limits": 1}"#, "invalid-setting", "/limits");
        expect(r#"{"limits": [], "a/b": 1}"#, "unknown-setting", "/a~1b");
        let limit = |inner: &str| format!(r#"{{"limits": [{{{inner}}}]}}"#);
        expect(
            &limit(r#""selector": "ip""#),
            "missing-setting",
            "/limits/0/most",
        );
        expect(
            &limit(r#""selector": "ip", "most": -1"#),
            "invalid-setting",
            "/limits/0/most",
        );
        expect(
            &limit(r#""selector": "iq", "most": 1"#),
            "invalid-setting",
            "/limits/0/selector",
        );
        let wrong_key = limit(r#""selector": {"metadata": 1}, "most": 1"#);
        expect(&wrong_key, "invalid-setting", "/limits/0/selector/metadata");
    }

    #[test]
    fn a_setting_given_twice_is_refused() {
        expect(
            r#"{"limits": [], "limits": []}"#,
            "invalid-setting",
            "/limits",
        );
    }
}
