//! A blob that is being written: it gets its name when it is whole.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use nix::fcntl::{Flock, FlockArg};

use crate::cache::ours;

/// A blob under way: of `have` bytes, and without its name yet.
pub(super) struct Part {
    /// Locked as long as somebody writes to it.
    pub(super) file: Flock<File>,
    /// None: it has no name, and gets none.
    pub(super) path: Option<PathBuf>,
    /// Whether a later attempt will look for it.
    pub(super) resumable: bool,
    /// Bytes that were there from an earlier attempt.
    pub(super) have: u64,
}

impl Part {
    /// Returns a second handle, to read what has come so far.
    pub(super) fn reader(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Returns the file to write to.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Empties it.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        self.have = 0;
        self.file.set_len(0)
    }

    /// Ends without a blob. What came so far is kept for the next attempt, unless it is `wrong`.
    pub(super) fn give_up(self, wrong: bool) {
        if let Some(path) = self.path.as_ref().filter(|_| wrong || !self.resumable) {
            let _ = fs::remove_file(path);
        }
    }
}

/// Opens an unfinished file for us alone; none where somebody else has it.
pub(super) fn open(path: PathBuf) -> io::Result<Option<Part>> {
    // Between opening and locking, its writer may have given it its name: then there is another one, or none.
    for _ in 0..8 {
        let Ok(file) = Flock::lock(ours::open_or_make(&path)?, FlockArg::LockExclusiveNonblock) else {
            return Ok(None);
        };
        let meta = file.metadata()?;
        let same = fs::symlink_metadata(&path)
            .is_ok_and(|named| (named.dev(), named.ino()) == (meta.dev(), meta.ino()));
        if same && meta.is_file() {
            return Ok(Some(Part { have: meta.len(), file, path: Some(path), resumable: true }));
        }
    }
    Ok(None)
}
