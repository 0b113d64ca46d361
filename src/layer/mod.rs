//! One layer: its entries, and any byte of its decompressed stream, checked. Knows no kernel, no names in the mount.
//!
//! The first look at a layer goes over its blob once ([`scan`]) and yields its [`LayerIndex`], which is kept in memory
//! and in a cache directory. From then on a byte is decoded from the nearest checkpoint, a chunk at a time, and each
//! chunk is held against its digest.

#[path = "../stream/blocks.rs"]
mod blocks;
mod contents;
#[path = "../stream/cursor.rs"]
mod cursor;
mod index;
mod index_file;
#[path = "../stream/prefetch.rs"]
mod prefetch;
mod scan;
#[path = "../stream/spill.rs"]
mod spill;
mod store;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::blob::{BlobError, BlobStore};
use crate::cache::{self, Cache};
use crate::codec::{CodecError, Compression};
use crate::oci::{Descriptor, Digest};
use crate::read_at::ReadAt;
use crate::tar::TarError;
use crate::tree::{Records, RecordsError};

use blocks::BlockCache;
use cursor::Cursor;

pub use index::{CHUNK, LayerIndex};
pub use store::{LayerStats, LayerStore};

/// Most decoders parked between reads of one layer: that many readers go forward in it at once without starting over.
const MAX_PARKED: usize = 8;

