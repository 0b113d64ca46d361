//! Layers from literal tars, and index files in every state a disk can leave them in.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::index::LayerIndex;
use super::pass::pass;
use super::{LayerError, index_file};
use crate::blob::BlobError;
use crate::cache::Key;
use crate::oci::{Algorithm, Descriptor, Digest};
use crate::tree::build_layer;

/// Packs files as an old tar does, and ends the archive.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, content) in files {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..108].copy_from_slice(b"0000644\0");
        header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend_from_slice(&header);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn descriptor(blob: &[u8]) -> Descriptor {
    let digest = Digest::of(Algorithm::Sha256, blob).unwrap();
    let json = format!(r#"{{"digest":"{digest}","size":{}}}"#, blob.len());
    Descriptor::parse(&json).unwrap()
}

fn index_of(blob: &[u8]) -> Result<LayerIndex, LayerError> {
    pass(&blob.to_vec(), &descriptor(blob), &[Algorithm::Sha256, Algorithm::Sha512], None)
}

/// A blob of more than one checkpoint, and its index.
fn sample() -> (Vec<u8>, LayerIndex) {
    let text: Vec<u8> = (0..400_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let blob = gzip(&tar(&[("a", b"one"), ("b", &text), ("c", b"")]));
    let index = index_of(&blob).unwrap();
    (blob, index)
}

#[test]
fn a_pass_takes_everything_down() {
    let (blob, index) = sample();
    let contents = tar(&[]).len() as u64 + 3 * 512 + 512 + 1_600_000_u64.next_multiple_of(512);
    assert_eq!((index.stream.input_len, index.stream.stream_len), (blob.len() as u64, contents));
    assert!(index.stream.checkpoints.len() > 1, "one checkpoint says nothing about several");
    let algorithms = [Algorithm::Sha256, Algorithm::Sha512].map(|a| index.diff_id(a).is_some());
    assert_eq!(algorithms, [true, true]);
    let (tree, problems) = build_layer(0, &index.records.unpack().unwrap());
    assert_eq!((tree.entry_count(), problems.len(), index.problems.len()), (3, 0, 0));
}

#[test]
fn a_wrong_blob_has_no_index() {
    let (blob, _) = sample();
    for at in [0, 10, blob.len() / 2, blob.len() - 1] {
        let mut flipped = blob.clone();
        flipped[at] ^= 1;
        let got = pass(&flipped, &descriptor(&blob), &[Algorithm::Sha256], None);
        assert!(matches!(got, Err(LayerError::Blob(BlobError::Mismatch { .. }))), "{at}: {got:?}");
    }
    let cut = blob[..blob.len() - 1].to_vec();
    assert!(matches!(index_of(&cut), Err(LayerError::Codec { .. })), "a right digest of a cut stream");
    assert!(matches!(
        index_of(&gzip(b"no tar, and longer than nothing")),
        Ok(_) | Err(LayerError::Tar { .. })
    ));
}

#[test]
fn an_index_comes_back_from_its_file() {
    let (blob, mut index) = sample();
    index.problems = vec!["odd".to_owned(), "odder".to_owned()];
    let key = Key::from(&descriptor(&blob).digest);
    let file = index_file::encode(&index, &key).unwrap();
    assert_eq!(index_file::decode(&file, &key).unwrap(), index);
    let other = Key::from(&descriptor(b"another").digest);
    assert!(index_file::decode(&file, &other).is_err());
}

#[test]
fn a_file_that_is_not_whole_is_a_miss() {
    let blob = gzip(&tar(&[("a", b"one"), ("b", b"two")]));
    let key = Key::from(&descriptor(&blob).digest);
    let file = index_file::encode(&index_of(&blob).unwrap(), &key).unwrap();
    for len in 0..file.len() {
        assert!(index_file::decode(&file[..len], &key).is_err(), "cut to {len} bytes");
    }
    for at in 0..file.len() {
        for bit in [0x01, 0x80] {
            let mut flipped = file.clone();
            flipped[at] ^= bit;
            assert!(index_file::decode(&flipped, &key).is_err(), "bit {bit:#x} of byte {at} flipped");
        }
    }
    let longer = [&file[..], b"x"].concat();
    assert!(index_file::decode(&longer, &key).is_err(), "one byte more");
}

/// A checksum vouches for what was written, not for what it says: numbers are checked all the same.
#[test]
fn a_forged_file_does_no_harm() {
    let blob = gzip(&tar(&[("a", b"one")]));
    let key = Key::from(&descriptor(&blob).digest);
    let file = index_file::encode(&index_of(&blob).unwrap(), &key).unwrap();
    let end = file.len() - 32;
    for at in 12..end {
        for byte in [0x00, 0xff] {
            let mut forged = file[..end].to_vec();
            forged[at] = byte;
            forged.extend_from_slice(blake3::hash(&forged).as_bytes());
            if let Ok(index) = index_file::decode(&forged, &key) {
                // Whatever it says now, asking it must not go wrong.
                let _ = (index.records.unpack(), index.stream.checkpoint_before(u64::MAX));
            }
        }
    }
}
