//! Reading a parsed body member by member.
//!
//! Owns the collecting of every error of a body at once, each with its JSON
//! pointer. Must never repeat a value: details say what was expected and what
//! kind of thing was found.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;

use super::json::{Object, Value};
use super::problem::{ERRORS_MAX, Kind, PartError, Problem};

/// Keys come from outside: longer ones are cut in pointers.
const KEY_SHOWN_MAX: usize = 64;

/// Reads the whole body. All errors are found before the answer.
pub fn read<T>(root: &Value, read: impl FnOnce(&mut Fields<'_>) -> Option<T>) -> Result<T, Problem> {
    let errors = Errors::default();
    let value = errors.object(root, String::new(), read);
    match (value, errors.0.into_inner()) {
        (Some(value), errors) if errors.is_empty() => Ok(value),
        (_, errors) => Err(Problem::with_errors(Kind::InvalidBody, "The body has errors.", errors)),
    }
}

#[derive(Debug, Default)]
struct Errors(RefCell<Vec<PartError>>);

impl Errors {
    fn add(&self, pointer: String, detail: String) {
        let mut errors = self.0.borrow_mut();
        if errors.len() < ERRORS_MAX {
            errors.push(PartError { pointer: Some(pointer), parameter: None, detail });
        }
    }

    fn object<T>(
        &self,
        value: &Value,
        pointer: String,
        read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
    ) -> Option<T> {
        let Value::Object(object) = value else {
            self.add(pointer, expected("an object", value));
            return None;
        };
        let mut fields = Fields { object, pointer, errors: self, known: BTreeSet::new() };
        let value = read(&mut fields);
        fields.refuse_the_rest();
        value
    }
}

/// One object while it is read.
#[derive(Debug)]
pub struct Fields<'a> {
    object: &'a Object,
    pointer: String,
    errors: &'a Errors,
    known: BTreeSet<&'static str>,
}

impl<'a> Fields<'a> {
    pub fn error(&self, name: &str, detail: impl Into<String>) {
        self.errors.add(self.pointer_to(name), detail.into());
    }

    /// The member, if it is there; null counts as absent.
    fn find(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.insert(name);
        self.object.members.get(name).filter(|value| **value != Value::Null)
    }

    /// Whether the member is there, right or wrong.
    pub fn has(&self, name: &str) -> bool {
        self.object.members.get(name).is_some_and(|value| *value != Value::Null)
    }

    fn required(&mut self, name: &'static str) -> Option<&'a Value> {
        let found = self.find(name);
        if found.is_none() {
            self.error(name, "is required");
        }
        found
    }

    /// Text of 1 to `length_max` characters, without control characters.
    pub fn text(&mut self, name: &'static str, length_max: usize) -> Option<String> {
        let value = self.required(name)?;
        self.text_of(name, value, length_max)
    }

    pub fn optional_text(&mut self, name: &'static str, length_max: usize) -> Option<String> {
        let value = self.find(name)?;
        self.text_of(name, value, length_max)
    }

    fn text_of(&self, name: &str, value: &Value, length_max: usize) -> Option<String> {
        let Value::Text(text) = value else {
            self.error(name, expected("text", value));
            return None;
        };
        match text_error(text, length_max) {
            None => Some(text.clone()),
            Some(detail) => {
                self.error(name, detail);
                None
            }
        }
    }

    /// Text that `parse` understands; its error says what was expected.
    pub fn parsed<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let value = self.required(name)?;
        self.parsed_of(name, value, parse)
    }

