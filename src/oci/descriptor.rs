//! Descriptors: which bytes are meant (image-spec, descriptor.md). They prove nothing about those bytes.

use std::sync::Arc;

use base64::Engine as _;
use serde_json::value::RawValue;

use super::members::{Members, text};
use super::{Annotations, Digest, DigestError, MAX_DOCUMENT, MediaType, Platform};

/// Says which bytes are meant: digest, size, media type. Proves nothing about them.
#[derive(Clone, Debug)]
pub struct Descriptor {
    /// The `mediaType` member as written; empty where absent.
    pub media_type: String,
    /// The digest of the bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// `artifactType`; empty where absent.
    pub artifact_type: String,
    /// Annotations whose values are strings; others are passed over (annotations.md wants strings).
    pub annotations: Annotations,
    /// `platform`, where there is one.
    pub platform: Option<Platform>,
    /// The `data` member, already held against digest and size (descriptor.md, "properties").
    pub data: Data,
}

/// What a descriptor's `data` member came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// There is none.
    Absent,
    /// It is the content: size and digest hold.
    Content(Arc<[u8]>),
    /// It is not base64, or not the content. The descriptor contradicts itself, whatever the blob says.
    Wrong(String),
}

/// Why a JSON value is no descriptor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    /// Not an object.
    #[error("a descriptor must be a JSON object")]
    NotAnObject,
    /// No digest string.
    #[error("a descriptor needs a `digest`")]
    NoDigest,
    /// A digest that does not parse.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// Size absent, negative, fractional or beyond 63 bits.
    #[error("{digest}: `size` is {found}, want a number of bytes")]
    Size {
        /// The descriptor's digest.
        digest: Digest,
        /// The JSON text of the member.
        found: String,
    },
}

impl Descriptor {
    /// Parses a descriptor, passing over members it does not know (considerations.md).
    pub fn parse(json: &str) -> Result<Self, DescriptorError> {
        Self::of(&serde_json::from_str(json).map_err(|_| DescriptorError::NotAnObject)?)
    }

    /// Reads a descriptor out of a document.
    pub(super) fn of_raw(raw: &RawValue) -> Result<Self, DescriptorError> {
        Self::parse(raw.get())
    }

    fn of(members: &Members<'_>) -> Result<Self, DescriptorError> {
        let digest = Digest::parse(&members.text("digest").ok_or(DescriptorError::NoDigest)?)?;
        let size = members.get("size").map(RawValue::get);
        let size = size
            .and_then(|text| text.parse::<i64>().ok())
            .and_then(|n| u64::try_from(n).ok())
            .ok_or_else(|| {
                let found = size.unwrap_or("absent").chars().take(40).collect();
                DescriptorError::Size { digest: digest.clone(), found }
            })?;
        let data = Data::of(members.get("data"), &digest, size);
        Ok(Self {
            media_type: members.owned("mediaType"),
            artifact_type: members.owned("artifactType"),
            annotations: Annotations::of(members),
            platform: members.object("platform").as_ref().map(Platform::of),
            digest,
            size,
            data,
        })
    }

    /// Returns what the media type says the blob is.
    pub fn kind(&self) -> MediaType {
        MediaType::of(&self.media_type)
    }
}

impl Data {
    fn of(member: Option<&RawValue>, digest: &Digest, size: u64) -> Self {
        let Some(member) = member else { return Self::Absent };
        let Some(text) = text(member) else { return Self::Wrong("`data` is not a string".to_owned()) };
        // More than any document we parse would be a way to fill memory.
        if text.len() as u64 / 4 * 3 > MAX_DOCUMENT {
            return Self::Wrong(format!("`data` is larger than {MAX_DOCUMENT} bytes"));
        }
        let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(&*text) else {
            return Self::Wrong("`data` is not base64".to_owned());
        };
        if bytes.len() as u64 != size {
            return Self::Wrong(format!("`data` has {} bytes, `size` says {size}", bytes.len()));
        }
        match Digest::of(digest.algorithm(), &bytes) {
            Some(found) if found == *digest => Self::Content(bytes.into()),
            Some(found) => Self::Wrong(format!("`data` hashes to {found}")),
            None => Self::Wrong(format!(
                "`data` cannot be checked: unknown algorithm {}",
                digest.algorithm_name()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    fn parse(json: &str) -> Result<Descriptor, DescriptorError> {
        Descriptor::parse(&json.replace("EMPTY", EMPTY))
    }

    #[test]
    fn sizes_are_whole_numbers_of_bytes() {
        for (size, good) in [
            ("2", true),
            ("0", true),
            ("9223372036854775807", true),
            ("9223372036854775808", false),
            ("-1", false),
            ("2.0", false),
            ("2e3", false),
            ("\"2\"", false),
            ("null", false),
        ] {
            let got = parse(&format!(r#"{{"digest":"EMPTY","size":{size}}}"#));
            assert_eq!(got.is_ok(), good, "{size}: {got:?}");
        }
        assert!(parse(r#"{"digest":"EMPTY"}"#).is_err());
    }

    #[test]
    fn data_is_held_against_digest_and_size() {
        let data = |size: u64, data: &str| {
            parse(&format!(r#"{{"digest":"EMPTY","size":{size},"data":{data}}}"#)).unwrap().data
        };
        assert_eq!(data(2, r#""e30=""#), Data::Content(Arc::from(*b"{}")));
        assert_eq!(data(2, "null"), Data::Absent);
        for (size, text) in [(3, r#""e30=""#), (2, r#""e30""#), (2, r#""e31=""#), (2, "7"), (2, r#""W10=""#)]
        {
            assert!(matches!(data(size, text), Data::Wrong(_)), "{text}");
        }
    }

    #[test]
    fn odd_annotations_do_not_spoil_the_descriptor() {
        let got = parse(r#"{"digest":"EMPTY","size":2,"annotations":{"a":"b","c":null,"d":1}}"#).unwrap();
        assert_eq!(got.annotations.iter().collect::<Vec<_>>(), [("a", "b")]);
        assert!(parse(r#"{"digest":"EMPTY","size":2,"annotations":[]}"#).unwrap().annotations.is_empty());
    }
}
