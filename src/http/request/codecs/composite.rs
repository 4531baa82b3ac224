//! Objects, arrays and members that may be absent.

use std::marker::PhantomData;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use utoipa::openapi::schema::Type;
use utoipa::openapi::{ArrayBuilder, ObjectBuilder, Ref, RefOr, Schema};

use super::{Codec, Components, nullable, text};
use crate::domain::card_check::CheckedField;
use crate::http::request::declaration::Body;
use crate::http::request::fields::{Place, expected};
use crate::http::request::json::Value;

/// An object declared by `body!`.
pub fn object<B: Body>() -> ObjectCodec<B> {
    ObjectCodec(PhantomData)
}

#[derive(Debug)]
pub struct ObjectCodec<B>(PhantomData<B>);

impl<B: Body> Codec for ObjectCodec<B> {
    type Value = B;

    fn read(&self, place: Place<'_>, value: &Value) -> Option<B> {
        place.object(value, B::read)
    }

    fn write<'v>(&'v self, value: &'v B) -> Option<impl Serialize> {
        Some(Members(value))
    }

    fn schema(&self) -> RefOr<Schema> {
        Ref::from_schema_name(B::NAME).into()
    }

    fn components(&self, components: &mut Components) {
        components.push((B::NAME.to_owned(), B::object_schema()));
        B::components(components);
    }
}

/// A body as JSON.
pub struct Members<'b, B>(pub &'b B);

impl<B: Body> Serialize for Members<'_, B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.0.write(&mut map)?;
        map.end()
    }
}

/// An array of at most `count_max` values.
pub fn items<C: Codec>(codec: C, count_max: usize) -> ItemsCodec<C> {
    ItemsCodec { codec, count_max }
}

#[derive(Debug)]
pub struct ItemsCodec<C> {
    codec: C,
    count_max: usize,
}

impl<C: Codec> Codec for ItemsCodec<C> {
    type Value = Vec<C::Value>;

    fn read(&self, place: Place<'_>, value: &Value) -> Option<Vec<C::Value>> {
        let Value::Array(items) = value else {
            place.error(expected("an array", value));
            return None;
        };
        if items.len() > self.count_max {
            place.error(format!("expected at most {} items", self.count_max));
            return None;
        }
        let pointer = place.pointer();
        let read_all =
            items.iter().enumerate().map(|(index, item)| self.codec.read(place.item(&pointer, index), item));
        // First reads all items, so that the errors of each are reported.
        read_all.collect::<Vec<_>>().into_iter().collect()
    }

    fn write<'v>(&'v self, value: &'v Vec<C::Value>) -> Option<impl Serialize> {
        Some(value.iter().map(|item| self.codec.write(item)).collect::<Vec<_>>())
    }

    fn schema(&self) -> RefOr<Schema> {
        ArrayBuilder::new().items(self.codec.schema()).max_items(Some(self.count_max)).into()
    }

    fn components(&self, components: &mut Components) {
        self.codec.components(components);
    }
}

/// A value that may be absent.
pub fn optional<C: Codec>(codec: C) -> Optional<C> {
    Optional(codec)
}

#[derive(Debug)]
pub struct Optional<C>(C);

impl<C: Codec> Codec for Optional<C> {
    type Value = Option<C::Value>;

    fn read(&self, place: Place<'_>, value: &Value) -> Option<Self::Value> {
        self.0.read(place, value).map(Some)
    }

    fn absent(&self) -> Option<Self::Value> {
        Some(None)
    }

    fn write<'v>(&'v self, value: &'v Option<C::Value>) -> Option<impl Serialize> {
        value.as_ref().and_then(|value| self.0.write(value))
    }

    fn schema(&self) -> RefOr<Schema> {
        nullable(self.0.schema())
    }

    fn components(&self, components: &mut Components) {
        self.0.components(components);
    }
}

/// A value with a default if it is absent.
pub fn or<C: Codec>(codec: C, default: C::Value) -> Or<C>
where
    C::Value: Clone,
{
    Or { codec, default }
}

