//! What layers had and the root filesystem does not show any more: deleted, hidden or replaced by later layers.
//!
//! A merge can be told to keep what it loses. A name that goes is noted with the node it had, and the node stays, so
//! that a directory which goes keeps everything below it in its place. When all layers are applied, what was noted is
//! sorted by the layer that brought it.

use std::borrow::Borrow;
use std::collections::HashMap;

use super::FileTree;
use super::builder::{Builder, Full, Limits, NONE};
use super::freeze::freeze;
use super::merge::Merge;
use super::node::{Row, Tag, name_at, packed_at};
use super::records::Records;

/// Most names that may go. More would take more memory than a mount should have, and no real image comes near.
pub const MAX_LOST: usize = 1 << 22;

/// More was deleted than is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the layers delete more than {MAX_LOST} names, or have more than one tree can have")]
pub struct TooManyLost;

impl From<Full> for TooManyLost {
    fn from(_: Full) -> Self {
        Self
    }
}

/// Makes for each layer the tree of what it brought and the root filesystem of all `layers` does not show.
///
/// A layer's tree has those of its names, of whatever is no directory, under which the root filesystem has something
/// else or nothing, and the directories that lead there. Directories have the attributes they had last.
///
/// # Errors
///
/// Fails where more than [`MAX_LOST`] names go, or where all trees together hold more than one can.
pub fn build_lost(
    layers: impl IntoIterator<Item = impl Borrow<Records>>,
) -> Result<Vec<FileTree>, TooManyLost> {
    build_lost_within(Limits::default(), layers)
}

/// Makes the same with room for less.
pub(super) fn build_lost_within(
    limits: Limits,
    layers: impl IntoIterator<Item = impl Borrow<Records>>,
) -> Result<Vec<FileTree>, TooManyLost> {
    let mut merge = Merge::new();
    merge.tree = Builder::with_limits(limits);
    merge.tree.losses = Some(Losses::default());
    let mut count = 0;
    for records in layers {
        merge.apply(count, records.borrow());
        count += 1;
        if merge.tree.losses.as_ref().is_some_and(|losses| losses.all.len() > MAX_LOST) {
            return Err(TooManyLost);
        }
    }
    let Merge { tree, problems, .. } = merge;
    match problems.say_full() {
        true => Err(TooManyLost),
        false => Sorter::new(tree).sort(count),
    }
}

/// What a builder loses, where that is kept.
#[derive(Default)]
pub(super) struct Losses {
    /// The layer being applied; see [`Merge`].
    epoch: u32,
    /// What went in this layer, or may yet turn out to have stayed.
    noted: Vec<Loss>,
    all: Vec<Loss>,
}

/// A name that went.
#[derive(Clone, Copy)]
struct Loss {
    dir: u32,
    name: u32,
    node: u32,
    /// Who made the entry.
    made: u32,
    /// In which epoch it went.
    epoch: u32,
    /// Whether a waiting hard link took the place, which may lead to the very node that was there.
    to_link: bool,
}

impl Builder {
    /// Begins the next layer.
    pub(super) fn losses_begin(&mut self, epoch: u32) {
        if let Some(losses) = &mut self.losses {
            losses.epoch = epoch;
        }
    }

    /// Notes that an entry is about to lose its node.
    ///
    /// What the layer itself brought before is none of its losses; but a directory is always noted, for older things
    /// may be in it.
    pub(super) fn note_loss(&mut self, entry: u32, to_link: bool) {
        let Some(losses) = &mut self.losses else { return };
        let entry = self.entries[entry as usize];
        let row = &mut self.nodes[entry.node as usize];
        let is_older = row.tag != Tag::Pending && entry.made >> 1 < losses.epoch;
        if is_older || row.tag == Tag::Directory {
            row.links += 1;
            let (dir, name, node, made) = (entry.dir, entry.name, entry.node, entry.made);
            losses.noted.push(Loss { dir, name, node, made, epoch: losses.epoch, to_link });
        }
    }

    /// Ends a layer: where a hard link led to what was there before, nothing went.
    pub(super) fn losses_end(&mut self) {
        let noted = self.losses.as_mut().map(|losses| std::mem::take(&mut losses.noted)).unwrap_or_default();
        for loss in noted {
            let stays = loss.to_link.then(|| self.find_at(loss.dir, loss.name)).flatten();
            match stays.filter(|entry| self.entry(*entry).node == loss.node) {
                Some(entry) => {
                    self.entry_mut(entry).made = loss.made;
                    self.release(loss.node);
                }
                None => self.losses.iter_mut().for_each(|losses| losses.all.push(loss)),
            }
        }
    }

    /// Returns the entry in `dir` of the name that stands at `name` among the bytes.
    fn find_at(&self, dir: u32, name: u32) -> Option<u32> {
        self.find(dir, name_at(&self.bytes, name))
    }
}

/// A directory on the way through all that is and was there.
#[derive(Clone, Copy)]
struct Visit {
    dir: u32,
    /// What was made in this epoch or later never showed: the directory had gone.
    before: u32,
    /// The directory that the root filesystem has in this place, or none.
    twin: u32,
}

/// A name to show, ordered by its layer and then as the layer brought it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Shown {
    layer: u32,
    node: u32,
    dir: u32,
    name: u32,
}

