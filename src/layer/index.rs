//! What one pass over a layer yields: enough to list it, and to read any byte of it checked.

use crate::codec::{Checkpoint, Compression};
use crate::oci::{Algorithm, Digest};
use crate::tree::{Records, RecordsError};

/// Bytes of the decompressed stream under one chunk digest: decoded, checked and cached as one.
///
/// A random read decodes one chunk and, on average, half the distance between two checkpoints before it.
pub const CHUNK: u64 = 512 << 10;

/// Least distance between checkpoints in the decompressed stream, in bytes.
pub(super) const SPACING: u64 = 1 << 20;

/// Everything known of a layer. A pure function of the blob's bytes.
///
/// Checkpoints ascend and the first is at the beginning; there is a chunk digest for every [`CHUNK`] bytes of the
/// stream and for what is left at its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LayerIndex {
    /// The blob's size in bytes.
    pub blob_size: u64,
    /// How the blob is compressed, told from its bytes.
    pub compression: Compression,
    /// Length of the decompressed stream in bytes.
    pub stream_len: u64,
    /// Digests of the decompressed stream, one for each algorithm asked for.
    pub diff_ids: Vec<Digest>,
    /// BLAKE3 of each chunk.
    pub chunks: Vec<[u8; 32]>,
    /// Where decompression can start.
    pub checkpoints: Vec<Checkpoint>,
    /// The tar's entries.
    pub records: PackedRecords,
    /// What is odd about the layer, a line each.
    pub problems: Vec<String>,
}

impl LayerIndex {
    /// Returns the last checkpoint at or before `offset` of the stream.
    ///
    /// Never fails: the first is at offset 0.
    pub fn checkpoint_before(&self, offset: u64) -> &Checkpoint {
        let after = self.checkpoints.partition_point(|c| c.output_offset <= offset);
        self.checkpoints.get(after.saturating_sub(1)).unwrap_or(&Checkpoint::START)
    }

    /// Returns the digest of the stream by `algorithm`, if it was taken.
    pub fn diff_id(&self, algorithm: Algorithm) -> Option<&Digest> {
        self.diff_ids.iter().find(|d| d.algorithm() == algorithm)
    }

    /// Says whether the invariants hold; an index read from a file is asked.
    pub fn is_sound(&self) -> bool {
        let ascending = self.checkpoints.windows(2).all(|w| w[0].output_offset < w[1].output_offset);
        let inside = |c: &Checkpoint| c.output_offset <= self.stream_len && c.input_offset <= self.blob_size;
        ascending
            && self.checkpoints.first() == Some(&Checkpoint::START)
            && self.checkpoints.iter().all(inside)
            && self.chunks.len() as u64 == self.stream_len.div_ceil(CHUNK)
    }
}

/// A layer's entries, compressed: they are needed while trees are built, and kept for when the next one is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PackedRecords {
    /// Length of the records once unpacked, in bytes.
    pub(super) len: u64,
    /// The records, compressed with zstd.
    pub(super) packed: Vec<u8>,
}

/// Compression of records and index files: most of the gain, at hundreds of MB/s.
const LEVEL: i32 = 3;

impl PackedRecords {
    /// Packs `records`.
    pub(super) fn new(records: &Records) -> std::io::Result<Self> {
        let bytes = records.as_bytes();
        Ok(Self { len: bytes.len() as u64, packed: zstd::bulk::compress(bytes, LEVEL)? })
    }

    /// Unpacks the records.
    pub(super) fn unpack(&self) -> Result<Records, RecordsError> {
        let len =
            usize::try_from(self.len).ok().filter(|len| *len as u64 <= crate::tree::MAX_RECORD_BYTES as u64);
        let bytes = len.and_then(|len| zstd::bulk::decompress(&self.packed, len).ok());
        Records::decode(bytes.ok_or(RecordsError::TooLarge)?)
    }
}
