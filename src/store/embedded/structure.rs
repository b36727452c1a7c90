//! The structural half of a schema: pruning, defaulting, and types and bounds with their field paths.

use std::collections::BTreeMap;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::{Value, json};

use super::status::Cause;

/// Deeper schemas are cut off: below, everything is kept as it came.
const MAX_DEPTH: usize = 64;

/// One place in a structural schema, compiled for pruning and defaulting.
#[derive(Debug)]
pub(super) struct Node {
    properties: BTreeMap<String, Node>,
    additional: Additional,
    items: Option<Box<Node>>,
    pub(super) nullable: bool,
    pub(super) default: Option<Value>,
    unique: Unique,
}

/// What may not stand twice in a list.
#[derive(Debug)]
enum Unique {
    Nothing,
    /// The items themselves (`x-kubernetes-list-type: set`).
    Items,
    /// Items with the same values of these fields (`x-kubernetes-list-type: map`).
    Keys(Vec<String>),
}

#[derive(Debug)]
enum Additional {
    Dropped,
    Kept,
    Like(Box<Node>),
}

impl Node {
    /// Compiles `schema`.
    pub(super) fn new(schema: &Value) -> Node {
        Node::at_depth(schema, 0)
    }

    fn at_depth(schema: &Value, depth: usize) -> Node {
        let flag = |name: &str| schema.get(name) == Some(&Value::Bool(true));
        let below = |schema: &Value| Node::at_depth(schema, depth + 1);
        if depth > MAX_DEPTH {
            return Node {
                properties: BTreeMap::new(),
                additional: Additional::Kept,
                items: None,
                nullable: true,
                default: None,
                unique: Unique::Nothing,
            };
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        let additional = match schema.get("additionalProperties") {
            _ if flag("x-kubernetes-preserve-unknown-fields") => Additional::Kept,
            Some(Value::Bool(true)) => Additional::Kept,
            Some(like @ Value::Object(_)) => Additional::Like(Box::new(below(like))),
            _ => Additional::Dropped,
        };
        Node {
            properties: properties.into_iter().flatten().map(|(k, v)| (k.clone(), below(v))).collect(),
            additional,
            items: schema.get("items").map(|s| Box::new(below(s))),
            nullable: flag("nullable"),
            default: schema.get("default").cloned(),
            unique: Unique::of(schema),
        }
    }

    /// Drops unknown fields and impossible nulls, fills in defaults; `path` names `value` in `dropped`.
    pub(super) fn normalize(&self, value: &mut Value, path: &str, dropped: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                if matches!(self.additional, Additional::Dropped) {
                    map.retain(|key, _| {
                        let known = self.properties.contains_key(key);
                        if !known {
                            dropped.push(format!("{path}.{key}"));
                        }
                        known
                    });
                }
                for (key, node) in &self.properties {
                    let impossible = |v: &Value| v.is_null() && !node.nullable;
                    if map.get(key).is_none_or(impossible)
                        && let Some(default) = &node.default
                    {
                        map.insert(key.clone(), default.clone());
                    }
                    if map.get(key).is_some_and(impossible) {
                        map.remove(key);
                    }
                    if let Some(value) = map.get_mut(key) {
                        node.normalize(value, &format!("{path}.{key}"), dropped);
                    }
                }
                if let Additional::Like(node) = &self.additional {
                    map.retain(|key, value| {
                        if self.properties.contains_key(key) {
                            return true;
                        }
                        if value.is_null() && !node.nullable {
                            match &node.default {
                                Some(default) => *value = default.clone(),
                                None => return false,
                            }
                        }
                        node.normalize(value, &format!("{path}.{key}"), dropped);
                        true
                    });
                }
            }
            Value::Array(list) => {
                let Some(node) = &self.items else { return };
                for (at, value) in list.iter_mut().enumerate() {
                    node.normalize(value, &format!("{path}[{at}]"), dropped);
                }
            }
            _ => {}
        }
    }
}

