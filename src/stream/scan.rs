//! The single pass over a stream: decompress, take checkpoints and the digests of chunks, hand the bytes on.
//!
//! Three things run side by side: decompressing here, what is done with the compressed bytes on one thread, and with the
//! decompressed ones on another. Buffers go round, so that their number bounds the memory.

mod abreast;

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::StreamError;
use super::index::{CHUNK, SPACING, StreamIndex};
use crate::codec::{self, At, Checkpoint, CodecError, Compression, Entry, Oddity, Scanner};
use crate::read_at::ReadAt;

use abreast::Cores;
pub use abreast::Workers;

/// Bytes handled at once: a whole number of chunks.
const PIECE: usize = 8 * CHUNK as usize;

/// The same for what is small itself: clearing megabytes would take longer than going over it.
const SMALL_PIECE: usize = 64 << 10;

/// Pieces under way between two threads.
const PIECES: usize = 3;

/// Longest stream we index: what its chunk digests take is bounded by it (64 MiB), and a bomb ends somewhere.
const MAX_STREAM: u64 = 256 << 30;

/// Most memory for the windows of a stream's checkpoints. Beyond it every second one goes, and they lie further apart.
const MAX_WINDOWS: usize = 32 << 20;

/// Takes the bytes of a pass in order.
pub trait Sink: Send {
    /// Takes the next bytes.
    fn take(&mut self, piece: &[u8]);
}

impl Sink for () {
    fn take(&mut self, _piece: &[u8]) {}
}

/// What a pass came to. All compressed bytes went over `input`, also where they did not decompress.
pub struct Scan<I, O> {
    /// The index and what was odd, or why there is none.
    pub decoded: Result<(StreamIndex, Vec<Oddity>), StreamError>,
    /// What took the compressed bytes.
    pub input: I,
    /// What took the decompressed ones.
    pub output: O,
    /// How many of the decompressed bytes came from workers that were ahead.
    pub ahead: u64,
}

/// Tells the compression of `raw` from its first bytes.
pub fn sniff(raw: &dyn ReadAt) -> Result<Compression, StreamError> {
    let mut head = [0; Compression::SNIFF_LEN];
    let got = raw.read_at(0, &mut head)?;
    Ok(Compression::sniff(&head[..got]))
}

/// Goes over the `len` bytes of `raw`, to the last one whatever a decoder makes of them.
pub fn scan<I: Sink, O: Sink>(
    raw: &dyn ReadAt,
    len: u64,
    input: I,
    output: O,
) -> Result<Scan<I, O>, StreamError> {
    scan_abreast(raw, len, input, output, Workers::Spare)
}

/// Does what [`scan()`] does with the workers it is told to have. What comes out does not depend on them.
pub fn scan_abreast<I: Sink, O: Sink>(
    raw: &dyn ReadAt,
    len: u64,
    mut input: I,
    output: O,
    workers: Workers,
) -> Result<Scan<I, O>, StreamError> {
    let compression = sniff(raw)?;
    let plan = workers.plan(len);
    let _cores = Cores::for_pass();
    std::thread::scope(|scope| {
        let usual = if len < SMALL_PIECE as u64 { SMALL_PIECE } else { PIECE };
        let (compressed, compressed_pieces) = Belt::new(plan.piece.unwrap_or(usual));
        let (out, out_pieces) = Belt::new(usual);
        // Where no thread is to be had the pass fails, and the next one may not.
        let thread = std::thread::Builder::new;
        let input = thread().spawn_scoped(scope, move || {
            compressed_pieces.run(|piece| input.take(piece));
            input
        })?;
        let output = thread().spawn_scoped(scope, move || {
            let mut output =
                Chunked { chunks: Vec::new(), chunk: blake3::Hasher::new(), in_chunk: 0, output };
            out_pieces.run(|piece| output.take(piece));
            output.finish()
        })?;
        let mut pass =
            Pass { raw, len, compressed, out, checkpoints: Checkpoints::default(), produced: 0, ahead: 0 };
        let decoded = match compression {
            Compression::Gzip if plan.is_abreast() => plan.run(&mut pass),
            _ => pass.run(compression),
        };
        let Pass { compressed, out, checkpoints, produced, ahead, .. } = pass;
        drop((compressed, out));
        let panicked = || StreamError::Bug("a thread of the index pass panicked");
        let input = input.join().map_err(|_| panicked())?;
        let (chunks, output) = output.join().map_err(|_| panicked())?;
        let decoded = decoded?.and_then(|oddities| {
            let checkpoints = checkpoints.finish()?;
            let index =
                StreamIndex { input_len: len, compression, stream_len: produced, chunks, checkpoints };
            Ok((index, oddities))
        });
        Ok(Scan { decoded, input, output, ahead })
    })
}

