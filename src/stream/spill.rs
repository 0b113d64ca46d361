//! Decompressed streams on disk, for compressions that cannot be entered in the middle.

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::Arc;

use super::{Sink, StreamIndex};
use crate::cache::{Cache, Key, Shelf, Unfinished};
use crate::codec::{Checkpoint, Compression};
use crate::read_at::ReadAt;

/// Longest way from a checkpoint that is decoded again rather than kept on disk, in bytes: some ten milliseconds.
const MAX_AGAIN: u64 = 16 << 20;

/// A decompressed stream on disk. Every chunk read from it is checked like any other.
pub struct Spill {
    cache: Arc<Cache>,
    key: Key,
    file: File,
}

impl Spill {
    /// Opens the copy of the stream `key`, if there is one of `len` bytes.
    pub fn open(cache: &Arc<Cache>, key: &Key, len: u64) -> Option<Self> {
        let file = cache.open(Shelf::Spill, key)?;
        (file.metadata().ok()?.len() == len).then(|| Self { cache: cache.clone(), key: key.clone(), file })
    }

    /// Says whether a stream is worth a copy on disk: it has no place to start near enough to every byte.
    pub fn is_wanted(index: &StreamIndex) -> bool {
        is_sequential(index.compression)
            && longest_way(&index.checkpoints, index.stream_len) > MAX_AGAIN
            && index.stream_len <= Shelf::Spill.limit()
    }

    pub(super) fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        ReadAt::read_at(&self.file, offset, buf)
    }

    pub(super) fn remove(&self) {
        self.cache.remove(Shelf::Spill, &self.key);
    }
}

/// Writes a stream down while the pass goes over it; failing to is no failure of the pass.
pub struct SpillWriter {
    cache: Arc<Cache>,
    key: Key,
    file: Option<Unfinished>,
    written: u64,
}

impl SpillWriter {
    /// Begins to write down the stream `key`, where its compression may have no place to start in the middle.
    pub fn new(cache: Option<&Arc<Cache>>, key: &Key, compression: Compression) -> Option<Self> {
        let cache = cache.filter(|_| is_sequential(compression))?;
        let file = cache.begin(Shelf::Spill).inspect_err(|e| cache.complain(e)).ok();
        Some(Self { cache: cache.clone(), key: key.clone(), file, written: 0 })
    }

    /// Keeps the stream, where its checkpoints are too far apart to do without.
    pub fn finish(mut self, checkpoints: &[Checkpoint]) {
        let Some(unfinished) = self.file.take() else { return };
        if longest_way(checkpoints, self.written) > MAX_AGAIN
            && let Err(e) = self.cache.keep(unfinished, &self.key)
        {
            self.cache.complain(&e);
        }
    }
}

impl Sink for SpillWriter {
    fn take(&mut self, piece: &[u8]) {
        let Some(unfinished) = &mut self.file else { return };
        self.written += piece.len() as u64;
        if self.written > Shelf::Spill.limit() {
            self.file = None;
        } else if let Err(e) = unfinished.file.write_all(piece) {
            self.cache.complain(&e);
            self.file = None;
        }
    }
}

/// Says whether a compression may have no place to start in the middle.
fn is_sequential(compression: Compression) -> bool {
    match compression {
        Compression::None | Compression::Gzip => false,
        Compression::Zstd | Compression::Xz | Compression::Bzip2 => true,
    }
}

/// Returns the longest way to decode from a checkpoint to a byte, in bytes.
fn longest_way(checkpoints: &[Checkpoint], len: u64) -> u64 {
    let starts = checkpoints.iter().map(|c| c.output_offset);
    let ends = starts.clone().skip(1).chain([len]);
    starts.zip(ends).map(|(start, end)| end.saturating_sub(start)).max().unwrap_or(len)
}
