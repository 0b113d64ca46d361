//! Contents that a table lists chunk by chunk, each packed for itself: no pass is needed, only the chunks that are read.
//!
//! What vouches for the table vouches for the chunks' digests in it; a chunk that does not match is not handed out.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::Mutex;

use super::cursor::Cursor;
use super::prefetch::Fetch;
use super::{Input, Pool, StreamError, blocks};
use crate::codec::{Checkpoint, CodecError, Compression};
use crate::oci::{Algorithm, Digest};
use crate::read_at::ReadAt;

/// Most packed bytes asked for at once.
const MAX_AT_ONCE: u64 = 8 << 20;

/// Most bytes of contents fetched ahead of a reader.
const MAX_AHEAD: u64 = 4 << 20;

/// Who reads within this distance of where the last read ended reads on: the kernel asks for several pieces at once, and
/// they come in any order.
const NEAR: u64 = 1 << 20;

/// Where a chunk of the contents begins, and how to get it. It ends where the next one begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// Where it begins in the contents.
    pub offset: u64,
    /// Where its gzip member or zstd frame begins in the blob.
    pub packed_offset: u64,
    /// How many packed bytes it takes at most; 0 for a chunk of zeros, which takes none.
    pub packed_len: u32,
    /// How many bytes to pass over in what the packed bytes become.
    pub skip: u32,
    /// Its sha256.
    pub digest: [u8; 32],
}

impl Chunk {
    /// Makes a chunk of zeros.
    pub fn zeros(offset: u64) -> Self {
        Self { offset, packed_offset: 0, packed_len: 0, skip: 0, digest: [0; 32] }
    }

    /// Says whether it is nothing but zeros, by what the table says.
    pub fn is_zeros(&self) -> bool {
        *self == Self::zeros(self.offset)
    }

    fn packed(&self) -> Range<u64> {
        self.packed_offset..self.packed_offset + u64::from(self.packed_len)
    }
}

/// The contents of a layer by its table: every byte can be read, and is checked on each read.
pub struct TableStream<I> {
    number: u32,
    input: I,
    compression: Compression,
    chunks: Vec<Chunk>,
    len: u64,
    pool: Arc<Pool>,
    reader: Mutex<Reader>,
}

/// Where somebody reads, and how far ahead of him to be.
#[derive(Default)]
struct Reader {
    /// Where the last read ended.
    at: u64,
    /// How much was read without a jump.
    run: u64,
    /// Up to where was fetched ahead.
    wished: u64,
}

impl<I: Input> TableStream<I> {
    /// Makes a stream of `len` bytes in ascending `chunks`, the first of which begins at 0.
    pub fn new(input: I, compression: Compression, chunks: Vec<Chunk>, len: u64, pool: Arc<Pool>) -> Self {
        let number = pool.numbers.fetch_add(1, Relaxed);
        Self { number, input, compression, chunks, len, pool, reader: Mutex::default() }
    }

    /// Returns the length of the contents in bytes.
    pub fn stream_len(&self) -> u64 {
        self.len
    }

    /// Returns how the chunks are compressed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Returns where the packed bytes are.
    pub fn input(&self) -> &I {
        &self.input
    }

    /// Fills `buf` from `offset` of the contents, and fetches ahead for somebody who reads on. All of it must be inside.
    pub fn read_on(self: &Arc<Self>, offset: u64, buf: &mut [u8]) -> Result<(), I::Error> {
        self.read(offset, buf)?;
        let ahead = self.reader.lock().after_reading(offset, buf.len() as u64, self.len);
        if let Some(ahead) = ahead {
            let run = self.chunks_in(ahead.start, ahead.end);
            // What was read is here; the chunk that a run begins in the middle of is as well.
            let begins = |n: &usize| self.chunks[*n].offset >= ahead.start;
            let (from, to) = (run.clone().find(begins).unwrap_or(run.end), run.end);
            if from < to {
                self.pool.prefetcher.wish(self.clone(), from as u64..to as u64);
            }
        }
        Ok(())
    }

    fn read(&self, mut offset: u64, mut buf: &mut [u8]) -> Result<(), I::Error> {
        let Some(end) = offset.checked_add(buf.len() as u64).filter(|end| *end <= self.len) else {
            return Err(self.input.error(StreamError::PastEnd { len: self.len }));
        };
        let chunks = self.chunks_in(offset, end);
        self.fetch_packed(chunks.clone());
        for number in chunks {
            let chunk = &self.chunks[number];
            let n =
                usize::try_from(self.end_of(number).min(end) - offset).expect("no longer than the buffer");
            let (now, later) = std::mem::take(&mut buf).split_at_mut(n);
            if chunk.is_zeros() {
                now.fill(0);
            } else {
                let from = usize::try_from(offset - chunk.offset).expect("a chunk fits in memory");
                now.copy_from_slice(&self.chunk(number)?[from..from + n]);
            }
            buf = later;
            offset += n as u64;
        }
        Ok(())
    }

