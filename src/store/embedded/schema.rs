//! A custom resource's schema at work: prune, default, check the structure, run the CEL rules.
//!
//! Everything is compiled once per kind and cut along the top-level fields (`spec`, `status`, ...), so that
//! a write pays only for the part that it changes. Order as in the API server: unknown fields are dropped,
//! defaults filled in, nulls of fields that cannot be null dropped; then structure; then rules.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use kube::core::cel::{self, CompiledSchema};
use serde_json::{Map, Value, json};

use super::object::Object;
use super::projection::Projection;
use super::status::Cause;
use super::structure::{self, Node};

/// Why a definition cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The definition lacks something, or uses something that is not served.
    #[error("{kind} cannot be served: {why}")]
    Unfit {
        /// The kind at fault.
        kind: String,
        /// What is wrong with it.
        why: String,
    },
}

/// The compiled schema of one kind.
#[derive(Debug)]
pub(super) struct Schema {
    parts: Vec<Part>,
    required: Vec<String>,
    root: Option<Root>,
}

/// Rules that stand at the root and may look at the whole object.
#[derive(Debug)]
struct Root {
    rules: CompiledSchema,
    looks_at: Projection,
}

/// One top-level field.
#[derive(Debug)]
struct Part {
    name: String,
    node: Node,
    structure: jsonschema::Validator,
    rules: Option<CompiledSchema>,
}

impl Schema {
    /// Compiles the schema of `kind`. A rule that does not compile is an error here, not at the first write.
    pub(super) fn new(kind: &str, schema: &JSONSchemaProps, has_status: bool) -> Result<Schema, SchemaError> {
        let unfit = |why: String| SchemaError::Unfit { kind: kind.to_owned(), why };
        let root = serde_json::to_value(schema).map_err(|e| unfit(e.to_string()))?;
        let none = Map::new();
        let properties = root.get("properties").and_then(Value::as_object).unwrap_or(&none);
        let mut parts = Vec::new();
        for (name, schema) in properties {
            if matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                continue;
            }
            let structure = jsonschema::options()
                .with_draft(jsonschema::Draft::Draft4)
                .should_validate_formats(true)
                .build(&structure::as_draft4(schema))
                .map_err(|e| unfit(format!("{name}: {e}")))?;
            let rules = compile(schema).map_err(|why| unfit(format!("{name}: {why}")))?;
            parts.push(Part { name: name.clone(), node: Node::new(schema), structure, rules });
        }
        let required = root.get("required").and_then(Value::as_array).into_iter().flatten();
        let required = required.filter_map(Value::as_str);
        let required = required.filter(|r| *r != "metadata" && !(has_status && *r == "status"));
        let required = required.map(str::to_owned).collect();
        let texts = root.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten();
        let texts = texts.flat_map(|rule| [rule.get("rule"), rule.get("messageExpression")]).flatten();
        let looks_at = Projection::of(texts.filter_map(Value::as_str), &root);
        let rules = compile(&root_rules_only(&root)).map_err(unfit)?;
        Ok(Schema { parts, required, root: rules.map(|rules| Root { rules, looks_at }) })
    }

    /// Prunes and defaults the fields for which `wanted` says so. Returns the paths that were dropped.
    pub(super) fn normalize(
        &self,
        rest: &mut Map<String, Value>,
        wanted: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        let mut dropped = Vec::new();
        rest.retain(|name, _| {
            let known = self.parts.iter().any(|p| p.name == *name);
            if !known {
                dropped.push(name.clone());
            }
            known
        });
        for part in self.parts.iter().filter(|p| wanted(&p.name)) {
            if rest.get(&part.name).is_none_or(|v| v.is_null() && !part.node.nullable) {
                rest.remove(&part.name);
                if let Some(default) = &part.node.default {
                    rest.insert(part.name.clone(), default.clone());
                }
            }
            if let Some(value) = rest.get_mut(&part.name) {
                part.node.normalize(value, &part.name, &mut dropped);
            }
        }
        dropped
    }

    /// What is wrong with the top-level field `name` of `new`. Rules run only on what has the right
    /// structure. `old` is the same field before the write.
    pub(super) fn check_part(&self, name: &str, new: Option<&Value>, old: Option<&Value>) -> Vec<Cause> {
        let Some(part) = self.parts.iter().find(|p| p.name == name) else {
            return vec![];
        };
        let Some(new) = new else {
            let missing = self.required.iter().any(|r| r == name);
            return if missing { vec![Cause::required(name, "")] } else { vec![] };
        };
        let mut causes = structure::faults(&part.structure, new, name);
        part.node.duplicates(new, name, &mut causes);
        if !causes.is_empty() {
            return causes;
        }
        part.rules.as_ref().map_or_else(Vec::new, |rules| run(rules, new, old, name))
    }

    /// What the rules at the root say. What they look at has passed before if it is as it was.
    pub(super) fn check_root(
        &self,
        kind: &super::kind::Kind,
        new: &Object,
        old: Option<&Object>,
    ) -> Vec<Cause> {
        let Some(Root { rules, looks_at }) = &self.root else {
            return vec![];
        };
        let looked_at = |object: &Object| match looks_at.is_within(&object.rest) {
            true => looks_at.apply_to(&object.rest),
            false => looks_at.apply(&object.clone().into_value(&kind.stored_api_version, &kind.kind)),
        };
        let (new, old) = (looked_at(new), old.map(looked_at));
        if old.as_ref() == Some(&new) {
            return vec![];
        }
        run(rules, &new, old.as_ref(), "")
    }

    /// Names of the top-level fields.
    pub(super) fn parts(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(|p| p.name.as_str())
    }
}

