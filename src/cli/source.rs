//! What the user calls a source: a path, or a transport name and a path.

use std::path::{Path, PathBuf};

/// A source as given on the command line.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Location {
    /// Where it is.
    pub(super) path: PathBuf,
    /// The image's name in it, where one was given.
    pub(super) image: Option<String>,
}

/// Reads `DIR` or `oci:DIR[:NAME]`.
///
/// As skopeo does, the name begins at the first colon; unlike there, a path with colons in it is taken as it is when
/// it exists.
pub(super) fn parse(text: &str) -> anyhow::Result<Location> {
    let exists = |path: &str| Path::new(path).symlink_metadata().is_ok();
    let Some(rest) = text.strip_prefix("oci:").filter(|_| !exists(text)) else {
        if let Some((transport, _)) = text.split_once(':')
            && ["oci-archive", "docker-archive", "docker", "docker-daemon", "containers-storage", "dir"]
                .contains(&transport)
            && !exists(text)
        {
            anyhow::bail!(
                "{text}: `{transport}:` is no source of this version, which mounts OCI layout directories"
            );
        }
        return Ok(Location { path: text.into(), image: None });
    };
    if exists(rest) {
        return Ok(Location { path: rest.into(), image: None });
    }
    Ok(match rest.split_once(':') {
        Some((path, name)) => Location { path: path.into(), image: Some(name.to_owned()) },
        None => Location { path: rest.into(), image: None },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations() {
        for (text, path, image) in [
            ("/a/b", "/a/b", None),
            ("a:b", "a:b", None),
            ("oci:/a", "/a", None),
            ("oci:/a:v1", "/a", Some("v1")),
            ("oci:/a:foo/bar:1.2", "/a", Some("foo/bar:1.2")),
            ("oci:a:", "a", Some("")),
        ] {
            let got = parse(text).unwrap();
            assert_eq!((got.path.to_str().unwrap(), got.image.as_deref()), (path, image), "{text}");
        }
        assert!(parse("docker://host/name").is_err());
    }
}
