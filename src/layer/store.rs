//! The layers of a mount: each gone over once, its index found in the cache or put there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::index::LayerIndex;
use super::pass::pass;
use super::table::{self, Listed, Parts, Unused};
use super::{Blob, Contents, Layer, LayerError, index_file};
use crate::blob::BlobStore;
use crate::cache::{Cache, Key, Shelf};
use crate::flight::Flight;
use crate::oci::{Algorithm, Descriptor, Digest, MediaType};
use crate::read_at::ReadAt;
use crate::side_by_side::cores;
use crate::stream::{Pool, Room, Spill, Stream, TableStream};
use crate::toc::{Claim, TocError};

/// Memory for decompressed chunks of layers, in bytes.
const CHUNKS: u64 = 32 << 20;

/// Counts of what was done with layers, for people who watch it.
#[derive(Default, Debug)]
pub struct LayerStats {
    /// Passes over a layer.
    pub passes: AtomicU64,
    /// Bytes of the blobs of those passes.
    pub passed: AtomicU64,
    /// Layers listed by their table of contents.
    pub tables: AtomicU64,
    /// Indexes found in the cache.
    pub cached: AtomicU64,
    /// Chunks decoded.
    pub chunks: Arc<AtomicU64>,
}

/// A layer as it was asked for: its blob, the algorithm of its diff_id, and the table that its descriptor vouches for.
/// Another image may have the same blob, and vouch for no table or for another one.
type Which = (Digest, Algorithm, Option<Claim>);

/// The layers of one source.
pub struct LayerStore {
    blobs: Arc<BlobStore>,
    cache: Option<Arc<Cache>>,
    layers: Flight<Which, Arc<Layer>, LayerError>,
    pool: Arc<Pool>,
    stats: LayerStats,
    /// As many passes at once as there are cores: more would only take memory.
    passes: Room,
}

impl LayerStore {
    /// Makes a store of the layers in `blobs`, with indexes kept in `cache`.
    pub fn new(blobs: Arc<BlobStore>, cache: Option<Arc<Cache>>) -> Self {
        let stats = LayerStats::default();
        Self {
            blobs,
            cache,
            layers: Flight::default(),
            pool: Arc::new(Pool::new(CHUNKS, stats.chunks.clone())),
            stats,
            passes: Room::new(cores() as u64),
        }
    }

    /// Returns a layer, going over it where nobody has; `diff_id` is what its contents must hash to.
    pub fn layer(&self, descriptor: &Descriptor, diff_id: Option<&Digest>) -> Result<Arc<Layer>, LayerError> {
        let digest = &descriptor.digest;
        if !matches!(descriptor.kind(), MediaType::Layer(_)) {
            let media_type = descriptor.media_type.clone();
            return Err(LayerError::NotALayer { digest: digest.clone(), media_type });
        }
        let algorithm = diff_id.map_or(Algorithm::Sha256, Digest::algorithm);
        if let Some(diff_id) = diff_id.filter(|_| algorithm == Algorithm::Unknown) {
            return Err(LayerError::Unverifiable(diff_id.clone()));
        }
        let claim = self.claim(descriptor);
        let layer = self.layers.get_or_try(&which(descriptor, algorithm, &claim), || {
            self.choose(descriptor, algorithm, &claim)
        })?;
        // The flight is by digest: another descriptor's size may have been the right one.
        if layer.descriptor().size != descriptor.size {
            self.blobs.claimed(descriptor)?;
        }
        match (diff_id, layer.diff_id(algorithm)) {
            (Some(expected), Some(found)) if expected != found => Err(LayerError::DiffId {
                digest: digest.clone(),
                expected: expected.clone(),
                found: found.clone(),
            }),
            _ => Ok(layer),
        }
    }

    /// Returns the index of a layer where the cache has it. Reads no layer.
    pub fn known(&self, descriptor: &Descriptor) -> Option<LayerIndex> {
        self.cached(descriptor, Algorithm::Sha256)
    }

    /// Goes over a layer now, whatever is known of it, and keeps what that found for the next mount.
    ///
    /// `raw` is what the source has of it; it may be watched on the way. Checks everything but the diff_id.
    pub fn examine(
        &self,
        raw: &dyn ReadAt,
        descriptor: &Descriptor,
        algorithms: &[Algorithm],
    ) -> Result<LayerIndex, LayerError> {
        let index = pass(raw, descriptor, algorithms, None).inspect_err(|e| self.distrust_after(e))?;
        self.keep(&index, descriptor);
        Ok(index)
    }

    /// Says how a layer's table of contents, where its descriptor vouches for one, disagrees with its tar, of which
    /// `index` is. Whoever does not fetch the layer sees what the table says.
    pub fn disagreement(&self, descriptor: &Descriptor, index: &LayerIndex) -> Option<String> {
        match table::claim(descriptor)? {
            Ok(claim) => {
                let (entries, room) = (index.entries().ok()?, self.pool.unpacking());
                table::disagreement(&self.blobs, descriptor, &claim, &entries, room)
            }
            Err(e) => Some(format!("its table of contents is of no use: {e}")),
        }
    }

    /// Returns the counters.
    pub fn stats(&self) -> &LayerStats {
        &self.stats
    }

    /// Returns how many threads decode contents of layers at this moment.
    pub fn decoding(&self) -> usize {
        self.pool.decoding()
    }

    /// Returns the table that a layer is said to have. Layers of a source that is here are gone over.
    fn claim(&self, descriptor: &Descriptor) -> Option<Result<Claim, TocError>> {
        if !self.blobs.is_remote() {
            return None;
        }
        table::claim(descriptor)
    }

