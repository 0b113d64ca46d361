//! Decompression that can start in the middle of a stream.
//!
//! Knows no tar, no digest and no image, and does no I/O: the caller hands in compressed bytes and takes
//! decompressed ones.
//!
//! There are two ways through a stream. [`scan`] goes over all of it once, verifies every checksum it carries
//! and collects [`Checkpoint`]s on the way; [`resume`] starts at one of those.

mod bzip2;
mod error;
mod gzip;
mod inflate;
mod plain;
mod tail;
#[cfg(test)]
mod tests;
mod window;
mod xz;
mod zstd;

use std::fmt;

pub use error::CodecError;
pub(crate) use gzip::{GzipScanner, Part, Reach, Seeker};
pub use tail::Oddity;
use tail::Tail;
pub use window::{Packed, Window, Windows, repack};

/// A way of compressing a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Bytes as they are.
    None,
    /// RFC 1952, any number of members.
    Gzip,
    /// RFC 8878, any number of frames, skippable ones included.
    Zstd,
    /// The .xz format, any number of streams.
    Xz,
    /// bzip2, any number of streams.
    Bzip2,
}

impl Compression {
    /// How many bytes [`Compression::sniff`] wants to see.
    pub const SNIFF_LEN: usize = 10;

    /// Tells the compression from the first bytes of a stream.
    ///
    /// Whatever has no known signature is [`Compression::None`]. With fewer than [`Self::SNIFF_LEN`] bytes a
    /// signature that is not complete is not seen, so pass that many unless the stream is shorter.
    pub fn sniff(first_bytes: &[u8]) -> Self {
        match first_bytes {
            [0x1f, 0x8b, 0x08, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            // "BZh9" may well begin the name of the first file of a plain tar: look at the block's magic too.
            [b'B', b'Z', b'h', b'1'..=b'9', block @ ..] if bzip2::begins_block(block) => Self::Bzip2,
            _ => Self::None,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
        })
    }
}

/// A place in a stream where decompression can start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Where we are in the decompressed stream.
    pub output_offset: u64,
    /// The offset of the first compressed byte to feed after [`resume`].
    pub input_offset: u64,
    /// What a decoder has to know to start here.
    pub entry: Entry,
}

/// What a decoder has to know to start at a [`Checkpoint`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Nothing: a gzip member, a zstd frame or the whole stream begins here.
    Fresh,
    /// A deflate block inside a gzip member begins here.
    Block {
        /// How many bits of the byte at `input_offset` belong to the block, 0 to 7: its most significant ones.
        /// 0 means that the block begins with that byte's first bit.
        bits: u8,
        /// The decompressed bytes before this place that later ones are copied from.
        window: Window,
    },
}

impl Checkpoint {
    /// The beginning of any stream.
    pub const START: Self = Self { output_offset: 0, input_offset: 0, entry: Entry::Fresh };
}

/// What one call of [`Decoder::step`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// How many bytes of the input are done with.
    pub consumed: usize,
    /// How many bytes of the output were filled, from its beginning.
    pub produced: usize,
    /// Whether the stream goes on.
    pub at: At,
}

/// Whether a stream goes on after a [`Step`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// More output may come, given more input or more room.
    More,
    /// No more output will come. Input that is fed from here on is only looked at for [`Oddity`]s.
    End,
}

/// Turns compressed bytes into decompressed ones, in steps of any size.
pub trait Decoder: Send {
    /// Takes compressed bytes from `input` and puts decompressed ones into `output`.
    ///
    /// While both are non-empty, a step consumes or produces at least one byte, or fails: a loop that feeds what
    /// was not consumed always ends. Where `output` was not filled, everything that can be made of the input so
    /// far is out and all of `input` is consumed. Where it was filled, more may be waiting: call again, with
    /// empty input if there is none, before [`Decoder::finish`].
    ///
    /// After an error the decoder is of no more use; what further calls return means nothing.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, CodecError>;

    /// Says that the input is over, and returns what was odd about the stream.
    ///
    /// Fails with [`CodecError::Truncated`] where the stream is not complete.
    fn finish(&mut self) -> Result<Vec<Oddity>, CodecError>;

    /// Returns about how many bytes of memory the decoder holds: unless it says otherwise, what deflate does.
    fn memory(&mut self) -> usize {
        80 << 10
    }
}

/// A decoder that goes over a stream from its beginning and collects checkpoints.
pub trait Scanner: Decoder {
    /// Takes the next checkpoint that is ready, in ascending order of offsets.
    ///
    /// The first is [`Checkpoint::START`]. Ask after every step, and once more after [`Decoder::finish`]: a
    /// checkpoint is ready only when the bytes after it have shown what it needs, and others to be packed with it
    /// were found.
    fn next_checkpoint(&mut self) -> Option<Checkpoint>;
}

/// Returns a scanner that takes a checkpoint about every `spacing` decompressed bytes.
///
/// Checkpoints lie at least `spacing` apart. How much further depends on the stream: gzip has one in every five quarters of it,
/// between deflate blocks and at members, zstd at frames, plain bytes anywhere, xz and bzip2 nowhere but at the start.
/// Neither a block nor a frame has an upper bound, so neither has the distance.
pub fn scan(compression: Compression, spacing: u64) -> Result<Box<dyn Scanner>, CodecError> {
    let spacing = spacing.max(1);
    Ok(match compression {
        Compression::None => Box::new(plain::Plain::scan(spacing)),
        Compression::Gzip => Box::new(gzip::GzipScanner::new(spacing)?),
        Compression::Zstd => Box::new(zstd::Zstd::scan(spacing)?),
        Compression::Xz => Box::new(Sequential::new(xz::Xz::new()?)),
        Compression::Bzip2 => Box::new(Sequential::new(bzip2::Bzip2::new())),
    })
}

/// Returns a decoder that yields the stream from `checkpoint.output_offset` on.
///
/// It is to be fed the compressed stream from `checkpoint.input_offset` on. The checksum of a gzip member that is
/// entered in the middle cannot be verified; all others are.
pub fn resume(compression: Compression, checkpoint: &Checkpoint) -> Result<Box<dyn Decoder>, CodecError> {
    if compression != Compression::Gzip && checkpoint.entry != Entry::Fresh {
        return Err(CodecError::BadCheckpoint { compression, what: "a deflate block" });
    }
    Ok(match compression {
        Compression::None => Box::new(plain::Plain::resume(checkpoint)),
        Compression::Gzip => Box::new(gzip::Gzip::resume(checkpoint)?),
        Compression::Zstd => Box::new(zstd::Zstd::resume(checkpoint)?),
        Compression::Xz | Compression::Bzip2 if *checkpoint != Checkpoint::START => {
            return Err(CodecError::BadCheckpoint { compression, what: "not the start of the stream" });
        }
        Compression::Xz => Box::new(xz::Xz::new()?),
        Compression::Bzip2 => Box::new(bzip2::Bzip2::new()),
    })
}

/// The scanner of a format that can only be read from the start.
struct Sequential<D> {
    decoder: D,
    start: Option<Checkpoint>,
}

impl<D: Decoder> Sequential<D> {
    fn new(decoder: D) -> Self {
        Self { decoder, start: Some(Checkpoint::START) }
    }
}

impl<D: Decoder> Decoder for Sequential<D> {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, CodecError> {
        self.decoder.step(input, output)
    }

    fn finish(&mut self) -> Result<Vec<Oddity>, CodecError> {
        self.decoder.finish()
    }
}

impl<D: Decoder> Scanner for Sequential<D> {
    fn next_checkpoint(&mut self) -> Option<Checkpoint> {
        self.start.take()
    }
}
