//! From failures to errno: the only place that decides. docs/semantics.md has the same table.

use std::io;

use fuser::Errno;

use crate::blob::{BlobError, SourceError};
use crate::codec::CodecError;
use crate::image::ImageError;
use crate::layer::LayerError;
use crate::oci::DocumentError;
use crate::tree::RecordsError;
use crate::view::Error;

/// Returns the errno of a failure. No catch-all arm: a new variant does not compile until somebody decides.
pub(super) fn errno(error: &Error) -> Errno {
    match error {
        Error::NoSuchEntry => Errno::ENOENT,
        Error::NotADirectory => Errno::ENOTDIR,
        Error::IsADirectory => Errno::EISDIR,
        Error::NotASymlink => Errno::EINVAL,
        Error::Stale => Errno::ESTALE,
        Error::NoXattr => Errno::ENODATA,
        Error::XattrUnsupported => Errno::EOPNOTSUPP,
        Error::TooManyTrees { .. } => Errno::EFBIG,
        Error::Blob(e) => blob(e),
        Error::Image(e) => image(e),
        Error::Source(e) => source(e),
        Error::Layer(e) => layer(e),
        Error::TooManyLayers { .. } | Error::TooManyLost(_) => Errno::EFBIG,
        Error::Config { .. } | Error::NotAReferrer { .. } | Error::Descriptor(_) => Errno::EIO,
    }
}

fn blob(error: &BlobError) -> Errno {
    match error {
        BlobError::Absent { .. } => Errno::ENODATA,
        BlobError::Unverifiable { .. } => Errno::EOPNOTSUPP,
        BlobError::TooLarge { .. } => Errno::EFBIG,
        BlobError::Size { .. }
        | BlobError::Mismatch { .. }
        | BlobError::Changed { .. }
        | BlobError::Data { .. }
        | BlobError::NotRegular { .. } => Errno::EIO,
        BlobError::Read { cause, .. } => read(cause),
    }
}

/// What a registry answered comes as the kind of an I/O error; of everything else only the text tells.
fn read(cause: &io::Error) -> Errno {
    match cause.kind() {
        io::ErrorKind::NotFound => Errno::ENODATA,
        io::ErrorKind::PermissionDenied => Errno::EACCES,
        io::ErrorKind::TimedOut => Errno::ETIMEDOUT,
        _ => Errno::EIO,
    }
}

fn image(error: &ImageError) -> Errno {
    match error {
        ImageError::Blob(e) => blob(e),
        ImageError::Source(e) => source(e),
        ImageError::Document {
            cause: DocumentError::TooMany { .. } | DocumentError::TooLong { .. }, ..
        } => Errno::EFBIG,
        ImageError::Document { .. } | ImageError::Descriptor(_) | ImageError::NoConfig(_) => Errno::EIO,
    }
}

fn source(error: &SourceError) -> Errno {
    match error {
        SourceError::Absent | SourceError::NoSuchSource(_) => Errno::ENODATA,
        SourceError::TooLarge { .. } => Errno::EFBIG,
        SourceError::Io(cause) => read(cause),
        SourceError::NotALayout { .. } | SourceError::NotRegular(_) => Errno::EIO,
    }
}

fn layer(error: &LayerError) -> Errno {
    match error {
        LayerError::Blob(e) => blob(e),
        LayerError::Codec { cause, .. } => match cause {
            CodecError::WindowTooLarge { .. } => Errno::EOPNOTSUPP,
            CodecError::OutOfMemory { .. } => Errno::ENOMEM,
            CodecError::Truncated { .. }
            | CodecError::Corrupt { .. }
            | CodecError::Checksum { .. }
            | CodecError::Length { .. }
            | CodecError::BadCheckpoint { .. } => Errno::EIO,
        },
        LayerError::Records { cause, .. } => match cause {
            RecordsError::TooMany | RecordsError::TooLarge => Errno::EFBIG,
            RecordsError::Bad { .. } | RecordsError::Count { .. } => Errno::EIO,
        },
        LayerError::TooLong { .. } => Errno::EFBIG,
        LayerError::NotALayer { .. } | LayerError::Unverifiable(_) => Errno::EOPNOTSUPP,
        LayerError::Tar { .. }
        | LayerError::DiffId { .. }
        | LayerError::Changed { .. }
        | LayerError::Chunk { .. }
        | LayerError::PastEnd { .. }
        | LayerError::Bug(_) => Errno::EIO,
    }
}
