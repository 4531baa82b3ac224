//! Times, which are two members of a body: `at_ms` in milliseconds, or `at` in the notation of
//! RFC 3339.
//!
//! A body may have both members if they are the same time, so that clients can send back what they
//! have read.

use std::ops::RangeInclusive;

use serde::Serialize;
use serde::ser::SerializeMap;
use utoipa::openapi::schema::{KnownFormat, SchemaFormat, Type};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};

use super::{Codec, Components, Integer, Member, Optional, integer, optional};
use crate::http::request::declaration::{MemberSchemas, Words};
use crate::http::request::fields::{Fields, Place};
use crate::http::request::json::Value;
use crate::http::response::moment::Moment;
use crate::http::rfc3339::{TIME_MS_MAX, name_without_unit, parse_within};

/// A time that may be absent. The name of the member must be that in milliseconds.
pub fn optional_time() -> OptionalTime {
    OptionalTime
}

#[derive(Debug, Clone, Copy)]
pub struct OptionalTime;

/// A time from `earliest_ms` until now. The name of the member must be that in milliseconds.
pub fn past_time(earliest_ms: u64) -> PastTime {
    PastTime { earliest_ms }
}

#[derive(Debug, Clone, Copy)]
pub struct PastTime {
    earliest_ms: u64,
}

impl Member for OptionalTime {
    type Value = Option<u64>;

    fn read_from(&self, name: &'static str, fields: &mut Fields<'_>) -> Option<Option<u64>> {
        read(name, fields, 0..=TIME_MS_MAX)
    }

    fn write_to<M: SerializeMap>(
        &self,
        name: &'static str,
        value: &Option<u64>,
        map: &mut M,
    ) -> Result<(), M::Error> {
        value.map_or(Ok(()), |time_ms| map.serialize_entry(name, &Moment(time_ms)))
    }

    fn describe_in(&self, name: &'static str, words: Words, members: &mut MemberSchemas) {
        describe(name, words, members, 0..=TIME_MS_MAX);
    }

    fn components_of(&self, _: &mut Components) {}
}

impl Member for PastTime {
    type Value = u64;

    fn read_from(&self, name: &'static str, fields: &mut Fields<'_>) -> Option<u64> {
        let time_ms = read(name, fields, self.earliest_ms..=fields.now_ms())?;
        if time_ms.is_none() {
            fields.error(name, "is required");
        }
        time_ms
    }

    fn write_to<M: SerializeMap>(
        &self,
        name: &'static str,
        value: &u64,
        map: &mut M,
    ) -> Result<(), M::Error> {
        map.serialize_entry(name, &Moment(*value))
    }

    fn describe_in(&self, name: &'static str, words: Words, members: &mut MemberSchemas) {
        describe(name, words, members, self.earliest_ms..=TIME_MS_MAX);
    }

    fn components_of(&self, _: &mut Components) {}
}

/// Reads whichever of the two members is there. `None` if there are errors.
fn read(name: &'static str, fields: &mut Fields<'_>, range: RangeInclusive<u64>) -> Option<Option<u64>> {
    let number = fields.member(name, &milliseconds(&range));
    let Some(notation_name) = name_without_unit(name) else { return number };
    let notation = fields.member(notation_name, &optional(Notation { range }));
    let (number, notation) = (number?, notation?);
    if number.zip(notation).is_some_and(|(number, notation)| number != notation) {
        fields.place(notation_name).error(format!("must be the same time as {name}, or absent"));
        return None;
    }
    Some(number.or(notation))
}

fn describe(name: &'static str, words: Words, members: &mut MemberSchemas, range: RangeInclusive<u64>) {
    members.add(name, &milliseconds(&range), words);
    if let Some(notation_name) = name_without_unit(name) {
        let description = "The same time in the notation of RFC 3339, with any offset. Either of the two \
                           members is enough.";
        let words = Words { description, example: Some("2026-11-29T09:30:00.000+01:00".into()) };
        members.add(notation_name, &optional(Notation { range }), words);
    }
}

fn milliseconds(range: &RangeInclusive<u64>) -> Optional<Integer<u64>> {
    optional(integer(range.start().cast_signed()..=range.end().cast_signed()))
}

/// The notation of RFC 3339.
struct Notation {
    range: RangeInclusive<u64>,
}

impl Codec for Notation {
    type Value = u64;

    fn read(&self, place: Place<'_>, value: &Value) -> Option<u64> {
        let text = place.text(value)?;
        parse_within(text, &self.range).map_err(|error| place.error(error)).ok()
    }

    fn write<'v>(&'v self, value: &'v u64) -> Option<impl Serialize> {
        crate::http::rfc3339::written(*value)
    }

    fn schema(&self) -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::DateTime);
        ObjectBuilder::new().schema_type(Type::String).format(Some(format)).into()
    }
}
