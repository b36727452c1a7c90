//! One object: parsed while a request looks at it, serialized while it is kept.
//!
//! The image holds an object as the bytes that go out on the wire (packed when it rests), plus the few values by
//! which it is selected. Two spots in those bytes are remembered: where the resource version stands, so that it
//! can be set without parsing when the write gets its turn, and where the metadata lies, so that a metadata-only
//! answer is a slice.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::kind::Kind;
use super::packed::Text;

/// An object taken apart. `api_version` and `kind` are what the sender wrote.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Object {
    pub(super) api_version: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) metadata: ObjectMeta,
    /// Every other top-level field: `spec`, `status`, `data`, ...
    pub(super) rest: Map<String, Value>,
}

impl Object {
    /// Parses JSON. The error is serde's, with line and column.
    pub(super) fn parse(bytes: &[u8]) -> Result<Object, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The whole object as one JSON value, with the type of `kind`.
    pub(super) fn into_value(self, api_version: &str, kind: &str) -> Value {
        let mut all = self.rest;
        all.insert("apiVersion".to_owned(), Value::from(api_version));
        all.insert("kind".to_owned(), Value::from(kind));
        all.insert("metadata".to_owned(), serde_json::to_value(&self.metadata).unwrap_or_default());
        Value::Object(all)
    }

    /// The version the sender claims to have read; absent, empty and `0` all mean "none".
    pub(super) fn claimed_version(&self) -> Option<&str> {
        self.metadata.resource_version.as_deref().filter(|v| !v.is_empty() && *v != "0")
    }

    /// Whether deletion has begun.
    pub(super) fn is_deleting(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// Whether somebody still holds the object back from deletion.
    pub(super) fn has_finalizers(&self) -> bool {
        self.metadata.finalizers.as_ref().is_some_and(|f| !f.is_empty())
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a Kubernetes object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut object = Object::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "apiVersion" => object.api_version = map.next_value()?,
                        "kind" => object.kind = map.next_value()?,
                        "metadata" => object.metadata = map.next_value::<Option<_>>()?.unwrap_or_default(),
                        "" => drop(map.next_value::<IgnoredAny>()?),
                        _ => drop(object.rest.insert(key, map.next_value()?)),
                    }
                }
                Ok(object)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// An object about to be written: everything but its version, which the writer assigns.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    bytes: Vec<u8>,
    /// Where the version member is to be inserted.
    insert_at: usize,
    metadata: Range<usize>,
    labels: Labels,
    fields: Box<[Box<str>]>,
    expires: Option<i64>,
}

type Labels = Box<[(Box<str>, Box<str>)]>;

impl Draft {
    /// Serializes `object` in the form in which `kind` is kept. `expires` is in seconds since 1970.
    pub(super) fn new(kind: &Kind, mut object: Object, expires: Option<i64>) -> Draft {
        object.metadata.resource_version = None;
        let mut bytes = Vec::with_capacity(1024);
        bytes.extend_from_slice(b"{\"apiVersion\":");
        put(&mut bytes, &kind.stored_api_version);
        bytes.extend_from_slice(b",\"kind\":");
        put(&mut bytes, &kind.kind);
        bytes.extend_from_slice(b",\"metadata\":");
        let start = bytes.len();
        put(&mut bytes, &object.metadata);
        let metadata = start..bytes.len();
        for (name, value) in &object.rest {
            bytes.push(b',');
            put(&mut bytes, name);
            bytes.push(b':');
            put(&mut bytes, value);
        }
        bytes.push(b'}');
        let labels = object.metadata.labels.take().unwrap_or_default();
        Draft {
            insert_at: start + 1,
            metadata,
            labels: labels.into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
            fields: kind.fields.iter().map(|f| f.value_in(&object.rest).into()).collect(),
            expires,
            bytes,
        }
    }

    /// Size without the version, in bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Gives the draft its version: from here on it is an object.
    pub(super) fn seal(self, version: u64) -> Stored {
        const MEMBER: &[u8] = b"\"resourceVersion\":\"";
        let digits = version.to_string();
        let mut bytes = Vec::with_capacity(self.bytes.len() + MEMBER.len() + digits.len() + 2);
        let (before, after) = self.bytes.split_at(self.insert_at);
        bytes.extend_from_slice(before);
        bytes.extend_from_slice(MEMBER);
        bytes.extend_from_slice(digits.as_bytes());
        bytes.push(b'"');
        if after.first() != Some(&b'}') {
            bytes.push(b',');
        }
        let grown = bytes.len() - before.len();
        bytes.extend_from_slice(after);
        Stored {
            text: Text::Plain(Bytes::from(bytes)),
            version,
            version_at: self.insert_at + MEMBER.len(),
            metadata: self.metadata.start..self.metadata.end + grown,
            labels: self.labels,
            fields: self.fields,
            expires: self.expires,
        }
    }
}

