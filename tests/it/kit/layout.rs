//! Layouts from literals, and ways to damage them.

use super::{TempDir, temp_dir};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Media types by short names.
pub(crate) mod media {
    pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    pub(crate) const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
    pub(crate) const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    pub(crate) const EMPTY: &str = "application/vnd.oci.empty.v1+json";
}

/// Bytes with their digest.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) digest: String,
    pub(crate) bytes: Vec<u8>,
}

impl Blob {
    /// Names some bytes by an algorithm, without storing them.
    #[track_caller]
    pub(crate) fn of(algorithm: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        let hex = match algorithm {
            "sha256" => hex(&Sha256::digest(&bytes)),
            "sha512" => hex(&Sha512::digest(&bytes)),
            "blake3" => blake3::hash(&bytes).to_hex().to_string(),
            other => panic!("the kit has no {other}"),
        };
        Self { digest: format!("{algorithm}:{hex}"), bytes }
    }

    /// The encoded part of the digest.
    pub(crate) fn hex(&self) -> &str {
        self.digest.split_once(':').expect("a digest has a colon").1
    }

    /// The path of the blob inside a layout, or inside a mount of it.
    pub(crate) fn path(&self) -> PathBuf {
        Path::new("blobs").join(self.digest.replace(':', "/"))
    }

    /// A descriptor of these bytes.
    pub(crate) fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": self.digest, "size": self.bytes.len()})
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The `sha256:…` of some bytes.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Blob::of("sha256", bytes).digest
}

/// A platform as an index entry names it: `os`, `architecture`, `variant`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Platform<'a>(pub(crate) &'a str, pub(crate) &'a str, pub(crate) &'a str);

impl Platform<'_> {
    /// The platform object of an index entry.
    pub(crate) fn json(&self) -> Value {
        let mut platform = json!({"os": self.0, "architecture": self.1});
        if !self.2.is_empty() {
            platform["variant"] = json!(self.2);
        }
        platform
    }
}

/// Adds an annotation to a descriptor or a document.
pub(crate) fn annotate(mut value: Value, key: &str, text: &str) -> Value {
    value["annotations"][key] = json!(text);
    value
}

/// A layout directory under construction.
pub(crate) struct Layout {
    directory: TempDir,
}

