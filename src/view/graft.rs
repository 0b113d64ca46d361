//! Places where a tree appears when somebody first looks, and the trees that appeared.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use super::error::Error;
use super::files::Files;
use super::ino::{Ino, SlotId};
use super::skeleton::{Kind, Skeleton};
use super::stack::Stack;
use crate::image::{Entry, PlatformImage, Referrer};
use crate::oci::Descriptor;

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
    /// What a group's image lists beside its platforms, where it could not be read with `artifacts/`.
    Beside(usize),
    /// `platforms/` of a group's image, where it could not be read with the directory it stands in; of the only image, where
    /// it could not be told which that is.
    Platforms(Option<usize>),
    /// `platforms/<platform>/`.
    Platform(Arc<PlatformImage>),
    /// `pretty/` of a platform.
    Pretty(Arc<Entry>),
    /// `artifacts/<name>/`.
    Artifact(Arc<Entry>),
    /// `attestations/` of a platform.
    Attestations(Arc<PlatformImage>),
    /// `referrers/` of a manifest or index.
    Referrers(Arc<Entry>),
    /// `referrers/<name>/`.
    Referrer(Arc<Referrer>),
    /// `diffs/N/`: one layer's own files.
    Diff(u32, Arc<Stack>),
    /// `rootfs/`: the layers applied.
    Rootfs(Arc<Stack>),
    /// `at/N/`: the layers up to this one applied.
    At(u32, Arc<Stack>),
    /// `deleted/N/`: what of this layer the root filesystem does not show.
    Deleted(u32, Arc<Stack>),
    /// A directory that cannot be had: listing it says why.
    Failed(Box<Error>),
}

impl Graft {
    /// Says whether an image's own files grow here, which takes a pass over its layers.
    pub(super) fn is_files(&self) -> bool {
        matches!(self, Self::Diff(..) | Self::Rootfs(_) | Self::At(..) | Self::Deleted(..))
    }

    /// Says whether what grew may go to make room: it may be large, there are many, and nothing grows from it.
    pub(super) fn may_go(&self) -> bool {
        match self {
            // The last one is the root filesystem, which is kept: letting it go would free nothing.
            Self::At(last, stack) => !stack.is_whole(*last),
            Self::Pretty(_) => true,
            _ => false,
        }
    }

    /// Returns the blobs that growing reads.
    pub(super) fn blobs(&self) -> Vec<&Descriptor> {
        match self {
            Self::Diff(number, stack) => stack.blobs_of(*number).collect(),
            Self::Rootfs(stack) | Self::Deleted(_, stack) => stack.blobs(None).collect(),
            Self::At(last, stack) => stack.blobs(Some(*last)).collect(),
            _ => Vec::new(),
        }
    }
}

/// A tree that appeared.
pub(super) enum Tree {
    /// Documents, blobs and grafts.
    Skeleton {
        /// The tree.
        skeleton: Skeleton,
        /// The slot of its first graft; the others follow.
        first_slot: u32,
    },
    /// An image's own files.
    Files(Arc<Files>),
}

impl Tree {
    pub(super) fn child(&self, directory: u32, name: &[u8]) -> Result<Option<u32>, Error> {
        match self {
            Self::Skeleton { skeleton, .. } => skeleton.child(directory, name),
            Self::Files(files) => files.child(directory, name),
        }
    }

    /// Returns the bytes of memory it takes, roughly.
    pub(super) fn memory(&self) -> usize {
        match self {
            Self::Skeleton { skeleton, .. } => skeleton.memory(),
            Self::Files(files) => files.memory(),
        }
    }

    /// Returns the slot that a graft's number means.
    pub(super) fn slot_of(&self, graft: u32) -> SlotId {
        match self {
            Self::Skeleton { first_slot, .. } => SlotId(first_slot + graft),
            // It has none.
            Self::Files(_) => SlotId::BLOBS,
        }
    }

    /// Returns the slot that grows at a node, if one does.
    pub(super) fn graft(&self, node: u32) -> Option<SlotId> {
        match self {
            Self::Skeleton { skeleton, .. } => match skeleton.node(node)?.kind {
                Kind::Graft(graft) => Some(self.slot_of(graft)),
                _ => None,
            },
            Self::Files(_) => None,
        }
    }

