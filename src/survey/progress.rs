//! How far a check has come, and how to stop it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::read_at::ReadAt;

/// How far a check has come. Shared with whoever shows it, and with whoever stops it.
#[derive(Default, Debug)]
pub struct Progress {
    /// Bytes read so far.
    pub bytes: AtomicU64,
    /// Bytes there are to read, as the descriptors say.
    pub total: AtomicU64,
    /// Set by whoever wants the check to end early.
    pub stop: Arc<AtomicBool>,
}

impl Progress {
    /// Says whether the check is to end early.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }
}

/// A blob whose reading is counted, and ends when the check is stopped.
pub(super) struct Watched<'a> {
    pub(super) inner: Box<dyn ReadAt>,
    pub(super) progress: &'a Progress,
    /// Bytes read of this one blob.
    pub(super) read: &'a AtomicU64,
}

impl ReadAt for Watched<'_> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if self.progress.is_stopped() {
            return Err(io::Error::other("stopped"));
        }
        let got = self.inner.read_at(offset, buf)?;
        self.progress.bytes.fetch_add(got as u64, Relaxed);
        self.read.fetch_add(got as u64, Relaxed);
        Ok(got)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
}
