//! Parses JSON into a tree that records repeated keys, and writes its canonical form.
//!
//! Errors must never repeat a value: bodies hold payment data.

mod numbers;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use numbers::WrittenNumbers;

/// Deeper bodies are refused. Valid ones have only a few levels.
pub const DEPTH_MAX: usize = 32;

/// The initial capacity, enough for an ordinary payment.
const CANONICAL_BYTES_USUAL: usize = 1 << 10;

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    /// Written with a fraction or an exponent, or beyond 64 bits.
    Float(Float),
    Text(String),
    Array(Vec<Value>),
    Object(Object),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Float {
    pub nearest: f64,
    /// The number in the notation of the body.
    pub written: String,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Object {
    pub members: BTreeMap<String, Value>,
    /// Keys that appear more than once. Such a body is refused: it is unclear which value counts.
    pub repeated: Vec<String>,
}

impl Value {
    /// The kind of the value, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number with a fraction, an exponent or too many digits",
            Self::Text(_) => "text",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }

    /// Sorted keys and no spaces, so that all notations of the same body are equal.
    pub fn canonical(&self) -> String {
        let mut text = Vec::with_capacity(CANONICAL_BYTES_USUAL);
        self.write_canonical(&mut text);
        // Cannot fail: all parts are valid UTF-8.
        String::from_utf8(text).unwrap_or_default()
    }

    fn write_canonical(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend(b"null"),
            Self::Bool(value) => write_scalar(value, out),
            Self::Integer(value) => write_scalar(value, out),
            // The shortest text that parses to the same number.
            Self::Float(value) => write_scalar(&value.nearest, out),
            Self::Text(text) => write_scalar(text, out),
            Self::Array(items) => {
                out.push(b'[');
                for (place, item) in items.iter().enumerate() {
                    if place > 0 {
                        out.push(b',');
                    }
                    item.write_canonical(out);
                }
                out.push(b']');
            }
            Self::Object(object) => {
                out.push(b'{');
                for (place, (key, value)) in object.members.iter().enumerate() {
                    if place > 0 {
                        out.push(b',');
                    }
                    write_scalar(key, out);
                    out.push(b':');
                    value.write_canonical(out);
                }
                out.push(b'}');
            }
        }
    }
}

fn write_scalar<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    // Writing a scalar to memory cannot fail.
    let _ = serde_json::to_writer(out, value);
}

/// The place and kind of a syntax error. Contains no part of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at line {line}, column {column}")]
pub struct SyntaxError {
    pub what: String,
    pub line: usize,
    pub column: usize,
}

pub fn parse(bytes: &[u8]) -> Result<Value, SyntaxError> {
    let text = std::str::from_utf8(bytes).map_err(|error| not_utf8(bytes, error.valid_up_to()))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let state = ParserState { too_deep: Cell::new(false), numbers: RefCell::new(WrittenNumbers::of(text)) };
    let seed = Node { depth: 0, state: &state };
    let parsed = seed.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    parsed.map_err(|error| SyntaxError {
        what: match error.classify() {
            _ if state.too_deep.get() => format!("the body is nested more than {DEPTH_MAX} levels deep"),
            Category::Eof => "the text ends unexpectedly".to_owned(),
            _ => syntax_words(&error),
        },
        line: error.line(),
        column: error.column(),
    })
}

/// The parser's message for a syntax error, which never quotes the text.
fn syntax_words(error: &serde_json::Error) -> String {
    let words = error.to_string();
    words.split(" at line ").next().unwrap_or("the text is not valid JSON").to_owned()
}

fn not_utf8(bytes: &[u8], valid: usize) -> SyntaxError {
    let before = &bytes[..valid];
    let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |place| place + 1);
    SyntaxError {
        what: "the text is not valid UTF-8".to_owned(),
        line: before.iter().filter(|b| **b == b'\n').count() + 1,
        column: valid - line_start + 1,
    }
}

struct ParserState<'t> {
    too_deep: Cell<bool>,
    numbers: RefCell<WrittenNumbers<'t>>,
}

struct Node<'a> {
    depth: usize,
    state: &'a ParserState<'a>,
}

