//! Texts, numbers and names.

use std::fmt::Display;
use std::marker::PhantomData;
use std::ops::RangeInclusive;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::schema::{KnownFormat, SchemaFormat, Type};
use utoipa::openapi::{ObjectBuilder, Ref, RefOr, Schema};
use uuid::Uuid;

use super::{Codec, Components};
use crate::domain::card_check::CheckedField;
use crate::domain::money::{Currency, MoneyError};
use crate::http::request::fields::{Place, expected, text_error};
use crate::http::request::json::Value;

fn typed(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(kind)
}

fn known(format: KnownFormat) -> Option<SchemaFormat> {
    Some(SchemaFormat::KnownFormat(format))
}

/// Text of 1 to `length_max` characters, without control characters or a card number.
pub const fn text(length_max: usize) -> Text {
    Text { length_max, checked: None, is_ascii: false }
}

#[derive(Debug, Clone, Copy)]
pub struct Text {
    length_max: usize,
    /// Operators can exempt this field from the check for card numbers.
    checked: Option<CheckedField>,
    is_ascii: bool,
}

impl Text {
    pub const fn checked(self, field: CheckedField) -> Self {
        Self { checked: Some(field), ..self }
    }

    /// Refuses other characters in new bodies only: earlier releases accepted and stored them.
    pub const fn ascii(self) -> Self {
        Self { is_ascii: true, ..self }
    }
}

impl Codec for Text {
    type Value = String;

    fn read(&self, place: Place<'_>, value: &Value) -> Option<String> {
        let text = place.text(value)?;
        if let Some(detail) = text_error(text, self.length_max) {
            place.error(detail);
            return None;
        }
        place.screen(text, self.checked);
        if self.is_ascii && !text.is_ascii() {
            place.refuse_now("expected ASCII characters");
        }
        Some(text.to_owned())
    }

    fn write<'v>(&'v self, value: &'v String) -> Option<impl Serialize> {
        Some(value)
    }

    fn schema(&self) -> RefOr<Schema> {
        typed(Type::String).min_length(Some(1)).max_length(Some(self.length_max)).into()
    }
}

/// A whole number. Every number of the range must fit `T`.
pub fn integer<T>(range: RangeInclusive<i64>) -> Integer<T> {
    Integer { range, value: PhantomData }
}

#[derive(Debug)]
pub struct Integer<T> {
    range: RangeInclusive<i64>,
    value: PhantomData<T>,
}

impl<T: TryFrom<i64> + Serialize> Codec for Integer<T> {
    type Value = T;

    fn read(&self, place: Place<'_>, value: &Value) -> Option<T> {
        let wanted = format!("a whole number from {} to {}", self.range.start(), self.range.end());
        let Value::Integer(number) = value else {
            place.error(expected(&wanted, value));
            return None;
        };
        let inside = i64::try_from(*number).ok().filter(|number| self.range.contains(number));
        let inside = inside.and_then(|number| T::try_from(number).ok());
        if inside.is_none() {
            place.error(format!("expected {wanted}"));
        }
        inside
    }

    fn write<'v>(&'v self, value: &'v T) -> Option<impl Serialize> {
        Some(value)
    }

    fn schema(&self) -> RefOr<Schema> {
        let format = if size_of::<T>() == 4 { KnownFormat::Int32 } else { KnownFormat::Int64 };
        let bounded = typed(Type::Integer).format(known(format));
        bounded.minimum(Some(*self.range.start())).maximum(Some(*self.range.end())).into()
    }
}

/// A percentage with at most two decimals, stored as ten-thousandths of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent(pub u16);

impl Percent {
    fn value(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

pub fn percent(ten_thousandths: RangeInclusive<u16>) -> PercentCodec {
    PercentCodec(ten_thousandths)
}

#[derive(Debug)]
pub struct PercentCodec(RangeInclusive<u16>);

impl PercentCodec {
    fn ends(&self) -> (f64, f64) {
        (Percent(*self.0.start()).value(), Percent(*self.0.end()).value())
    }
}

impl Codec for PercentCodec {
    type Value = Percent;

    fn read(&self, place: Place<'_>, value: &Value) -> Option<Percent> {
        let (least, most) = self.ends();
        let wanted = format!("a number from {least} to {most} with at most two decimals");
        let number = match value {
            Value::Integer(number) => i32::try_from(*number).map_or(f64::INFINITY, f64::from),
            Value::Float(number) => number.nearest,
            other => {
                place.error(expected(&wanted, other));
                return None;
            }
        };
        let found = self.0.clone().map(Percent).find(|percent| percent.value() == number);
        if found.is_none() {
            place.error(format!("expected {wanted}"));
        }
        found
    }

    fn write<'v>(&'v self, value: &'v Percent) -> Option<impl Serialize> {
        Some(value.value())
    }

    fn schema(&self) -> RefOr<Schema> {
        let (least, most) = self.ends();
        let number = typed(Type::Number).format(known(KnownFormat::Double));
        number.minimum(Some(least)).maximum(Some(most)).into()
    }
}

pub fn flag() -> Flag {
    Flag
}

#[derive(Debug)]
pub struct Flag;

impl Codec for Flag {
    type Value = bool;

    fn read(&self, place: Place<'_>, value: &Value) -> Option<bool> {
        let Value::Bool(value) = value else {
            place.error(expected("true or false", value));
            return None;
        };
        Some(*value)
    }

    fn write<'v>(&'v self, value: &'v bool) -> Option<impl Serialize> {
        Some(value)
    }

    fn schema(&self) -> RefOr<Schema> {
        typed(Type::Boolean).into()
    }
}

