//! Trees of an image's own files: one layer's, or the root filesystem.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::attr::{Attr, FileKind, Time};
use super::error::Error;
use super::ino::{Ino, SlotId};
use super::xattrs::{self, Xattrs};
use super::{Symlinks, ViewOptions, rebase};
use crate::layer::{Layer, LayerError, LayerStore, mistyped};
use crate::oci::{Descriptor, Digest};
use crate::side_by_side::side_by_side;
use crate::tree::{self, FileTree, Kind, NodeId};

/// Most layers of one image. Builders stop at 127; overlayfs at some hundred.
pub const MAX_LAYERS: usize = 4_096;

/// Most layers of one image opened at once.
const MAX_OPENING: usize = 8;

/// What a manifest and a configuration say about one layer.
#[derive(Clone, Debug)]
pub(super) struct LayerClaim {
    pub(super) descriptor: Descriptor,
    /// What the contents must hash to, where the configuration says.
    pub(super) diff_id: Option<Digest>,
}

/// A tree of an image's files, and the layers their bytes are in.
pub(super) struct Files {
    tree: FileTree,
    /// The layers, from the one numbered `first_layer` on.
    layers: Vec<Arc<Layer>>,
    first_layer: u32,
    /// Whether nodes say which layer they came from.
    is_rootfs: bool,
    /// Whether any node has a label; see [`xattrs::is_label`].
    has_labels: bool,
    /// How deep symlinks stand that may lead out of the tree, where they are to stay inside.
    depths: Option<HashMap<u32, usize>>,
    /// A directory that each node stands in, once somebody needs it.
    above: OnceLock<Vec<u32>>,
}

impl Files {
    /// Builds the tree of one layer, whiteout markers and all.
    pub(super) fn of_layer(
        store: &Arc<LayerStore>,
        number: u32,
        claim: &LayerClaim,
        options: &ViewOptions,
        problem: &mut dyn FnMut(String, u64),
    ) -> Result<Self, Error> {
        let layer = store.layer(&claim.descriptor, claim.diff_id.as_ref())?;
        tell(&layer, &claim.descriptor, "", problem);
        let (tree, problems) = tree::build_layer(number, &layer.records()?);
        problems.iter().for_each(|p| problem(p.to_string(), p.count()));
        Ok(Self::new(tree, vec![layer], number, false, options))
    }

    /// Builds the root filesystem of `claims`, the base first. Layers are gone over side by side.
    pub(super) fn of_image(
        store: &Arc<LayerStore>,
        claims: &[LayerClaim],
        options: &ViewOptions,
        problem: &mut dyn FnMut(String, u64),
    ) -> Result<Self, Error> {
        let layers = opened(store, claims, problem)?;
        let (tree, problems) = built(&layers, |records| tree::build_rootfs(records))?;
        problems.iter().for_each(|p| problem(p.to_string(), p.count()));
        Ok(Self::new(tree, layers, 0, true, options))
    }

    /// Builds for each of `claims`, the base first, the tree of what it has and their root filesystem does not show.
    pub(super) fn of_deleted(
        store: &Arc<LayerStore>,
        claims: &[LayerClaim],
        options: &ViewOptions,
        problem: &mut dyn FnMut(String, u64),
    ) -> Result<Vec<Self>, Error> {
        let layers = opened(store, claims, problem)?;
        let trees = built(&layers, |records| tree::build_lost(records))??;
        Ok(trees.into_iter().map(|tree| Self::new(tree, layers.clone(), 0, true, options)).collect())
    }

    fn new(
        tree: FileTree,
        layers: Vec<Arc<Layer>>,
        first_layer: u32,
        is_rootfs: bool,
        options: &ViewOptions,
    ) -> Self {
        let depths = (options.symlinks == Symlinks::Rebase).then(|| rebase::leading_out(&tree));
        let nodes = (0..tree.node_count()).filter_map(|n| tree.node_id(n));
        let has_labels = nodes.flat_map(|id| tree.node(id).xattrs()).any(|(name, _)| xattrs::is_label(name));
        Self { tree, layers, first_layer, is_rootfs, has_labels, depths, above: OnceLock::new() }
    }

    /// Returns the bytes of memory the tree takes.
    pub(super) fn memory(&self) -> usize {
        self.tree.memory()
    }

    fn id(&self, node: u32) -> Result<NodeId, Error> {
        self.tree.node_id(node).ok_or(Error::Stale)
    }

    pub(super) fn child(&self, directory: u32, name: &[u8]) -> Result<Option<u32>, Error> {
        Ok(self.tree.child(self.directory(directory)?, name).map(NodeId::index))
    }

    fn directory(&self, node: u32) -> Result<NodeId, Error> {
        let id = self.id(node)?;
        match self.tree.node(id).kind() {
            Kind::Directory => Ok(id),
            _ => Err(Error::NotADirectory),
        }
    }

