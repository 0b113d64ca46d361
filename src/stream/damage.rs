//! Which bytes of a stream are lost, when its compressed form is not what it was.

use std::ops::Range;

use super::StreamError;
use super::index::{CHUNK, StreamIndex};
use crate::codec::{self, At, Checkpoint};
use crate::read_at::ReadAt;

/// Compressed bytes fed at once.
const FEED: usize = 64 << 10;

/// Decompressed bytes taken at once.
const TAKE: usize = 128 << 10;

/// Decompresses all of `raw` that can be, each piece from its own checkpoint on, and returns the ranges that no longer
/// yield what they did when `index` was made: whole chunks, ascending, none touching the next.
pub fn damaged(raw: &dyn ReadAt, index: &StreamIndex) -> Result<Vec<Range<u64>>, StreamError> {
    let mut chunks = Chunks { index, hasher: blake3::Hasher::new(), at: 0, spoilt: false, lost: Vec::new() };
    let mut ends = index.checkpoints.iter().skip(1).map(|c| c.output_offset);
    for checkpoint in &index.checkpoints {
        let end = ends.next().unwrap_or(index.stream_len);
        segment(raw, index, checkpoint, end, &mut chunks)?;
        chunks.gap_to(end);
    }
    Ok(chunks.lost)
}

/// Decompresses from `checkpoint` to `end`, or as far as that goes.
fn segment(
    raw: &dyn ReadAt,
    index: &StreamIndex,
    checkpoint: &Checkpoint,
    end: u64,
    chunks: &mut Chunks<'_>,
) -> Result<(), StreamError> {
    let mut decoder = codec::resume(index.compression, checkpoint)?;
    let (mut input, mut output) = (vec![0; FEED], vec![0; TAKE]);
    let (mut from, mut got, mut read_to) = (0, 0, checkpoint.input_offset);
    let mut left = end - checkpoint.output_offset;
    while left > 0 {
        if from == got {
            got = raw.read_at(read_to, &mut input)?;
            (from, read_to) = (0, read_to + got as u64);
        }
        let room = usize::try_from(left).unwrap_or(TAKE).min(TAKE);
        // What does not decompress is lost up to the next checkpoint; that it is, the digests of the chunks tell.
        let Ok(step) = decoder.step(&input[from..got], &mut output[..room]) else { return Ok(()) };
        from += step.consumed;
        left -= step.produced as u64;
        chunks.take(&output[..step.produced]);
        if step.at == At::End || (step.produced == 0 && step.consumed == 0) {
            return Ok(());
        }
    }
    Ok(())
}

/// Holds a stream against the digests of its chunks.
struct Chunks<'a> {
    index: &'a StreamIndex,
    hasher: blake3::Hasher,
    at: u64,
    spoilt: bool,
    lost: Vec<Range<u64>>,
}

impl Chunks<'_> {
    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(CHUNK - self.at % CHUNK).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.hasher.update(now);
            self.advance(now.len() as u64);
            bytes = later;
        }
    }

    /// Goes on to `to` without the bytes before it.
    fn gap_to(&mut self, to: u64) {
        while self.at < to {
            self.spoilt = true;
            self.advance((CHUNK - self.at % CHUNK).min(to - self.at));
        }
    }

    /// Moves within one chunk, or to its end.
    fn advance(&mut self, by: u64) {
        self.at += by;
        if self.at.is_multiple_of(CHUNK) || self.at == self.index.stream_len {
            let number = (self.at - 1) / CHUNK;
            let expected = usize::try_from(number).ok().and_then(|n| self.index.chunks.get(n));
            let found: [u8; 32] = self.hasher.finalize().into();
            if self.spoilt || expected != Some(&found) {
                let from = number * CHUNK;
                match self.lost.last_mut() {
                    Some(last) if last.end == from => last.end = self.at,
                    _ => self.lost.push(from..self.at),
                }
            }
            self.hasher.reset();
            self.spoilt = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::stream::scan;

    fn content() -> Vec<u8> {
        let mut state = 7_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b'a' + (state >> 27) as u8
        };
        (0..3_000_000).map(|_| next()).collect()
    }

    fn indexed(packed: &dyn ReadAt) -> StreamIndex {
        scan(packed, packed.len().unwrap(), (), ()).unwrap().decoded.unwrap().0
    }

    #[test]
    fn a_whole_stream_has_lost_nothing() {
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(&content()).unwrap();
        for packed in [content(), gz.finish().unwrap(), Vec::new()] {
            assert_eq!(damaged(&packed, &indexed(&packed)).unwrap(), []);
        }
    }

    #[test]
    fn of_plain_bytes_one_chunk_is_lost() {
        let mut plain = content();
        let index = indexed(&plain);
        plain[CHUNK as usize * 3 + 5] ^= 1;
        let lost = damaged(&plain, &index).unwrap();
        assert_eq!((lost.len(), &lost[0]), (1, &(CHUNK * 3..CHUNK * 4)));
        plain.truncate(CHUNK as usize * 20 + 1);
        assert_eq!(damaged(&plain, &index).unwrap(), [CHUNK * 3..CHUNK * 4, CHUNK * 20..index.stream_len]);
    }

    #[test]
    fn of_a_gzip_stream_what_follows_the_next_checkpoint_is_not_lost() {
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(&content()).unwrap();
        let mut gz = gz.finish().unwrap();
        let index = indexed(&gz);
        let half = gz.len() / 2;
        gz[half] ^= 0x55;
        let lost = damaged(&gz, &index).unwrap();
        let middle = index.stream_len / 2;
        assert_eq!(lost.len(), 1, "{lost:?}");
        assert!(lost[0].start < middle + CHUNK * 4 && lost[0].end + CHUNK * 4 > middle, "{lost:?}");
        assert!(lost[0].end - lost[0].start < index.stream_len / 2, "{lost:?}");
        gz.truncate(half);
        let lost = damaged(&gz, &index).unwrap();
        assert_eq!(lost.last().unwrap().end, index.stream_len);
        assert!(lost[0].start > CHUNK * 4);
    }
}
