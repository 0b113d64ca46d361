//! The on-disk form of a layer's index; docs/index-format.md has it byte by byte.
//!
//! A file proves itself or is a miss: magic, version, key, and a checksum over all of it.

use super::index::{CHUNK, LayerIndex, PackedRecords};
use crate::codec::{Checkpoint, Compression, Entry, Window};
use crate::oci::Digest;

const MAGIC: &[u8; 8] = b"OCIFSIDX";

/// Changes whenever the form does, or what any of it means: the chunk size, how records are read.
const VERSION: u32 = 1;

/// The checksum at the end: BLAKE3 of all before it.
const CHECKSUM: usize = 32;

/// Compression of the lines about problems.
const LEVEL: i32 = 3;

/// Longest text of problems, in bytes: a thousand lines of names.
const MAX_PROBLEMS: usize = 16 << 20;

/// Why bytes are no index of this layer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Miss {
    #[error("not an index file, or cut short")]
    NotAnIndex,
    #[error("damaged: its checksum does not hold")]
    Damaged,
    #[error("version {0}, and this program reads {VERSION}")]
    Version(u32),
    #[error("another layer's")]
    Foreign,
    #[error("contradicts itself")]
    Unsound,
}

/// Renders the index of the blob `key`.
pub(super) fn encode(index: &LayerIndex, key: &Digest) -> std::io::Result<Vec<u8>> {
    let mut w = Writer(Vec::new());
    w.0.extend_from_slice(MAGIC);
    w.u32(VERSION);
    w.text(key.as_str());
    w.u64(index.blob_size);
    w.u8(code(index.compression));
    w.u64(index.stream_len);
    w.u32(count(index.diff_ids.len())?);
    for digest in &index.diff_ids {
        w.text(digest.as_str());
    }
    w.u64(CHUNK);
    w.u32(count(index.chunks.len())?);
    for chunk in &index.chunks {
        w.0.extend_from_slice(chunk);
    }
    w.u32(count(index.checkpoints.len())?);
    for checkpoint in &index.checkpoints {
        w.u64(checkpoint.output_offset);
        w.u64(checkpoint.input_offset);
        match &checkpoint.entry {
            Entry::Fresh => w.u8(0),
            Entry::Block { bits, window } => {
                w.u8(1);
                w.u8(*bits);
                w.u16(window.unpacked_len());
                w.bytes(window.packed())?;
            }
        }
    }
    w.u64(index.records.len);
    w.bytes(&index.records.packed)?;
    let problems = index.problems.join("\n");
    w.u32(count(problems.len())?);
    w.bytes(&zstd::bulk::compress(problems.as_bytes(), LEVEL)?)?;
    let checksum = blake3::hash(&w.0);
    w.0.extend_from_slice(checksum.as_bytes());
    Ok(w.0)
}

/// Reads an index back, if `bytes` is one of the blob `key`.
pub(super) fn decode(bytes: &[u8], key: &Digest) -> Result<LayerIndex, Miss> {
    let end = bytes.len().checked_sub(CHECKSUM).ok_or(Miss::NotAnIndex)?;
    let (body, checksum) = bytes.split_at(end);
    let mut r = Reader(body);
    if r.take(MAGIC.len())? != MAGIC {
        return Err(Miss::NotAnIndex);
    }
    let version = r.u32()?;
    if version != VERSION {
        return Err(Miss::Version(version));
    }
    if *blake3::hash(body).as_bytes() != checksum {
        return Err(Miss::Damaged);
    }
    if r.text()? != key.as_str() {
        return Err(Miss::Foreign);
    }
    let blob_size = r.u64()?;
    let compression = compression(r.u8()?)?;
    let stream_len = r.u64()?;
    let diff_ids = (0..r.u32()?)
        .map(|_| Digest::parse(r.text()?).map_err(|_| Miss::Unsound))
        .collect::<Result<_, _>>()?;
    if r.u64()? != CHUNK {
        return Err(Miss::Unsound);
    }
    let chunks =
        (0..r.u32()?).map(|_| r.take(32)?.try_into().map_err(|_| Miss::Unsound)).collect::<Result<_, _>>()?;
    let checkpoints = (0..r.u32()?).map(|_| r.checkpoint()).collect::<Result<_, _>>()?;
    let records = PackedRecords { len: r.u64()?, packed: r.bytes()?.to_vec() };
    let problems = r.problems()?;
    let index =
        LayerIndex { blob_size, compression, stream_len, diff_ids, chunks, checkpoints, records, problems };
    match r.0.is_empty() && index.is_sound() {
        true => Ok(index),
        false => Err(Miss::Unsound),
    }
}

