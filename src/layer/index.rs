//! What one pass over a layer yields: enough to list it, and to read any byte of it checked.

use crate::codec::Compression;
use crate::oci::{Algorithm, Descriptor, Digest, LayerMedia, MediaType};
use crate::stream::StreamIndex;
use crate::tree::{Records, RecordsError};

/// Everything known of a layer. A pure function of the blob's bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LayerIndex {
    /// How to read its contents.
    pub stream: StreamIndex,
    /// Digests of the contents, one for each algorithm asked for.
    pub diff_ids: Vec<Digest>,
    /// The tar's entries.
    pub records: PackedRecords,
    /// What is odd about the layer, a line each.
    pub problems: Vec<String>,
}

impl LayerIndex {
    /// Returns the entries, in the order of the archive.
    pub fn entries(&self) -> Result<Records, RecordsError> {
        self.records.unpack()
    }

    /// Returns the digest of the contents by `algorithm`, if it was taken.
    pub fn diff_id(&self, algorithm: Algorithm) -> Option<&Digest> {
        self.diff_ids.iter().find(|d| d.algorithm() == algorithm)
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

/// Says so where a layer's media type names another compression than its bytes have.
pub fn mistyped(descriptor: &Descriptor, is: Compression, stream_len: u64) -> Option<String> {
    let said = match descriptor.kind() {
        MediaType::Layer(LayerMedia::Tar) => Compression::None,
        MediaType::Layer(LayerMedia::Gzip) => Compression::Gzip,
        MediaType::Layer(LayerMedia::Zstd) => Compression::Zstd,
        _ => return None,
    };
    // Nothing at all is compressed in no way.
    (said != is && stream_len > 0)
        .then(|| format!("its media type is {}, its bytes are {is}", descriptor.media_type))
}
