//! What one node of a tree is: its stored row, and the view of it that readers get.

use super::{Extent, FileTree, Kind, NodeId, Time, varint};

/// The stored form of a node. 56 bytes: a million nodes are the common large case.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) seconds: i64,
    /// A regular file's length; a directory's parent.
    pub(super) size: u64,
    pub(super) nanos: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Names of this node; for a finished directory 2 and one for each subdirectory.
    pub(super) links: u32,
    /// See [`Tag`].
    pub(super) a: u32,
    /// See [`Tag`].
    pub(super) b: u32,
    /// Where the packed extended attributes stand among the bytes; 0 for none.
    pub(super) xattrs: u32,
    pub(super) layer: u32,
    pub(super) mode: u16,
    pub(super) tag: Tag,
}

/// What a row is, and so what its `a` and `b` mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    /// `a`: the first child (builder: an entry, or none); `b`: the number of children.
    Directory,
    /// A regular file in one extent (in none when empty): `b << 32 | a` is where it begins in the stream.
    Whole,
    /// A regular file in pieces: `a`: the first extent; `b`: the number of extents.
    Pieces,
    /// `a`: where the target stands among the bytes; `b`: its length.
    Symlink,
    /// `a`: major number; `b`: minor number.
    CharDevice,
    /// `a`: major number; `b`: minor number.
    BlockDevice,
    Fifo,
    /// Builder only. A hard link whose target is not known yet. `a`: its number; `b`: the node whose place it took.
    Pending,
    /// Builder only. Not in use. `a`: the next free row.
    Free,
}

/// What is known of one node of a [`FileTree`].
#[derive(Clone, Copy)]
pub struct Node<'a> {
    pub(super) tree: &'a FileTree,
    pub(super) row: &'a Row,
}

impl<'a> Node<'a> {
    /// Returns the file type.
    pub fn kind(&self) -> Kind {
        match self.row.tag {
            Tag::Directory => Kind::Directory,
            Tag::Whole | Tag::Pieces => Kind::Regular,
            Tag::Symlink => Kind::Symlink,
            Tag::CharDevice => Kind::CharDevice,
            Tag::BlockDevice => Kind::BlockDevice,
            Tag::Fifo => Kind::Fifo,
            Tag::Pending | Tag::Free => unreachable!("finishing a tree leaves only real nodes"),
        }
    }

    /// Returns permission, set-id and sticky bits (12 bits).
    pub fn mode(&self) -> u16 {
        self.row.mode
    }

    /// Returns the owner.
    pub fn uid(&self) -> u32 {
        self.row.uid
    }

    /// Returns the group.
    pub fn gid(&self) -> u32 {
        self.row.gid
    }

    /// Returns the time of last modification.
    pub fn mtime(&self) -> Time {
        Time { seconds: self.row.seconds, nanos: self.row.nanos }
    }

    /// Returns the length in bytes: of a regular file's contents, of a symlink's target, else 0.
    pub fn size(&self) -> u64 {
        match self.row.tag {
            Tag::Whole | Tag::Pieces => self.row.size,
            Tag::Symlink => self.row.b.into(),
            _ => 0,
        }
    }

    /// Returns the number of names; for a directory 2 and one for each subdirectory.
    pub fn nlink(&self) -> u32 {
        self.row.links
    }

    /// Returns the layer this node came from: for a directory, the one that stated its attributes last.
    pub fn layer(&self) -> u32 {
        self.row.layer
    }

    /// Returns major and minor number of a device.
    pub fn rdev(&self) -> Option<(u32, u32)> {
        matches!(self.row.tag, Tag::CharDevice | Tag::BlockDevice).then_some((self.row.a, self.row.b))
    }