impl Unique {
    fn of(schema: &Value) -> Unique {
        match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
            Some("set") => Unique::Items,
            Some("map") => {
                let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
                let keys = keys.into_iter().flatten().filter_map(Value::as_str);
                Unique::Keys(keys.map(str::to_owned).collect())
            }
            _ => Unique::Nothing,
        }
    }

    /// What of `item` may not come again.
    fn mark(&self, item: &Value) -> Option<Value> {
        match self {
            Unique::Nothing => None,
            Unique::Items => Some(item.clone()),
            Unique::Keys(keys) => {
                let fields = keys.iter().filter_map(|k| Some((k.clone(), item.get(k)?.clone())));
                Some(Value::Object(fields.collect()))
            }
        }
    }
}

impl Node {
    /// Items that stand twice where they may not. `at` names `value`.
    pub(super) fn duplicates(&self, value: &Value, at: &str, causes: &mut Vec<Cause>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map.iter().filter(|(_, v)| v.is_array() || v.is_object()) {
                    let node = match (self.properties.get(key), &self.additional) {
                        (Some(node), _) => node,
                        (None, Additional::Like(node)) => node,
                        (None, _) => continue,
                    };
                    node.duplicates(value, &format!("{at}.{key}"), causes);
                }
            }
            Value::Array(list) => {
                let mut seen = std::collections::HashSet::new();
                for (index, item) in list.iter().enumerate() {
                    if let Some(mark) = self.unique.mark(item).map(|m| m.to_string())
                        && let Some(twice) = seen.replace(mark)
                    {
                        let field = format!("{at}[{index}]");
                        let message = format!("Duplicate value: {twice}");
                        causes.push(Cause { reason: "FieldValueDuplicate", field, message });
                    }
                    if let (Some(node), true) = (&self.items, item.is_object() || item.is_array()) {
                        node.duplicates(item, &format!("{at}[{index}]"), causes);
                    }
                }
            }
            _ => {}
        }
    }
}

/// The schema as JSON Schema draft 4 has it: `nullable` and int-or-string become lists of types.
pub(super) fn as_draft4(schema: &Value) -> Value {
    match schema {
        Value::Object(map) => {
            let kept =
                map.iter().filter(|(k, _)| !matches!(k.as_str(), "default" | "example" | "description"));
            let mut out: serde_json::Map<String, Value> = kept
                .map(|(key, value)| {
                    let value = match key.as_str() {
                        "enum" => value.clone(),
                        "properties" => named(value),
                        _ => as_draft4(value),
                    };
                    (key.clone(), value)
                })
                .collect();
            if map.get("x-kubernetes-int-or-string") == Some(&json!(true)) {
                out.insert("type".to_owned(), json!(["integer", "string"]));
            }
            if map.get("format") == Some(&json!("int32")) {
                out.entry("minimum").or_insert(json!(i32::MIN));
                out.entry("maximum").or_insert(json!(i32::MAX));
            }
            if map.get("nullable") == Some(&json!(true)) {
                match out.get_mut("type") {
                    Some(Value::Array(types)) => types.push(json!("null")),
                    Some(one) => *one = json!([one.clone(), "null"]),
                    None => {}
                }
                if let Some(Value::Array(values)) = out.get_mut("enum")
                    && !values.contains(&Value::Null)
                {
                    values.push(Value::Null);
                }
            }
            Value::Object(out)
        }
        Value::Array(list) => Value::Array(list.iter().map(as_draft4).collect()),
        other => other.clone(),
    }
}

/// In `properties` the keys are names of fields, whatever they look like.
fn named(properties: &Value) -> Value {
    match properties {
        Value::Object(map) => Value::Object(map.iter().map(|(k, v)| (k.clone(), as_draft4(v))).collect()),
        other => other.clone(),
    }
}

/// What is wrong with `value`, which stands at `at`.
pub(super) fn faults(validator: &jsonschema::Validator, value: &Value, at: &str) -> Vec<Cause> {
    if validator.is_valid(value) {
        return vec![];
    }
    validator.iter_errors(value).map(|error| cause(&error, at)).collect()
}