    pub fn optional_parsed<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let value = self.find(name)?;
        self.parsed_of(name, value, parse)
    }

    fn parsed_of<T, E: Display>(
        &self,
        name: &str,
        value: &Value,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let Value::Text(text) = value else {
            self.error(name, expected("text", value));
            return None;
        };
        parse(text).map_err(|error| self.error(name, error.to_string())).ok()
    }

    pub fn integer(&mut self, name: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let value = self.required(name)?;
        self.integer_of(name, value, range)
    }

    pub fn optional_integer(&mut self, name: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let value = self.find(name)?;
        self.integer_of(name, value, range)
    }

    fn integer_of(&self, name: &str, value: &Value, range: RangeInclusive<i64>) -> Option<i64> {
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        let Value::Integer(number) = value else {
            self.error(name, expected(&wanted, value));
            return None;
        };
        let inside = i64::try_from(*number).ok().filter(|number| range.contains(number));
        if inside.is_none() {
            self.error(name, format!("expected {wanted}"));
        }
        inside
    }

    pub fn flag(&mut self, name: &'static str, default: bool) -> bool {
        match self.find(name) {
            None => default,
            Some(Value::Bool(value)) => *value,
            Some(other) => {
                self.error(name, expected("true or false", other));
                default
            }
        }
    }

    pub fn nested<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
    ) -> Option<T> {
        let value = self.required(name)?;
        self.errors.object(value, self.pointer_to(name), read)
    }

    pub fn optional_nested<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
    ) -> Option<T> {
        let value = self.find(name)?;
        self.errors.object(value, self.pointer_to(name), read)
    }

    /// An array of objects. What is wrong in one does not hide the others.
    pub fn each<T>(
        &mut self,
        name: &'static str,
        count_max: usize,
        mut read: impl FnMut(&mut Fields<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let value = self.required(name)?;
        let Value::Array(items) = value else {
            self.error(name, expected("an array", value));
            return None;
        };
        if items.len() > count_max {
            self.error(name, format!("expected at most {count_max} items"));
            return None;
        }
        let pointer = self.pointer_to(name);
        let read_all = items
            .iter()
            .enumerate()
            .map(|(place, item)| self.errors.object(item, format!("{pointer}/{place}"), &mut read));
        // Collected twice, so that a bad item does not end the reading.
        read_all.collect::<Vec<_>>().into_iter().collect()
    }

    /// An object of the client's own keys, each with a text.
    pub fn dictionary(
        &mut self,
        name: &'static str,
        count_max: usize,
        is_key: impl Fn(&str) -> Result<(), &'static str>,
        value_length_max: usize,
    ) -> Option<Vec<(String, String)>> {
        let value = self.find(name)?;
        let pointer = self.pointer_to(name);
        let Value::Object(object) = value else {
            self.error(name, expected("an object", value));
            return None;
        };
        if object.members.len() > count_max {
            self.error(name, format!("expected at most {count_max} keys"));
            return None;
        }
        let dictionary = Fields { object, pointer, errors: self.errors, known: BTreeSet::new() };
        dictionary.refuse_repeated();
        let read_all = object.members.iter().map(|(key, value)| {
            let key_good = is_key(key).map_err(|detail| dictionary.error(key, detail)).is_ok();
            let text = dictionary.text_of(key, value, value_length_max)?;
            key_good.then(|| (key.clone(), text))
        });
        read_all.collect::<Vec<_>>().into_iter().collect()
    }

    /// Any object, as canonical JSON text. Keys may not repeat at any depth.
    pub fn any_object(&mut self, name: &'static str) -> Option<String> {
        let value = self.required(name)?;
        let Value::Object(_) = value else {
            self.error(name, expected("an object", value));
            return None;
        };
        let pointer = self.pointer_to(name);
        self.refuse_repeated_inside(value, &pointer).then(|| value.canonical())
    }

    fn refuse_repeated_inside(&self, value: &Value, pointer: &str) -> bool {
        match value {
            Value::Object(object) => {
                let here = Fields {
                    object,
                    pointer: pointer.to_owned(),
                    errors: self.errors,
                    known: BTreeSet::new(),
                };
                let inside = object.members.iter().fold(true, |good, (key, value)| {
                    self.refuse_repeated_inside(value, &here.pointer_to(key)) && good
                });
                here.refuse_repeated() && inside
            }
            Value::Array(items) => items.iter().enumerate().fold(true, |good, (place, item)| {
                self.refuse_repeated_inside(item, &format!("{pointer}/{place}")) && good
            }),
            _ => true,
        }
    }

    fn refuse_the_rest(&self) {
        self.refuse_repeated();
        for key in self.object.members.keys().filter(|key| !self.known.contains(key.as_str())) {
            self.error(key, "is not known here");
        }
    }

    fn refuse_repeated(&self) -> bool {
        for key in &self.object.repeated {
            self.error(key, "stands more than once in its object");
        }
        self.object.repeated.is_empty()
    }

    fn pointer_to(&self, key: &str) -> String {
        let shown: String = key.chars().take(KEY_SHOWN_MAX).collect();
        format!("{}/{}", self.pointer, shown.replace('~', "~0").replace('/', "~1"))
    }
}

fn expected(what: &str, found: &Value) -> String {
    format!("expected {what}, found {}", found.kind())
}

