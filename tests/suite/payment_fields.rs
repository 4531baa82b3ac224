//! The fields of a payment are the same in the rule contract, the domain, the API, the case files
//! of the host and the SDK.
//!
//! One declaration cannot serve them all, since the host and the plugins are separate workspaces
//! and the contract is frozen. This test compares names, kinds, and which fields are optional.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;
use wit_parser::{Resolve, Type, TypeDefKind};

/// The kind of a field: `text`, `integer`, `texts`, `texts by key`, `signals by name`, or the record
/// that it holds.
type Kind = String;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    kind: Kind,
    is_optional: bool,
}

/// The fields of each record, and the names of each choice, by lower-case name.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shapes {
    records: BTreeMap<String, BTreeMap<String, Field>>,
    choices: BTreeMap<String, BTreeSet<String>>,
}

const RECORDS: [&str; 7] =
    ["payment", "money", "party", "ultimate_party", "postal_address", "card", "payee_verification"];
const CHOICES: [&str; 4] = ["account", "method", "charge_bearer", "payee_match"];

/// Kinds of fields that are empty instead of absent.
const SEVERAL: [&str; 3] = ["texts", "texts by key", "signals by name"];

/// The API's codes and the contract's names.
const CODES: [(&str, &str); 8] = [
    ("DEBT", "debtor"),
    ("CRED", "creditor"),
    ("SHAR", "shared"),
    ("SLEV", "service_level"),
    ("MTCH", "matches"),
    ("CMTC", "close_match"),
    ("NMTC", "no_match"),
    ("NOAP", "not_possible"),
];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path)
}

/// `CreditTransfer` and `credit-transfer` are both `credit_transfer`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for character in name.replace('-', "_").chars() {
        if character.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(character.to_lowercase());
    }
    snake
}

/// The fields of the newest rule contract, with which the others are compared.
fn contract() -> Shapes {
    let mut resolve = Resolve::default();
    resolve.push_str("rules.wit", &read("plugins/wit/1.1.0/rules.wit")).expect("the contract");
    let mut shapes = Shapes::default();
    for (_, definition) in &resolve.types {
        let Some(name) = definition.name.as_deref().map(snake_case) else { continue };
        match &definition.kind {
            TypeDefKind::Record(record) if RECORDS.contains(&name.as_str()) => {
                let fields = record.fields.iter();
                let fields = fields.map(|field| (snake_case(&field.name), field_of(&resolve, &field.ty)));
                shapes.records.insert(name, fields.collect());
            }
            TypeDefKind::Variant(variant) if CHOICES.contains(&name.as_str()) => {
                let names = variant.cases.iter().map(|case| snake_case(&case.name));
                shapes.choices.insert(name, names.collect());
            }
            TypeDefKind::Enum(choice) if CHOICES.contains(&name.as_str()) => {
                let names = choice.cases.iter().map(|case| snake_case(&case.name));
                shapes.choices.insert(name, names.collect());
            }
            _ => {}
        }
    }
    shapes
}

fn field_of(resolve: &Resolve, wit: &Type) -> Field {
    let required = |kind: &str| Field { kind: kind.to_owned(), is_optional: false };
    let id = match wit {
        Type::String => return required("text"),
        Type::S64 | Type::U64 | Type::U8 => return required("integer"),
        Type::Id(id) => *id,
        other => panic!("a type that this test does not know: {other:?}"),
    };
    let definition = &resolve.types[id];
    match &definition.kind {
        TypeDefKind::Option(inside) => Field { is_optional: true, ..field_of(resolve, inside) },
        TypeDefKind::List(Type::String) => required("texts"),
        TypeDefKind::List(Type::Id(item)) => required(match resolve.types[*item].name.as_deref() {
            None => "texts by key",
            Some("signal") => "signals by name",
            Some(other) => panic!("a list that this test does not know: {other}"),
        }),
        TypeDefKind::Type(Type::Id(id)) => field_of(resolve, &Type::Id(*id)),
        _ => required(&snake_case(definition.name.as_deref().expect("a name"))),
    }
}

