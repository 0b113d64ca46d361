//! The documents of an image: index, manifest, configuration. Parsed leniently, as other readers must be.
//!
//! A document that is not a JSON object is an error. Inside one, what is absent or `null` is empty, what is
//! unknown is passed over, and a bad descriptor is an error of its own that leaves its neighbours alone.

use std::io::{self, Write as _};

use serde_json::Value;
use serde_json::value::RawValue;

use super::members::{Members, text};
use super::{Annotations, Descriptor, DescriptorError, Digest, Platform};

/// Largest document we parse, but for index.json, in bytes. The distribution specification has registries accept manifests
/// of this size, and they and the common readers refuse larger ones.
pub const MAX_DOCUMENT: u64 = 4 << 20;

/// Why bytes are not the document they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not JSON, or nested too deep.
    #[error("not JSON: {0}")]
    Json(String),
    /// JSON, and not an object.
    #[error("not a JSON object")]
    NotAnObject,
    /// Both an index and a manifest, so that two readers may see two different images (CVE-2021-41190).
    #[error("has both `manifests` and `layers` or `config`: two readers would see two different images")]
    Ambiguous,
    /// An index in a manifest's place.
    #[error("is an index, and was to be a manifest")]
    IsAnIndex,
    /// A member that must be an array.
    #[error("`{0}` is not an array")]
    NotAnArray(&'static str),
    /// An array of more elements than could say anything in so many bytes.
    #[error("`{name}` has {count} elements, and in so many bytes we take at most {most}")]
    TooMany {
        /// The array's name.
        name: &'static str,
        /// How many elements it has.
        count: usize,
        /// Our limit.
        most: usize,
    },
    /// Spelled for people it is too long.
    #[error("has more than {most} bytes when it is spelled for people; the document itself can be read")]
    TooLong {
        /// Our limit in bytes.
        most: usize,
    },
}

/// Most bytes of a document spelled for people: what nests a hundred levels deep is indented by two hundred bytes a line.
const MAX_PRETTY: usize = 4 * MAX_DOCUMENT as usize;

/// Fewest bytes that a digest takes as a string, and so a descriptor, of which one member is a digest.
const SHORTEST_DIGEST: usize = 64;

/// Fewest bytes that a step of a history takes: one that says only that it made no layer.
const SHORTEST_STEP: usize = 20;

/// An image index (image-index.md), or Docker's manifest list.
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// The entries, in the order of the document.
    pub entries: Vec<IndexEntry>,
    /// The manifest this index speaks of.
    pub subject: Option<Descriptor>,
    /// `artifactType`; empty where absent.
    pub artifact_type: String,
}

/// One entry of an index.
#[derive(Clone, Debug)]
pub struct IndexEntry {
    /// The entry's own bytes.
    pub raw: Box<str>,
    /// What they say.
    pub descriptor: Result<Descriptor, DescriptorError>,
}

impl Index {
    /// Parses an index.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let members = members(bytes)?;
        if lists_entries(&members) && is_manifest(&members) {
            return Err(DocumentError::Ambiguous);
        }
        let entries = members.array("manifests", SHORTEST_DIGEST)?;
        Ok(Self {
            entries: entries.into_iter().map(IndexEntry::of).collect(),
            subject: members.get("subject").and_then(|raw| Descriptor::of_raw(raw).ok()),
            artifact_type: members.owned("artifactType"),
        })
    }
}

impl IndexEntry {
    fn of(raw: &RawValue) -> Self {
        Self { raw: raw.get().into(), descriptor: Descriptor::of_raw(raw) }
    }
}

/// An image manifest (manifest.md), Docker's schema 2 included.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The configuration.
    pub config: Option<Result<Descriptor, DescriptorError>>,
    /// The layers, base first.
    pub layers: Vec<Result<Descriptor, DescriptorError>>,
    /// The manifest this one speaks of.
    pub subject: Option<Descriptor>,
    /// `artifactType`; empty where absent.
    pub artifact_type: String,
    /// The manifest's own annotations.
    pub annotations: Annotations,
}

impl Manifest {
    /// Returns what it is: its artifact type, else the media type of its configuration, as a registry has it where it
    /// lists referrers (distribution specification, "Listing Referrers"). Empty where it says neither.
    pub fn kind(&self) -> &str {
        match &self.config {
            _ if !self.artifact_type.is_empty() => &self.artifact_type,
            Some(Ok(config)) => &config.media_type,
            _ => "",
        }
    }

