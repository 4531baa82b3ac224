//! A small JSON parser (RFC 8259) for the sandbox.
//!
//! It must not use floating point, which would double the size of a rule.
//! Numbers in settings are integers.

/// Bounds the use of the stack.
const MAX_NESTING: usize = 64;

pub(super) enum Json {
    Null,
    Bool(bool),
    Whole(i64),
    /// Too large for `i64`.
    Large(u64),
    /// With a fraction or an exponent, or too large for `u64`.
    OtherNumber,
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// A syntax error and its position.
pub(super) struct JsonError {
    pub(super) description: &'static str,
    pub(super) offset_bytes: usize,
}

pub(super) fn parse(text: &str) -> Result<Json, JsonError> {
    let mut reader = Reader { text, offset: 0, nesting: 0 };
    let value = reader.value()?;
    reader.skip_space();
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.error("unexpected text after the end of the document")),
    }
}

struct Reader<'t> {
    text: &'t str,
    offset: usize,
    nesting: usize,
}

impl Reader<'_> {
    fn error(&self, description: &'static str) -> JsonError {
        JsonError { description, offset_bytes: self.offset }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.offset).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.offset += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.offset += usize::from(found);
        found
    }

    fn value(&mut self) -> Result<Json, JsonError> {
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::list),
            Some(b'"') => Ok(Json::Text(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            _ => Err(self.error("expected a value")),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Json, JsonError>) -> Result<Json, JsonError> {
        if self.nesting == MAX_NESTING {
            return Err(self.error("too many levels of nesting"));
        }
        self.nesting += 1;
        self.offset += 1;
        let value = read(self)?;
        self.nesting -= 1;
        Ok(value)
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, JsonError> {
        if !self.text.as_bytes()[self.offset..].starts_with(word.as_bytes()) {
            return Err(self.error("expected a value"));
        }
        self.offset += word.len();
        Ok(value)
    }

    fn list(&mut self) -> Result<Json, JsonError> {
        let mut items = Vec::new();
        self.skip_space();
        if self.take(b']') {
            return Ok(Json::List(items));
        }
        loop {
            items.push(self.value()?);
            self.skip_space();
            if self.take(b']') {
                return Ok(Json::List(items));
            }
            if !self.take(b',') {
                return Err(self.error("expected a comma or the end of the list"));
            }
        }
    }

    fn object(&mut self) -> Result<Json, JsonError> {
        let mut fields = Vec::new();
        self.skip_space();
        if self.take(b'}') {
            return Ok(Json::Object(fields));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return Err(self.error("expected a key"));
            }
            let key = self.string()?;
            self.skip_space();
            if !self.take(b':') {
                return Err(self.error("expected a colon"));
            }
            fields.push((key, self.value()?));
            self.skip_space();
            if self.take(b'}') {
                return Ok(Json::Object(fields));
            }
            if !self.take(b',') {
                return Err(self.error("expected a comma or the end of the object"));
            }
        }
    }

    fn digits(&mut self) -> Result<&[u8], JsonError> {
        let start = self.offset;
        while let Some(b'0'..=b'9') = self.peek() {
            self.offset += 1;
        }
        if self.offset == start {
            return Err(self.error("expected a digit"));
        }
        Ok(&self.text.as_bytes()[start..self.offset])
    }

    fn number(&mut self) -> Result<Json, JsonError> {
        let negative = self.take(b'-');
        let start = self.offset;
        let digits = self.digits()?;
        if digits.len() > 1 && digits[0] == b'0' {
            self.offset = start;
            return Err(self.error("number with a leading zero"));
        }
        let whole = digits
            .iter()
            .try_fold(0_u64, |number, digit| number.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
        let mut fraction = false;
        if self.take(b'.') {
            self.digits()?;
            fraction = true;
        }
        if self.take(b'e') || self.take(b'E') {
            let _sign = self.take(b'+') || self.take(b'-');
            self.digits()?;
            fraction = true;
        }
        Ok(match whole.filter(|_| !fraction) {
            None => Json::OtherNumber,
            Some(whole) if negative => {
                0_i64.checked_sub_unsigned(whole).map_or(Json::OtherNumber, Json::Whole)
            }
            Some(whole) => i64::try_from(whole).map_or(Json::Large(whole), Json::Whole),
        })
    }

    /// Reads from the opening quote to the end of the closing one.
    fn string(&mut self) -> Result<String, JsonError> {
        self.offset += 1;
        let mut text = String::new();
        loop {
            let start = self.offset;
            while self.peek().is_some_and(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
                self.offset += 1;
            }
            // Both ends are next to an ASCII byte, so they are character boundaries.
            text.push_str(self.text.get(start..self.offset).unwrap_or_default());
            if self.take(b'"') {
                return Ok(text);
            }
            if !self.take(b'\\') {
                return Err(self.error("control character in a string, or no end of the string"));
            }
            text.push(self.escape()?);
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let letter = self.peek();
        self.offset += 1;
        match letter {
            Some(letter @ (b'"' | b'\\' | b'/')) => Ok(char::from(letter)),
            Some(b'b') => Ok('\u{8}'),
            Some(b'f') => Ok('\u{c}'),
            Some(b'n') => Ok('\n'),
            Some(b'r') => Ok('\r'),
            Some(b't') => Ok('\t'),
            Some(b'u') => self.unicode_escape(),
            _ => Err(self.error("unknown escape sequence")),
        }
    }

    fn unicode_escape(&mut self) -> Result<char, JsonError> {
        let first = self.four_hex_digits()?;
        let code = match first {
            0xd800..=0xdbff if self.take(b'\\') && self.take(b'u') => {
                let second = self.four_hex_digits()?;
                match second {
                    0xdc00..=0xdfff => 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00),
                    _ => first,
                }
            }
            code => code,
        };
        char::from_u32(code).ok_or_else(|| self.error("incomplete surrogate pair"))
    }

    fn four_hex_digits(&mut self) -> Result<u32, JsonError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let digit = digit.ok_or_else(|| self.error("expected four hexadecimal digits"))?;
            code = code * 16 + digit;
            self.offset += 1;
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value as `serde_json` has it, to compare both parsers.
    fn as_serde_json(json: &Json) -> serde_json::Value {
        match json {
            Json::Null => serde_json::Value::Null,
            Json::OtherNumber => "other number".into(),
            Json::Bool(value) => (*value).into(),
            Json::Whole(value) => (*value).into(),
            Json::Large(value) => (*value).into(),
            Json::Text(value) => value.as_str().into(),
            Json::List(items) => items.iter().map(as_serde_json).collect(),
            Json::Object(fields) => {
                fields.iter().map(|(key, value)| (key.clone(), as_serde_json(value))).collect()
            }
        }
    }

    #[test]
    fn documents_are_parsed_as_serde_json_parses_them() {
        for text in [
            "null",
            " [ ] ",
            "{}",
            "[true,false,null]",
            "0",
            "-9223372036854775808",
            "18446744073709551615",
            r#"{"a":{"b":[1,-2]},"c":"ä€😀"}"#,
            r#""\"\\\/\b\f\n\r\t\u00e4\ud83d\ude00""#,
            "\t\r\n 1 ",
        ] {
            let expected: serde_json::Value = serde_json::from_str(text).expect("valid");
            let read = parse(text).unwrap_or_else(|error| panic!("{text}: {}", error.description));
            assert_eq!(as_serde_json(&read), expected, "{text}");
        }
    }

    #[test]
    fn invalid_json_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1,}",
            "{a:1}",
            "01",
            "-",
            "1.",
            "1e",
            "+1",
            "tru",
            "nul",
            "\"",
            "\"\\",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\\udc00\"",
            "\"\n\"",
            "1 2",
            "'a'",
            "NaN",
        ] {
            assert!(serde_json::from_str::<serde_json::Value>(text).is_err(), "{text}");
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn fractions_exponents_and_too_large_numbers_are_other_numbers() {
        for text in ["1.0", "1e2", "18446744073709551616", "-9223372036854775809"] {
            assert!(matches!(parse(text), Ok(Json::OtherNumber)), "{text}");
        }
    }

    #[test]
    fn nesting_beyond_the_limit_is_refused() {
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse(&format!("{}{}", "[".repeat(64), "]".repeat(64))).is_ok());
    }
}
