//! The index.json that is made up for what a registry holds: one entry, for the manifest or index that was fetched.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::client::Document;
use crate::oci::{ANNOTATION_REF_NAME, Algorithm, Descriptor, Digest, MediaType, Members};

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Holds a fetched document against the digest it was asked by, and against what the registry says of it.
pub(super) fn check_claim(document: &Document, asked: Option<&Digest>) -> Result<(), String> {
    let said = document.digest.as_deref().and_then(|text| Digest::parse(text).ok());
    for expected in asked.into_iter().chain(said.as_ref()) {
        match Digest::of(expected.algorithm(), &document.bytes) {
            Some(found) if found != *expected => {
                return Err(format!("sent something else than {expected}: it hashes to {found}"));
            }
            // An algorithm of the registry's own proves nothing, and one asked for cannot be checked.
            None if asked == Some(expected) => {
                return Err(format!("cannot be asked for {expected}: unknown algorithm"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Describes a fetched document: its type from itself, else from what the registry says, else from its members.
pub(super) fn describe(bytes: &[u8], media_type: &str, asked: Option<&Digest>) -> Result<Descriptor, String> {
    let document: &RawValue =
        serde_json::from_slice(bytes).map_err(|e| format!("sent no manifest: not JSON: {e}"))?;
    // Found, and not taken apart: what is made of small parts is many times as long as they are.
    let document = Members::of(document).unwrap_or_default();
    let has = |name| document.get(name).is_some();
    let schema_1 = document.get("schemaVersion").is_some_and(|v| v.get() == "1") || has("fsLayers");
    if schema_1 || media_type.contains("distribution.manifest.v1+") {
        return Err("has this image in docker's schema 1 only, which is not read; push it anew with a \
                    current tool"
            .to_owned());
    }
    let own = &*document.owned("mediaType");
    let known = |text: &&str| matches!(MediaType::of(text), MediaType::Index | MediaType::Manifest);
    let by_members = match (has("manifests"), has("layers")) {
        (true, _) => Some(OCI_INDEX),
        (_, true) => Some(OCI_MANIFEST),
        _ => has("config").then_some(OCI_MANIFEST),
    };
    let media_type = [own, media_type].into_iter().find(known).or(by_members);
    let media_type = media_type.ok_or("sent something that is neither a manifest nor an index")?;
    let digest = asked.cloned().or_else(|| Digest::of(Algorithm::Sha256, bytes));
    let digest = digest.ok_or("cannot be asked by this digest: unknown algorithm")?;
    let descriptor = json!({"mediaType": media_type, "digest": digest.as_str(), "size": bytes.len()});
    Descriptor::parse(&descriptor.to_string()).map_err(|e| e.to_string())
}

/// Returns the platform that an image configuration states, as a descriptor has it.
pub(super) fn platform(config: &[u8]) -> Option<Value> {
    let config: Value = serde_json::from_slice(config).ok()?;
    let mut platform = json!({});
    for name in ["architecture", "os", "variant", "os.version"] {
        if let Some(text) = config[name].as_str().filter(|text| !text.is_empty()) {
            platform[name] = json!(text);
        }
    }
    (platform.get("os").is_some() && platform.get("architecture").is_some()).then_some(platform)
}

/// Makes up index.json. The tag is the name by which skopeo and others find the entry.
pub(super) fn made_up(top: &Descriptor, tag: Option<&str>, platform: Option<&Value>) -> Vec<u8> {
    let mut entry = json!({"mediaType": top.media_type, "digest": top.digest.as_str(), "size": top.size});
    if let Some(platform) = platform {
        entry["platform"] = platform.clone();
    }
    if let Some(tag) = tag {
        entry["annotations"] = json!({ANNOTATION_REF_NAME: tag});
    }
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]});
    index.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_document_is() {
        const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
        for (document, said, expected) in [
            (r#"{"manifests":[]}"#, "", Ok(OCI_INDEX)),
            (r#"{"layers":[]}"#, "text/plain", Ok(OCI_MANIFEST)),
            (r#"{"config":{}}"#, "", Ok(OCI_MANIFEST)),
            (r#"{"manifests":[]}"#, DOCKER_LIST, Ok(DOCKER_LIST)),
            (r#"{"mediaType":"application/vnd.oci.image.index.v1+json"}"#, DOCKER_LIST, Ok(OCI_INDEX)),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#, "", Err("schema 1")),
            ("{}", "application/vnd.docker.distribution.manifest.v1+prettyjws", Err("schema 1")),
            ("{}", "application/json", Err("neither")),
            ("<html>", "text/html", Err("not JSON")),
            ("7", "", Err("neither")),
            (r#"{"schemaVersion":1}"#, "", Err("schema 1")),
            (r#"{"schemaVersion":2,"layers":[[[[]]],{"a":0}],"config":7}"#, "", Ok(OCI_MANIFEST)),
        ] {
            let got = describe(document.as_bytes(), said, None);
            match expected {
                Ok(media_type) => assert_eq!(got.unwrap().media_type, media_type, "{document}"),
                Err(word) => assert!(got.unwrap_err().contains(word), "{document}"),
            }
        }
    }

    #[test]
    fn a_digest_must_hold() {
        let good = Digest::of(Algorithm::Sha256, b"{}").unwrap();
        let other = Digest::of(Algorithm::Sha256, b"").unwrap();
        for (asked, said, holds) in [
            (None, None, true),
            (Some(&good), None, true),
            (Some(&good), Some(good.to_string()), true),
            (Some(&other), None, false),
            (None, Some(other.to_string()), false),
            (None, Some("x:y".to_owned()), true),
            (None, Some("nonsense".to_owned()), true),
        ] {
            let (bytes, media_type) = (b"{}".to_vec(), String::new());
            let document = Document { bytes, media_type, digest: said.clone(), link: None };
            assert_eq!(check_claim(&document, asked).is_ok(), holds, "{asked:?} {said:?}");
        }
    }

    #[test]
    fn the_index_names_the_tag() {
        let top = describe(br#"{"layers":[]}"#, "", None).unwrap();
        let index = crate::oci::Index::parse(&made_up(&top, Some("v1"), None)).unwrap();
        let entry = index.entries[0].descriptor.as_ref().unwrap();
        assert_eq!(entry.annotations.get(ANNOTATION_REF_NAME), Some("v1"));
        assert_eq!((&entry.digest, entry.size), (&top.digest, top.size));
        let platform = platform(br#"{"os":"linux","architecture":"arm","variant":"v7","x":1}"#);
        let index = crate::oci::Index::parse(&made_up(&top, None, platform.as_ref())).unwrap();
        let entry = index.entries[0].descriptor.as_ref().unwrap();
        assert!(entry.annotations.is_empty());
        assert_eq!(entry.platform.as_ref().unwrap().to_string(), "linux/arm/v7");
    }
}
