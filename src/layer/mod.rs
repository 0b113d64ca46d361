//! One layer: its entries, and any byte of its decompressed stream, checked. Knows no kernel, no names in the mount.
//!
//! The first look at a layer goes over its blob once (`pass.rs`) and yields its [`LayerIndex`], which is kept in memory
//! and in a cache directory. From then on its contents are a [`Stream`] that can be read anywhere. A layer that is
//! elsewhere and has a table of contents is not gone over: the table lists it (`table.rs`), and its chunks are fetched.

mod contents;
mod index;
mod index_file;
mod pass;
mod store;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::blob::{BlobError, BlobStore};
use crate::codec::{CodecError, Compression};
use crate::oci::{Algorithm, Descriptor, Digest};
use crate::read_at::ReadAt;
use crate::stream::{Input, Stream, StreamError, TableStream};
use crate::tar::TarError;
use crate::tree::{Records, RecordsError};

use index::PackedRecords;
use table::Parts;

pub use index::{LayerIndex, mistyped};
pub use store::{LayerStats, LayerStore};

/// Why a layer's contents are not to be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LayerError {
    /// Its blob.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// Its compression.
    #[error("{digest}: {cause}")]
    Codec {
        /// The blob.
        digest: Digest,
        /// What is wrong.
        cause: CodecError,
    },
    /// Its tar.
    #[error("{digest}: {cause}")]
    Tar {
        /// The blob.
        digest: Digest,
        /// What is wrong.
        cause: TarError,
    },
    /// More entries than we take.
    #[error("{digest}: {cause}")]
    Records {
        /// The blob.
        digest: Digest,
        /// What is wrong.
        cause: RecordsError,
    },
    /// The decompressed bytes are not what the configuration says (config.md, "rootfs.diff_ids").
    #[error("{digest}: decompresses to {found}, the configuration's diff_id is {expected}")]
    DiffId {
        /// The blob.
        digest: Digest,
        /// What the configuration says.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// A diff_id by an algorithm we cannot compute.
    #[error("diff_id {0}: cannot be checked: unknown algorithm")]
    Unverifiable(Digest),
    /// The blob is not what it was when it was checked.
    #[error("{digest}: changed since it was checked: its contents differ from byte {offset} on")]
    Changed {
        /// The blob.
        digest: Digest,
        /// Where in the decompressed stream.
        offset: u64,
    },
    /// A chunk is not what the layer's table of contents says.
    #[error(
        "{digest}: the chunk packed at {offset} hashes to {found}, its table of contents says {expected}"
    )]
    Chunk {
        /// The blob.
        digest: Digest,
        /// Where in the blob its packed bytes begin.
        offset: u64,
        /// What the table says.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// A file that reaches beyond the end of the layer's stream.
    #[error("{digest}: the layer ends at byte {len} of its contents, before this file does")]
    PastEnd {
        /// The blob.
        digest: Digest,
        /// Length of the decompressed stream.
        len: u64,
    },
    /// Not a file tree by its media type.
    #[error("{digest}: {media_type:?} is no layer ocifs can look into")]
    NotALayer {
        /// The blob.
        digest: Digest,
        /// Its media type.
        media_type: String,
    },
    /// Longer than we go over.
    #[error("{digest}: decompresses to more than {limit} bytes")]
    TooLong {
        /// The blob.
        digest: Digest,
        /// Our limit.
        limit: u64,
    },
    /// A mistake of ours.
    #[error("bug: {0}")]
    Bug(&'static str),
}

/// Says of which layer a failure is.
fn of_stream(digest: &Digest, error: StreamError) -> LayerError {
    let digest = digest.clone();
    match error {
        StreamError::Read(cause) => BlobError::Read { digest, cause }.into(),
        StreamError::Short { expected, found } => BlobError::Size { digest, expected, found }.into(),
        StreamError::Codec(cause) => LayerError::Codec { digest, cause },
        StreamError::Changed { offset } => LayerError::Changed { digest, offset },
        StreamError::Mismatch { offset, expected, found } => {
            LayerError::Chunk { digest, offset, expected, found }
        }
        StreamError::PastEnd { len } => LayerError::PastEnd { digest, len },
        StreamError::TooLong { limit } => LayerError::TooLong { digest, limit },
        StreamError::Bug(what) => LayerError::Bug(what),
    }
}

/// A layer's blob. Unchecked when opened: what is decoded from it is checked.
struct Blob {
    blobs: Arc<BlobStore>,
    descriptor: Descriptor,
}

impl Input for Blob {
    type Error = LayerError;

    fn open(&self) -> Result<Box<dyn ReadAt>, LayerError> {
        Ok(self.blobs.claimed(&self.descriptor)?)
    }

    fn error(&self, cause: StreamError) -> LayerError {
        if let StreamError::Changed { .. } = cause {
            self.blobs.distrust(&self.descriptor.digest);
        }
        of_stream(&self.descriptor.digest, cause)
    }
}

/// One layer whose entries are known.
pub struct Layer {
    contents: Contents,
    records: PackedRecords,
    problems: Vec<String>,
}

/// How a layer's contents are read.
enum Contents {
    /// It was gone over once.
    Whole { stream: Arc<Stream<Blob>>, diff_ids: Vec<Digest> },
    /// Its table of contents lists it. Nothing is known of its stream as a whole.
    Table(Arc<TableStream<Parts>>),
}

impl Layer {
    /// Returns the layer's entries, in the order of the archive.
    pub fn records(&self) -> Result<Records, LayerError> {
        let told = |cause| LayerError::Records { digest: self.digest().clone(), cause };
        self.records.unpack().map_err(told)
    }

    /// Returns what is odd about the layer, a line each.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Returns the digest of the layer's blob.
    pub fn digest(&self) -> &Digest {
        &self.descriptor().digest
    }

    /// Returns how the blob is compressed, told from its bytes or by its table of contents.
    pub fn compression(&self) -> Compression {
        match &self.contents {
            Contents::Whole { stream, .. } => stream.index().compression,
            Contents::Table(table) => table.compression(),
        }
    }

    /// Returns the length in bytes of what extents count in: the decompressed stream, or the contents of all files.
    pub fn stream_len(&self) -> u64 {
        match &self.contents {
            Contents::Whole { stream, .. } => stream.index().stream_len,
            Contents::Table(table) => table.stream_len(),
        }
    }

    /// Fills `buf` from `offset` of the decompressed stream, and decodes ahead for somebody who reads on.
    ///
    /// All of it must be inside.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), LayerError> {
        match &self.contents {
            Contents::Whole { stream, .. } => stream.read_on(offset, buf),
            Contents::Table(table) => table.read_on(offset, buf),
        }
    }

    /// Says whether all of `len` bytes from `offset` on are in memory.
    pub fn is_at_hand(&self, offset: u64, len: u64) -> bool {
        match &self.contents {
            Contents::Whole { stream, .. } => stream.is_at_hand(offset, len),
            Contents::Table(table) => table.is_at_hand(offset, len),
        }
    }

    fn descriptor(&self) -> &Descriptor {
        match &self.contents {
            Contents::Whole { stream, .. } => &stream.input().descriptor,
            Contents::Table(table) => table.input().descriptor(),
        }
    }

    /// Returns the digest of the contents by `algorithm`, where it was taken.
    fn diff_id(&self, algorithm: Algorithm) -> Option<&Digest> {
        match &self.contents {
            Contents::Whole { diff_ids, .. } => diff_ids.iter().find(|d| d.algorithm() == algorithm),
            Contents::Table(_) => None,
        }
    }
}
