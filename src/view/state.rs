//! The state of a mount, and how each question is answered from it.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::RwLock;

use super::attr::{Attr, FileKind, Time};
use super::blobs::{BlobId, BlobTable, Row};
use super::error::Error;
use super::graft::{Graft, Slot, Tree};
use super::ino::{Ino, SlotId};
use super::links::{Links, UNCOUNTED};
use super::loose::Loose;
use super::skeleton::{Content, Kind, Skeleton};
use super::stats::{ViewStats, add};
use super::xattrs::{self, Xattrs};
use super::{Child, Totals, ViewOptions};
use crate::image::{Catalog, ImageError};
use crate::layer::LayerStore;
use crate::oci::Descriptor;
use crate::problems::Problem;

pub(super) type Result<T> = std::result::Result<T, Error>;

/// Everything a mount consists of.
pub(super) struct State {
    pub(super) catalog: Catalog,
    pub(super) stats: ViewStats,
    pub(super) options: ViewOptions,
    pub(super) blobs: BlobTable,
    pub(super) layers: Arc<LayerStore>,
    pub(super) slots: RwLock<Vec<Arc<Slot>>>,
    pub(super) links: Arc<Links>,
    pub(super) loose: Loose,
    /// The group whose image the root shows, decided once: several directories rest on it. That it could not be told is a
    /// decision too.
    pub(super) shown: OnceLock<std::result::Result<Option<usize>, ImageError>>,
    /// For the thread that counts links.
    pub(super) myself: Weak<State>,
}

impl State {
    pub(super) fn new(catalog: Catalog, layers: LayerStore, options: ViewOptions) -> Arc<Self> {
        let root = Arc::new(Slot::new(Ino::ROOT, "", Graft::Root));
        // The slot of the blobs holds no tree: see `blob_attr`.
        let unused = Arc::new(Slot::new(Ino::ROOT, "", Graft::Failed(Box::new(Error::Stale))));
        let links = Arc::new(Links::new(catalog.groups().len()));
        Arc::new_cyclic(|myself| Self {
            catalog,
            options,
            blobs: BlobTable::default(),
            layers: Arc::new(layers),
            slots: RwLock::new(vec![root, unused]),
            links,
            loose: Loose::default(),
            shown: OnceLock::new(),
            stats: ViewStats::default(),
            myself: myself.clone(),
        })
    }

    /// Puts what is wrong with the source where people look.
    pub(super) fn report(&self, ino: Ino, error: &Error) {
        if error.is_problem() {
            add(&self.stats.failures, 1);
            self.catalog.problems().add(&Problem::new(self.path(ino), error));
        }
    }

    pub(super) fn slot(&self, id: SlotId) -> Result<Arc<Slot>> {
        self.slots.read().get(id.0 as usize).cloned().ok_or(Error::Stale)
    }

    pub(super) fn parts(ino: Ino) -> Result<(SlotId, u32)> {
        ino.parts().ok_or(Error::Stale)
    }

    /// Returns slot and node of what must stand in a tree: a blob is no directory and no symlink.
    pub(super) fn place(ino: Ino) -> Result<(SlotId, u32)> {
        match Self::parts(ino)? {
            (SlotId::BLOBS, _) => Err(Error::NotADirectory),
            place => Ok(place),
        }
    }

    pub(super) fn lookup(&self, parent: Ino, name: &[u8]) -> Result<Attr> {
        let (slot, node) = Self::place(parent)?;
        let tree = self.tree(slot)?;
        let child = tree.child(node, name)?.ok_or(Error::NoSuchEntry)?;
        if let Tree::Skeleton { skeleton, .. } = &*tree
            && !skeleton.is_shown(child, &|group| self.catalog.class(group))?
        {
            // The kernel keeps this answer: it must not rest on what may be told the next time.
            return Err(Error::NoSuchEntry);
        }
        match tree.graft(child) {
            Some(graft) => self.attr(Ino::root_of(graft)),
            None => self.node_attr(slot, &tree, child, true),
        }
    }

