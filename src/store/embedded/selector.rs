//! Label and field selectors: parsed once per request, matched against what is kept beside each object.

use super::kind::Kind;
use super::metadata::{label_value_fault, qualified_name_fault};
use super::object::Stored;

/// More terms than this in one selector are refused.
const MAX_TERMS: usize = 128;

/// What a list or watch lets through.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Filter {
    pub(super) namespace: Option<String>,
    labels: Vec<LabelTerm>,
    fields: Vec<FieldTerm>,
}

#[derive(Clone, Debug, PartialEq)]
struct LabelTerm {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    Above(i64),
    Below(i64),
}

#[derive(Clone, Debug, PartialEq)]
struct FieldTerm {
    place: Place,
    equal: bool,
    value: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Place {
    Name,
    Namespace,
    Selectable(usize),
}

impl Filter {
    /// Parses both selectors. The error is the text of a 400.
    pub(super) fn parse(
        kind: &Kind,
        namespace: Option<&str>,
        labels: Option<&str>,
        fields: Option<&str>,
    ) -> Result<Filter, String> {
        Ok(Filter {
            namespace: namespace.map(str::to_owned),
            labels: parse_labels(labels.unwrap_or_default())?,
            fields: parse_fields(kind, fields.unwrap_or_default())?,
        })
    }

    /// Whether everything in the namespace passes.
    pub(super) fn takes_all(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether the object at `path` (`namespace/name`) passes.
    pub(super) fn matches(&self, path: &str, object: &Stored) -> bool {
        let (namespace, name) = path.split_once('/').unwrap_or(("", path));
        if self.namespace.as_deref().is_some_and(|wanted| wanted != namespace) {
            return false;
        }
        let field = |term: &FieldTerm| {
            let value = match term.place {
                Place::Name => name,
                Place::Namespace => namespace,
                Place::Selectable(at) => object.field(at),
            };
            (value == term.value) == term.equal
        };
        self.fields.iter().all(field) && self.labels.iter().all(|t| t.matches(object.label(&t.key)))
    }
}

impl LabelTerm {
    fn matches(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|v| v.parse::<i64>().ok());
        match &self.test {
            Test::In(values) => value.is_some_and(|v| values.iter().any(|w| w == v)),
            Test::NotIn(values) => value.is_none_or(|v| values.iter().all(|w| w != v)),
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            Test::Above(limit) => number().is_some_and(|n| n > *limit),
            Test::Below(limit) => number().is_some_and(|n| n < *limit),
        }
    }
}

fn parse_labels(text: &str) -> Result<Vec<LabelTerm>, String> {
    let mut terms = Vec::new();
    for part in split_outside_parentheses(text) {
        let part = part.trim();
        if part.is_empty() {
            if text.trim().is_empty() {
                continue;
            }
            return Err(format!("unable to parse requirement: empty term in \"{text}\""));
        }
        terms.push(parse_label_term(part)?);
        if terms.len() > MAX_TERMS {
            return Err(format!("more than {MAX_TERMS} terms in a selector"));
        }
    }
    Ok(terms)
}

fn parse_label_term(part: &str) -> Result<LabelTerm, String> {
    let fail = |why: String| format!("unable to parse requirement \"{part}\": {why}");
    let (key, test) = if let Some(key) = part.strip_prefix('!') {
        (key.trim(), Test::Absent)
    } else if let Some((key, set)) = part.split_once('(') {
        let set = set.trim_end().strip_suffix(')').ok_or_else(|| fail("missing ')'".to_owned()))?;
        let values: Vec<String> = set.split(',').map(|v| v.trim().to_owned()).collect();
        let (key, word) = key.trim().rsplit_once(char::is_whitespace).unwrap_or((key, ""));
        match word {
            "in" => (key.trim(), Test::In(values)),
            "notin" => (key.trim(), Test::NotIn(values)),
            _ => return Err(fail("expected 'in' or 'notin'".to_owned())),
        }
    } else if let Some((key, value)) = part.split_once("!=") {
        (key.trim(), Test::NotIn(vec![value.trim().to_owned()]))
    } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        (key.trim(), Test::In(vec![value.trim().to_owned()]))
    } else if let Some((key, value)) = part.split_once('>') {
        (key.trim(), Test::Above(value.trim().parse().map_err(|_| fail("not a number".to_owned()))?))
    } else if let Some((key, value)) = part.split_once('<') {
        (key.trim(), Test::Below(value.trim().parse().map_err(|_| fail("not a number".to_owned()))?))
    } else {
        (part, Test::Exists)
    };
    if let Some(why) = qualified_name_fault(key) {
        return Err(fail(why));
    }
    if let Test::In(values) | Test::NotIn(values) = &test
        && let Some(why) = values.iter().find_map(|v| label_value_fault(v))
    {
        return Err(fail(why.to_owned()));
    }
    Ok(LabelTerm { key: key.to_owned(), test })
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut depth) = (0, 0usize);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn parse_fields(kind: &Kind, text: &str) -> Result<Vec<FieldTerm>, String> {
    let mut terms = Vec::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (name, equal, value) = if let Some((name, value)) = part.split_once("!=") {
            (name, false, value)
        } else if let Some((name, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
            (name, true, value)
        } else {
            return Err(format!("invalid selector: '{part}'; can't understand '{part}'"));
        };
        let place = match name.trim() {
            "metadata.name" => Place::Name,
            "metadata.namespace" => Place::Namespace,
            name => match kind.fields.iter().position(|f| f.name == name) {
                Some(at) => Place::Selectable(at),
                None => return Err(format!("field label not supported: {name}")),
            },
        };
        terms.push(FieldTerm { place, equal, value: value.trim().to_owned() });
        if terms.len() > MAX_TERMS {
            return Err(format!("more than {MAX_TERMS} terms in a selector"));
        }
    }
    Ok(terms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_terms() {
        for (text, value, expected) in [
            ("a=b", Some("b"), true),
            ("a==b", Some("c"), false),
            ("a=b", None, false),
            ("a!=b", None, true),
            ("a!=b", Some("b"), false),
            ("a in (b, c)", Some("c"), true),
            ("a in (b,c)", Some("d"), false),
            ("a notin (b,c)", None, true),
            ("a notin (b,c)", Some("b"), false),
            ("a", Some(""), true),
            ("a", None, false),
            ("!a", None, true),
            ("!a", Some("x"), false),
            ("a>3", Some("4"), true),
            ("a<3", Some("x"), false),
            ("a=", Some(""), true),
        ] {
            let terms = parse_labels(text).unwrap();
            assert_eq!(terms.len(), 1, "{text}");
            assert_eq!(terms[0].matches(value), expected, "{text} on {value:?}");
        }
    }

    #[test]
    fn several_terms_are_all_needed() {
        let terms = parse_labels("x.io/a in (b,c),d!=e, !f").unwrap();
        let keys: Vec<&str> = terms.iter().map(|t| t.key.as_str()).collect();
        assert_eq!(keys, ["x.io/a", "d", "f"]);
        assert_eq!(parse_labels(" ").unwrap(), vec![]);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["a in b", "a in (b", "a=b c", "=x", ",", "a,,b", "a>x", "-a", "a within (b)"] {
            assert!(parse_labels(text).is_err(), "{text}");
        }
    }
}
