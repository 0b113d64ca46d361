//! The entries of a table: read, held against what a tar could say, and handed out as a tar's.

use std::fmt;

use base64::Engine as _;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{MAX_CHUNK, MAX_CHUNKS, MAX_TABLE, TocError, stargz, time};
use crate::oci::{Algorithm, Digest};
use crate::stream::Chunk;
use crate::tar::{
    Entry, Extent, Kind, MAX_NAME, MAX_XATTR_BYTES, MAX_XATTR_LIST, MAX_XATTR_NAME, MAX_XATTR_VALUE, Time,
    Xattr,
};

/// Longest contents of a layer, in bytes: what a pass goes over as well.
const MAX_CONTENTS: u64 = 256 << 30;

/// Bytes that the chunks of a file may have before them in their members, for each of its own: it is cut so finely only to
/// have each read decompress a whole member.
const MOST_SKIPPED: u64 = 16;

/// Bytes that may be before them in any case. Small files share a member, and the last of them is behind all others.
const FREE_SKIPS: u64 = 64 << 20;

/// Pieces that the table itself is read in, as a file of the layer.
const OWN_PIECE: usize = 4 << 20;

/// Longest text of one entry, in bytes: as many extended attributes as Linux holds fit in.
const MAX_ENTRY: usize = 2 << 20;

/// What tools put for bytes that are no UTF-8: the name in the tar is another one.
const LOST: char = '\u{fffd}';

/// Where the contents of a layer's files lie, one after the other in the order of the table.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The chunks: they ascend in the contents.
    pub chunks: Vec<Chunk>,
    /// Length of the contents in bytes.
    pub len: u64,
}

/// Reads a table. Each entry goes to `sink`, in order; extents count in the contents.
///
/// `end` is where in the blob the files' bytes end. `own` is what the table itself is in the tar, where it is in it.
pub fn read(
    json: &[u8],
    end: u64,
    own: Option<&stargz::Table>,
    sink: &mut dyn FnMut(&Entry),
) -> Result<Contents, TocError> {
    let mut reader = Reader { end, contents: Contents::default(), open: None, sink };
    let mut listing = Listing { reader: &mut reader, version: false, entries: None, wrong: None };
    let mut json = serde_json::Deserializer::from_slice(json);
    let done = json.deserialize_map(&mut listing).and_then(|()| json.end());
    let Listing { version, entries, wrong, .. } = listing;
    if let Some(wrong) = wrong {
        return Err(wrong);
    }
    done.map_err(|e| TocError::Json(e.to_string()))?;
    if !version {
        return Err(TocError::Json("its version is not 1".to_owned()));
    }
    let entries = entries.ok_or_else(|| TocError::Json("it has no entries".to_owned()))?;
    let index = entries.saturating_sub(1);
    reader.finish_file().map_err(|what| TocError::Entry { index, what })?;
    if let Some(own) = own {
        reader.take_own(own).map_err(|what| TocError::Entry { index: index + 1, what })?;
    }
    let mut contents = reader.contents;
    measure(&mut contents.chunks, end);
    Ok(contents)
}

/// A table on its way through the reader: nothing of it is kept, however much it lists.
struct Listing<'a, 'b> {
    reader: &'a mut Reader<'b>,
    /// Whether it is of the version we read.
    version: bool,
    /// How many entries it has had.
    entries: Option<usize>,
    /// What was wrong with one.
    wrong: Option<TocError>,
}

impl<'de> Visitor<'de> for &mut Listing<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of contents")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "version" => self.version = map.next_value::<&RawValue>()?.get() == "1",
                "entries" if self.entries.is_some() => {
                    return Err(A::Error::custom("it has two lists of entries"));
                }
                "entries" => map.next_value_seed(&mut *self)?,
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some(raw) = list.next_element::<&RawValue>()? {
            let taken = match raw.get() {
                text if text.len() > MAX_ENTRY => Err("is longer than any we take"),
                text => match serde_json::from_str(text) {
                    Ok(Value::Object(object)) => self.reader.take(&Fields(object)),
                    _ => Err("is no object"),
                },
            };
            if let Err(what) = taken {
                self.wrong = Some(TocError::Entry { index, what });
                return Err(A::Error::custom(what));
            }
            index += 1;
        }
        self.entries = Some(index);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for &mut Listing<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

/// Says how far each chunk's packed bytes reach: to where the next ones begin, or as far as they could at most.
fn measure(chunks: &mut [Chunk], end: u64) {
    let mut starts: Vec<u64> = chunks.iter().filter(|c| !c.is_zeros()).map(|c| c.packed_offset).collect();
    starts.push(end);
    starts.sort_unstable();
    starts.dedup();
    for n in 0..chunks.len() {
        let next = chunks.get(n + 1).map(|c| c.offset);
        let chunk = &mut chunks[n];
        if chunk.is_zeros() {
            continue;
        }
        let after = starts.partition_point(|start| *start <= chunk.packed_offset);
        // The table's own pieces lie at the very end, and know their length.
        let Some(packed_end) = starts.get(after) else { continue };
        // Nothing grows by more when it is compressed; what lies beyond belongs to nobody.
        let unpacked = u64::from(chunk.skip) + next.map_or(MAX_CHUNK, |next| next - chunk.offset);
        let most = unpacked + unpacked / 4 + (64 << 10);
        let packed_len = (packed_end - chunk.packed_offset).min(most);
        chunk.packed_len = u32::try_from(packed_len).expect("bounded by what one chunk can take");
    }
}