impl Node<'_> {
    fn below<E: serde::de::Error>(&self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            self.state.too_deep.set(true);
            return Err(E::custom("too deep"));
        }
        Ok(Node { depth: self.depth + 1, state: self.state })
    }

    fn integer(&self, value: i128) -> Value {
        self.state.numbers.borrow_mut().pass();
        Value::Integer(value)
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(self.integer(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(self.integer(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        if !value.is_finite() {
            return Err(E::custom("number out of range"));
        }
        let written = self.state.numbers.borrow_mut().take().to_owned();
        Ok(Value::Float(Float { nearest: value, written }))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element_seed(self.below::<A::Error>()?)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Object::default();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(self.below::<A::Error>()?)?;
            match object.members.entry(key) {
                Entry::Occupied(first) => object.repeated.push(first.key().clone()),
                Entry::Vacant(place) => {
                    place.insert(value);
                }
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        parse(text.as_bytes()).expect(text).canonical()
    }

    #[test]
    fn the_canonical_form_ignores_spaces_order_and_escapes() {
        let expected = r#"{"a":[1,2.5,null],"b":"ä\n","c":{"x":true,"y":-3}}"#;
        for text in [
            r#"{"a":[1,2.5,null],"b":"ä\n","c":{"x":true,"y":-3}}"#,
            "\n{ \"c\" : {\"y\":-3,\"x\":true},\t\"b\":\"\\u00e4\\u000a\", \"a\":[1, 2.50, null] }",
        ] {
            assert_eq!(canonical(text), expected);
            assert_eq!(canonical(&canonical(text)), expected);
        }
        assert_ne!(canonical("[1]"), canonical("[1.0]"));
    }

    #[test]
    fn a_repeated_key_is_remembered_and_the_first_value_kept() {
        let Ok(Value::Object(object)) = parse(br#"{"a":1,"\u0061":2,"b":3}"#) else { panic!("an object") };
        assert_eq!(object.repeated, ["a"]);
        assert_eq!(object.members["a"], Value::Integer(1));
    }

    #[test]
    fn integers_are_exact_and_every_other_form_is_a_float() {
        let float =
            |nearest: f64, written: &str| Value::Float(Float { nearest, written: written.to_owned() });
        for (text, expected) in [
            ("9007199254740993", Value::Integer(9_007_199_254_740_993)),
            ("-1", Value::Integer(-1)),
            ("18446744073709551615", Value::Integer(u64::MAX.into())),
            ("1.0", float(1.0, "1.0")),
            ("1e3", float(1000.0, "1e3")),
            ("0.10000000000000000001", float(0.1, "0.10000000000000000001")),
            ("18446744073709551616", float(18_446_744_073_709_551_616.0, "18446744073709551616")),
        ] {
            assert_eq!(parse(text.as_bytes()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_syntax_error_has_line_and_column_and_never_quotes_the_text() {
        for (text, line, column) in [
            (&b""[..], 1, 0),
            (b"{\n  \"secret-4711\": }", 2, 18),
            (b"{\"a\":1,}", 1, 8),
            (b"[1] 2", 1, 5),
            (b"[01]", 1, 3),
            (b"[\"\\ud800\"]", 1, 9),
            (b"[\"a\nb\"]", 2, 0),
            (b"[NaN]", 1, 2),
            (b"[1e999]", 1, 6),
            (b"\xef\xbb\xbf{}", 1, 1),
            (b"[\n\"a\xff\"]", 2, 3),
            (b"{\"secret-4711\": \"secret-4711", 1, 28),
        ] {
            let error = parse(text).expect_err("broken");
            assert_eq!(
                (error.line, error.column),
                (line, column),
                "{:?}: {error}",
                String::from_utf8_lossy(text)
            );
            assert!(!error.to_string().contains("4711"), "{error}");
        }
    }

    #[test]
    fn a_body_deeper_than_the_bound_is_refused() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(DEPTH_MAX).as_bytes()).is_ok());
        let error = parse(nested(DEPTH_MAX + 1).as_bytes()).expect_err("too deep");
        assert!(error.what.contains("more than 32 levels"), "{error}");
        assert!(parse("[".repeat(1_000_000).as_bytes()).is_err());
    }
}
