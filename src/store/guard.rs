//! Objects that may not be understood: one of them must not end a list or a watch of all others.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::PartialObjectMeta;
use kube::core::error_boundary::InvalidObject;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// An object as it was read.
#[derive(Clone, Debug)]
pub struct Read<K> {
    /// What was understood.
    pub object: K,
    /// What it was understood from.
    pub text: Box<RawValue>,
}

/// An object, or its metadata and why the rest is not understood. What kube's own `DeserializeGuard` does, from text
/// only, as everything that comes from a server is: that one makes two trees of values of each object first, which
/// was a good part of what each change cost.
#[derive(Clone, Debug)]
pub struct Guarded<K>(pub Result<Read<K>, InvalidObject>);

impl<'de, K: DeserializeOwned + Resource> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let error = match serde_json::from_str(text.get()) {
            Ok(object) => return Ok(Self(Ok(Read { object, text }))),
            Err(error) => error.to_string(),
        };
        let partial: PartialObjectMeta<K> = serde_json::from_str(text.get()).map_err(Error::custom)?;
        Ok(Self(Err(InvalidObject { error, metadata: partial.metadata })))
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(of: &K::DynamicType) -> Cow<'_, str> {
        K::kind(of)
    }

    fn group(of: &K::DynamicType) -> Cow<'_, str> {
        K::group(of)
    }

    fn version(of: &K::DynamicType) -> Cow<'_, str> {
        K::version(of)
    }

    fn plural(of: &K::DynamicType) -> Cow<'_, str> {
        K::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|error| &error.metadata, |read| read.object.meta())
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|error| &mut error.metadata, |read| read.object.meta_mut())
    }
}
