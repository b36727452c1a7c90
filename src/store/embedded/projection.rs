//! What the rules at the root of a schema look at, so that a write need not turn the whole object into CEL
//! values for a rule that compares two of its fields. Read from the text of the rules, and on the safe side:
//! what is not plainly a path of fields makes everything above it count.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The part of an object that rules look at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Projection {
    /// Everything from here on.
    whole: bool,
    fields: BTreeMap<String, Projection>,
}

/// The variables whose fields rules look at.
const VARIABLES: [&str; 2] = ["self", "oldSelf"];
/// What an object has beside its other fields.
const HEADER: [&str; 3] = ["apiVersion", "kind", "metadata"];

impl Projection {
    /// What these rules look at, of an object with this schema.
    pub(super) fn of<'r>(rules: impl Iterator<Item = &'r str>, schema: &Value) -> Projection {
        let mut seen = Projection::default();
        for rule in rules {
            for (at, variable) in VARIABLES.iter().flat_map(|v| rule.match_indices(v)) {
                let inside = rule[..at].chars().next_back().is_some_and(|c| is_word(c) || c == '.');
                let after = &rule[at + variable.len()..];
                if !inside && !after.starts_with(is_word) {
                    seen.take_in(after, schema, rule[..at].ends_with("has("));
                }
            }
        }
        seen
    }

    /// Takes in what follows a variable: `.spec.size.method()`. What is only asked to be there with `has()`
    /// counts without what is in it.
    fn take_in(&mut self, path: &str, schema: &Value, is_asked: bool) {
        let (mut here, mut schema, mut rest) = (self, schema, path);
        while let Some(after) = rest.strip_prefix('.') {
            let (name, after) = after.split_at(after.find(|c| !is_word(c)).unwrap_or(after.len()));
            let known = schema.get("properties").and_then(|properties| properties.get(name));
            let Some(below) = known.filter(|_| !after.starts_with('(')) else { break };
            here = here.fields.entry(name.to_owned()).or_default();
            (schema, rest) = (below, after);
        }
        here.whole |= !(is_asked && rest.starts_with(')'));
    }

    /// Whether all of it is in these fields, as far as the object has it.
    pub(super) fn is_within(&self, fields: &Map<String, Value>) -> bool {
        let elsewhere = |name: &String| HEADER.contains(&name.as_str()) && !fields.contains_key(name);
        !self.whole && !self.fields.keys().any(elsewhere)
    }

    /// That part of a value.
    pub(super) fn apply(&self, value: &Value) -> Value {
        match value {
            Value::Object(fields) if !self.whole => self.apply_to(fields),
            Value::Array(_) if !self.whole => Value::Array(vec![]),
            other => other.clone(),
        }
    }

    /// That part of an object's fields.
    pub(super) fn apply_to(&self, fields: &Map<String, Value>) -> Value {
        let kept = self.fields.iter();
        let kept = kept.filter_map(|(name, below)| Some((name.clone(), below.apply(fields.get(name)?))));
        Value::Object(kept.collect())
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn picked(rules: &[&str]) -> Value {
        let text = json!({ "type": "string" });
        let inner = json!({ "properties": { "a": text, "b": text, "list": { "type": "array" } } });
        let schema = json!({ "properties": { "spec": inner, "status": inner, "other": text } });
        let inner = json!({ "a": "1", "b": "2", "list": ["3"] });
        let object = json!({ "spec": inner, "status": inner, "other": "4" });
        Projection::of(rules.iter().copied(), &schema).apply(&object)
    }

    #[test]
    fn only_what_rules_name_is_kept() {
        assert_eq!(
            picked(&["self.spec.a == oldSelf.status.b"]),
            json!({"spec": {"a": "1"}, "status": {"b": "2"}})
        );
        assert_eq!(
            picked(&["has(self.status) && has(self.spec.list)"]),
            json!({"status": {}, "spec": {"list": []}})
        );
        assert_eq!(picked(&["has(self.spec) && self.spec.b == ''"]), json!({"spec": {"b": "2"}}));
        assert_eq!(
            picked(&["self.spec.list.exists(x, x == self.other)"]),
            json!({"spec": {"list": ["3"]}, "other": "4"})
        );
        assert_eq!(picked(&["myself.spec && x.self.spec && selfish.spec"]), json!({}));
    }

    #[test]
    fn what_is_no_path_counts_as_a_whole() {
        let inner = json!({ "a": "1", "b": "2", "list": ["3"] });
        assert_eq!(picked(&["self.spec == self.status"]), json!({"spec": inner, "status": inner}));
        assert_eq!(picked(&["self.spec['a'] == ''"]), json!({"spec": inner}));
        assert_eq!(picked(&["self.spec.unknown == ''"]), json!({"spec": inner}));
        assert_eq!(picked(&["self.spec.?a.hasValue()"]), json!({"spec": inner}));
        assert_eq!(
            picked(&["has(self.spec.a) && size(self) > 1"]),
            json!({"spec": inner, "status": inner, "other": "4"})
        );
    }
}