    /// Returns where a symbolic link points.
    pub fn target(&self) -> Option<&'a [u8]> {
        let start = self.row.a as usize;
        (self.row.tag == Tag::Symlink).then(|| &self.tree.bytes[start..start + self.row.b as usize])
    }

    /// Returns where a regular file's bytes lie in the stream of its [`layer`](Self::layer), ascending; empty for
    /// everything else.
    pub fn extents(&self) -> Extents<'a> {
        let Row { a, b, size, .. } = *self.row;
        match self.row.tag {
            Tag::Whole if size > 0 => Extents::One([Extent {
                file_offset: 0,
                stream_offset: u64::from(b) << 32 | u64::from(a),
                length: size,
            }]),
            Tag::Pieces => Extents::Many(&self.tree.extents[a as usize..][..b as usize]),
            _ => Extents::Many(&[]),
        }
    }

    /// Walks over the extended attributes, as (name, value).
    pub fn xattrs(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        xattrs(packed_at(&self.tree.bytes, self.row.xattrs))
    }

    /// Returns the value of one extended attribute.
    pub fn xattr(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.xattrs().find(|(n, _)| *n == name).map(|(_, value)| value)
    }
}

impl std::fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.row.fmt(f)
    }
}

/// The extents of one file; used as the slice it stands for.
#[derive(Debug, Clone, Copy)]
pub enum Extents<'a> {
    /// Most files: one extent, not stored as such.
    One([Extent; 1]),
    /// Sparse files.
    Many(&'a [Extent]),
}

impl std::ops::Deref for Extents<'_> {
    type Target = [Extent];

    fn deref(&self) -> &[Extent] {
        match self {
            Self::One(one) => one,
            Self::Many(many) => many,
        }
    }
}

/// Returns the packed bytes that stand behind their length at `at`.
pub(super) fn packed_at(bytes: &[u8], at: u32) -> &[u8] {
    varint::take_bytes(&mut &bytes[at as usize..]).expect("the builder wrote a length and as many bytes")
}

/// Walks over packed extended attributes.
pub(super) fn xattrs<'a>(mut rest: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
    std::iter::from_fn(move || Some((varint::take_bytes(&mut rest)?, varint::take_bytes(&mut rest)?)))
}

/// One child of a directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name {
    /// Where the name stands among the bytes, behind one byte with its length.
    pub(super) name: u32,
    pub(super) node: u32,
}

/// Returns the name that stands at `at`, behind one byte with its length.
pub(super) fn name_at(bytes: &[u8], at: u32) -> &[u8] {
    let at = at as usize;
    &bytes[at + 1..][..usize::from(bytes[at])]
}

/// The children of one directory, in the order of their names' bytes.
#[derive(Clone, Copy)]
pub struct Children<'a> {
    pub(super) tree: &'a FileTree,
    pub(super) names: &'a [Name],
    pub(super) order: &'a [u32],
}

impl<'a> Children<'a> {
    /// Returns the number of children.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Returns the child at `index`, at once wherever it stands.
    pub fn nth(&self, index: usize) -> Option<(&'a [u8], NodeId)> {
        self.names.get(index).map(|entry| self.pair(entry))
    }

    /// Returns the child that comes at `index` in the order of the layers: who reads files in this order reads each
    /// layer from front to back.
    pub fn nth_as_packed(&self, index: usize) -> Option<(&'a [u8], NodeId)> {
        self.nth(*self.order.get(index)? as usize)
    }

    /// Returns at which place a node comes in the order of the layers: the first one, where it has several names.
    pub fn place_as_packed(&self, id: NodeId) -> Option<usize> {
        let node = |place: &u32| self.names[*place as usize].node;
        let place = self.order.partition_point(|place| node(place) < id.0);
        self.order.get(place).filter(|found| node(found) == id.0).map(|_| place)
    }

    /// Walks over the children.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'a [u8], NodeId)> + DoubleEndedIterator + use<'a> {
        let children = *self;
        self.names.iter().map(move |entry| children.pair(entry))
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<NodeId> {
        let index =
            self.names.binary_search_by(|entry| name_at(&self.tree.bytes, entry.name).cmp(name)).ok()?;
        Some(NodeId(self.names[index].node))
    }

    fn pair(&self, entry: &Name) -> (&'a [u8], NodeId) {
        (name_at(&self.tree.bytes, entry.name), NodeId(entry.node))
    }
}

impl std::fmt::Debug for Children<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, id)| (name.escape_ascii().to_string(), id))).finish()
    }
}
