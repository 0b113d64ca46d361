//! Reads of 64 KiB from the middle of a layer whose index is at hand, none of them from a chunk that was decoded before.

mod kit;

use std::sync::Arc;

use kit::{Random, Work};
use ocifs::cache::Cache;
use ocifs::layer::LayerStore;

/// Length of one read in bytes.
const READ: usize = 64 << 10;

/// Distance of the places that are read, in bytes: more than a chunk, so that no two share one.
const STEP: u64 = 1 << 20;

fn main() {
    let tar = kit::tar(96, 1 << 20);
    let mut random = Random::new();
    let mut places: Vec<u64> =
        (0..tar.len() as u64 / STEP - 1).map(|n| n * STEP + random.below(STEP / 2)).collect();
    for n in (1..places.len()).rev() {
        places.swap(n, usize::try_from(random.below(n as u64 + 1)).expect("an index"));
    }
    for ending in ["tar", "tar+gzip", "tar+zstd"] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let cache = Arc::new(Cache::new(directory.path().join("ocifs")));
        let blob = Arc::from(kit::compress(&tar, ending));
        let (blobs, descriptor) = kit::store(&blob, ending);
        let mut buf = vec![0; READ];
        let work = Work::Items(places.len() as u64, "reads");
        kit::measure(&format!("{ending}, 64 KiB at random"), &work, || {
            // A new store each time, since the old one has decoded everything; the first round leaves the index.
            let layers = LayerStore::new(blobs.clone(), Some(cache.clone()));
            let layer = layers.layer(&descriptor, None).expect("the layer is sound");
            for offset in &places {
                layer.read(*offset, &mut buf).expect("the layer is sound");
            }
        });
    }
}
