//! Where things stand in the mount, for those who speak of them without one.

use std::sync::Arc;

use super::{directories, names};
use crate::image::{Catalog, Image, PlatformImage};
use crate::oci::{Digest, Platform};

/// The paths of a catalog's images, platforms and artifacts. All end in a slash; that of the root is empty.
pub struct Paths<'a> {
    catalog: &'a Catalog,
    names: names::ImagePaths<'a>,
    root: Option<usize>,
}

impl<'a> Paths<'a> {
    /// Makes the paths of a mount with group `root` at its root.
    pub fn new(catalog: &'a Catalog, root: Option<usize>) -> Self {
        let names = names::ImagePaths::new(catalog.groups().iter().filter_map(|g| g.name.as_deref()));
        Self { catalog, names, root }
    }

    /// Returns the directory of the image that group `n` is.
    pub fn image(&self, n: usize) -> String {
        if self.root == Some(n) {
            return String::new();
        }
        let group = &self.catalog.groups()[n];
        let path = self.names.path(group.name.as_deref(), &group.entries[0].descriptor.digest);
        format!("{}/{}/", names::IMAGES, path.join("/"))
    }

    /// Returns where group `n` shows that its platforms are not known.
    pub fn failure(&self, n: usize) -> String {
        let name =
            if self.catalog.groups()[n].index().is_some() { names::IMAGE_INDEX } else { names::PLATFORMS };
        format!("{}{name}", self.image(n))
    }

    /// Returns the directory of an artifact.
    pub fn artifact(&self, name: Option<&str>, digest: &Digest) -> String {
        format!("{}/{}/", names::ARTIFACTS, self.names.path(name, digest).join("/"))
    }

    /// Returns the directory of one of several artifacts of one name.
    pub fn one_of_artifacts(&self, name: Option<&str>, digest: &Digest) -> String {
        format!("{}{}/", self.artifact(name, digest), names::entry(digest))
    }

    /// Returns the directories of an image's platforms, below that of the image; all, or those that are `only`.
    pub fn platforms(image: &Image, only: Option<&Platform>) -> Vec<(String, Arc<PlatformImage>)> {
        let named = directories::named_platforms(&image.platforms, only);
        named.into_iter().map(|(name, p)| (format!("{}/{name}/", names::PLATFORMS), p)).collect()
    }
}
