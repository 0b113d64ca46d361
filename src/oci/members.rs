//! The members of a JSON object, each still in its own text: most of a document need only be found, not taken apart.
//!
//! Lenient in one way everywhere: a member that is absent, `null` or of another kind than the one asked for is not there.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A JSON object's members, in the order of the text.
#[derive(Default)]
pub(super) struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Returns the members of an object; nothing where the text is none.
    pub(super) fn of(raw: &'a RawValue) -> Option<Self> {
        serde_json::from_str(raw.get()).ok()
    }

    /// Returns a member as it is written. Of two with one name the last counts (RFC 8259, section 4, leaves it open).
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let (_, raw) = self.0.iter().rfind(|(n, _)| n == name)?;
        (raw.get() != "null").then_some(*raw)
    }

    /// Returns a member that is a string.
    pub(super) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        text(self.get(name)?)
    }

    /// Returns a member that is a string, or the empty string.
    pub(super) fn owned(&self, name: &str) -> String {
        self.text(name).map(Cow::into_owned).unwrap_or_default()
    }

    /// Returns a member that is an object.
    pub(super) fn object(&self, name: &str) -> Option<Self> {
        Self::of(self.get(name)?)
    }

    /// Returns the elements of a member that is an array.
    pub(super) fn array(&self, name: &str) -> Option<Vec<&'a RawValue>> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }

    /// Returns every member that is a string.
    pub(super) fn texts(self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> {
        self.0.into_iter().filter_map(|(name, raw)| Some((name, text(raw)?)))
    }
}

/// Returns a JSON string's value, without a copy where the text has no escapes.
pub(super) fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let quoted = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if !quoted.contains('\\') {
        return Some(Cow::Borrowed(quoted));
    }
    serde_json::from_str(raw.get()).map(Cow::Owned).ok()
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Object)
    }
}

struct Object;

impl<'de> Visitor<'de> for Object {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((Name(name), raw)) = map.next_entry()? {
            members.push((name, raw));
        }
        Ok(Members(members))
    }
}

/// A member's name, borrowed where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_by_name_and_kind() {
        let json = r#"{"a":"x","n\u0061me":"\u00e9\n","b":7,"c":null,"a":"y","o":{"p":"q"},"l":[1,"2"],"bad":"\ud800"}"#;
        let members: Members<'_> = serde_json::from_str(json).unwrap();
        for (name, expected) in [
            ("a", Some("y")),
            ("name", Some("\u{e9}\n")),
            ("b", None),
            ("c", None),
            ("d", None),
            ("o", None),
            ("bad", None),
        ] {
            assert_eq!(members.text(name).as_deref(), expected, "{name}");
        }
        assert_eq!(members.object("o").unwrap().owned("p"), "q");
        assert!(members.object("l").is_none() && members.array("o").is_none());
        assert_eq!(members.array("l").unwrap().len(), 2);
        assert_eq!(members.get("b").unwrap().get(), "7");
        assert!(members.get("c").is_none());
        assert_eq!(members.texts().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "name", "a"]);
    }

    #[test]
    fn what_is_no_object_has_none() {
        for json in ["[]", "7", "\"\"", "null", "{", "{}{}", "{\"a\"}"] {
            assert!(serde_json::from_str::<Members<'_>>(json).is_err(), "{json}");
        }
    }
}
