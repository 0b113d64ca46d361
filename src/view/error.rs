//! Every way a question to the view can fail. No errno, no printing.

use std::sync::Arc;

use crate::blob::{BlobError, BlobStore, SourceError};
use crate::image::{ImageError, Objection};
use crate::layer::LayerError;
use crate::oci::Digest;

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
    /// A kind of extended attribute that nothing in this tree has.
    #[error("extended attributes of this kind are not supported here")]
    XattrUnsupported,
    /// More trees than a mount may have.
    #[error(
        "this mount has as many directories that can grow a tree as it may, {limit}: unmount and mount again, \
         with --image where one image is enough"
    )]
    TooManyTrees {
        /// Our limit.
        limit: usize,
    },
    /// A blob's bytes.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A document.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The source itself.
    #[error(transparent)]
    Source(Arc<SourceError>),
    /// A layer's contents.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// A configuration that does not vouch for the layers.
    #[error("{digest}: {objection}")]
    Config {
        /// The configuration.
        digest: Digest,
        /// Why it does not.
        objection: Objection,
    },
    /// More layers than we put together.
    #[error("{found} layers, and we put at most {limit} together")]
    TooManyLayers {
        /// How many there are.
        found: usize,
        /// Our limit.
        limit: usize,
    },
    /// More deleted than we keep.
    #[error(transparent)]
    TooManyLost(#[from] crate::tree::TooManyLost),
    /// Listed as a referrer, and speaks of something else.
    #[error("{digest}: is listed as a referrer of {subject}, its own subject is {}", found.as_deref().unwrap_or("none"))]
    NotAReferrer {
        /// What was listed.
        digest: Digest,
        /// What it is said to speak of.
        subject: Digest,
        /// What it speaks of.
        found: Option<String>,
    },
    /// A descriptor that says nothing usable stands where a blob should be described.
    #[error("{0}")]
    Descriptor(#[from] crate::oci::DescriptorError),
}

impl From<&Error> for Error {
    fn from(error: &Error) -> Self {
        error.clone()
    }
}

impl From<SourceError> for Error {
    fn from(error: SourceError) -> Self {
        Arc::new(error).into()
    }
}

impl From<Arc<SourceError>> for Error {
    fn from(error: Arc<SourceError>) -> Self {
        Self::Source(error)
    }
}

impl Error {
    /// Says whether there may be an answer the next time.
    pub(super) fn may_pass(&self, store: &BlobStore) -> bool {
        match self {
            Self::Blob(e) | Self::Image(ImageError::Blob(e)) | Self::Layer(LayerError::Blob(e)) => {
                store.may_pass(e)
            }
            _ => false,
        }
    }

    /// Says whether something is wrong with the source, which people want to know, and not with the question.
    pub(super) fn is_problem(&self) -> bool {
        !matches!(
            self,
            Self::NoSuchEntry
                | Self::NotADirectory
                | Self::IsADirectory
                | Self::NotASymlink
                | Self::Stale
                | Self::NoXattr
                | Self::XattrUnsupported
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It said "more directories than a mount can number": neither how many, nor what to do.
    #[test]
    fn too_many_trees_says_how_many_and_what_to_do() {
        let told = Error::TooManyTrees { limit: 1 << 22 }.to_string();
        for said in ["4194304", "unmount and mount again", "--image"] {
            assert!(told.contains(said), "{told}");
        }
    }
}