/// Text that `parse` accepts. The errors of `parse` must say what is expected.
pub fn parsed<T, E>(parse: fn(&str) -> Result<T, E>, show: fn(&T) -> String) -> Parsed<T, E> {
    Parsed { parse, show, refused_now: None, checked: None, length: None, pattern: None, is_uuid: false }
}

/// An id. The error of `parse` must name the kind of id that is expected.
pub fn uuid(parse: fn(&str) -> Result<Uuid, &'static str>) -> Parsed<Uuid, &'static str> {
    Parsed { is_uuid: true, ..parsed(parse, Uuid::to_string) }
}

/// A currency by its code. Whether it is in use at the time of the body is not checked here.
pub fn currency() -> Parsed<Currency, MoneyError> {
    parsed(Currency::parse, |currency: &Currency| currency.code().to_owned()).pattern("^[A-Z]{3}$")
}

#[derive(Debug)]
pub struct Parsed<T, E> {
    parse: fn(&str) -> Result<T, E>,
    show: fn(&T) -> String,
    refused_now: Option<fn(&T, u64) -> Option<String>>,
    checked: Option<CheckedField>,
    length: Option<RangeInclusive<usize>>,
    pattern: Option<&'static str>,
    is_uuid: bool,
}

impl<T, E> Parsed<T, E> {
    /// Refuses values in new bodies that earlier releases accepted. `refusal` gets the value and
    /// the time of the body, and returns the error. It replaces the check for card numbers.
    pub fn refused_now(self, refusal: fn(&T, u64) -> Option<String>) -> Self {
        Self { refused_now: Some(refusal), ..self }
    }

    pub fn checked(self, field: CheckedField) -> Self {
        Self { checked: Some(field), ..self }
    }

    /// How many characters `parse` accepts. Only for the OpenAPI document: `parse` checks it.
    pub fn length(self, length: RangeInclusive<usize>) -> Self {
        Self { length: Some(length), ..self }
    }

    /// A regular expression that every accepted text matches. Only for the OpenAPI document.
    pub fn pattern(self, pattern: &'static str) -> Self {
        Self { pattern: Some(pattern), ..self }
    }
}

impl<T, E: Display> Codec for Parsed<T, E> {
    type Value = T;

    fn read(&self, place: Place<'_>, value: &Value) -> Option<T> {
        let text = place.text(value)?;
        let parsed = (self.parse)(text).map_err(|error| place.error(error.to_string())).ok()?;
        match self.refused_now {
            Some(refusal) => {
                if let Some(detail) = refusal(&parsed, place.at_ms()) {
                    place.refuse_now(detail);
                }
            }
            None => place.screen(text, self.checked),
        }
        Some(parsed)
    }

    fn write<'v>(&'v self, value: &'v T) -> Option<impl Serialize> {
        Some((self.show)(value))
    }

    fn schema(&self) -> RefOr<Schema> {
        let format = self.is_uuid.then_some(SchemaFormat::KnownFormat(KnownFormat::Uuid));
        let (least, most) = self.length.clone().map(RangeInclusive::into_inner).unzip();
        typed(Type::String).min_length(least).max_length(most).pattern(self.pattern).format(format).into()
    }
}

/// One of these names. The schema is written inline.
pub fn one_of<T>(all: &'static [T], name: fn(T) -> &'static str) -> OneOf<T> {
    OneOf { all, name }
}

#[derive(Debug)]
pub struct OneOf<T: 'static> {
    all: &'static [T],
    name: fn(T) -> &'static str,
}

impl<T: Copy> OneOf<T> {
    fn names(&self) -> Vec<&'static str> {
        self.all.iter().map(|value| (self.name)(*value)).collect()
    }
}

impl<T: Copy> Codec for OneOf<T> {
    type Value = T;

    fn read(&self, place: Place<'_>, value: &Value) -> Option<T> {
        let text = place.text(value)?;
        let found = self.all.iter().copied().find(|value| (self.name)(*value) == text);
        if found.is_none() {
            place.error(expected_name(&self.names()));
            return None;
        }
        found
    }

    fn write<'v>(&'v self, value: &'v T) -> Option<impl Serialize> {
        Some((self.name)(*value))
    }

    fn schema(&self) -> RefOr<Schema> {
        typed(Type::String).enum_values(Some(self.names())).into()
    }
}

fn expected_name(names: &[&str]) -> String {
    match names {
        [names @ .., last] if names.len() < 3 => format!("expected {} or {last}", names.join(", ")),
        _ => format!("expected one of {}", names.join(", ")),
    }
}

/// One of the names of `S`. The schema is a reference to that of `S`.
pub fn named<S: Named>() -> NameCodec<S> {
    NameCodec(PhantomData)
}

/// A shape whose values are names. Implemented by `named!`.
pub trait Named: ToSchema {
    type Named: Copy + 'static;

    fn names() -> OneOf<Self::Named>;
}

#[derive(Debug)]
pub struct NameCodec<S>(PhantomData<S>);

impl<S: Named> Codec for NameCodec<S> {
    type Value = S::Named;

    fn read(&self, place: Place<'_>, value: &Value) -> Option<S::Named> {
        S::names().read(place, value)
    }

    fn write<'v>(&'v self, value: &'v S::Named) -> Option<impl Serialize> {
        Some((S::names().name)(*value))
    }

    fn schema(&self) -> RefOr<Schema> {
        Ref::from_schema_name(S::name()).into()
    }

    fn components(&self, components: &mut Components) {
        components.push((S::name().into_owned(), S::schema()));
    }
}
