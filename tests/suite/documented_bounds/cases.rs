//! Bodies at and beyond every bound of a schema.
//!
//! They are generated from the document. A keyword or pattern that is not known here fails, so
//! that a new kind of bound cannot go untested.

use serde_json::{Map, Value, json};

pub const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// Times of RFC 3339, and texts that are none.
const TIMES: [&str; 2] = ["1970-01-01T00:00:00Z", "9999-12-31T23:59:59.999-00:00"];
const NO_TIMES: [&str; 3] = ["2026-11-29", "2026-02-30T00:00:00Z", "1969-12-31T23:59:59.999Z"];

/// Keywords that do not restrict values.
const ANNOTATIONS: [&str; 2] = ["description", "example"];

/// Each pattern with texts that match it and texts that do not.
const PATTERNS: [(&str, &[&str], &[&str]); 13] = [
    ("^[^@ ]+@[^@ ]+$", &["a@b", "ann.miller@example.com"], &["a", "a@", "@b", "a b@c", "a@@b"]),
    ("^[a-z][a-z0-9_]*$", &["a", "a_1"], &["_a", "1a", "A", "a-b"]),
    ("^[A-Z]{3}$", &["EUR"], &["eur", "EU", "EURO", "EU1"]),
    ("^[A-Z]{2}$", &["DE"], &["de", "D", "DEU", "D1"]),
    ("^([0-9]{6}|[0-9]{8})$", &["411111", "41111111"], &["4111111", "41111a", "411"]),
    (
        "^[0-9a-f]{64}$",
        &["0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"],
        &[
            "0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF",
            "g123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde",
        ],
    ),
    ("^[0-9]{4}$", &["0742"], &["074", "07421", "074a"]),
    (
        "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-4[0-9A-Fa-f]{3}-[89ABab][0-9A-Fa-f]{3}-[0-9A-Fa-f]{12}$",
        &["eb6305c9-1f7f-49de-aed0-16487c27b42d", "EB6305C9-1F7F-49DE-8ED0-16487C27B42D"],
        &[
            "eb6305c9-1f7f-79de-aed0-16487c27b42d",
            "eb6305c9-1f7f-49de-ced0-16487c27b42d",
            "eb6305c91f7f49deaed016487c27b42d",
            "gb6305c9-1f7f-49de-aed0-16487c27b42d",
        ],
    ),
    (
        "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$",
        &["47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"],
        &[
            "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFV",
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
            "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=",
            "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuU",
        ],
    ),
    (
        "^[A-Za-z0-9_-]{1,63}([.][A-Za-z0-9_-]{1,63})*$",
        &["localhost", "Pay.example.com", "_a-1.b"],
        &["*.example.com", "pay.example.com.", ".com", "a..b", "a b", "bücher.example"],
    ),
    (
        "^[A-Za-z][A-Za-z0-9+.-]*:[!-~]+$",
        &["urn:a", "spiffe://example.com/pay", "x+y.z-1:~"],
        &["pay", "urn:", ":a", "1a:x", "urn:a b", "urn:ä"],
    ),
    ("^[a-z0-9]+(-[a-z0-9]+)*$", &["a", "a-1-b"], &["a--b", "-a", "a-", "A", "a_b"]),
    (
        "^[a-z0-9_.-]{1,40}$",
        &["a.b_c-9", "-", "a-key-of-exactly-40-characters----------"],
        &["A", "a b", "ä", "a-key-of-exactly-41-characters-----------"],
    ),
];

/// A body, and whether the document allows the value at the pointer.
pub struct BoundCase {
    pub pointer: String,
    pub body: Value,
    pub fits: bool,
}

/// The path of a value from the root of a body. `None` is the first item of an array.
type Path = Vec<Option<String>>;

/// The cases of a request schema.
pub fn cases(document: &Value, schema: &Value) -> Vec<BoundCase> {
    let mut found = Cases { document, cases: Vec::new() };
    found.value(schema, &Vec::new());
    found.cases
}

/// The smallest and largest valid integer, and the values just outside of them.
pub fn integer_ends(schema: &Value) -> ([i64; 2], [Value; 2]) {
    let least = schema["minimum"].as_i64().expect("a minimum of each integer");
    let most = schema["maximum"].as_i64().expect("a maximum of each integer");
    let beyond = most.checked_add(1).map_or(json!(u64::MAX), |beyond| json!(beyond));
    ([least, most], [json!(least - 1), beyond])
}

