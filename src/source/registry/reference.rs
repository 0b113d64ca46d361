//! What the user calls an image in a registry: `HOST[:PORT]/NAME[:TAG][@DIGEST]`.

use std::fmt;

use crate::oci::Digest;

/// The tag of a reference that has neither tag nor digest.
const DEFAULT_TAG: &str = "latest";

/// Longest repository name (distribution specification, "Pulling manifests").
const MAX_NAME: usize = 255;

/// Longest tag (distribution specification).
const MAX_TAG: usize = 128;

/// The registry that a name without a host means, as users of docker and podman expect.
const DOCKER_HUB: &str = "docker.io";

/// A reference to an image: where, which repository, and which of its manifests.
///
/// Every part is checked, so that it can stand in a URL as it is. [`Reference::parse`] is the only way in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reference {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a reference to an image: {what}; want docker://HOST[:PORT]/NAME[:TAG|@DIGEST]")]
pub struct ReferenceError {
    text: String,
    what: String,
}

impl Reference {
    /// Parses a reference, with or without the `//` that stands before it after `docker:`.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let bad = |what: &str| ReferenceError { text: text.to_owned(), what: what.to_owned() };
        let rest = text.strip_prefix("//").unwrap_or(text);
        let (rest, digest) = match rest.split_once('@') {
            None => (rest, None),
            Some((rest, digest)) => (rest, Some(Digest::parse(digest).map_err(|e| bad(&e.to_string()))?)),
        };
        let (host, path) = match rest.split_once('/') {
            Some((host, path)) if is_host(host) => (host, path),
            _ => (DOCKER_HUB, rest),
        };
        let (name, tag) = match path.split_once(':') {
            None => (path, None),
            Some((name, tag)) => (name, Some(tag)),
        };
        if !host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b)) {
            return Err(bad("its host has characters that no host has"));
        }
        if name.len() > MAX_NAME || !name.split('/').all(is_component) {
            return Err(bad("its name must be of lower-case letters and digits, with . _ - between them"));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(bad("its tag must be of letters, digits and . _ -"));
        }
        let hub = [DOCKER_HUB, "index.docker.io", "registry-1.docker.io"].contains(&host);
        let tag = tag.map(str::to_owned);
        Ok(Self {
            host: if hub { DOCKER_HUB } else { host }.to_owned(),
            repository: if hub && !name.contains('/') { format!("library/{name}") } else { name.to_owned() },
            tag: if digest.is_none() { tag.or_else(|| Some(DEFAULT_TAG.to_owned())) } else { tag },
            digest,
        })
    }

    /// Returns the host, with its port where one was given, as the user calls it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the host to ask, with its port where one was given.
    pub fn api_host(&self) -> &str {
        if self.host == DOCKER_HUB { "registry-1.docker.io" } else { &self.host }
    }

    /// Returns the repository's name.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Returns the tag; there is one where there is no digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest, which goes before the tag.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Says whether this is Docker Hub, whose credentials have a name of their own.
    pub(super) fn is_docker_hub(&self) -> bool {
        self.host == DOCKER_HUB
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "docker://{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

/// Says whether `host[:port]` is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    match bare.parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => bare == "localhost" || bare.ends_with(".localhost"),
    }
}

/// The first component is a host when it looks like one, as docker has it.
fn is_host(text: &str) -> bool {
    text.contains(['.', ':']) || text == "localhost" || text.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_component(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = text.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(b))
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=MAX_TAG).contains(&text.len())
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    #[test]
    fn references() {
        for (text, full) in [
            ("//alpine", "docker://docker.io/library/alpine:latest".to_owned()),
            ("alpine:3.20", "docker://docker.io/library/alpine:3.20".to_owned()),
            ("//grafana/loki", "docker://docker.io/grafana/loki:latest".to_owned()),
            ("//index.docker.io/x", "docker://docker.io/library/x:latest".to_owned()),
            ("//localhost/x", "docker://localhost/x:latest".to_owned()),
            ("//localhost:5000/a/b-c/d_e:v1", "docker://localhost:5000/a/b-c/d_e:v1".to_owned()),
            ("//[::1]:5000/x:V_1.0-rc", "docker://[::1]:5000/x:V_1.0-rc".to_owned()),
            (&format!("//ghcr.io/o/n@{D}"), format!("docker://ghcr.io/o/n@{D}")),
            (&format!("//ghcr.io/o/n:1@{D}"), format!("docker://ghcr.io/o/n:1@{D}")),
        ] {
            assert_eq!(Reference::parse(text).unwrap().to_string(), full, "{text}");
        }
        for bad in [
            "",
            "//",
            "//h.io/",
            "//h.io/A",
            "//h.io/a:",
            "//h.io/a:b/c",
            "//h.io/../a",
            "//h.io/a//b",
            "//h.io/a?x",
            "//u:p@h.io/a",
            "//h.io/a@sha256:1",
            "//h .io/a",
        ] {
            assert!(Reference::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn loopback() {
        for (host, is) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.0.0.1:1", true),
            ("127.8.9.1", true),
            ("[::1]:5000", true),
            ("10.0.0.1:5000", false),
            ("localhost.example.org", false),
            ("127.0.0.1.example.org", false),
        ] {
            assert_eq!(is_loopback(host), is, "{host}");
        }
    }
}
