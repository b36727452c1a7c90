//! Rules about tags.

use std::fmt;
use std::str::FromStr;

/// A rule about the tags of devices, as schemas know it: `key=value` or `key!=value`.
pub const TAG_RULE_PATTERN: &str = r"^[A-Za-z0-9_.-]{1,32}!?=[A-Za-z0-9_./:-]{1,64}$";

/// A rule about the tags of devices: a device without the tag has the empty value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagRule {
    /// The tag's name.
    pub key: String,
    /// What it is compared with.
    pub value: String,
    /// Whether it has to be that value, or any other.
    pub equal: bool,
}

impl TagRule {
    /// Whether a value of the tag, if a device has it, keeps the rule.
    pub fn admits(&self, value: Option<&str>) -> bool {
        (value.unwrap_or_default() == self.value) == self.equal
    }
}

impl FromStr for TagRule {
    type Err = super::NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || super::NameError::TagRule(text.chars().take(128).collect());
        let (left, value) = text.split_once('=').ok_or_else(bad)?;
        let (key, equal) = left.strip_suffix('!').map_or((left, true), |key| (key, false));
        let word = |text: &str, more: &[u8], most: usize| {
            let good =
                |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte) || more.contains(&byte);
            (1..=most).contains(&text.len()) && text.bytes().all(good)
        };
        if !word(key, b"", 32) || !word(value, b"/:", 64) {
            return Err(bad());
        }
        Ok(Self { key: key.to_owned(), value: value.to_owned(), equal })
    }
}

impl fmt::Display for TagRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.key, if self.equal { "=" } else { "!=" }, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_a_tag_has_the_empty_value() {
        let rule = |text: &str| text.parse::<TagRule>().unwrap();
        let is = rule("disk=ssd");
        assert!(is.admits(Some("ssd")) && !is.admits(Some("hdd")) && !is.admits(None));
        let not = rule("disk!=ssd");
        assert!(not.admits(None) && not.admits(Some("hdd")) && !not.admits(Some("ssd")));
        assert_eq!((is.to_string(), not.to_string()), ("disk=ssd".into(), "disk!=ssd".into()));
    }

    #[test]
    fn what_is_no_rule_is_refused_here_and_by_the_schema() {
        let schema = regex(TAG_RULE_PATTERN);
        for (text, good) in [
            ("a=b", true),
            ("a.b-c_d!=x/y:z", true),
            ("a", false),
            ("=b", false),
            ("a=", false),
            ("a==b", false),
            ("a b=c", false),
            ("a=b;c", false),
            ("", false),
        ] {
            assert_eq!((text.parse::<TagRule>().is_ok(), schema(text)), (good, good), "{text}");
        }
    }

    fn regex(pattern: &str) -> impl Fn(&str) -> bool {
        let schema = jsonschema::validator_for(&serde_json::json!({"pattern": pattern})).unwrap();
        move |text| schema.is_valid(&serde_json::json!(text))
    }
}
