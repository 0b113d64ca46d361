//! Which questions are answered at once, so that the threads that talk to the kernel may answer them, and which may wait
//! for a pass over a layer, so that others do not wait behind those.

use super::blobs::BlobId;
use super::graft::{Graft, Tree};
use super::ino::{Ino, SlotId};
use super::skeleton::{Content, Kind};
use super::state::State;
use crate::image::Class;

/// What an answer takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// No document and no layer.
    AtOnce,
    /// Documents.
    Documents,
    /// A pass over a blob or decompressing, or waiting for somebody else's.
    Blobs,
}

impl Pace {
    pub(super) fn new(at_once: bool, takes_blobs: impl FnOnce() -> bool) -> Self {
        match at_once {
            true => Self::AtOnce,
            false if takes_blobs() => Self::Blobs,
            false => Self::Documents,
        }
    }
}

impl State {
    /// Says whether a node is an image's own file or directory.
    pub(super) fn is_of_layers(&self, ino: Ino) -> bool {
        Self::place(ino).and_then(|(slot, _)| self.slot(slot)).is_ok_and(|slot| slot.graft.is_files())
    }

    /// Says whether a file's bytes come out of a blob.
    pub(super) fn is_of_blobs(&self, ino: Ino) -> bool {
        Self::parts(ino).is_ok_and(|(slot, _)| slot == SlotId::BLOBS) || self.is_of_layers(ino)
    }

    /// Says whether listing reads nothing: neither to grow the tree, nor to know what is in it.
    pub(super) fn lists_at_once(&self, ino: Ino) -> bool {
        let Ok((slot, _)) = Self::place(ino) else { return true };
        let Ok(here) = self.slot(slot) else { return true };
        match here.grown().as_deref() {
            Some(Tree::Files(_)) => true,
            Some(Tree::Skeleton { skeleton, .. }) => !skeleton.is_conditional && self.links_at_once(),
            None => false,
        }
    }

    pub(super) fn looks_up_at_once(&self, parent: Ino, name: &[u8]) -> bool {
        let Ok((slot, node)) = Self::place(parent) else { return true };
        let Ok(here) = self.slot(slot) else { return true };
        let tree = match here.grown() {
            None => return false,
            Some(tree) => tree,
        };
        let Ok(Some(child)) = tree.child(node, name) else { return true };
        if let Tree::Skeleton { skeleton, .. } = &*tree {
            let told = |when: (usize, Class)| self.catalog.known_class(when.0).is_some();
            let found = skeleton.node(child);
            let is_directory = found.is_some_and(|found| matches!(found.kind, Kind::Directory(_)));
            if found.is_some_and(|found| !found.when.is_none_or(told))
                || (skeleton.is_conditional && is_directory)
                || !skeleton.is_described_at_once(child)
            {
                return false;
            }
        }
        match tree.graft(child) {
            Some(graft) => self.describes_at_once(Ino::root_of(graft)),
            None => matches!(*tree, Tree::Files(_)) || self.links_at_once(),
        }
    }

    pub(super) fn describes_at_once(&self, ino: Ino) -> bool {
        let Ok((slot, node)) = Self::parts(ino) else { return true };
        match slot {
            SlotId::BLOBS => self.links_at_once(),
            _ => self.slot(slot).is_ok_and(|slot| match slot.grown().as_deref() {
                Some(Tree::Skeleton { skeleton, .. }) => skeleton.is_described_at_once(node),
                Some(Tree::Files(_)) => true,
                None => node == 0 && !slot.graft.is_files(),
            }),
        }
    }

    pub(super) fn tells_xattrs_at_once(&self, ino: Ino) -> bool {
        let Ok((slot, node)) = Self::parts(ino) else { return true };
        if slot == SlotId::BLOBS {
            return true;
        }
        let Ok(here) = self.slot(slot) else { return true };
        match here.graft {
            // A manifest's own annotations stand in the manifest.
            Graft::Platform(_) | Graft::Artifact(_) | Graft::Referrer(_) => node != 0,
            _ => node == 0 || !here.graft.is_files() || here.grown().is_some(),
        }
    }

    /// Says whether it is told at once how many links a blob has.
    fn links_at_once(&self) -> bool {
        self.catalog.store().is_remote() || self.links.tell_at_once()
    }

    pub(super) fn reads_at_once(&self, ino: Ino, offset: u64, len: usize) -> bool {
        let Ok((slot, node)) = Self::parts(ino) else { return true };
        if slot == SlotId::BLOBS {
            return self.row(BlobId(node)).is_ok_and(|row| {
                let (store, blob) = (self.catalog.store(), &row.descriptor);
                (blob.size <= crate::blob::CHUNK || store.is_verified(&blob.digest)) && store.is_near(blob)
            });
        }
        let Ok(here) = self.slot(slot) else { return true };
        match here.grown().as_deref() {
            Some(Tree::Files(files)) => files.is_at_hand(node, offset, len as u64),
            Some(Tree::Skeleton { skeleton, .. }) => {
                let kind = skeleton.node(node).map(|node| &node.kind);
                !matches!(kind, Some(Kind::File(Content::History(_))))
            }
            None => false,
        }
    }
}
