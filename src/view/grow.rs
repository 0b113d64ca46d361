//! How trees grow: at a first look, once, and what a stat may wait for.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::blobs::BlobId;
use super::directories::Plan;
use super::error::Error;
use super::files::Files;
use super::graft::{Graft, Slot, Tree};
use super::ino::{Ino, SlotId};
use super::links::{Count, MAX_NAMES};
use super::names;
use super::skeleton::{Kind, Skeleton};
use super::state::{Result, State};
use crate::image::ImageError;
use crate::problems::Problem;

/// Most trees of a mount. An inode number would leave room for four times as many, which would take gigabytes: a hostile index of
/// a megabyte has four directories for each layer of thousands of platforms.
const MAX_SLOTS: usize = 1 << 22;

/// Largest sum of blobs that a stat of `rootfs` goes over, in bytes. What the root of such a tree is, only
/// its layers say; for small ones the answer is true at once, for large ones stat must not wait.
const MAX_STAT_PASS: u64 = 32 << 20;

/// The same for one of `diffs/`, `at/` and `deleted/`, which are many: `ls -l` asks for each.
const MAX_STAT_PASS_OF_LAYER: u64 = 1 << 20;

/// How long such a stat waits at most: a bomb is small as well. The pass goes on.
const MAX_STAT_WAIT: Duration = Duration::from_secs(1);

/// How long no stat begins a pass that failed: `ls -l` of broken layers would go over them again and again.
const STAT_PAUSE: Duration = Duration::from_secs(5);