fn cause(error: &jsonschema::ValidationError<'_>, at: &str) -> Cause {
    use ValidationErrorKind as Kind;
    let field = dotted(at, &error.instance_path().to_string());
    let value = error.instance().as_ref();
    let (reason, message) = match error.kind() {
        Kind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            return Cause::required(format!("{field}.{name}"), "");
        }
        Kind::Type { kind } => {
            let wanted = match kind {
                TypeKind::Single(one) => one.to_string(),
                TypeKind::Multiple(set) => {
                    let names: Vec<String> = set.iter().map(|t| t.to_string()).collect();
                    names.into_iter().find(|n| n != "null").unwrap_or_default()
                }
            };
            let is = type_of(value);
            let why = format!("Invalid value: \"{is}\": {field} in body must be of type {wanted}: \"{is}\"");
            ("FieldValueTypeInvalid", why)
        }
        Kind::Format { format } => {
            let is = shown(value);
            let why = format!("Invalid value: {is}: {field} in body must be of type {format}: {is}");
            ("FieldValueTypeInvalid", why)
        }
        Kind::Enum { options } => {
            let options = options.as_array().cloned().unwrap_or_default();
            let options: Vec<String> =
                options.iter().filter(|o| !o.is_null()).map(Value::to_string).collect();
            let why =
                format!("Unsupported value: {}: supported values: {}", shown(value), options.join(", "));
            ("FieldValueNotSupported", why)
        }
        Kind::MaxItems { limit } => {
            let has = value.as_array().map_or(0, Vec::len);
            ("FieldValueTooMany", format!("Too many: {has}: must have at most {limit} items"))
        }
        Kind::MaxLength { limit } => {
            ("FieldValueTooLong", format!("Too long: may not be more than {limit} bytes"))
        }
        Kind::Minimum { limit } => {
            invalid(value, &field, format!("should be greater than or equal to {limit}"))
        }
        Kind::Maximum { limit } => invalid(value, &field, format!("should be less than or equal to {limit}")),
        Kind::ExclusiveMinimum { limit } => invalid(value, &field, format!("should be greater than {limit}")),
        Kind::ExclusiveMaximum { limit } => invalid(value, &field, format!("should be less than {limit}")),
        Kind::MinLength { limit } => invalid(value, &field, format!("should be at least {limit} chars long")),
        Kind::MinItems { limit } => invalid(value, &field, format!("should have at least {limit} items")),
        Kind::MinProperties { limit } => {
            invalid(value, &field, format!("should have at least {limit} properties"))
        }
        Kind::MaxProperties { limit } => {
            invalid(value, &field, format!("should have at most {limit} properties"))
        }
        Kind::Pattern { pattern } => invalid(value, &field, format!("should match '{pattern}'")),
        _ => ("FieldValueInvalid", format!("Invalid value: {}: {error}", shown(value))),
    };
    Cause { reason, field, message }
}

fn invalid(value: &Value, field: &str, why: String) -> (&'static str, String) {
    ("FieldValueInvalid", format!("Invalid value: {}: {field} in body {why}", shown(value)))
}

/// A JSON pointer below `at` as a dotted path: `/bricks/2/size` gives `at.bricks[2].size`.
fn dotted(at: &str, pointer: &str) -> String {
    let mut path = at.to_owned();
    for key in pointer.split('/').skip(1) {
        if !key.is_empty() && key.bytes().all(|c| c.is_ascii_digit()) {
            path.push_str(&format!("[{key}]"));
        } else {
            path.push('.');
            path.push_str(&key.replace("~1", "/").replace("~0", "~"));
        }
    }
    path
}

