//! Tables of contents that layers carry: eStargz and zstd:chunked. What they say, checked, as entries and chunks.
//!
//! Pure: takes bytes, returns entries. Nothing here reads a blob. A table is believed only where its digest is the one
//! an annotation of the layer's descriptor states, and only where it says nothing that a tar could not: in any doubt it
//! is refused, and whoever asked goes over the whole layer instead.

mod claim;
mod entries;
mod stargz;
#[cfg(test)]
mod tests;
mod time;

use crate::codec::{self, At, Checkpoint, CodecError, Compression};
use crate::oci::Digest;

pub use claim::Claim;
pub use entries::{Contents, read};
pub use stargz::{FOOTER, Table, footer, open_member};

/// Largest table read, in bytes once unpacked: some three hundred thousand entries.
pub const MAX_TABLE: u64 = 128 << 20;

/// Largest chunk taken, in bytes: all of it is in memory before a byte of it is shown. eStargz cuts at 4 MiB.
pub const MAX_CHUNK: u64 = 32 << 20;

/// Most chunks of one layer: each takes 56 bytes of memory.
pub const MAX_CHUNKS: usize = 1 << 21;

/// Why a table is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TocError {
    /// The annotation that names it is not of its form.
    #[error("the annotation {0} says nothing we can read")]
    Annotation(&'static str),
    /// There is none in the blob.
    #[error("the blob does not end in a footer that leads to it")]
    NoFooter,
    /// It is in another image.
    #[error("it is not in the blob but in another image")]
    External,
    /// It lies where it cannot be, or is larger than we take.
    #[error("it has {len} bytes, and we take at most {limit}")]
    TooLarge {
        /// How large it is, in bytes.
        len: u64,
        /// Our limit in bytes.
        limit: u64,
    },
    /// It lies outside the blob.
    #[error("it lies outside the blob")]
    Outside,
    /// It does not decompress.
    #[error("it does not decompress: {0}")]
    Codec(#[from] CodecError),
    /// It does not stand in the tar as it should.
    #[error("it does not stand in the tar as the tools write it: {0}")]
    Member(&'static str),
    /// It is not what the annotation says.
    #[error("it hashes to {found}, and the layer's annotation says {expected}")]
    Digest {
        /// What the annotation says.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// It is no JSON of its form.
    #[error("it is no table: {0}")]
    Json(String),
    /// An entry says what cannot be, or what we do not read.
    #[error("its entry {index}: {what}")]
    Entry {
        /// Which entry, from 0.
        index: usize,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl TocError {
    /// Says whether the image is to blame, so that people should hear of it.
    pub fn is_problem(&self) -> bool {
        match self {
            Self::Annotation(_)
            | Self::NoFooter
            | Self::Outside
            | Self::Codec(_)
            | Self::Digest { .. }
            | Self::Json(_) => true,
            Self::External | Self::TooLarge { .. } | Self::Member(_) | Self::Entry { .. } => false,
        }
    }

    /// Says whether other bytes might do better: nothing has vouched for these yet.
    pub fn is_of_bytes(&self) -> bool {
        match self {
            Self::NoFooter
            | Self::Outside
            | Self::TooLarge { .. }
            | Self::Codec(_)
            | Self::Member(_)
            | Self::Digest { .. } => true,
            Self::Annotation(_) | Self::External | Self::Json(_) | Self::Entry { .. } => false,
        }
    }
}

/// Holds bytes against the digest they must have.
pub fn check(bytes: &[u8], expected: &Digest) -> Result<(), TocError> {
    match Digest::of(expected.algorithm(), bytes) {
        Some(found) if found == *expected => Ok(()),
        Some(found) => Err(TocError::Digest { expected: expected.clone(), found }),
        None => Err(TocError::Annotation("of its digest")),
    }
}

/// Decompresses all of `packed`, which may become `limit` bytes.
pub fn unpack(compression: Compression, packed: &[u8], limit: u64) -> Result<Vec<u8>, TocError> {
    /// Room for the output is made as it comes, not as anybody claims.
    const STEP: usize = 1 << 20;
    let mut decoder = codec::resume(compression, &Checkpoint::START)?;
    let (mut input, mut output, mut filled) = (packed, Vec::new(), 0);
    loop {
        if filled == output.len() {
            if filled as u64 > limit {
                return Err(TocError::TooLarge { len: filled as u64, limit });
            }
            output.resize(filled + STEP, 0);
        }
        let step = decoder.step(input, &mut output[filled..])?;
        input = &input[step.consumed..];
        filled += step.produced;
        if step.at == At::End || (step.produced == 0 && input.is_empty()) {
            break;
        }
    }
    decoder.finish()?;
    if filled as u64 > limit {
        return Err(TocError::TooLarge { len: filled as u64, limit });
    }
    output.truncate(filled);
    Ok(output)
}
