//! eStargz: the footer that leads to the table, and the tar member that holds it.

use super::{MAX_TABLE, TocError, check, unpack};
use crate::codec::Compression;
use crate::oci::Digest;
use crate::tar::{self, Event, Parser};

/// Longest footer, in bytes: an empty gzip member whose extra field says where the table is.
pub const FOOTER: usize = 51;

/// The table's name in the tar.
const NAME: &[u8] = b"stargz.index.json";

/// What a tar puts around the table, at most: its header before, padding and the archive's end behind.
const AROUND: u64 = 64 << 10;

/// What the extra field of the footer of a table in another image holds.
const EXTERNAL: &[u8] = b"STARGZEXTERNALTOC";

/// An eStargz table, whose digest held.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// Its bytes.
    pub json: Vec<u8>,
    /// How many bytes stand before it in its gzip member.
    pub skip: u32,
    /// How long that member is in the blob, in bytes.
    pub packed_len: u32,
}

/// Finds the table by the last bytes of a blob of `size` bytes: where its gzip member begins, and where it ends.
pub fn footer(tail: &[u8], size: u64) -> Result<std::ops::Range<u64>, TocError> {
    // An empty deflate block, the checksum of nothing, the length of nothing.
    const EMPTY: [u8; 13] = [1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
    let body = tail.strip_suffix(&EMPTY).ok_or(TocError::NoFooter)?;
    // Behind the header's ten bytes and two of length: a subfield `SG`, or in the first version of the format none.
    let extra_of = |len: usize| {
        let member = body.get(body.len().checked_sub(12 + len)?..)?;
        let (head, extra) = member.split_at(12);
        let is_member = head.starts_with(&[0x1f, 0x8b, 8, 4]) && head[10..] == (len as u16).to_le_bytes();
        is_member.then_some(extra)
    };
    let subfield = |len: u8| extra_of(4 + usize::from(len))?.strip_prefix(&[b'S', b'G', len, 0][..]);
    if subfield(17) == Some(EXTERNAL) {
        return Err(TocError::External);
    }
    let field = subfield(22).map(|field| (field, FOOTER)).or_else(|| extra_of(22).map(|f| (f, FOOTER - 4)));
    let (field, footer) = field.ok_or(TocError::NoFooter)?;
    let digits = field.strip_suffix(b"STARGZ").ok_or(TocError::NoFooter)?;
    let digits = std::str::from_utf8(digits).map_err(|_| TocError::NoFooter)?;
    let from = u64::from_str_radix(digits, 16).map_err(|_| TocError::NoFooter)?;
    let to = size.checked_sub(footer as u64).ok_or(TocError::Outside)?;
    match from < to {
        true if to - from > MAX_TABLE => Err(TocError::TooLarge { len: to - from, limit: MAX_TABLE }),
        true => Ok(from..to),
        false => Err(TocError::Outside),
    }
}

/// Takes the table out of its gzip member, and holds it against its digest.
pub fn open_member(member: &[u8], digest: &Digest) -> Result<Table, TocError> {
    let mut tar = unpack(Compression::Gzip, member, MAX_TABLE + AROUND)?;
    let mut found = None;
    let mut parser = Parser::new();
    parser.feed(&tar, &mut |event| {
        found.get_or_insert(event);
    });
    let Some(Event::Entry(entry)) = found else { return Err(TocError::Member("there is no such member")) };
    check_header(&entry)?;
    let extent = entry.extents.first().filter(|_| entry.extents.len() == 1);
    let extent = extent.ok_or(TocError::Member("it is empty, or sparse"))?;
    let outside = TocError::Member("it is cut short");
    let from = usize::try_from(extent.stream_offset).map_err(|_| outside.clone())?;
    let len = usize::try_from(extent.length).map_err(|_| outside.clone())?;
    if from.checked_add(len).is_none_or(|end| end > tar.len()) {
        return Err(outside);
    }
    let short = |n| u32::try_from(n).map_err(|_| TocError::Member("it is too long"));
    let (skip, packed_len) = (short(from)?, short(member.len())?);
    tar.truncate(from + len);
    tar.drain(..from);
    check(&tar, digest)?;
    Ok(Table { json: tar, skip, packed_len })
}

/// The table is a file of the layer like others, and its header is all of the layer that no digest of it covers. So
/// the header must be the one that the tools write, or else somebody goes over the layer to see.
fn check_header(entry: &tar::Entry) -> Result<(), TocError> {
    let usual = header(0, entry.size, Vec::new());
    match *entry
        == (tar::Entry { extents: entry.extents.clone(), header_offset: entry.header_offset, ..usual })
    {
        true => Ok(()),
        false => Err(TocError::Member("its header has other attributes")),
    }
}

/// Returns the table's own entry.
pub(super) fn header(header_offset: u64, size: u64, extents: Vec<tar::Extent>) -> tar::Entry {
    tar::Entry {
        header_offset,
        path: NAME.to_vec(),
        kind: tar::Kind::Regular,
        mode: 0,
        uid: 0,
        gid: 0,
        mtime: tar::Time::default(),
        size,
        extents,
        xattrs: Vec::new(),
    }
}

/// Says whether a name in the tar is the table's.
pub(super) fn is_name(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).eq([NAME])
}
