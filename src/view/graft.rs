//! Places where a tree appears when somebody first looks, and the trees that appeared.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::error::Error;
use super::ino::{Ino, SlotId};
use super::skeleton::Skeleton;
use crate::image::{Entry, PlatformImage};

/// What grows at a place, once somebody looks.
#[derive(Clone)]
pub(super) enum Graft {
    /// The root of the mount.
    Root,
    /// `blobs/`.
    Blobs,
    /// `images/`.
    Images,
    /// `artifacts/`.
    Artifacts,
    /// `images/<name>/`, by the group's number.
    Image(usize),
    /// `platforms/<platform>/`.
    Platform(Arc<PlatformImage>),
    /// `pretty/` of a platform.
    Pretty(Arc<Entry>),
    /// `artifacts/<name>/`.
    Artifact(Arc<Entry>),
    /// A directory that cannot be had: listing it says why.
    Failed(Box<Error>),
}

/// A tree that appeared.
pub(super) struct Tree {
    pub(super) skeleton: Skeleton,
    /// The slot of its first graft; the others follow.
    pub(super) first_slot: u32,
}

impl Tree {
    pub(super) fn slot_of(&self, graft: u32) -> SlotId {
        SlotId(self.first_slot + graft)
    }
}

/// A tree's place in the mount, grown or not.
pub(super) struct Slot {
    /// The directory it stands in.
    pub(super) parent: Ino,
    /// Its name there.
    pub(super) name: Box<str>,
    pub(super) graft: Graft,
    grown: OnceLock<Arc<Tree>>,
    growing: Mutex<()>,
}

impl Slot {
    pub(super) fn new(parent: Ino, name: &str, graft: Graft) -> Self {
        Self { parent, name: name.into(), graft, grown: OnceLock::new(), growing: Mutex::new(()) }
    }

    /// Returns the tree where it has grown already, without waiting.
    pub(super) fn grown(&self) -> Option<&Arc<Tree>> {
        self.grown.get()
    }

    /// Returns the tree, growing it with `grow` where it has not. Everybody who looks meanwhile waits for that one
    /// growth; a failure goes to whoever looked, and the next one tries again.
    pub(super) fn tree(&self, grow: impl FnOnce() -> Result<Tree, Error>) -> Result<Arc<Tree>, Error> {
        if let Some(tree) = self.grown.get() {
            return Ok(tree.clone());
        }
        let _growing = self.growing.lock();
        if let Some(tree) = self.grown.get() {
            return Ok(tree.clone());
        }
        let tree = Arc::new(grow()?);
        Ok(self.grown.get_or_init(|| tree).clone())
    }
}