    /// Parses a manifest.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let members = members(bytes)?;
        if lists_entries(&members) {
            return Err(match is_manifest(&members) {
                true => DocumentError::Ambiguous,
                false => DocumentError::IsAnIndex,
            });
        }
        Ok(Self {
            config: members.get("config").map(Descriptor::of_raw),
            layers: members.array("layers", SHORTEST_DIGEST)?.into_iter().map(Descriptor::of_raw).collect(),
            subject: members.get("subject").and_then(|raw| Descriptor::of_raw(raw).ok()),
            artifact_type: members.owned("artifactType"),
            annotations: Annotations::of(&members),
        })
    }
}

/// An image configuration (config.md): the members ocifs looks at.
#[derive(Clone, Debug, Default)]
pub struct ImageConfig {
    /// os, architecture, variant.
    pub platform: Platform,
    /// `rootfs.type`; empty where absent.
    pub rootfs_type: String,
    /// The digests of the uncompressed layers, base first; an error where one is no digest.
    pub diff_ids: Vec<Result<Digest, String>>,
    /// What each layer came from.
    pub history: Vec<History>,
    /// When the image was made, as written.
    pub created: String,
}

/// One entry of a configuration's history.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// When, as written.
    pub created: String,
    /// By what command.
    pub created_by: String,
    /// A remark.
    pub comment: String,
    /// Says that this step made no layer.
    pub empty_layer: bool,
}

impl ImageConfig {
    /// Parses a configuration. Every optional member may be null (config.md, "Properties").
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let members = members(bytes)?;
        let rootfs = members.object("rootfs").unwrap_or_default();
        let diff_id =
            |raw: &RawValue| Digest::parse(&text(raw).unwrap_or_default()).map_err(|e| e.to_string());
        let history = array_if_it_is_one(&members, "history", SHORTEST_STEP)?;
        let diff_ids = array_if_it_is_one(&rootfs, "diff_ids", SHORTEST_DIGEST)?;
        Ok(Self {
            platform: Platform::of(&members),
            rootfs_type: rootfs.owned("type"),
            diff_ids: diff_ids.into_iter().map(diff_id).collect(),
            history: history.into_iter().map(History::of).collect(),
            created: members.owned("created"),
        })
    }
}

impl History {
    fn of(raw: &RawValue) -> Self {
        let members = Members::of(raw).unwrap_or_default();
        Self {
            created: members.owned("created"),
            created_by: members.owned("created_by"),
            comment: members.owned("comment"),
            empty_layer: members.get("empty_layer").is_some_and(|raw| raw.get() == "true"),
        }
    }
}

/// Puts the steps of a history beside the layers they made, by their numbers, in order (config.md, "history"). Where there are more
/// of one than of the other, which happens, the rest stands alone.
pub fn steps(history: &[History], layers: usize) -> impl Iterator<Item = (Option<usize>, Option<&History>)> {
    let made = history.iter().scan(0..layers, |numbers, step| {
        let number = if step.empty_layer { None } else { numbers.next() };
        Some((number, Some(step)))
    });
    let made_layers = history.iter().filter(|step| !step.empty_layer).count();
    made.chain((made_layers..layers).map(|number| (Some(number), None)))
}

/// Renders a JSON document for people: sorted keys, two spaces a level, a newline at the end.
pub fn pretty(bytes: &[u8]) -> Result<Vec<u8>, DocumentError> {
    // serde_json's map is sorted unless its `preserve_order` feature is on; numbers keep their digits.
    let value: Value = serde_json::from_slice(bytes).map_err(json_error)?;
    let mut text = Bounded { text: Vec::new(), most: MAX_PRETTY };
    serde_json::to_writer_pretty(&mut text, &value)
        .and_then(|()| text.write_all(b"\n").map_err(serde_json::Error::io))
        .map_err(|_| DocumentError::TooLong { most: MAX_PRETTY })?;
    Ok(text.text)
}

/// A text that grows no longer than `most`.
struct Bounded {
    text: Vec<u8>,
    most: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if more.len() > self.most - self.text.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Splits a document into its members.
fn members(bytes: &[u8]) -> Result<Members<'_>, DocumentError> {
    serde_json::from_slice(bytes).map_err(|e| match e.classify() {
        serde_json::error::Category::Data => DocumentError::NotAnObject,
        _ => json_error(e),
    })
}