/// A value as error texts show it: scalars as they are, the rest by type.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) | Value::Array(_) => format!("\"{}\"", type_of(value)),
        scalar => scalar.to_string(),
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value after normalizing, and what was dropped.
    fn normalized(schema: Value, mut value: Value) -> (Value, Vec<String>) {
        let mut dropped = Vec::new();
        Node::new(&schema).normalize(&mut value, "spec", &mut dropped);
        (value, dropped)
    }

    #[test]
    fn unknown_fields_go_at_every_depth() {
        let inner = json!({ "type": "object", "properties": { "a": { "type": "string" } } });
        let schema = json!({ "type": "object", "properties": {
            "one": inner.clone(), "list": { "type": "array", "items": inner.clone() },
            "map": { "type": "object", "additionalProperties": inner },
        } });
        let thing = json!({ "a": "x", "b": "y" });
        let value = json!({ "one": thing, "list": [thing], "map": { "k": thing }, "other": 1 });
        let (after, dropped) = normalized(schema, value);
        let kept = json!({ "a": "x" });
        assert_eq!(after, json!({ "one": kept, "list": [kept], "map": { "k": kept } }));
        assert_eq!(dropped, ["spec.other", "spec.list[0].b", "spec.map.k.b", "spec.one.b"]);
    }

    #[test]
    fn what_is_to_be_preserved_is() {
        let free = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "properties": { "a": { "type": "object", "properties": {} } } });
        let (after, dropped) = normalized(free, json!({ "b": { "c": 1 }, "a": { "x": 1 } }));
        assert_eq!(after, json!({ "b": { "c": 1 }, "a": {} }));
        assert_eq!(dropped, ["spec.a.x"]);
        let any = json!({ "type": "object", "additionalProperties": true });
        assert_eq!(normalized(any, json!({ "b": 1 })).0, json!({ "b": 1 }));
    }

    #[test]
    fn defaults_fill_in_what_is_absent_or_cannot_be_null() {
        let schema = json!({ "type": "object", "properties": {
            "a": { "type": "string", "default": "x" },
            "b": { "type": "string", "default": "y", "nullable": true },
            "c": { "type": "string" },
            "d": { "type": "object", "default": {}, "properties": { "e": { "type": "integer", "default": 1 } } },
        } });
        let filled = json!({ "a": "x", "b": "y", "d": { "e": 1 } });
        assert_eq!(normalized(schema.clone(), json!({})).0, filled);
        let nulls = json!({ "a": null, "b": null, "c": null, "d": { "e": 2 } });
        assert_eq!(normalized(schema, nulls).0, json!({ "a": "x", "b": null, "d": { "e": 2 } }));
    }

    fn fields(schema: Value, value: Value) -> Vec<String> {
        let validator =
            jsonschema::options().with_draft(jsonschema::Draft::Draft4).build(&as_draft4(&schema)).unwrap();
        faults(&validator, &value, "spec")
            .into_iter()
            .map(|c| format!("{}: {}", c.field, c.message))
            .collect()
    }

    #[test]
    fn nullable_and_int_or_string() {
        let schema = json!({ "type": "object", "properties": {
            "n": { "type": "string", "nullable": true }, "e": { "enum": ["a"], "nullable": true },
            "q": { "x-kubernetes-int-or-string": true },
        } });
        assert_eq!(fields(schema.clone(), json!({ "n": null, "e": null, "q": 3 })), Vec::<String>::new());
        assert_eq!(fields(schema.clone(), json!({ "q": "3Gi" })), Vec::<String>::new());
        let wrong = fields(schema, json!({ "q": true }));
        assert_eq!(
            wrong,
            ["spec.q: Invalid value: \"boolean\": spec.q in body must be of type integer: \"boolean\""]
        );
    }

    #[test]
    fn exclusive_bounds_are_flags_as_in_draft_4() {
        let schema = json!({ "type": "integer", "minimum": 3, "exclusiveMinimum": true });
        assert_eq!(fields(schema.clone(), json!(4)), Vec::<String>::new());
        assert_eq!(fields(schema, json!(3)).len(), 1);
    }

    #[test]
    fn fields_may_be_named_like_keywords() {
        let schema = json!({ "type": "object", "properties": {
            "default": { "type": "integer" }, "properties": { "type": "string" }, "enum": { "type": "string" },
        }, "required": ["default"] });
        let good = json!({ "default": 1, "properties": "p", "enum": "e" });
        assert_eq!(fields(schema.clone(), good), Vec::<String>::new());
        assert_eq!(fields(schema, json!({ "enum": "e" })), ["spec.default: Required value"]);
    }

    #[test]
    fn duplicates_in_maps_of_lists() {
        let list = json!({ "type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["a", "b"], "items": { "type": "object",
                "properties": { "a": {}, "b": {}, "c": {} } } });
        let schema = json!({ "type": "object", "additionalProperties": list });
        let value = json!({ "k": [{ "a": 1, "b": 1 }, { "a": 1, "b": 2 }, { "a": 1, "b": 1, "c": 5 }] });
        let mut causes = Vec::new();
        Node::new(&schema).duplicates(&value, "spec", &mut causes);
        let found: Vec<&str> = causes.iter().map(|c| c.field.as_str()).collect();
        assert_eq!(found, ["spec.k[2]"]);
    }
}
