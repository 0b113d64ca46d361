//! Hostile sources: nothing they do may put a wrong byte out.

use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use super::*;
use crate::oci::{Algorithm, Annotations};

/// A source in memory whose blobs can be changed behind the store's back.
#[derive(Default)]
struct Memory {
    blobs: Mutex<HashMap<Digest, Vec<u8>>>,
    failing: AtomicBool,
}

impl Source for Arc<Memory> {
    fn index(&self) -> Result<Vec<u8>, SourceError> {
        Err(SourceError::Absent)
    }
    fn oci_layout(&self) -> Result<Vec<u8>, SourceError> {
        Err(SourceError::Absent)
    }
    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn ReadAt>, SourceError> {
        if self.failing.load(Relaxed) {
            return Err(io::Error::from_raw_os_error(5).into());
        }
        match self.blobs.lock().get(&descriptor.digest) {
            Some(bytes) => Ok(Box::new(bytes.clone())),
            None => Err(SourceError::Absent),
        }
    }
    fn blobs(&self) -> Result<Vec<(Digest, u64)>, SourceError> {
        Ok(self.blobs.lock().iter().map(|(d, b)| (d.clone(), b.len() as u64)).collect())
    }
    fn modified(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
}

fn descriptor(digest: Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type: String::new(),
        digest,
        size,
        artifact_type: String::new(),
        annotations: Annotations::default(),
        platform: None,
        data: Data::Absent,
    }
}

fn store_of(content: &[u8], algorithm: Algorithm) -> (Arc<Memory>, Arc<BlobStore>, Descriptor) {
    let memory = Arc::new(Memory::default());
    let digest = Digest::of(algorithm, content).unwrap();
    memory.blobs.lock().insert(digest.clone(), content.to_vec());
    let store = Arc::new(BlobStore::new(Box::new(memory.clone())));
    (memory, store, descriptor(digest, content.len() as u64))
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[test]
fn every_range_reads_as_it_is() {
    for len in [0, 1, 1000, CHUNK as usize - 1, CHUNK as usize, CHUNK as usize + 1, 3_000_000] {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512, Algorithm::Blake3] {
            let content = pattern(len);
            let (_, store, descriptor) = store_of(&content, algorithm);
            let blob = store.open(&descriptor).unwrap();
            for offset in [0, 1, 4096, 131_071, 131_072, 131_073, 2_999_999, 3_000_000, u64::MAX] {
                for want in [0, 1, 4096, 131_072, 1 << 20] {
                    let mut buf = vec![0xaa; want];
                    let got = blob.read(offset, &mut buf).unwrap();
                    let from = usize::try_from(offset).unwrap().min(len);
                    assert_eq!(buf[..got], content[from..(from + want).min(len)], "{len} {offset} {want}");
                }
            }
        }
    }
}

#[test]
fn a_flipped_bit_is_never_served() {
    let content = pattern(400_000);
    for at in [0, 131_072, 200_000, 399_999] {
        let (memory, store, descriptor) = store_of(&content, Algorithm::Sha256);
        memory.blobs.lock().get_mut(&descriptor.digest).unwrap()[at] ^= 1;
        assert!(matches!(store.open(&descriptor), Err(BlobError::Mismatch { .. })), "{at}");
        assert!(matches!(store.document(&descriptor), Err(BlobError::Mismatch { .. })), "{at}");
    }
}

#[test]
fn what_changes_after_the_check_is_not_served() {
    let content = pattern(400_000);
    let (memory, store, descriptor) = store_of(&content, Algorithm::Sha256);
    let blob = store.open(&descriptor).unwrap();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = content.clone();
        change(&mut bytes);
        memory.blobs.lock().insert(descriptor.digest.clone(), bytes);
        blob.read(262_144, &mut [0; 4096]).map(|_| ())
    };
    assert!(with(&|_| ()).is_ok());
    assert!(matches!(with(&|b| b[262_144 + 50_000] ^= 1), Err(BlobError::Changed { offset: 262_144, .. })));
    assert!(with(&|b| b[0] ^= 1).is_ok(), "a chunk nobody asked for");
    assert!(matches!(with(&|b| b.truncate(399_999)), Err(BlobError::Size { .. })));
    assert!(matches!(with(&|b| b.push(0)), Err(BlobError::Size { .. })));
    memory.blobs.lock().clear();
    assert!(matches!(blob.read(0, &mut [0; 1]), Err(BlobError::Absent { .. })));
    memory.failing.store(true, Relaxed);
    assert!(matches!(blob.read(0, &mut [0; 1]), Err(BlobError::Read { .. })));
}

