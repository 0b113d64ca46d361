//! What the user sees: every question the kernel can ask, answered without knowing a kernel.
//!
//! The mount is made of trees. Each stands in a *slot*; places in one tree where another appears are *grafts*, grown
//! when somebody first looks. Blobs are inodes of their own, shown by as many directories as name them.

mod attr;
mod blobs;
mod directories;
mod error;
mod graft;
mod history;
mod ino;
mod links;
mod names;
mod skeleton;
mod stats;
mod xattrs;

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::RwLock;

use crate::image::Catalog;
use crate::oci::Platform;
use crate::problems::Problem;

use blobs::{BlobId, BlobTable, Row};
use directories::Plan;
use graft::{Graft, Slot, Tree};
use ino::SlotId;
use links::Links;
use skeleton::{Content, Kind, Skeleton};
use stats::{add, get};

pub use attr::{Attr, FileKind, Time};
pub use error::Error;
pub use ino::Ino;
pub use stats::ViewStats;

/// Most trees a mount can number: what an inode number leaves for the slot.
const MAX_SLOTS: usize = 1 << 24;

/// How the view shows things.
#[derive(Clone, Debug, Default)]
pub struct ViewOptions {
    /// The group of the catalog that the root shows, where one was chosen.
    pub image: Option<usize>,
    /// Shows this platform only.
    pub platform: Option<Platform>,
    /// Who owns what has no owner of its own.
    pub owner: (u32, u32),
    /// Shows everything as this user's.
    pub uid: Option<u32>,
    /// Shows everything as this group's.
    pub gid: Option<u32>,
}

/// A child of a directory, as listing shows it.
#[derive(Debug)]
pub struct Child<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// What stat shows of it.
    pub attr: Attr,
    /// Where to go on listing after it.
    pub next: u64,
}

/// Size of what the mount shows, for statfs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Bytes of all blobs.
    pub bytes: u64,
    /// Number of blobs.
    pub blobs: u64,
}

/// The whole mount: looked up, listed, described and read by inode number.
pub struct View {
    /// Shared with the thread that counts links, and with nobody else.
    state: Arc<State>,
}

struct State {
    catalog: Catalog,
    options: ViewOptions,
    blobs: BlobTable,
    slots: RwLock<Vec<Arc<Slot>>>,
    links: Arc<Links>,
    stats: ViewStats,
    /// For the thread that counts links.
    myself: Weak<State>,
}

type Result<T> = std::result::Result<T, Error>;

impl View {
    /// Makes a view of `catalog`. Reads nothing.
    pub fn new(catalog: Catalog, options: ViewOptions) -> Self {
        let root = Arc::new(Slot::new(Ino::ROOT, "", Graft::Root));
        // The slot of the blobs holds no tree: see `blob`.
        let unused = Arc::new(Slot::new(Ino::ROOT, "", Graft::Failed(Box::new(Error::Stale))));
        let state = Arc::new_cyclic(|myself| State {
            catalog,
            options,
            blobs: BlobTable::default(),
            slots: RwLock::new(vec![root, unused]),
            links: Arc::default(),
            stats: ViewStats::default(),
            myself: myself.clone(),
        });
        Self { state }
    }

    /// Finds `name` in a directory.
    pub fn lookup(&self, parent: Ino, name: &[u8]) -> Result<Attr> {
        add(&self.state.stats.lookups, 1);
        self.reported(parent, || self.state.lookup(parent, name))
    }

    /// Describes a node.
    pub fn attr(&self, ino: Ino) -> Result<Attr> {
        self.reported(ino, || self.state.attr(ino))
    }

