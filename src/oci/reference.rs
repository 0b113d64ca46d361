//! Names of images inside a layout: the annotations that carry them.

use super::{Annotations, Digest};

/// containerd's and docker's full name of an image.
pub const ANNOTATION_CONTAINERD_NAME: &str = "io.containerd.image.name";
/// The specification's own reference name (annotations.md); often only a tag.
pub const ANNOTATION_REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The file name of an artifact's layer (annotations.md, as oras uses it).
pub const ANNOTATION_TITLE: &str = "org.opencontainers.image.title";

/// Returns the name an entry of index.json carries.
///
/// containerd's goes first: docker save writes ten images that are all `latest` by their reference name.
pub fn image_name(annotations: &Annotations) -> Option<&str> {
    annotations.get(ANNOTATION_CONTAINERD_NAME).or_else(|| annotations.get(ANNOTATION_REF_NAME))
}

/// What cosign adds to the tag that [`referrers_tag`] makes: signatures, attestations, SBOMs.
pub const REFERRER_SUFFIXES: [&str; 3] = ["sig", "att", "sbom"];

/// Returns the tag under which a list of referrers stands where nobody can be asked for them (distribution
/// specification, "Referrers Tag Schema"): at most 32 characters of the algorithm and 64 of the rest.
pub fn referrers_tag(subject: &Digest) -> String {
    // A digest is ASCII.
    format!("{:.32}-{:.64}", subject.algorithm_name(), subject.encoded())
}
