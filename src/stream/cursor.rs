//! A decoder somewhere in a stream, going forward.

use super::StreamError;
use crate::codec::{self, At, Checkpoint, CodecError, Compression, Decoder};
use crate::read_at::ReadAt;

/// Compressed bytes read at once: half a chunk or so of output, and no more memory than that for each parked decoder.
const INPUT: usize = 64 << 10;

/// A decoder somewhere in a stream. Yields bytes in order; where they begin is known.
pub(super) struct Cursor {
    decoder: Box<dyn Decoder>,
    /// Where the next byte stands in the decompressed stream.
    pub(super) at: u64,
    next_input: u64,
    input: Vec<u8>,
    used: usize,
}

impl Cursor {
    /// Starts at a checkpoint.
    pub(super) fn start(compression: Compression, checkpoint: &Checkpoint) -> Result<Self, CodecError> {
        Ok(Self {
            decoder: codec::resume(compression, checkpoint)?,
            at: checkpoint.output_offset,
            next_input: checkpoint.input_offset,
            input: Vec::new(),
            used: 0,
        })
    }

    /// Returns about how many bytes of memory it holds.
    pub(super) fn memory(&mut self) -> usize {
        self.decoder.memory() + INPUT
    }

    /// Decodes and throws away until `offset`.
    pub(super) fn skip_to(&mut self, raw: &dyn ReadAt, offset: u64) -> Result<(), StreamError> {
        if self.at >= offset {
            return Ok(());
        }
        let mut waste = vec![0; 128 << 10];
        while self.at < offset {
            let n = usize::try_from(offset - self.at).unwrap_or(waste.len()).min(waste.len());
            self.fill(raw, &mut waste[..n])?;
        }
        Ok(())
    }

    /// Fills `out` with the next bytes; the stream ending before is an error, for its length is known.
    pub(super) fn fill(&mut self, raw: &dyn ReadAt, out: &mut [u8]) -> Result<(), StreamError> {
        let mut filled = 0;
        while filled < out.len() {
            let step = self.decoder.step(&self.input[self.used..], &mut out[filled..])?;
            self.used += step.consumed;
            self.at += step.produced as u64;
            filled += step.produced;
            if filled == out.len() {
                break;
            }
            let ended = step.at == At::End || (self.used == self.input.len() && !self.refill(raw)?);
            if ended {
                return Err(StreamError::Changed { offset: self.at });
            }
        }
        Ok(())
    }

    fn refill(&mut self, raw: &dyn ReadAt) -> Result<bool, StreamError> {
        self.input.resize(INPUT, 0);
        let got = raw.read_at(self.next_input, &mut self.input)?;
        self.input.truncate(got);
        self.next_input += got as u64;
        self.used = 0;
        Ok(got > 0)
    }
}
