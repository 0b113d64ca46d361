//! Every name that can appear in the mount, and how text from an image becomes one. All functions are injective.

use std::collections::HashSet;
use std::fmt::Write as _;

use crate::image::{Group, ReferrerKind};
use crate::oci::{Digest, Platform};

pub(super) const OCI_LAYOUT: &str = "oci-layout";
pub(super) const INDEX: &str = "index.json";
pub(super) const BLOBS: &str = "blobs";
pub(super) const PLATFORMS: &str = "platforms";
pub(super) const IMAGES: &str = "images";
pub(super) const ARTIFACTS: &str = "artifacts";
pub(super) const IMAGE_INDEX: &str = "image-index.json";
pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const CONFIG: &str = "config.json";
pub(super) const DESCRIPTOR: &str = "descriptor.json";
pub(super) const DIGEST: &str = "digest";
pub(super) const IMAGE_ID: &str = "image-id";
pub(super) const LAYERS: &str = "layers";
pub(super) const DIFFS: &str = "diffs";
pub(super) const ROOTFS: &str = "rootfs";
pub(super) const AT: &str = "at";
pub(super) const DELETED: &str = "deleted";
pub(super) const PRETTY: &str = "pretty";
pub(super) const HISTORY: &str = "history";
pub(super) const FILES: &str = "files";
pub(super) const BLOB: &str = "blob";
pub(super) const ATTESTATIONS: &str = "attestations";
pub(super) const REFERRERS: &str = "referrers";
pub(super) const HIDDEN: &str = ".ocifs";
pub(super) const PROBLEMS: &str = "problems";
pub(super) const STATS: &str = "stats";

/// Longest name of one path component, in bytes (`NAME_MAX`).
const NAME_MAX: usize = 255;

/// Longest name that makes directories, in bytes; a longer one is one component. A path in the mount should be one that
/// the system takes, and that stops at 4,096 bytes.
const PATH_MAX: usize = 1_000;

/// What is kept of a component that is too long; its hash follows.
const LONG_PREFIX: usize = 180;

/// Escapes what cannot stand in one path component, with `%` and two hex digits. Injective: `%` is always escaped.
///
/// The empty text becomes `%`, which no other text does; one that is too long ends in `%~` and its hash.
pub(super) fn component(text: &str, also: &[char]) -> String {
    if text.is_empty() {
        return "%".to_owned();
    }
    let dots = text == "." || text == "..";
    let cannot_stand =
        |c: char| matches!(c, '%' | '/') || c.is_ascii_control() || (dots && c == '.') || also.contains(&c);
    let mut name = String::with_capacity(text.len());
    let mut left = text;
    while let Some(at) = left.find(cannot_stand) {
        let (before, from) = left.split_at(at);
        let c = from.chars().next().expect("it was found");
        write!(name, "{before}%{:02X}", c as u32).expect("a string takes everything");
        left = &from[c.len_utf8()..];
    }
    name.push_str(left);
    if name.len() <= NAME_MAX {
        return name;
    }
    shortened(&name, text, LONG_PREFIX + 34)
}

/// Returns the directories of a platform's name: `os-architecture[-variant][-os.version]`, normalised.
pub(super) fn platform(platform: &Platform) -> String {
    let p = platform.normalized();
    let parts = [&p.os, &p.architecture, &p.variant, &p.os_version];
    let text: Vec<&str> = parts.into_iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    match text.is_empty() {
        true => "unknown".to_owned(),
        // `@` separates the digest that tells two of one name apart.
        false => component(&text.join("-"), &['@']),
    }
}

/// Tells several of one name apart: by the beginning of the digest, else all of it, else its hash, algorithm and all.
pub(super) fn with_digest(name: &str, digest: &Digest, is_taken: impl Fn(&str) -> bool) -> String {
    /// Room for `@` and a hash.
    const MOST: usize = NAME_MAX - 65;
    let name = if name.len() > MOST { &shortened(name, name, MOST) } else { name };
    let fits = |name: &String| name.len() <= NAME_MAX && !is_taken(name);
    [digest.short(), digest.encoded()]
        .map(|digest| format!("{name}@{digest}"))
        .into_iter()
        .find(fits)
        .unwrap_or_else(|| format!("{name}@{}", blake3::hash(digest.as_str().as_bytes()).to_hex()))
}

