//! Every way a question to the view can fail. No errno, no printing.

use std::sync::Arc;

use crate::blob::BlobError;
use crate::image::ImageError;
use crate::source::SourceError;

/// Why the view has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No such name in this directory.
    #[error("no such entry")]
    NoSuchEntry,
    /// A directory was needed.
    #[error("not a directory")]
    NotADirectory,
    /// A file was needed.
    #[error("is a directory")]
    IsADirectory,
    /// A symlink was needed.
    #[error("not a symlink")]
    NotASymlink,
    /// A number that was never handed out.
    #[error("no such inode")]
    Stale,
    /// No such extended attribute.
    #[error("no such extended attribute")]
    NoXattr,
    /// More trees than inode numbers can name.
    #[error("more directories than a mount can number")]
    TooManyTrees,
    /// A blob's bytes.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A document.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The source itself.
    #[error(transparent)]
    Source(Arc<SourceError>),
    /// A descriptor that says nothing usable stands where a blob should be described.
    #[error("{0}")]
    Descriptor(#[from] crate::oci::DescriptorError),
}

impl From<SourceError> for Error {
    fn from(error: SourceError) -> Self {
        Self::Source(Arc::new(error))
    }
}

impl Error {
    /// Says whether something is wrong with the source, which people want to know, and not with the question.
    pub(super) fn is_problem(&self) -> bool {
        match self {
            Self::NoSuchEntry
            | Self::NotADirectory
            | Self::IsADirectory
            | Self::NotASymlink
            | Self::Stale
            | Self::NoXattr => false,
            Self::TooManyTrees | Self::Blob(_) | Self::Image(_) | Self::Source(_) | Self::Descriptor(_) => {
                true
            }
        }
    }
}
