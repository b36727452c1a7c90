//! Stored objects that are not understood.

use std::fmt;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::core::error_boundary::InvalidObject;

use crate::store::Kind;

/// A stored object that is not understood: it was written under another schema, or past ours. The
/// cache keeps what it last understood of it; nobody works on it until it was mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its kind.
    pub kind: String,
    /// Its namespace; none when the kind has none.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: Option<String>,
    /// The state of it that was looked at.
    pub resource_version: Option<String>,
    /// What is wrong with it.
    pub error: String,
}

impl Unreadable {
    /// An object by what was understood of it.
    pub(in crate::store) fn new<K: Kind>(object: &InvalidObject) -> Self {
        let metadata = &object.metadata;
        Self {
            kind: K::kind(&()).into_owned(),
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone(),
            resource_version: metadata.resource_version.clone(),
            error: object.error.clone(),
        }
    }

    /// What an event about it refers to.
    pub(in crate::store) fn reference<K: Kind>(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some(K::api_version(&()).into_owned()),
            kind: Some(self.kind.clone()),
            namespace: self.namespace.clone(),
            name: Some(self.name.clone()),
            uid: self.uid.clone(),
            resource_version: self.resource_version.clone(),
            field_path: None,
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, error, .. } = self;
        write!(
            f,
            "{kind} {name} is stored and not understood: {error}; nothing is done about it until it is mended (kubectl edit)"
        )
    }
}