/// One version of one object as it is kept.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    text: Text,
    pub(super) version: u64,
    version_at: usize,
    metadata: Range<usize>,
    labels: Labels,
    fields: Box<[Box<str>]>,
    /// When it may be forgotten, in seconds since 1970.
    pub(super) expires: Option<i64>,
}

impl Stored {
    /// The same content under another version: what a watch reports for a deletion.
    pub(super) fn with_version(&self, version: u64) -> Stored {
        let old = self.version_at..self.version_at + self.version.to_string().len();
        let (digits, plain) = (version.to_string(), self.bytes());
        let mut bytes = Vec::with_capacity(plain.len() + digits.len());
        bytes.extend_from_slice(&plain[..old.start]);
        bytes.extend_from_slice(digits.as_bytes());
        bytes.extend_from_slice(&plain[old.end..]);
        let end = self.metadata.end - old.len() + digits.len();
        Stored {
            text: Text::Plain(Bytes::from(bytes)),
            version,
            version_at: self.version_at,
            metadata: self.metadata.start..end,
            labels: self.labels.clone(),
            fields: self.fields.clone(),
            expires: self.expires,
        }
    }

    /// The whole object as JSON text.
    pub(super) fn bytes(&self) -> Bytes {
        self.text.bytes()
    }

    /// The length of that, in bytes.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// What its text takes in memory, in bytes.
    pub(super) fn weight(&self) -> usize {
        self.text.weight()
    }

    /// The same with its text packed, if that is worth it.
    pub(super) fn packed(&self, like: &Arc<[u8]>) -> Option<Stored> {
        Some(Stored { text: self.text.packed(like)?, ..self.clone() })
    }

    /// The `metadata` object as JSON text.
    pub(super) fn metadata(&self) -> Bytes {
        self.bytes().slice(self.metadata.clone())
    }

    /// The value of a label.
    pub(super) fn label(&self, key: &str) -> Option<&str> {
        let at = self.labels.binary_search_by(|(k, _)| (**k).cmp(key)).ok()?;
        Some(&self.labels[at].1)
    }

    /// The value of the kind's selectable field number `at`; empty when the object lacks it.
    pub(super) fn field(&self, at: usize) -> &str {
        self.fields.get(at).map_or("", |v| v)
    }
}

/// Writing JSON into memory fails only for maps with keys that are not strings; our values have none.
fn put<T: serde::Serialize + ?Sized>(into: &mut Vec<u8>, value: &T) {
    if serde_json::to_writer(&mut *into, value).is_err() {
        into.extend_from_slice(b"null");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::kind::Kinds;
    use super::*;

    fn stored(object: Value, version: u64) -> Stored {
        let kinds = Kinds::new(&[]).unwrap();
        let kind = kinds.find("", "v1", "configmaps").unwrap();
        Draft::new(kind, serde_json::from_value(object).unwrap(), None).seal(version)
    }

    fn parsed(object: &Stored) -> Value {
        serde_json::from_slice(&object.bytes()).unwrap()
    }

    #[test]
    fn the_version_is_set_without_parsing() {
        let object =
            json!({ "metadata": { "name": "a", "labels": { "k": "v", "b": "" } }, "data": { "x": "y" } });
        let nine = stored(object, 9);
        let mut expected = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": { "x": "y" },
            "metadata": { "resourceVersion": "9", "name": "a", "labels": { "k": "v", "b": "" } },
        });
        assert_eq!(parsed(&nine), expected);
        let ten = nine.with_version(10);
        expected["metadata"]["resourceVersion"] = json!("10");
        assert_eq!(parsed(&ten), expected);
        assert_eq!(parsed(&ten.with_version(1)), parsed(&nine.with_version(1)));
        for (object, version) in [(&nine, "9"), (&ten, "10")] {
            let metadata: Value = serde_json::from_slice(&object.metadata()).unwrap();
            assert_eq!(metadata["resourceVersion"], json!(version));
            assert_eq!(metadata["name"], json!("a"));
        }
        assert_eq!((nine.label("k"), nine.label("b"), nine.label("c")), (Some("v"), Some(""), None));
    }

    #[test]
    fn empty_metadata_stays_valid_json() {
        let object = stored(json!({}), 3);
        assert_eq!(parsed(&object)["metadata"], json!({ "resourceVersion": "3" }));
    }

    #[test]
    fn a_round_trip_keeps_the_rest() {
        let text = br#"{"apiVersion":"v1","kind":"X","metadata":null,"spec":{"a":[1,2.5,"x",null]},"":1}"#;
        let object = Object::parse(text).unwrap();
        assert_eq!(object.metadata, ObjectMeta::default());
        assert_eq!(Value::Object(object.rest), json!({ "spec": { "a": [1, 2.5, "x", null] } }));
        assert!(Object::parse(b"[]").is_err());
        assert!(Object::parse(br#"{"metadata":{"labels":7}}"#).is_err());
    }
}
