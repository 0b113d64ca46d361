//! Manifests that are no images: what speaks of one, as BuildKit, oras, helm and cosign write it.

use super::{Blob, Layout, annotate, media};
use serde_json::{Value, json};

pub(crate) const IN_TOTO: &str = "application/vnd.in-toto+json";
pub(crate) const DSSE: &str = "application/vnd.dsse.envelope.v1+json";
pub(crate) const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// An artifact's manifest in the making.
pub(crate) struct Artifact<'a> {
    layout: &'a Layout,
    document: Value,
}

impl Layout {
    /// Begins an artifact of a type, which may be empty.
    pub(crate) fn artifact(&self, artifact_type: &str) -> Artifact<'_> {
        let empty = self.blob("{}");
        let document = json!({
            "schemaVersion": 2,
            "mediaType": media::MANIFEST,
            "config": empty.descriptor(media::EMPTY),
            "layers": [],
        });
        let artifact = Artifact { layout: self, document };
        if artifact_type.is_empty() { artifact } else { artifact.with("artifactType", json!(artifact_type)) }
    }

    /// The entry of one of BuildKit's attestation manifests for the platform of another entry.
    pub(crate) fn attestation(&self, of: &Value, statements: &[(&str, &str)]) -> Value {
        let mut artifact = self.artifact("");
        for (predicate, text) in statements {
            artifact = artifact.layer(IN_TOTO, text, &[("in-toto.io/predicate-type", predicate)]);
        }
        let mut entry = artifact.entry();
        entry["platform"] = json!({"os": "unknown", "architecture": "unknown"});
        let entry = annotate(entry, "vnd.docker.reference.type", "attestation-manifest");
        annotate(entry, "vnd.docker.reference.digest", of["digest"].as_str().unwrap())
    }
}

impl Artifact<'_> {
    /// Sets a member.
    pub(crate) fn with(mut self, name: &str, value: Value) -> Self {
        self.document[name] = value;
        self
    }

    /// Says which manifest or index it speaks of.
    pub(crate) fn of(self, subject: &Value) -> Self {
        let bare =
            json!({"mediaType": subject["mediaType"], "digest": subject["digest"], "size": subject["size"]});
        self.with("subject", bare)
    }

    /// Adds a layer with annotations.
    pub(crate) fn layer(mut self, media_type: &str, content: &str, annotations: &[(&str, &str)]) -> Self {
        let mut descriptor = self.layout.blob(content).descriptor(media_type);
        for (key, value) in annotations {
            descriptor = annotate(descriptor, key, value);
        }
        self.document["layers"].as_array_mut().unwrap().push(descriptor);
        self
    }

    /// Adds a file, as oras does.
    pub(crate) fn file(self, title: &str, content: &str) -> Self {
        self.layer("application/octet-stream", content, &[("org.opencontainers.image.title", title)])
    }

    /// Stores the manifest.
    pub(crate) fn store(self) -> Blob {
        self.layout.json(&self.document)
    }

    /// Stores the manifest, and returns its entry as an index lists it.
    pub(crate) fn entry(self) -> Value {
        let artifact_type = self.document.get("artifactType").cloned();
        let mut entry = self.store().descriptor(media::MANIFEST);
        if let Some(artifact_type) = artifact_type {
            entry["artifactType"] = artifact_type;
        }
        entry
    }
}

/// The tag that stands for the referrers of an entry's manifest.
pub(crate) fn tag_of(entry: &Value) -> String {
    entry["digest"].as_str().unwrap().replace(':', "-")
}

/// The first 12 hex digits of an entry's digest.
pub(crate) fn short(entry: &Value) -> &str {
    &entry["digest"].as_str().unwrap()[7..19]
}