/// What is wrong with a text, if anything is.
pub fn text_error(text: &str, length_max: usize) -> Option<String> {
    let length = text.chars().count();
    if !(1..=length_max).contains(&length) || text.trim().is_empty() {
        return Some(format!("expected text of 1 to {length_max} characters"));
    }
    text.chars().any(char::is_control).then(|| "expected text without control characters".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::json;

    fn errors_of<T: std::fmt::Debug>(
        body: &str,
        fields: impl FnOnce(&mut Fields<'_>) -> Option<T>,
    ) -> Vec<(String, String)> {
        let root = json::parse(body.as_bytes()).expect("JSON");
        let problem = read(&root, fields).expect_err(body);
        assert_eq!(problem.kind, Kind::InvalidBody);
        problem.errors.into_iter().map(|error| (error.pointer.expect("a pointer"), error.detail)).collect()
    }

    fn told(errors: &[(String, String)]) -> Vec<(&str, &str)> {
        errors.iter().map(|(pointer, detail)| (pointer.as_str(), detail.as_str())).collect()
    }

    #[test]
    fn every_error_of_a_body_is_told_at_once_with_its_place() {
        let body = r#"{"name":7,"age":1.5,"inner":{"x":"ok","y/z":1,"x":2},"extra":true,"items":[{"n":1},{"n":0},3]}"#;
        let errors = errors_of(body, |fields| {
            let name = fields.text("name", 10);
            let age = fields.integer("age", 0..=150);
            let missing = fields.text("missing", 10);
            let inner = fields.nested("inner", |inner| inner.text("x", 5));
            let items = fields.each("items", 5, |item| item.integer("n", 1..=9));
            Some((name?, age?, missing?, inner?, items?))
        });
        assert_eq!(
            told(&errors),
            [
                ("/name", "expected text, found a whole number"),
                (
                    "/age",
                    "expected a whole number from 0 to 150, found a number with a fraction, an exponent or too many digits"
                ),
                ("/missing", "is required"),
                ("/inner/x", "stands more than once in its object"),
                ("/inner/y~1z", "is not known here"),
                ("/items/1/n", "expected a whole number from 1 to 9"),
                ("/items/2", "expected an object, found a whole number"),
                ("/extra", "is not known here"),
            ]
        );
    }

    #[test]
    fn text_is_bounded_in_characters_and_free_of_control_characters() {
        for (text, good) in [
            ("\"abc\"", true),
            ("\"äöü\"", true),
            ("\"\"", false),
            ("\"   \"", false),
            ("\"abcd\"", false),
            ("\"a\\u0000\"", false),
            ("\"a\\n\"", false),
            ("\"a\\u0085\"", false),
            ("null", false),
            ("[\"a\"]", false),
        ] {
            let root = json::parse(format!("{{\"t\":{text}}}").as_bytes()).expect("JSON");
            assert_eq!(read(&root, |fields| fields.text("t", 3)).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn null_counts_as_absent_where_absence_is_allowed() {
        let root = json::parse(br#"{"a":null,"b":null,"c":null,"d":null}"#).expect("JSON");
        let read = read(&root, |fields| {
            Some((
                fields.optional_text("a", 3),
                fields.optional_integer("b", 1..=2),
                fields.flag("c", true),
                fields.optional_nested("d", |_| Some(())),
            ))
        });
        assert_eq!(read, Ok((None, None, true, None)));
    }

    #[test]
    fn any_object_refuses_repeated_keys_at_every_depth() {
        let errors = errors_of(r#"{"s":{"a":[{"b":1,"b":2}]}}"#, |fields| fields.any_object("s"));
        assert_eq!(told(&errors), [("/s/a/0/b", "stands more than once in its object")]);
        let root = json::parse(br#"{"s":{"b":1.50,"a":{}}}"#).expect("JSON");
        assert_eq!(read(&root, |fields| fields.any_object("s")), Ok(r#"{"a":{},"b":1.5}"#.to_owned()));
    }

    #[test]
    fn a_hostile_body_gets_a_bounded_list_of_errors() {
        let keys: Vec<String> = (0..5000).map(|n| format!("\"{}{n}\":0", "k".repeat(500))).collect();
        let errors = errors_of(&format!("{{{}}}", keys.join(",")), |_| Some(()));
        assert_eq!(errors.len(), ERRORS_MAX);
        assert!(errors.iter().all(|(pointer, _)| pointer.len() <= KEY_SHOWN_MAX + 1));
    }
}
