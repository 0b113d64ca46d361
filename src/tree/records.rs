//! The ordered entries of one layer, packed into one run of bytes.
//!
//! The order inside a layer matters (duplicates, symlinked parents, hard links), so trees are built from these
//! and not from finished trees. The packed form is also the stored form: [`Records::as_bytes`] is what
//! [`Records::decode`] reads. It has no version of its own; whoever stores it keeps one, and a checksum.

use super::name::{self, Marker};
use super::packed::{ExtentReader, parse, put};
use super::{Extent, Time};

/// Most entries of one layer. Real layers stay below two million; the bound keeps a bomb of headers from
/// filling memory.
pub const MAX_RECORDS: u32 = 1 << 24;

/// Most bytes of one layer's packed entries: room for [`MAX_RECORDS`] ordinary ones.
pub const MAX_RECORD_BYTES: usize = 1 << 30;

/// The count of entries stands before them, so that a cut at an entry's end is noticed.
const HEADER: usize = 4;

/// One entry of a layer, as the archive has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The name from the archive, uncleaned.
    pub path: &'a [u8],
    /// What the entry is, with what only this kind has.
    pub kind: RecordKind<'a>,
    /// Permission, set-id and sticky bits: the low 12 bits, nothing else.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: Time,
    /// Length in bytes; counts for regular files only.
    pub size: u64,
    /// Where a regular file's bytes lie in the layer's stream: ascending, within `size`, none empty. Holes are zeros.
    pub extents: &'a [Extent],
    /// Extended attributes, each name once.
    pub xattrs: &'a [(&'a [u8], &'a [u8])],
    /// Where the entry's header begins in the layer's stream, for reports.
    pub header_offset: u64,
}

/// What an entry of a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind<'a> {
    /// A file with bytes.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Where it points, verbatim.
        target: &'a [u8],
    },
    /// A further name of another entry.
    HardLink {
        /// The other entry's name, uncleaned.
        target: &'a [u8],
    },
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// Why entries cannot be taken in or read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordsError {
    /// There are more than [`MAX_RECORDS`].
    #[error("the layer has more than {MAX_RECORDS} entries")]
    TooMany,
    /// They need more than [`MAX_RECORD_BYTES`].
    #[error("the layer's entries need more than {MAX_RECORD_BYTES} bytes")]
    TooLarge,
    /// An entry has a number that cannot be.
    #[error("entry {index}: bad {what}")]
    Bad {
        /// Which entry, from 0.
        index: u32,
        /// Which part of it.
        what: &'static str,
    },
    /// The stored count is not the count of entries.
    #[error("{expected} entries announced, {found} found")]
    Count {
        /// The stored count.
        expected: u32,
        /// The entries there are.
        found: u32,
    },
}

/// The ordered entries of one layer.
///
/// Every stored entry has been checked, by [`push`](Self::push) or by [`decode`](Self::decode).
#[derive(Clone, PartialEq, Eq)]
pub struct Records {
    bytes: Vec<u8>,
    count: u32,
    hard_links: u32,
    markers: u32,
}

impl Default for Records {
    fn default() -> Self {
        Self { bytes: vec![0; HEADER], count: 0, hard_links: 0, markers: 0 }
    }
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Records {
    /// Makes an empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the number of entries.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Says whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the number of hard links among the entries.
    pub(super) fn hard_links(&self) -> u32 {
        self.hard_links
    }

    /// Says whether any name may be a whiteout marker.
    pub(super) fn has_markers(&self) -> bool {
        self.markers > 0
    }

    /// Appends an entry.
    ///
    /// # Errors
    ///
    /// Refuses what [`Record`] rules out, and more than [`MAX_RECORDS`] or [`MAX_RECORD_BYTES`].
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), RecordsError> {
        if self.count >= MAX_RECORDS {
            return Err(RecordsError::TooMany);
        }
        let start = self.bytes.len();
        let parsed = match put(&mut self.bytes, record) {
            Ok(()) if self.bytes.len() > MAX_RECORD_BYTES => Err(RecordsError::TooLarge),
            Ok(()) => parse(&mut &self.bytes[start..]).map_err(|what| self.bad(what)),
            Err(what) => Err(self.bad(what)),
        };
        match parsed {
            Ok(stored) => {
                let (link, marker) = tallies(&stored);
                self.count(link, marker);
                Ok(())
            }
            Err(error) => {
                self.bytes.truncate(start);
                Err(error)
            }
        }
    }