/// Names an entry of an index by its digest.
pub(super) fn entry(digest: &Digest) -> String {
    component(&format!("{}-{}", digest.algorithm_name(), digest.encoded()), &[])
}

/// Turns the names of a source's images into paths below `images/` and `artifacts/`.
///
/// A slash makes directories, unless a name's beginning is itself a name: then the longer one is escaped whole, so that
/// no image stands inside another.
pub(super) struct ImagePaths<'a> {
    names: HashSet<&'a str>,
}

impl<'a> ImagePaths<'a> {
    /// Takes all names of the source.
    pub(super) fn new(names: impl Iterator<Item = &'a str>) -> Self {
        Self { names: names.collect() }
    }

    /// Takes the names of all groups of the source.
    pub(super) fn of_groups(groups: &'a [Group]) -> Self {
        Self::new(groups.iter().filter_map(|group| group.name.as_deref()))
    }

    /// Returns the path of a group, which its first entry names where it has no name.
    pub(super) fn group(&self, group: &Group) -> Vec<String> {
        self.path(group.name.as_deref(), &group.entries[0].descriptor.digest)
    }

    /// Returns the path of the image of this name; `digest` names it where it has none.
    pub(super) fn path(&self, name: Option<&str>, digest: &Digest) -> Vec<String> {
        let Some(name) = name else { return vec![self.unnamed(digest)] };
        // Its length first: each beginning of it is hashed.
        let is_one =
            name.len() > PATH_MAX || name.match_indices('/').any(|(at, _)| self.names.contains(&name[..at]));
        match is_one {
            true => vec![component(name, &[])],
            false => name.split('/').map(|part| component(part, &[])).collect(),
        }
    }

    fn unnamed(&self, digest: &Digest) -> String {
        let name = entry(digest);
        // Referrers' fallback tags are names of this very form. An escape is never empty, so no name ends in `%`.
        match self.names.contains(name.as_str()) {
            true => format!("{name}%"),
            false => name,
        }
    }
}

/// What an attestation is called by the type of its predicate, in any version of it; injective beyond these.
const PREDICATES: [(&str, &str); 3] = [
    ("https://spdx.dev/Document", "spdx"),
    ("https://slsa.dev/provenance", "provenance"),
    ("https://cyclonedx.org/bom", "cyclonedx"),
];

/// What an attestation is called of whose predicate nothing is said, and a manifest of attestations that cannot be read.
pub(super) const IN_TOTO: &str = "in-toto";
pub(super) const DSSE: &str = "dsse";
pub(super) const BUNDLE: &str = "sigstore-bundle";
pub(super) const ATTESTATION_MANIFEST: &str = "attestation-manifest";

/// Longest such name: there is room for a number and `.json` behind it.
const LONGEST_KIND: usize = 200;

/// Returns what an attestation is called by the type of its predicate, without `.json`.
///
/// Other types than the known ones are their URL: without `https://`, and with `+` for each slash. A text without
/// `https://` begins with `=`. `+`, `=` and `@` themselves are escaped, and one that comes out as a word of ours gets a
/// `%`, which ends no escape.
pub(super) fn predicate(text: &str) -> String {
    for (prefix, name) in PREDICATES {
        if text.strip_prefix(prefix).is_some_and(|version| version.is_empty() || version.starts_with('/')) {
            return name.to_owned();
        }
    }
    let (mark, rest) = text.strip_prefix("https://").map_or(("=", text), |rest| ("", rest));
    let parts: Vec<String> = rest
        .split('/')
        .map(|part| match part {
            "" => String::new(),
            part => component(part, &['+', '=', '@']),
        })
        .collect();
    let name = format!("{mark}{}", parts.join("+"));
    let ours = [IN_TOTO, DSSE, BUNDLE, ATTESTATION_MANIFEST];
    let is_ours = PREDICATES.iter().any(|(_, known)| *known == name) || ours.contains(&name.as_str());
    if name.is_empty() {
        "%".to_owned()
    } else if is_ours {
        format!("{name}%")
    } else if name.len() > LONGEST_KIND {
        shortened(&name, text, LONGEST_KIND)
    } else {
        name
    }
}