    /// Lists a directory from `from` on (0 at first, then [`Child::next`]), until `take` says no.
    pub fn list(&self, ino: Ino, from: u64, take: &mut dyn FnMut(&Child<'_>) -> bool) -> Result<()> {
        add(&self.state.stats.listings, 1);
        self.reported(ino, || self.state.list(ino, from, take))
    }

    /// Returns the directory a directory stands in; the root stands in itself.
    pub fn parent(&self, ino: Ino) -> Result<Ino> {
        self.state.parent(ino)
    }

    /// Returns where a symlink points.
    pub fn link_target(&self, ino: Ino) -> Result<Vec<u8>> {
        self.state.link_target(ino)
    }

    /// Reads at most `len` bytes from `offset` on; fewer means the end.
    pub fn read(&self, ino: Ino, offset: u64, len: usize) -> Result<Vec<u8>> {
        add(&self.state.stats.reads, 1);
        let bytes = self.reported(ino, || self.state.read(ino, offset, len))?;
        add(&self.state.stats.read_bytes, bytes.len() as u64);
        Ok(bytes)
    }

    /// Returns the extended attributes of a node.
    pub fn xattrs(&self, ino: Ino) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.state.xattrs(ino)
    }

    /// Returns the size of everything.
    pub fn totals(&self) -> Totals {
        let held = self.state.catalog.store().held().unwrap_or_default();
        Totals {
            bytes: held.values().fold(0, |sum, size| sum.saturating_add(*size)),
            blobs: held.len() as u64,
        }
    }

    /// Says whether a directory's children can be told without reading any document or blob.
    pub fn is_grown(&self, ino: Ino) -> bool {
        self.state.is_grown(ino)
    }

    /// Says whether a read is answered without a pass over a whole blob.
    pub fn reads_at_once(&self, ino: Ino) -> bool {
        self.state.reads_at_once(ino)
    }

    /// Runs `ask`, and puts what is wrong with the source where people look.
    fn reported<T>(&self, ino: Ino, ask: impl FnOnce() -> Result<T>) -> Result<T> {
        ask().inspect_err(|e| {
            if e.is_problem() {
                add(&self.state.stats.failures, 1);
                self.state.catalog.problems().add(&Problem::new(self.state.path(ino), e));
            }
        })
    }
}

impl State {
    fn slot(&self, id: SlotId) -> Result<Arc<Slot>> {
        self.slots.read().get(id.0 as usize).cloned().ok_or(Error::Stale)
    }

