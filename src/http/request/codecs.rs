//! How JSON values are read, written and described.
//!
//! A codec declares a kind of value once, so that the bounds in the OpenAPI document are those
//! that are checked.

mod composite;
mod scalar;
mod time;

use serde::Serialize;
use serde::ser::SerializeMap;
use utoipa::openapi::schema::{SchemaType, Type};
use utoipa::openapi::{ObjectBuilder, OneOfBuilder, RefOr, Schema};

pub use composite::{
    KeyForm, Members, Optional, Or, any_items, any_object, dictionary, items, object, optional, or, or_null,
};
pub use scalar::{
    Integer, Named, OneOf, Parsed, Percent, Text, currency, flag, integer, named, one_of, parsed, percent,
    text, uuid,
};
pub use time::{optional_time, past_time};

use crate::http::request::declaration::{MemberSchemas, Words};
use crate::http::request::fields::{Fields, Place};
use crate::http::request::json::Value;

/// The schemas that a body refers to, by name.
pub type Components = Vec<(String, RefOr<Schema>)>;

pub trait Codec {
    type Value;

    /// Reads a value that is not null. `None` if it has errors, which are added at its place.
    fn read(&self, place: Place<'_>, value: &Value) -> Option<Self::Value>;

    /// The value of a member that is absent. `None` if the member is required.
    fn absent(&self) -> Option<Self::Value> {
        None
    }

    /// The value of a member that is null.
    fn null(&self) -> Option<Self::Value> {
        self.absent()
    }

    /// The value as JSON. `None` if the member must be left out.
    fn write<'v>(&'v self, value: &'v Self::Value) -> Option<impl Serialize>;

    fn schema(&self) -> RefOr<Schema>;

    /// Adds the schemas to which this schema refers.
    fn components(&self, _components: &mut Components) {}
}

/// One field of a body: a JSON member with a codec, or several JSON members that form one value.
pub trait Member {
    type Value;

    fn read_from(&self, name: &'static str, fields: &mut Fields<'_>) -> Option<Self::Value>;

    fn write_to<M: SerializeMap>(
        &self,
        name: &'static str,
        value: &Self::Value,
        map: &mut M,
    ) -> Result<(), M::Error>;

    fn describe_in(&self, name: &'static str, words: Words, members: &mut MemberSchemas);

    fn components_of(&self, components: &mut Components);
}

impl<C: Codec> Member for C {
    type Value = C::Value;

    fn read_from(&self, name: &'static str, fields: &mut Fields<'_>) -> Option<C::Value> {
        fields.member(name, self)
    }

    fn write_to<M: SerializeMap>(
        &self,
        name: &'static str,
        value: &C::Value,
        map: &mut M,
    ) -> Result<(), M::Error> {
        self.write(value).map_or(Ok(()), |value| map.serialize_entry(name, &value))
    }

    fn describe_in(&self, name: &'static str, words: Words, members: &mut MemberSchemas) {
        members.add(name, self, words);
    }

    fn components_of(&self, components: &mut Components) {
        self.components(components);
    }
}

/// The same schema, which also allows null.
fn nullable(schema: RefOr<Schema>) -> RefOr<Schema> {
    let with_null = |schema_type: &mut SchemaType| {
        if let SchemaType::Type(one) = schema_type {
            *schema_type = SchemaType::Array(vec![one.clone(), Type::Null]);
        }
    };
    let mut schema = schema;
    match &mut schema {
        RefOr::T(Schema::Object(object)) if object.enum_values.is_none() => {
            with_null(&mut object.schema_type);
        }
        RefOr::T(Schema::Array(array)) => with_null(&mut array.schema_type),
        _ => {
            let null = ObjectBuilder::new().schema_type(Type::Null);
            return OneOfBuilder::new().item(schema).item(null).into();
        }
    }
    schema
}
