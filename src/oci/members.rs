//! The members of a JSON object, each still in its own text: most of a document need only be found, not taken apart.
//!
//! Lenient in one way everywhere: a member that is absent, `null` or of another kind than the one asked for is not there.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::DocumentError;

/// How many elements of an array may be shorter than those that say something.
const MAY_BE_SHORT: usize = 1_000;

/// A JSON object's members, in the order of the text.
#[derive(Default)]
pub(crate) struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Returns the members of an object; nothing where the text is none.
    pub(crate) fn of(raw: &'a RawValue) -> Option<Self> {
        serde_json::from_str(raw.get()).ok()
    }

    /// Returns a member as it is written. Of two with one name the last counts (RFC 8259, section 4, leaves it open).
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let (_, raw) = self.0.iter().rfind(|(n, _)| n == name)?;
        (raw.get() != "null").then_some(*raw)
    }

    /// Returns a member that is a string.
    pub(super) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        text(self.get(name)?)
    }

    /// Returns a member that is a string, or the empty string.
    pub(crate) fn owned(&self, name: &str) -> String {
        self.text(name).map(Cow::into_owned).unwrap_or_default()
    }

    /// Returns a member that is an object.
    pub(super) fn object(&self, name: &str) -> Option<Self> {
        Self::of(self.get(name)?)
    }

    /// Returns the elements of a member that is an array; none where there is no such member.
    ///
    /// What is made of an element is many times as long as `0,`, so there may be no more than would stand in the text if each
    /// had `each` bytes, the fewest that say anything; and some more, which may be as short as they like.
    pub(super) fn array(&self, name: &'static str, each: usize) -> Result<Vec<&'a RawValue>, DocumentError> {
        let Some(raw) = self.get(name) else { return Ok(Vec::new()) };
        let most = raw.get().len() / each + MAY_BE_SHORT;
        match elements(raw, most) {
            Some((_, count)) if count > most => Err(DocumentError::TooMany { name, count, most }),
            Some((elements, _)) => Ok(elements),
            None => Err(DocumentError::NotAnArray(name)),
        }
    }

    /// Returns every member that is a string.
    pub(super) fn texts(self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> {
        self.0.into_iter().filter_map(|(name, raw)| Some((name, text(raw)?)))
    }
}

/// Returns the first `most` elements of an array, and how many it has; none where the text is no array.
pub(crate) fn elements(raw: &RawValue, most: usize) -> Option<(Vec<&RawValue>, usize)> {
    serde_json::Deserializer::from_str(raw.get()).deserialize_seq(Elements { most }).ok()
}

/// Returns a JSON string's value, without a copy where the text has no escapes.
pub(crate) fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
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

/// Takes the first elements of an array, and counts all.
struct Elements {
    most: usize,
}

impl<'de> Visitor<'de> for Elements {
    type Value = (Vec<&'de RawValue>, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while elements.len() < self.most {
            match array.next_element()? {
                Some(element) => elements.push(element),
                None => break,
            }
        }
        let mut count = elements.len();
        while array.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok((elements, count))
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
        assert!(members.object("l").is_none());
        assert_eq!(members.array("l", 10).unwrap().len(), 2);
        assert!(members.array("d", 10).unwrap().is_empty() && members.array("c", 10).unwrap().is_empty());
        assert_eq!(members.array("o", 10).unwrap_err(), DocumentError::NotAnArray("o"));
        assert_eq!(members.get("b").unwrap().get(), "7");
        assert!(members.get("c").is_none());
        assert_eq!(members.texts().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "name", "a"]);
    }

    #[test]
    fn elements_that_say_nothing_are_bounded() {
        let array = |count: usize| format!(r#"{{"l":[{}0]}}"#, "0,".repeat(count - 1));
        let elements =
            |json: &str| serde_json::from_str::<Members<'_>>(json).unwrap().array("l", 50).map(|l| l.len());
        assert_eq!(elements(&array(1_000)), Ok(1_000));
        let (name, count) = ("l", 2_000_000);
        let most = (2 * count + 1) / 50 + 1_000;
        assert_eq!(elements(&array(count)), Err(DocumentError::TooMany { name, count, most }));
        let long = format!(r#"{{"l":[{0}{1}]}}"#, format!("\"{}\",", "x".repeat(60)).repeat(100_000), 7);
        assert_eq!(elements(&long), Ok(100_001));
    }

    #[test]
    fn what_is_no_object_has_none() {
        for json in ["[]", "7", "\"\"", "null", "{", "{}{}", "{\"a\"}"] {
            assert!(serde_json::from_str::<Members<'_>>(json).is_err(), "{json}");
        }
    }
}
