//! Times in responses, in both forms: `at_ms` in milliseconds, and beside it `at` in the notation of
//! RFC 3339.
//!
//! A shape has one field, `at_ms`, of the type [`Moment`]; the second member is added when the
//! response is written as JSON. A duration must not be a `Moment`.

use std::io::{self, Write};

use serde::{Serialize, Serializer};
use serde_json::ser::{CompactFormatter, Formatter};
use utoipa::openapi::schema::{KnownFormat, SchemaFormat, Type};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::http::rfc3339::{TIME_MS_MAX, name_without_unit, written};

/// A time, in UTC milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(pub u64);

/// A time whose members are null if it is not known. Where they would rather be absent, use
/// `Option<Moment>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MomentOrNull(pub Option<u64>);

impl From<u64> for Moment {
    fn from(time_ms: u64) -> Self {
        Self(time_ms)
    }
}

/// As a number of 128 bits, by which `BothForms` recognises it. Nothing else in a response is as
/// wide.
impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u128(self.0.into())
    }
}

/// A time that is not known is a number that is too large for a time.
impl Serialize for MomentOrNull {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u128(self.0.map_or(u128::MAX, u128::from))
    }
}

/// `openapi::moments` replaces references to these schemas.
impl PartialSchema for Moment {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::Int64);
        let number = ObjectBuilder::new().schema_type(Type::Integer).format(Some(format));
        number.minimum(Some(0)).maximum(Some(TIME_MS_MAX)).into()
    }
}

impl ToSchema for Moment {}

impl PartialSchema for MomentOrNull {
    fn schema() -> RefOr<Schema> {
        Moment::schema()
    }
}

impl ToSchema for MomentOrNull {}

/// A value as JSON, with both forms of each time.
pub fn to_json(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut json = Vec::with_capacity(1 << 10);
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut json, BothForms::default()))?;
    Ok(json)
}

/// Writes compact JSON, and after each `Moment` the member with its other form.
#[derive(Debug, Default)]
struct BothForms {
    /// The latest key of an object. Empty in an array, whose items have no names.
    key: String,
    is_in_key: bool,
}

impl Formatter for BothForms {
    fn begin_object_key<W: ?Sized + Write>(&mut self, json: &mut W, is_first: bool) -> io::Result<()> {
        self.key.clear();
        self.is_in_key = true;
        CompactFormatter.begin_object_key(json, is_first)
    }

    fn end_object_key<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.is_in_key = false;
        Ok(())
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, json: &mut W, is_first: bool) -> io::Result<()> {
        self.key.clear();
        CompactFormatter.begin_array_value(json, is_first)
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, json: &mut W, text: &str) -> io::Result<()> {
        if self.is_in_key {
            self.key.push_str(text);
        }
        json.write_all(text.as_bytes())
    }

    fn write_u128<W: ?Sized + Write>(&mut self, json: &mut W, value: u128) -> io::Result<()> {
        let time_ms = u64::try_from(value).ok();
        match time_ms {
            Some(time_ms) => write!(json, "{time_ms}")?,
            None => json.write_all(b"null")?,
        }
        let Some(name) = name_without_unit(&self.key) else { return Ok(()) };
        match time_ms.and_then(written) {
            Some(text) => write!(json, ",\"{name}\":\"{text}\""),
            None => write!(json, ",\"{name}\":null"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[derive(Serialize)]
    struct Told {
        at_ms: Moment,
        #[serde(skip_serializing_if = "Option::is_none")]
        closed_at_ms: Option<Moment>,
        erased_at_ms: MomentOrNull,
        /// A duration.
        window_ms: u64,
        #[serde(flatten)]
        inside: Inside,
        items: Vec<Inside>,
        /// JSON of a client, in which nothing is added.
        settings: Value,
    }

    #[derive(Serialize, Clone)]
    struct Inside {
        since_ms: Moment,
    }

    #[test]
    fn each_time_has_both_forms_at_any_depth_and_nothing_else_has() {
        let inside = Inside { since_ms: Moment(1_795_941_000_123) };
        let told = Told {
            at_ms: Moment(0),
            closed_at_ms: None,
            erased_at_ms: MomentOrNull(None),
            window_ms: 7,
            inside: inside.clone(),
            items: vec![inside],
            settings: json!({"from_ms": 5, "to_ms": null}),
        };
        let json = to_json(&told).expect("JSON");
        let since = json!({"since_ms": 1_795_941_000_123_u64, "since": "2026-11-29T08:30:00.123Z"});
        assert_eq!(
            serde_json::from_slice::<Value>(&json).expect("JSON"),
            json!({
                "at_ms": 0, "at": "1970-01-01T00:00:00.000Z", "erased_at_ms": null, "erased_at": null,
                "window_ms": 7, "since_ms": since["since_ms"], "since": since["since"], "items": [since],
                "settings": {"from_ms": 5, "to_ms": null},
            })
        );
        let closed = Told { closed_at_ms: Some(Moment(1)), erased_at_ms: MomentOrNull(Some(2)), ..told };
        let json: Value = serde_json::from_slice(&to_json(&closed).expect("JSON")).expect("JSON");
        assert_eq!(
            (&json["closed_at"], &json["erased_at"]),
            (&json!("1970-01-01T00:00:00.001Z"), &json!("1970-01-01T00:00:00.002Z"))
        );
    }
}
