//! docker-archives: whatever manifest.json says, what is made up of it is a layout whose documents hold together.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ocifs::oci::{Algorithm, Descriptor, Digest, Index, Manifest};
use ocifs::source::{self, Kind, Source};
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

/// Adds a member to a tar.
fn add(tar: &mut Vec<u8>, name: &str, content: &[u8]) {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    block[156] = b'0';
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    tar.extend(block);
    tar.extend(content);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

/// The file that each archive is written to: a source has a path.
fn file() -> &'static Mutex<(std::fs::File, PathBuf)> {
    static FILE: OnceLock<Mutex<(std::fs::File, PathBuf)>> = OnceLock::new();
    FILE.get_or_init(|| {
        let (file, path) = tempfile::NamedTempFile::new().expect("a file").keep().expect("a file that stays");
        Mutex::new((file, path))
    })
}

/// Reads a whole blob that is small.
fn blob(source: &dyn Source, descriptor: &Descriptor) -> Vec<u8> {
    let blob = source.open(descriptor).expect("what is listed is there");
    let mut bytes = vec![0; usize::try_from(blob.len().expect("a length")).expect("a small blob")];
    let got = blob.read_at(0, &mut bytes).expect("it can be read");
    assert_eq!(got, bytes.len());
    bytes
}

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(3, |byte| *byte == 0xff);
    let mut part = || parts.next().unwrap_or_default();
    let (manifest, config, layer) = (part(), part(), part());
    let mut tar = Vec::new();
    add(&mut tar, "manifest.json", manifest);
    add(&mut tar, "c.json", config);
    add(&mut tar, "./l.tar", layer);
    add(&mut tar, "a/layer.tar", b"");
    tar.extend([0; 1024]);
    let mut held = file().lock().expect("nobody panics twice");
    held.0.set_len(0).and_then(|()| held.0.seek(SeekFrom::Start(0))).expect("a file of our own");
    held.0.write_all(&tar).expect("a file of our own");
    let Ok(source) = source::open(&held.1, Kind::DockerArchive(None), None) else { return };
    let index = Index::parse(&source.index().expect("it was made up")).expect("it was made up");
    assert!(!index.entries.is_empty());
    let listed = source.blobs().expect("they were made up");
    for entry in index.entries {
        let descriptor = entry.descriptor.expect("it was made up");
        let bytes = blob(&*source, &descriptor);
        assert_eq!(Digest::of(Algorithm::Sha256, &bytes).as_ref(), Some(&descriptor.digest));
        let manifest = Manifest::parse(&bytes).expect("it was made up");
        let config = manifest.config.expect("a manifest has one").expect("it was made up");
        assert_eq!(Digest::of(Algorithm::Sha256, &blob(&*source, &config)), Some(config.digest));
        for layer in manifest.layers {
            let layer = layer.expect("it was made up");
            // One that is missing has no length; whether the others are what they claim is seen when they are read.
            let here = listed.iter().find(|(digest, _)| *digest == layer.digest);
            assert!(here.map_or(layer.size == 0, |(_, size)| *size == layer.size), "{layer:?}");
        }
    }
});