    /// Returns the path of a node below this tree's root, for messages.
    pub(super) fn path(&self, node: u32) -> String {
        match self {
            Self::Skeleton { skeleton, .. } => skeleton.path(node as usize),
            Self::Files(files) => files.path(node),
        }
    }
}

/// A tree's place in the mount, grown or not.
pub(super) struct Slot {
    /// The directory it stands in.
    pub(super) parent: Ino,
    /// Its name there.
    pub(super) name: Box<str>,
    pub(super) graft: Graft,
    grown: RwLock<Option<Arc<Tree>>>,
    /// Held while the tree grows; when that failed last, and why.
    growing: Mutex<Option<Box<(Instant, Error)>>>,
}

impl Slot {
    pub(super) fn new(parent: Ino, name: &str, graft: Graft) -> Self {
        Self { parent, name: name.into(), graft, grown: RwLock::default(), growing: Mutex::new(None) }
    }

    /// Returns the tree where it has grown already, without waiting.
    pub(super) fn grown(&self) -> Option<Arc<Tree>> {
        self.grown.read().clone()
    }

    /// Returns the tree, growing it with `grow` where it has not. Everybody who looks meanwhile waits for that one
    /// growth; a failure goes to all of them, and who comes later tries again.
    pub(super) fn tree(&self, grow: impl FnOnce() -> Result<Tree, Error>) -> Result<Arc<Tree>, Error> {
        if let Some(tree) = self.grown() {
            return Ok(tree);
        }
        let came = Instant::now();
        let mut failed = self.growing.lock();
        if let Some(tree) = self.grown() {
            return Ok(tree);
        }
        if let Some((_, error)) = failed.as_deref().filter(|(at, _)| came < *at) {
            return Err(error.clone());
        }
        let tree = grow().inspect_err(|e| *failed = Some(Box::new((Instant::now(), e.clone()))))?;
        let tree = Arc::new(tree);
        *self.grown.write() = Some(tree.clone());
        Ok(tree)
    }

    /// Says whether somebody grows the tree now, after waiting for that to end for at most `most`, or it failed less than
    /// `pause` ago.
    pub(super) fn is_growing_or_failed(&self, most: Duration, pause: Duration) -> bool {
        match self.growing.try_lock_for(most) {
            None => true,
            Some(failed) => failed.as_deref().is_some_and(|(at, _)| at.elapsed() < pause),
        }
    }

    /// Lets the tree go, until somebody looks again.
    pub(super) fn let_go(&self) {
        *self.grown.write() = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    /// Each went over the broken layer anew, one after the other.
    #[test]
    fn all_who_waited_for_what_failed_have_that_failure() {
        let slot = Slot::new(Ino::ROOT, "diffs", Graft::Root);
        let (grown, all_there) = (AtomicUsize::new(0), Barrier::new(8));
        let look = || {
            all_there.wait();
            let grow = || {
                grown.fetch_add(1, SeqCst);
                std::thread::sleep(Duration::from_millis(200));
                Err(Error::Stale)
            };
            assert!(matches!(slot.tree(grow), Err(Error::Stale)));
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(look);
            }
        });
        // One that was late by all of the time would grow it a second time.
        assert!(grown.load(SeqCst) <= 2, "{grown:?}");
        let grow = || Ok(Tree::Skeleton { skeleton: Skeleton::new().finish(), first_slot: 2 });
        assert!(slot.tree(grow).is_ok());
    }

    #[test]
    fn what_failed_is_left_alone_for_a_while_and_grows_for_who_looks() {
        let slot = Slot::new(Ino::ROOT, "diffs", Graft::Root);
        let is_vain = |pause| slot.is_growing_or_failed(Duration::ZERO, Duration::from_secs(pause));
        assert!(!is_vain(3_600));
        assert!(slot.tree(|| Err(Error::Stale)).is_err());
        assert!(is_vain(3_600) && !is_vain(0));
        let grow = || Ok(Tree::Skeleton { skeleton: Skeleton::new().finish(), first_slot: 2 });
        assert!(slot.tree(grow).is_ok() && slot.grown().is_some());
    }
}
