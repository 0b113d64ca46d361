//! From claimed bytes to checked bytes: the only door between a source and everything that reads.
//!
//! Knows no JSON and no tar. A blob is hashed in full once, before its first byte goes out; the same pass takes the
//! digests of its chunks, and every later read is checked against those.

mod verified;

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::flight::Flight;
use crate::oci::{Data, Descriptor, Digest, IndexEntry, MAX_DOCUMENT};
use crate::read_at::ReadAt;
use crate::source::Source;

// What a source says of itself, and not of a blob, goes up as it is.
pub use crate::source::SourceError;

pub use verified::{CHUNK, ChunkDigests, VerifiedBlob};

/// Largest blob we hash: its chunk digests take 128 MiB, and real layers end two orders of magnitude below.
pub const MAX_BLOB: u64 = 512 << 30;

/// The content of the empty descriptor (manifest.md, "Guidance for an Empty Descriptor"), known without a blob.
const EMPTY_JSON: &[u8] = b"{}";
const EMPTY_JSON_DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

/// Why a blob's bytes are not handed out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BlobError {
    /// The source does not hold it (image-layout.md allows that).
    #[error("{digest}: not in this source")]
    Absent {
        /// The blob.
        digest: Digest,
    },
    /// It has another size than its descriptor says.
    #[error("{digest}: has {found} bytes, its descriptor says {expected}")]
    Size {
        /// The blob.
        digest: Digest,
        /// The descriptor's size in bytes.
        expected: u64,
        /// The blob's size in bytes.
        found: u64,
    },
    /// Its bytes are others than its digest says.
    #[error("{expected}: content hashes to {found}")]
    Mismatch {
        /// The digest asked for.
        expected: Digest,
        /// The digest of what is there.
        found: Digest,
    },
    /// It was whole when it was checked, and its bytes are others now.
    #[error("{digest}: changed since it was checked, in the bytes from {offset} on")]
    Changed {
        /// The blob.
        digest: Digest,
        /// Where the changed chunk begins.
        offset: u64,
    },
    /// The descriptor's own copy of the content is wrong.
    #[error("{digest}: the descriptor contradicts itself: {what}")]
    Data {
        /// The blob.
        digest: Digest,
        /// What is wrong with the `data` member.
        what: String,
    },
    /// An algorithm we cannot compute.
    #[error("{digest}: cannot be checked: unknown algorithm {}", digest.algorithm_name())]
    Unverifiable {
        /// The blob.
        digest: Digest,
    },
    /// Something else than a regular file stands in its place.
    #[error("{digest}: there is a {kind} in its place")]
    NotRegular {
        /// The blob.
        digest: Digest,
        /// What stands there.
        kind: &'static str,
    },
    /// A document or a blob beyond our limit for its kind.
    #[error("{digest}: has {size} bytes, and we read at most {limit} of its kind")]
    TooLarge {
        /// The blob.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// Our limit in bytes.
        limit: u64,
    },
    /// The system refused to read.
    #[error("{digest}: cannot read: {cause}")]
    Read {
        /// The blob.
        digest: Digest,
        /// Why.
        #[source]
        cause: Arc<io::Error>,
    },
}

impl BlobError {
    fn from_source(digest: &Digest, error: SourceError) -> Self {
        let digest = digest.clone();
        match error {
            SourceError::Absent | SourceError::NoSuchSource(_) => Self::Absent { digest },
            SourceError::NotRegular(kind) => Self::NotRegular { digest, kind },
            SourceError::TooLarge { size, limit } => Self::TooLarge { digest, size, limit },
            SourceError::Io(cause) => Self::Read { digest, cause: Arc::new(cause) },
            SourceError::NotALayout { what, .. } => {
                Self::Read { digest, cause: Arc::new(io::Error::other(what)) }
            }
        }
    }

    fn read(digest: &Digest, cause: io::Error) -> Self {
        Self::Read { digest: digest.clone(), cause: Arc::new(cause) }
    }
}

/// Counts of what the store did, for people who watch it.
#[derive(Default, Debug)]
pub struct BlobStats {
    /// Bytes hashed in full passes over blobs.
    pub hashed: AtomicU64,
    /// Full passes over blobs.
    pub passes: AtomicU64,
    /// Bytes checked against chunk digests on later reads.
    pub rechecked: AtomicU64,
}

/// The blobs of one source, each verified once and re-checked on every read.
pub struct BlobStore {
    source: Box<dyn Source>,
    verified: Flight<Digest, Arc<VerifiedBlob>, BlobError>,
    stats: Arc<BlobStats>,
    index: OnceLock<Arc<Vec<u8>>>,
    held: Mutex<Option<Arc<HashMap<Digest, u64>>>>,
}

impl BlobStore {
    /// Makes a store over `source`.
    pub fn new(source: Box<dyn Source>) -> Self {
        let (verified, stats) = (Flight::default(), Arc::default());
        Self { source, verified, stats, index: OnceLock::new(), held: Mutex::new(None) }
    }

