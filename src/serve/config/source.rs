//! Values of the file by the paths of their keys, and the variables that override them.

use serde_json::{Map, Value};

use super::ConfigError;

/// The file and the environment. A variable that is set and not empty overrides the key.
pub(super) struct Source<'a> {
    pub(super) file: Map<String, Value>,
    pub(super) environment: &'a dyn Fn(&str) -> Option<String>,
}

impl Source<'_> {
    /// The value at a path such as `glusterfs.sshexec.port`; nothing for `null`.
    pub(super) fn key(&self, path: &str) -> Option<&Value> {
        let mut parts = path.split('.');
        let mut value = member(&self.file, parts.next()?)?;
        for part in parts {
            value = member(value.as_object()?, part)?;
        }
        Some(value).filter(|value| !value.is_null())
    }

    /// An object on the way to a key that is no object is a mistake of its own.
    pub(super) fn checked_key(&self, path: &str) -> Result<Option<&Value>, ConfigError> {
        for (at, _) in path.match_indices('.') {
            match self.key(&path[..at]) {
                Some(value) if !value.is_object() => {
                    return Err(wrong(&path[..at], "an object", &shown(value)));
                }
                _ => {}
            }
        }
        Ok(self.key(path))
    }

    pub(super) fn variable(&self, name: &str) -> Option<String> {
        if name.is_empty() {
            return None;
        }
        (self.environment)(name).filter(|value| !value.is_empty())
    }

    pub(super) fn text(&self, key: &str, name: &str) -> Result<Option<String>, ConfigError> {
        if let Some(value) = self.variable(name) {
            return Ok(Some(value));
        }
        match self.checked_key(key)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(wrong(key, "a text", &shown(other))),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Result<bool, ConfigError> {
        match self.checked_key(key)? {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(wrong(key, "true or false", &shown(other))),
        }
    }

    /// A whole number within bounds. An empty key stands for a variable only.
    pub(super) fn whole(
        &self,
        key: &str,
        name: &str,
        min: i64,
        max: i64,
    ) -> Result<Option<i64>, ConfigError> {
        const WANTED: &str = "a whole number in its range";
        let inside = |number: i64| (min..=max).contains(&number).then_some(number);
        if let Some(value) = self.variable(name) {
            let number = value.parse().ok().and_then(inside);
            return number.map(Some).ok_or_else(|| wrong(name, WANTED, &value));
        }
        match self.checked_key(key)? {
            None => Ok(None),
            Some(value) => {
                let number = value.as_i64().and_then(inside);
                number.map(Some).ok_or_else(|| wrong(key, WANTED, &shown(value)))
            }
        }
    }

    /// A whole number that 0 leaves at its default.
    pub(super) fn positive(&self, key: &str, name: &str, max: i64) -> Result<Option<i64>, ConfigError> {
        Ok(self.whole(key, name, 0, max)?.filter(|number| *number > 0))
    }

    /// A TCP port, which Heketi writes as a text.
    pub(super) fn port(&self, key: &str, name: &str) -> Result<Option<u16>, ConfigError> {
        match self.text(key, name)? {
            None => Ok(None),
            Some(text) if text.is_empty() => Ok(None),
            Some(text) => {
                text.parse().map(Some).map_err(|_| wrong(key, "the number of a port as a text", &text))
            }
        }
    }
}

fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let found = object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value)
}

pub(super) fn wrong(key: &str, wanted: &'static str, found: &str) -> ConfigError {
    ConfigError::Wrong { key: key.into(), wanted, found: found.chars().take(80).collect() }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".into(),
        Value::Array(_) => "a list".into(),
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}
