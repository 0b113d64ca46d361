//! The on-disk form of a layer's index; docs/index-format.md has it byte by byte.

use super::index::{LayerIndex, PackedRecords};
use crate::cache::Key;
use crate::oci::Digest;
use crate::stream::{Miss, Reader, StreamIndex, Writer};

const MAGIC: &[u8; 8] = b"OCIFSIDX";

/// Changes whenever the form does, or what any of it means: the chunk size, how records are read.
const VERSION: u32 = 3;

/// Compression of the lines about problems.
const LEVEL: i32 = 3;

/// Longest text of problems, in bytes: a thousand lines of names.
const MAX_PROBLEMS: usize = 16 << 20;

/// Renders the index of the blob `key`.
pub(super) fn encode(index: &LayerIndex, key: &Key) -> std::io::Result<Vec<u8>> {
    let mut w = Writer::begin(MAGIC, VERSION, key);
    index.stream.encode(&mut w)?;
    w.count(index.diff_ids.len())?;
    for digest in &index.diff_ids {
        w.text(digest.as_str());
    }
    w.u64(index.records.len);
    w.bytes(&index.records.packed)?;
    let problems = index.problems.join("\n");
    w.count(problems.len())?;
    w.bytes(&zstd::bulk::compress(problems.as_bytes(), LEVEL)?)?;
    Ok(w.finish())
}

/// Reads an index back, if `bytes` is one of the blob `key`.
pub(super) fn decode(bytes: &[u8], key: &Key) -> Result<LayerIndex, Miss> {
    let mut r = Reader::begin(bytes, MAGIC, VERSION, key)?;
    let stream = StreamIndex::decode(&mut r)?;
    let diff_ids = (0..r.u32()?)
        .map(|_| Digest::parse(r.text()?).map_err(|_| Miss::Unsound))
        .collect::<Result<_, _>>()?;
    let records = PackedRecords { len: r.u64()?, packed: r.bytes()?.to_vec() };
    let problems = problems(&mut r)?;
    match r.is_done() {
        true => Ok(LayerIndex { stream, diff_ids, records, problems }),
        false => Err(Miss::Unsound),
    }
}

fn problems(r: &mut Reader<'_>) -> Result<Vec<String>, Miss> {
    let len = usize::try_from(r.u32()?).map_err(|_| Miss::Unsound)?;
    if len > MAX_PROBLEMS {
        return Err(Miss::Unsound);
    }
    let text = zstd::bulk::decompress(r.bytes()?, len).map_err(|_| Miss::Unsound)?;
    let text = String::from_utf8(text).map_err(|_| Miss::Unsound)?;
    Ok(if text.is_empty() { Vec::new() } else { text.split('\n').map(str::to_owned).collect() })
}