    /// Reads a list back from what [`as_bytes`](Self::as_bytes) gave.
    ///
    /// # Errors
    ///
    /// Refuses bytes that no list of valid entries has.
    pub fn decode(bytes: impl Into<Vec<u8>>) -> Result<Self, RecordsError> {
        let bytes = bytes.into();
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(RecordsError::TooLarge);
        }
        let mut records = Self { bytes: Vec::new(), count: 0, hard_links: 0, markers: 0 };
        let (head, mut rest) = bytes.split_first_chunk::<HEADER>().ok_or(records.bad("header"))?;
        let expected = u32::from_le_bytes(*head);
        if expected > MAX_RECORDS {
            return Err(RecordsError::TooMany);
        }
        while !rest.is_empty() {
            if records.count == expected {
                return Err(RecordsError::Count { expected, found: expected + 1 });
            }
            let (link, marker) = tallies(&parse(&mut rest).map_err(|what| records.bad(what))?);
            records.tally(link, marker);
        }
        if records.count != expected {
            return Err(RecordsError::Count { expected, found: records.count });
        }
        records.bytes = bytes;
        Ok(records)
    }

    /// Returns the stored form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Gives spare capacity back; for when the last entry is in.
    pub fn shrink_to_fit(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// Walks over the entries in archive order.
    pub fn iter(&self) -> Iter<'_> {
        Iter { records: self, at: HEADER }
    }

    /// Returns the entry at a place that [`Iter::place`] gave.
    pub(super) fn at(&self, place: u32) -> Stored<'_> {
        parse(&mut &self.bytes[place as usize..]).expect("a place of a stored entry")
    }

    fn count(&mut self, link: bool, marker: bool) {
        self.tally(link, marker);
        self.bytes[..HEADER].copy_from_slice(&self.count.to_le_bytes());
    }

    fn tally(&mut self, link: bool, marker: bool) {
        self.count += 1;
        self.hard_links += u32::from(link);
        self.markers += u32::from(marker);
    }

    fn bad(&self, what: &'static str) -> RecordsError {
        RecordsError::Bad { index: self.count, what }
    }
}

/// Says whether an entry is a hard link, and whether its name may be a marker.
fn tallies(stored: &Stored<'_>) -> (bool, bool) {
    // The path is not cleaned here, so a name that ends in `..` may be taken for a marker too often.
    let last = stored.path.rsplit(|&b| b == b'/').find(|part| !matches!(*part, b"" | b"."));
    let marker = last.is_some_and(|last| last == b".." || name::marker(last) != Marker::None);
    (matches!(stored.kind, RecordKind::HardLink { .. }), marker)
}

/// Walks over the entries of a layer.
#[derive(Clone)]
pub struct Iter<'a> {
    records: &'a Records,
    at: usize,
}

impl Iter<'_> {
    /// Returns where the next entry lies, for [`Records::at`].
    pub(super) fn place(&self) -> u32 {
        u32::try_from(self.at).expect("below MAX_RECORD_BYTES")
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Stored<'a>;

    fn next(&mut self) -> Option<Stored<'a>> {
        let bytes = &self.records.bytes;
        let mut rest = bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
        let stored = parse(&mut rest).expect("push and decode checked every entry");
        self.at = bytes.len() - rest.len();
        Some(stored)
    }
}

/// One entry of a layer, read back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Stored<'a> {
    /// The name from the archive, uncleaned.
    pub path: &'a [u8],
    /// What the entry is.
    pub kind: RecordKind<'a>,
    /// The low 12 bits of the mode.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: Time,
    /// Length in bytes; 0 for what is not a regular file.
    pub size: u64,
    /// Where the entry's header begins in the layer's stream.
    pub header_offset: u64,
    pub(super) flags: u8,
    pub(super) extents: &'a [u8],
    pub(super) xattrs: &'a [u8],
}

impl<'a> Stored<'a> {
    /// Walks over the extents, in ascending order.
    pub fn extents(&self) -> impl Iterator<Item = Extent> + use<'a> {
        let mut reader = ExtentReader::new(self.extents, self.flags, self.size, self.header_offset);
        std::iter::from_fn(move || reader.next().expect("push and decode checked every extent"))
    }

    /// Walks over the extended attributes, as (name, value).
    pub fn xattrs(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        super::node::xattrs(self.xattrs)
    }

    /// Returns the extended attributes packed, for [`super::node::xattrs`].
    pub(super) fn packed_xattrs(&self) -> &'a [u8] {
        self.xattrs
    }
}

impl std::fmt::Debug for Stored<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.path.escape_ascii(), self.kind)
    }
}
