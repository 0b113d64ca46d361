//! The manifest.json of a docker-archive: which images it has, and the names of their parts.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::oci::{elements, text};

/// Most images that are taken. `docker save` of some hundred is a lot.
const MAX_IMAGES: usize = 10_000;

/// Most layers of all images together: 500 images of as many layers as builders make.
const MAX_LAYERS: usize = 1 << 16;

/// Most names of all images together: each is an entry of the index that is made up.
const MAX_NAMES: usize = 1 << 16;

/// One image of a manifest.json. All of it is claims.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Saved {
    /// The name of the configuration's member.
    pub(super) config: String,
    /// The image's names.
    pub(super) tags: Vec<String>,
    /// The names of the layers' members, base first.
    pub(super) layers: Vec<String>,
}

/// The images of a manifest.json, or why one cannot be read.
pub(super) type Images = Vec<Result<Saved, String>>;

/// Parses a manifest.json: a list, in which an image that cannot be read does not spoil the others.
pub(super) fn parse(bytes: &[u8]) -> Result<Images, String> {
    let list: &RawValue =
        serde_json::from_slice(bytes).map_err(|e| format!("its manifest.json is not JSON: {e}"))?;
    if list.get() == "null" {
        return Ok(Vec::new());
    }
    let (images, count) = elements(list, MAX_IMAGES).ok_or("its manifest.json is not a list of images")?;
    let mut sums = Sums::default();
    let images = images.into_iter().map(|image| Saved::of(image, &mut sums)).collect();
    let Sums { layers, names } = sums;
    if count > MAX_IMAGES || layers > MAX_LAYERS || names > MAX_NAMES {
        return Err(format!(
            "its manifest.json names {count} images with {layers} layers and {names} names, and ocifs takes at most \
             {MAX_IMAGES} with {MAX_LAYERS} and {MAX_NAMES}"
        ));
    }
    Ok(images)
}

/// How much all images together have, also of what is not taken.
#[derive(Default)]
struct Sums {
    layers: usize,
    names: usize,
}

impl Saved {
    fn of(image: &RawValue, sums: &mut Sums) -> Result<Self, String> {
        let Ok(Parts { found: [config, tags, layers], twice }) = serde_json::from_str(image.get()) else {
            return Err("is not an object".to_owned());
        };
        if let Some(name) = twice {
            return Err(format!("has `{name}` twice"));
        }
        let config = config.and_then(text).ok_or("has no `Config`")?.into_owned();
        let layers = match layers {
            None => Vec::new(),
            Some(layers) => {
                let left = MAX_LAYERS.saturating_sub(sums.layers);
                let (layers, count) = elements(layers, left).ok_or("has `Layers` that are no list")?;
                sums.layers += count;
                let names = layers.into_iter().map(|layer| text(layer).map(Cow::into_owned));
                names.collect::<Option<_>>().ok_or("has `Layers` that are no names")?
            }
        };
        let left = MAX_NAMES.saturating_sub(sums.names);
        let (tags, count) = tags.and_then(|tags| elements(tags, left)).unwrap_or_default();
        sums.names += count;
        let tags = tags.into_iter().filter_map(text).filter(|tag| !tag.is_empty());
        Ok(Self { config, tags: tags.map(Cow::into_owned).collect(), layers })
    }
}

/// The members that are looked for, whatever their case: jib writes lower case, and docker reads any.
const NAMES: [&str; 3] = ["Config", "RepoTags", "Layers"];

/// The members of an image that have these names, as they are written, and which of them is there twice.
///
/// Such an image is refused, since two readers would see two different ones.
struct Parts<'a> {
    found: [Option<&'a RawValue>; 3],
    twice: Option<&'static str>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Parts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Parts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut parts = Parts { found: [None; 3], twice: None };
                while let Some((name, raw)) = map.next_entry::<Cow<'_, str>, &RawValue>()? {
                    let Some(n) = NAMES.iter().position(|n| name.eq_ignore_ascii_case(n)) else { continue };
                    if parts.found[n].replace(raw).is_some() {
                        parts.twice = Some(NAMES[n]);
                    }
                }
                parts.found = parts.found.map(|found| found.filter(|raw| raw.get() != "null"));
                Ok(parts)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_producers_write() {
        let saved = |config: &str, tags: &[&str], layers: &[&str]| Saved {
            config: config.to_owned(),
            tags: tags.iter().map(ToString::to_string).collect(),
            layers: layers.iter().map(ToString::to_string).collect(),
        };
        for (json, expected) in [
            (
                r#"[{"Config":"c","RepoTags":["a:1","b:2"],"Layers":["l","l"]}]"#,
                saved("c", &["a:1", "b:2"], &["l", "l"]),
            ),
            (r#"[{"config":"c","repoTags":["a:1"],"layers":["l"]}]"#, saved("c", &["a:1"], &["l"])),
            (r#"[{"Config":"c","RepoTags":null,"Layers":null}]"#, saved("c", &[], &[])),
            (r#"[{"Config":"c","RepoTags":[]}]"#, saved("c", &[], &[])),
            (r#"[{"Config":"c","RepoTags":[7,"","x:1"],"LayerSources":{}}]"#, saved("c", &["x:1"], &[])),
        ] {
            assert_eq!(parse(json.as_bytes()).unwrap(), [Ok(expected)], "{json}");
        }
        assert_eq!(parse(b"null").unwrap(), []);
        assert_eq!(parse(b"[]").unwrap(), []);
    }

    #[test]
    fn what_is_none() {
        for json in ["", "{", "{}", "7", "\"x\""] {
            assert!(parse(json.as_bytes()).is_err(), "{json}");
        }
        for json in [
            "7",
            "{}",
            r#"{"Config":7}"#,
            r#"{"Config":"c","Layers":[7]}"#,
            r#"{"Config":"c","Layers":"l"}"#,
            r#"{"Config":"c","config":"d"}"#,
            r#"{"Config":"c","Layers":[],"layers":["l"]}"#,
        ] {
            let images = parse(format!(r#"[{{"Config":"c"}},{json}]"#).as_bytes()).unwrap();
            assert_eq!(images.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false], "{json}");
        }
    }
}
