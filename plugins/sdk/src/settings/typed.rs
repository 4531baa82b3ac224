//! Deserialises JSON into a rule's settings and records where an error is.
//!
//! A list must not be accepted for a struct, although serde would allow it.

use std::fmt::{self, Display};

use serde::de::{self, DeserializeSeed, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor};

use super::json::Json;

/// An error in one setting.
#[derive(Debug)]
pub(super) struct SettingError {
    pub(super) kind: SettingErrorKind,
    /// The parts of its JSON pointer, the last one first.
    pub(super) reversed_steps: Vec<String>,
}

#[derive(Debug)]
pub(super) enum SettingErrorKind {
    Unknown { known: &'static [&'static str] },
    Missing,
    Invalid(String),
}

impl SettingError {
    fn new(kind: SettingErrorKind) -> Self {
        SettingError { kind, reversed_steps: Vec::new() }
    }

    fn below(mut self, step: impl Into<String>) -> Self {
        self.reversed_steps.push(step.into());
        self
    }

    fn mismatch(found: &str, expected: &dyn Expected) -> Self {
        let expected = expected.to_string();
        let plain = match expected.as_str() {
            text if text.starts_with("struct ") => "an object",
            "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number",
            "a sequence" => "a list",
            "a boolean" => "true or false",
            text => text,
        };
        SettingError::new(SettingErrorKind::Invalid(format!("expected {plain}, found {found}")))
    }
}

impl Display for SettingError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an error in a setting")
    }
}

impl std::error::Error for SettingError {}

impl de::Error for SettingError {
    fn custom<T: Display>(message: T) -> Self {
        SettingError::new(SettingErrorKind::Invalid(message.to_string()))
    }

    // Serde's own messages can contain a float, which would add 15 KB of tables.
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        SettingError::mismatch(described(&found), expected)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        match found {
            Unexpected::Unsigned(_) | Unexpected::Signed(_) => {
                SettingError::mismatch("a number out of range", expected)
            }
            other => SettingError::mismatch(described(&other), expected),
        }
    }

    fn unknown_variant(_: &str, known: &'static [&'static str]) -> Self {
        SettingError::new(SettingErrorKind::Invalid(format!("expected one of: {}", known.join(", "))))
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        SettingError::new(SettingErrorKind::Unknown { known }).below(field)
    }

    fn duplicate_field(field: &'static str) -> Self {
        SettingError::new(SettingErrorKind::Invalid("the key appears twice".to_owned())).below(field)
    }

    fn missing_field(field: &'static str) -> Self {
        SettingError::new(SettingErrorKind::Missing).below(field)
    }
}

fn described(found: &Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "true or false",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
        Unexpected::Str(_) => "a text",
        Unexpected::Seq => "a list",
        Unexpected::Map => "an object",
        Unexpected::Unit | Unexpected::Option => "null",
        _ => "something else",
    }
}

impl Json {
    fn mismatch(&self, expected: &dyn Expected) -> SettingError {
        let found = match self {
            Json::Null => "null",
            Json::Bool(_) => "true or false",
            Json::Whole(_) | Json::Large(_) => "a whole number",
            Json::OtherNumber => "a number that is too large or not a whole number",
            Json::Text(_) => "a text",
            Json::List(_) => "a list",
            Json::Object(_) => "an object",
        };
        SettingError::mismatch(found, expected)
    }
}

impl<'de> Deserializer<'de> for &'de Json {
    type Error = SettingError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SettingError> {
        match self {
            Json::Null => visitor.visit_unit(),
            Json::Bool(value) => visitor.visit_bool(*value),
            Json::Whole(value) => match u64::try_from(*value) {
                Ok(value) => visitor.visit_u64(value),
                Err(_) => visitor.visit_i64(*value),
            },
            Json::Large(value) => visitor.visit_u64(*value),
            Json::OtherNumber => Err(self.mismatch(&visitor)),
            Json::Text(text) => visitor.visit_borrowed_str(text),
            Json::List(items) => visitor.visit_seq(Items { items, index: 0 }),
            Json::Object(fields) => visitor.visit_map(Fields { fields, value: None }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SettingError> {
        match self {
            Json::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, SettingError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SettingError> {
        match self {
            Json::Object(_) => self.deserialize_any(visitor),
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SettingError> {
        match self {
            Json::Text(word) => visitor.visit_enum(word.as_str().into_deserializer()),
            Json::Object(fields) => match fields.as_slice() {
                [(name, value)] => visitor.visit_enum(VariantWithValue { name, value }),
                _ => Err(SettingError::new(SettingErrorKind::Invalid(
                    "expected an object with one key".to_owned(),
                ))),
            },
            _ => Err(self.mismatch(&visitor)),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

struct Items<'de> {
    items: &'de [Json],
    index: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = SettingError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, SettingError> {
        let Some(item) = self.items.get(self.index) else {
            return Ok(None);
        };
        let value = seed.deserialize(item).map_err(|error| error.below(self.index.to_string()));
        self.index += 1;
        value.map(Some)
    }
}

struct Fields<'de> {
    fields: &'de [(String, Json)],
    value: Option<&'de (String, Json)>,
}

impl<'de> de::MapAccess<'de> for Fields<'de> {
    type Error = SettingError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, SettingError> {
        let Some((field, rest)) = self.fields.split_first() else {
            return Ok(None);
        };
        self.fields = rest;
        self.value = Some(field);
        seed.deserialize(field.0.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, SettingError> {
        match self.value.take() {
            Some((name, value)) => seed.deserialize(value).map_err(|error| error.below(name.as_str())),
            None => Err(de::Error::custom("the value was read before its key")),
        }
    }
}

/// An enum variant with a value, such as `{"metadata": "key"}`.
struct VariantWithValue<'de> {
    name: &'de str,
    value: &'de Json,
}

impl<'de> de::EnumAccess<'de> for VariantWithValue<'de> {
    type Error = SettingError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), SettingError> {
        Ok((seed.deserialize(self.name.into_deserializer())?, self))
    }
}

impl<'de> de::VariantAccess<'de> for VariantWithValue<'de> {
    type Error = SettingError;

    fn unit_variant(self) -> Result<(), SettingError> {
        Err(SettingError::new(SettingErrorKind::Invalid(format!("expected only the text \"{}\"", self.name))))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, SettingError> {
        seed.deserialize(self.value).map_err(|error| error.below(self.name))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, SettingError> {
        self.value.deserialize_any(visitor).map_err(|error| error.below(self.name))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SettingError> {
        let value = self.value.deserialize_struct("", fields, visitor);
        value.map_err(|error| error.below(self.name))
    }
}