/// Takes the digests of a stream's chunks and hands the bytes on.
struct Chunked<O> {
    chunks: Vec<[u8; 32]>,
    chunk: blake3::Hasher,
    in_chunk: u64,
    output: O,
}

impl<O: Sink> Chunked<O> {
    fn take(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while !rest.is_empty() {
            let room = usize::try_from(CHUNK - self.in_chunk).expect("a chunk fits in memory");
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.chunk.update(now);
            self.in_chunk += now.len() as u64;
            if self.in_chunk == CHUNK {
                self.end_chunk();
            }
            rest = later;
        }
        self.output.take(piece);
    }

    fn end_chunk(&mut self) {
        self.chunks.push(self.chunk.finalize().into());
        self.chunk.reset();
        self.in_chunk = 0;
    }

    fn finish(mut self) -> (Vec<[u8; 32]>, O) {
        if self.in_chunk > 0 {
            self.end_chunk();
        }
        (self.chunks, self.output)
    }
}

/// The decompressing side of a pass.
struct Pass<'a> {
    raw: &'a dyn ReadAt,
    len: u64,
    compressed: Belt,
    out: Belt,
    checkpoints: Checkpoints,
    produced: u64,
    /// How much of it came from workers.
    ahead: u64,
}

impl Pass<'_> {
    /// Reads the input to its end, whatever the decoder makes of it. The outer failure is one of reading.
    fn run(&mut self, compression: Compression) -> Result<Result<Vec<Oddity>, StreamError>, StreamError> {
        let mut scanner = codec::scan(compression, SPACING)?;
        let mut failed = None;
        let mut output = self.out.empty();
        let mut filled = 0;
        let mut at = 0;
        while at < self.len {
            let piece = self.read(at)?;
            at += piece.len() as u64;
            if failed.is_none()
                && let Err(e) = self.decode(&mut *scanner, &piece, &mut output, &mut filled)
            {
                failed = Some(e);
            }
            self.compressed.put(piece);
        }
        Ok(match failed {
            Some(e) => Err(e),
            None => self.end(&mut *scanner, output, filled),
        })
    }

    fn end(
        &mut self,
        scanner: &mut dyn Scanner,
        mut output: Vec<u8>,
        mut filled: usize,
    ) -> Result<Vec<Oddity>, StreamError> {
        // What a decoder still holds comes out with more room and no more input.
        self.drain(scanner, &mut output, &mut filled)?;
        let oddities = scanner.finish()?;
        self.drain(scanner, &mut output, &mut filled)?;
        self.checkpoints.take(scanner)?;
        output.truncate(filled);
        self.out.put(output);
        Ok(oddities)
    }

    fn read(&mut self, at: u64) -> Result<Vec<u8>, StreamError> {
        let want = usize::try_from(self.len - at).unwrap_or(usize::MAX).min(self.compressed.piece);
        let mut piece = self.compressed.empty();
        piece.truncate(want);
        let got = self.raw.read_at(at, &mut piece)?;
        match got < want {
            true => Err(StreamError::Short { expected: self.len, found: at + got as u64 }),
            false => Ok(piece),
        }
    }

    fn decode(
        &mut self,
        scanner: &mut dyn Scanner,
        mut input: &[u8],
        output: &mut Vec<u8>,
        filled: &mut usize,
    ) -> Result<(), StreamError> {
        while !input.is_empty() {
            let step = scanner.step(input, &mut output[*filled..])?;
            input = &input[step.consumed..];
            self.advance(scanner, step.produced, output, filled)?;
        }
        Ok(())
    }

    fn drain(
        &mut self,
        scanner: &mut dyn Scanner,
        output: &mut Vec<u8>,
        filled: &mut usize,
    ) -> Result<(), StreamError> {
        loop {
            let step = scanner.step(&[], &mut output[*filled..])?;
            self.advance(scanner, step.produced, output, filled)?;
            if step.produced == 0 || step.at == At::End {
                return Ok(());
            }
        }
    }

    fn advance(
        &mut self,
        scanner: &mut dyn Scanner,
        produced: usize,
        output: &mut Vec<u8>,
        filled: &mut usize,
    ) -> Result<(), StreamError> {
        *filled += produced;
        self.produced += produced as u64;
        if self.produced > MAX_STREAM {
            return Err(StreamError::TooLong { limit: MAX_STREAM });
        }
        self.checkpoints.take(scanner)?;
        if *filled == output.len() {
            let full = std::mem::replace(output, self.out.empty());
            self.out.put(full);
            *filled = 0;
        }
        Ok(())
    }
}

