//! What a failure says about a blob: damaged, absent, or not to be told.

use std::io;

use crate::blob::BlobError;
use crate::codec::CodecError;
use crate::image::ImageError;
use crate::layer::LayerError;

/// What is known of a blob now that it was looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Its bytes are what they should be.
    Good,
    /// The source does not hold it.
    Absent,
    /// It is not what it should be, and why.
    Damaged(String),
    /// It could not be told, and why.
    Unknown(String),
}

impl Verdict {
    pub(super) fn of_blob(error: &BlobError) -> Self {
        match error {
            BlobError::Absent { .. } => Self::Absent,
            BlobError::Read { cause, .. } if cause.kind() == io::ErrorKind::NotFound => Self::Absent,
            BlobError::Size { .. }
            | BlobError::Mismatch { .. }
            | BlobError::Changed { .. }
            | BlobError::Data { .. }
            | BlobError::NotRegular { .. } => Self::Damaged(error.to_string()),
            BlobError::Unverifiable { .. } | BlobError::TooLarge { .. } | BlobError::Read { .. } => {
                Self::Unknown(error.to_string())
            }
        }
    }

    pub(super) fn of_layer(error: &LayerError) -> Self {
        match error {
            LayerError::Blob(e) => Self::of_blob(e),
            LayerError::Codec {
                cause:
                    CodecError::WindowTooLarge { .. }
                    | CodecError::OutOfMemory { .. }
                    | CodecError::BadCheckpoint { .. },
                ..
            }
            | LayerError::Unverifiable(_)
            | LayerError::Records { .. }
            | LayerError::NotALayer { .. }
            | LayerError::TooLong { .. }
            | LayerError::Bug(_) => Self::Unknown(error.to_string()),
            LayerError::Codec { .. }
            | LayerError::Tar { .. }
            | LayerError::DiffId { .. }
            | LayerError::Changed { .. }
            | LayerError::Chunk { .. }
            | LayerError::PastEnd { .. } => Self::Damaged(error.to_string()),
        }
    }

    /// Says what a failure to have a document means.
    pub fn of_document(error: &ImageError) -> Self {
        match error {
            ImageError::Blob(e) => Self::of_blob(e),
            ImageError::Source(e) => Self::Unknown(e.to_string()),
            ImageError::Document { .. } | ImageError::Descriptor(_) | ImageError::NoConfig(_) => {
                Self::Damaged(error.to_string())
            }
        }
    }
}
