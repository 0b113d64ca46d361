//! A tree that can still change: the only way to make a [`FileTree`](super::FileTree).
//!
//! Nodes, entries and bytes lie in three arenas with free lists, so that a million entries need no allocation of
//! their own; a hash index finds an entry by directory and name. Nothing recurses, however deep the tree.

use super::lost::Losses;
use super::node::{Row, Tag, name_at};
use super::table::Table;
use super::{Extent, name, varint};
use std::hash::{BuildHasher, RandomState};

/// Most nodes of one tree. Paths of two-byte components make more nodes than the archive has entries, so the
/// bound on entries does not bound them.
pub(super) const MAX_NODES: usize = 1 << 24;

/// Most regions of all sparse files of one tree, each of which takes 24 bytes here and may take three in a layer. A
/// file has 2^20 at most, and real images few.
pub(super) const MAX_REGIONS: usize = 1 << 24;

/// Most bytes of names, symlink targets and extended attributes of one tree, those that went included: two million
/// names of 255 bytes, or 31 bytes for each of [`MAX_NODES`]. What goes is not taken out of them, so without a bound of
/// its own a file stated again and again with other attributes would fill the 4 GiB that places among them can name.
pub(super) const MAX_BYTES: usize = 512 << 20;

/// The absence of a node or an entry.
pub(super) const NONE: u32 = u32::MAX;

/// The tree has reached [`MAX_NODES`], [`MAX_REGIONS`] or [`MAX_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// How much a tree may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) nodes: usize,
    pub(super) regions: usize,
    pub(super) bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { nodes: MAX_NODES, regions: MAX_REGIONS, bytes: MAX_BYTES }
    }
}

/// One name in one directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) name: u32,
    /// [`NONE`] while the entry is not in use.
    pub(super) node: u32,
    pub(super) dir: u32,
    /// Who made the entry; means nothing here.
    pub(super) made: u32,
    pub(super) next: u32,
    previous: u32,
}

/// A tree under construction.
pub(super) struct Builder {
    pub(super) nodes: Vec<Row>,
    pub(super) entries: Vec<Entry>,
    pub(super) bytes: Vec<u8>,
    pub(super) extents: Vec<Extent>,
    table: Table,
    hasher: RandomState,
    free_node: u32,
    free_entry: u32,
    /// The extended attributes written last: many files in a row have the same.
    last_xattrs: std::ops::Range<usize>,
    pub(super) limits: Limits,
    /// Counts how often something that a path can lead through went away.
    pub(super) turns: u64,
    /// Entries with names of AUFS bookkeeping, some of them gone again.
    pub(super) metadata: Vec<u32>,
    /// What went, where that is kept.
    pub(super) losses: Option<Losses>,
}

impl Builder {
    /// Makes a tree of a root alone: 0755, owner 0:0, time 0.
    pub(super) fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    /// Makes the same with room for less.
    pub(super) fn with_limits(limits: Limits) -> Self {
        Self {
            nodes: vec![Row { links: 1, ..implied_directory(0) }],
            entries: Vec::new(),
            // Offset 0 is "no extended attributes": a length of 0.
            bytes: vec![0],
            extents: Vec::new(),
            table: Table::default(),
            hasher: RandomState::new(),
            free_node: NONE,
            free_entry: NONE,
            last_xattrs: 0..0,
            limits,
            turns: 0,
            metadata: Vec::new(),
            losses: None,
        }
    }

