//! One pass over a layer: hash, inflate, hash, read the tar, checkpoints, chunk digests.

mod kit;

use std::sync::Arc;

use kit::Work;
use ocifs::layer::LayerStore;

fn main() {
    for (shape, files, size) in
        [("200 files of 256 KiB", 200, 256 << 10), ("20,000 files of 600 bytes", 20_000, 600)]
    {
        let tar = kit::tar(files, size);
        for ending in ["tar", "tar+gzip", "tar+zstd"] {
            let blob = Arc::from(kit::compress(&tar, ending));
            let (blobs, descriptor) = kit::store(&blob, ending);
            kit::measure(&format!("{ending}, {shape}"), &Work::Bytes(tar.len() as u64), || {
                let layers = LayerStore::new(blobs.clone(), None);
                layers.layer(&descriptor, None).expect("the layer is sound").stream_len()
            });
        }
    }
}
