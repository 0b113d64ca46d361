//! What a layer's descriptor says of a table: its digest, and where it is.

use super::{MAX_TABLE, TocError};
use crate::codec::Compression;
use crate::oci::{Algorithm, Descriptor, Digest};

/// The digest of an eStargz table, decompressed.
const STARGZ: &str = "containerd.io/snapshot/stargz/toc.digest";

/// Where a zstd:chunked table is: `offset:length:unpacked length:kind`. Under two names, of two tools.
const POSITION: [&str; 2] =
    ["io.github.containers.zstd-chunked.manifest-position", "io.containers.zstd-chunked.manifest-position"];

/// The digest of a zstd:chunked table as it lies in the blob, compressed.
const CHECKSUM: [&str; 2] =
    ["io.github.containers.zstd-chunked.manifest-checksum", "io.containers.zstd-chunked.manifest-checksum"];

/// The kind of table that both formats have.
const CRFS: u64 = 1;

/// A table that a layer is said to have. Whoever vouches for the descriptor vouches for the digest in it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Claim {
    /// eStargz: the blob's end says where the table is.
    Stargz {
        /// The digest of the table.
        digest: Digest,
    },
    /// zstd:chunked.
    ZstdChunked {
        /// Where the table begins in the blob.
        position: u64,
        /// Its length there, in bytes.
        length: u64,
        /// Its length decompressed, in bytes.
        unpacked: u64,
        /// The digest of the table as it lies there.
        checksum: Digest,
    },
}

impl Claim {
    /// Reads the annotations of a layer's descriptor. None where they speak of no table.
    pub fn of(descriptor: &Descriptor) -> Option<Result<Self, TocError>> {
        let find = |names: &[&'static str]| {
            names.iter().find_map(|name| Some((*name, descriptor.annotations.get(name)?)))
        };
        if let Some((name, position)) = find(&POSITION) {
            let checksum = find(&CHECKSUM);
            return Some(zstd_chunked(name, position, checksum, descriptor.size));
        }
        let (name, text) = find(&[STARGZ])?;
        Some(digest(name, text).map(|digest| Self::Stargz { digest }))
    }

    /// Returns how the layer is compressed.
    pub fn compression(&self) -> Compression {
        match self {
            Self::Stargz { .. } => Compression::Gzip,
            Self::ZstdChunked { .. } => Compression::Zstd,
        }
    }
}

fn zstd_chunked(
    name: &'static str,
    position: &str,
    checksum: Option<(&'static str, &str)>,
    size: u64,
) -> Result<Claim, TocError> {
    let numbers: Vec<u64> = position.split(':').map_while(|n| n.parse().ok()).collect();
    let &[position, length, unpacked, CRFS] = &numbers[..] else { return Err(TocError::Annotation(name)) };
    let (name, checksum) = checksum.ok_or(TocError::Annotation(CHECKSUM[0]))?;
    let checksum = digest(name, checksum)?;
    for len in [length, unpacked] {
        if len > MAX_TABLE {
            return Err(TocError::TooLarge { len, limit: MAX_TABLE });
        }
    }
    match position.checked_add(length).is_some_and(|end| end <= size) {
        true => Ok(Claim::ZstdChunked { position, length, unpacked, checksum }),
        false => Err(TocError::Outside),
    }
}

fn digest(name: &'static str, text: &str) -> Result<Digest, TocError> {
    let known = Digest::parse(text).ok().filter(|digest| digest.algorithm() != Algorithm::Unknown);
    known.ok_or(TocError::Annotation(name))
}
