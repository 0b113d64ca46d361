//! What speaks of an image: attestations, signatures, SBOMs, as far as the source's own indexes show them.

use std::collections::HashMap;

use super::{Artifact, Survey};
use crate::oci::{Digest, image_name};

/// The manifest that BuildKit's attestations are about.
const ANNOTATION_REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

/// What a layer of an attestation states, as a URI.
const ANNOTATION_PREDICATE: &str = "in-toto.io/predicate-type";

/// Something that speaks of a manifest or an index.
#[derive(Clone, Debug)]
pub struct Referrer {
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
    /// By its `subject` member.
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

/// Puts what refers to something beside what it refers to.
pub(super) fn attach(survey: &mut Survey) {
    let mut all: HashMap<Digest, Vec<Referrer>> = HashMap::new();
    for referrer in survey.artifacts.iter().flat_map(of) {
        all.entry(referrer.subject.clone()).or_default().push(referrer);
    }
    for image in &mut survey.images {
        let own: Vec<Referrer> = image.attestations.iter().flat_map(of).collect();
        let of_subject = |digest: &Digest| -> Vec<Referrer> {
            let own = own.iter().filter(|r| r.subject == *digest);
            own.chain(all.get(digest).into_iter().flatten()).cloned().collect()
        };
        for platform in &mut image.platforms {
            platform.referrers = of_subject(&platform.entry.descriptor.digest);
        }
        image.referrers = image.indexes.iter().flat_map(|e| of_subject(&e.descriptor.digest)).collect();
    }
}

/// Returns what an artifact says it speaks of, in each way it does.
fn of(artifact: &Artifact) -> Vec<Referrer> {
    let d = &artifact.entry.descriptor;
    let layers = || artifact.manifest.iter().flat_map(|m| m.layers.iter().flatten());
    let referrer = |how, kind: &str, subject: Digest| Referrer {
        how,
        kind: kind.to_owned(),
        digest: d.digest.clone(),
        size: d.size,
        predicates: layers().filter_map(|l| l.annotations.get(ANNOTATION_PREDICATE).cloned()).collect(),
        subject,
    };
    let mut found = Vec::new();
    let about = d.annotations.get(ANNOTATION_REFERENCE_DIGEST).and_then(|text| Digest::parse(text).ok());
    found.extend(about.map(|subject| referrer(How::Attestation, "in-toto", subject)));
    let subject = artifact.manifest.as_ref().ok().and_then(|m| m.subject.as_ref());
    // BuildKit's newer attestations say it twice.
    let subject = subject.filter(|s| found.iter().all(|r| r.subject != s.digest));
    found.extend(subject.map(|s| referrer(How::Subject, artifact.kind(), s.digest.clone())));
    let names = artifact.names.iter().map(String::as_str).chain(image_name(&d.annotations));
    if let Some((kind, subject)) = names.filter_map(by_tag).next() {
        found.push(referrer(How::Tag, kind, subject));
    }
    found
}

/// Reads `…sha256-<hex>.<ending>`.
fn by_tag(name: &str) -> Option<(&'static str, Digest)> {
    let tag = name.rsplit(['/', ':']).next()?;
    let (digest, ending) = tag.rsplit_once('.')?;
    let kind = match ending {
        "sig" => "signature",
        "att" => "attestation",
        "sbom" => "SBOM",
        _ => return None,
    };
    Some((kind, Digest::parse(&digest.replacen('-', ":", 1)).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_cosign() {
        let hex = "ab".repeat(32);
        for (name, kind) in [
            (format!("sha256-{hex}.sig"), Some("signature")),
            (format!("example.com/app:sha256-{hex}.att"), Some("attestation")),
            (format!("sha256-{hex}.sbom"), Some("SBOM")),
            (format!("sha256-{hex}"), None),
            (format!("sha256-{hex}.exe"), None),
            ("sha256-ab.sig".to_owned(), None),
            ("v1.sig".to_owned(), None),
        ] {
            let got = by_tag(&name);
            assert_eq!(got.as_ref().map(|(kind, _)| *kind), kind, "{name}");
            assert!(got.is_none_or(|(_, digest)| digest.encoded() == hex));
        }
    }
}
