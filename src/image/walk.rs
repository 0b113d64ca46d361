//! From entries of index.json to platforms: nested indexes, within limits.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Catalog, Class, Entry, Form, Group, ImageError, classify};
use crate::oci::{Descriptor, Digest, Platform};
use crate::problems::Problem;

/// Deepest nesting of indexes followed. Real ones nest once; loops cannot be (a digest cannot contain itself), but
/// a chain of any length can.
pub const MAX_DEPTH: usize = 8;

/// Most entries of one image looked at. The largest official images have some thirty.
pub(super) const MAX_ENTRIES: usize = 10_000;

/// An image: its platforms, and what else its indexes list.
#[derive(Debug, Default)]
pub struct Image {
    /// The nested index the image is, where it is one.
    pub index: Option<Arc<Entry>>,
    /// Every index walked, that one included, in the order in which they were met.
    pub indexes: Vec<Arc<Entry>>,
    /// One for each platform, in the order of the indexes.
    pub platforms: Vec<PlatformImage>,
    /// Manifests in there that are no images.
    pub artifacts: Vec<Arc<Entry>>,
    /// Statements about the platforms.
    pub attestations: Vec<Arc<Entry>>,
}

/// One platform of an image.
#[derive(Clone, Debug)]
pub struct PlatformImage {
    /// The entry that led here.
    pub entry: Arc<Entry>,
    /// The platform: the entry's, else the configuration's; empty where neither states one.
    pub platform: Platform,
    /// BuildKit's statements about it, from the same image.
    pub attestations: Vec<Arc<Entry>>,
}

/// Walks a group's entries. Fails where the one index the group is cannot be read, or where something cannot be read that
/// may be the next time: what is missing for that reason must not be missing for good.
pub(super) fn expand(catalog: &Catalog, group: &Group) -> Result<Image, ImageError> {
    let mut walk = Walk { catalog, image: Image::default(), indexes: HashSet::new(), seen: 0 };
    for entry in &group.entries {
        let alone = group.entries.len() == 1;
        match walk.visit(entry, 0) {
            Err(e) if alone || catalog.may_pass(&e) => return Err(e),
            Err(e) => walk.report(&entry.descriptor, &e),
            Ok(()) => {}
        }
        if alone && walk.indexes.contains(&entry.descriptor.digest) {
            walk.image.index = Some(entry.clone());
        }
    }
    let mut image = walk.image;
    let by_reference = Catalog::by_reference(&image.attestations);
    for platform in &mut image.platforms {
        let own = by_reference.get(&platform.entry.descriptor.digest);
        platform.attestations = own.cloned().unwrap_or_default();
    }
    Ok(image)
}

struct Walk<'a> {
    catalog: &'a Catalog,
    image: Image,
    indexes: HashSet<Digest>,
    seen: usize,
}

impl Walk<'_> {
    fn visit(&mut self, entry: &Arc<Entry>, depth: usize) -> Result<(), ImageError> {
        self.seen += 1;
        if self.seen > MAX_ENTRIES {
            if self.seen == MAX_ENTRIES + 1 {
                self.report(
                    &entry.descriptor,
                    &format!("more than {MAX_ENTRIES} entries in one image: the rest is left out"),
                );
            }
            return Ok(());
        }
        let d = &entry.descriptor;
        if self.catalog.form(d)? == Form::Index {
            return self.nested(entry, depth);
        }
        match classify::entry(self.catalog, entry)? {
            Class::Image => self.platform(entry)?,
            Class::Artifact => self.image.artifacts.push(entry.clone()),
            Class::Attestation => self.image.attestations.push(entry.clone()),
        }
        Ok(())
    }

    fn nested(&mut self, entry: &Arc<Entry>, depth: usize) -> Result<(), ImageError> {
        let d = &entry.descriptor;
        if depth == MAX_DEPTH {
            self.report(d, &format!("indexes nest deeper than {MAX_DEPTH}: not followed"));
            return Ok(());
        }
        if !self.indexes.insert(d.digest.clone()) {
            return Ok(());
        }
        self.image.indexes.push(entry.clone());
        let index = self.catalog.index(d)?;
        for (n, entry) in index.entries.into_iter().enumerate() {
            match entry.descriptor {
                Err(e) => self.report(d, &format!("manifests[{n}]: {e}")),
                Ok(descriptor) => {
                    let entry = Arc::new(Entry { raw: entry.raw, descriptor });
                    match self.visit(&entry, depth + 1) {
                        Err(e) if self.catalog.may_pass(&e) => return Err(e),
                        Err(e) => self.report(&entry.descriptor, &e),
                        Ok(()) => {}
                    }
                }
            }
        }
        Ok(())
    }

    fn platform(&mut self, entry: &Arc<Entry>) -> Result<(), ImageError> {
        let d = &entry.descriptor;
        let platform = match d.platform.clone().filter(Platform::is_stated) {
            Some(stated) => stated,
            None => self.catalog.platform_of.get_or_ask(d, || {
                let config = self.catalog.manifest(d).and_then(|manifest| self.catalog.config(d, &manifest));
                let config = self.catalog.lasting(config)?;
                Ok::<_, ImageError>(config.map(|config| config.platform).unwrap_or_default())
            })?,
        };
        self.image.platforms.push(PlatformImage { entry: entry.clone(), platform, attestations: Vec::new() });
        Ok(())
    }

    fn report(&self, d: &Descriptor, what: &dyn std::fmt::Display) {
        self.catalog.problems.add(&Problem::new(d.digest.blob_path(), what));
    }
}

/// Finds the entry with `digest` in the indexes below index.json.
pub(super) fn find(catalog: &Catalog, digest: &Digest) -> Option<Arc<Entry>> {
    let mut indexes = HashSet::new();
    let mut queue: Vec<(Arc<Entry>, usize)> = Vec::new();
    for group in &catalog.groups {
        queue.extend(group.entries.iter().map(|e| (e.clone(), 0)));
    }
    queue.reverse();
    while let Some((entry, depth)) = queue.pop() {
        let d = &entry.descriptor;
        if d.digest == *digest {
            return Some(entry);
        }
        let nests = matches!(catalog.form(d), Ok(Form::Index));
        if !nests || depth == MAX_DEPTH || !indexes.insert(d.digest.clone()) {
            continue;
        }
        let Ok(index) = catalog.index(d) else { continue };
        for entry in index.entries.into_iter().rev() {
            if let Ok(descriptor) = entry.descriptor {
                queue.push((Arc::new(Entry { raw: entry.raw, descriptor }), depth + 1));
            }
        }
    }
    None
}
