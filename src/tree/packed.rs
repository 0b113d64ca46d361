//! The packed form of one entry of a layer: numbers of variable length, most of them a byte or two.
//!
//! An entry is: flags; name; mode, owner, group; seconds, nanoseconds; header offset; then what its kind has (target,
//! or device numbers, or size and extents); then its extended attributes, if it has any.

use super::records::{Record, RecordKind, Stored};
use super::{Extent, Time, varint};

const KIND_BITS: u8 = 0b0111;
const HAS_XATTRS: u8 = 0b1000;
/// The file is one extent from its first byte to its last, as all but sparse files are.
const WHOLE: u8 = 0b1_0000;

/// Appends a record in its packed form.
pub(super) fn put(out: &mut Vec<u8>, record: &Record<'_>) -> Result<(), &'static str> {
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
pub(super) fn parse<'a>(input: &mut &'a [u8]) -> Result<Stored<'a>, &'static str> {
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
pub(super) struct ExtentReader<'a> {
    rest: &'a [u8],
    whole: bool,
    size: u64,
    file: u64,
    stream: u64,
}

impl<'a> ExtentReader<'a> {
    pub(super) fn new(rest: &'a [u8], flags: u8, size: u64, header_offset: u64) -> Self {
        Self { rest, whole: flags & WHOLE != 0, size, file: 0, stream: header_offset }
    }

    pub(super) fn next(&mut self) -> Result<Option<Extent>, &'static str> {
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