impl Layout {
    /// An empty layout without index.json.
    pub(crate) fn new() -> Self {
        let layout = Self { directory: temp_dir() };
        fs::create_dir_all(layout.path().join("blobs/sha256")).unwrap();
        fs::write(layout.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        layout
    }

    /// A layout with one image named `v1` for linux/amd64: two layers, `etc/motd` and `bin/tool`.
    pub(crate) fn sample() -> (Self, Sample) {
        let layout = Self::new();
        let layers = [
            layout.blob(gzip(&tar(&[("etc/motd", b"welcome\n")]))),
            layout.blob(gzip(&tar(&[("bin/tool", b"#!/bin/sh\necho tool\n")]))),
        ];
        let (config, manifest, entry) = layout.image_of(Platform("linux", "amd64", ""), &layers);
        layout.index(&[named(entry, "v1")]);
        (layout, Sample { layers, config, manifest })
    }

    /// Where the layout lies.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Stores bytes under their sha256.
    pub(crate) fn blob(&self, bytes: impl Into<Vec<u8>>) -> Blob {
        self.blob_by("sha256", bytes)
    }

    /// Stores bytes under the digest of an algorithm.
    pub(crate) fn blob_by(&self, algorithm: &str, bytes: impl Into<Vec<u8>>) -> Blob {
        let blob = Blob::of(algorithm, bytes);
        self.store(&blob.digest, &blob.bytes);
        blob
    }

    /// Stores bytes under any name at all.
    pub(crate) fn store(&self, digest: &str, bytes: &[u8]) {
        let path = self.path().join("blobs").join(digest.replace(':', "/"));
        fs::create_dir_all(path.parent().expect("a blob has a directory")).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Stores a JSON document.
    pub(crate) fn json(&self, document: &Value) -> Blob {
        self.blob(document.to_string())
    }

    /// Stores an image with one layer that holds the given text, and returns its index entry.
    pub(crate) fn image(&self, platform: Platform<'_>, content: &str) -> Value {
        let layer = self.blob(gzip(&tar(&[("content", content.as_bytes())])));
        self.image_of(platform, &[layer]).2
    }

    /// Stores config and manifest of an image of the given layers; returns both and the index entry.
    pub(crate) fn image_of(&self, platform: Platform<'_>, layers: &[Blob]) -> (Blob, Blob, Value) {
        let mut config = platform.json();
        config["created"] = json!("2024-01-02T03:04:05Z");
        config["config"] = json!({"Env": ["PATH=/bin"]});
        let diff_ids: Vec<String> = layers.iter().map(|layer| sha256(&gunzip(&layer.bytes))).collect();
        config["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
        let history = (0..layers.len())
            .map(|n| json!({"created": "2024-01-02T03:04:05Z", "created_by": format!("step number {n}")}));
        config["history"] = history.collect();
        let config = self.json(&config);
        let manifest = self.manifest(&config, layers);
        let mut entry = manifest.descriptor(media::MANIFEST);
        entry["platform"] = platform.json();
        (config, manifest, entry)
    }

    /// Stores the manifest of a config and its layers.
    pub(crate) fn manifest(&self, config: &Blob, layers: &[Blob]) -> Blob {
        self.json(&json!({
            "schemaVersion": 2,
            "mediaType": media::MANIFEST,
            "config": config.descriptor(media::CONFIG),
            "layers": layers.iter().map(|layer| layer.descriptor(media::LAYER)).collect::<Vec<_>>(),
        }))
    }

    /// Stores a nested index, and returns its entry.
    pub(crate) fn nested(&self, entries: &[Value]) -> Value {
        self.json(&index(entries)).descriptor(media::INDEX)
    }

    /// Writes index.json.
    pub(crate) fn index(&self, entries: &[Value]) {
        fs::write(self.path().join("index.json"), index(entries).to_string()).unwrap();
    }

    /// The path of a stored blob.
    pub(crate) fn file(&self, blob: &Blob) -> PathBuf {
        self.path().join(blob.path())
    }

    /// Turns one bit of a stored blob over, in place.
    pub(crate) fn flip(&self, blob: &Blob, at: usize) {
        let mut bytes = fs::read(self.file(blob)).unwrap();
        bytes[at] ^= 0x10;
        self.overwrite(blob, &bytes);
    }

    /// Replaces a blob's bytes in the same file.
    pub(crate) fn overwrite(&self, blob: &Blob, bytes: &[u8]) {
        let mut file = fs::OpenOptions::new().write(true).truncate(true).open(self.file(blob)).unwrap();
        file.write_all(bytes).unwrap();
    }

    /// Puts another file in a blob's place.
    pub(crate) fn replace(&self, blob: &Blob, bytes: &[u8]) {
        let beside = self.path().join("beside");
        fs::write(&beside, bytes).unwrap();
        fs::rename(beside, self.file(blob)).unwrap();
    }

    /// Takes a blob away.
    pub(crate) fn remove(&self, blob: &Blob) {
        fs::remove_file(self.file(blob)).unwrap();
    }
}

/// The blobs of [`Layout::sample`].
pub(crate) struct Sample {
    pub(crate) layers: [Blob; 2],
    pub(crate) config: Blob,
    pub(crate) manifest: Blob,
}

/// Names an index entry.
pub(crate) fn named(entry: Value, name: &str) -> Value {
    annotate(entry, "org.opencontainers.image.ref.name", name)
}

fn index(entries: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": media::INDEX, "manifests": entries})
}

/// Packs bytes as gzip.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bytes), &mut plain).unwrap();
    plain
}

/// A tar of regular files, written plainly in ustar form.
pub(crate) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, content) in files {
        let mut header = [0_u8; 512];
        let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
        put(0, name.as_bytes());
        put(100, b"0000644\0");
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, format!("{:011o}\0", content.len()).as_bytes());
        put(136, b"14544623105\0");
        put(148, b"        ");
        put(156, b"0");
        put(257, b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend_from_slice(&header);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}
