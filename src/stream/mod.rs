//! Bytes in the middle of a compressed stream, each chunk held against its digest.
//!
//! Knows no tar and no image. One pass over the compressed bytes ([`scan()`]) yields a [`StreamIndex`]; from
//! then on a byte is decoded from the nearest checkpoint, a chunk at a time, and what does not match its chunk's digest
//! is not handed out. So whatever vouches for the pass vouches for every later read. Where a table lists the chunks and
//! their digests, a [`TableStream`] does without the pass.

mod blocks;
mod checkpoints;
mod cursor;
mod damage;
mod form;
mod index;
mod parked;
mod prefetch;
mod room;
mod scan;
mod spill;
mod table;
#[cfg(test)]
mod tests;

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::codec::{CodecError, Compression};
use crate::oci::Digest;
use crate::read_at::ReadAt;

use blocks::BlockCache;
use cursor::Cursor;
use parked::Parked;
use prefetch::{Ahead, Fetch, Prefetcher};

pub use damage::damaged;
pub use form::{Miss, Reader, Writer};
pub use index::{CHUNK, StreamIndex};
pub use room::Room;
pub use scan::{Scan, Sink, Workers, scan, scan_abreast, sniff};
pub use spill::{Spill, SpillWriter};
pub use table::{Chunk, TableStream};