#[test]
fn size_is_held_against_the_descriptor() {
    let (_, store, right) = store_of(b"hello", Algorithm::Sha256);
    for size in [0, 4, 6, u64::MAX >> 1] {
        let wrong = descriptor(right.digest.clone(), size);
        assert!(matches!(store.open(&wrong), Err(BlobError::Size { .. })), "{size}");
    }
    assert!(store.open(&right).is_ok());
    assert!(matches!(store.open(&descriptor(right.digest.clone(), 4)), Err(BlobError::Size { .. })));
}

#[test]
fn data_stands_in_for_a_missing_blob_and_a_wrong_one_spoils_a_good_blob() {
    let (memory, store, mut descriptor) = store_of(b"hello", Algorithm::Sha256);
    descriptor.data = Data::Wrong("for a test".to_owned());
    assert!(matches!(store.open(&descriptor), Err(BlobError::Data { .. })));
    memory.blobs.lock().clear();
    descriptor.data = Data::Content(Arc::from(*b"hello"));
    assert_eq!(store.document(&descriptor).unwrap(), b"hello");
    assert_eq!(store.open(&descriptor).unwrap().read(1, &mut [0; 9]).unwrap(), 4);
}

#[test]
fn the_empty_descriptor_needs_no_blob() {
    let (_, store, _) = store_of(b"", Algorithm::Sha256);
    assert_eq!(store.document(&descriptor(Digest::parse(EMPTY_JSON_DIGEST).unwrap(), 2)).unwrap(), b"{}");
}

#[test]
fn an_unknown_algorithm_is_not_served() {
    let memory = Arc::new(Memory::default());
    let digest = Digest::parse("md5:5d41402abc4b2a76b9719d911017c592").unwrap();
    memory.blobs.lock().insert(digest.clone(), b"hello".to_vec());
    let store = Arc::new(BlobStore::new(Box::new(memory)));
    assert!(matches!(store.open(&descriptor(digest, 5)), Err(BlobError::Unverifiable { .. })));
}

/// A plain archive whose size and time are put back after a change looks as it did; its blobs do not.
#[test]
fn an_archive_changed_unseen_is_not_served() {
    let (content, dir) = (pattern(400_000), tempfile::tempdir().unwrap());
    let (path, digest) = (dir.path().join("a.tar"), Digest::of(Algorithm::Sha256, &content).unwrap());
    let member = |name: &str, bytes: &[u8]| {
        let mut block = vec![0; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[100..107].copy_from_slice(b"0000644");
        block[124..135].copy_from_slice(format!("{:011o}", bytes.len()).as_bytes());
        block[156] = b'0';
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block.extend_from_slice(bytes);
        block.resize(block.len().next_multiple_of(512), 0);
        block
    };
    let blob = member(&format!("blobs/sha256/{}", digest.encoded()), &content);
    std::fs::write(&path, [member("index.json", b"{}"), blob, vec![0; 1024]].concat()).unwrap();
    let source = crate::source::open(&path, crate::source::Kind::Any, None).unwrap();
    let store = Arc::new(BlobStore::new(source));
    let blob = store.open(&descriptor(digest, content.len() as u64)).unwrap();
    let mut buf = [0; 4096];
    assert!(blob.read(200_000, &mut buf).is_ok());
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let mtime = file.metadata().unwrap().modified().unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"other", 1536 + 200_100).unwrap();
    assert!(matches!(blob.read(200_000, &mut buf), Err(BlobError::Read { .. } | BlobError::Changed { .. })));
    file.set_modified(mtime).unwrap();
    assert!(matches!(blob.read(200_000, &mut buf), Err(BlobError::Changed { offset: 131_072, .. })));
    file.set_len(100_000).unwrap();
    assert!(matches!(blob.read(200_000, &mut buf), Err(BlobError::Read { .. })));
}
