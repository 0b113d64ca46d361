//! Bytes that are not compressed: copied through, with a checkpoint wherever one is wanted.

use super::{At, Checkpoint, CodecError, Decoder, Entry, Oddity, Scanner, Step};

/// Hands bytes through.
pub(super) struct Plain {
    offset: u64,
    spacing: u64,
    /// Where the next checkpoint lies. Nothing is queued: it is enough to count up to `offset`.
    next: u64,
}

impl Plain {
    /// Starts at the beginning, with a checkpoint at every multiple of `spacing`.
    pub(super) fn scan(spacing: u64) -> Self {
        Self { offset: 0, spacing, next: 0 }
    }

    /// Starts at a checkpoint.
    pub(super) fn resume(checkpoint: &Checkpoint) -> Self {
        Self { offset: checkpoint.output_offset, spacing: u64::MAX, next: u64::MAX }
    }
}

impl Decoder for Plain {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, CodecError> {
        let n = input.len().min(output.len());
        output[..n].copy_from_slice(&input[..n]);
        self.offset = self.offset.saturating_add(n as u64);
        Ok(Step { consumed: n, produced: n, at: At::More })
    }

    fn finish(&mut self) -> Result<Vec<Oddity>, CodecError> {
        Ok(Vec::new())
    }
}

impl Scanner for Plain {
    fn next_checkpoint(&mut self) -> Option<Checkpoint> {
        // One at the very end would have nothing behind it; the one at 0 is always there.
        if self.next != 0 && self.next >= self.offset {
            return None;
        }
        let at = self.next;
        self.next = self.next.saturating_add(self.spacing);
        Some(Checkpoint { output_offset: at, input_offset: at, entry: Entry::Fresh })
    }
}
