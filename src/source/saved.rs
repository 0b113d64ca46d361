//! The manifest.json of a docker-archive: which images it has, and the names of their parts.

use serde_json::{Map, Value};

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

/// Parses a manifest.json: a list, in which an image that cannot be read does not spoil the others.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Result<Saved, String>>, String> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Array(images)) => Ok(images.iter().map(Saved::of).collect()),
        Ok(Value::Null) => Ok(Vec::new()),
        Ok(_) => Err("its manifest.json is not a list of images".to_owned()),
        Err(e) => Err(format!("its manifest.json is not JSON: {e}")),
    }
}

impl Saved {
    fn of(value: &Value) -> Result<Self, String> {
        let object = value.as_object().ok_or("is not an object")?;
        let config = member(object, "Config")?.and_then(Value::as_str).ok_or("has no `Config`")?;
        let layers = match member(object, "Layers")? {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(layers)) => {
                let name = |layer: &Value| layer.as_str().map(str::to_owned);
                layers.iter().map(name).collect::<Option<_>>().ok_or("has `Layers` that are no names")?
            }
            Some(_) => return Err("has `Layers` that are no list".to_owned()),
        };
        let tags = member(object, "RepoTags")?.and_then(Value::as_array);
        let tags = tags.into_iter().flatten().filter_map(Value::as_str).filter(|tag| !tag.is_empty());
        Ok(Self { config: config.to_owned(), tags: tags.map(str::to_owned).collect(), layers })
    }
}

/// Finds a member whatever its case: jib writes lower case, and docker reads any.
///
/// Two that differ in case only are refused, since two readers would see two different images.
fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Result<Option<&'a Value>, String> {
    let mut found = object.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
    match (found.next(), found.next()) {
        (_, Some(_)) => Err(format!("has `{name}` twice")),
        (found, None) => Ok(found.map(|(_, value)| value)),
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
