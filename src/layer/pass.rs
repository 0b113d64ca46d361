//! The single pass over a layer: the digest of its blob, the digests of its contents, its entries.

use std::sync::Arc;

use super::contents::{Contents, ContentsError};
use super::index::{LayerIndex, PackedRecords};
use super::{LayerError, of_stream};
use crate::blob::BlobError;
use crate::cache::{Cache, Key};
use crate::codec::Compression;
use crate::oci::{Algorithm, Descriptor, Hasher};
use crate::read_at::ReadAt;
use crate::stream::{self, Scan, Sink, SpillWriter, StreamError};

impl Sink for Hasher {
    fn take(&mut self, piece: &[u8]) {
        self.update(piece);
    }
}

/// Goes over all of `raw`, which is said to be what `descriptor` means, and fails unless it is.
///
/// `algorithms` says by which the decompressed stream is hashed.
pub(super) fn pass(
    raw: &dyn ReadAt,
    descriptor: &Descriptor,
    algorithms: &[Algorithm],
    cache: Option<&Arc<Cache>>,
) -> Result<LayerIndex, LayerError> {
    let digest = &descriptor.digest;
    let hasher = Hasher::new(digest.algorithm());
    let hasher = hasher.ok_or_else(|| BlobError::Unverifiable { digest: digest.clone() })?;
    let of_stream = |e: StreamError| of_stream(digest, e);
    let compression = stream::sniff(raw).map_err(of_stream)?;
    let spill = SpillWriter::new(cache, &Key::from(digest), compression);
    // The contents of a plain layer are its blob, which is hashed in any case.
    let is_plain = compression == Compression::None;
    let further = algorithms.iter().filter(|a| !is_plain || **a != digest.algorithm());
    let contents = Contents::new(further.copied(), spill);
    let Scan { decoded, input, output, .. } =
        stream::scan(raw, descriptor.size, hasher, contents).map_err(of_stream)?;
    // A wrong blob explains whatever else went wrong with its contents.
    let found = input.finish();
    if found != *digest {
        return Err(BlobError::Mismatch { expected: digest.clone(), found }.into());
    }
    let blob = is_plain.then_some(found);
    let (stream, oddities) = decoded.map_err(of_stream)?;
    let end = output.finish(&stream.checkpoints).map_err(|e| match e {
        ContentsError::Tar(cause) => LayerError::Tar { digest: digest.clone(), cause },
        ContentsError::Records(cause) => LayerError::Records { digest: digest.clone(), cause },
    })?;
    let mut problems: Vec<String> = oddities.iter().map(ToString::to_string).collect();
    problems.extend(end.problems);
    let records = PackedRecords::new(&end.records).map_err(|e| of_stream(e.into()))?;
    let diff_ids = blob.into_iter().chain(end.diff_ids).collect();
    Ok(LayerIndex { stream, diff_ids, records, problems })
}
