//! `docker://`: an image in a registry, and the options that say how to reach it.

use std::path::PathBuf;
use std::time::Duration;

use crate::source::{Source, SourceError};

/// How to reach a registry, as it was asked for.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "registry"), allow(dead_code))] // taken, and refused with the reference
pub(super) struct Options {
    pub(super) tls_ca: Option<PathBuf>,
    pub(super) plain_http: bool,
    pub(super) timeout: Option<Duration>,
}

/// Reads `--timeout`: whole seconds, within what makes sense of waiting.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..=3600) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("{text:?}: want a number of seconds from 1 to 3600")),
    }
}

/// Checks a reference without asking anybody.
#[cfg(feature = "registry")]
pub(super) fn check(reference: &str) -> anyhow::Result<()> {
    crate::source::registry::Reference::parse(reference)?;
    Ok(())
}

/// Fetches the documents an image in a registry begins with; `cache_dir` is where blobs are kept.
#[cfg(feature = "registry")]
pub(super) fn open(
    reference: &str,
    options: &Options,
    cache_dir: Option<&std::path::Path>,
) -> Result<Box<dyn Source>, SourceError> {
    use crate::source::registry::{DEFAULT_TIMEOUT, Reference, Registry, RegistryOptions};
    let refuse = |e: &dyn std::fmt::Display| SourceError::Io(std::io::Error::other(e.to_string()));
    let reference = Reference::parse(reference).map_err(|e| refuse(&e))?;
    let options = RegistryOptions {
        store: cache_dir.map(|dir| dir.join("blobs")),
        tls_ca: options.tls_ca.clone(),
        plain_http: options.plain_http,
        timeout: options.timeout.unwrap_or(DEFAULT_TIMEOUT),
    };
    Ok(Box::new(Registry::open(&reference, &options)?))
}

#[cfg(not(feature = "registry"))]
pub(super) fn check(reference: &str) -> anyhow::Result<()> {
    anyhow::bail!("docker:{reference}: this ocifs was built without registries (cargo's feature `registry`)")
}

#[cfg(not(feature = "registry"))]
pub(super) fn open(
    reference: &str,
    _options: &Options,
    _cache_dir: Option<&std::path::Path>,
) -> Result<Box<dyn Source>, SourceError> {
    Err(SourceError::NoSuchSource(reference.into()))
}
