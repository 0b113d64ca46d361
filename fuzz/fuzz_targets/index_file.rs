//! Index files: whatever lies in the cache, a layer opens with right answers, or is gone over again; never a panic.
//!
//! Bytes as they come never hold their own checksum; so half the inputs get a right one, behind which the parser has to
//! stand for itself. What such a forged file says need not be true, but it must not hang, crash or fill memory.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ocifs::blob::BlobStore;
use ocifs::cache::Cache;
use ocifs::layer::LayerStore;
use ocifs::oci::{Algorithm, Descriptor, Digest};
use ocifs::tree::build_layer;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

struct Stage {
    directory: tempfile::TempDir,
    descriptor: Descriptor,
    plain: Vec<u8>,
    index: Vec<u8>,
}

impl Stage {
    fn cache(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    fn store(&self) -> LayerStore {
        let source = ocifs::source::open(&self.directory.path().join("layout"), ocifs::source::Kind::Any, None).expect("a layout");
        LayerStore::new(Arc::new(BlobStore::new(source)), Some(Arc::new(Cache::new(self.cache()))))
    }

    fn index_file(&self) -> PathBuf {
        let digest = &self.descriptor.digest;
        self.cache().join("index").join(digest.as_str().replace(':', "-"))
    }
}

static STAGE: LazyLock<Stage> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut header = [0_u8; 512];
    header[..4].copy_from_slice(b"file");
    header[100..107].copy_from_slice(b"0000644");
    header[124..135].copy_from_slice(b"00000001000");
    header[148..156].copy_from_slice(b"        ");
    header[156] = b'0';
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let plain = [&header[..], &[b'x'; 512], &[0; 1024]].concat();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, &plain).expect("memory takes everything");
    let blob = encoder.finish().expect("memory takes everything");
    let digest = Digest::of(Algorithm::Sha256, &blob).expect("sha256 is known");
    let blobs = directory.path().join("layout/blobs/sha256");
    fs::create_dir_all(&blobs).expect("a layout can be made");
    let layout = directory.path().join("layout");
    fs::write(blobs.join(digest.encoded()), &blob).expect("a layout can be made");
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a layout can be made");
    fs::write(layout.join("index.json"), r#"{"schemaVersion":2,"manifests":[]}"#).expect("a layout can be made");
    let json = serde_json::json!({
        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest.as_str(), "size": blob.len(),
    });
    let descriptor = Descriptor::parse(&json.to_string()).expect("a descriptor");
    let mut stage = Stage { directory, descriptor, plain, index: Vec::new() };
    stage.store().layer(&stage.descriptor, None).expect("the layer is sound");
    stage.index = fs::read(stage.index_file()).expect("the index was kept");
    stage
});

/// Puts `edits` over a good index: where, and what.
fn edited(edits: &[u8]) -> Vec<u8> {
    let mut index = STAGE.index.clone();
    for edit in edits.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % index.len();
        index[at] = edit[2];
    }
    index
}

/// Puts the checksum right.
fn sealed(mut index: Vec<u8>) -> Vec<u8> {
    index.truncate(index.len().saturating_sub(32));
    let checksum = blake3::hash(&index);
    index.extend_from_slice(checksum.as_bytes());
    index
}

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    let file = match mode % 4 {
        0 => rest.to_vec(),
        1 => edited(rest),
        2 => sealed(rest.to_vec()),
        _ => sealed(edited(rest)),
    };
    fs::write(STAGE.index_file(), &file).expect("the cache can be written");
    let store = STAGE.store();
    let layer = store.layer(&STAGE.descriptor, None);
    if mode % 4 < 2 {
        let layer = layer.expect("the layer is sound, whatever its index is");
        let mut bytes = vec![0; STAGE.plain.len()];
        layer.read(0, &mut bytes).expect("the layer is sound, whatever its index is");
        assert_eq!(bytes, STAGE.plain);
    } else if let Ok(layer) = layer {
        if let Ok(records) = layer.records() {
            build_layer(0, &records);
        }
        let len = usize::try_from(layer.stream_len().min(1 << 20)).expect("a small number");
        let _ = layer.read(0, &mut vec![0; len]);
    }
});