    /// Says whether nothing was ever added.
    pub(super) fn is_bare(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn row(&self, node: u32) -> &Row {
        &self.nodes[node as usize]
    }

    pub(super) fn row_mut(&mut self, node: u32) -> &mut Row {
        &mut self.nodes[node as usize]
    }

    pub(super) fn entry(&self, entry: u32) -> &Entry {
        &self.entries[entry as usize]
    }

    pub(super) fn entry_mut(&mut self, entry: u32) -> &mut Entry {
        &mut self.entries[entry as usize]
    }

    pub(super) fn name(&self, entry: u32) -> &[u8] {
        name_at(&self.bytes, self.entry(entry).name)
    }

    /// Hashes a name, for sets of names that need not keep them.
    pub(super) fn hash_name(&self, name: &[u8]) -> u64 {
        self.hasher.hash_one(name)
    }

    fn hash(&self, dir: u32, name: &[u8]) -> u32 {
        self.hasher.hash_one((dir, name)) as u32
    }

    /// Returns the entry called `name` in the directory `dir`.
    pub(super) fn find(&self, dir: u32, name: &[u8]) -> Option<u32> {
        self.table
            .find(self.hash(dir, name), |entry| self.entry(entry).dir == dir && self.name(entry) == name)
    }

    /// Adds a node without a name.
    pub(super) fn add_node(&mut self, row: Row) -> Result<u32, Full> {
        let row = Row { links: 0, ..row };
        if self.free_node != NONE {
            let node = self.free_node;
            self.free_node = self.row(node).a;
            *self.row_mut(node) = row;
            return Ok(node);
        }
        if self.nodes.len() >= self.limits.nodes {
            return Err(Full);
        }
        self.nodes.push(row);
        Ok(self.nodes.len() as u32 - 1)
    }

    /// Gives `node` the name `name`, which `dir` does not have yet. If that fails and the node has no other name,
    /// it goes.
    pub(super) fn attach(&mut self, dir: u32, name: &[u8], node: u32, made: u32) -> Result<u32, Full> {
        let attached = self.try_attach(dir, name, node, made);
        if attached.is_err() {
            self.hold(node);
            self.release(node);
        }
        attached
    }

    fn try_attach(&mut self, dir: u32, name: &[u8], node: u32, made: u32) -> Result<u32, Full> {
        let length = u8::try_from(name.len()).expect("names are cleaned before they get here");
        let at = self.room(name.len() + 1)?;
        if self.free_entry == NONE && self.entries.len() >= 2 * self.limits.nodes {
            return Err(Full);
        }
        self.bytes.push(length);
        self.bytes.extend_from_slice(name);
        let first = self.row(dir).a;
        let new = Entry { name: at, node, dir, made, next: first, previous: NONE };
        let entry = match self.free_entry {
            NONE => {
                self.entries.push(new);
                self.entries.len() as u32 - 1
            }
            entry => {
                self.free_entry = self.entry(entry).next;
                *self.entry_mut(entry) = new;
                entry
            }
        };
        if first != NONE {
            self.entry_mut(first).previous = entry;
        }
        let row = self.row_mut(dir);
        row.a = entry;
        row.b += 1;
        self.table.insert(self.hash(dir, name), entry);
        if name.starts_with(name::METADATA) {
            self.metadata.push(entry);
        }
        self.adopt(dir, node);
        Ok(entry)
    }

    /// Makes an entry name another node; the old one goes if this was its last name.
    pub(super) fn point(&mut self, entry: u32, node: u32, made: u32) {
        self.note_loss(entry, false);
        let old = self.entry(entry).node;
        let dir = self.entry(entry).dir;
        self.adopt(dir, node);
        let entry = self.entry_mut(entry);
        entry.node = node;
        entry.made = made;
        self.release(old);
    }

    /// Makes an entry name a waiting link, which keeps what was there before.
    pub(super) fn displace(&mut self, entry: u32, pending: u32, made: u32) {
        self.note_loss(entry, true);
        self.row_mut(pending).b = self.entry(entry).node;
        self.row_mut(pending).links += 1;
        let entry = self.entry_mut(entry);
        (entry.node, entry.made) = (pending, made);
        self.turns += 1;
    }

    /// Puts back what was there before a waiting link, or takes the entry out if nothing was.
    pub(super) fn restore(&mut self, entry: u32, made: u32) {
        let pending = self.entry(entry).node;
        let before = std::mem::replace(&mut self.row_mut(pending).b, NONE);
        if before == NONE {
            self.detach(entry);
        } else {
            let row = self.entry_mut(entry);
            (row.node, row.made) = (before, made);
            self.release(pending);
        }
    }

    fn adopt(&mut self, dir: u32, node: u32) {
        let row = self.row_mut(node);
        row.links += 1;
        if row.tag == Tag::Directory {
            row.size = dir.into();
        }
    }

    /// Keeps a node alive without a name, until [`release`](Self::release).
    pub(super) fn hold(&mut self, node: u32) {
        self.row_mut(node).links += 1;
    }

    /// Takes an entry out; its node goes if this was its last name.
    pub(super) fn detach(&mut self, entry: u32) {
        self.note_loss(entry, false);
        let Entry { node, dir, next, previous, .. } = *self.entry(entry);
        match previous {
            NONE => self.row_mut(dir).a = next,
            _ => self.entry_mut(previous).next = next,
        }
        if next != NONE {
            self.entry_mut(next).previous = previous;
        }
        self.row_mut(dir).b -= 1;
        self.forget(entry);
        self.release(node);
    }

    /// Takes everything out of a directory.
    pub(super) fn clear(&mut self, dir: u32) {
        let mut entry = self.row(dir).a;
        while entry != NONE {
            let next = self.entry(entry).next;
            self.detach(entry);
            entry = next;
        }
    }

    /// Gives back an entry that its directory no longer lists.
    fn forget(&mut self, entry: u32) {
        let hash = self.hash(self.entry(entry).dir, self.name(entry));
        self.table.remove(hash, entry);
        let next = self.free_entry;
        let row = self.entry_mut(entry);
        row.node = NONE;
        row.next = next;
        self.free_entry = entry;
    }

    /// Takes one name or hold off a node, and frees it and what only it kept, when that was the last.
    pub(super) fn release(&mut self, node: u32) {
        let mut doomed = vec![node];
        while let Some(node) = doomed.pop() {
            let row = self.row_mut(node);
            row.links -= 1;
            if matches!(row.tag, Tag::Directory | Tag::Symlink | Tag::Pending) {
                self.turns += 1;
            }
            let row = *self.row(node);
            if row.links > 0 {
                continue;
            }
            match row.tag {
                Tag::Directory => {
                    let mut entry = row.a;
                    while entry != NONE {
                        let next = self.entry(entry).next;
                        doomed.push(self.entry(entry).node);
                        self.forget(entry);
                        entry = next;
                    }
                }
                Tag::Pending if row.b != NONE => doomed.push(row.b),
                _ => {}
            }
            *self.row_mut(node) = Row { tag: Tag::Free, a: self.free_node, ..row };
            self.free_node = node;
        }
    }

    /// Stores bytes and returns where they stand.
    pub(super) fn store(&mut self, bytes: &[u8]) -> Result<u32, Full> {
        let at = self.room(bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        Ok(at)
    }

    /// Stores the pieces of a sparse file and returns where they stand, and how many they are.
    pub(super) fn store_extents(
        &mut self,
        extents: impl Iterator<Item = Extent>,
    ) -> Result<(u32, u32), Full> {
        let start = self.extents.len();
        let room = self.limits.regions.saturating_sub(start);
        self.extents.extend(extents.take(room + 1));
        let count = self.extents.len() - start;
        if count > room {
            self.extents.truncate(start);
            return Err(Full);
        }
        Ok((start as u32, count as u32))
    }

    /// Stores packed extended attributes and returns where they stand.
    pub(super) fn store_xattrs(&mut self, packed: &[u8]) -> Result<u32, Full> {
        if packed.is_empty() {
            return Ok(0);
        }
        let last = self.last_xattrs.clone();
        if &self.bytes[last.clone()] != packed {
            let at = self.room(packed.len() + 10)?;
            varint::put_bytes(&mut self.bytes, packed);
            self.last_xattrs = self.bytes.len() - packed.len()..self.bytes.len();
            return Ok(at);
        }
        let mut length = Vec::new();
        varint::put(&mut length, packed.len() as u64);
        Ok((last.start - length.len()) as u32)
    }

    fn room(&self, more: usize) -> Result<u32, Full> {
        self.bytes
            .len()
            .checked_add(more)
            .filter(|end| *end <= self.limits.bytes)
            .map(|_| self.bytes.len() as u32)
            .ok_or(Full)
    }
}

/// A directory that no entry states: 0755, owner 0:0, time 0 (fixed, so that every mount shows the same).
pub(super) fn implied_directory(layer: u32) -> Row {
    Row {
        seconds: 0,
        size: 0,
        nanos: 0,
        uid: 0,
        gid: 0,
        links: 0,
        a: NONE,
        b: 0,
        xattrs: 0,
        layer,
        mode: 0o755,
        tag: Tag::Directory,
    }
}

const _: () = assert!(MAX_BYTES <= u32::MAX as usize, "a place among the bytes fits into 32 bits");
