//! Applying layers: whiteouts, and entries in archive order.
//!
//! Each layer is applied in two steps. First its whiteouts and opaque markers act on what lies below; then its
//! entries are added. So a marker never touches its own layer, wherever it stands in the archive
//! (image-spec, layer.md, "Whiteouts").

use super::builder::{Builder, NONE, implied_directory};
use super::freeze::freeze;
use super::name::{self, MAX_TARGET, Marker};
use super::node::{Row, Tag};
use super::pending::{Link, Pending};
use super::problem::{Complaint, Problem, Problems};
use super::records::{RecordKind, Records, Stored};
use super::resolve::{Missing, Stuck, Walker};
use super::{FileTree, Time};
use std::borrow::Borrow;
use std::collections::HashSet;

/// Makes the tree of one layer alone: whiteout markers are the files they are, nothing is merged or hidden.
///
/// `layer` is the number that nodes and problems carry. A hard link to what only a lower layer holds is left out, and
/// that is no problem: this layer does not have the bytes.
pub fn build_layer(layer: u32, records: &Records) -> (FileTree, Vec<Problem>) {
    let mut merge = Merge { markers: Markers::Shown, ..Merge::new() };
    merge.apply(layer, records);
    merge.finish()
}

/// Makes the root filesystem of layers, the base first, numbered from 0.
///
/// Each layer's records are dropped before the next are asked for. What the root filesystem looks like after
/// layer N, the first N + 1 layers say.
pub fn build_rootfs(layers: impl IntoIterator<Item = impl Borrow<Records>>) -> (FileTree, Vec<Problem>) {
    let mut merge = Merge::new();
    for (layer, records) in (0..).zip(layers) {
        merge.apply(layer, records.borrow());
    }
    merge.finish()
}

/// What whiteout markers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Markers {
    Applied,
    Shown,
}

/// A parent and a last component.
type Split<'a> = (&'a [u8], &'a [u8]);

/// A root filesystem that takes one layer after the other.
pub struct Merge {
    pub(super) tree: Builder,
    markers: Markers,
    pub(super) layer: u32,
    /// Counts the layers applied, so that an entry can tell whether the current layer made it.
    pub(super) epoch: u32,
    pub(super) walker: Walker,
    pub(super) pending: Vec<Pending>,
    /// The hashes of all last components of the current layer, once they were needed.
    pub(super) last_names: Option<HashSet<u64>>,
    /// Room for the path that is being looked up.
    pub(super) target: Vec<u8>,
    pub(super) problems: Problems,
}

impl Default for Merge {
    fn default() -> Self {
        Self::new()
    }
}

impl Merge {
    /// Begins with an empty root: 0755, owner 0:0, time 0.
    pub fn new() -> Self {
        Self {
            tree: Builder::new(),
            markers: Markers::Applied,
            layer: 0,
            epoch: 0,
            walker: Walker::default(),
            pending: Vec::new(),
            last_names: None,
            target: Vec::new(),
            problems: Problems::default(),
        }
    }

    /// Applies the next layer; `layer` is the number that its nodes and problems carry.
    pub fn apply(&mut self, layer: u32, records: &Records) {
        self.layer = layer;
        self.epoch += 1;
        self.walker.next_layer(layer, self.epoch, records.len());
        self.problems.next_layer();
        self.tree.losses_begin(self.epoch);
        // What hard links mean in the tree below is asked before the whiteouts take anything from it.
        let below = self.targets_below(records);
        if self.markers == Markers::Applied && records.has_markers() && !self.tree.is_bare() {
            self.hide(records);
        }
        let (mut path, mut link) = (Vec::new(), 0);
        let mut entries = records.iter();
        loop {
            let at = entries.place();
            let Some(stored) = entries.next() else { break };
            let added = self.enter(&stored, &mut path).and_then(|spot| match (spot, stored.kind) {
                (None, _) => Ok(()),
                (Some((parent, last)), RecordKind::HardLink { target }) => {
                    let below = below.get(link).copied().unwrap_or(NONE);
                    self.link(&Link { records, stored, at, below, target, parent, last })
                }
                (Some((parent, last)), _) => self.put(&stored, parent, last),
            });
            link += usize::from(matches!(stored.kind, RecordKind::HardLink { .. }));
            if let Err(what) = added {
                self.report(&stored, what);
            }
            if std::mem::take(&mut self.walker.overwrote) {
                self.report(&stored, Complaint::ParentReplaced);
            }
        }
        self.settle(records);
        self.last_names = None;
        self.drop_metadata();
        for node in below.into_iter().filter(|node| *node != NONE) {
            self.tree.release(node);
        }
        self.tree.losses_end();
    }

