//! Every name that can appear in the mount, and how text from an image becomes one. All functions are injective.

use std::collections::HashSet;
use std::fmt::Write as _;

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
    let mut name = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '%' || c == '/' || c.is_ascii_control() || (dots && c == '.') || also.contains(&c) {
            write!(name, "%{:02X}", c as u32).expect("a string takes everything");
        } else {
            name.push(c);
        }
    }
    if name.len() <= NAME_MAX {
        return name;
    }
    let mut cut = LONG_PREFIX;
    while !name.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{}%~{}", &name[..cut], &blake3::hash(text.as_bytes()).to_hex()[..32])
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

/// Tells two platforms of one name apart.
pub(super) fn with_digest(name: &str, digest: &Digest, taken: &HashSet<String>) -> String {
    let short = format!("{name}@{}", digest.short());
    match taken.contains(&short) {
        true => format!("{name}@{}", digest.encoded()),
        false => short,
    }
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

    /// Returns the path of the image of this name; `digest` names it where it has none.
    pub(super) fn path(&self, name: Option<&str>, digest: &Digest) -> Vec<String> {
        let Some(name) = name else { return vec![self.unnamed(digest)] };
        let inside = name.match_indices('/').any(|(at, _)| self.names.contains(&name[..at]));
        match inside || name.len() > PATH_MAX {
            true => vec![component(name, &[])],
            false => name.split('/').map(|part| component(part, &[])).collect(),
        }
    }

    fn unnamed(&self, digest: &Digest) -> String {
        let name = component(&format!("{}-{}", digest.algorithm_name(), digest.encoded()), &[]);
        // Referrers' fallback tags are names of this very form. An escape is never empty, so no name ends in `%`.
        match self.names.contains(name.as_str()) {
            true => format!("{name}%"),
            false => name,
        }
    }
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
        let deep = "d/".repeat(3_000);
        let [only] = &paths.path(Some(&deep), &digest())[..] else { panic!("no directories") };
        assert!(only.len() <= NAME_MAX);
        let unique: HashSet<&String> = got.iter().collect();
        assert_eq!(unique.len(), got.len());
    }

    #[test]
    fn an_unnamed_image_does_not_take_a_name() {
        let hex = format!("sha256-{}", "ab".repeat(32));
        assert_eq!(ImagePaths::new(std::iter::empty()).path(None, &digest()), std::slice::from_ref(&hex));
        assert_eq!(ImagePaths::new(std::iter::once(hex.as_str())).path(None, &digest()), [format!("{hex}%")]);
    }
}
