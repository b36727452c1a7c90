//! The kinds served: what a path names, how it is admitted and where its objects are kept.

use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps,
};
use serde_json::{Map, Value};

use super::builtin::{self, Builtin};
use super::schema::{Schema, SchemaError};

/// One kind under one API version.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
    pub(super) list_kind: String,
    pub(super) plural: String,
    pub(super) singular: String,
    pub(super) short_names: Vec<String>,
    pub(super) categories: Vec<String>,
    pub(super) namespaced: bool,
    /// Served with a `/status` subresource: then `status` is written there and nowhere else.
    pub(super) has_status: bool,
    /// Index of the shelf on which the objects lie. Two kinds may show the same shelf (events do).
    pub(super) shelf: usize,
    pub(super) stored_api_version: String,
    /// Changes with the schema: objects of another one are looked at when the database is opened.
    pub(super) fingerprint: u64,
    /// Top-level fields that are called differently here than on the shelf: (on the shelf, shown).
    pub(super) renames: &'static [(&'static str, &'static str)],
    /// What a field selector may name besides name and namespace.
    pub(super) fields: Vec<Field>,
    pub(super) admits: Admits,
    /// A PUT without resourceVersion is taken as "whatever is there".
    pub(super) unconditional: bool,
    /// Reads only; writes answer 403.
    pub(super) read_only: bool,
}

/// How the content of a kind is checked.
#[derive(Debug)]
pub(super) enum Admits {
    /// A custom resource, by its schema.
    Schema(Box<Schema>),
    /// A built-in kind, by code.
    Builtin(&'static Builtin),
}

/// A selectable field: its name in selectors and where its value stands in the stored form.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) path: Vec<String>,
}

impl Field {
    /// The value as a selector compares it; empty when absent.
    pub(super) fn value_in(&self, rest: &Map<String, Value>) -> String {
        let Some((first, more)) = self.path.split_first() else {
            return String::new();
        };
        let found = more.iter().try_fold(rest.get(first), |v, key| v.map(|v| v.get(key)));
        match found.flatten() {
            Some(Value::String(text)) => text.clone(),
            Some(value @ (Value::Bool(_) | Value::Number(_))) => value.to_string(),
            _ => String::new(),
        }
    }
}

impl Kind {
    /// `group/version`, or `v1` alone for the core group.
    pub(super) fn api_version(&self) -> String {
        group_version(&self.group, &self.version)
    }

    /// `plural.group`, as error texts name the resource.
    pub(super) fn qualified(&self) -> String {
        dotted(&self.plural, &self.group)
    }

    /// `Kind.group`, as validation errors name it.
    pub(super) fn qualified_kind(&self) -> String {
        dotted(&self.kind, &self.group)
    }
}

/// All kinds of one service.
#[derive(Debug)]
pub(super) struct Kinds {
    kinds: Vec<Arc<Kind>>,
    shelves: Vec<String>,
}

impl Kinds {
    /// The built-in kinds and those of `definitions`.
    pub(super) fn new(definitions: &[CustomResourceDefinition]) -> Result<Kinds, SchemaError> {
        let mut kinds = builtin::kinds();
        for definition in definitions {
            kinds.push(custom(definition)?);
        }
        let mut shelves: Vec<String> = Vec::new();
        for kind in &mut kinds {
            let group = kind.stored_api_version.rsplit_once('/').map_or("", |(group, _)| group);
            let name = format!("{group}/{}", kind.plural);
            kind.shelf = shelves.iter().position(|s| *s == name).unwrap_or_else(|| {
                shelves.push(name);
                shelves.len() - 1
            });
        }
        Ok(Kinds { kinds: kinds.into_iter().map(Arc::new).collect(), shelves })
    }

    /// The kind a path names.
    pub(super) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.kinds.iter().find(|k| k.plural == plural && k.group == group && k.version == version)
    }

    /// All kinds, built-in ones first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.kinds.iter()
    }

    /// Names of the shelves in their order: `group/plural`, stable over restarts.
    pub(super) fn shelves(&self) -> &[String] {
        &self.shelves
    }

    /// The kind in whose form the objects of a shelf are stored.
    pub(super) fn keeper(&self, shelf: usize) -> Option<&Arc<Kind>> {
        self.kinds.iter().find(|k| k.shelf == shelf && k.renames.is_empty())
    }
}

/// `group/version`, or `version` alone for the core group.
pub(super) fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

fn dotted(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

/// Another release of the compiler may give another number: then everything is looked at once more.
fn fingerprint(schema: &JSONSchemaProps) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(schema).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

fn custom(definition: &CustomResourceDefinition) -> Result<Kind, SchemaError> {
    let spec = &definition.spec;
    let names = &spec.names;
    let unfit = |why: &str| SchemaError::Unfit { kind: names.kind.clone(), why: why.to_owned() };
    let version = spec
        .versions
        .iter()
        .find(|v| v.served && v.storage)
        .ok_or_else(|| unfit("no version is both served and stored"))?;
    let schema = version.schema.as_ref().and_then(|s| s.open_api_v3_schema.as_ref());
    let schema = schema.ok_or_else(|| unfit("it has no schema"))?;
    let mut fields = Vec::new();
    for field in version.selectable_fields.iter().flatten() {
        let name = field.json_path.trim_start_matches('.').to_owned();
        if name.is_empty() || name.contains(['[', '*', '\'']) {
            return Err(unfit(&format!("selectable field {} is not a plain path", field.json_path)));
        }
        fields.push(Field { path: name.split('.').map(str::to_owned).collect(), name });
    }
    let has_status = version.subresources.as_ref().is_some_and(|s| s.status.is_some());
    let admits = Admits::Schema(Box::new(Schema::new(&names.kind, schema, has_status)?));
    Ok(Kind {
        group: spec.group.clone(),
        version: version.name.clone(),
        kind: names.kind.clone(),
        list_kind: names.list_kind.clone().unwrap_or_else(|| format!("{}List", names.kind)),
        plural: names.plural.clone(),
        singular: names.singular.clone().unwrap_or_else(|| names.kind.to_lowercase()),
        short_names: names.short_names.clone().unwrap_or_default(),
        categories: names.categories.clone().unwrap_or_default(),
        namespaced: spec.scope == "Namespaced",
        has_status,
        shelf: 0,
        stored_api_version: group_version(&spec.group, &version.name),
        fingerprint: fingerprint(schema),
        renames: &[],
        fields,
        admits,
        unconditional: false,
        read_only: false,
    })
}