    /// Says whether a node is listed: some are only if their document is of a kind, or cannot be told from it now.
    pub(super) fn is_listed(&self, skeleton: &Skeleton, node: u32) -> bool {
        let class = |group| Ok::<_, Infallible>(self.catalog.assumed_class(group));
        let Ok(listed) = skeleton.is_shown(node, &class);
        listed
    }

    pub(super) fn attr(&self, ino: Ino) -> Result<Attr> {
        let (slot, node) = Self::parts(ino)?;
        match slot {
            SlotId::BLOBS => self.blob_attr(BlobId(node)),
            _ if node == 0 => self.root_attr(slot, true),
            _ => self.node_attr(slot, &*self.tree(slot)?, node, true),
        }
    }

    /// Describes the root of a tree, which is not grown for it, unless `eager` and that is quick.
    fn root_attr(&self, id: SlotId, eager: bool) -> Result<Attr> {
        let slot = self.slot(id)?;
        let ino = Ino::root_of(id);
        if !slot.graft.is_files() {
            return Ok(self.directory_attr(ino));
        }
        if eager && slot.grown().is_none() && self.grows_quickly(&slot.graft) {
            self.grow_a_while(id);
        }
        match slot.grown().as_deref() {
            Some(Tree::Files(files)) => files.attr(id, 0, &self.options),
            _ => Ok(Attr {
                mode: 0o755,
                uid: self.options.uid.unwrap_or(0),
                gid: self.options.gid.unwrap_or(0),
                mtime: Time::default(),
                settled: false,
                ..self.directory_attr(ino)
            }),
        }
    }

    /// Describes a node of a tree; reads what that takes only if `eager`, for a listing must not wait.
    fn node_attr(&self, slot: SlotId, tree: &Tree, node: u32, eager: bool) -> Result<Attr> {
        let (skeleton, ino) = match tree {
            Tree::Files(files) => return files.attr(slot, node, &self.options),
            Tree::Skeleton { skeleton, .. } => (skeleton, Ino::new(slot, node)),
        };
        let file = |kind, size: u64, settled| Attr {
            kind,
            size,
            allocated: size,
            settled,
            mode: 0o444,
            ..self.directory_attr(ino)
        };
        Ok(match &skeleton.node(node).ok_or(Error::Stale)?.kind {
            Kind::Directory(_) => self.directory_attr(ino),
            Kind::Graft(graft) => return self.root_attr(tree.slot_of(*graft), false),
            Kind::Symlink(target) => {
                Attr { mode: 0o777, ..file(FileKind::Symlink, target.len() as u64, true) }
            }
            Kind::File(Content::Blob(id)) => return self.blob_attr(*id),
            Kind::File(Content::Text(text)) => file(FileKind::Regular, text.len() as u64, true),
            Kind::File(Content::History(stack)) => {
                let len = (eager || stack.is_config_known()).then(|| stack.history_len(&self.catalog));
                match len {
                    Some(Ok(len)) => file(FileKind::Regular, len as u64, true),
                    None | Some(Err(_)) => file(FileKind::Regular, 1, false),
                }
            }
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
            allocated: 0,
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
            allocated: row.descriptor.size,
            nlink: known.unwrap_or(UNCOUNTED),
            settled: known.is_some(),
            ..self.directory_attr(id.ino())
        })
    }

    pub(super) fn row(&self, id: BlobId) -> Result<Row> {
        self.blobs.get(id.0).ok_or(Error::Stale)
    }

    /// Returns a blob's link count, where it is known or quickly taken.
    pub(super) fn links(&self, id: BlobId) -> Option<u32> {
        if let Some(known) = self.links.of(id) {
            return Some(known);
        }
        if self.catalog.store().is_remote() {
            // Counting takes the manifests of all platforms, of which this machine may need one.
            return Some(UNCOUNTED);
        }
        if let Some(state) = self.myself.upgrade() {
            self.links.count(move || state.count_links());
        }
        self.links.of(id)
    }