    fn plan(&self, path: String) -> Plan<'_> {
        Plan { catalog: &self.catalog, blobs: &self.blobs, options: &self.options, root: self.root(), path }
    }

    fn root(&self) -> Option<usize> {
        let chosen = self.options.image.map(|n| self.catalog.groups()[n].same_as.unwrap_or(n));
        chosen.or_else(|| self.catalog.sole_image())
    }

    /// Returns the tree of a slot, growing it where nobody has looked yet.
    fn tree(&self, id: SlotId) -> Result<Arc<Tree>> {
        let slot = self.slot(id)?;
        slot.tree(|| {
            let mut path = self.path(Ino::root_of(id));
            if !path.is_empty() {
                path.push('/');
            }
            let mut skeleton = self.plan(path).build(&slot.graft)?;
            let grafts = std::mem::take(&mut skeleton.grafts);
            Ok(Tree { first_slot: self.add_slots(id, &skeleton, grafts)?, skeleton })
        })
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
            return Err(Error::TooManyTrees);
        }
        let first = u32::try_from(slots.len()).expect("below the bound");
        for (graft, place) in grafts.into_iter().zip(places) {
            let node = &skeleton.nodes[place];
            let parent = Ino::new(id, node.parent);
            slots.push(Arc::new(Slot::new(parent, &node.name, graft)));
        }
        Ok(first)
    }

    fn parts(ino: Ino) -> Result<(SlotId, u32)> {
        ino.parts().ok_or(Error::Stale)
    }

    fn lookup(&self, parent: Ino, name: &[u8]) -> Result<Attr> {
        let (slot, node) = Self::parts(parent)?;
        if slot == SlotId::BLOBS {
            return Err(Error::NotADirectory);
        }
        let tree = self.tree(slot)?;
        let child = tree.skeleton.child(node, name)?.ok_or(Error::NoSuchEntry)?;
        self.node_attr(slot, &tree, child)
    }

    fn attr(&self, ino: Ino) -> Result<Attr> {
        let (slot, node) = Self::parts(ino)?;
        match slot {
            SlotId::BLOBS => self.blob_attr(BlobId(node)),
            // The root of a tree is described without growing it.
            _ if node == 0 => {
                self.slot(slot)?;
                Ok(self.directory_attr(ino))
            }
            _ => self.node_attr(slot, &*self.tree(slot)?, node),
        }
    }

    fn node_attr(&self, slot: SlotId, tree: &Tree, node: u32) -> Result<Attr> {
        let ino = Ino::new(slot, node);
        let file =
            |kind, size, settled| Attr { kind, size, settled, mode: 0o444, ..self.directory_attr(ino) };
        Ok(match &tree.skeleton.node(node).ok_or(Error::Stale)?.kind {
            Kind::Directory(_) => self.directory_attr(ino),
            Kind::Graft(graft) => self.directory_attr(Ino::root_of(tree.slot_of(*graft))),
            Kind::Symlink(target) => {
                Attr { mode: 0o777, ..file(FileKind::Symlink, target.len() as u64, true) }
            }
            Kind::File(Content::Blob(id)) => return self.blob_attr(*id),
            Kind::File(Content::Text(text)) => file(FileKind::Regular, text.len() as u64, true),
            Kind::File(Content::Failed(_, size)) => file(FileKind::Regular, *size, true),
            Kind::File(content @ (Content::Problems | Content::Stats)) => {
                let text = self.live_text(content);
                // A time that moves with the content: it is what tells the kernel to forget the old pages.
                let mtime = Time::from(std::time::SystemTime::now());
                Attr { mtime, ..file(FileKind::Regular, text.len() as u64, false) }
            }
        })
    }

    fn directory_attr(&self, ino: Ino) -> Attr {
        Attr {
            ino,
            kind: FileKind::Directory,
            mode: 0o555,
            uid: self.options.uid.unwrap_or(self.options.owner.0),
            gid: self.options.gid.unwrap_or(self.options.owner.1),
            // 1 says "not counted" to find and fts, as on btrfs: what grows below is not known yet.
            nlink: 1,
            size: 0,
            mtime: self.catalog.store().modified().into(),
            rdev: (0, 0),
            settled: true,
        }
    }

    fn blob_attr(&self, id: BlobId) -> Result<Attr> {
        let row = self.row(id)?;
        let known = self.links(id);
        let empty = row.descriptor.size == 0 && !is_empty_content(&row);
        Ok(Attr {
            kind: FileKind::Regular,
            mode: 0o444,
            // A file of no bytes is never read, so a blob that cannot be empty would look like a good empty file.
            size: if empty { 1 } else { row.descriptor.size },
            // Whatever is shown has a name in blobs/ and one where it was met.
            nlink: known.unwrap_or(2),
            settled: known.is_some(),
            ..self.directory_attr(id.ino())
        })
    }

    fn row(&self, id: BlobId) -> Result<Row> {
        self.blobs.get(id.0).ok_or(Error::Stale)
    }

    /// Returns a blob's link count, where it is known or quickly taken.
    fn links(&self, id: BlobId) -> Option<u32> {
        if let Some(known) = self.links.of(id) {
            return Some(known);
        }
        if self.catalog.groups().len() <= links::MAX_AT_ONCE {
            self.links.count_now(|| self.count_links());
        } else if let Some(state) = self.myself.upgrade() {
            self.links.count_beside(move || state.count_links());
        }
        self.links.of(id)
    }

    /// Counts the names of all blobs, with the very functions that make the directories.
    fn count_links(&self) -> HashMap<BlobId, u32> {
        let mut counts: HashMap<BlobId, u32> = HashMap::new();
        let mut todo = vec![(Graft::Root, String::new())];
        while let Some((graft, path)) = todo.pop() {
            let Ok(mut skeleton) = self.plan(path.clone()).build(&graft) else { continue };
            for id in skeleton.blobs() {
                *counts.entry(id).or_default() += 1;
            }
            let mut grafts: Vec<Option<Graft>> =
                std::mem::take(&mut skeleton.grafts).into_iter().map(Some).collect();
            for (n, node) in skeleton.nodes.iter().enumerate() {
                let Kind::Graft(number) = node.kind else { continue };
                match grafts[number as usize].take() {
                    // Neither holds blobs.
                    None | Some(Graft::Pretty(_) | Graft::Failed(_)) => {}
                    Some(graft) => todo.push((graft, format!("{path}{}/", skeleton.path(n)))),
                }
            }
        }
        counts
    }

    fn list(&self, ino: Ino, from: u64, take: &mut dyn FnMut(&Child<'_>) -> bool) -> Result<()> {
        let (slot, node) = Self::parts(ino)?;
        if slot == SlotId::BLOBS {
            return Err(Error::NotADirectory);
        }
        let tree = self.tree(slot)?;
        let children = tree.skeleton.children(node)?;
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(children.len());
        for (n, &child) in children.iter().enumerate().skip(from) {
            let Some(found) = tree.skeleton.node(child).filter(|found| !found.hidden) else { continue };
            let attr = self.node_attr(slot, &tree, child)?;
            if !take(&Child { name: found.name.as_bytes(), attr, next: n as u64 + 1 }) {
                break;
            }
        }
        Ok(())
    }

    fn parent(&self, ino: Ino) -> Result<Ino> {
        let (slot, node) = Self::parts(ino)?;
        if slot == SlotId::BLOBS {
            return Err(Error::NotADirectory);
        }
        match node {
            0 => Ok(self.slot(slot)?.parent),
            _ => Ok(Ino::new(slot, self.tree(slot)?.skeleton.node(node).ok_or(Error::Stale)?.parent)),
        }
    }

    fn link_target(&self, ino: Ino) -> Result<Vec<u8>> {
        let (slot, node) = Self::parts(ino)?;
        if slot == SlotId::BLOBS {
            return Err(Error::NotASymlink);
        }
        match &self.tree(slot)?.skeleton.node(node).ok_or(Error::Stale)?.kind {
            Kind::Symlink(target) => Ok(target.as_bytes().to_vec()),
            _ => Err(Error::NotASymlink),
        }
    }

    fn read(&self, ino: Ino, offset: u64, len: usize) -> Result<Vec<u8>> {
        let (slot, node) = Self::parts(ino)?;
        if slot == SlotId::BLOBS {
            let blob = self.catalog.store().open(&self.row(BlobId(node))?.descriptor)?;
            let mut bytes =
                vec![0; len.min(usize::try_from(blob.size().saturating_sub(offset)).unwrap_or(len))];
            let got = blob.read(offset, &mut bytes)?;
            bytes.truncate(got);
            return Ok(bytes);
        }
        let tree = self.tree(slot)?;
        let piece = |text: &[u8]| {
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
            text[from..from.saturating_add(len).min(text.len())].to_vec()
        };
        match &tree.skeleton.node(node).ok_or(Error::Stale)?.kind {
            Kind::Directory(_) | Kind::Graft(_) => Err(Error::IsADirectory),
            Kind::Symlink(_) => Err(Error::Stale),
            Kind::File(Content::Text(text)) => Ok(piece(text)),
            Kind::File(Content::Failed(why, _)) => Err((**why).clone()),
            Kind::File(content @ (Content::Problems | Content::Stats)) => {
                Ok(piece(self.live_text(content).as_bytes()))
            }
            Kind::File(Content::Blob(_)) => Err(Error::Stale),
        }
    }

    fn live_text(&self, content: &Content) -> String {
        match content {
            Content::Problems => self.catalog.problems().text(),
            _ => self.metrics(),
        }
    }

    fn metrics(&self) -> String {
        let (view, store) = (&self.stats, self.catalog.store().stats());
        stats::render(&[
            ("lookups_total", "counter", "Lookups of a name.", get(&view.lookups)),
            ("listings_total", "counter", "Pieces of directories listed.", get(&view.listings)),
            ("reads_total", "counter", "Reads of files that reached ocifs.", get(&view.reads)),
            ("read_bytes_total", "counter", "Bytes those reads returned.", get(&view.read_bytes)),
            ("failures_total", "counter", "Requests that failed because of the source.", get(&view.failures)),
            ("problems", "gauge", "Lines in .ocifs/problems.", self.catalog.problems().count()),
            ("blob_passes_total", "counter", "Blobs hashed in full.", get(&store.passes)),
            ("blob_hashed_bytes_total", "counter", "Bytes of those blobs.", get(&store.hashed)),
            (
                "blob_rechecked_bytes_total",
                "counter",
                "Bytes checked again on later reads.",
                get(&store.rechecked),
            ),
            ("trees", "gauge", "Directories that can grow a tree.", self.slots.read().len() as u64),
        ])
    }

    fn xattrs(&self, ino: Ino) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let (slot, node) = Self::parts(ino)?;
        let (descriptor, annotations) = match slot {
            SlotId::BLOBS => (self.row(BlobId(node))?.descriptor, None),
            _ if node == 0 => match &self.slot(slot)?.graft {
                // The directory of a manifest carries what the manifest's entry and the manifest itself say.
                Graft::Platform(image) => {
                    let descriptor = image.entry.descriptor.clone();
                    let own = self.catalog.manifest(&descriptor).ok().map(|m| m.annotations);
                    (Arc::new(descriptor), own)
                }
                Graft::Artifact(entry) => {
                    let own = self.catalog.manifest(&entry.descriptor).ok().map(|m| m.annotations);
                    (Arc::new(entry.descriptor.clone()), own)
                }
                _ => return Ok(Vec::new()),
            },
            _ => return Ok(Vec::new()),
        };
        let mut all = annotations.unwrap_or_default();
        all.extend(descriptor.annotations.clone());
        Ok(xattrs::of_descriptor(&descriptor, &all))
    }

    fn is_grown(&self, ino: Ino) -> bool {
        let Ok((slot, _)) = Self::parts(ino) else { return true };
        slot == SlotId::BLOBS || self.slot(slot).is_ok_and(|slot| slot.grown().is_some())
    }

    fn reads_at_once(&self, ino: Ino) -> bool {
        let Ok((slot, node)) = Self::parts(ino) else { return true };
        match slot {
            SlotId::BLOBS => self.row(BlobId(node)).is_ok_and(|row| {
                row.descriptor.size <= crate::blob::CHUNK
                    || self.catalog.store().is_verified(&row.descriptor.digest)
            }),
            _ => true,
        }
    }

    /// Returns the path of a node below the mountpoint, for messages.
    fn path(&self, ino: Ino) -> String {
        let Ok((mut slot, mut node)) = Self::parts(ino) else { return String::new() };
        if slot == SlotId::BLOBS {
            return self.row(BlobId(node)).map(|row| row.path.to_string()).unwrap_or_default();
        }
        let mut parts: Vec<String> = Vec::new();
        while let Ok(here) = self.slot(slot) {
            if let Some(tree) = here.grown().filter(|_| node != 0) {
                parts.push(tree.skeleton.path(node as usize));
            }
            if slot == SlotId::ROOT {
                break;
            }
            parts.push(here.name.to_string());
            let Ok((above, at)) = Self::parts(here.parent) else { break };
            (slot, node) = (above, at);
        }
        parts.reverse();
        parts.join("/")
    }
}

/// Says whether a blob said to have no bytes can be one: its digest is that of nothing.
fn is_empty_content(row: &Row) -> bool {
    let d = &row.descriptor;
    crate::oci::Digest::of(d.digest.algorithm(), b"").is_some_and(|empty| empty == d.digest)
}
