//! Decompressed chunks in memory: bounded, shared by many streams, each decoded once however many ask.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// A chunk of a stream: the stream's number in its pool, and the chunk's in the stream.
pub(super) type Key = (u32, u32);

#[derive(Clone)]
struct Bytes;

impl Weighter<Key, Arc<Vec<u8>>> for Bytes {
    fn weight(&self, _key: &Key, chunk: &Arc<Vec<u8>>) -> u64 {
        chunk.len().max(1) as u64
    }
}

/// The chunks in memory.
pub(super) struct BlockCache(Cache<Key, Arc<Vec<u8>>, Bytes>);

impl BlockCache {
    /// Makes a cache of at most `capacity` bytes. The kernel's page cache is the real cache; this bridges requests.
    pub(super) fn new(capacity: u64) -> Self {
        let items = usize::try_from(capacity / super::CHUNK).expect("a small number").max(1);
        Self(Cache::with_weighter(items, capacity, Bytes))
    }

    /// Returns a chunk, decoding it with `decode` where nobody has; who asks meanwhile waits for that.
    pub(super) fn get<E>(
        &self,
        key: Key,
        decode: impl FnOnce() -> Result<Arc<Vec<u8>>, E>,
    ) -> Result<Arc<Vec<u8>>, E> {
        self.0.get_or_insert_with(&key, decode)
    }

    /// Says whether a chunk is in memory.
    pub(super) fn has(&self, key: Key) -> bool {
        self.0.peek(&key).is_some()
    }
}