    /// Returns the checked blob that `descriptor` means; the first call for a digest reads all of it.
    pub fn open(self: &Arc<Self>, descriptor: &Descriptor) -> Result<Arc<VerifiedBlob>, BlobError> {
        let digest = &descriptor.digest;
        if let Data::Wrong(what) = &descriptor.data {
            return Err(BlobError::Data { digest: digest.clone(), what: what.clone() });
        }
        let blob = self.verified.get_or_try(digest, || self.verify(descriptor))?;
        // The digest may hold and the size not: such a descriptor is not to be trusted (descriptor.md, "size").
        match blob.size() == descriptor.size {
            true => Ok(blob),
            false => {
                Err(BlobError::Size { digest: digest.clone(), expected: descriptor.size, found: blob.size() })
            }
        }
    }

    /// Says whether [`BlobStore::open`] would answer without reading the whole blob.
    pub fn is_verified(&self, digest: &Digest) -> bool {
        self.verified.get(digest).is_some()
    }

    /// Returns all bytes of a small blob, checked.
    pub fn document(self: &Arc<Self>, descriptor: &Descriptor) -> Result<Vec<u8>, BlobError> {
        let (digest, size) = (&descriptor.digest, descriptor.size);
        if size > MAX_DOCUMENT {
            return Err(BlobError::TooLarge { digest: digest.clone(), size, limit: MAX_DOCUMENT });
        }
        if let Data::Wrong(what) = &descriptor.data {
            return Err(BlobError::Data { digest: digest.clone(), what: what.clone() });
        }
        let (bytes, _) = self.whole(descriptor)?;
        Ok(bytes)
    }

    /// Returns the blobs the source holds, with their sizes in bytes. Asked of the source once.
    pub fn held(&self) -> Result<Arc<HashMap<Digest, u64>>, SourceError> {
        let mut held = self.held.lock();
        if let Some(held) = &*held {
            return Ok(held.clone());
        }
        let fresh: Arc<HashMap<_, _>> = Arc::new(self.source.blobs()?.into_iter().collect());
        Ok(held.insert(fresh).clone())
    }

    /// Says whether a blob's bytes are on this machine, so that reading them costs nobody a download.
    pub fn is_near(&self, descriptor: &Descriptor) -> bool {
        self.source.is_near(descriptor)
    }

    /// Says whether the source's documents are elsewhere: then nothing is read only to count or to add up.
    pub fn is_remote(&self) -> bool {
        self.source.is_remote()
    }

    /// Says whether the next try may go better, so that nothing may be concluded from this one for good: no file
    /// descriptors were left, a disk failed, a registry could not be reached or what came from it was not what it sent.
    pub fn may_pass(&self, error: &BlobError) -> bool {
        let remote = self.is_remote();
        match error {
            BlobError::Read { cause, .. } => match cause.kind() {
                // That there is nothing is an answer, and here that we may not read it; who may there, a login changes.
                io::ErrorKind::NotFound => false,
                io::ErrorKind::PermissionDenied => remote,
                _ => remote || cause.raw_os_error().is_some(),
            },
            BlobError::Mismatch { .. } | BlobError::Size { .. } | BlobError::Changed { .. } => remote,
            _ => false,
        }
    }

    /// Returns the blobs the source holds where that is known or quickly asked, with their sizes in bytes.
    pub fn held_at_once(&self) -> Arc<HashMap<Digest, u64>> {
        if self.is_remote() {
            // Not waited for: who asks for all blobs holds it as long as the registry takes.
            return self.held.try_lock().and_then(|held| held.clone()).unwrap_or_default();
        }
        self.held().unwrap_or_default()
    }

    /// Tells the source that what it gave under `digest` was something else.
    pub fn distrust(&self, digest: &Digest) {
        self.source.distrust(digest);
    }

    /// Tells the source that what it gave of one part of a blob was something else.
    pub fn distrust_part(&self, digest: &Digest, range: Range<u64>) {
        self.source.distrust_part(digest, range);
    }

    /// Returns how often parts of blobs were asked for elsewhere, and how many bytes came.
    pub fn parts_fetched(&self) -> (u64, u64) {
        self.source.parts_fetched()
    }

    /// Returns the bytes of index.json, which nothing vouches for: it is the anchor. They are read once, so that what is
    /// shown is what all else was found by.
    pub fn index(&self) -> Result<Arc<Vec<u8>>, SourceError> {
        if let Some(index) = self.index.get() {
            return Ok(index.clone());
        }
        let index = Arc::new(self.source.index()?);
        Ok(self.index.get_or_init(|| index).clone())
    }

    /// Returns the bytes of `oci-layout`.
    pub fn oci_layout(&self) -> Result<Vec<u8>, SourceError> {
        self.source.oci_layout()
    }

    /// Asks the source who speaks of `subject`. Claims, as index.json is: what they lead to is checked.
    pub fn referrers(&self, subject: &Digest) -> Result<Vec<IndexEntry>, SourceError> {
        self.source.referrers(subject)
    }

