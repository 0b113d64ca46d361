//! Which image a user means.

use anyhow::{Context as _, bail};

use super::{hints, source};
use crate::image::{Catalog, Group};
use crate::oci::{Algorithm, Digest, DigestError, Index, Platform};

/// Spells a name as docker writes it into its archives: with a tag, and without what goes without saying.
fn docker_name(name: &str) -> String {
    let short = name.strip_prefix("docker.io/").map(|name| name.strip_prefix("library/").unwrap_or(name));
    let name = short.unwrap_or(name);
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains([':', '@']) { name.to_owned() } else { format!("{name}:latest") }
}

/// Finds the image that `wanted` means: a digest anywhere below index.json, else a name, else a number in it.
pub(super) fn image(catalog: &mut Catalog, wanted: &str) -> anyhow::Result<usize> {
    // A digest is a promise about bytes, with a name before it or without. index.json, which nothing vouches for, may give
    // such a name to anything.
    let digest = Digest::parse(wanted.rsplit('@').next().unwrap_or(wanted));
    if let Ok(digest) = &digest
        && digest.algorithm() != Algorithm::Unknown
    {
        return catalog
            .pin(digest)
            .with_context(|| format!("{wanted}: no manifest or index of this digest in the source"));
    }
    if let Some(n) = catalog.named(wanted).or_else(|| catalog.named(&docker_name(wanted))) {
        return Ok(n);
    }
    if let Some(number) = source::number(wanted) {
        let entries = Index::parse(&catalog.store().index()?)?.entries;
        let count = entries.len();
        let entry = entries.into_iter().nth(number).with_context(|| {
            format!("image {wanted}: there are {count} entries in index.json, counted from @0")
        })?;
        let digest = entry.descriptor?.digest;
        return catalog.pin(&digest).with_context(|| format!("image {wanted}: {digest} is not to be found"));
    }
    // Docker and its archives write names in full; people do not.
    let ending = format!("/{wanted}");
    let is_meant =
        |g: &Group| g.same_as.is_none() && g.name.as_ref().is_some_and(|name| name.ends_with(&ending));
    let mut meant = (0..catalog.groups().len()).filter(|n| is_meant(&catalog.groups()[*n]));
    if let (Some(only), None) = (meant.next(), meant.next()) {
        return Ok(only);
    }
    match digest {
        // `web:2` could be a digest of an algorithm that nobody knows.
        Ok(digest) => {
            if let Some(n) = catalog.pin(&digest) {
                return Ok(n);
            }
        }
        Err(e @ DigestError::Encoding { .. }) => bail!(e),
        Err(DigestError::Grammar(_)) => {}
    }
    let names: Vec<&str> = catalog.groups().iter().filter_map(|g| g.name.as_deref()).collect();
    bail!("{}", hints::no_such_image(wanted, &names))
}

/// Says so when nothing would be shown.
pub(super) fn check_platform(
    catalog: &Catalog,
    image: Option<usize>,
    wanted: &Platform,
) -> anyhow::Result<()> {
    let Some(n) = image.or_else(|| catalog.sole_image().ok()?) else { return Ok(()) };
    let n = catalog.groups()[n].same_as.unwrap_or(n);
    let Ok(image) = catalog.image(n) else { return Ok(()) };
    if image.platforms.iter().any(|p| p.platform.matches(wanted)) {
        return Ok(());
    }
    let there: Vec<String> = image.platforms.iter().map(|p| p.platform.normalized().to_string()).collect();
    let there = if there.is_empty() { "no platforms".to_owned() } else { there.join(", ") };
    bail!("the image has nothing for {wanted}; it has {there}")
}