/// Why bytes of a stream are not to be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StreamError {
    /// The compressed bytes cannot be read.
    #[error("cannot read: {0}")]
    Read(#[source] Arc<io::Error>),
    /// There are fewer compressed bytes than there should be.
    #[error("has {found} bytes, and should have {expected}")]
    Short {
        /// How many there should be.
        expected: u64,
        /// How many there are.
        found: u64,
    },
    /// They do not decompress.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// They decompress to something else than in the pass.
    #[error("changed since it was checked: its contents differ from byte {offset} on")]
    Changed {
        /// Where in the decompressed stream.
        offset: u64,
    },
    /// A chunk is not what the table that lists it says.
    #[error("the chunk packed at {offset} hashes to {found}, its table of contents says {expected}")]
    Mismatch {
        /// Where its packed bytes begin.
        offset: u64,
        /// What the table says.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// Asked for what is behind the end.
    #[error("the stream ends at byte {len}")]
    PastEnd {
        /// Length of the decompressed stream in bytes.
        len: u64,
    },
    /// Longer than we go over.
    #[error("decompresses to more than {limit} bytes")]
    TooLong {
        /// Our limit in bytes.
        limit: u64,
    },
    /// A mistake of ours.
    #[error("bug: {0}")]
    Bug(&'static str),
}

impl From<io::Error> for StreamError {
    fn from(cause: io::Error) -> Self {
        Self::Read(Arc::new(cause))
    }
}

/// Where a stream's compressed bytes are, and how its failures are told.
pub trait Input: Send + Sync + 'static {
    /// What a failure becomes.
    type Error: Send;

    /// Opens the compressed bytes as they are now; nothing about them is believed.
    fn open(&self) -> Result<Box<dyn ReadAt>, Self::Error>;

    /// Says of what a failure is.
    fn error(&self, cause: StreamError) -> Self::Error;

    /// Hears that the bytes in `range` came to nothing good, and says whether they may be better when opened anew.
    fn try_again(&self, _failed: &StreamError, _range: Range<u64>) -> bool {
        false
    }
}

/// Most bytes of memory for decoding what a table lists, chunks and tables themselves, at the same time: a chunk may have 32
/// MiB, and somebody may read dozens at once.
const UNPACKING: u64 = 256 << 20;

/// What streams share: decoded chunks in memory, and threads that decode ahead.
pub struct Pool {
    blocks: BlockCache,
    unpacking: Room,
    parked: Parked,
    prefetcher: Prefetcher,
    numbers: AtomicU32,
    decoded: Arc<AtomicU64>,
}

impl Pool {
    /// Makes a pool that keeps at most `capacity` bytes of chunks, counting each chunk decoded in `decoded`.
    pub fn new(capacity: u64, decoded: Arc<AtomicU64>) -> Self {
        Self {
            blocks: BlockCache::new(capacity),
            unpacking: Room::new(UNPACKING),
            parked: Parked::default(),
            prefetcher: Prefetcher::default(),
            numbers: AtomicU32::new(0),
            decoded,
        }
    }

    /// Returns the room there is for the bytes of what is unpacked as a whole.
    pub fn unpacking(&self) -> &Room {
        &self.unpacking
    }

    /// Returns how many threads decode a chunk at this moment.
    pub fn decoding(&self) -> usize {
        self.blocks.decoding()
    }
}

/// A stream that was gone over once: every byte of it can be read, and is checked again on each read.
pub struct Stream<I> {
    number: u32,
    input: I,
    index: StreamIndex,
    pool: Arc<Pool>,
    spill: Mutex<Option<Arc<Spill>>>,
    ahead: Mutex<Ahead>,
    /// Held while a short run is decoded ahead.
    fetching: Mutex<()>,
}

impl<I: Input> Stream<I> {
    /// Makes a stream of compressed bytes and what a pass over them yielded; `spill` is its decompressed copy.
    pub fn new(input: I, index: StreamIndex, pool: Arc<Pool>, spill: Option<Spill>) -> Self {
        Self {
            number: pool.numbers.fetch_add(1, Relaxed),
            input,
            index,
            pool,
            spill: Mutex::new(spill.map(Arc::new)),
            ahead: Mutex::default(),
            fetching: Mutex::new(()),
        }
    }

    /// Returns what the pass yielded.
    pub fn index(&self) -> &StreamIndex {
        &self.index
    }

    /// Returns where the compressed bytes are.
    pub fn input(&self) -> &I {
        &self.input
    }

    /// Fills `buf` from `offset` of the decompressed stream. All of it must be inside.
    pub fn read(&self, mut offset: u64, mut buf: &mut [u8]) -> Result<(), I::Error> {
        let len = self.index.stream_len;
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= len);
        if end.is_none() {
            return Err(self.input.error(StreamError::PastEnd { len }));
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

    /// Reads as [`Stream::read`] does, and decodes ahead, on threads of its own, for somebody who reads on.
    pub fn read_on(self: &Arc<Self>, offset: u64, buf: &mut [u8]) -> Result<(), I::Error> {
        self.read(offset, buf)?;
        let end = offset.saturating_add(buf.len() as u64);
        let chunks = self.index.stream_len.div_ceil(CHUNK);
        let read = offset / CHUNK..end.div_ceil(CHUNK);
        let runs = self.ahead.lock().after_reading(read, chunks, |chunk| self.entry_from(chunk));
        for run in runs {
            self.pool.prefetcher.wish(self.clone(), run);
        }
        Ok(())
    }

    /// Returns the first chunk from `chunk` on that begins with a checkpoint, or within a chunk after one; `chunk` itself where
    /// the next checkpoint is far.
    fn entry_from(&self, chunk: u64) -> u64 {
        let near = chunk.saturating_sub(1) * CHUNK;
        let passed = self.index.checkpoints.partition_point(|c| c.output_offset <= near);
        let next = self.index.checkpoints.get(passed).map(|c| c.output_offset.div_ceil(CHUNK));
        next.filter(|next| *next < chunk + prefetch::LONG / 2).unwrap_or(chunk)
    }

    /// Says whether all of `len` bytes from `offset` on are in memory.
    pub fn is_at_hand(&self, offset: u64, len: u64) -> bool {
        let last = offset.saturating_add(len.max(1) - 1) / CHUNK;
        (offset / CHUNK..=last).all(|n| self.pool.blocks.has(self.key(n)))
    }

    fn key(&self, chunk: u64) -> blocks::Key {
        (self.number, u32::try_from(chunk).expect("a stream has fewer than 2^32 chunks"))
    }

    /// Returns a chunk, decoded and checked.
    fn chunk(&self, number: u64) -> Result<Arc<Vec<u8>>, I::Error> {
        self.pool.blocks.get(self.key(number), || {
            self.pool.decoded.fetch_add(1, Relaxed);
            let start = number * CHUNK;
            let len =
                usize::try_from((self.index.stream_len - start).min(CHUNK)).expect("a chunk fits in memory");
            let mut bytes = self.pool.blocks.buffer(len);
            if !self.read_spill(number, &mut bytes) {
                let raw = self.input.open()?;
                let decoded = self.decode(&*raw, number, &mut bytes);
                decoded.map_err(|e| self.input.error(changed(e, start)))?;
            }
            Ok(Arc::new(bytes))
        })
    }

    fn decode(&self, raw: &dyn ReadAt, number: u64, bytes: &mut [u8]) -> Result<(), StreamError> {
        let start = number * CHUNK;
        if self.index.compression == Compression::None {
            let got = raw.read_at(start, bytes)?;
            return self.check(number, &bytes[..got]);
        }
        let mut cursor = self.cursor(start)?;
        cursor.skip_to(raw, start)?;
        cursor.fill(raw, bytes)?;
        self.check(number, bytes)?;
        self.pool.parked.park(self.number, cursor);
        Ok(())
    }

    /// Returns a decoder at or before `offset`: one that was parked on the way there, or a new one.
    fn cursor(&self, offset: u64) -> Result<Cursor, StreamError> {
        let checkpoint = self.index.checkpoint_before(offset);
        match self.pool.parked.take(self.number, &(checkpoint.output_offset..=offset)) {
            Some(parked) => Ok(parked),
            None => Ok(Cursor::start(self.index.compression, checkpoint)?),
        }
    }

    fn check(&self, number: u64, bytes: &[u8]) -> Result<(), StreamError> {
        let expected = usize::try_from(number).ok().and_then(|n| self.index.chunks.get(n));
        match expected.is_some_and(|expected| blake3::hash(bytes) == *expected) {
            true => Ok(()),
            false => Err(StreamError::Changed { offset: number * CHUNK }),
        }
    }

    /// Reads a chunk from the decompressed stream on disk, if there is one and it is what it should be.
    fn read_spill(&self, number: u64, bytes: &mut [u8]) -> bool {
        let Some(spill) = self.spill.lock().clone() else { return false };
        // A disk that will not read now may do so later; the chunk is decoded this once.
        let Ok(got) = spill.read_at(number * CHUNK, bytes) else { return false };
        if got == bytes.len() && self.check(number, bytes).is_ok() {
            return true;
        }
        // A damaged copy is not the stream's fault: it goes, and the stream is read itself.
        *self.spill.lock() = None;
        spill.remove();
        false
    }
}

/// What was gone over once decompressed well: if it does not now, it is no longer what it was.
fn changed(error: StreamError, offset: u64) -> StreamError {
    match error {
        StreamError::Codec(
            CodecError::Truncated { .. }
            | CodecError::Corrupt { .. }
            | CodecError::Checksum { .. }
            | CodecError::Length { .. },
        ) => StreamError::Changed { offset },
        other => other,
    }
}

impl<I> Drop for Stream<I> {
    fn drop(&mut self) {
        self.pool.parked.leave(self.number);
    }
}

impl<I: Input> Fetch for Stream<I> {
    fn fetch(&self, chunks: Range<u64>) {
        // Two threads in one short stretch would decode the same bytes to get there; long runs are worth it.
        let short = chunks.end - chunks.start < prefetch::LONG / 2;
        let _alone = short.then(|| self.fetching.lock());
        for chunk in chunks {
            // Who asks for the chunk itself meets the same failure and tells it.
            let _ = self.chunk(chunk);
        }
    }
}
