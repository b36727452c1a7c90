//! How a kept object looks from outside: as it is, under the field names of another version, or cut down to
//! its metadata.

use bytes::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value};

use super::kind::Kind;
use super::object::{Object, Stored};
use super::route::Shape;

/// The object as the client wants it. As it is kept costs nothing.
pub(super) fn shown(kind: &Kind, shape: Shape, object: &Stored) -> Bytes {
    match shape {
        Shape::Metadata => {
            const HEAD: &[u8] =
                br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#;
            let metadata = object.metadata();
            let mut bytes = Vec::with_capacity(HEAD.len() + metadata.len() + 1);
            bytes.extend_from_slice(HEAD);
            bytes.extend_from_slice(&metadata);
            bytes.push(b'}');
            Bytes::from(bytes)
        }
        Shape::Full if kind.renames.is_empty() => object.bytes(),
        Shape::Full => match Object::parse(&object.bytes()) {
            Ok(mut parsed) => {
                rename(&mut parsed.rest, kind.renames.iter().map(|(kept, shown)| (*kept, *shown)));
                Bytes::from(parsed.into_value(&kind.api_version(), &kind.kind).to_string())
            }
            Err(_) => object.bytes(), // cannot be: we wrote it
        },
    }
}

/// From the names that the client uses to those that are kept.
pub(super) fn as_kept(kind: &Kind, object: &mut Object) {
    if kind.renames.is_empty() {
        return;
    }
    rename(&mut object.rest, kind.renames.iter().map(|(kept, shown)| (*shown, *kept)));
    if object.api_version.as_deref() == Some(kind.api_version().as_str()) {
        object.api_version = Some(kind.stored_api_version.clone());
    }
}

/// From the names that are kept to those that the client uses: what a patch is applied to.
pub(super) fn as_shown(kind: &Kind, metadata: ObjectMeta, rest: Map<String, Value>) -> Value {
    let object = Object { metadata, rest, ..Object::default() };
    let mut value = object.into_value(&kind.api_version(), &kind.kind);
    if let Value::Object(fields) = &mut value {
        rename(fields, kind.renames.iter().map(|(kept, shown)| (*kept, *shown)));
    }
    value
}

fn rename<'n>(fields: &mut Map<String, Value>, names: impl Iterator<Item = (&'n str, &'n str)>) {
    for (from, to) in names {
        if let Some(value) = fields.remove(from) {
            fields.insert(to.to_owned(), value);
        }
    }
}

/// Kind and API version of a list, or of one object, in this shape.
pub(super) fn type_of(kind: &Kind, shape: Shape, list: bool) -> (String, String) {
    match (shape, list) {
        (Shape::Full, true) => (kind.list_kind.clone(), kind.api_version()),
        (Shape::Full, false) => (kind.kind.clone(), kind.api_version()),
        (Shape::Metadata, true) => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned()),
        (Shape::Metadata, false) => ("PartialObjectMetadata".to_owned(), "meta.k8s.io/v1".to_owned()),
    }
}