/// Checkpoints within a budget of memory.
struct Checkpoints {
    kept: Vec<Checkpoint>,
    spacing: u64,
    /// Memory of all of them, in bytes.
    weight: usize,
}

impl Default for Checkpoints {
    fn default() -> Self {
        Self { kept: Vec::new(), spacing: SPACING, weight: 0 }
    }
}

impl Checkpoints {
    fn take(&mut self, scanner: &mut dyn Scanner) -> Result<(), CodecError> {
        while let Some(next) = scanner.next_checkpoint() {
            let far_enough =
                self.kept.last().is_none_or(|last| next.output_offset >= last.output_offset + self.spacing);
            if far_enough {
                self.weight += weight(self.kept.last(), &next);
                self.kept.push(next);
            }
            if self.weight > MAX_WINDOWS {
                self.thin_out()?;
            }
        }
        Ok(())
    }

    fn thin_out(&mut self) -> Result<(), CodecError> {
        let mut number = 0;
        self.kept.retain(|_| {
            number += 1;
            number % 2 == 1
        });
        self.spacing *= 2;
        self.repack()
    }

    /// Packs anew what is kept: the windows of checkpoints that are not take memory still.
    fn repack(&mut self) -> Result<(), CodecError> {
        codec::repack(&mut self.kept)?;
        let before = std::iter::once(None).chain(self.kept.iter().map(Some));
        self.weight = before.zip(&self.kept).map(|(before, checkpoint)| weight(before, checkpoint)).sum();
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Checkpoint>, CodecError> {
        if self.spacing > SPACING {
            self.repack()?;
        }
        Ok(self.kept)
    }
}

/// Memory of a checkpoint behind another one, in bytes. A group of windows counts with its first.
fn weight(before: Option<&Checkpoint>, checkpoint: &Checkpoint) -> usize {
    let group = |checkpoint: &Checkpoint| match &checkpoint.entry {
        Entry::Fresh => None,
        Entry::Block { window, .. } => Some(window.group().clone()),
    };
    let own = group(checkpoint)
        .filter(|own| before.and_then(group).is_none_or(|before| !std::sync::Arc::ptr_eq(own, &before)));
    size_of::<Checkpoint>() + own.map_or(0, |own| own.packed_len())
}

/// Buffers on their way to another thread, and coming back empty.
struct Belt {
    full: SyncSender<Vec<u8>>,
    spare: Receiver<Vec<u8>>,
    /// Length of each buffer, in bytes.
    piece: usize,
}

/// The other end of a [`Belt`].
struct Pieces {
    full: Receiver<Vec<u8>>,
    spare: SyncSender<Vec<u8>>,
}

impl Belt {
    /// Makes a belt for buffers of `piece` bytes.
    fn new(piece: usize) -> (Self, Pieces) {
        let (full_in, full) = sync_channel(PIECES);
        let (spare_in, spare) = sync_channel(PIECES + 2);
        (Self { full: full_in, spare, piece }, Pieces { full, spare: spare_in })
    }

    /// Returns a buffer; what is in it means nothing.
    fn empty(&self) -> Vec<u8> {
        let mut buffer = self.spare.try_recv().unwrap_or_default();
        buffer.resize(self.piece, 0);
        buffer
    }

    fn put(&self, piece: Vec<u8>) {
        // The other side ends early only by a panic, which joining it tells.
        let _ = self.full.send(piece);
    }
}

impl Pieces {
    fn run(self, mut take: impl FnMut(&[u8])) {
        while let Ok(piece) = self.full.recv() {
            take(&piece);
            let _ = self.spare.try_send(piece);
        }
    }
}

#[cfg(test)]
mod tests;