    pub(super) fn list(&self, ino: Ino, from: u64, take: &mut dyn FnMut(&Child<'_>) -> bool) -> Result<()> {
        let (slot, node) = Self::place(ino)?;
        let tree = self.tree(slot)?;
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        match &*tree {
            Tree::Skeleton { skeleton, .. } => {
                for (n, &child) in skeleton.children(node)?.iter().enumerate().skip(from) {
                    let Some(found) = skeleton.node(child).filter(|found| !found.hidden) else { continue };
                    if !self.is_listed(skeleton, child) {
                        continue;
                    }
                    let mut attr = self.node_attr(slot, &tree, child, false)?;
                    // What cannot be told now is told when somebody looks for it: the kernel is not to keep it.
                    let known = |group| self.catalog.known_class(group).ok_or(());
                    attr.settled &= skeleton.is_shown(child, &known).is_ok();
                    if !take(&Child { name: found.name.as_bytes(), attr, next: n as u64 + 1 }) {
                        break;
                    }
                }
            }
            Tree::Files(files) => {
                let children = files.children(node)?;
                for n in from..children.len() {
                    let Some((name, id)) = children.nth_as_packed(n) else { break };
                    let attr = files.attr(slot, id.index(), &self.options)?;
                    if !take(&Child { name, attr, next: n as u64 + 1 }) {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn parent(&self, ino: Ino) -> Result<Ino> {
        let (slot, node) = Self::place(ino)?;
        match node {
            0 => Ok(self.slot(slot)?.parent),
            _ => match &*self.tree(slot)? {
                Tree::Skeleton { skeleton, .. } => {
                    Ok(Ino::new(slot, skeleton.node(node).ok_or(Error::Stale)?.parent))
                }
                Tree::Files(files) => Ok(Ino::new(slot, files.parent(node)?)),
            },
        }
    }

    pub(super) fn link_target(&self, ino: Ino) -> Result<Vec<u8>> {
        let (slot, node) = Self::place(ino)?;
        match &*self.tree(slot)? {
            Tree::Files(files) => files.target(node),
            Tree::Skeleton { skeleton, .. } => match &skeleton.node(node).ok_or(Error::Stale)?.kind {
                Kind::Symlink(target) => Ok(target.as_bytes().to_vec()),
                _ => Err(Error::NotASymlink),
            },
        }
    }

    pub(super) fn read(&self, ino: Ino, offset: u64, len: usize) -> Result<Vec<u8>> {
        let (slot, node) = Self::parts(ino)?;
        if slot == SlotId::BLOBS {
            return self.read_blob(BlobId(node), offset, len);
        }
        let tree = self.tree(slot)?;
        let skeleton = match &*tree {
            Tree::Files(files) => return files.read(node, offset, len),
            Tree::Skeleton { skeleton, .. } => skeleton,
        };
        let piece = |text: &[u8]| {
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
            text[from..from.saturating_add(len).min(text.len())].to_vec()
        };
        match &skeleton.node(node).ok_or(Error::Stale)?.kind {
            Kind::Directory(_) | Kind::Graft(_) => Err(Error::IsADirectory),
            Kind::File(Content::Text(text)) => Ok(piece(text)),
            Kind::File(Content::History(stack)) => Ok(piece(stack.history(&self.catalog)?.as_bytes())),
            Kind::File(Content::Failed(why, _)) => Err((**why).clone()),
            Kind::File(content @ (Content::Problems | Content::Stats)) => {
                Ok(piece(self.live_text(content).as_bytes()))
            }
            // Neither number is ever handed out for reading.
            Kind::Symlink(_) | Kind::File(Content::Blob(_)) => Err(Error::Stale),
        }
    }

    fn read_blob(&self, id: BlobId, offset: u64, len: usize) -> Result<Vec<u8>> {
        let blob = self.catalog.store().open(&self.row(id)?.descriptor)?;
        let left = usize::try_from(blob.size().saturating_sub(offset)).unwrap_or(len);
        let mut bytes = vec![0; len.min(left)];
        let got = blob.read(offset, &mut bytes)?;
        bytes.truncate(got);
        Ok(bytes)
    }

    fn live_text(&self, content: &Content) -> String {
        match content {
            Content::Problems => self.catalog.problems().text(),
            _ => self.metrics(),
        }
    }

    pub(super) fn processors_in_use(&self) -> usize {
        self.layers.decoding()
    }

    pub(super) fn xattr(&self, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        if xattrs::is_label(name) {
            let (slot, node) = Self::parts(ino)?;
            if slot == SlotId::BLOBS {
                return Err(Error::XattrUnsupported);
            }
            return match self.tree_of_node(slot, &*self.slot(slot)?, node)?.as_deref() {
                Some(Tree::Files(files)) => files.label(node, name),
                _ => Err(Error::XattrUnsupported),
            };
        }
        let found = self.xattrs(ino)?.into_iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value).ok_or(Error::NoXattr)
    }

    pub(super) fn xattrs(&self, ino: Ino) -> Result<Xattrs> {
        let (slot, node) = Self::parts(ino)?;
        if slot == SlotId::BLOBS {
            let descriptor = self.row(BlobId(node))?.descriptor;
            return Ok(xattrs::of_descriptor(&descriptor, &descriptor.annotations));
        }
        let here = self.slot(slot)?;
        match (self.tree_of_node(slot, &here, node)?.as_deref(), &here.graft) {
            (Some(Tree::Files(files)), _) => files.xattrs(node),
            // The directory of a manifest carries what the manifest's entry and the manifest itself say.
            (_, Graft::Platform(image)) if node == 0 => Ok(self.manifest_xattrs(&image.entry.descriptor)),
            (_, Graft::Artifact(entry)) if node == 0 => Ok(self.manifest_xattrs(&entry.descriptor)),
            (_, Graft::Referrer(r)) if node == 0 => Ok(self.manifest_xattrs(&r.entry.descriptor)),
            _ => Ok(Xattrs::new()),
        }
    }

    /// Returns the tree of a node as far as it has grown. Below the root of a tree of files somebody has looked already: one
    /// that was let go since is grown again.
    fn tree_of_node(&self, id: SlotId, here: &Slot, node: u32) -> Result<Option<Arc<Tree>>> {
        match here.grown() {
            None if node != 0 && here.graft.is_files() => self.tree(id).map(Some),
            grown => Ok(grown),
        }
    }

    fn manifest_xattrs(&self, descriptor: &Descriptor) -> Xattrs {
        let annotations = self.catalog.manifest(descriptor).map(|m| m.annotations).unwrap_or_default();
        let annotations = annotations.and(&descriptor.annotations);
        xattrs::of_descriptor(descriptor, &annotations)
    }

    pub(super) fn totals(&self) -> Totals {
        let held = self.catalog.store().held_at_once();
        Totals {
            bytes: held.values().fold(0, |sum, size| sum.saturating_add(*size)),
            blobs: held.len() as u64,
        }
    }

    /// Returns the path of a node below the mountpoint, for messages.
    pub(super) fn path(&self, ino: Ino) -> String {
        let Ok((mut slot, mut node)) = Self::parts(ino) else { return String::new() };
        if slot == SlotId::BLOBS {
            return self.row(BlobId(node)).map(|row| row.path.to_string()).unwrap_or_default();
        }
        let mut parts: Vec<String> = Vec::new();
        while let Ok(here) = self.slot(slot) {
            if let Some(tree) = here.grown().filter(|_| node != 0) {
                parts.push(tree.path(node));
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
