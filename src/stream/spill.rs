//! Decompressed streams on disk, for compressions that cannot be entered in the middle.

use std::io::Write as _;
use std::sync::Arc;

use crate::cache::{Cache, Shelf, Unfinished};
use crate::codec::Checkpoint;
use crate::oci::Digest;

/// Longest way from a checkpoint that is decoded again rather than kept on disk, in bytes: some ten milliseconds.
const MAX_AGAIN: u64 = 16 << 20;

/// Writes a stream down while the pass goes over it; failing to is no failure of the pass.
pub(super) struct SpillWriter {
    cache: Arc<Cache>,
    key: Digest,
    file: Option<Unfinished>,
    written: u64,
}

impl SpillWriter {
    /// Begins to write down the stream of the blob `key`.
    pub(super) fn new(cache: &Arc<Cache>, key: &Digest) -> Self {
        let file = cache.begin(Shelf::Spill).inspect_err(|e| cache.complain(e)).ok();
        Self { cache: cache.clone(), key: key.clone(), file, written: 0 }
    }

    pub(super) fn take(&mut self, piece: &[u8]) {
        let Some(unfinished) = &mut self.file else { return };
        self.written += piece.len() as u64;
        if self.written > Shelf::Spill.limit() {
            self.file = None;
        } else if let Err(e) = unfinished.file.write_all(piece) {
            self.cache.complain(&e);
            self.file = None;
        }
    }

    /// Keeps the stream, where its checkpoints are too far apart to do without.
    pub(super) fn finish(mut self, checkpoints: &[Checkpoint]) {
        let Some(unfinished) = self.file.take() else { return };
        if longest_way(checkpoints, self.written) > MAX_AGAIN
            && let Err(e) = self.cache.keep(unfinished, &self.key)
        {
            self.cache.complain(&e);
        }
    }
}

/// Returns the longest way to decode from a checkpoint to a byte, in bytes.
fn longest_way(checkpoints: &[Checkpoint], len: u64) -> u64 {
    let starts = checkpoints.iter().map(|c| c.output_offset);
    let ends = starts.clone().skip(1).chain([len]);
    starts.zip(ends).map(|(start, end)| end.saturating_sub(start)).max().unwrap_or(len)
}