    /// Says whether all of `len` bytes from `offset` on are in memory.
    pub fn is_at_hand(&self, offset: u64, len: u64) -> bool {
        self.chunks_in(offset, offset.saturating_add(len)).all(|n| self.is_here(n))
    }

    fn is_here(&self, number: usize) -> bool {
        self.chunks[number].is_zeros() || self.pool.blocks.has(self.key(number))
    }

    fn key(&self, number: usize) -> blocks::Key {
        (self.number, u32::try_from(number).expect("a table has fewer than 2^32 chunks"))
    }

    /// Returns the chunks that the contents between two places are in.
    fn chunks_in(&self, from: u64, to: u64) -> Range<usize> {
        let first = self.chunks.partition_point(|c| c.offset <= from).saturating_sub(1);
        let end = self.chunks.partition_point(|c| c.offset < to);
        first..end.max(first)
    }

    fn end_of(&self, number: usize) -> u64 {
        self.chunks.get(number + 1).map_or(self.len, |next| next.offset)
    }

    /// Asks for the packed bytes of several chunks at once, where they lie together; they are kept below, and a failure
    /// meets whoever asks for a chunk.
    fn fetch_packed(&self, chunks: Range<usize>) {
        let missing = || chunks.clone().filter(|n| !self.is_here(*n)).map(|n| self.chunks[n].packed());
        if missing().nth(1).is_none() {
            return;
        }
        let from = missing().map(|packed| packed.start).min().unwrap_or(0);
        let to = missing().map(|packed| packed.end).max().unwrap_or(0);
        let wanted: u64 = missing().map(|packed| packed.end - packed.start).sum();
        // Chunks that lie far from each other are better asked for one by one.
        if to - from <= MAX_AT_ONCE.min(wanted.saturating_mul(2)) {
            let mut scratch = vec![0; usize::try_from(to - from).expect("bounded")];
            if let Ok(raw) = self.input.open() {
                let _ = raw.read_at(from, &mut scratch);
            }
        }
    }

    /// Returns a chunk, decoded and checked.
    fn chunk(&self, number: usize) -> Result<Arc<Vec<u8>>, I::Error> {
        self.pool.blocks.get(self.key(number), || {
            self.pool.decoded.fetch_add(1, Relaxed);
            let first = match self.decode(&*self.input.open()?, number) {
                Ok(bytes) => return Ok(Arc::new(bytes)),
                Err(e) => e,
            };
            // What was kept of it may be damaged, or there are no parts to be had any more: once more, then.
            if !self.input.try_again(&first, self.chunks[number].packed()) {
                return Err(self.input.error(first));
            }
            log::debug!("{first}; once more");
            let second = self.decode(&*self.input.open()?, number);
            second.map(Arc::new).map_err(|e| self.input.error(e))
        })
    }

    fn decode(&self, raw: &dyn ReadAt, number: usize) -> Result<Vec<u8>, StreamError> {
        let chunk = &self.chunks[number];
        let len = usize::try_from(self.end_of(number) - chunk.offset).expect("a chunk fits in memory");
        // A decoder's window is as large as what it makes, at most.
        let unpacked = len as u64 + u64::from(chunk.skip);
        let _room = self.pool.unpacking.take(u64::from(chunk.packed_len) + 2 * unpacked);
        let mut packed = vec![0; chunk.packed_len as usize];
        let got = raw.read_at(chunk.packed_offset, &mut packed)?;
        packed.truncate(got);
        let mut cursor = Cursor::start(self.compression, &Checkpoint::START)?;
        let mut bytes = vec![0; len];
        let unpacked =
            cursor.skip_to(&packed, chunk.skip.into()).and_then(|()| cursor.fill(&packed, &mut bytes));
        unpacked.map_err(|e| in_blob(e, self.compression, chunk, packed.len()))?;
        let expected = Digest::from_sha256(&chunk.digest);
        match Digest::of(Algorithm::Sha256, &bytes) {
            Some(found) if found == expected => Ok(bytes),
            Some(found) => Err(StreamError::Mismatch { offset: chunk.packed_offset, expected, found }),
            None => Err(StreamError::Bug("sha256 is not known")),
        }
    }
}

