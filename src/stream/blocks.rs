//! Decompressed chunks in memory: bounded, shared by all streams, each decoded once however many ask.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

/// A chunk of a stream: the stream's number in this process, and the chunk's in the stream.
pub(super) type Key = (u32, u32);

/// Most buffers kept for the next chunks.
const MAX_SPARE: usize = 8;

/// Largest of them: chunks that a table lists can have megabytes.
const MAX_SPARE_LEN: usize = super::CHUNK as usize;

/// What a chunk takes beside its bytes: those of a table may be as small as the files they are.
pub(super) const PLACE: usize = 256;

/// The chunks used last. The kernel's page cache is the real cache; this bridges requests.
///
/// Strictly the ones used last, because the common reader goes forward: a cache that is wary of what it has seen only
/// once throws away what was decoded ahead before it is read.
pub(super) struct BlockCache {
    capacity: usize,
    chunks: Mutex<Chunks>,
    decoding: Decoding,
}

/// How many threads decode a chunk at this moment.
#[derive(Default)]
struct Decoding(AtomicUsize);

/// One of them, until it is dropped.
struct Decoder<'a>(&'a Decoding);

impl Decoding {
    fn one_more(&self) -> Decoder<'_> {
        self.0.fetch_add(1, Relaxed);
        Decoder(self)
    }
}

impl Drop for Decoder<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

#[derive(Default)]
struct Chunks {
    held: HashMap<Key, Held>,
    /// Those that are decoded, by when they were used last.
    by_use: BTreeMap<u64, Key>,
    /// What they take.
    bytes: usize,
    clock: u64,
    /// Buffers of chunks that were pushed out, to be filled again.
    spare: Vec<Vec<u8>>,
}

struct Held {
    place: Arc<Mutex<Option<Arc<Vec<u8>>>>>,
    /// Bytes it takes; none while it is decoded.
    bytes: usize,
    used: u64,
}

impl BlockCache {
    /// Makes a cache of at most `capacity` bytes.
    pub(super) fn new(capacity: u64) -> Self {
        let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
        Self { capacity, chunks: Mutex::default(), decoding: Decoding::default() }
    }

    /// Returns a chunk, decoding it with `decode` where nobody has; who asks meanwhile waits for that.
    pub(super) fn get<E>(
        &self,
        key: Key,
        decode: impl FnOnce() -> Result<Arc<Vec<u8>>, E>,
    ) -> Result<Arc<Vec<u8>>, E> {
        let place = self.chunks.lock().touch(key).place.clone();
        let mut chunk = place.lock();
        if let Some(chunk) = &*chunk {
            return Ok(chunk.clone());
        }
        let decoder = self.decoding.one_more();
        let decoded = decode();
        drop(decoder);
        let mut chunks = self.chunks.lock();
        match decoded {
            Ok(decoded) => {
                *chunk = Some(decoded.clone());
                let held = chunks.touch(key);
                // It may have been pushed out meanwhile; then this is a new place, and the old one's last user has it.
                held.place = place.clone();
                let taken = decoded.len() + PLACE;
                let (before, used) = (std::mem::replace(&mut held.bytes, taken), held.used);
                chunks.bytes = chunks.bytes - before + taken;
                chunks.by_use.insert(used, key);
                chunks.make_room(self.capacity);
                Ok(decoded)
            }
            Err(e) => {
                // A failure is not remembered: who waited for it tries again.
                if chunks.held.get(&key).is_some_and(|held| held.bytes == 0) {
                    chunks.held.remove(&key);
                }
                Err(e)
            }
        }
    }

    /// Returns a buffer for a chunk of `len` bytes; what is in it means nothing.
    pub(super) fn buffer(&self, len: usize) -> Vec<u8> {
        let mut buffer = self.chunks.lock().spare.pop().unwrap_or_default();
        buffer.resize(len, 0);
        buffer
    }

    /// Returns how many threads decode a chunk at this moment.
    pub(super) fn decoding(&self) -> usize {
        self.decoding.0.load(Relaxed)
    }

    /// Says whether a chunk is in memory.
    pub(super) fn has(&self, key: Key) -> bool {
        self.chunks.lock().held.get(&key).is_some_and(|held| held.bytes > 0)
    }
}

impl Chunks {
    fn touch(&mut self, key: Key) -> &mut Held {
        self.clock += 1;
        let held = self.held.entry(key).or_insert_with(|| Held { place: Arc::default(), bytes: 0, used: 0 });
        if held.bytes > 0 {
            self.by_use.remove(&held.used);
            self.by_use.insert(self.clock, key);
        }
        held.used = self.clock;
        held
    }

    /// Lets go of what was used longest ago.
    fn make_room(&mut self, capacity: usize) {
        while self.bytes > capacity {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            let Some(gone) = self.held.remove(&oldest) else { break };
            self.bytes -= gone.bytes;
            let chunk = gone.place.try_lock().and_then(|mut place| place.take());
            if let Some(buffer) = chunk.and_then(|chunk| Arc::try_unwrap(chunk).ok())
                && self.spare.len() < MAX_SPARE
                && buffer.capacity() <= MAX_SPARE_LEN
            {
                self.spare.push(buffer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    fn chunk(byte: u8) -> Arc<Vec<u8>> {
        Arc::new(vec![byte; 10])
    }

    #[test]
    fn the_ones_used_last_stay() {
        let cache = BlockCache::new(3 * (10 + PLACE as u64));
        let put = |n: u32| cache.get((0, n), || Ok::<_, ()>(chunk(n as u8))).unwrap();
        (0..3).for_each(|n| drop(put(n)));
        put(0);
        put(3);
        assert_eq!([0, 1, 2, 3].map(|n| cache.has((0, n))), [true, false, true, true]);
        let chunks = cache.chunks.lock();
        assert_eq!((chunks.bytes, chunks.by_use.len()), (3 * (10 + PLACE), 3));
    }

    #[test]
    fn many_ask_one_decodes() {
        let (cache, decoded) = (BlockCache::new(1000), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let got = cache.get((1, 1), || {
                        decoded.fetch_add(1, SeqCst);
                        std::thread::sleep(std::time::Duration::from_millis(20));
                        Ok::<_, ()>(chunk(7))
                    });
                    assert_eq!(got, Ok(chunk(7)));
                });
            }
        });
        assert_eq!(decoded.load(SeqCst), 1);
    }

    #[test]
    fn a_failure_is_not_remembered() {
        let cache = BlockCache::new(1000);
        assert_eq!(cache.get((0, 0), || Err("no")), Err("no"));
        assert!(!cache.has((0, 0)) && cache.chunks.lock().held.is_empty());
        assert!(cache.get((0, 0), || Ok::<_, ()>(chunk(1))).is_ok());
    }
}