    /// Returns what is odd about the source as a whole.
    pub fn source_problems(&self) -> Vec<crate::problems::Problem> {
        self.source.problems()
    }

    /// Returns when the source was last written.
    pub fn modified(&self) -> std::time::SystemTime {
        self.source.modified()
    }

    /// Returns the counters.
    pub fn stats(&self) -> &BlobStats {
        &self.stats
    }

    /// Returns a blob's bytes as the source has them now. Unchecked: for this module only.
    fn raw(&self, descriptor: &Descriptor) -> Result<Box<dyn ReadAt>, BlobError> {
        match (self.source.open(descriptor), &descriptor.data) {
            (Err(SourceError::Absent), Data::Content(bytes)) => Ok(Box::new(bytes.to_vec())),
            (Err(SourceError::Absent), _) if descriptor.digest.as_str() == EMPTY_JSON_DIGEST => {
                Ok(Box::new(EMPTY_JSON.to_vec()))
            }
            (Err(e), _) => Err(BlobError::from_source(&descriptor.digest, e)),
            (Ok(blob), _) => Ok(blob),
        }
    }

    /// Returns a blob's bytes as the source has them now, of the right number and otherwise unchecked.
    ///
    /// For who checks them all the same: a layer's pass takes the blob's digest itself, and every later read of a
    /// layer is held against the digests of what it decompresses to.
    pub fn claimed(&self, descriptor: &Descriptor) -> Result<Box<dyn ReadAt>, BlobError> {
        let digest = &descriptor.digest;
        if let Data::Wrong(what) = &descriptor.data {
            return Err(BlobError::Data { digest: digest.clone(), what: what.clone() });
        }
        let raw = self.raw(descriptor)?;
        let found = raw.len().map_err(|e| BlobError::read(digest, e))?;
        // Size before digest, and before any expensive work (descriptor.md, "Verification").
        match found == descriptor.size {
            true => Ok(raw),
            false => Err(BlobError::Size { digest: digest.clone(), expected: descriptor.size, found }),
        }
    }

    /// Returns a blob of which parts can be had without the rest, where the source can do that. Unchecked, as
    /// [`BlobStore::claimed`] is, and for who checks each part.
    pub fn claimed_parts(&self, descriptor: &Descriptor) -> Option<Box<dyn ReadAt>> {
        match descriptor.data {
            Data::Absent => self.source.parts(descriptor),
            Data::Content(_) | Data::Wrong(_) => None,
        }
    }

    /// Returns whatever the source has under a digest, of any length and unchecked: for telling what damage hit.
    pub fn remains(&self, descriptor: &Descriptor) -> Result<Box<dyn ReadAt>, BlobError> {
        self.raw(descriptor)
    }

    fn verify(self: &Arc<Self>, descriptor: &Descriptor) -> Result<Arc<VerifiedBlob>, BlobError> {
        let (digest, size) = (&descriptor.digest, descriptor.size);
        let chunks = if descriptor.size <= CHUNK {
            self.whole(descriptor)?.1
        } else {
            let raw = self.claimed(descriptor)?;
            if size > MAX_BLOB {
                return Err(BlobError::TooLarge { digest: digest.clone(), size, limit: MAX_BLOB });
            }
            verified::hash_all(&*raw, digest, size).inspect_err(|e| self.distrust_after(e))?
        };
        self.stats.passes.fetch_add(1, Relaxed);
        self.stats.hashed.fetch_add(size, Relaxed);
        Ok(Arc::new(VerifiedBlob::new(self.clone(), descriptor.clone(), chunks)))
    }

    /// Reads and checks a blob in one piece.
    fn whole(&self, descriptor: &Descriptor) -> Result<(Vec<u8>, ChunkDigests), BlobError> {
        let digest = &descriptor.digest;
        if digest.algorithm() == crate::oci::Algorithm::Unknown {
            return Err(BlobError::Unverifiable { digest: digest.clone() });
        }
        let raw = self.claimed(descriptor)?;
        let mut bytes = vec![0; usize::try_from(descriptor.size).expect("below a limit of ours")];
        let found = raw.read_at(0, &mut bytes).map_err(|e| BlobError::read(digest, e))?;
        if found < bytes.len() {
            let (expected, found) = (descriptor.size, found as u64);
            return Err(BlobError::Size { digest: digest.clone(), expected, found });
        }
        match Digest::of(digest.algorithm(), &bytes) {
            Some(found) if found == *digest => {
                let chunks = ChunkDigests::of(&bytes);
                Ok((bytes, chunks))
            }
            Some(found) => {
                self.distrust(digest);
                Err(BlobError::Mismatch { expected: digest.clone(), found })
            }
            None => Err(BlobError::Unverifiable { digest: digest.clone() }),
        }
    }

    /// Tells the source, where that is what a failure means, that what it gave was something else.
    pub fn distrust_after(&self, error: &BlobError) {
        if let BlobError::Mismatch { expected, .. } = error {
            self.distrust(expected);
        }
    }
}

#[cfg(test)]
mod tests;
