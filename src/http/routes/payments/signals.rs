//! Reads the value of a signal from JSON: a number or a word.
//!
//! A number must never pass through a floating-point number: its value would change.

use serde::{Serialize, Serializer};
use utoipa::openapi::schema::{SchemaType, Type};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};

use crate::domain::millionths::Millionths;
use crate::domain::signal::Signal;
use crate::http::request::codecs::{Codec, text};
use crate::http::request::fields::{Place, expected};
use crate::http::request::json::Value;
use crate::http::response::decimal::Decimal;

const WORD_LENGTH_MAX: usize = 64;

#[derive(Debug)]
pub struct SignalCodec;

impl SignalCodec {
    fn number(place: Place<'_>, written: &str) -> Option<Signal> {
        let Some(number) = Millionths::parse(written) else {
            let most = Millionths::READ_MAX;
            place.error(format!("expected a number from -{most} to {most} with at most 6 decimals"));
            return None;
        };
        // In the form in which it is shown.
        place.screen(&number.to_string(), None);
        Some(Signal::Number(number))
    }
}

impl Codec for SignalCodec {
    type Value = Signal;

    fn read(&self, place: Place<'_>, value: &Value) -> Option<Signal> {
        match value {
            Value::Text(_) => text(WORD_LENGTH_MAX).read(place, value).map(Signal::Word),
            Value::Integer(number) => Self::number(place, &number.to_string()),
            Value::Float(number) => Self::number(place, &number.written),
            other => {
                place.error(expected("a number or text", other));
                None
            }
        }
    }

    fn write<'v>(&'v self, value: &'v Signal) -> Option<impl Serialize> {
        Some(SignalShape(value))
    }

    fn schema(&self) -> RefOr<Schema> {
        let most = f64::from(Millionths::READ_MAX);
        ObjectBuilder::new()
            .schema_type(SchemaType::Array(vec![Type::Number, Type::String]))
            .minimum(Some(-most))
            .maximum(Some(most))
            .min_length(Some(1))
            .max_length(Some(WORD_LENGTH_MAX))
            .into()
    }
}

struct SignalShape<'s>(&'s Signal);

impl Serialize for SignalShape<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Signal::Word(word) => serializer.serialize_str(word),
            Signal::Number(number) => Decimal(*number).serialize(serializer),
        }
    }
}