    pub(super) fn children(&self, directory: u32) -> Result<tree::Children<'_>, Error> {
        Ok(self.tree.children(self.directory(directory)?))
    }

    pub(super) fn parent(&self, directory: u32) -> Result<u32, Error> {
        self.tree.parent(self.id(directory)?).map(NodeId::index).ok_or(Error::NotADirectory)
    }

    pub(super) fn attr(&self, slot: SlotId, number: u32, options: &ViewOptions) -> Result<Attr, Error> {
        let id = self.id(number)?;
        let node = self.tree.node(id);
        let kind = match node.kind() {
            Kind::Regular => FileKind::Regular,
            Kind::Directory => FileKind::Directory,
            Kind::Symlink => FileKind::Symlink,
            Kind::CharDevice => FileKind::CharDevice,
            Kind::BlockDevice => FileKind::BlockDevice,
            Kind::Fifo => FileKind::Fifo,
        };
        let size = match kind {
            FileKind::Symlink => self.target(number)?.len() as u64,
            _ => node.size(),
        };
        let mtime = node.mtime();
        Ok(Attr {
            ino: Ino::new(slot, number),
            kind,
            mode: if kind == FileKind::Symlink { 0o777 } else { node.mode() },
            uid: options.uid.unwrap_or(node.uid()),
            gid: options.gid.unwrap_or(node.gid()),
            nlink: node.nlink(),
            size,
            allocated: node.extents().iter().map(|e| e.length).sum(),
            mtime: Time { seconds: mtime.seconds, nanos: mtime.nanos },
            rdev: node.rdev().unwrap_or_default(),
            settled: true,
        })
    }

    pub(super) fn target(&self, number: u32) -> Result<Vec<u8>, Error> {
        let target = self.tree.node(self.id(number)?).target().ok_or(Error::NotASymlink)?;
        match self.depths.as_ref().and_then(|depths| depths.get(&number)) {
            Some(depth) => Ok(rebase::inside(target, *depth)),
            None => Ok(target.to_vec()),
        }
    }

    pub(super) fn read(&self, number: u32, offset: u64, len: usize) -> Result<Vec<u8>, Error> {
        let node = self.tree.node(self.id(number)?);
        match node.kind() {
            Kind::Regular => {}
            Kind::Directory => return Err(Error::IsADirectory),
            _ => return Err(Error::Stale),
        }
        let end = offset.saturating_add(len as u64).min(node.size());
        let Some(len) = end.checked_sub(offset).filter(|len| *len > 0) else { return Ok(Vec::new()) };
        // Holes are what no extent covers.
        let mut bytes = vec![0; usize::try_from(len).expect("no longer than asked for")];
        let layer = self.layer(&node)?;
        for piece in pieces(&node, offset, end) {
            let from = usize::try_from(piece.at - offset).expect("within the answer");
            let to = from + usize::try_from(piece.len).expect("within the answer");
            layer.read(piece.stream_offset, &mut bytes[from..to])?;
        }
        Ok(bytes)
    }

    /// Says whether a read is answered from memory.
    pub(super) fn is_at_hand(&self, number: u32, offset: u64, len: u64) -> bool {
        let Ok(id) = self.id(number) else { return true };
        let node = self.tree.node(id);
        let Ok(layer) = self.layer(&node) else { return true };
        pieces(&node, offset, offset.saturating_add(len).min(node.size()))
            .all(|piece| layer.is_at_hand(piece.stream_offset, piece.len))
    }

    /// Says whether a node is a file that has bytes, and at most so many.
    pub(super) fn is_small(&self, number: u32, most: u64) -> bool {
        let node = self.id(number).map(|id| self.tree.node(id));
        node.is_ok_and(|node| node.kind() == Kind::Regular && (1..=most).contains(&node.size()))
    }

    /// Returns a file's bytes, all of them, where they are in memory.
    pub(super) fn at_hand(&self, number: u32) -> Option<Vec<u8>> {
        let size = self.tree.node(self.id(number).ok()?).size();
        let all =
            self.is_at_hand(number, 0, size).then(|| self.read(number, 0, usize::try_from(size).ok()?).ok());
        all.flatten().filter(|bytes| bytes.len() as u64 == size)
    }

    /// Returns the first directory that a node stands in, and at which place among its children as packed.
    pub(super) fn place_as_packed(&self, number: u32) -> Option<(u32, usize)> {
        let directory = *self.above().get(number as usize)?;
        let place = self.children(directory).ok()?.place_as_packed(self.id(number).ok()?)?;
        Some((directory, place))
    }

    fn layer(&self, node: &tree::Node<'_>) -> Result<&Arc<Layer>, Error> {
        let n = node.layer().checked_sub(self.first_layer).and_then(|n| usize::try_from(n).ok());
        n.and_then(|n| self.layers.get(n)).ok_or(Error::Stale)
    }

    /// Returns a label of a node; see [`xattrs::is_label`].
    pub(super) fn label(&self, number: u32, name: &[u8]) -> Result<Vec<u8>, Error> {
        let node = self.tree.node(self.id(number)?);
        match node.xattr(name) {
            Some(value) => Ok(value.to_vec()),
            None if self.has_labels => Err(Error::NoXattr),
            None => Err(Error::XattrUnsupported),
        }
    }

    /// The image's own attributes, and in a root filesystem which layer put the node here.
    pub(super) fn xattrs(&self, number: u32) -> Result<Xattrs, Error> {
        let node = self.tree.node(self.id(number)?);
        let mut all = Xattrs::new();
        // The root of an image whose layers do not state it came from none.
        if self.is_rootfs && number != 0 {
            let layer = self.layer(&node)?;
            all.push((b"user.oci.layer".to_vec(), node.layer().to_string().into_bytes()));
            all.push((b"user.oci.layer.digest".to_vec(), layer.digest().as_str().as_bytes().to_vec()));
        }
        let own = node.xattrs().map(|(name, value)| (name.to_vec(), value.to_vec()));
        all.extend(own.filter(|(name, _)| !name.starts_with(xattrs::PREFIX)));
        xattrs::cut_to_list(&mut all);
        Ok(all)
    }

    fn above(&self) -> &[u32] {
        self.above.get_or_init(|| above(&self.tree))
    }

    /// Finds a path of a node, for messages.
    pub(super) fn path(&self, number: u32) -> String {
        let above = self.above();
        let mut names: Vec<&[u8]> = Vec::new();
        let mut child = number;
        while child != 0 {
            let Some(parent) = above.get(child as usize).copied() else { break };
            let Ok(children) = self.children(parent) else { break };
            let Some((name, _)) = children.iter().find(|(_, id)| id.index() == child) else { break };
            names.push(name);
            child = parent;
        }
        names.reverse();
        names.join(&b'/').escape_ascii().to_string()
    }
}