struct Cases<'d> {
    document: &'d Value,
    cases: Vec<BoundCase>,
}

impl Cases<'_> {
    fn add(&mut self, path: &Path, value: Value, fits: bool) {
        self.at(path, path, value, fits);
    }

    /// Adds a case with a value at `path`. An error would have the pointer `error_path`.
    fn at(&mut self, path: &Path, error_path: &Path, value: Value, fits: bool) {
        let step = |step: &Option<String>| format!("/{}", step.as_deref().unwrap_or("0"));
        let body = path.iter().rev().fold(value, |inside, step| match step {
            Some(name) => json!({ name.as_str(): inside }),
            None => json!([inside]),
        });
        self.cases.push(BoundCase { pointer: error_path.iter().map(step).collect(), body, fits });
    }

    fn value(&mut self, schema: &Value, path: &Path) {
        let schema = self.resolved(schema).clone();
        check_keywords(&schema);
        if let Some(alternatives) = schema["oneOf"].as_array() {
            return self.alternatives(alternatives, path);
        }
        let (kinds, is_nullable) = kinds_of(&schema);
        if is_nullable {
            self.add(path, Value::Null, true);
        }
        let wrong = match kinds[..] {
            [kind] if kind != "string" && kind != "object" => json!("a"),
            [_] => json!(7),
            _ => json!([]),
        };
        self.add(path, wrong, false);
        kinds.into_iter().for_each(|kind| self.of_kind(kind, &schema, path));
    }

    fn of_kind(&mut self, kind: &str, schema: &Value, path: &Path) {
        match kind {
            "object" => self.object(schema, path, true),
            "array" => self.array(schema, path),
            "string" => self.text(schema, path),
            "boolean" => [true, false].into_iter().for_each(|flag| self.add(path, json!(flag), true)),
            "integer" => {
                let (inside, outside) = integer_ends(schema);
                inside.into_iter().for_each(|number| self.add(path, json!(number), true));
                outside.into_iter().for_each(|number| self.add(path, number, false));
            }
            "number" => {
                let [least, most] = ["minimum", "maximum"].map(|name| schema[name].as_f64().expect(name));
                [least, most].into_iter().for_each(|number| self.add(path, json!(number), true));
                [least - 0.01, most + 0.01].into_iter().for_each(|it| self.add(path, json!(it), false));
            }
            unknown => panic!("a type that this test does not know: {unknown}"),
        }
    }

    fn resolved<'s>(&'s self, schema: &'s Value) -> &'s Value {
        match schema["$ref"].as_str() {
            Some(reference) => self.resolved(self.document.pointer(&reference[1..]).expect(reference)),
            None => schema,
        }
    }

    /// Adds the cases of `oneOf`: either null or one schema, or several objects with one member
    /// each.
    fn alternatives(&mut self, alternatives: &[Value], path: &Path) {
        let (null, others): (Vec<&Value>, Vec<&Value>) =
            alternatives.iter().partition(|schema| schema["type"] == "null");
        if !null.is_empty() {
            self.add(path, Value::Null, true);
        }
        if let [only] = others[..] {
            return self.value(only, path);
        }
        let step = |name: &str| [&path[..], &[Some(name.to_owned())]].concat();
        let schemas: Vec<Value> = others.into_iter().map(|schema| self.resolved(schema).clone()).collect();
        let names: Vec<&str> = schemas.iter().map(|schema| schema["required"][0].as_str().unwrap()).collect();
        self.at(path, &step(names[0]), json!({}), false);
        let all: Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), json!("a"))).collect();
        self.at(path, &step(names[names.len() - 1]), all.into(), false);
        for schema in &schemas {
            check_keywords(schema);
            self.object(schema, path, false);
        }
    }

    fn object(&mut self, schema: &Value, path: &Path, is_whole: bool) {
        let step = |name: &str| [&path[..], &[Some(name.to_owned())]].concat();
        let Some(properties) = schema["properties"].as_object() else {
            return self.dictionary(schema, path);
        };
        assert_eq!(schema["additionalProperties"], false, "{path:?} takes unknown members");
        self.add(&step("unknown_member"), json!(1), false);
        let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
        for name in required.iter().filter(|_| is_whole) {
            self.at(path, &step(name.as_str().unwrap()), json!({}), false);
        }
        for (name, property) in properties {
            self.value(property, &step(name));
        }
    }

    /// Adds the cases of an object whose keys the client chooses, or of an object with any content.
    fn dictionary(&mut self, schema: &Value, path: &Path) {
        let step = |name: &str| [&path[..], &[Some(name.to_owned())]].concat();
        let values = &schema["additionalProperties"];
        if values.is_null() {
            return self.add(path, json!({}), true);
        }
        self.value(values, &step("k"));
        let most = schema["maxProperties"].as_u64().expect("a bound of each dictionary");
        for (count, fits) in [(most, true), (most + 1, false)] {
            let members: Map<String, Value> = (0..count).map(|n| (format!("k{n}"), json!("a"))).collect();
            self.add(path, members.into(), fits);
        }
        let (good, bad) = texts_of(schema["propertyNames"]["pattern"].as_str().expect("a pattern of keys"));
        for (key, fits) in good.iter().map(|key| (key, true)).chain(bad.iter().map(|key| (key, false))) {
            self.add(&step(key), json!("a"), fits);
        }
    }

    fn array(&mut self, schema: &Value, path: &Path) {
        let most = schema["maxItems"].as_u64().expect("a bound of each array");
        for (count, fits) in [(most, true), (most + 1, false)] {
            self.add(path, json!(vec![json!({}); usize::try_from(count).unwrap()]), fits);
        }
        self.value(&schema["items"], &[&path[..], &[None]].concat());
    }

    fn text(&mut self, schema: &Value, path: &Path) {
        let bound = |name: &str| schema[name].as_u64().map(|length| usize::try_from(length).unwrap());
        if let (Some(least), Some(most)) = (bound("minLength"), bound("maxLength")) {
            for (length, fits) in [(least, true), (most, true), (least - 1, false), (most + 1, false)] {
                self.add(path, json!("a".repeat(length)), fits);
            }
        }
        if let Some(pattern) = schema["pattern"].as_str() {
            let (good, bad) = texts_of(pattern);
            good.iter().for_each(|text| self.add(path, json!(text), true));
            bad.iter().for_each(|text| self.add(path, json!(text), false));
        }
        for name in schema["enum"].as_array().into_iter().flatten() {
            self.add(path, name.clone(), true);
        }
        if schema["enum"].is_array() {
            self.add(path, json!("no-such-name"), false);
        }
        if schema["format"] == "uuid" {
            self.add(path, json!(ID), true);
        }
        if schema["format"] == "date-time" {
            TIMES.iter().for_each(|time| self.add(path, json!(time), true));
            NO_TIMES.iter().for_each(|text| self.add(path, json!(text), false));
        }
        self.add(path, json!(""), false);
    }
}