    /// Finishes the tree, and says what was wrong with the layers.
    pub fn finish(self) -> (FileTree, Vec<Problem>) {
        (freeze(self.tree), self.problems.into_vec())
    }

    pub(super) fn report(&mut self, stored: &Stored<'_>, what: Complaint) {
        // In a layer alone a link to a file of a lower layer is ordinary; what dangles in the image, all layers tell.
        if self.markers == Markers::Shown && matches!(what, Complaint::LinkMissing { .. }) {
            return;
        }
        self.problems.add(self.layer, stored.header_offset, stored.path, what);
    }

    /// Takes out what AUFS left behind, now that hard links to it have their inodes.
    fn drop_metadata(&mut self) {
        let entries = std::mem::take(&mut self.tree.metadata);
        if self.markers == Markers::Shown {
            return;
        }
        for entry in entries {
            if self.tree.entry(entry).node != NONE && self.tree.name(entry).starts_with(name::METADATA) {
                self.tree.detach(entry);
            }
        }
    }

    /// Cleans an entry's path into `path` and returns its parent and last component; `None` where there is nothing
    /// more to add.
    fn enter<'a>(
        &mut self,
        stored: &Stored<'_>,
        path: &'a mut Vec<u8>,
    ) -> Result<Option<Split<'a>>, Complaint> {
        if name::clean(stored.path, path)? {
            self.report(stored, Complaint::DotDot);
        }
        if path.is_empty() {
            return self.set_root(stored).map(|()| None);
        }
        let (parent, last) = name::split(path);
        if self.markers == Markers::Applied {
            match name::marker(last) {
                Marker::Invalid => return Err(Complaint::BadMarker),
                Marker::Whiteout(_) | Marker::Opaque => return Ok(None),
                // Added like anything else, for hard links may lead to it; `drop_metadata` hides it.
                Marker::Metadata | Marker::None => {}
            }
        }
        Ok(Some((parent, last)))
    }

    fn set_root(&mut self, stored: &Stored<'_>) -> Result<(), Complaint> {
        if stored.kind != RecordKind::Directory {
            return Err(Complaint::RootNotDirectory);
        }
        self.set_attributes(0, stored)
    }

    /// Gives a directory the attributes that an entry states, all of them; its children stay.
    fn set_attributes(&mut self, dir: u32, stored: &Stored<'_>) -> Result<(), Complaint> {
        let stated = self.stated(stored, Tag::Directory)?;
        let row = self.tree.row_mut(dir);
        *row = Row { size: row.size, links: row.links, a: row.a, b: row.b, ..stated };
        Ok(())
    }

    fn put(&mut self, stored: &Stored<'_>, parent: &[u8], last: &[u8]) -> Result<(), Complaint> {
        match stored.kind {
            RecordKind::Symlink { target: [] } => return Err(Complaint::EmptyTarget),
            RecordKind::Symlink { target } if target.len() > MAX_TARGET => {
                return Err(Complaint::LongTarget(target.len()));
            }
            _ => {}
        }
        let dir = self.parent(parent)?;
        let old = self.tree.find(dir, last);
        if let (RecordKind::Directory, Some(entry)) = (stored.kind, old) {
            let node = self.tree.entry(entry).node;
            if self.tree.row(node).tag == Tag::Directory {
                self.set_attributes(node, stored)?;
                self.note_duplicate(stored, entry, true);
                self.tree.entry_mut(entry).made = self.explicit();
                return Ok(());
            }
        }
        let row = self.row(stored)?;
        let node = self.tree.add_node(row)?;
        self.place(stored, dir, last, old, node)
    }

    /// Returns the entry of a name in the directory that a path leads to, as the tree is now.
    pub(super) fn find(&mut self, parent: &[u8], last: &[u8]) -> Result<Option<u32>, Stuck> {
        let dir = self.walker.directory(&mut self.tree, parent, Missing::Stop)?;
        Ok(dir.and_then(|dir| self.tree.find(dir, last)))
    }

    /// Returns the directory for an entry, made where it is missing.
    pub(super) fn parent(&mut self, path: &[u8]) -> Result<u32, Complaint> {
        let found = self.walker.directory(&mut self.tree, path, Missing::Make)?;
        Ok(found.expect("a directory that is missing is made"))
    }

    /// Gives a node its name, in the place of the entry `old` if there is one.
    pub(super) fn place(
        &mut self,
        stored: &Stored<'_>,
        dir: u32,
        last: &[u8],
        old: Option<u32>,
        node: u32,
    ) -> Result<(), Complaint> {
        let made = self.explicit();
        match old {
            Some(entry) => {
                self.note_duplicate(stored, entry, false);
                self.tree.point(entry, node, made);
            }
            None => drop(self.tree.attach(dir, last, node, made)?),
        }
        Ok(())
    }

    /// Reports that an entry takes the place of one that the same layer stated.
    pub(super) fn note_duplicate(&mut self, stored: &Stored<'_>, entry: u32, keeps_children: bool) {
        let made = self.tree.entry(entry).made;
        // A parent that was only implied so far may well be stated later.
        if made == self.explicit() || made == self.epoch << 1 && !keeps_children {
            self.report(stored, Complaint::Duplicate);
        }
    }

    /// Marks an entry that the current layer states, as against one that its paths imply.
    pub(super) fn explicit(&self) -> u32 {
        self.epoch << 1 | 1
    }

    /// Says whether the current layer made an entry.
    pub(super) fn is_own(&self, entry: u32) -> bool {
        self.tree.entry(entry).made >> 1 == self.epoch
    }

    /// Makes the row of an entry that is not a hard link.
    fn row(&mut self, stored: &Stored<'_>) -> Result<Row, Complaint> {
        let (tag, a, b) = match stored.kind {
            RecordKind::Directory => (Tag::Directory, NONE, 0),
            RecordKind::Regular => self.contents(stored)?,
            RecordKind::Symlink { target } => (Tag::Symlink, self.tree.store(target)?, target.len() as u32),
            RecordKind::CharDevice { major, minor } => (Tag::CharDevice, major, minor),
            RecordKind::BlockDevice { major, minor } => (Tag::BlockDevice, major, minor),
            RecordKind::Fifo => (Tag::Fifo, 0, 0),
            RecordKind::HardLink { .. } => unreachable!("hard links have no row of their own"),
        };
        Ok(Row { a, b, size: stored.size, ..self.stated(stored, tag)? })
    }

    fn stated(&mut self, stored: &Stored<'_>, tag: Tag) -> Result<Row, Complaint> {
        let Time { seconds, nanos } = stored.mtime;
        let Stored { mode, uid, gid, .. } = *stored;
        let xattrs = self.tree.store_xattrs(stored.packed_xattrs())?;
        Ok(Row { seconds, nanos, mode, uid, gid, xattrs, tag, ..implied_directory(self.layer) })
    }

    fn contents(&mut self, stored: &Stored<'_>) -> Result<(Tag, u32, u32), Complaint> {
        let mut extents = stored.extents().peekable();
        match extents.peek() {
            None if stored.size == 0 => Ok((Tag::Whole, 0, 0)),
            Some(first) if first.length == stored.size => {
                Ok((Tag::Whole, first.stream_offset as u32, (first.stream_offset >> 32) as u32))
            }
            _ => {
                let (start, count) = self.tree.store_extents(extents)?;
                Ok((Tag::Pieces, start, count))
            }
        }
    }
}