/// The structs and enums of Rust sources whose names end with `suffix`.
fn rust(paths: &[&str], suffix: &str) -> Shapes {
    let source: String = paths.iter().map(|path| read(path)).collect();
    let mut shapes = Shapes::default();
    for name in RECORDS {
        if let Some(lines) = items(&source, "struct", suffix, name) {
            let fields = lines.iter().filter_map(|line| line.split_once(": "));
            let fields = fields.map(|(name, kind)| (name.to_owned(), rust_field(kind, suffix)));
            shapes.records.insert(name.to_owned(), fields.collect());
        }
    }
    for name in CHOICES {
        if let Some(lines) = items(&source, "enum", suffix, name) {
            let names = lines.iter().map(|line| snake_case(line.split('(').next().unwrap()));
            shapes.choices.insert(name.to_owned(), names.collect());
        }
    }
    shapes
}

/// The members of a struct or enum, without attributes, comments and visibility.
fn items(source: &str, keyword: &str, suffix: &str, name: &str) -> Option<Vec<String>> {
    let capitalized = |word: &str| word[..1].to_uppercase() + &word[1..];
    let name: String = name.split('_').map(capitalized).collect();
    let (_, after) = source.split_once(&format!("{keyword} {name}{suffix} {{\n"))?;
    let lines = after.split("\n}").next()?.lines().map(str::trim);
    let members = lines.filter(|line| !line.starts_with("//") && !line.starts_with('#') && !line.is_empty());
    Some(members.map(|line| line.trim_start_matches("pub ").trim_end_matches(',').to_owned()).collect())
}

fn inside_of<'k>(outer: &str, kind: &'k str) -> Option<&'k str> {
    kind.strip_prefix(outer)?.strip_suffix('>')
}

fn rust_field(kind: &str, suffix: &str) -> Field {
    let inside = inside_of("Option<", kind);
    let given = inside.unwrap_or(kind);
    let kind = match inside_of("Box<", given).unwrap_or(given) {
        "String" | "IpAddr" | "Country" | "Currency" | "PaymentId" | "Uetr" => "text".to_owned(),
        "i64" | "u64" | "u8" => "integer".to_owned(),
        "Vec<String>" => "texts".to_owned(),
        "Vec<(String, String)>" | "BTreeMap<String, String>" => "texts by key".to_owned(),
        "Vec<(String, Signal)>" | "BTreeMap<String, DecimalOrText>" => "signals by name".to_owned(),
        other => snake_case(other.strip_suffix(suffix).unwrap_or(other)),
    };
    Field { kind, is_optional: inside.is_some() }
}

/// The fields of the API's schemas.
fn api() -> Shapes {
    let document: Value = serde_json::from_str(tollgate::http::openapi::text()).expect("JSON");
    let schemas = &document["components"]["schemas"];
    let mut shapes = Shapes::default();
    for (schema, name) in [
        ("PaymentOrder", "payment"),
        ("Party", "party"),
        ("UltimateParty", "ultimate_party"),
        ("PostalAddress", "postal_address"),
        ("Card", "card"),
        ("PayeeVerification", "payee_verification"),
    ] {
        let schema = &schemas[schema];
        let required = schema["required"].as_array().expect("required members");
        let fields = schema["properties"].as_object().expect("members").iter().map(|(name, property)| {
            let is_required = required.iter().any(|required| required == name);
            let kind = kind_of(property);
            // Left out if there are none, but not optional in the contract.
            let has_several = SEVERAL.contains(&kind.as_str());
            assert!(!has_several || !is_required, "{name} is required");
            let is_optional = !is_required && !has_several;
            (name.clone(), Field { kind, is_optional })
        });
        shapes.records.insert(name.to_owned(), fields.collect());
    }
    let names = |schema: &Value| {
        let name = schema.as_str().expect("a name");
        CODES.iter().find(|(code, _)| *code == name).map_or(name, |(_, name)| name).to_owned()
    };
    let choice =
        |schema: &str| schemas[schema]["enum"].as_array().expect("names").iter().map(names).collect();
    let accounts = schemas["Account"]["oneOf"].as_array().expect("alternatives").iter();
    let accounts = accounts.map(|schema| names(&schema["required"][0]));
    shapes.choices = BTreeMap::from([
        ("account".to_owned(), accounts.collect()),
        ("method".to_owned(), choice("Method")),
        ("charge_bearer".to_owned(), choice("ChargeBearer")),
        ("payee_match".to_owned(), choice("PayeeMatch")),
    ]);
    shapes
}

