//! Where things stand in the mount, for those who speak of them without one.

use std::sync::Arc;

use super::{directories, names};
use crate::image::{Catalog, Image, PlatformImage};
use crate::oci::{Digest, Platform};

/// A directory of the mount: empty for its root, else ending in a slash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place(String);

impl Place {
    /// Returns it as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn directory(&self, name: &str) -> Self {
        Self(format!("{}{name}/", self.0))
    }

    fn file(&self, name: &str) -> String {
        format!("{}{name}", self.0)
    }

    /// Returns where the index is that an image or artifact is.
    pub fn image_index(&self) -> String {
        self.file(names::IMAGE_INDEX)
    }

    /// Returns where the manifest of a platform or artifact is.
    pub fn manifest(&self) -> String {
        self.file(names::MANIFEST)
    }

    /// Returns where its configuration is.
    pub fn config(&self) -> String {
        self.file(names::CONFIG)
    }

    /// Returns where the entry is that led to it.
    pub fn descriptor(&self) -> String {
        self.file(names::DESCRIPTOR)
    }

    /// Returns where a layer of it is.
    pub fn layer(&self, number: usize) -> String {
        self.file(&format!("{}/{number}", names::LAYERS))
    }

    /// Returns where the layers of a platform stand put together.
    pub fn rootfs(&self) -> String {
        self.file(names::ROOTFS)
    }

    /// Returns where an artifact is that is no manifest.
    pub fn blob(&self) -> String {
        self.file(names::BLOB)
    }

    /// Returns the directories of the platforms of the image that stands here; all, or those that are `only`.
    pub fn platforms(&self, image: &Image, only: Option<&Platform>) -> Vec<(Self, Arc<PlatformImage>)> {
        let all = self.directory(names::PLATFORMS);
        let named = directories::named_platforms(&image.platforms, only);
        named.into_iter().map(|(name, platform)| (all.directory(&name), platform)).collect()
    }
}

/// The places of a catalog's images and artifacts.
pub struct Paths<'a> {
    catalog: &'a Catalog,
    names: names::ImagePaths<'a>,
    root: Option<usize>,
}

impl<'a> Paths<'a> {
    /// Makes the places of a mount with group `root` at its root.
    pub fn new(catalog: &'a Catalog, root: Option<usize>) -> Self {
        let names = names::ImagePaths::of_groups(catalog.groups());
        Self { catalog, names, root }
    }

    /// Returns the directory of the image that group `n` is.
    pub fn image(&self, n: usize) -> Place {
        if self.root == Some(n) {
            return Place::default();
        }
        below(names::IMAGES, &self.names.group(&self.catalog.groups()[n]))
    }

    /// Returns where group `n` shows that its platforms are not known.
    pub fn failure(&self, n: usize) -> String {
        let is_index = self.catalog.groups()[n].index().is_some();
        self.image(n).file(if is_index { names::IMAGE_INDEX } else { names::PLATFORMS })
    }

    /// Returns the directories of the artifacts that group `n` is, in the order of its entries.
    pub fn artifacts(&self, n: usize) -> Vec<Place> {
        let group = &self.catalog.groups()[n];
        let directory = below(names::ARTIFACTS, &self.names.group(group));
        match &group.entries[..] {
            [_] => vec![directory],
            several => {
                several.iter().map(|e| directory.directory(&names::entry(&e.descriptor.digest))).collect()
            }
        }
    }

    /// Returns the directory of an artifact that no group is.
    pub fn unnamed_artifact(&self, digest: &Digest) -> Place {
        below(names::ARTIFACTS, &self.names.path(None, digest))
    }
}

fn below(directory: &str, path: &[String]) -> Place {
    path.iter().fold(Place::default().directory(directory), |place, name| place.directory(name))
}