#[derive(Debug)]
pub struct Or<C: Codec> {
    codec: C,
    default: C::Value,
}

impl<C: Codec> Codec for Or<C>
where
    C::Value: Clone,
{
    type Value = C::Value;

    fn read(&self, place: Place<'_>, value: &Value) -> Option<C::Value> {
        self.codec.read(place, value)
    }

    fn absent(&self) -> Option<C::Value> {
        Some(self.default.clone())
    }

    fn write<'v>(&'v self, value: &'v C::Value) -> Option<impl Serialize> {
        self.codec.write(value)
    }

    fn schema(&self) -> RefOr<Schema> {
        nullable(self.codec.schema())
    }

    fn components(&self, components: &mut Components) {
        self.codec.components(components);
    }
}

/// An object whose keys the client chooses and whose values are texts. Empty if it is absent.
pub fn dictionary(
    checked: CheckedField,
    count_max: usize,
    key: KeyForm,
    value_length_max: usize,
) -> Dictionary {
    Dictionary { checked, count_max, key, value_length_max }
}

/// The keys that are accepted, as a function and as an equivalent regular expression.
#[derive(Debug, Clone, Copy)]
pub struct KeyForm {
    pub check: fn(&str) -> Result<(), &'static str>,
    pub pattern: &'static str,
}

#[derive(Debug)]
pub struct Dictionary {
    checked: CheckedField,
    count_max: usize,
    key: KeyForm,
    value_length_max: usize,
}

impl Codec for Dictionary {
    type Value = Vec<(String, String)>;

    fn read(&self, place: Place<'_>, value: &Value) -> Option<Vec<(String, String)>> {
        let Value::Object(object) = value else {
            place.error(expected("an object", value));
            return None;
        };
        if object.members.len() > self.count_max {
            place.error(format!("expected at most {} keys", self.count_max));
            return None;
        }
        let fields = place.fields(object);
        fields.refuse_repeated();
        let read_all = object.members.iter().map(|(key, value)| {
            let key_good = fields.screen_key(key, Some(self.checked))
                && (self.key.check)(key).map_err(|detail| fields.error(key, detail)).is_ok();
            let text = text(self.value_length_max).checked(self.checked).read(fields.place(key), value)?;
            key_good.then(|| (key.clone(), text))
        });
        read_all.collect::<Vec<_>>().into_iter().collect()
    }

    fn absent(&self) -> Option<Vec<(String, String)>> {
        Some(Vec::new())
    }

    fn write<'v>(&'v self, value: &'v Vec<(String, String)>) -> Option<impl Serialize> {
        (!value.is_empty()).then(|| value.iter().map(|(key, text)| (key, text)).collect::<Texts<'_>>())
    }

    fn schema(&self) -> RefOr<Schema> {
        let object = ObjectBuilder::new()
            .property_names(Some(
                ObjectBuilder::new().schema_type(Type::String).pattern(Some(self.key.pattern)),
            ))
            .additional_properties(Some(text(self.value_length_max).schema()))
            .max_properties(Some(self.count_max));
        nullable(object.into())
    }
}

type Texts<'t> = std::collections::BTreeMap<&'t String, &'t String>;

/// Any object, as canonical JSON text. At any depth, keys must not repeat, and no key, text or
/// number may contain a card number.
pub fn any_object() -> AnyObject {
    AnyObject
}

#[derive(Debug)]
pub struct AnyObject;

impl Codec for AnyObject {
    type Value = String;

    fn read(&self, place: Place<'_>, value: &Value) -> Option<String> {
        let Value::Object(_) = value else {
            place.error(expected("an object", value));
            return None;
        };
        place.screen_nested(value).then(|| value.canonical())
    }

    fn write<'v>(&'v self, value: &'v String) -> Option<impl Serialize> {
        serde_json::from_str::<serde_json::Value>(value).ok()
    }

    fn schema(&self) -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::Object).into()
    }
}