/// Why a layer's contents are not to be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LayerError {
    /// Its blob.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// Its compression.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// Its tar.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// More entries than we take.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// The decompressed bytes are not what the configuration says (config.md, "rootfs.diff_ids").
    #[error("{digest}: decompresses to {found}, the configuration's diff_id is {expected}")]
    DiffId {
        /// The blob.
        digest: Digest,
        /// What the configuration says.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// A diff_id by an algorithm we cannot compute.
    #[error("diff_id {0}: cannot be checked: unknown algorithm")]
    Unverifiable(Digest),
    /// The blob is not what it was when it was checked.
    #[error("{digest}: changed since it was checked: its contents differ from byte {offset} on")]
    Changed {
        /// The blob.
        digest: Digest,
        /// Where in the decompressed stream.
        offset: u64,
    },
    /// A file that reaches beyond the end of the layer's stream.
    #[error("{digest}: the layer ends at byte {len} of its contents, before this file does")]
    PastEnd {
        /// The blob.
        digest: Digest,
        /// Length of the decompressed stream.
        len: u64,
    },
    /// Not a file tree by its media type.
    #[error("{digest}: {media_type:?} is no layer ocifs can look into")]
    NotALayer {
        /// The blob.
        digest: Digest,
        /// Its media type.
        media_type: String,
    },
    /// Longer than we go over.
    #[error("decompresses to more than {limit} bytes")]
    TooLong {
        /// Our limit.
        limit: u64,
    },
    /// A mistake of ours.
    #[error("bug: {0}")]
    Bug(&'static str),
}

/// One layer that was gone over once.
pub struct Layer {
    number: u32,
    descriptor: Descriptor,
    index: LayerIndex,
    blobs: Arc<BlobStore>,
    blocks: Arc<BlockCache>,
    stats: Arc<LayerStats>,
    cache: Option<Arc<Cache>>,
    spill: Mutex<Option<Arc<File>>>,
    parked: Mutex<Vec<Cursor>>,
    /// The chunk read last, to tell who reads on.
    last: AtomicU64,
}

impl Layer {
    /// Returns the layer's entries, in the order of the archive.
    pub fn records(&self) -> Result<Records, LayerError> {
        Ok(self.index.records.unpack()?)
    }

    /// Returns what is odd about the layer, a line each.
    pub fn problems(&self) -> &[String] {
        &self.index.problems
    }

    /// Returns the digest of the layer's blob.
    pub fn digest(&self) -> &Digest {
        &self.descriptor.digest
    }

    /// Returns how the blob is compressed, told from its bytes.
    pub fn compression(&self) -> Compression {
        self.index.compression
    }

    /// Returns the length of the decompressed stream in bytes.
    pub fn stream_len(&self) -> u64 {
        self.index.stream_len
    }

    /// Fills `buf` from `offset` of the decompressed stream. All of it must be inside.
    pub fn read(&self, mut offset: u64, mut buf: &mut [u8]) -> Result<(), LayerError> {
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= self.index.stream_len);
        if end.is_none() {
            return Err(LayerError::PastEnd { digest: self.digest().clone(), len: self.index.stream_len });
        }
        while !buf.is_empty() {
            let number = offset / CHUNK;
            let chunk = self.chunk(number)?;
            let from = usize::try_from(offset - number * CHUNK).expect("within a chunk");
            let n = buf.len().min(Vec::len(&chunk) - from);
            let (now, later) = std::mem::take(&mut buf).split_at_mut(n);
            now.copy_from_slice(&chunk[from..from + n]);
            buf = later;
            offset += n as u64;
        }
        Ok(())
    }

    /// Says whether all of `len` bytes from `offset` on are in memory.
    pub fn is_at_hand(&self, offset: u64, len: u64) -> bool {
        let last = offset.saturating_add(len.max(1) - 1) / CHUNK;
        (offset / CHUNK..=last).all(|n| self.blocks.has(self.key(n)))
    }

    /// Returns the next chunks somebody who reads on will want, where `offset` continues what was read last.
    fn reads_on(&self, offset: u64) -> bool {
        let chunk = offset / CHUNK;
        let last = self.last.swap(chunk, Relaxed);
        chunk == last || chunk == last + 1
    }

    fn key(&self, chunk: u64) -> blocks::Key {
        (self.number, u32::try_from(chunk).expect("a stream has fewer than 2^32 chunks"))
    }

    /// Returns a chunk, decoded and checked.
    fn chunk(&self, number: u64) -> Result<Arc<Vec<u8>>, LayerError> {
        self.blocks.get(self.key(number), || {
            self.stats.chunks.fetch_add(1, Relaxed);
            self.decode(number).map(Arc::new)
        })
    }

    fn decode(&self, number: u64) -> Result<Vec<u8>, LayerError> {
        let start = number * CHUNK;
        let len =
            usize::try_from((self.index.stream_len - start).min(CHUNK)).expect("a chunk fits in memory");
        let mut bytes = vec![0; len];
        if self.read_spill(number, &mut bytes) {
            return Ok(bytes);
        }
        let raw = self.blobs.claimed(&self.descriptor)?;
        if self.index.compression == Compression::None {
            let got = raw.read_at(start, &mut bytes).map_err(|e| scan::read_error(self.digest(), e))?;
            bytes.truncate(got);
            self.check(number, &bytes)?;
            return Ok(bytes);
        }
        let mut cursor = self.cursor(start)?;
        cursor.skip_to(&*raw, self.digest(), start)?;
        cursor.fill(&*raw, self.digest(), &mut bytes)?;
        self.check(number, &bytes)?;
        let mut parked = self.parked.lock();
        if parked.len() == MAX_PARKED {
            parked.remove(0);
        }
        parked.push(cursor);
        Ok(bytes)
    }

    /// Returns a decoder at or before `offset`: one that was parked on the way there, or a new one.
    fn cursor(&self, offset: u64) -> Result<Cursor, LayerError> {
        let checkpoint = self.index.checkpoint_before(offset);
        let mut parked = self.parked.lock();
        let on_the_way = |c: &Cursor| (checkpoint.output_offset..=offset).contains(&c.at);
        let nearest = (0..parked.len()).filter(|n| on_the_way(&parked[*n])).max_by_key(|n| parked[*n].at);
        if let Some(n) = nearest {
            return Ok(parked.remove(n));
        }
        drop(parked);
        Cursor::start(self.index.compression, checkpoint)
    }

    fn check(&self, number: u64, bytes: &[u8]) -> Result<(), LayerError> {
        let expected = usize::try_from(number).ok().and_then(|n| self.index.chunks.get(n));
        match expected.is_some_and(|expected| blake3::hash(bytes) == *expected) {
            true => Ok(()),
            false => Err(LayerError::Changed { digest: self.digest().clone(), offset: number * CHUNK }),
        }
    }

    /// Reads a chunk from the decompressed stream on disk, if there is one and it is what it should be.
    fn read_spill(&self, number: u64, bytes: &mut [u8]) -> bool {
        let Some(file) = self.spill.lock().clone() else { return false };
        let got = file.as_ref().read_at(number * CHUNK, bytes);
        if got.is_ok_and(|got| got == bytes.len()) && self.check(number, bytes).is_ok() {
            return true;
        }
        // A damaged copy is not the layer's fault: it goes, and the layer is read itself.
        *self.spill.lock() = None;
        if let Some(cache) = &self.cache {
            cache.remove(cache::Shelf::Spill, self.digest());
        }
        false
    }
}
