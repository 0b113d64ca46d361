//! The single pass over a layer: hash, decompress, hash, read the tar, take checkpoints.
//!
//! Three things run side by side: decompressing here, the digest of the blob on one thread, and on another all that is
//! done with the decompressed stream. Buffers go round, so that their number bounds the memory.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::LayerError;
use super::contents::Stream;
use super::index::{CHUNK, LayerIndex, PackedRecords, SPACING};
use super::spill::SpillWriter;
use crate::blob::BlobError;
use crate::codec::{self, At, Checkpoint, Compression, Entry, Scanner};
use crate::oci::{Algorithm, Descriptor, Digest, Hasher};
use crate::read_at::ReadAt;

/// Bytes handled at once: a whole number of chunks.
const PIECE: usize = 2 * CHUNK as usize;

/// Pieces under way between two threads.
const PIECES: usize = 3;

/// Longest stream we index: what its chunk digests take is bounded by it (16 MiB), and a bomb ends somewhere.
const MAX_STREAM: u64 = 256 << 30;

/// Most memory for the windows of a layer's checkpoints. Beyond it every second one goes, and they lie further apart.
const MAX_WINDOWS: usize = 32 << 20;

/// Goes over all of `raw`, which is said to be what `descriptor` means, and fails unless it is.
///
/// `algorithms` says by which the decompressed stream is hashed.
pub(super) fn scan(
    raw: &dyn ReadAt,
    descriptor: &Descriptor,
    algorithms: &[Algorithm],
    spill: Option<SpillWriter>,
) -> Result<LayerIndex, LayerError> {
    let digest = &descriptor.digest;
    let hasher = Hasher::new(digest.algorithm());
    let hasher = hasher.ok_or_else(|| BlobError::Unverifiable { digest: digest.clone() })?;
    let mut head = [0; Compression::SNIFF_LEN];
    let got = raw.read_at(0, &mut head).map_err(|e| read_error(digest, e))?;
    let compression = Compression::sniff(&head[..got]);
    let stream = Stream::new(algorithms, spill);
    std::thread::scope(|scope| {
        let (blob, blob_pieces) = Belt::new();
        let (out, out_pieces) = Belt::new();
        let blob_hash = scope.spawn(move || blob_pieces.run(hasher, |hasher, piece| hasher.update(piece)));
        let stream_end = scope.spawn(move || out_pieces.run(stream, Stream::take));
        let mut pass = Pass { raw, descriptor, blob, out, checkpoints: Checkpoints::default(), produced: 0 };
        let decoded = pass.run(compression);
        let Pass { blob, out, checkpoints, produced, .. } = pass;
        drop((blob, out));
        let panicked = || LayerError::Bug("a thread of the index pass panicked");
        let found = blob_hash.join().map_err(|_| panicked())?.finish();
        let stream = stream_end.join().map_err(|_| panicked())?;
        // A wrong blob explains whatever else went wrong with its contents.
        if let Err(e @ LayerError::Blob(_)) = decoded {
            return Err(e);
        }
        if found != *digest {
            return Err(BlobError::Mismatch { expected: digest.clone(), found }.into());
        }
        let oddities = decoded?;
        let end = stream.finish(&checkpoints.kept)?;
        let mut problems: Vec<String> = oddities;
        problems.extend(end.problems);
        Ok(LayerIndex {
            blob_size: descriptor.size,
            compression,
            stream_len: produced,
            diff_ids: end.diff_ids,
            chunks: end.chunks,
            checkpoints: checkpoints.kept,
            records: PackedRecords::new(&end.records).map_err(|e| read_error(digest, e))?,
            problems,
        })
    })
}

pub(super) fn read_error(digest: &Digest, cause: std::io::Error) -> LayerError {
    BlobError::Read { digest: digest.clone(), cause: std::sync::Arc::new(cause) }.into()
}

/// The decompressing side of a pass.
struct Pass<'a> {
    raw: &'a dyn ReadAt,
    descriptor: &'a Descriptor,
    blob: Belt,
    out: Belt,
    checkpoints: Checkpoints,
    produced: u64,
}