/// Returns for each node the first directory it stands in.
fn above(tree: &FileTree) -> Vec<u32> {
    let mut above = vec![0; usize::try_from(tree.node_count()).unwrap_or(0)];
    for directory in (0..tree.node_count()).rev().filter_map(|n| tree.node_id(n)) {
        for (_, child) in tree.children(directory).iter() {
            above[child.index() as usize] = directory.index();
        }
    }
    above
}

/// A part of a read that lies in one place of the layer's stream.
struct Piece {
    at: u64,
    stream_offset: u64,
    len: u64,
}

fn pieces<'a>(node: &tree::Node<'a>, offset: u64, end: u64) -> impl Iterator<Item = Piece> + use<'a> {
    let extents = node.extents();
    let first = extents.partition_point(|e| e.file_offset.saturating_add(e.length) <= offset);
    let piece = move |e: tree::Extent| {
        let from = e.file_offset.max(offset);
        let to = e.file_offset.saturating_add(e.length).min(end);
        let len = to.checked_sub(from).filter(|len| *len > 0)?;
        Some(Piece { at: from, stream_offset: e.stream_offset.checked_add(from - e.file_offset)?, len })
    };
    (first..extents.len()).map_while(move |n| extents.get(n).copied().and_then(piece))
}

/// Opens the layers of an image, and tells what is odd about them.
fn opened(
    store: &Arc<LayerStore>,
    claims: &[LayerClaim],
    problem: &mut dyn FnMut(String, u64),
) -> Result<Vec<Arc<Layer>>, Error> {
    let layers = open_all(store, claims)?;
    for (n, (layer, claim)) in layers.iter().zip(claims).enumerate() {
        tell(layer, &claim.descriptor, &format!("layer {n}: "), problem);
    }
    Ok(layers)
}

/// Builds something of the entries of all layers, of one layer at a time: they are dropped before the next ones are
/// unpacked.
fn built<T>(
    layers: &[Arc<Layer>],
    build: impl FnOnce(&mut dyn Iterator<Item = tree::Records>) -> T,
) -> Result<T, Error> {
    let mut failed = None;
    let built = build(&mut layers.iter().map_while(|l| l.records().map_err(|e| failed = Some(e)).ok()));
    failed.map_or(Ok(built), |e| Err(e.into()))
}

/// Opens layers side by side. Passes are as many at once as there are cores; what is elsewhere is waited for together.
fn open_all(store: &Arc<LayerStore>, claims: &[LayerClaim]) -> Result<Vec<Arc<Layer>>, Error> {
    let open = |claim: &LayerClaim| store.layer(&claim.descriptor, claim.diff_id.as_ref());
    let missing = || LayerError::Bug("a layer was not opened");
    let opened = side_by_side(claims, MAX_OPENING, open).into_iter();
    opened.map(|layer| Ok(layer.ok_or_else(missing)??)).collect()
}

/// Tells what is odd about a layer, and how many problems each line stands for.
fn tell(layer: &Layer, descriptor: &Descriptor, prefix: &str, problem: &mut dyn FnMut(String, u64)) {
    if let Some(line) = mistyped(descriptor, layer.compression(), layer.stream_len()) {
        problem(format!("{prefix}{line}"), 1);
    }
    layer.problems().iter().for_each(|line| problem(format!("{prefix}{line}"), 1));
}
