//! What the user calls a source: a path, or a transport name and a path.

use std::path::{Path, PathBuf};

use anyhow::bail;

use crate::source::Kind;

/// A source as given on the command line.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Location {
    /// Where it is.
    pub(super) path: PathBuf,
    /// What it was said to be.
    pub(super) kind: Kind,
    /// Whether `path` is no path but a reference to an image in a registry.
    pub(super) in_registry: bool,
    /// The image's name in it, where one was given.
    pub(super) image: Option<String>,
}

impl Location {
    /// Returns what mount(8) is to show for the source that was given as `text`: a path in full, as people look it up
    /// from elsewhere.
    pub(super) fn shown(&self, text: &str) -> String {
        let is_path = self.kind == Kind::Any && !self.in_registry;
        let full =
            is_path.then(|| std::path::absolute(text).ok()?.into_os_string().into_string().ok()).flatten();
        full.unwrap_or_else(|| text.to_owned())
    }
}

/// Reads `PATH`, `oci:DIR[:NAME]`, `oci-archive:FILE[:NAME]`, `docker-archive:FILE[:NAME|:@NUMBER]` or
/// `docker://HOST/NAME[:TAG|@DIGEST]`.
///
/// As skopeo does, the name begins at the first colon; unlike there, a path with colons in it is taken as it is when
/// it exists.
pub(super) fn parse(text: &str) -> anyhow::Result<Location> {
    let exists = |path: &str| Path::new(path).symlink_metadata().is_ok();
    let location = |path: &str, kind| Location { path: path.into(), kind, in_registry: false, image: None };
    let bare = || location(text, Kind::Any);
    let Some((transport, rest)) = text.split_once(':').filter(|_| !exists(text)) else { return Ok(bare()) };
    let kind = match transport {
        "oci" => Kind::LayoutDir,
        "oci-archive" => Kind::LayoutTar,
        "docker-archive" => Kind::DockerArchive(None),
        "docker" => return Ok(Location { in_registry: true, ..location(rest, Kind::Any) }),
        "docker-daemon" => bail!(
            "{text}: ocifs does not ask the Docker daemon; save the image with `docker save -o image.tar {rest}` \
             and mount image.tar"
        ),
        "containers-storage" => bail!(
            "{text}: ocifs does not read podman's storage; save the image with \
             `podman save --format oci-archive -o image.tar {rest}` and mount image.tar"
        ),
        "dir" => bail!(
            "{text}: `dir:` directories are no layouts; turn it into one with `skopeo copy {text} oci:LAYOUT:NAME` \
             and mount LAYOUT"
        ),
        _ => return Ok(bare()),
    };
    let (path, image) = match rest.split_once(':') {
        Some((path, image)) if !exists(rest) => (path, Some(image)),
        _ => (rest, None),
    };
    // An image of manifest.json may have many names in the layout that is made of it, or none: it is chosen there.
    if let (Kind::DockerArchive(_), Some(number)) = (kind, image.and_then(number)) {
        return Ok(location(path, Kind::DockerArchive(Some(number))));
    }
    Ok(Location { image: image.map(str::to_owned), ..location(path, kind) })
}

/// Reads `@NUMBER`, which counts images in the order of the source, from 0.
pub(super) fn number(image: &str) -> Option<usize> {
    image.strip_prefix('@').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations() {
        let docker = Kind::DockerArchive;
        for (text, path, kind, image) in [
            ("/a/b", "/a/b", Kind::Any, None),
            ("a:b", "a:b", Kind::Any, None),
            ("oci:/a", "/a", Kind::LayoutDir, None),
            ("oci:/a:v1", "/a", Kind::LayoutDir, Some("v1")),
            ("oci:/a:foo/bar:1.2", "/a", Kind::LayoutDir, Some("foo/bar:1.2")),
            ("oci:a:", "a", Kind::LayoutDir, Some("")),
            ("oci:a:@1", "a", Kind::LayoutDir, Some("@1")),
            ("oci-archive:/a.tar", "/a.tar", Kind::LayoutTar, None),
            ("oci-archive:/a.tar:v1", "/a.tar", Kind::LayoutTar, Some("v1")),
            ("docker-archive:/a.tar", "/a.tar", docker(None), None),
            ("docker-archive:/a.tar:x/y:1", "/a.tar", docker(None), Some("x/y:1")),
            ("docker-archive:/a.tar:@2", "/a.tar", docker(Some(2)), None),
            ("docker-archive:/a.tar:@", "/a.tar", docker(None), Some("@")),
            ("docker-archive:/a.tar:@+1", "/a.tar", docker(None), Some("@+1")),
        ] {
            let got = parse(text).unwrap();
            let image = image.map(str::to_owned);
            let expected = Location { path: path.into(), kind, in_registry: false, image };
            assert_eq!(got, expected, "{text}");
        }
        assert!(parse("docker://host/name").unwrap().in_registry);
        for text in ["docker-daemon:x:1", "dir:/a"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