fn texts_of(pattern: &str) -> (&'static [&'static str], &'static [&'static str]) {
    let found = PATTERNS.iter().find(|(known, ..)| *known == pattern);
    let (_, good, bad) = found.unwrap_or_else(|| panic!("no texts for the pattern {pattern}"));
    (good, bad)
}

/// The types of a schema, and whether it also allows null.
fn kinds_of(schema: &Value) -> (Vec<&str>, bool) {
    let kinds = schema["type"].as_array().map_or(std::slice::from_ref(&schema["type"]), Vec::as_slice);
    let (null, kinds): (Vec<&str>, Vec<&str>) = kinds
        .iter()
        .map(|kind| kind.as_str().expect("a type of each schema"))
        .partition(|kind| *kind == "null");
    assert!(!kinds.is_empty(), "a type besides null");
    (kinds, !null.is_empty())
}

fn check_keywords(schema: &Value) {
    const KNOWN: [&str; 16] = [
        "type",
        "format",
        "oneOf",
        "enum",
        "pattern",
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
        "items",
        "maxItems",
        "properties",
        "required",
        "additionalProperties",
        "propertyNames",
        "maxProperties",
    ];
    for keyword in schema.as_object().expect("a schema").keys().map(String::as_str) {
        assert!(
            KNOWN.contains(&keyword) || ANNOTATIONS.contains(&keyword),
            "a keyword that this test does not know: {keyword}"
        );
    }
}