/// Says where in the blob a chunk's decompression failed, of which it saw the packed bytes only.
fn in_blob(error: StreamError, compression: Compression, chunk: &Chunk, packed: usize) -> StreamError {
    let base = chunk.packed_offset;
    match error {
        // The packed bytes were over too soon.
        StreamError::Changed { .. } => CodecError::Truncated { compression, at: base + packed as u64 }.into(),
        StreamError::Codec(CodecError::Truncated { compression, at }) => {
            CodecError::Truncated { compression, at: base.saturating_add(at) }.into()
        }
        StreamError::Codec(CodecError::Corrupt { compression, at, what }) => {
            CodecError::Corrupt { compression, at: base.saturating_add(at), what }.into()
        }
        other => other,
    }
}

impl<I: Input> Fetch for TableStream<I> {
    fn fetch(&self, chunks: Range<u64>) {
        let number = |n| usize::try_from(n).unwrap_or(usize::MAX).min(self.chunks.len());
        let chunks = number(chunks.start)..number(chunks.end);
        self.fetch_packed(chunks.clone());
        for chunk in chunks.filter(|n| !self.chunks[*n].is_zeros()) {
            // Who asks for the chunk itself meets the same failure and tells it.
            if self.chunk(chunk).is_err() {
                break;
            }
        }
    }
}