/// Does something on a thread of its own; a panic ends that, and is told as one in an answer is. Says whether there is a
/// thread for it.
pub(super) fn aside(name: &'static str, act: impl FnOnce() + Send + 'static) -> bool {
    let fenced = move || {
        if catch_unwind(AssertUnwindSafe(act)).is_err() {
            log::error!("bug: {name} panicked");
        }
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(fenced).is_ok()
}

impl State {
    fn plan(&self, path: String) -> Plan<'_> {
        Plan { catalog: &self.catalog, blobs: &self.blobs, options: &self.options, root: self.root(), path }
    }

    fn root(&self) -> &std::result::Result<Option<usize>, ImageError> {
        self.shown.get_or_init(|| match self.options.image {
            Some(n) => Ok(Some(self.catalog.groups()[n].same_as.unwrap_or(n))),
            None => self.catalog.sole_image(),
        })
    }

    /// Returns the tree of a slot, growing it where nobody has looked yet.
    pub(super) fn tree(&self, id: SlotId) -> Result<Arc<Tree>> {
        let slot = self.slot(id)?;
        let tree = slot.tree(|| self.grow(id, &slot.graft))?;
        if slot.graft.may_go() {
            for oldest in self.loose.touch(id, || tree.memory()) {
                self.slot(oldest)?.let_go();
            }
        }
        Ok(tree)
    }

    fn grow(&self, id: SlotId, graft: &Graft) -> Result<Tree> {
        let path = self.path(Ino::root_of(id));
        let shown = match graft {
            // What is odd about layers put together, they are told of the root filesystem, once.
            Graft::At(..) | Graft::Deleted(..) => {
                let platform = path.rsplitn(3, '/').nth(2).unwrap_or_default();
                format!("{platform}/{}", names::ROOTFS)
            }
            _ => path.clone(),
        };
        let mut problem = |what: String, count| {
            self.catalog.problems().add_for(&Problem::new(&*shown, what), count);
        };
        let (catalog, store, options, problem) = (&self.catalog, &self.layers, &self.options, &mut problem);
        match graft {
            Graft::Diff(number, stack) => {
                let claim = stack.claim(*number, catalog)?;
                Ok(Tree::Files(Files::of_layer(store, *number, &claim, options, problem)?.into()))
            }
            Graft::Rootfs(stack) => Ok(Tree::Files(stack.whole(catalog, store, options, problem)?)),
            Graft::At(last, stack) => Ok(Tree::Files(stack.at(*last, catalog, store, options, problem)?)),
            Graft::Deleted(number, stack) => {
                Ok(Tree::Files(stack.deleted(*number, catalog, store, options, problem)?))
            }
            _ => {
                let prefix = if path.is_empty() { path } else { path + "/" };
                let mut skeleton = self.plan(prefix).build(graft)?;
                let grafts = std::mem::take(&mut skeleton.grafts);
                let first_slot = self.add_slots(id, &skeleton, grafts)?;
                Ok(Tree::Skeleton { skeleton, first_slot })
            }
        }
    }

    fn add_slots(&self, id: SlotId, skeleton: &Skeleton, grafts: Vec<Graft>) -> Result<u32> {
        let mut places = vec![0; grafts.len()];
        for (n, node) in skeleton.nodes.iter().enumerate() {
            if let Kind::Graft(graft) = node.kind {
                places[graft as usize] = n;
            }
        }
        let mut slots = self.slots.write();
        if slots.len() + grafts.len() > MAX_SLOTS {
            return Err(Error::TooManyTrees { limit: MAX_SLOTS });
        }
        let first = u32::try_from(slots.len()).expect("below the bound");
        for (graft, place) in grafts.into_iter().zip(places) {
            let node = &skeleton.nodes[place];
            let parent = Ino::new(id, node.parent);
            slots.push(Arc::new(Slot::new(parent, &node.name, graft)));
        }
        Ok(first)
    }

    /// Says whether growing a tree takes a blink: what it reads is small, and on this machine.
    pub(super) fn grows_quickly(&self, graft: &Graft) -> bool {
        let blobs = graft.blobs();
        let limit = if matches!(graft, Graft::Rootfs(_)) { MAX_STAT_PASS } else { MAX_STAT_PASS_OF_LAYER };
        let bytes = blobs.iter().fold(0, |sum: u64, blob| sum.saturating_add(blob.size));
        bytes <= limit && blobs.iter().all(|blob| self.catalog.store().is_near(blob))
    }

    /// Grows a tree, and waits a while for it. The directory is there whether or not it can be listed: listing says
    /// what is wrong with it.
    pub(super) fn grow_a_while(&self, id: SlotId) {
        let Some(state) = self.myself.upgrade() else { return };
        // Others who ask meanwhile wait here, and not each in a thread of its own for as long as the pass takes.
        let is_vain =
            |slot: Arc<Slot>| slot.is_growing_or_failed(MAX_STAT_WAIT, STAT_PAUSE) || slot.grown().is_some();
        if self.slot(id).is_ok_and(is_vain) {
            return;
        }
        let (done_in, done) = std::sync::mpsc::channel();
        let grow = move || {
            let _ = state.tree(id).inspect_err(|e| state.report(Ino::root_of(id), e));
            let _ = done_in.send(());
        };
        if aside("stat", grow) {
            let _ = done.recv_timeout(MAX_STAT_WAIT);
        }
    }

    /// Counts the names of all blobs, with the very functions that make the directories.
    pub(super) fn count_links(&self) -> Count {
        let mut counts: HashMap<BlobId, u32> = HashMap::new();
        let mut todo = vec![(Graft::Root, String::new())];
        let mut names = 0;
        while let Some((graft, path)) = todo.pop() {
            let mut skeleton = match self.plan(path.clone()).build(&graft) {
                Ok(skeleton) => skeleton,
                Err(e) if e.may_pass(self.catalog.store()) => return Count::Failed,
                Err(_) => continue,
            };
            names += skeleton.nodes.len();
            if names > MAX_NAMES {
                return Count::TooMany;
            }
            for id in skeleton.blobs() {
                *counts.entry(id).or_default() += 1;
            }
            let mut grafts: Vec<Option<Graft>> =
                std::mem::take(&mut skeleton.grafts).into_iter().map(Some).collect();
            for (n, node) in skeleton.nodes.iter().enumerate() {
                let Kind::Graft(number) = node.kind else { continue };
                if !u32::try_from(n).is_ok_and(|n| self.is_listed(&skeleton, n)) {
                    continue;
                }
                match grafts[number as usize].take() {
                    // These hold no blobs.
                    None | Some(Graft::Pretty(_) | Graft::Failed(_)) => {}
                    Some(graft) if graft.is_files() => {}
                    Some(graft) => todo.push((graft, format!("{path}{}/", skeleton.path(n)))),
                }
            }
        }
        counts.retain(|_, count| *count > 1);
        Count::Counted(counts)
    }
}