struct Sorter {
    old: Builder,
    /// By directory.
    lost: Vec<Loss>,
    /// The name of each directory that was met, in its parent.
    names: Vec<u32>,
    shown: Vec<Shown>,
    /// How much the trees to come may hold: all of them together no more than one. A file that has a name of each
    /// layer is in the tree of each, and so is a directory.
    left: Limits,
}

impl Sorter {
    fn new(mut old: Builder) -> Self {
        let mut lost = old.losses.take().map(|losses| losses.all).unwrap_or_default();
        lost.sort_unstable_by_key(|loss| loss.dir);
        let names = vec![NONE; old.nodes.len()];
        let left = old.limits;
        Self { old, lost, names, shown: Vec::new(), left }
    }

    fn sort(mut self, layers: u32) -> Result<Vec<FileTree>, TooManyLost> {
        self.walk();
        self.shown.sort_unstable();
        let mut rest = &self.shown[..];
        let mut trees = Vec::new();
        for layer in 0..layers {
            let (own, others) = rest.split_at(rest.partition_point(|shown| shown.layer <= layer));
            rest = others;
            let tree = self.tree(own)?;
            self.left.nodes = self.left.nodes.saturating_sub(tree.nodes.len());
            self.left.regions -= tree.extents.len();
            self.left.bytes = self.left.bytes.saturating_sub(tree.bytes.len());
            trees.push(freeze(tree));
        }
        Ok(trees)
    }

    /// Goes through every directory that is or was there.
    fn walk(&mut self) {
        let mut todo = vec![Visit { dir: 0, before: NONE, twin: 0 }];
        while let Some(visit) = todo.pop() {
            let mut entry = self.old.row(visit.dir).a;
            while entry != NONE {
                let live = *self.old.entry(entry);
                self.meet(visit, live.name, live.node, live.made, visit.before, &mut todo);
                entry = live.next;
            }
            let from = self.lost.partition_point(|loss| loss.dir < visit.dir);
            for at in from..self.lost.len() {
                let loss = self.lost[at];
                if loss.dir != visit.dir {
                    break;
                }
                self.meet(visit, loss.name, loss.node, loss.made, visit.before.min(loss.epoch), &mut todo);
            }
        }
    }

    fn meet(&mut self, at: Visit, name: u32, node: u32, made: u32, before: u32, todo: &mut Vec<Visit>) {
        let is_directory = self.old.row(node).tag == Tag::Directory;
        let epoch = made >> 1;
        if !is_directory && (before == NONE || epoch >= before) {
            return;
        }
        let has = |dir: u32| self.old.find_at(dir, name).map(|entry| self.old.entry(entry).node);
        let twin = if at.twin == NONE { None } else { has(at.twin) };
        if is_directory {
            let seen = &mut self.names[node as usize];
            if *seen == NONE {
                *seen = name;
                let twin = twin.filter(|twin| self.old.row(*twin).tag == Tag::Directory).unwrap_or(NONE);
                todo.push(Visit { dir: node, before, twin });
            }
        } else if twin != Some(node) {
            self.shown.push(Shown { layer: epoch - 1, node, dir: at.dir, name });
        }
    }

    /// Makes the tree of what one layer lost.
    fn tree(&self, shown: &[Shown]) -> Result<Builder, TooManyLost> {
        let mut tree = Builder::with_limits(self.left);
        let root = self.row(0, &mut tree)?;
        *tree.row_mut(0) = Row { links: 1, ..root };
        let (mut dirs, mut files) = (HashMap::from([(0, 0)]), HashMap::new());
        let mut way = Vec::new();
        for one in shown {
            let mut at = one.dir;
            while !dirs.contains_key(&at) {
                way.push(at);
                at = self.old.row(at).size as u32;
            }
            let mut dir = dirs[&at];
            while let Some(old) = way.pop() {
                let row = self.row(old, &mut tree)?;
                let new = tree.add_node(row)?;
                tree.attach(dir, name_at(&self.old.bytes, self.names[old as usize]), new, 0)?;
                dirs.insert(old, new);
                dir = new;
            }
            let node = match files.get(&one.node) {
                Some(node) => *node,
                None => {
                    let row = self.row(one.node, &mut tree)?;
                    *files.entry(one.node).or_insert(tree.add_node(row)?)
                }
            };
            tree.attach(dir, name_at(&self.old.bytes, one.name), node, 0)?;
        }
        Ok(tree)
    }

    /// Copies what a row says to where `tree` keeps it; a directory comes without what is in it.
    fn row(&self, node: u32, tree: &mut Builder) -> Result<Row, Full> {
        let mut row = *self.old.row(node);
        let (a, b) = (row.a as usize, row.b as usize);
        match row.tag {
            Tag::Directory => (row.a, row.b, row.size) = (NONE, 0, 0),
            Tag::Symlink => row.a = tree.store(&self.old.bytes[a..a + b])?,
            Tag::Pieces => {
                (row.a, row.b) = tree.store_extents(self.old.extents[a..a + b].iter().copied())?;
            }
            Tag::Whole | Tag::CharDevice | Tag::BlockDevice | Tag::Fifo => {}
            Tag::Pending | Tag::Free => unreachable!("links are settled at the end of each layer"),
        }
        row.xattrs = tree.store_xattrs(packed_at(&self.old.bytes, row.xattrs))?;
        Ok(row)
    }
}
