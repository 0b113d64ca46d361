//! What the benchmarks share: a clock, data made up the same way each time, and a source in memory.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::hint::black_box;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ocifs::blob::BlobStore;
use ocifs::oci::{Algorithm, Descriptor, Digest};
use ocifs::read_at::ReadAt;
use ocifs::source::{Source, SourceError};

/// How long one benchmark is repeated, unless a few rounds take longer.
const BUDGET: Duration = Duration::from_secs(2);

/// Fewest rounds a median is taken of.
const MIN_ROUNDS: usize = 3;

/// What one round works through.
pub(crate) enum Work {
    /// So many bytes.
    Bytes(u64),
    /// So many things, and what they are called.
    Items(u64, &'static str),
}

/// Repeats `round` and prints the median, or runs it once where `cargo test` only asks whether it works.
///
/// An argument that is no option selects the benchmarks whose name contains it.
pub(crate) fn measure<T>(name: &str, work: &Work, mut round: impl FnMut() -> T) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|a| !a.starts_with('-') && !name.contains(a.as_str())) {
        return;
    }
    black_box(round());
    if !arguments.iter().any(|a| a == "--bench") {
        return;
    }
    let (begin, mut times) = (Instant::now(), Vec::new());
    while times.len() < MIN_ROUNDS || begin.elapsed() < BUDGET {
        let start = Instant::now();
        black_box(round());
        times.push(start.elapsed());
    }
    times.sort();
    let median = times[times.len() / 2];
    let seconds = median.as_secs_f64();
    let rate = match work {
        Work::Bytes(n) => format!("{:.0} MB/s", *n as f64 / seconds / 1e6),
        Work::Items(n, what) => format!("{:.1} us for each of {n} {what}", seconds * 1e6 / *n as f64),
    };
    println!("{name:<40} {median:>12.2?}  {rate}  (fastest {:.2?}, {} rounds)", times[0], times.len());
}

/// Numbers that look random and are the same each time.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    /// Returns a number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Returns text of `len` bytes that gzip makes a third of, about as it does of programs.
pub(crate) fn content(random: &mut Random, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 32);
    while bytes.len() < len {
        if random.below(8) == 0 {
            bytes.extend_from_slice(&random.below(u64::MAX).to_le_bytes());
        } else {
            let word = random.below(4000);
            bytes.extend_from_slice(format!("{:x}{word:o} ", word * 2_654_435_761).as_bytes());
        }
    }
    bytes.truncate(len);
    bytes
}

/// Returns a tar of `files` files of `size` bytes each.
pub(crate) fn tar(files: usize, size: usize) -> Vec<u8> {
    let mut random = Random::new();
    let mut tar = Vec::with_capacity(files * (size + 1024) + 1024);
    for number in 0..files {
        let mut header = [0; 512];
        let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, &format!("usr/lib/part-{:03}/file-{number:06}.txt", number / 100));
        put(100, "0000644\x000000000\x000000000");
        put(124, &format!("{size:011o}\0{:011o}", 1_704_164_645));
        put(148, "        0");
        put(257, "ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        tar.extend_from_slice(&header);
        tar.extend_from_slice(&content(&mut random, size));
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

/// Compresses as the name of a media type's ending says; `tar` leaves the bytes alone.
pub(crate) fn compress(bytes: &[u8], ending: &str) -> Vec<u8> {
    match ending {
        "tar+gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
            encoder.write_all(bytes).expect("a vector takes everything");
            encoder.finish().expect("a vector takes everything")
        }
        "tar+zstd" => zstd::bulk::compress(bytes, 3).expect("level 3 exists"),
        _ => bytes.to_vec(),
    }
}

/// Makes a store of one blob in memory, and the descriptor of a layer of it.
pub(crate) fn store(blob: &Arc<[u8]>, ending: &str) -> (Arc<BlobStore>, Descriptor) {
    let digest = Digest::of(Algorithm::Sha256, blob).expect("sha256 is computed");
    let descriptor = Descriptor::parse(
        &serde_json::json!({
            "mediaType": format!("application/vnd.oci.image.layer.v1.{ending}"),
            "digest": digest.as_str(),
            "size": <[u8]>::len(blob),
        })
        .to_string(),
    );
    let source = Memory { digest, blob: blob.clone() };
    (Arc::new(BlobStore::new(Box::new(source))), descriptor.expect("it is well-formed"))
}

/// A source of one blob.
struct Memory {
    digest: Digest,
    blob: Arc<[u8]>,
}

impl Source for Memory {
    fn index(&self) -> Result<Vec<u8>, SourceError> {
        Err(SourceError::Absent)
    }

    fn oci_layout(&self) -> Result<Vec<u8>, SourceError> {
        Err(SourceError::Absent)
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn ReadAt>, SourceError> {
        if descriptor.digest == self.digest {
            Ok(Box::new(Shared(self.blob.clone())))
        } else {
            Err(SourceError::Absent)
        }
    }

    fn blobs(&self) -> Result<Vec<(Digest, u64)>, SourceError> {
        Ok(vec![(self.digest.clone(), <[u8]>::len(&self.blob) as u64)])
    }

    fn modified(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
}

/// Bytes that several readers share.
struct Shared(Arc<[u8]>);

impl ReadAt for Shared {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0.read_at(offset, buf)
    }

    fn len(&self) -> std::io::Result<u64> {
        Ok(<[u8]>::len(&self.0) as u64)
    }
}
