//! An archive's file, held open, and whether it is still what it was.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::SourceError;
use crate::cache::{Cache, Key, Shelf};
use crate::read_at::ReadAt;
use crate::stream::{Input, StreamError};

/// Bytes from either end of the file that go into its key: a tar's first members, and an archive's last.
const SAMPLE: u64 = 64 << 10;

/// A file held open: it stays the same one when it is renamed, or replaced by another of its name.
pub(super) struct Held {
    file: File,
    path: PathBuf,
    size: u64,
    mtime: (i64, i64),
    modified: SystemTime,
    key: Key,
}

impl Held {
    /// Opens the file at `path`.
    pub(super) fn open(path: &Path) -> Result<Self, SourceError> {
        // O_NONBLOCK: a FIFO that was put there a moment ago must not hold us up.
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
        let file = File::options().read(true).custom_flags(flags).open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(SourceError::NotRegular(if meta.file_type().is_fifo() {
                "FIFO"
            } else {
                "special file"
            }));
        }
        let (size, mtime) = (meta.len(), (meta.mtime(), meta.mtime_nsec()));
        let sample = |at: u64| -> io::Result<[u8; 32]> {
            let mut bytes = vec![0; usize::try_from(SAMPLE.min(size)).expect("a sample fits in memory")];
            let got = file.read_at(at, &mut bytes)?;
            Ok(blake3::hash(&bytes[..got]).into())
        };
        let parts = [size, mtime.0 as u64, mtime.1 as u64, meta.dev(), meta.ino()].map(u64::to_le_bytes);
        let (first, last) = (sample(0)?, sample(size.saturating_sub(SAMPLE))?);
        let key = Key::derived("archive", &[parts.as_flattened(), &first, &last]);
        let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        Ok(Self { file, path: path.to_owned(), size, mtime, modified, key })
    }

    /// Returns where the file was opened.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the file's size in bytes, as it was when it was opened.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Returns when it was last written.
    pub(super) fn modified(&self) -> SystemTime {
        self.modified
    }

    /// Returns what the cache knows it by: not its path, but everything that changes when its content does.
    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// Fails where the file was written to since it was opened, as far as its size and time tell.
    ///
    /// An early warning with a reason in it: wrong bytes are found by their digests in any case.
    pub(super) fn unchanged(&self) -> io::Result<()> {
        let meta = self.file.metadata()?;
        match (meta.len(), (meta.mtime(), meta.mtime_nsec())) == (self.size, self.mtime) {
            true => Ok(()),
            false => Err(io::Error::other(format!(
                "{} was written to since it was mounted; mount it again",
                self.path.display()
            ))),
        }
    }
}

impl ReadAt for Held {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        ReadAt::read_at(&self.file, offset, buf)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.size)
    }
}

/// A compressed archive as the input of a stream.
pub(super) struct Packed {
    pub(super) held: Arc<Held>,
    pub(super) cache: Option<Arc<Cache>>,
}

impl Input for Packed {
    type Error = io::Error;

    fn open(&self) -> io::Result<Box<dyn ReadAt>> {
        self.held.unchanged()?;
        Ok(Box::new(self.held.clone()))
    }

    fn error(&self, cause: StreamError) -> io::Error {
        if let (StreamError::Changed { .. }, Some(cache)) = (&cause, &self.cache) {
            // What was remembered of the archive is not true of it: the next mount is to look anew.
            cache.remove(Shelf::Index, &self.held.key);
        }
        let path = self.held.path.display();
        match cause {
            StreamError::Read(e) => io::Error::new(e.kind(), format!("{path}: {e}")),
            other => io::Error::other(format!("{path}: {other}")),
        }
    }
}
