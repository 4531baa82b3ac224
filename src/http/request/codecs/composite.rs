//! Objects, arrays and members that may be absent.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use utoipa::openapi::schema::Type;
use utoipa::openapi::{ArrayBuilder, ObjectBuilder, Ref, RefOr, Schema};

use super::{Codec, Components, nullable};
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

    fn null(&self) -> Option<Self::Value> {
        Some(self.0.null())
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

/// A value or null, where null is not the same as absent.
pub fn or_null<C: Codec>(codec: C) -> OrNull<C> {
    OrNull(codec)
}

#[derive(Debug)]
pub struct OrNull<C>(C);

impl<C: Codec> Codec for OrNull<C> {
    type Value = Option<C::Value>;

    fn read(&self, place: Place<'_>, value: &Value) -> Option<Self::Value> {
        self.0.read(place, value).map(Some)
    }

    fn null(&self) -> Option<Self::Value> {
        Some(None)
    }

    fn write<'v>(&'v self, value: &'v Option<C::Value>) -> Option<impl Serialize> {
        Some(value.as_ref().and_then(|value| self.0.write(value)))
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

/// An array of at most `count_max` values. Empty if it is absent.
pub fn any_items<C: Codec>(codec: C, count_max: usize) -> AnyItems<C> {
    AnyItems(items(codec, count_max))
}

#[derive(Debug)]
pub struct AnyItems<C>(ItemsCodec<C>);

impl<C: Codec> Codec for AnyItems<C> {
    type Value = Vec<C::Value>;

    fn read(&self, place: Place<'_>, value: &Value) -> Option<Vec<C::Value>> {
        self.0.read(place, value)
    }

    fn absent(&self) -> Option<Vec<C::Value>> {
        Some(Vec::new())
    }

    fn write<'v>(&'v self, value: &'v Vec<C::Value>) -> Option<impl Serialize> {
        if value.is_empty() { None } else { self.0.write(value) }
    }

    fn schema(&self) -> RefOr<Schema> {
        nullable(self.0.schema())
    }

    fn components(&self, components: &mut Components) {
        self.0.components(components);
    }
}

/// An object whose keys the client chooses. Empty if it is absent. `checked` must be given if
/// operators can exempt its keys from the check for card numbers.
pub fn dictionary<C: Codec>(
    checked: Option<CheckedField>,
    count_max: usize,
    key: KeyForm,
    value: C,
) -> Dictionary<C> {
    Dictionary { checked, count_max, key, value }
}

/// The keys that are accepted, as a function and as an equivalent regular expression.
#[derive(Debug, Clone, Copy)]
pub struct KeyForm {
    pub check: fn(&str) -> Result<(), &'static str>,
    pub pattern: &'static str,
}

#[derive(Debug)]
pub struct Dictionary<C> {
    checked: Option<CheckedField>,
    count_max: usize,
    key: KeyForm,
    value: C,
}

impl<C: Codec> Codec for Dictionary<C> {
    /// In the order of the keys.
    type Value = Vec<(String, C::Value)>;

    fn read(&self, place: Place<'_>, value: &Value) -> Option<Vec<(String, C::Value)>> {
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
            let key_good = fields.screen_key(key, self.checked)
                && (self.key.check)(key).map_err(|detail| fields.error(key, detail)).is_ok();
            let value = self.value.read(fields.place(key), value)?;
            key_good.then(|| (key.clone(), value))
        });
        read_all.collect::<Vec<_>>().into_iter().collect()
    }

    fn absent(&self) -> Option<Vec<(String, C::Value)>> {
        Some(Vec::new())
    }

    fn write<'v>(&'v self, value: &'v Vec<(String, C::Value)>) -> Option<impl Serialize> {
        let members = value.iter().map(|(key, value)| (key, self.value.write(value)));
        (!value.is_empty()).then(|| members.collect::<BTreeMap<_, _>>())
    }

    fn schema(&self) -> RefOr<Schema> {
        let object = ObjectBuilder::new()
            .property_names(Some(
                ObjectBuilder::new().schema_type(Type::String).pattern(Some(self.key.pattern)),
            ))
            .additional_properties(Some(self.value.schema()))
            .max_properties(Some(self.count_max));
        nullable(object.into())
    }

    fn components(&self, components: &mut Components) {
        self.value.components(components);
    }
}

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
