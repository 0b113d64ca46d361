//! Image or artifact: told by the descriptor where it can be, by the manifest where it must be.
//!
//! Fails only where the next try may go better: nothing may be concluded from that for good.

use super::walk::MAX_ENTRIES;
use super::{ANNOTATION_REFERENCE_TYPE, Catalog, Entry, Form, Group, ImageError};
use crate::oci::{Descriptor, Manifest, MediaType};

/// What an entry of an index leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Something with platforms and layers.
    Image,
    /// A manifest that is no image: chart, signature, SBOM, policy; or something we know nothing of.
    Artifact,
    /// BuildKit's statements about the image beside it.
    Attestation,
}

/// Says what a group is: an image where any of its entries is one, or cannot be told from one.
pub(super) fn group(catalog: &Catalog, group: &Group) -> Result<Class, ImageError> {
    let mut class = None;
    for e in group.entries.iter().take(MAX_ENTRIES) {
        match entry(catalog, e)? {
            Class::Image => return Ok(Class::Image),
            other => class = class.or(Some(other)),
        }
    }
    Ok(class.unwrap_or(Class::Artifact))
}

/// Says what an entry is, reading its document where the descriptor does not tell.
pub(super) fn entry(catalog: &Catalog, entry: &Entry) -> Result<Class, ImageError> {
    let d = &entry.descriptor;
    match by_descriptor(d) {
        Some(class) => Ok(class),
        None => by_document(catalog, d),
    }
}

fn by_document(catalog: &Catalog, d: &Descriptor) -> Result<Class, ImageError> {
    match catalog.form(d)? {
        Form::Index => catalog.class_of.get_or_ask(d, || index(catalog, d)),
        Form::Manifest => catalog.class_of.get_or_ask(d, || manifest(catalog, d)),
        Form::Other => Ok(Class::Artifact),
    }
}

fn by_descriptor(d: &Descriptor) -> Option<Class> {
    if d.annotations.contains(ANNOTATION_REFERENCE_TYPE) {
        return Some(Class::Attestation);
    }
    if !d.artifact_type.is_empty() && MediaType::of(&d.artifact_type) != MediaType::Config {
        return Some(Class::Artifact);
    }
    let platform = d.platform.as_ref()?;
    match d.kind() {
        MediaType::Manifest if platform.is_unknown() => Some(Class::Artifact),
        MediaType::Manifest if platform.is_stated() => Some(Class::Image),
        _ => None,
    }
}

/// An index is an image unless all it lists is something else (the fallback tag of referrers, a list of charts).
fn index(catalog: &Catalog, d: &Descriptor) -> Result<Class, ImageError> {
    let Some(index) = catalog.lasting(catalog.index(d))? else { return Ok(Class::Image) };
    let mut descriptors = index.entries.iter().filter_map(|e| e.descriptor.as_ref().ok()).peekable();
    if descriptors.peek().is_none() {
        return Ok(Class::Image);
    }
    for d in descriptors.take(MAX_ENTRIES) {
        let class = match by_descriptor(d) {
            Some(class) => class,
            None if catalog.form(d)? == Form::Index => Class::Image,
            None => by_document(catalog, d)?,
        };
        if class == Class::Image {
            return Ok(Class::Image);
        }
    }
    Ok(Class::Artifact)
}

fn manifest(catalog: &Catalog, d: &Descriptor) -> Result<Class, ImageError> {
    match catalog.lasting(catalog.manifest(d))? {
        // Missing or damaged: shown where people look for it, with its failure.
        None => Ok(Class::Image),
        Some(manifest) => by_manifest(catalog, d, &manifest),
    }
}

/// The image-config type alone does not make an image: cosign's signatures have it too.
fn by_manifest(catalog: &Catalog, d: &Descriptor, manifest: &Manifest) -> Result<Class, ImageError> {
    if !manifest.artifact_type.is_empty() && MediaType::of(&manifest.artifact_type) != MediaType::Config {
        return Ok(Class::Artifact);
    }
    let has_tree = manifest.layers.iter().flatten().any(|l| matches!(l.kind(), MediaType::Layer(_)));
    match manifest.config.as_ref().map(|c| c.as_ref().map(|c| (c.kind(), c.media_type.is_empty()))) {
        Some(Ok((MediaType::Config, _) | (_, true))) => {}
        Some(Ok(_)) => return Ok(Class::Artifact),
        None | Some(Err(_)) => return Ok(if has_tree { Class::Image } else { Class::Artifact }),
    }
    if has_tree || manifest.layers.is_empty() {
        // The attestations of older BuildKits have an image configuration, of no platform, and JSON layers.
        return Ok(Class::Image);
    }
    Ok(match catalog.lasting(catalog.config(d, manifest))? {
        Some(config) if config.platform.is_stated() => Class::Image,
        _ => Class::Artifact,
    })
}