impl Pass<'_> {
    /// Reads the blob to its end, whatever the decoder makes of it: the digest is over all of it.
    fn run(&mut self, compression: Compression) -> Result<Vec<String>, LayerError> {
        let mut scanner = codec::scan(compression, SPACING)?;
        let mut failed = None;
        let mut output = self.out.empty();
        let mut filled = 0;
        let mut at = 0;
        while at < self.descriptor.size {
            let piece = self.read(at)?;
            at += piece.len() as u64;
            if failed.is_none()
                && let Err(e) = self.decode(&mut *scanner, &piece, &mut output, &mut filled)
            {
                failed = Some(e);
            }
            self.blob.put(piece);
        }
        if let Some(e) = failed {
            return Err(e);
        }
        // What a decoder still holds comes out with more room and no more input.
        self.drain(&mut *scanner, &mut output, &mut filled)?;
        let oddities = scanner.finish()?;
        self.drain(&mut *scanner, &mut output, &mut filled)?;
        self.checkpoints.take(&mut *scanner);
        output.truncate(filled);
        self.out.put(output);
        Ok(oddities.iter().map(ToString::to_string).collect())
    }

    fn read(&mut self, at: u64) -> Result<Vec<u8>, LayerError> {
        let digest = &self.descriptor.digest;
        let want = usize::try_from(self.descriptor.size - at).unwrap_or(PIECE).min(PIECE);
        let mut piece = self.blob.empty();
        piece.truncate(want);
        let got = self.raw.read_at(at, &mut piece).map_err(|e| read_error(digest, e))?;
        if got < want {
            let found = at + got as u64;
            return Err(
                BlobError::Size { digest: digest.clone(), expected: self.descriptor.size, found }.into()
            );
        }
        Ok(piece)
    }

    fn decode(
        &mut self,
        scanner: &mut dyn Scanner,
        mut input: &[u8],
        output: &mut Vec<u8>,
        filled: &mut usize,
    ) -> Result<(), LayerError> {
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
    ) -> Result<(), LayerError> {
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
    ) -> Result<(), LayerError> {
        *filled += produced;
        self.produced += produced as u64;
        if self.produced > MAX_STREAM {
            return Err(LayerError::TooLong { limit: MAX_STREAM });
        }
        self.checkpoints.take(scanner);
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
    windows: usize,
}

impl Default for Checkpoints {
    fn default() -> Self {
        Self { kept: Vec::new(), spacing: SPACING, windows: 0 }
    }
}

impl Checkpoints {
    fn take(&mut self, scanner: &mut dyn Scanner) {
        while let Some(next) = scanner.next_checkpoint() {
            let far_enough =
                self.kept.last().is_none_or(|last| next.output_offset >= last.output_offset + self.spacing);
            if far_enough {
                self.windows += weight(&next);
                self.kept.push(next);
            }
            if self.windows > MAX_WINDOWS {
                self.thin_out();
            }
        }
    }

    fn thin_out(&mut self) {
        let mut number = 0;
        self.kept.retain(|_| {
            number += 1;
            number % 2 == 1
        });
        self.spacing *= 2;
        self.windows = self.kept.iter().map(weight).sum();
    }
}

/// Memory of a checkpoint, in bytes.
fn weight(checkpoint: &Checkpoint) -> usize {
    let window = match &checkpoint.entry {
        Entry::Fresh => 0,
        Entry::Block { window, .. } => window.packed().len(),
    };
    size_of::<Checkpoint>() + window
}

/// Buffers on their way to another thread, and coming back empty.
struct Belt {
    full: SyncSender<Vec<u8>>,
    spare: Receiver<Vec<u8>>,
}

/// The other end of a [`Belt`].
struct Pieces {
    full: Receiver<Vec<u8>>,
    spare: SyncSender<Vec<u8>>,
}

impl Belt {
    fn new() -> (Self, Pieces) {
        let (full_in, full) = sync_channel(PIECES);
        let (spare_in, spare) = sync_channel(PIECES + 2);
        (Self { full: full_in, spare }, Pieces { full, spare: spare_in })
    }

    /// Returns a buffer of [`PIECE`] bytes; what is in it means nothing.
    fn empty(&self) -> Vec<u8> {
        let mut buffer = self.spare.try_recv().unwrap_or_default();
        buffer.resize(PIECE, 0);
        buffer
    }

    fn put(&self, piece: Vec<u8>) {
        // The other side ends early only by a panic, which joining it tells.
        let _ = self.full.send(piece);
    }
}

impl Pieces {
    fn run<T>(self, mut state: T, mut take: impl FnMut(&mut T, &[u8])) -> T {
        while let Ok(piece) = self.full.recv() {
            take(&mut state, &piece);
            let _ = self.spare.try_send(piece);
        }
        state
    }
}