fn kind_of(schema: &Value) -> Kind {
    if let Some(alternatives) = schema["oneOf"].as_array() {
        return kind_of(alternatives.iter().find(|schema| schema["type"] != "null").expect("a schema"));
    }
    if let Some(reference) = schema["$ref"].as_str() {
        return snake_case(reference.rsplit('/').next().expect("a name"));
    }
    let kinds = schema["type"].as_array().map_or(std::slice::from_ref(&schema["type"]), Vec::as_slice);
    match kinds.iter().find(|kind| *kind != "null").and_then(Value::as_str) {
        Some("string") => "text".to_owned(),
        Some("integer") => "integer".to_owned(),
        Some("array") if kind_of(&schema["items"]) == "text" => "texts".to_owned(),
        Some("object") if schema["additionalProperties"]["type"] == "string" => "texts by key".to_owned(),
        Some("object") => "signals by name".to_owned(),
        other => panic!("a type that this test does not know: {other:?}"),
    }
}

/// The contract's payment as a client submits it: without the fields that Tollgate adds, and with
/// the amount and the time of the request as two members each.
fn as_submitted(mut shapes: Shapes) -> Shapes {
    let money = shapes.records.remove("money").expect("money");
    let payment = shapes.records.get_mut("payment").expect("a payment");
    for given_by_tollgate in ["id", "received_at_ms", "amount"] {
        payment.remove(given_by_tollgate).expect(given_by_tollgate);
    }
    // The exponent follows from the currency.
    payment.insert("amount_minor".to_owned(), money["minor"].clone());
    payment.insert("currency".to_owned(), money["currency"].clone());
    // The same time in another form.
    payment.insert("requested_at".to_owned(), payment["customer"].clone());
    shapes
}

#[test]
fn the_contract_has_every_record_and_choice_that_is_compared() {
    let contract = contract();
    assert!(contract.records.keys().map(String::as_str).eq(BTreeSet::from(RECORDS)));
    assert!(contract.choices.keys().map(String::as_str).eq(BTreeSet::from(CHOICES)));
    assert!(contract.records["payment"].len() > 10);
}

#[test]
fn the_api_has_the_fields_of_the_contract() {
    assert_eq!(api(), as_submitted(contract()));
}

#[test]
fn the_case_files_of_the_host_have_the_fields_of_the_contract() {
    assert_eq!(rust(&["src/rules/cases/format/payment.rs"], "Form"), contract());
}

#[test]
fn the_sdk_has_the_fields_of_the_contract() {
    assert_eq!(rust(&["plugins/sdk/src/payment.rs", "plugins/sdk/src/party.rs"], ""), contract());
}

#[test]
fn the_domain_has_the_fields_of_the_contract() {
    let [payment, party, address] =
        ["payment", "party", "address"].map(|file| rust(&[&format!("src/domain/{file}.rs")], ""));
    let order = items(&read("src/domain/payment.rs"), "struct", "Order", "payment").expect("an order");
    let contract = contract();
    let fields = order.iter().filter_map(|line| line.split_once(": "));
    let mut fields: BTreeMap<_, _> =
        fields.map(|(name, kind)| (name.to_owned(), rust_field(kind, ""))).collect();
    // A payment is an order and the fields that Tollgate adds.
    let added = &payment.records["payment"];
    fields.extend(
        added.iter().filter(|(name, _)| *name != "order").map(|(name, it)| (name.clone(), it.clone())),
    );
    assert_eq!(fields, contract.records["payment"]);
    for (shapes, records) in [
        (&payment, &["card", "payee_verification"][..]),
        (&party, &["party", "ultimate_party"]),
        (&address, &["postal_address"]),
    ] {
        records.iter().for_each(|name| assert_eq!(shapes.records[*name], contract.records[*name], "{name}"));
    }
    let choices = party.choices.into_iter().chain(payment.choices);
    assert_eq!(choices.collect::<BTreeMap<_, _>>(), contract.choices);
}
