//! A blob that matched its digest once, and whose every read is held against its chunks.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::sync_channel;

use super::{BlobError, BlobStore};
use crate::oci::{Algorithm, Descriptor, Digest, Hasher};
use crate::read_at::ReadAt;

/// Bytes of a blob under one chunk digest: what the kernel asks for at once, so that a read checks no more than it serves.
pub const CHUNK: u64 = 128 << 10;

/// Bytes handled at once in a full pass: a whole number of chunks, and few enough system calls.
const PASS: usize = 1 << 20;

/// The digests of a blob's chunks, taken in the pass that checked the whole blob.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ChunkDigests(Vec<[u8; 32]>);

impl ChunkDigests {
    /// Takes the digests of `bytes`, which begin at a chunk's beginning.
    pub fn of(bytes: &[u8]) -> Self {
        let mut chunks = Self::default();
        chunks.extend(bytes);
        chunks
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.0.extend(bytes.chunks(CHUNK as usize).map(chunk_digest));
    }
}

fn chunk_digest(bytes: &[u8]) -> [u8; 32] {
    blake3::hash(bytes).into()
}

/// A blob that matched its descriptor once in full; every later read re-checks the chunks it touches.
pub struct VerifiedBlob {
    store: Arc<BlobStore>,
    descriptor: Descriptor,
    chunks: ChunkDigests,
}

impl VerifiedBlob {
    pub(super) fn new(store: Arc<BlobStore>, descriptor: Descriptor, chunks: ChunkDigests) -> Self {
        Self { store, descriptor, chunks }
    }

    /// Returns the blob's size in bytes.
    pub fn size(&self) -> u64 {
        self.descriptor.size
    }

    /// Returns the blob's digest.
    pub fn digest(&self) -> &Digest {
        &self.descriptor.digest
    }

    /// Fills `buf` from `offset`, checking every chunk it touches. A short count means the end.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize, BlobError> {
        let size = self.size();
        let end = offset.saturating_add(buf.len() as u64).min(size);
        if offset >= end {
            return Ok(0);
        }
        // Opened anew for each read: what stands at the blob's path now is what is checked, also after a rename.
        let raw = self.store.raw(&self.descriptor)?;
        let found = raw.len().map_err(|e| BlobError::read(self.digest(), e))?;
        if found != size {
            return Err(BlobError::Size { digest: self.digest().clone(), expected: size, found });
        }
        let (first, last) = (offset / CHUNK * CHUNK, end.div_ceil(CHUNK) * CHUNK);
        let wanted = usize::try_from(end - offset).expect("no longer than the buffer");
        if first == offset && last.min(size) == end {
            self.read_chunks(&*raw, first, &mut buf[..wanted])?;
        } else {
            let mut whole =
                vec![0; usize::try_from(last.min(size) - first).expect("a buffer and two chunks")];
            self.read_chunks(&*raw, first, &mut whole)?;
            let from = usize::try_from(offset - first).expect("within a chunk");
            buf[..wanted].copy_from_slice(&whole[from..from + wanted]);
        }
        Ok(wanted)
    }

    /// Fills `buf`, which begins at a chunk's beginning and ends at one's end, and checks it.
    fn read_chunks(&self, raw: &dyn ReadAt, first: u64, buf: &mut [u8]) -> Result<(), BlobError> {
        let changed = |offset| {
            self.store.distrust(self.digest());
            BlobError::Changed { digest: self.digest().clone(), offset }
        };
        let got = raw.read_at(first, buf).map_err(|e| BlobError::read(self.digest(), e))?;
        if got < buf.len() {
            return Err(changed(first + got as u64));
        }
        let number = usize::try_from(first / CHUNK).expect("an index into digests we hold");
        for (n, chunk) in buf.chunks(CHUNK as usize).enumerate() {
            if self.chunks.0.get(number + n) != Some(&chunk_digest(chunk)) {
                return Err(changed(first + n as u64 * CHUNK));
            }
        }
        self.store.stats.rechecked.fetch_add(buf.len() as u64, Relaxed);
        Ok(())
    }
}

/// Reads `size` bytes in order, checks them against `digest`, and returns the chunks' digests.
///
/// Three things run side by side: reading, the digest's own hash, and the hashes of the chunks.
pub(super) fn hash_all(raw: &dyn ReadAt, digest: &Digest, size: u64) -> Result<ChunkDigests, BlobError> {
    let unverifiable = || BlobError::Unverifiable { digest: digest.clone() };
    let mut hasher = Hasher::new(digest.algorithm()).ok_or_else(unverifiable)?;
    debug_assert!(digest.algorithm() != Algorithm::Unknown);
    let pieces = size.div_ceil(PASS as u64);
    let piece = |n: u64| -> Range<u64> { n * PASS as u64..((n + 1) * PASS as u64).min(size) };
    std::thread::scope(|scope| {
        // Buffers go round: filled here, hashed there, and back, so that their number bounds the memory.
        let (filled_in, filled) = sync_channel::<Vec<u8>>(2);
        let (free_in, free) = sync_channel::<Vec<u8>>(4);
        let main_hash = std::thread::Builder::new().spawn_scoped(scope, move || {
            while let Ok(buf) = filled.recv() {
                hasher.update(&buf);
                // The other side is gone once it has read everything: then nobody wants the buffer back.
                let _ = free_in.send(buf);
            }
            hasher.finish()
        });
        let main_hash = main_hash.map_err(|e| BlobError::read(digest, e))?;
        let mut chunks = ChunkDigests::default();
        let mut spare = 3;
        let mut read = || -> Result<(), BlobError> {
            for n in 0..pieces {
                let mut buf = match spare {
                    0 => free.recv().unwrap_or_default(),
                    _ => {
                        spare -= 1;
                        Vec::new()
                    }
                };
                let range = piece(n);
                buf.resize(usize::try_from(range.end - range.start).expect("one piece"), 0);
                let got = raw.read_at(range.start, &mut buf).map_err(|e| BlobError::read(digest, e))?;
                if got < buf.len() {
                    let found = range.start + got as u64;
                    return Err(BlobError::Size { digest: digest.clone(), expected: size, found });
                }
                chunks.extend(&buf);
                if filled_in.send(buf).is_err() {
                    break;
                }
            }
            Ok(())
        };
        let done = read();
        drop(filled_in);
        let found =
            main_hash.join().map_err(|_| BlobError::read(digest, io::Error::other("hashing failed")))?;
        done?;
        match found == *digest {
            true => Ok(chunks),
            false => Err(BlobError::Mismatch { expected: digest.clone(), found }),
        }
    })
}
