//! JSON as Heketi reads and writes it, which is as Go's library does: names match in any case, what is
//! unknown is ignored, the last of several wins, `null` leaves a field alone, and a number is either
//! whole or not.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

/// The body was not what the request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unparsable;

/// A JSON value that remembers the order of names and whether a number is whole.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number without fraction and exponent that fits 64 bits.
    Whole(i64),
    /// Any other number.
    Real(f64),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Json>),
    /// Names and values in the order of the text, repetitions included.
    Object(Vec<(String, Json)>),
}

/// What can be filled from a JSON value. Filling twice is what a repeated name does.
pub trait Fill {
    /// Takes the value over; `null` changes nothing.
    fn fill(&mut self, json: Json) -> Result<(), Unparsable>;
}

/// Reads a request. Neither an empty body nor anything after the value is taken.
pub fn read<T: Fill + Default>(body: &[u8]) -> Result<T, Unparsable> {
    let json: Json = serde_json::from_slice(body).map_err(|_| Unparsable)?;
    let mut request = T::default();
    request.fill(json)?;
    Ok(request)
}

/// Writes an answer: compact, `<`, `>` and `&` escaped, one line end.
pub fn write(answer: &impl Serialize) -> Result<String, serde_json::Error> {
    Ok(escaped(&serde_json::to_string(answer)?))
}

/// Writes an answer for people: each level indented by four blanks, escaped as others are.
pub fn write_indented(answer: &impl Serialize) -> Result<String, serde_json::Error> {
    let mut plain = vec![];
    let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    answer.serialize(&mut serde_json::Serializer::with_formatter(&mut plain, format))?;
    Ok(escaped(&String::from_utf8_lossy(&plain)))
}

fn escaped(plain: &str) -> String {
    let mut text = String::with_capacity(plain.len() + 1);
    // Outside of strings JSON has none of these.
    for c in plain.chars() {
        match c {
            '<' => text.push_str("\\u003c"),
            '>' => text.push_str("\\u003e"),
            '&' => text.push_str("\\u0026"),
            '\u{2028}' => text.push_str("\\u2028"),
            '\u{2029}' => text.push_str("\\u2029"),
            other => text.push(other),
        }
    }
    text.push('\n');
    text
}

/// Writes a number as Go does: `1`, not `1.0`.
pub fn go_number<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() < EXACT {
        // In this range a whole number survives the conversion.
        serializer.serialize_i64(*number as i64)
    } else {
        serializer.serialize_f64(*number)
    }
}

/// Says which names of an object fill which fields of a request.
macro_rules! request {
    ($type:ty { $($field:ident: $name:literal),* $(,)? }) => {
        impl $crate::api::heketi::json::Fill for $type {
            fn fill(
                &mut self,
                json: $crate::api::heketi::json::Json,
            ) -> Result<(), $crate::api::heketi::json::Unparsable> {
                for (name, value) in json.into_fields()? {
                    $(if name.eq_ignore_ascii_case($name) {
                        self.$field.fill(value)?;
                        continue;
                    })*
                }
                Ok(())
            }
        }
    };
}
pub(super) use request;

impl Json {
    /// The names and values of an object; none of `null`.
    pub fn into_fields(self) -> Result<Vec<(String, Json)>, Unparsable> {
        match self {
            Self::Object(fields) => Ok(fields),
            Self::Null => Ok(vec![]),
            _ => Err(Unparsable),
        }
    }
}

impl Fill for bool {
    fn fill(&mut self, json: Json) -> Result<(), Unparsable> {
        match json {
            Json::Bool(value) => *self = value,
            Json::Null => {}
            _ => return Err(Unparsable),
        }
        Ok(())
    }
}

impl Fill for i64 {
    fn fill(&mut self, json: Json) -> Result<(), Unparsable> {
        match json {
            Json::Whole(value) => *self = value,
            Json::Null => {}
            _ => return Err(Unparsable),
        }
        Ok(())
    }
}

impl Fill for f64 {
    fn fill(&mut self, json: Json) -> Result<(), Unparsable> {
        match json {
            Json::Whole(value) => *self = value as f64,
            Json::Real(value) => *self = value,
            Json::Null => {}
            _ => return Err(Unparsable),
        }
        Ok(())
    }
}

impl Fill for String {
    fn fill(&mut self, json: Json) -> Result<(), Unparsable> {
        match json {
            Json::Text(value) => *self = value,
            Json::Null => {}
            _ => return Err(Unparsable),
        }
        Ok(())
    }
}