impl Reader {
    /// Returns what to fetch ahead after a read: as much as was read in one go, and nothing for who jumps about.
    fn after_reading(&mut self, offset: u64, len: u64, all: u64) -> Option<Range<u64>> {
        let end = offset.saturating_add(len);
        let goes_on = self.run > 0 && offset.abs_diff(self.at) <= NEAR;
        if !goes_on {
            *self = Self { at: end, run: len, wished: end };
            return None;
        }
        self.run = self.run.saturating_add(len);
        self.at = self.at.max(end);
        let window = self.run.min(MAX_AHEAD);
        let from = self.wished.max(end);
        let goal = end.saturating_add(window).min(all);
        // Half a window at a time: a wish for each read would be as many requests.
        if goal <= from || (goal - from < window / 2 && goal < all) {
            return None;
        }
        self.wished = goal;
        Some(from..goal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::CHUNK;

    /// Packed bytes, and what was read of them.
    struct Memory {
        bytes: Mutex<Vec<u8>>,
        asked: Arc<Mutex<Vec<Range<u64>>>>,
        /// What the bytes become when they are tried again.
        better: Mutex<Option<Vec<u8>>>,
    }

    struct Reading {
        bytes: Vec<u8>,
        asked: Arc<Mutex<Vec<Range<u64>>>>,
    }

    impl ReadAt for Reading {
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<usize> {
            self.asked.lock().push(offset..offset + buf.len() as u64);
            self.bytes.read_at(offset, buf)
        }

        fn len(&self) -> std::io::Result<u64> {
            Ok(self.bytes.len() as u64)
        }
    }

    impl Input for Memory {
        type Error = StreamError;

        fn open(&self) -> Result<Box<dyn ReadAt>, StreamError> {
            Ok(Box::new(Reading { bytes: self.bytes.lock().clone(), asked: self.asked.clone() }))
        }

        fn error(&self, cause: StreamError) -> StreamError {
            cause
        }

        fn try_again(&self, _failed: &StreamError, _range: Range<u64>) -> bool {
            self.better.lock().take().map(|better| *self.bytes.lock() = better).is_some()
        }
    }

    const LENGTHS: [usize; 5] = [10, 300_000, 1, 0, 70_000];

    /// Chunks of some lengths, with one of zeros before the last; each pair shares a frame.
    fn sample(compression: Compression) -> (Vec<u8>, Arc<TableStream<Memory>>) {
        let pack = |bytes: &[u8]| match compression {
            Compression::Zstd => zstd::bulk::compress(bytes, 1).unwrap(),
            _ => {
                use std::io::Write as _;
                let mut w = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                w.write_all(bytes).unwrap();
                w.finish().unwrap()
            }
        };
        let (mut plain, mut packed, mut chunks) = (Vec::new(), Vec::new(), Vec::<Chunk>::new());
        for (n, len) in LENGTHS.into_iter().enumerate() {
            let offset = plain.len() as u64;
            if len == 0 {
                chunks.push(Chunk::zeros(offset));
                plain.extend([0; 1000]);
                continue;
            }
            let mut bytes = vec![0; len];
            blake3::Hasher::new().update(&[n as u8]).finalize_xof().fill(&mut bytes);
            let sum = <sha2::Sha256 as sha2::Digest>::digest(&bytes).into();
            let (packed_offset, skip) = (packed.len() as u64, 7 * n as u32);
            packed.extend(pack(&[&vec![b'h'; 7 * n][..], &bytes, b"header of the next"].concat()));
            let packed_len = (packed.len() as u64 - packed_offset) as u32;
            chunks.push(Chunk { offset, packed_offset, packed_len, skip, digest: sum });
            plain.extend(bytes);
        }
        let input = Memory { bytes: Mutex::new(packed), asked: Arc::default(), better: Mutex::default() };
        let pool = Arc::new(Pool::new(64 * CHUNK, Arc::default()));
        let len = plain.len() as u64;
        (plain, Arc::new(TableStream::new(input, compression, chunks, len, pool)))
    }

    #[test]
    fn every_byte_is_what_was_packed() {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let (plain, stream) = sample(compression);
            for from in
                [0, 5, 9, 10, 11, 299_999, 300_009, 300_010, 300_011, 300_500, 301_011, plain.len() - 1]
            {
                for len in [0, 1, 2, 1_500, 70_000, 400_000] {
                    let mut bytes = vec![1; len.min(plain.len() - from)];
                    stream.read_on(from as u64, &mut bytes).unwrap();
                    assert!(bytes == plain[from..from + bytes.len()], "{compression} {from} {len}");
                }
            }
            let past = stream.read_on(plain.len() as u64, &mut [0]);
            assert!(matches!(past, Err(StreamError::PastEnd { .. })));
            assert!(matches!(stream.read_on(u64::MAX, &mut [0; 9]), Err(StreamError::PastEnd { .. })));
        }
    }

    #[test]
    fn only_what_is_wanted_is_read() {
        let (_, stream) = sample(Compression::Gzip);
        stream.read(300_011, &mut [0; 1000]).unwrap();
        assert!(stream.input.asked.lock().is_empty(), "zeros are nowhere");
        stream.read(3, &mut [0; 3]).unwrap();
        let first = stream.chunks[0].packed();
        assert_eq!(*stream.input.asked.lock(), std::slice::from_ref(&first));
        assert!(stream.is_at_hand(0, 10) && stream.is_at_hand(300_011, 1000) && !stream.is_at_hand(0, 11));
        stream.read(3, &mut [0; 3]).unwrap();
        assert_eq!(stream.input.asked.lock().len(), 1, "it is in memory");
        // Several chunks are asked for in one go before they are read one by one.
        stream.read(0, &mut [0; 300_011]).unwrap();
        assert_eq!(
            stream.input.asked.lock()[1],
            stream.chunks[1].packed_offset..stream.chunks[2].packed().end
        );
    }

    #[test]
    fn a_wrong_byte_is_never_handed_out() {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let (_, stream) = sample(compression);
            let good = stream.input.bytes.lock().clone();
            let packed = stream.chunks[1].packed();
            for at in packed.clone().step_by(9_973) {
                // A stream of its own, which has nothing in memory yet.
                let (plain, stream) = sample(compression);
                stream.input.bytes.lock()[at as usize] ^= 1;
                let mut bytes = vec![0; 300_000];
                match stream.read(10, &mut bytes) {
                    Err(StreamError::Mismatch { offset, .. }) => assert_eq!(offset, packed.start),
                    Err(StreamError::Codec(_)) => {}
                    // The bit was of no meaning: a header's, say.
                    Ok(()) => assert!(bytes == plain[10..300_010], "{compression} {at}"),
                    Err(other) => panic!("{compression} {at}: {other}"),
                }
            }
            stream.input.bytes.lock().truncate(packed.start as usize + 50);
            let cut = stream.read(10, &mut [0; 300_000]);
            assert!(matches!(cut, Err(StreamError::Codec(CodecError::Truncated { .. }))), "{cut:?}");
            // Tried again, it is better.
            *stream.input.better.lock() = Some(good);
            stream.read(10, &mut [0; 300_000]).unwrap();
        }
    }

    #[test]
    fn who_reads_on_is_fetched_for_and_who_jumps_is_not() {
        let all = 100 << 20;
        let mut reader = Reader::default();
        let (mut at, mut ahead) = (0, 0);
        while at < all {
            if let Some(range) = reader.after_reading(at, CHUNK, all) {
                assert!(range.start >= ahead && range.end > range.start && range.end <= all);
                assert!(
                    range.end <= at + CHUNK + MAX_AHEAD && range.end <= 2 * (at + CHUNK),
                    "no more than was read"
                );
                ahead = range.end;
            }
            at += CHUNK;
        }
        assert_eq!(ahead, all);
        for at in [50 << 20, 10 << 20, 70 << 20, 30 << 20] {
            assert_eq!(reader.after_reading(at, CHUNK, all), None);
        }
    }
}
