//! Macros that declare a body: its members with their types, their descriptions in the OpenAPI
//! document, and their codecs.

use serde::ser::SerializeMap;
use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};

use crate::http::request::codecs::{Codec, Components};
use crate::http::request::fields::Fields;

/// An object with known members. Implemented by `body!`.
pub trait Body: Sized {
    /// In the OpenAPI document.
    const NAME: &'static str;

    /// Reads all members even if one has an error, so that every error is found.
    fn read(fields: &mut Fields<'_>) -> Option<Self>;

    fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error>;

    fn object_schema() -> RefOr<Schema>;

    fn components(components: &mut Components);
}

/// Declares a body.
///
/// Its members are read in the order of the declaration. A `check` runs if the members that it
/// names were read without errors. With `for`, the body is a struct declared elsewhere.
macro_rules! body {
    (
        $(#[doc = $words:literal])*
        pub struct $body:ident as $name:literal {$(
            $(#[doc = $member_words:literal])*
            $(#[example = $example:literal])?
            $member:ident: $type:ty = $codec:expr,
        )*}
        $($checks:tt)*
    ) => {
        $(#[doc = $words])*
        #[derive(Debug)]
        pub struct $body {$(
            $(#[doc = $member_words])*
            pub $member: $type,
        )*}

        $crate::http::request::declaration::body! {
            $(#[doc = $words])*
            for $body as $name {$(
                $(#[doc = $member_words])*
                $(#[example = $example])?
                $member = $codec,
            )*}
            $($checks)*
        }

        $crate::http::request::declaration::in_document!($body, $body, |body| body);
    };
    (
        $(#[doc = $words:literal])*
        for $body:ident as $name:literal {$(
            $(#[doc = $member_words:literal])*
            $(#[example = $example:literal])?
            $member:ident = $codec:expr,
        )*}
        $(check |$fields:ident $(, $checked:ident)*| $check:block)*
    ) => {
        impl $crate::http::request::declaration::Body for $body {
            const NAME: &'static str = $name;

            fn read(fields: &mut $crate::http::request::fields::Fields<'_>) -> Option<Self> {
                $(
                    let $member = $crate::http::request::codecs::Member::read_from(
                        &$codec,
                        stringify!($member),
                        fields,
                    );
                )*
                $(
                    #[allow(irrefutable_let_patterns)]
                    if let ($(Some($checked),)*) = ($(&$checked,)*) {
                        let $fields = &*fields;
                        $check
                    }
                )*
                Some(Self { $($member: $member?,)* })
            }

            fn write<M: serde::ser::SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
                $(
                    $crate::http::request::codecs::Member::write_to(
                        &$codec,
                        stringify!($member),
                        &self.$member,
                        map,
                    )?;
                )*
                Ok(())
            }

            fn object_schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                let mut members = $crate::http::request::declaration::MemberSchemas::default();
                $(
                    let words = $crate::http::request::declaration::Words {
                        description: concat!($($member_words, "\n"),*),
                        example: [$(serde_json::json!($example))?].into_iter().next(),
                    };
                    $crate::http::request::codecs::Member::describe_in(
                        &$codec,
                        stringify!($member),
                        words,
                        &mut members,
                    );
                )*
                members.finish(concat!($($words, "\n"),*))
            }

            fn components(components: &mut $crate::http::request::codecs::Components) {
                $($crate::http::request::codecs::Member::components_of(&$codec, components);)*
            }
        }
    };
}
pub(crate) use body;

/// Declares the shape of a response that has the same form as a body, for a struct of another
/// room.
macro_rules! shape {
    (pub struct $shape:ident($body:ident);) => {
        #[derive(Debug)]
        pub struct $shape(pub $body);

        $crate::http::request::declaration::in_document!($shape, $body, |shape| &shape.0);
    };
}
pub(crate) use shape;

/// Implements serialization and the schema of a type that is a body or contains one.
macro_rules! in_document {
    ($type:ident, $body:ident, |$value:ident| $inside:expr) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let $value = self;
                $crate::http::request::codecs::Members::<$body>($inside).serialize(serializer)
            }
        }

        impl utoipa::PartialSchema for $type {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                <$body as $crate::http::request::declaration::Body>::object_schema()
            }
        }

        impl utoipa::ToSchema for $type {
            fn name() -> std::borrow::Cow<'static, str> {
                <$body as $crate::http::request::declaration::Body>::NAME.into()
            }

            fn schemas(components: &mut $crate::http::request::codecs::Components) {
                <$body as $crate::http::request::declaration::Body>::components(components);
            }
        }
    };
}
pub(crate) use in_document;

/// Declares a shape whose values are the names of an enumeration.
macro_rules! named {
    ($(#[doc = $words:literal])* pub struct $shape:ident($of:ident) as $name:literal;) => {
        $(#[doc = $words])*
        #[derive(Debug, Clone, Copy)]
        pub struct $shape(pub $of);

        impl From<$of> for $shape {
            fn from(value: $of) -> Self {
                Self(value)
            }
        }

        impl $crate::http::request::codecs::Named for $shape {
            type Named = $of;

            fn names() -> $crate::http::request::codecs::OneOf<$of> {
                $crate::http::request::codecs::one_of(&$of::ALL, $of::name)
            }
        }

        impl serde::Serialize for $shape {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.0.name())
            }
        }

        impl utoipa::PartialSchema for $shape {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                let names = <Self as $crate::http::request::codecs::Named>::names();
                let schema = $crate::http::request::codecs::Codec::schema(&names);
                $crate::http::request::declaration::described(schema, concat!($($words, "\n"),*))
            }
        }

        impl utoipa::ToSchema for $shape {
            fn name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }
        }
    };
}
pub(crate) use named;

/// The description and example of a member in the OpenAPI document.
#[derive(Debug, Default)]
pub struct Words {
    pub description: &'static str,
    pub example: Option<serde_json::Value>,
}

/// The schema of an object while its members are added.
#[derive(Default)]
pub struct MemberSchemas(ObjectBuilder);

impl MemberSchemas {
    pub fn add(&mut self, name: &str, codec: &impl Codec, words: Words) {
        let mut schema = described(codec.schema(), words.description);
        if let RefOr::T(Schema::Object(object)) = &mut schema {
            object.example = words.example;
        }
        let builder = std::mem::take(&mut self.0).property(name, schema);
        self.0 = if codec.absent().is_none() { builder.required(name) } else { builder };
    }

    /// The finished schema, which allows no other members.
    pub fn finish(self, words: &str) -> RefOr<Schema> {
        let closed = self.0.additional_properties(Some(AdditionalProperties::FreeForm(false)));
        described(closed.into(), words)
    }
}

/// Adds the text of a doc comment as the description.
pub fn described(schema: RefOr<Schema>, words: &str) -> RefOr<Schema> {
    let words: Vec<&str> = words.lines().map(str::trim).collect();
    let words = words.join("\n").trim().to_owned();
    if words.is_empty() {
        return schema;
    }
    let mut schema = schema;
    match &mut schema {
        RefOr::Ref(reference) => reference.description = words,
        RefOr::T(Schema::Object(object)) => object.description = Some(words),
        RefOr::T(Schema::Array(array)) => array.description = Some(words),
        RefOr::T(Schema::OneOf(one_of)) => one_of.description = Some(words),
        _ => {}
    }
    schema
}