fn run(rules: &CompiledSchema, new: &Value, old: Option<&Value>, at: &str) -> Vec<Cause> {
    let Err(errors) = cel::validate_compiled(rules, new, old) else {
        return vec![];
    };
    let cause = |error: cel::ValidationError| {
        let field = match (at, error.field_path.as_str()) {
            (at, "") => at.to_owned(),
            ("", path) => path.to_owned(),
            (at, path) if path.starts_with('[') => format!("{at}{path}"),
            (at, path) => format!("{at}.{path}"),
        };
        let field = if field.is_empty() { "<nil>".to_owned() } else { field };
        let reason = match error.reason.as_deref() {
            Some("FieldValueForbidden") => return Cause::forbidden(field, &error.message),
            Some("FieldValueRequired") => return Cause::required(field, &error.message),
            Some("FieldValueDuplicate") => "FieldValueDuplicate",
            _ => "FieldValueInvalid",
        };
        let shown = structure::shown(value_at(new, &error.field_path));
        Cause { reason, field, message: format!("Invalid value: {shown}: {}", error.message) }
    };
    errors.into_vec().into_iter().map(cause).collect()
}

fn value_at<'v>(value: &'v Value, path: &str) -> &'v Value {
    let mut keys = path.split(['.', '[', ']']).filter(|k| !k.is_empty());
    let step = |v: &'v Value, key: &str| match key.parse::<usize>() {
        Ok(at) if v.is_array() => v.get(at),
        _ => v.get(key),
    };
    keys.try_fold(value, step).unwrap_or(&Value::Null)
}

/// `None` when there is no rule anywhere, so that plain kinds pay nothing.
fn compile(schema: &Value) -> Result<Option<CompiledSchema>, String> {
    if !has_rules(schema) {
        return Ok(None);
    }
    let compiled = cel::compile_schema(schema);
    match first_error(&compiled) {
        Some(why) => Err(why),
        None => Ok(Some(compiled)),
    }
}

fn first_error(compiled: &CompiledSchema) -> Option<String> {
    let own = compiled.validations.iter().find_map(|v| v.as_ref().err().map(ToString::to_string));
    let below = compiled
        .properties
        .values()
        .chain(compiled.items.as_deref())
        .chain(compiled.additional_properties.as_deref())
        .chain(&compiled.all_of)
        .chain(&compiled.one_of)
        .chain(&compiled.any_of);
    own.or_else(|| below.into_iter().find_map(first_error))
}

fn has_rules(schema: &Value) -> bool {
    match schema {
        Value::Object(map) => map.contains_key("x-kubernetes-validations") || map.values().any(has_rules),
        Value::Array(list) => list.iter().any(has_rules),
        _ => false,
    }
}

/// The root with its own rules but none below: those run with their part. Types stay, CEL needs them.
fn root_rules_only(root: &Value) -> Value {
    fn strip(schema: &Value) -> Value {
        match schema {
            Value::Object(map) => {
                let kept = map.iter().filter(|(k, _)| *k != "x-kubernetes-validations" && *k != "default");
                Value::Object(kept.map(|(k, v)| (k.clone(), strip(v))).collect())
            }
            Value::Array(list) => Value::Array(list.iter().map(strip).collect()),
            other => other.clone(),
        }
    }
    let mut stripped = strip(root);
    if let Some(rules) = root.get("x-kubernetes-validations") {
        stripped["x-kubernetes-validations"] = rules.clone();
    }
    if stripped.is_null() { json!({}) } else { stripped }
}
