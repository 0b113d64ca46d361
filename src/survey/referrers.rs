//! What speaks of an image: attestations, signatures, SBOMs. What a mount shows in `attestations/` and `referrers/`.

use std::collections::HashSet;
use std::sync::Arc;

use crate::image::{Catalog, Entry, ImageError, ReferrerKind, predicate};
use crate::oci::{Digest, Manifest};
use crate::problems::Problem;

/// Something that speaks of a manifest or an index.
#[derive(Clone, Debug)]
pub struct ReferrerReport {
    /// How it says so.
    pub how: How,
    /// What it is: an artifact type, a media type, or the ending of a tag.
    pub kind: String,
    /// Its manifest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What it states, for attestations: predicate types, in the order of its layers.
    pub predicates: Vec<String>,
    /// What it speaks of.
    pub subject: Digest,
}

/// How a manifest says what it speaks of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// By the annotations of its entry in the index, as BuildKit has it.
    Attestation,
    /// By its `subject` member, or in a list that a registry or a tag gives of those that do.
    Subject,
    /// By its tag, `sha256-<hex>.sig`, `.att` or `.sbom`, as cosign has it.
    Tag,
}

impl How {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attestation => "attestation",
            Self::Subject => "subject",
            Self::Tag => "tag",
        }
    }
}

/// Returns what speaks of a manifest or index, each once: BuildKit's statements first, `attestations` before others', by
/// digest otherwise. Of a registry this asks for them, and for their manifests.
pub(super) fn of(catalog: &Catalog, subject: &Digest, attestations: &[Arc<Entry>]) -> Vec<ReferrerReport> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    let failed = |e: &ImageError| catalog.problems().add(&Problem::new(format!("referrers of {subject}"), e));
    let elsewhere = catalog.attestations(subject).inspect_err(failed).unwrap_or_default();
    for entry in attestations.iter().chain(&elsewhere) {
        if seen.insert(entry.descriptor.digest.clone()) {
            found.push(referrer(catalog, entry, How::Attestation, "in-toto", subject));
        }
    }
    let mut others = catalog.referrers(subject).inspect_err(failed).unwrap_or_default().to_vec();
    others.sort_by(|a, b| a.entry.descriptor.digest.cmp(&b.entry.descriptor.digest));
    for other in others {
        if seen.insert(other.entry.descriptor.digest.clone()) {
            let (how, kind) = match &other.kind {
                ReferrerKind::Type(text) => (How::Subject, text.as_str()),
                ReferrerKind::Cosign("sig") => (How::Tag, "signature"),
                ReferrerKind::Cosign("att") => (How::Tag, "attestation"),
                ReferrerKind::Cosign("sbom") => (How::Tag, "SBOM"),
                ReferrerKind::Cosign(suffix) => (How::Tag, *suffix),
            };
            found.push(referrer(catalog, &other.entry, how, kind, subject));
        }
    }
    found
}

fn referrer(catalog: &Catalog, entry: &Entry, how: How, kind: &str, subject: &Digest) -> ReferrerReport {
    let d = &entry.descriptor;
    let manifest = catalog.manifest(d).ok();
    let predicates = |m: &Manifest| -> Vec<String> {
        m.layers.iter().flatten().filter_map(|layer| predicate(layer, m, d)).map(str::to_owned).collect()
    };
    let kind = match kind {
        "" => manifest.as_ref().map(|m| m.kind().to_owned()).unwrap_or_default(),
        kind => kind.to_owned(),
    };
    ReferrerReport {
        how,
        kind,
        digest: d.digest.clone(),
        size: d.size,
        predicates: manifest.as_ref().map(predicates).unwrap_or_default(),
        subject: subject.clone(),
    }
}