/// Returns the elements of a member that is passed over where it is no array (config.md, "Properties").
fn array_if_it_is_one<'a>(
    members: &Members<'a>,
    name: &'static str,
    each: usize,
) -> Result<Vec<&'a RawValue>, DocumentError> {
    match members.array(name, each) {
        Err(DocumentError::NotAnArray(_)) => Ok(Vec::new()),
        elements => elements,
    }
}

fn lists_entries(members: &Members<'_>) -> bool {
    members.get("manifests").is_some()
}

fn is_manifest(members: &Members<'_>) -> bool {
    ["layers", "config"].iter().any(|name| members.get(name).is_some())
}

#[allow(clippy::needless_pass_by_value)] // used as a function in map_err
fn json_error(error: serde_json::Error) -> DocumentError {
    DocumentError::Json(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &str =
        r#"{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}"#;

    #[test]
    fn an_index_survives_what_producers_write() {
        for (json, entries) in [
            ("{}".to_owned(), 0),
            (r#"{"manifests":null}"#.to_owned(), 0),
            (r#"{"manifests":[]}"#.to_owned(), 0),
            (format!(r#"{{"schemaVersion":3,"manifests":[{D},7,{{}},{D}]}}"#), 4),
        ] {
            let index = Index::parse(json.as_bytes()).unwrap();
            assert_eq!(index.entries.len(), entries, "{json}");
        }
        let index = Index::parse(format!(r#"{{"manifests":[ {D} ,7]}}"#).as_bytes()).unwrap();
        assert_eq!(&*index.entries[0].raw, D);
        assert!(index.entries[0].descriptor.is_ok());
        assert!(index.entries[1].descriptor.is_err());
    }

    #[test]
    fn what_is_no_index_is_refused() {
        for json in
            ["", "[]", "7", "{", r#"{"manifests":{}}"#, r#"{"manifests":[],"layers":[]}"#, "\u{feff}{}"]
        {
            assert!(Index::parse(json.as_bytes()).is_err(), "{json:?}");
        }
        let deep = format!(r#"{{"manifests":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert!(Index::parse(deep.as_bytes()).unwrap().entries[0].descriptor.is_err());
    }

    #[test]
    fn a_manifest_keeps_the_place_of_a_bad_layer() {
        let json = format!(r#"{{"config":{D},"layers":[{D},{{"digest":"x"}},{D}]}}"#);
        let manifest = Manifest::parse(json.as_bytes()).unwrap();
        assert_eq!(manifest.layers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
        assert!(manifest.config.unwrap().is_ok());
        let empty = Manifest::parse(br#"{"layers":null,"config":null}"#).unwrap();
        assert!(empty.layers.is_empty() && empty.config.is_none());
        for (json, why) in [
            (r#"{"layers":[],"manifests":[]}"#, DocumentError::Ambiguous),
            (r#"{"manifests":[]}"#, DocumentError::IsAnIndex),
        ] {
            assert_eq!(Manifest::parse(json.as_bytes()).unwrap_err().to_string(), why.to_string());
        }
    }

    #[test]
    fn a_config_may_be_null_everywhere() {
        let config = ImageConfig::parse(br#"{"rootfs":null,"history":null,"created":null}"#).unwrap();
        assert!(config.diff_ids.is_empty() && config.history.is_empty());
        let config = ImageConfig::parse(br#"{"rootfs":{"type":"layers","diff_ids":["x"]}}"#).unwrap();
        assert!(config.diff_ids[0].is_err());
    }

    #[test]
    fn what_indentation_multiplies_is_too_long_for_people() {
        let nested = |count: usize| {
            format!("{}{}1{}", "[".repeat(120), "1,".repeat(count), "]".repeat(120)).into_bytes()
        };
        assert!(pretty(&nested(60_000)).is_ok_and(|text| text.len() > 14_000_000));
        assert_eq!(pretty(&nested(80_000)), Err(DocumentError::TooLong { most: MAX_PRETTY }));
    }

    #[test]
    fn pretty_sorts_and_keeps_every_digit() {
        let got = pretty(br#"{"b":1,"a":[12345678901234567890123, 1.50]}"#).unwrap();
        assert_eq!(got, b"{\n  \"a\": [\n    12345678901234567890123,\n    1.50\n  ],\n  \"b\": 1\n}\n");
    }
}
