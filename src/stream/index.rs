//! What one pass over a compressed stream yields: enough to read any byte of it, checked.

use super::checkpoints;
use super::form::{Miss, Reader, Writer};
use crate::codec::{Checkpoint, Compression};

/// Bytes of the decompressed stream under one chunk digest: decoded, checked and cached as one.
///
/// A random read decodes one chunk and, on average, half the distance between two checkpoints before it.
pub const CHUNK: u64 = 128 << 10;

/// Least distance between checkpoints in the decompressed stream, in bytes. In gzip the next one is a quarter further on the
/// average, because of several places the cheapest is taken.
pub(super) const SPACING: u64 = 600 << 10;

/// Everything needed to read a stream anywhere. A pure function of the compressed bytes.
///
/// Checkpoints ascend and the first is at the beginning; there is a chunk digest for every [`CHUNK`] bytes of the
/// stream and for what is left at its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamIndex {
    /// How many compressed bytes there are.
    pub input_len: u64,
    /// How they are compressed, told from the bytes.
    pub compression: Compression,
    /// Length of the decompressed stream in bytes.
    pub stream_len: u64,
    /// BLAKE3 of each chunk.
    pub chunks: Vec<[u8; 32]>,
    /// Where decompression can start.
    pub checkpoints: Vec<Checkpoint>,
}

impl StreamIndex {
    /// Returns the last checkpoint at or before `offset` of the stream.
    ///
    /// Never fails: the first is at offset 0.
    pub fn checkpoint_before(&self, offset: u64) -> &Checkpoint {
        let after = self.checkpoints.partition_point(|c| c.output_offset <= offset);
        self.checkpoints.get(after.saturating_sub(1)).unwrap_or(&Checkpoint::START)
    }

    /// Says whether the invariants hold; an index read from a file is asked.
    fn is_sound(&self) -> bool {
        let ascending = self.checkpoints.windows(2).all(|w| w[0].output_offset < w[1].output_offset);
        let inside = |c: &Checkpoint| c.output_offset <= self.stream_len && c.input_offset <= self.input_len;
        ascending
            && self.checkpoints.first() == Some(&Checkpoint::START)
            && self.checkpoints.iter().all(inside)
            && self.chunks.len() as u64 == self.stream_len.div_ceil(CHUNK)
    }

    /// Writes the index down as part of a file.
    pub fn encode(&self, w: &mut Writer) -> std::io::Result<()> {
        w.u64(self.input_len);
        w.compression(self.compression);
        w.u64(self.stream_len);
        w.u64(CHUNK);
        w.count(self.chunks.len())?;
        for chunk in &self.chunks {
            w.raw(chunk);
        }
        checkpoints::encode(&self.checkpoints, w)
    }

    /// Reads back what [`StreamIndex::encode`] wrote.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, Miss> {
        let input_len = r.u64()?;
        let compression = r.compression()?;
        let stream_len = r.u64()?;
        if r.u64()? != CHUNK {
            return Err(Miss::Unsound);
        }
        let chunks = (0..r.u32()?).map(|_| r.array()).collect::<Result<_, _>>()?;
        let checkpoints = checkpoints::decode(r)?;
        let index = Self { input_len, compression, stream_len, chunks, checkpoints };
        if index.is_sound() { Ok(index) } else { Err(Miss::Unsound) }
    }
}
