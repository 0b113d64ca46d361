//! The ordered entries of one layer, packed into one run of bytes.
//!
//! The order inside a layer matters (duplicates, symlinked parents, hard links), so trees are built from these
//! and not from finished trees. The packed form is also the stored form: [`Records::as_bytes`] is what
//! [`Records::decode`] reads. It has no version of its own; whoever stores it keeps one, and a checksum.

use super::name::{self, Marker};
use super::{Extent, Time, varint};

/// Most entries of one layer. Real layers stay below two million; the bound keeps a bomb of headers from
/// filling memory.
pub const MAX_RECORDS: u32 = 1 << 24;

/// Most bytes of one layer's packed entries: room for [`MAX_RECORDS`] ordinary ones.
pub const MAX_BYTES: usize = 1 << 30;

/// The count of entries stands before them, so that a cut at an entry's end is noticed.
const HEADER: usize = 4;

const KIND_BITS: u8 = 0b0111;
const HAS_XATTRS: u8 = 0b1000;
/// The file is one extent from its first byte to its last, as all but sparse files are.
const WHOLE: u8 = 0b1_0000;

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
    /// They need more than [`MAX_BYTES`].
    #[error("the layer's entries need more than {MAX_BYTES} bytes")]
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
    /// Refuses what [`Record`] rules out, and more than [`MAX_RECORDS`] or [`MAX_BYTES`].
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), RecordsError> {
        if self.count >= MAX_RECORDS {
            return Err(RecordsError::TooMany);
        }
        let start = self.bytes.len();
        let parsed = match put(&mut self.bytes, record) {
            Ok(()) if self.bytes.len() > MAX_BYTES => Err(RecordsError::TooLarge),
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
        if bytes.len() > MAX_BYTES {
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

    /// Returns a copy of the stored form.
    pub fn encode(&self) -> Vec<u8> {
        self.bytes.clone()
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
        u32::try_from(self.at).expect("below MAX_BYTES")
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
    flags: u8,
    extents: &'a [u8],
    xattrs: &'a [u8],
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

/// Appends a record in its packed form.
fn put(out: &mut Vec<u8>, record: &Record<'_>) -> Result<(), &'static str> {
    let (tag, target, device) = match record.kind {
        RecordKind::Regular => (0, None, None),
        RecordKind::Directory => (1, None, None),
        RecordKind::Symlink { target } => (2, Some(target), None),
        RecordKind::HardLink { target } => (3, Some(target), None),
        RecordKind::CharDevice { major, minor } => (4, None, Some((major, minor))),
        RecordKind::BlockDevice { major, minor } => (5, None, Some((major, minor))),
        RecordKind::Fifo => (6, None, None),
    };
    let regular = record.kind == RecordKind::Regular;
    let whole =
        regular && matches!(record.extents, [one] if one.file_offset == 0 && one.length == record.size);
    out.push(tag | if whole { WHOLE } else { 0 } | if record.xattrs.is_empty() { 0 } else { HAS_XATTRS });
    varint::put_bytes(out, record.path);
    for number in [record.mode.into(), record.uid.into(), record.gid.into()] {
        varint::put(out, number);
    }
    varint::put(out, varint::fold(record.mtime.seconds));
    varint::put(out, record.mtime.nanos.into());
    varint::put(out, record.header_offset);
    if let Some(target) = target {
        varint::put_bytes(out, target);
    }
    if let Some((major, minor)) = device {
        varint::put(out, major.into());
        varint::put(out, minor.into());
    }
    if regular {
        varint::put(out, record.size);
        let mut extents = Vec::new();
        let (mut file, mut stream) = (0, record.header_offset);
        for extent in record.extents {
            let gap = extent.file_offset.checked_sub(file).ok_or("order of extents")?;
            file = extent.file_offset.checked_add(extent.length).ok_or("extent")?;
            varint::put(&mut extents, varint::fold(extent.stream_offset.wrapping_sub(stream) as i64));
            stream = extent.stream_offset.checked_add(extent.length).ok_or("extent")?;
            if !whole {
                varint::put(&mut extents, gap);
                varint::put(&mut extents, extent.length);
            }
        }
        varint::put_bytes(out, &extents);
    }
    if !record.xattrs.is_empty() {
        let mut packed = Vec::new();
        for (name, value) in record.xattrs {
            varint::put_bytes(&mut packed, name);
            varint::put_bytes(&mut packed, value);
        }
        varint::put_bytes(out, &packed);
    }
    Ok(())
}

/// Takes one record off the front of `input`, checking every number.
fn parse<'a>(input: &mut &'a [u8]) -> Result<Stored<'a>, &'static str> {
    let (&flags, rest) = input.split_first().ok_or("kind")?;
    *input = rest;
    let path = varint::take_bytes(input).ok_or("name")?;
    let mode = number(input).filter(|mode| *mode <= 0o7777).ok_or("mode")?;
    let uid = number(input).ok_or("owner")?;
    let gid = number(input).ok_or("group")?;
    let seconds = varint::unfold(varint::take(input).ok_or("time")?);
    let nanos = number(input).filter(|nanos| *nanos < 1_000_000_000).ok_or("time")?;
    let header_offset = varint::take(input).ok_or("header offset")?;
    let kind = match flags & KIND_BITS {
        0 => RecordKind::Regular,
        1 => RecordKind::Directory,
        2 => RecordKind::Symlink { target: varint::take_bytes(input).ok_or("target")? },
        3 => RecordKind::HardLink { target: varint::take_bytes(input).ok_or("target")? },
        tag @ (4 | 5) => {
            let major = number(input).ok_or("device number")?;
            let minor = number(input).ok_or("device number")?;
            match tag {
                4 => RecordKind::CharDevice { major, minor },
                _ => RecordKind::BlockDevice { major, minor },
            }
        }
        6 => RecordKind::Fifo,
        _ => return Err("kind"),
    };
    let (mut size, mut extents) = (0, [].as_slice());
    if kind == RecordKind::Regular {
        size = varint::take(input).ok_or("size")?;
        extents = varint::take_bytes(input).ok_or("extents")?;
        let mut reader = ExtentReader::new(extents, flags, size, header_offset);
        while reader.next()?.is_some() {}
    } else if flags & WHOLE != 0 {
        return Err("kind");
    }
    let mut xattrs = [].as_slice();
    if flags & HAS_XATTRS != 0 {
        xattrs =
            varint::take_bytes(input).filter(|packed| !packed.is_empty()).ok_or("extended attributes")?;
        let mut rest = xattrs;
        while !rest.is_empty() {
            varint::take_bytes(&mut rest).ok_or("extended attributes")?;
            varint::take_bytes(&mut rest).ok_or("extended attributes")?;
        }
    }
    if flags & !(KIND_BITS | HAS_XATTRS | WHOLE) != 0 {
        return Err("kind");
    }
    let mtime = Time { seconds, nanos };
    Ok(Stored { path, kind, mode: mode as u16, uid, gid, mtime, size, header_offset, flags, extents, xattrs })
}

fn number(input: &mut &[u8]) -> Option<u32> {
    varint::take(input)?.try_into().ok()
}

/// Reads packed extents, checking that they ascend and lie within the file.
struct ExtentReader<'a> {
    rest: &'a [u8],
    whole: bool,
    size: u64,
    file: u64,
    stream: u64,
}

impl<'a> ExtentReader<'a> {
    fn new(rest: &'a [u8], flags: u8, size: u64, header_offset: u64) -> Self {
        Self { rest, whole: flags & WHOLE != 0, size, file: 0, stream: header_offset }
    }

    fn next(&mut self) -> Result<Option<Extent>, &'static str> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let jump = varint::unfold(varint::take(&mut self.rest).ok_or("extent")?);
        let stream_offset = self.stream.wrapping_add(jump as u64);
        let (gap, length) = match self.whole {
            true => (0, self.size),
            false => {
                (varint::take(&mut self.rest).ok_or("extent")?, varint::take(&mut self.rest).ok_or("extent")?)
            }
        };
        let file_offset = self.file.checked_add(gap).ok_or("extent")?;
        self.file = file_offset.checked_add(length).filter(|end| *end <= self.size).ok_or("extent")?;
        self.stream = stream_offset.checked_add(length).ok_or("extent")?;
        if length == 0 {
            return Err("extent");
        }
        Ok(Some(Extent { file_offset, stream_offset, length }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Owned = (Vec<u8>, u8, (u16, u32, u32, i64, u32), Vec<(u64, u64, u64)>, Vec<(Vec<u8>, Vec<u8>)>, u64);

    fn owned() -> impl Strategy<Value = Owned> {
        (
            proptest::collection::vec(any::<u8>(), 0..20),
            0..7u8,
            (0..=0o7777u16, any::<u32>(), any::<u32>(), any::<i64>(), 0..1_000_000_000u32),
            proptest::collection::vec((0..1000u64, 1..1000u64, 0..u64::MAX / 2), 0..4),
            proptest::collection::vec(
                (any::<[u8; 3]>().prop_map(Vec::from), any::<[u8; 2]>().prop_map(Vec::from)),
                0..3,
            ),
            0..u64::MAX / 2,
        )
    }

    /// Hands the record that `owned` describes to `with`.
    fn record<T>(owned: &Owned, with: impl FnOnce(&Record<'_>) -> T) -> T {
        let (path, kind, (mode, uid, gid, seconds, nanos), pieces, xattrs, header_offset) = owned;
        let mut extents = Vec::new();
        let mut size = 0;
        for &(gap, length, stream_offset) in pieces {
            extents.push(Extent { file_offset: size + gap, stream_offset, length });
            size += gap + length;
        }
        let kind = match kind {
            0 => RecordKind::Regular,
            1 => RecordKind::Directory,
            2 => RecordKind::Symlink { target: path },
            3 => RecordKind::HardLink { target: path },
            4 => RecordKind::CharDevice { major: *uid, minor: *gid },
            5 => RecordKind::BlockDevice { major: *uid, minor: *gid },
            _ => RecordKind::Fifo,
        };
        if kind != RecordKind::Regular {
            (size, extents) = (0, Vec::new());
        }
        let xattrs: Vec<_> = xattrs.iter().map(|(n, v)| (n.as_slice(), v.as_slice())).collect();
        with(&Record {
            path,
            kind,
            mode: *mode,
            uid: *uid,
            gid: *gid,
            mtime: Time { seconds: *seconds, nanos: *nanos },
            size,
            extents: &extents,
            xattrs: &xattrs,
            header_offset: *header_offset,
        })
    }

    fn same(stored: &Stored<'_>, record: &Record<'_>) -> bool {
        (stored.path, stored.kind, stored.mode, stored.uid, stored.gid, stored.mtime)
            == (record.path, record.kind, record.mode, record.uid, record.gid, record.mtime)
            && (stored.size, stored.header_offset) == (record.size, record.header_offset)
            && stored.extents().eq(record.extents.iter().copied())
            && stored.xattrs().eq(record.xattrs.iter().copied())
    }

    proptest! {
        #[test]
        fn records_come_back(list in proptest::collection::vec(owned(), 0..8)) {
            let mut records = Records::new();
            for one in &list {
                record(one, |r| records.push(r)).unwrap();
            }
            let again = Records::decode(records.encode()).unwrap();
            prop_assert!(again == records);
            prop_assert_eq!(again.iter().count(), list.len());
            for (stored, one) in again.iter().zip(&list) {
                prop_assert!(record(one, |r| same(&stored, r)), "{:?} is not {:?}", stored, one);
            }
        }

        #[test]
        fn damaged_bytes_never_panic(
            list in proptest::collection::vec(owned(), 1..6),
            at in any::<proptest::sample::Index>(),
            flip in 1..=255u8,
        ) {
            let mut records = Records::new();
            for one in &list {
                record(one, |r| records.push(r)).unwrap();
            }
            let mut bytes = records.encode();
            prop_assert!(Records::decode(&bytes[..at.index(bytes.len())]).is_err());
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if let Ok(records) = Records::decode(bytes) {
                for stored in records.iter() {
                    stored.extents().chain(None).count();
                    stored.xattrs().count();
                }
                drop(super::super::build_rootfs([&records]));
            }
        }
    }

    #[track_caller]
    fn refused(change: impl FnOnce(&mut Record<'_>), what: &'static str) {
        let mut records = Records::new();
        let extents = [Extent { file_offset: 0, stream_offset: 512, length: 10 }];
        let mut record = Record {
            path: b"x",
            kind: RecordKind::Regular,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Time { seconds: 0, nanos: 0 },
            size: 10,
            extents: &extents,
            xattrs: &[],
            header_offset: 0,
        };
        records.push(&record).unwrap();
        change(&mut record);
        let before = records.encode();
        assert_eq!(records.push(&record), Err(RecordsError::Bad { index: 1, what }));
        assert_eq!(records.encode(), before, "a refused record leaves no trace");
    }

    #[test]
    fn impossible_records_are_refused() {
        const fn extent(file_offset: u64, stream_offset: u64, length: u64) -> Extent {
            Extent { file_offset, stream_offset, length }
        }
        refused(|r| r.mode = 0o10000, "mode");
        refused(|r| r.mtime.nanos = 1_000_000_000, "time");
        refused(|r| r.size = 9, "extent");
        refused(|r| r.extents = const { &[extent(0, u64::MAX, 10)] }, "extent");
        refused(|r| r.extents = const { &[extent(u64::MAX, 0, 10)] }, "extent");
        refused(|r| r.extents = const { &[extent(0, 0, 0)] }, "extent");
        refused(|r| r.extents = const { &[extent(4, 0, 2), extent(5, 9, 2)] }, "order of extents");
    }

    #[test]
    fn entries_more_or_fewer_than_announced_are_refused() {
        let mut records = Records::new();
        let one = (b"x".to_vec(), 1, (0, 0, 0, 0, 0), vec![], vec![], 0);
        record(&one, |r| records.push(r)).unwrap();
        let mut bytes = records.encode();
        bytes[0] = 2;
        assert_eq!(Records::decode(bytes.as_slice()), Err(RecordsError::Count { expected: 2, found: 1 }));
        bytes[0] = 0;
        assert_eq!(Records::decode(bytes), Err(RecordsError::Count { expected: 0, found: 1 }));
    }
}
