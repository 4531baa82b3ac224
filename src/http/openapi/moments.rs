//! Describes both forms of each time: the members that `response::moment` writes, and the query
//! parameters that `Query` reads.
//!
//! Responses are recognised by the type of their times. A number that is a duration must not get a
//! second form.

use serde_json::{Map, Value, json};

use crate::http::rfc3339::{TIME_MS_MAX, name_without_unit};

/// The schemas of `Moment` and `MomentOrNull`.
const MOMENTS: [&str; 2] = ["Moment", "MomentOrNull"];

/// Describes both members of each time in these schemas.
pub fn describe_members(schemas: &mut Map<String, Value>) {
    schemas.retain(|name, _| !MOMENTS.contains(&name.as_str()));
    schemas.values_mut().for_each(describe_in);
}

fn describe_in(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            describe_properties(members);
            members.values_mut().for_each(describe_in);
        }
        Value::Array(items) => items.iter_mut().for_each(describe_in),
        _ => {}
    }
}

fn describe_properties(object: &mut Map<String, Value>) {
    let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) else { return };
    let (mut described, mut seconds) = (Map::new(), Vec::new());
    for (name, property) in std::mem::take(properties) {
        let Some((is_nullable, notation)) = is_nullable_moment(&property).zip(name_without_unit(&name))
        else {
            described.insert(name, property);
            continue;
        };
        let mut number = json!({"type": "integer", "format": "int64", "minimum": 0, "maximum": TIME_MS_MAX});
        let mut text = notation_of(&name);
        number["description"] =
            property["description"].as_str().unwrap_or("UTC milliseconds since 1970.").into();
        if is_nullable {
            (number["type"], text["type"]) = (json!(["integer", "null"]), json!(["string", "null"]));
        }
        seconds.push((name.clone(), notation.to_owned()));
        described.insert(notation.to_owned(), text);
        described.insert(name, number);
    }
    *properties = described;
    let required = object.get_mut("required").and_then(Value::as_array_mut);
    if let Some(required) = required {
        seconds.retain(|(name, _)| required.iter().any(|required| required == name));
        required.extend(seconds.into_iter().map(|(_, notation)| notation.into()));
    }
}

fn notation_of(name: &str) -> Value {
    let description = format!("`{name}` in the notation of RFC 3339, in UTC.");
    json!({"type": "string", "format": "date-time", "description": description})
}

/// Whether a time can be null. `None` if the property is not a time.
fn is_nullable_moment(property: &Value) -> Option<bool> {
    if let Some(alternatives) = property["oneOf"].as_array() {
        return alternatives.iter().find_map(is_nullable_moment).map(|_| true);
    }
    let name = property["$ref"].as_str()?.strip_prefix("#/components/schemas/")?;
    MOMENTS.contains(&name).then_some(name == MOMENTS[1])
}

/// Adds the second form of each parameter that is a time.
pub fn describe_parameters(parameters: &mut Vec<Value>) {
    let times: Vec<(usize, Value)> = parameters
        .iter()
        .enumerate()
        .filter(|(_, parameter)| parameter["in"] == "query")
        .filter_map(|(place, parameter)| {
            let name = parameter["name"].as_str()?;
            let description =
                format!("The same as `{name}`, in the notation of RFC 3339. `+` is written `%2B`.");
            let schema = json!({"type": ["string", "null"], "format": "date-time"});
            let name = name_without_unit(name)?;
            let second = json!({
                "name": name, "in": "query", "description": description, "required": false, "schema": schema
            });
            Some((place, second))
        })
        .collect();
    for (place, second) in times.into_iter().rev() {
        parameters.insert(place + 1, second);
    }
}