/// A regular file whose chunks are coming in.
struct Open {
    entry: Entry,
    /// How much of it has come.
    have: u64,
    /// How many bytes its chunks are but for those of zeros, and how many stand before them in their members.
    stored: u64,
    skipped: u64,
}

struct Reader<'a> {
    end: u64,
    contents: Contents,
    open: Option<Open>,
    sink: &'a mut dyn FnMut(&Entry),
}

type Taken<T = ()> = Result<T, &'static str>;

impl Reader<'_> {
    fn take(&mut self, fields: &Fields) -> Taken {
        let kind = fields.text("type")?.ok_or("has no type")?;
        if kind == "chunk" {
            return self.take_chunk(fields);
        }
        self.finish_file()?;
        let mut entry = entry(fields, kind, self.contents.len)?;
        if stargz::is_name(&entry.path) {
            return Err("has the name of the table");
        }
        if entry.kind != Kind::Regular || entry.size == 0 {
            (self.sink)(&entry);
            return Ok(());
        }
        let start = self.contents.len;
        let end = start.checked_add(entry.size).filter(|end| *end <= MAX_CONTENTS);
        end.ok_or("makes the contents too long")?;
        entry.extents = vec![Extent { file_offset: 0, stream_offset: start, length: entry.size }];
        self.open = Some(Open { entry, have: 0, stored: 0, skipped: 0 });
        self.take_chunk(fields)
    }

    /// Takes the chunk that an entry states, of the file that is open.
    fn take_chunk(&mut self, fields: &Fields) -> Taken {
        let open = self.open.as_ref().ok_or("is a chunk of no file")?;
        if fields.number("chunkOffset")? != open.have {
            return Err("is a chunk that does not follow the one before");
        }
        let left = open.entry.size - open.have;
        let len = match fields.number("chunkSize")? {
            0 => left,
            len if len <= left => len,
            _ => return Err("is a chunk that reaches beyond its file"),
        };
        if len == 0 {
            return Err("is a chunk of nothing");
        }
        let offset = self.contents.len;
        let (mut stored, mut skipped) = (0, 0);
        let chunk = match fields.text("chunkType")? {
            Some("zeros") => Chunk::zeros(offset),
            None | Some("") => {
                let packed_offset = fields.number("offset")?;
                let skip = fields.number("innerOffset")?;
                if packed_offset >= self.end {
                    return Err("lies outside of the files' bytes");
                }
                if len > MAX_CHUNK || skip > MAX_CHUNK {
                    return Err("is a larger chunk than we take");
                }
                // A file of one chunk need not say its digest twice.
                let whole = (len == open.entry.size).then_some("digest");
                let digest = fields.digest(["chunkDigest"].into_iter().chain(whole))?;
                (stored, skipped) = (len, skip);
                Chunk { offset, packed_offset, packed_len: 1, skip: skip as u32, digest }
            }
            Some(_) => return Err("is a chunk of a kind we do not know"),
        };
        self.push(chunk)?;
        self.contents.len += len;
        if let Some(open) = &mut self.open {
            open.have += len;
            // At most 32 MiB each, 2^21 times: no such sum is too large.
            (open.stored, open.skipped) = (open.stored + stored, open.skipped + skipped);
            if open.skipped > FREE_SKIPS + MOST_SKIPPED * open.stored {
                return Err("is of a file whose chunks stand too far behind the beginnings of their members");
            }
        }
        Ok(())
    }

    fn push(&mut self, chunk: Chunk) -> Taken {
        if self.contents.chunks.len() >= MAX_CHUNKS {
            return Err("is one chunk too many");
        }
        self.contents.chunks.push(chunk);
        Ok(())
    }

    /// Hands out the file whose chunks were coming in; all of it must have come.
    fn finish_file(&mut self) -> Taken {
        match self.open.take() {
            Some(open) if open.have < open.entry.size => Err("follows a file with chunks missing"),
            Some(open) => {
                (self.sink)(&open.entry);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Takes the table itself, the last file of the tar. Its pieces' digests are ours, since all of it was checked.
    fn take_own(&mut self, own: &stargz::Table) -> Taken {
        let start = self.contents.len;
        let size = own.json.len() as u64;
        for (n, piece) in own.json.chunks(OWN_PIECE).enumerate() {
            let before = (n * OWN_PIECE) as u64;
            let skip = u32::try_from(u64::from(own.skip) + before).map_err(|_| "is too long")?;
            let digest = sha256(piece);
            let offset = start + before;
            self.push(Chunk { offset, packed_offset: self.end, packed_len: own.packed_len, skip, digest })?;
        }
        self.contents.len = start + size;
        let extents = vec![Extent { file_offset: 0, stream_offset: start, length: size }];
        (self.sink)(&stargz::header(start, size, extents));
        Ok(())
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = Digest::of(Algorithm::Sha256, bytes).and_then(|digest| digest.sha256_bytes());
    digest.expect("sha256 is known, and has 32 bytes")
}

fn entry(fields: &Fields, kind: &str, at: u64) -> Taken<Entry> {
    let name = |field| {
        let name = fields.text(field)?.unwrap_or_default();
        match () {
            () if name.len() > MAX_NAME => Err("has a name that is too long"),
            () if name.contains('\0') => Err("has a name with a NUL"),
            () if name.contains(LOST) => Err("has a name that is no UTF-8 in the tar"),
            () => Ok(name.as_bytes().to_vec()),
        }
    };
    let target =
        || name("linkName").and_then(|t| if t.is_empty() { Err("is a link to nothing") } else { Ok(t) });
    let small = |field| u32::try_from(fields.number(field)?).map_err(|_| "has a number out of range");
    let device = || Ok::<_, &str>((small("devMajor")?, small("devMinor")?));
    let kind = match kind {
        "dir" => Kind::Directory,
        "reg" => Kind::Regular,
        "symlink" => Kind::Symlink(target()?),
        "hardlink" => Kind::HardLink(target()?),
        "char" => device().map(|(major, minor)| Kind::CharDevice { major, minor })?,
        "block" => device().map(|(major, minor)| Kind::BlockDevice { major, minor })?,
        "fifo" => Kind::Fifo,
        _ => return Err("has a type we do not know"),
    };
    let size = if kind == Kind::Regular { fields.number("size")? } else { 0 };
    let mtime = match fields.text("modtime")? {
        None | Some("") => Time::default(),
        Some(text) => time::rfc3339(text).ok_or("has a time that is none")?,
    };
    let path = name("name")?;
    if kind == Kind::Regular && path.last() == Some(&b'/') {
        return Err("is a file whose name ends in a slash");
    }
    Ok(Entry {
        header_offset: at,
        path,
        kind,
        mode: u16::try_from(fields.number("mode")? & 0o7777).expect("twelve bits fit into sixteen"),
        uid: small("uid")?,
        gid: small("gid")?,
        mtime,
        size,
        extents: Vec::new(),
        xattrs: xattrs(fields)?,
    })
}

/// Returns the extended attributes, sorted by name. What a pass would leave out is a reason to make one.
fn xattrs(fields: &Fields) -> Taken<Vec<Xattr>> {
    let object = match fields.0.get("xattrs") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(object)) => object,
        Some(_) => return Err("has extended attributes of no form"),
    };
    let mut xattrs: Vec<Xattr> = Vec::with_capacity(object.len().min(16));
    let (mut bytes, mut listed) = (0, 0);
    for (name, value) in object {
        let value =
            value.as_str().and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok());
        let value = value.ok_or("has an extended attribute that is no base64")?;
        bytes += name.len() + value.len();
        listed += name.len() + 1;
        let fits = !name.is_empty()
            && !name.contains(['\0', LOST])
            && name.len() <= MAX_XATTR_NAME
            && value.len() <= MAX_XATTR_VALUE
            && bytes <= MAX_XATTR_BYTES
            && listed <= MAX_XATTR_LIST;
        if !fits {
            return Err("has extended attributes that Linux cannot hold");
        }
        xattrs.push((name.as_bytes().to_vec(), value));
    }
    xattrs.sort();
    Ok(xattrs)
}

/// The members of an entry.
struct Fields(serde_json::Map<String, Value>);

impl Fields {
    fn text(&self, name: &str) -> Taken<Option<&str>> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err("has something else where text should be"),
        }
    }

    /// Returns a whole number that is not negative; 0 where it is left out, as the tools do.
    fn number(&self, name: &str) -> Taken<u64> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(0),
            Some(value) => {
                let number = value.as_u64().filter(|number| i64::try_from(*number).is_ok());
                number.ok_or("has a number out of range")
            }
        }
    }

    fn digest(&self, names: impl Iterator<Item = &'static str>) -> Taken<[u8; 32]> {
        for name in names {
            if let Some(text) = self.text(name)?.filter(|text| !text.is_empty()) {
                let digest = Digest::parse(text).ok().and_then(|digest| digest.sha256_bytes());
                return digest.ok_or("has a digest that is no sha256");
            }
        }
        Err("has no digest")
    }
}

const _: () = assert!(MAX_TABLE < u32::MAX as u64 / 2, "a place in a table fits into 32 bits");
