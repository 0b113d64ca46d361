//! Blobs that are opened now and fetched when they are read.

use std::io;
use std::sync::{Arc, OnceLock};

use super::MAX_SMALL;
use super::failure::Failure;
use super::shared::{Place, Shared};
use crate::oci::{Digest, MAX_DOCUMENT};
use crate::read_at::ReadAt;

/// A blob that is fetched when it is first read.
pub(super) struct Lazy {
    pub(super) shared: Arc<Shared>,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) place: Place,
    pub(super) blob: OnceLock<Arc<dyn ReadAt>>,
}

impl Lazy {
    fn blob(&self) -> Result<&Arc<dyn ReadAt>, Failure> {
        if let Some(blob) = self.blob.get() {
            return Ok(blob);
        }
        let is_known = self.shared.manifests.lock().contains(&self.digest);
        let place = if is_known { Place::Manifests } else { self.place };
        let is_manifest = place == Place::Manifests;
        let blob: Arc<dyn ReadAt> = match self.shared.whole(&self.digest, self.size) {
            Some(file) => Arc::new(Kept(file)),
            None if is_manifest && self.size > MAX_DOCUMENT => {
                return Err(Failure::Wrong(format!("{}: too large for a manifest", self.digest)));
            }
            None if is_manifest || self.size <= MAX_SMALL => {
                let mut patience = self.shared.client.patience();
                Arc::new(self.shared.claimed(&self.digest, self.size, place, &mut patience)?)
            }
            None => self.shared.large(&self.digest, self.size)?,
        };
        Ok(self.blob.get_or_init(|| blob))
    }
}

impl ReadAt for Lazy {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let got = self.blob()?.read_at(offset, buf);
        self.shared.pause_after(&got);
        got
    }

    /// Returns what the descriptor says: whether it is true, reading tells.
    fn len(&self) -> io::Result<u64> {
        Ok(self.size)
    }
}

/// A blob of which those parts are fetched that are read.
pub(super) struct Partly {
    pub(super) shared: Arc<Shared>,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

impl ReadAt for Partly {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(file) = self.shared.whole(&self.digest, self.size) {
            return Kept(file).read_at(offset, buf);
        }
        let parts = self.shared.parts(&self.digest, self.size)?;
        if !parts.has(offset, buf.len()) {
            self.shared.check_pause()?;
        }
        let got = parts.read_at(offset, buf);
        self.shared.pause_after(&got);
        got
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.size)
    }
}

/// A file of the store.
pub(super) struct Kept(pub(super) Arc<nix::fcntl::Flock<std::fs::File>>);

impl ReadAt for Kept {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        ReadAt::read_at(&**self.0, offset, buf)
    }

    fn len(&self) -> io::Result<u64> {
        ReadAt::len(&**self.0)
    }
}