impl<T: Fill + Default> Fill for Vec<T> {
    fn fill(&mut self, json: Json) -> Result<(), Unparsable> {
        self.clear();
        match json {
            Json::List(items) => {
                for item in items {
                    let mut value = T::default();
                    value.fill(item)?;
                    self.push(value);
                }
            }
            Json::Null => {}
            _ => return Err(Unparsable),
        }
        Ok(())
    }
}

impl<T: Fill + Default> Fill for BTreeMap<String, T> {
    fn fill(&mut self, json: Json) -> Result<(), Unparsable> {
        if json == Json::Null {
            self.clear();
        }
        for (name, item) in json.into_fields()? {
            let mut value = T::default();
            value.fill(item)?;
            self.insert(name, value);
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Whole(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(i64::try_from(value).map_or(Json::Real(value as f64), Json::Whole))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Real(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = vec![];
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Json, A::Error> {
        let mut object = vec![];
        while let Some(field) = fields.next_entry()? {
            object.push(field);
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq)]
    struct Inner {
        number: i64,
    }
    request!(Inner { number: "number" });

    #[derive(Debug, Default, PartialEq)]
    struct Outer {
        size: i64,
        factor: f64,
        name: String,
        on: bool,
        list: Vec<String>,
        tags: BTreeMap<String, String>,
        inner: Inner,
    }
    request!(Outer {
        size: "size",
        factor: "factor",
        name: "name",
        on: "on",
        list: "list",
        tags: "tags",
        inner: "inner",
    });

    fn outer(body: &str) -> Outer {
        read(body.as_bytes()).unwrap()
    }

    #[test]
    fn names_match_in_any_case_and_the_last_wins() {
        assert_eq!(outer(r#"{"SIZE":1,"size":2,"Size":3}"#).size, 3);
        assert_eq!(outer(r#"{"inner":{"number":1},"Inner":{}}"#).inner.number, 1);
        assert_eq!(outer(r#"{"tags":{"A":"1"},"tags":{"a":"2"}}"#).tags.len(), 2);
    }

    #[test]
    fn null_and_unknown_names_change_nothing() {
        assert_eq!(outer("null"), Outer::default());
        assert_eq!(outer(r#"{"size":4,"size":null}"#).size, 4);
        assert!(outer(r#"{"colour":{"deep":[1,2]},"on":true}"#).on);
        assert_eq!(outer(r#"{"list":["a",null]}"#).list, ["a", ""]);
        assert_eq!(outer(r#" {"list":null,"tags":null} "#), Outer::default());
    }

    #[test]
    fn numbers() {
        assert_eq!(outer(r#"{"size":-9223372036854775808}"#).size, i64::MIN);
        assert_eq!(outer(r#"{"factor":2}"#).factor, 2.0);
        assert_eq!(outer(r#"{"factor":1.5}"#).factor, 1.5);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let deep = "[".repeat(100_000);
        for body in [
            "",
            " ",
            "{",
            "x",
            "[]",
            "1",
            "\"a\"",
            "true",
            "{} {}",
            "{}x",
            r#"{"size":"1"}"#,
            r#"{"size":1.5}"#,
            r#"{"size":1.0}"#,
            r#"{"size":1e3}"#,
            r#"{"size":9223372036854775808}"#,
            r#"{"size":true}"#,
            r#"{"name":1}"#,
            r#"{"on":"true"}"#,
            r#"{"on":1}"#,
            r#"{"list":"a"}"#,
            r#"{"list":[1]}"#,
            r#"{"tags":{"a":1}}"#,
            r#"{"tags":[]}"#,
            r#"{"inner":[]}"#,
            r#"{'size':1}"#,
            "\u{feff}{}",
            &deep,
        ] {
            let short: String = body.chars().take(40).collect();
            assert_eq!(read::<Outer>(body.as_bytes()), Err(Unparsable), "{short}");
        }
        assert_eq!(read::<Outer>(b"{\"name\":\"\xff\"}"), Err(Unparsable));
    }

    #[test]
    fn answers_are_escaped_and_end_with_a_line_end() {
        let tags = BTreeMap::from([("b", "<&>"), ("a", "\"")]);
        assert_eq!(write(&tags).unwrap(), "{\"a\":\"\\\"\",\"b\":\"\\u003c\\u0026\\u003e\"}\n");
    }

    #[test]
    fn whole_factors_have_no_fraction() {
        #[derive(Serialize)]
        struct Factor(#[serde(serialize_with = "go_number")] f64);
        assert_eq!(write(&Factor(1.0)).unwrap(), "1\n");
        assert_eq!(write(&Factor(1.5)).unwrap(), "1.5\n");
    }
}
