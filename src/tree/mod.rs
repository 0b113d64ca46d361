//! Immutable file trees, and how layers are applied to make them.
//!
//! Pure: entries of layers go in, trees come out. Nothing here does I/O or knows what a tar or an image is.
//!
//! A layer's entries are collected in order in [`Records`]. [`build_layer`] makes the tree of one layer, markers and
//! all; [`build_rootfs`] and [`Merge`] apply layers one after the other; [`build_lost`] makes trees of what is
//! gone by the end. What had to be left out on the way is handed back as [`Problem`]s.

mod builder;
mod freeze;
mod hide;
mod lost;
mod merge;
mod name;
mod node;
mod packed;
mod pending;
mod problem;
mod records;
mod resolve;
mod table;
mod varint;

#[cfg(test)]
mod tests;

pub use lost::{MAX_LOST, TooManyLost, build_lost};
pub use merge::{Merge, build_layer, build_rootfs};
pub use name::{MAX_NAME, MAX_TARGET, NameError};
pub use node::{Children, Extents, Node};
pub use problem::{Complaint, MAX_PROBLEMS, Problem};
pub use records::{Iter, MAX_RECORD_BYTES, MAX_RECORDS, Record, RecordKind, Records, RecordsError, Stored};
pub use resolve::MAX_LINKS;

/// A point in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Seconds since 1970, rounded down; negative before.
    pub seconds: i64,
    /// Nanoseconds after `seconds`, below 1,000,000,000.
    pub nanos: u32,
}

/// A run of a file's bytes: where it stands in the file and where it lies in the layer's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Where the run begins in the file.
    pub file_offset: u64,
    /// Where it begins in the layer's uncompressed stream.
    pub stream_offset: u64,
    /// Its length in bytes, never 0.
    pub length: u64,
}

/// A file type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A file with bytes.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
}

/// The number of a node of one [`FileTree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// Returns the number: 0 for the root, below [`FileTree::node_count`].
    pub fn index(self) -> u32 {
        self.0
    }
}

/// An immutable tree of files.
///
/// Node 0 is the root. Children are sorted by the bytes of their names. Directories form a tree; everything else
/// may have several names. A node costs 56 bytes, an entry 13 and its name.
pub struct FileTree {
    nodes: Vec<node::Row>,
    names: Vec<node::Name>,
    /// For each directory's names, in their place: which comes first by node, which is how the layers have them.
    order: Vec<u32>,
    bytes: Vec<u8>,
    extents: Vec<Extent>,
}

impl FileTree {
    /// Returns the root.
    pub fn root(&self) -> NodeId {
        NodeId(0)
    }

    /// Returns the number of nodes; a file with several names counts once.
    pub fn node_count(&self) -> u32 {
        self.nodes.len() as u32
    }

    /// Returns the number of names, without the root's.
    pub fn entry_count(&self) -> usize {
        self.names.len()
    }

    /// Returns the bytes of memory the tree takes.
    pub fn memory(&self) -> usize {
        self.nodes.capacity() * size_of::<node::Row>()
            + self.names.capacity() * size_of::<node::Name>()
            + self.order.capacity() * size_of::<u32>()
            + self.bytes.capacity()
            + self.extents.capacity() * size_of::<Extent>()
    }

    /// Returns the node with this number, if there is one.
    pub fn node_id(&self, index: u32) -> Option<NodeId> {
        (index < self.node_count()).then_some(NodeId(index))
    }

    /// Returns what is known of a node.
    ///
    /// # Panics
    ///
    /// Panics if `id` is from a larger tree.
    pub fn node(&self, id: NodeId) -> Node<'_> {
        Node { tree: self, row: &self.nodes[id.0 as usize] }
    }

    /// Returns the child called `name`; `None` also where `dir` is not a directory.
    pub fn child(&self, dir: NodeId, name: &[u8]) -> Option<NodeId> {
        self.children(dir).find(name)
    }

    /// Returns a directory's children; none where `dir` is not a directory.
    pub fn children(&self, dir: NodeId) -> Children<'_> {
        let row = &self.nodes[dir.0 as usize];
        let (names, order): (&[_], &[_]) = match row.tag {
            node::Tag::Directory => {
                let range = row.a as usize..row.a as usize + row.b as usize;
                (&self.names[range.clone()], &self.order[range])
            }
            _ => (&[], &[]),
        };
        Children { tree: self, names, order }
    }

    /// Returns the directory that holds the directory `dir`, the root for the root; `None` where `dir` is not a
    /// directory, since other nodes may have several.
    pub fn parent(&self, dir: NodeId) -> Option<NodeId> {
        let row = &self.nodes[dir.0 as usize];
        (row.tag == node::Tag::Directory).then_some(NodeId(row.size as u32))
    }
}

impl std::fmt::Debug for FileTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileTree")
            .field("nodes", &self.node_count())
            .field("entries", &self.entry_count())
            .finish_non_exhaustive()
    }
}