fn code(compression: Compression) -> u8 {
    match compression {
        Compression::None => 0,
        Compression::Gzip => 1,
        Compression::Zstd => 2,
        Compression::Xz => 3,
        Compression::Bzip2 => 4,
    }
}

fn compression(code: u8) -> Result<Compression, Miss> {
    Ok(match code {
        0 => Compression::None,
        1 => Compression::Gzip,
        2 => Compression::Zstd,
        3 => Compression::Xz,
        4 => Compression::Bzip2,
        _ => return Err(Miss::Unsound),
    })
}

fn count(n: usize) -> std::io::Result<u32> {
    u32::try_from(n).map_err(|_| std::io::Error::other("an index beyond 4 GiB"))
}

/// Writes little-endian numbers.
struct Writer(Vec<u8>);

impl Writer {
    fn u8(&mut self, n: u8) {
        self.0.push(n);
    }
    fn u16(&mut self, n: u16) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }
    fn u32(&mut self, n: u32) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }
    fn u64(&mut self, n: u64) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }
    fn bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.u32(count(bytes.len())?);
        self.0.extend_from_slice(bytes);
        Ok(())
    }
    fn text(&mut self, text: &str) {
        self.u16(u16::try_from(text.len()).expect("a digest is shorter than 600 bytes"));
        self.0.extend_from_slice(text.as_bytes());
    }
}

/// Reads what [`Writer`] wrote; every length is held against what is left.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Miss> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(Miss::NotAnIndex)?;
        self.0 = rest;
        Ok(taken)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Miss> {
        self.take(N)?.try_into().map_err(|_| Miss::NotAnIndex)
    }
    fn u8(&mut self) -> Result<u8, Miss> {
        Ok(self.array::<1>()?[0])
    }
    fn u16(&mut self) -> Result<u16, Miss> {
        self.array().map(u16::from_le_bytes)
    }
    fn u32(&mut self) -> Result<u32, Miss> {
        self.array().map(u32::from_le_bytes)
    }
    fn u64(&mut self) -> Result<u64, Miss> {
        self.array().map(u64::from_le_bytes)
    }
    fn bytes(&mut self) -> Result<&'a [u8], Miss> {
        let len = self.u32()?;
        self.take(usize::try_from(len).map_err(|_| Miss::NotAnIndex)?)
    }
    fn text(&mut self) -> Result<&'a str, Miss> {
        let len = self.u16()?;
        std::str::from_utf8(self.take(len.into())?).map_err(|_| Miss::Unsound)
    }
    fn checkpoint(&mut self) -> Result<Checkpoint, Miss> {
        let (output_offset, input_offset) = (self.u64()?, self.u64()?);
        let entry = match self.u8()? {
            0 => Entry::Fresh,
            1 => {
                let (bits, len) = (self.u8()?, self.u16()?);
                let window = Window::from_parts(len, self.bytes()?.into()).map_err(|_| Miss::Unsound)?;
                Entry::Block { bits, window }
            }
            _ => return Err(Miss::Unsound),
        };
        Ok(Checkpoint { output_offset, input_offset, entry })
    }
    fn problems(&mut self) -> Result<Vec<String>, Miss> {
        let len = usize::try_from(self.u32()?).map_err(|_| Miss::Unsound)?;
        if len > MAX_PROBLEMS {
            return Err(Miss::Unsound);
        }
        let text = zstd::bulk::decompress(self.bytes()?, len).map_err(|_| Miss::Unsound)?;
        let text = String::from_utf8(text).map_err(|_| Miss::Unsound)?;
        Ok(if text.is_empty() { Vec::new() } else { text.split('\n').map(str::to_owned).collect() })
    }
}
