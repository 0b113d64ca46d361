//! Where bytes come from.
//!
//! No hashing, no trust, no caching of meaning: answers are claims, and nothing from here reaches a reader except
//! through [`crate::blob`].

mod layout_dir;

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::oci::Digest;
use crate::read_at::ReadAt;

pub use layout_dir::LayoutDir;

/// Largest index.json we read. It has an entry for each image, and 10,000 of them are 3 MB.
pub const MAX_INDEX: u64 = 64 << 20;

/// A holder of an OCI layout's bytes. Answers are claims.
pub trait Source: Send + Sync {
    /// Returns the bytes of index.json.
    fn index(&self) -> Result<Vec<u8>, SourceError>;

    /// Returns the bytes of the `oci-layout` file.
    fn oci_layout(&self) -> Result<Vec<u8>, SourceError>;

    /// Opens what the source holds under `digest`, without blocking.
    fn open(&self, digest: &Digest) -> Result<Box<dyn ReadAt>, SourceError>;

    /// Lists the blobs the source holds, with their sizes in bytes, in no particular order.
    fn blobs(&self) -> Result<Vec<(Digest, u64)>, SourceError>;

    /// Returns when the source was last written, as the time of everything that has none of its own.
    fn modified(&self) -> SystemTime;
}

/// Why a source did not answer.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The source does not exist.
    #[error("{0}: no such file or directory")]
    NoSuchSource(PathBuf),
    /// It exists, and is nothing we can mount.
    #[error("{path}: {what}")]
    NotALayout {
        /// The source.
        path: PathBuf,
        /// What is missing or wrong.
        what: String,
    },
    /// The source does not hold this.
    #[error("not in this source")]
    Absent,
    /// Something else than a regular file stands in its place.
    #[error("is a {0}, not a regular file")]
    NotRegular(&'static str),
    /// Larger than anything of its kind has reason to be.
    #[error("has {size} bytes, and we read at most {limit}")]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// Our limit in bytes.
        limit: u64,
    },
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Opens the source at `path`, telling its kind by its content.
pub fn open(path: &Path) -> Result<Box<dyn Source>, SourceError> {
    match std::fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(SourceError::NoSuchSource(path.to_owned())),
        Err(e) => Err(e.into()),
        Ok(meta) if meta.is_dir() => Ok(Box::new(LayoutDir::open(path)?)),
        Ok(meta) if meta.is_file() => Err(SourceError::NotALayout {
            path: path.to_owned(),
            what: "is a file; this version mounts layout directories (unpack it with `tar -xf` first)"
                .to_owned(),
        }),
        Ok(_) => Err(SourceError::NotALayout {
            path: path.to_owned(),
            what: "is neither a directory nor a regular file".to_owned(),
        }),
    }
}