/// Returns the file of the attestation that is the `number`th of its kind, counted from 1.
pub(super) fn attestation(kind: &str, number: usize) -> String {
    match number {
        ..=1 => format!("{kind}.json"),
        _ => format!("{kind}@{number}.json"),
    }
}

/// Returns the directory of a referrer: what it is, `@`, and the beginning of its digest, or all of it where that is
/// taken.
///
/// A type stands without `application/`, and with `_` for a slash; the digest tells two apart in any case.
pub(super) fn referrer(kind: &ReferrerKind, digest: &Digest, taken: &HashSet<String>) -> String {
    let kind = match kind {
        ReferrerKind::Cosign(suffix) => format!("cosign.{suffix}"),
        ReferrerKind::Type(text) if text.is_empty() => "manifest".to_owned(),
        ReferrerKind::Type(text) => {
            let text = text.strip_prefix("application/").unwrap_or(text);
            component(text, &['@', '_']).replace("%2F", "_")
        }
    };
    with_digest(&kind, digest, |name| taken.contains(name))
}

/// Cuts an escaped name, and adds the hash of what it stands for.
fn shortened(name: &str, text: &str, length: usize) -> String {
    let mut cut = length.saturating_sub(34);
    while !name.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{}%~{}", &name[..cut], &blake3::hash(text.as_bytes()).to_hex()[..32])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> Digest {
        Digest::parse(&format!("sha256:{}", "ab".repeat(32))).unwrap()
    }

    #[test]
    fn components() {
        for (text, name) in [
            ("v1", "v1"),
            ("", "%"),
            (".", "%2E"),
            ("..", "%2E%2E"),
            ("...", "..."),
            (".hidden", ".hidden"),
            ("a b", "a b"),
            ("100%", "100%25"),
            ("%2E", "%252E"),
            ("a\nb", "a%0Ab"),
            ("grüße", "grüße"),
        ] {
            assert_eq!(component(text, &[]), name, "{text:?}");
        }
        let long = component(&"ü".repeat(300), &[]);
        assert!(long.len() <= NAME_MAX && long != component(&"ü".repeat(301), &[]), "{long}");
    }

    #[test]
    fn platforms() {
        let named = |os: &str, architecture: &str, variant: &str, version: &str| {
            platform(&Platform {
                os: os.into(),
                architecture: architecture.into(),
                variant: variant.into(),
                os_version: version.into(),
            })
        };
        for (name, want) in [
            (named("linux", "amd64", "", ""), "linux-amd64"),
            (named("linux", "arm64", "v8", ""), "linux-arm64"),
            (named("linux", "arm", "", ""), "linux-arm-v7"),
            (named("linux", "arm", "v5", ""), "linux-arm-v5"),
            (named("windows", "amd64", "", "10.0.17763.1234"), "windows-amd64-10.0.17763.1234"),
            (named("", "", "", ""), "unknown"),
            (named("linux", "", "", ""), "linux"),
            (named("a/b", "c@d", "", ""), "a%2Fb-c%40d"),
            (named("..", "", "", ""), "%2E%2E"),
        ] {
            assert_eq!(name, want);
        }
    }

    #[test]
    fn slashes_make_directories_but_no_image_stands_in_another() {
        let names = ["docker.io/library/web:v1", "a", "a/b", "a/b/c", "/x", "x//y", "..", ""];
        let paths = ImagePaths::new(names.into_iter());
        let got = names.map(|name| paths.path(Some(name), &digest()).join("/"));
        assert_eq!(
            got,
            ["docker.io/library/web:v1", "a", "a%2Fb", "a%2Fb%2Fc", "%2Fx", "x/%/y", "%2E%2E", "%"]
        );
        // Its length is looked at before its beginnings, of which there are as many as slashes.
        let deep = "d/".repeat(3_000_000);
        let [only] = &paths.path(Some(&deep), &digest())[..] else { panic!("no directories") };
        assert!(only.len() <= NAME_MAX);
        let unique: HashSet<&String> = got.iter().collect();
        assert_eq!(unique.len(), got.len());
    }

    #[test]
    fn predicates() {
        for (text, name) in [
            ("https://spdx.dev/Document", "spdx"),
            ("https://spdx.dev/Document/v2.3", "spdx"),
            ("https://spdx.dev/Documents", "spdx.dev+Documents"),
            ("https://slsa.dev/provenance/v0.2", "provenance"),
            ("https://slsa.dev/provenance/v1", "provenance"),
            ("https://slsa.dev/verification_summary/v1", "slsa.dev+verification_summary+v1"),
            ("https://cyclonedx.org/bom/v1.4", "cyclonedx"),
            ("https://in-toto.io/attestation/vulns/v0.1", "in-toto.io+attestation+vulns+v0.1"),
            ("https://in-toto.io+attestation", "in-toto.io%2Battestation"),
            ("https://a//b/", "a++b+"),
            ("https://../..", "%2E%2E+%2E%2E"),
            ("https://spdx", "spdx%"),
            ("spdx", "=spdx"),
            ("https://=spdx", "%3Dspdx"),
            ("https://dsse", "dsse%"),
            ("https://", "%"),
            ("", "="),
            ("http://a/b", "=http:++a+b"),
            ("cosign.sigstore.dev/attestation/v1", "=cosign.sigstore.dev+attestation+v1"),
            ("https://spdx@2", "spdx%402"),
        ] {
            assert_eq!(predicate(text), name, "{text}");
        }
        let long = |n: usize| attestation(&predicate(&format!("https://{}", "ü/".repeat(n))), usize::MAX);
        assert!(long(300).len() <= NAME_MAX && long(300) != long(301), "{}", long(300));
        assert_eq!([1, 2, 3].map(|n| attestation("spdx", n)), ["spdx.json", "spdx@2.json", "spdx@3.json"]);
    }

    #[test]
    fn referrers() {
        let mut taken = HashSet::new();
        let typed = |text: &str| ReferrerKind::Type(text.to_owned());
        for (kind, name) in [
            (ReferrerKind::Cosign("sig"), "cosign.sig@abababababab".to_owned()),
            (typed(""), "manifest@abababababab".to_owned()),
            (typed("application/spdx+json"), "spdx+json@abababababab".to_owned()),
            (typed("text/spdx"), "text_spdx@abababababab".to_owned()),
            (typed("../.._x@y"), ".._..%5Fx%40y@abababababab".to_owned()),
            (typed("application/spdx+json"), format!("spdx+json@{}", "ab".repeat(32))),
            (typed("application/spdx+json"), {
                format!("spdx+json@{}", blake3::hash(digest().as_str().as_bytes()).to_hex())
            }),
        ] {
            let got = referrer(&kind, &digest(), &taken);
            assert_eq!(got, name);
            taken.insert(got);
        }
        let long = Digest::parse(&format!("x:{}", "y".repeat(250))).unwrap();
        let taken = HashSet::from([referrer(&typed(&"z".repeat(900)), &long, &HashSet::new())]);
        let name = referrer(&typed(&"z".repeat(900)), &long, &taken);
        assert!(name.len() <= NAME_MAX && !taken.contains(&name), "{name}");
    }

    #[test]
    fn names_of_several_differ_and_fit() {
        let mut taken = HashSet::new();
        let long = "y".repeat(240);
        let digests = ["a", "b", "c"].map(|algorithm| Digest::parse(&format!("{algorithm}:{long}")).unwrap());
        for name in ["linux-amd64", &"n".repeat(NAME_MAX)] {
            for digest in &digests {
                let name = with_digest(name, digest, |name| taken.contains(name));
                assert!(name.len() <= NAME_MAX && taken.insert(name.clone()), "{name}");
            }
        }
    }

    #[test]
    fn an_unnamed_image_does_not_take_a_name() {
        let hex = format!("sha256-{}", "ab".repeat(32));
        assert_eq!(ImagePaths::new(std::iter::empty()).path(None, &digest()), std::slice::from_ref(&hex));
        assert_eq!(ImagePaths::new(std::iter::once(hex.as_str())).path(None, &digest()), [format!("{hex}%")]);
    }
}
