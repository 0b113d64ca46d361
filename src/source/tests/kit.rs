//! Archives from literals, and sources as one text.

use std::io::Write as _;
use std::path::PathBuf;

use super::super::*;
use crate::oci::Algorithm;

/// An archive under construction.
#[derive(Default, Clone)]
pub(super) struct Tar(pub(super) Vec<u8>);

impl Tar {
    fn head(&mut self, flag: u8, name: &str, size: usize, link: &str) {
        if name.len() > 100 {
            self.head(b'L', "././@LongLink", name.len(), "");
            self.data(name.as_bytes());
        }
        let mut block = [0; 512];
        let short = &name.as_bytes()[..name.len().min(100)];
        block[..short.len()].copy_from_slice(short);
        block[100..107].copy_from_slice(b"0000644");
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[156] = flag;
        block[157..157 + link.len()].copy_from_slice(link.as_bytes());
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend(block);
    }

    fn data(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    pub(super) fn file(mut self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.head(b'0', name, content.as_ref().len(), "");
        self.data(content.as_ref());
        self
    }

    /// Adds a file of `size` bytes with `content` at `offset` and holes around, as GNU tar with PAX writes it.
    pub(super) fn sparse(mut self, name: &str, size: usize, offset: usize, content: &[u8]) -> Self {
        let record = |text: String| {
            let mut length = text.len() + 2;
            while length != text.len() + 2 + length.to_string().len() {
                length = text.len() + 2 + length.to_string().len();
            }
            format!("{length} {text}\n")
        };
        let fields = [
            "GNU.sparse.major=1".to_owned(),
            "GNU.sparse.minor=0".to_owned(),
            format!("GNU.sparse.name={name}"),
            format!("GNU.sparse.realsize={size}"),
        ];
        let records: String = fields.into_iter().map(record).collect();
        self.head(b'x', "pax", records.len(), "");
        self.data(records.as_bytes());
        let mut data = format!("1\n{offset}\n{}\n", content.len()).into_bytes();
        data.resize(512, 0);
        data.extend(content);
        self.head(b'0', "GNUSparseFile.0/x", data.len(), "");
        self.data(&data);
        self
    }

    pub(super) fn dir(mut self, name: &str) -> Self {
        self.head(b'5', name, 0, "");
        self
    }

    pub(super) fn symlink(mut self, name: &str, target: &str) -> Self {
        self.head(b'2', name, 0, target);
        self
    }

    pub(super) fn hardlink(mut self, name: &str, target: &str) -> Self {
        self.head(b'1', name, 0, target);
        self
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

/// A file in a directory that goes when it is dropped.
pub(super) struct Place {
    pub(super) dir: tempfile::TempDir,
}

impl Place {
    pub(super) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join("archive.tar")
    }

    pub(super) fn write(&self, bytes: &[u8]) -> PathBuf {
        std::fs::write(self.path(), bytes).unwrap();
        self.path()
    }

    pub(super) fn cache(&self) -> Arc<Cache> {
        Arc::new(Cache::new(self.dir.path().join("cache")))
    }
}

/// Opens an archive of these bytes without a cache.
pub(super) fn opened(bytes: &[u8]) -> Result<Box<dyn Source>, SourceError> {
    opened_as(bytes, Kind::Any)
}

pub(super) fn opened_as(bytes: &[u8], kind: Kind) -> Result<Box<dyn Source>, SourceError> {
    open(&Place::new().write(bytes), kind, None)
}

pub(super) fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes).unwrap()
}

pub(super) fn blob_name(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", sha256(bytes).encoded())
}

pub(super) fn open_blob(source: &dyn Source, digest: &Digest) -> Result<Box<dyn ReadAt>, SourceError> {
    let descriptor = format!(r#"{{"digest":"{digest}","size":0}}"#);
    source.open(&Descriptor::parse(&descriptor).unwrap())
}

pub(super) fn read(source: &dyn Source, digest: &Digest) -> Result<Vec<u8>, SourceError> {
    let blob = open_blob(source, digest)?;
    let mut bytes = vec![0; usize::try_from(blob.len()?).unwrap()];
    let got = blob.read_at(0, &mut bytes)?;
    bytes.truncate(got);
    Ok(bytes)
}

/// Everything a source says: index.json, `oci-layout`, and the blobs by digest.
pub(super) type Everything = (Vec<u8>, Option<Vec<u8>>, Vec<(Digest, Vec<u8>)>);

/// Returns everything a source says, as one value to compare.
pub(super) fn everything(source: &dyn Source) -> Everything {
    let mut blobs = source.blobs().unwrap();
    blobs.sort();
    let blobs = blobs.into_iter().map(|(digest, size)| {
        let bytes = read(source, &digest).unwrap();
        assert_eq!(bytes.len() as u64, size, "{digest}");
        (digest, bytes)
    });
    (source.index().unwrap(), source.oci_layout().ok(), blobs.collect())
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut w = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    w.write_all(bytes).unwrap();
    w.finish().unwrap()
}

/// The bytes in every compression archives come in, plain first.
pub(super) fn packings(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 0);
    xz.write_all(bytes).unwrap();
    let mut bz = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bz.write_all(bytes).unwrap();
    vec![
        ("plain", bytes.to_vec()),
        ("gzip", gzip(bytes)),
        ("zstd", zstd::bulk::compress(bytes, 1).unwrap()),
        ("xz", xz.finish().unwrap()),
        ("bzip2", bz.finish().unwrap()),
    ]
}

/// Bytes of no pattern: they do not compress, and every place in them is another.
pub(super) fn noise(len: usize, seed: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// The sentence an archive is refused with.
#[track_caller]
pub(super) fn refused(bytes: &[u8], kind: Kind, sentence: &str) {
    match opened_as(bytes, kind) {
        Ok(_) => panic!("was taken, and should be refused: {sentence}"),
        Err(SourceError::NotALayout { what, .. }) => assert!(what.contains(sentence), "{what:?}"),
        Err(e) => panic!("{e:?}"),
    }
}
