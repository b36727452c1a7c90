//! Ids as Heketi knows them: 16 bytes, written as 32 lower-case hexadecimal digits.

use std::{fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The id of a cluster, node, device, brick or volume: 16 bytes, shown as 32 lower-case hex digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 16]);

/// The text was not 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an id: 32 hexadecimal digits are expected")]
pub struct ParseIdError(String);

impl Id {
    /// A new random id.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().into_bytes())
    }

    /// The id that an object gets from its Kubernetes uid (dashes are left out). A text that is
    /// no UUID gives an id derived from it, so every object has one.
    pub fn from_uid(uid: &str) -> Self {
        match uuid::Uuid::parse_str(uid) {
            Ok(parsed) => Self(parsed.into_bytes()),
            Err(_) => Self(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, uid.as_bytes()).into_bytes()),
        }
    }

    /// An id that depends only on `self` and `name`: asking twice gives the same one. Used for
    /// bricks, so that deciding a placement anew after a crash cannot invent a second name.
    pub fn derive(&self, name: &str) -> Self {
        let space = uuid::Uuid::from_bytes(self.0);
        Self(uuid::Uuid::new_v5(&space, name.as_bytes()).into_bytes())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Id {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParseIdError(text.chars().take(64).collect());
        if text.len() != 32 {
            return Err(refused());
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
                return Err(refused());
            };
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Id {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Id".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9a-f]{32}$", "maxLength": 32})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let text = "0123456789abcdef0123456789abcdef";
        let id: Id = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("{text:?}"));
    }

    #[test]
    fn a_uid_loses_its_dashes() {
        let id = Id::from_uid("01234567-89ab-cdef-0123-456789abcdef");
        assert_eq!(id.to_string(), "0123456789abcdef0123456789abcdef");
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "abc", "g123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef0"] {
            assert!(text.parse::<Id>().is_err(), "{text}");
        }
    }

    #[test]
    fn derived_ids_are_stable_and_distinct() {
        let id = Id::random();
        assert_eq!(id.derive("0/1"), id.derive("0/1"));
        assert_ne!(id.derive("0/1"), id.derive("1/0"));
    }
}