    /// Opens a layer by its table where that saves fetching it, else by going over it.
    fn choose(
        &self,
        descriptor: &Descriptor,
        algorithm: Algorithm,
        claim: &Option<Result<Claim, TocError>>,
    ) -> Result<Arc<Layer>, LayerError> {
        let digest = &descriptor.digest;
        let claim = match claim {
            None => return Ok(Arc::new(self.open(descriptor, algorithm)?)),
            Some(Err(e)) => return self.in_spite_of(&e.clone().into(), descriptor, algorithm),
            Some(Ok(claim)) => claim,
        };
        if self.blobs.is_near(descriptor) {
            let mut layer = self.open(descriptor, algorithm)?;
            layer.problems.extend(table::disagreement(
                &self.blobs,
                descriptor,
                claim,
                &layer.records()?,
                self.pool.unpacking(),
            ));
            return Ok(Arc::new(layer));
        }
        match table::list(&self.blobs, descriptor, claim, self.pool.unpacking()) {
            None => Ok(Arc::new(self.open(descriptor, algorithm)?)),
            Some(Err(why)) => self.in_spite_of(&why, descriptor, algorithm),
            Some(Ok(Listed { records, chunks, len })) => {
                self.stats.tables.fetch_add(1, Relaxed);
                log::info!(
                    "{digest}: listed by its table of contents, {len} bytes of files in {} chunks",
                    chunks.len()
                );
                let parts = Parts::new(self.blobs.clone(), descriptor.clone());
                let stream = TableStream::new(parts, claim.compression(), chunks, len, self.pool.clone());
                Ok(Arc::new(Layer {
                    contents: Contents::Table(Arc::new(stream)),
                    records,
                    problems: Vec::new(),
                }))
            }
        }
    }

    /// Goes over a layer whose table is of no use, and says why that is where the image is to blame.
    fn in_spite_of(
        &self,
        why: &Unused,
        descriptor: &Descriptor,
        algorithm: Algorithm,
    ) -> Result<Arc<Layer>, LayerError> {
        log::info!("{}: its table of contents is not used: {why}; all of it is fetched", descriptor.digest);
        let mut layer = self.open(descriptor, algorithm)?;
        if why.is_problem() {
            layer.problems.push(format!("its table of contents is not used: {why}"));
        }
        Ok(Arc::new(layer))
    }

    fn open(&self, descriptor: &Descriptor, algorithm: Algorithm) -> Result<Layer, LayerError> {
        let copy = |index: &LayerIndex| {
            let cache = self.cache.as_ref().filter(|_| Spill::is_wanted(&index.stream))?;
            Spill::open(cache, &Key::from(&descriptor.digest), index.stream.stream_len)
        };
        let (index, spill) = match self.cached(descriptor, algorithm).map(|index| (copy(&index), index)) {
            // Without its decompressed copy, such a layer would be decoded from the start for each read.
            Some((None, index)) if Spill::is_wanted(&index.stream) => {
                let index = self.pass(descriptor, algorithm)?;
                let spill = copy(&index);
                (index, spill)
            }
            Some((spill, index)) => (index, spill),
            None => {
                let index = self.pass(descriptor, algorithm)?;
                let spill = copy(&index);
                (index, spill)
            }
        };
        let LayerIndex { stream, diff_ids, records, problems } = index;
        let blob = Blob { blobs: self.blobs.clone(), descriptor: descriptor.clone() };
        let stream = Arc::new(Stream::new(blob, stream, self.pool.clone(), spill));
        Ok(Layer { contents: Contents::Whole { stream, diff_ids }, records, problems })
    }

    fn cached(&self, descriptor: &Descriptor, algorithm: Algorithm) -> Option<LayerIndex> {
        let digest = &descriptor.digest;
        let key = Key::from(digest);
        let bytes = self.cache.as_ref()?.read_index(&key)?;
        match index_file::decode(&bytes, &key) {
            Ok(index) => {
                let fits = index.stream.input_len == descriptor.size && index.diff_id(algorithm).is_some();
                self.stats.cached.fetch_add(u64::from(fits), Relaxed);
                fits.then_some(index)
            }
            Err(why) => {
                log::debug!("index of {digest} ignored: {why}");
                None
            }
        }
    }

    fn pass(&self, descriptor: &Descriptor, algorithm: Algorithm) -> Result<LayerIndex, LayerError> {
        let raw = self.blobs.claimed(descriptor)?;
        let _place = self.passes.take(1);
        let mut algorithms = vec![Algorithm::Sha256];
        if algorithm != Algorithm::Sha256 {
            algorithms.push(algorithm);
        }
        let index = pass(&*raw, descriptor, &algorithms, self.cache.as_ref())
            .inspect_err(|e| self.distrust_after(e))?;
        self.stats.passes.fetch_add(1, Relaxed);
        self.stats.passed.fetch_add(descriptor.size, Relaxed);
        self.keep(&index, descriptor);
        Ok(index)
    }

    fn keep(&self, index: &LayerIndex, descriptor: &Descriptor) {
        if let Some(cache) = &self.cache {
            let key = Key::from(&descriptor.digest);
            match index_file::encode(index, &key) {
                Ok(bytes) => cache.write(Shelf::Index, &key, &bytes),
                Err(e) => cache.complain(&e),
            }
        }
    }

    fn distrust_after(&self, error: &LayerError) {
        if let LayerError::Blob(e) = error {
            self.blobs.distrust_after(e);
        }
    }
}

fn which(descriptor: &Descriptor, algorithm: Algorithm, claim: &Option<Result<Claim, TocError>>) -> Which {
    let claim = claim.as_ref().and_then(|claim| claim.as_ref().ok());
    (descriptor.digest.clone(), algorithm, claim.cloned())
}
