//! Layers by their tables of contents: fetched, checked, and turned into entries and chunks.
//!
//! For layers that are elsewhere: listing one takes its table, and reading a file takes the file's own chunks. The table's
//! digest stands in the layer's descriptor, and each chunk's digest in the table. The blob's own digest and the diff_id
//! are not looked at; docs/decisions/0011-tables.md says what that means.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::contents::push;
use super::index::PackedRecords;
use super::{LayerError, of_stream};
use crate::blob::BlobStore;
use crate::codec::Compression;
use crate::oci::Descriptor;
use crate::read_at::ReadAt;
use crate::stream::{Chunk, Input, Room, StreamError};
use crate::toc::{self, Claim, TocError};
use crate::tree::{Records, RecordsError, Stored};

/// Smallest layer worth it, in bytes: a smaller one is here, and checked as a whole, in about the time of the two
/// requests for its table.
const MIN_LAYER: u64 = 1 << 20;

/// What is fetched of an eStargz blob's end to find its table. That of a small layer is in it.
const TAIL: u64 = 64 << 10;

/// Why a table is not used. The layer is gone over instead.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unused {
    #[error(transparent)]
    Table(#[from] TocError),
    #[error("cannot read it: {0}")]
    Read(#[from] io::Error),
    #[error("the blob has {found} bytes where it should have more")]
    Short { found: u64 },
    #[error(transparent)]
    Records(#[from] RecordsError),
}

impl Unused {
    /// Says whether people should hear of it where they look for what is wrong with an image.
    pub(super) fn is_problem(&self) -> bool {
        matches!(self, Self::Table(e) if e.is_problem())
    }
}

/// What a table says of its layer.
pub(super) struct Listed {
    pub(super) records: PackedRecords,
    pub(super) chunks: Vec<Chunk>,
    pub(super) len: u64,
}

/// Returns the table that a layer is said to have, if it is worth looking for.
pub(super) fn claim(descriptor: &Descriptor) -> Option<Result<Claim, TocError>> {
    Claim::of(descriptor).filter(|_| descriptor.size >= MIN_LAYER)
}

/// Fetches and reads the table of a layer.
pub(super) fn list(
    blobs: &BlobStore,
    descriptor: &Descriptor,
    claim: &Claim,
    room: &Room,
) -> Option<Result<Listed, Unused>> {
    let raw = blobs.claimed_parts(descriptor)?;
    let listed = match fetch(&*raw, descriptor.size, claim, room) {
        // What was kept of it may be damaged.
        Err(Unused::Table(e)) if e.is_of_bytes() => {
            blobs.distrust_part(&descriptor.digest, 0..descriptor.size);
            fetch(&*raw, descriptor.size, claim, room)
        }
        other => other,
    };
    Some(listed)
}

/// Says how the table of a layer that was gone over disagrees with its tar: whoever does not fetch it sees what the table
/// says. What the table says of the files' bytes is not looked at.
pub(super) fn disagreement(
    blobs: &BlobStore,
    descriptor: &Descriptor,
    claim: &Claim,
    tar: &Records,
    room: &Room,
) -> Option<String> {
    let raw = blobs.claimed(descriptor).ok()?;
    let listed = match fetch(&*raw, descriptor.size, claim, room) {
        Ok(listed) => listed.records.unpack().ok()?,
        // What we do not read is not wrong.
        Err(why) => return why.is_problem().then(|| format!("its table of contents is of no use: {why}")),
    };
    let (mut ours, mut theirs) = (tar.iter(), listed.iter());
    loop {
        let path = match (ours.next(), theirs.next()) {
            (None, None) => return None,
            (Some(a), Some(b)) if is_same(&a, &b) => continue,
            (Some(entry), _) | (None, Some(entry)) => entry.path.escape_ascii(),
        };
        return Some(format!("its table of contents disagrees with its tar, at {path}"));
    }
}

/// Compares an entry of a tar with that of a table, as far as tables say what a tar does.
fn is_same(tar: &Stored<'_>, table: &Stored<'_>) -> bool {
    // The tools round to whole seconds, or leave an attribute without a value out.
    let rounded = tar.mtime.seconds.saturating_add(i64::from(tar.mtime.nanos >= 500_000_000));
    let same_time = tar.mtime == table.mtime || (table.mtime.nanos == 0 && table.mtime.seconds == rounded);
    tar.path == table.path
        && same_time
        && (tar.kind, tar.mode, tar.size) == (table.kind, table.mode, table.size)
        && (tar.uid, tar.gid) == (table.uid, table.gid)
        && tar
            .xattrs()
            .filter(|(_, value)| !value.is_empty())
            .eq(table.xattrs().filter(|(_, v)| !v.is_empty()))
}

fn fetch(raw: &dyn ReadAt, size: u64, claim: &Claim, room: &Room) -> Result<Listed, Unused> {
    match claim {
        Claim::Stargz { digest } => {
            let tail = read(raw, size.saturating_sub(TAIL)..size)?;
            let place = toc::footer(&tail, size)?;
            let _room = room.take(place.end - place.start + toc::MAX_TABLE);
            let member = read(raw, place.clone())?;
            let table = toc::open_member(&member, digest)?;
            drop(member);
            entries(&table.json, place.start, Some(&table))
        }
        Claim::ZstdChunked { position, length, unpacked, checksum } => {
            let _room = room.take(*length + *unpacked);
            let packed = read(raw, *position..position + length)?;
            toc::check(&packed, checksum)?;
            let json = toc::unpack(Compression::Zstd, &packed, *unpacked)?;
            entries(&json, *position, None)
        }
    }
}

fn read(raw: &dyn ReadAt, range: Range<u64>) -> Result<Vec<u8>, Unused> {
    let len = usize::try_from(range.end - range.start).map_err(|_| TocError::Outside)?;
    let mut bytes = vec![0; len];
    match raw.read_at(range.start, &mut bytes)? {
        got if got == len => Ok(bytes),
        got => Err(Unused::Short { found: range.start + got as u64 }),
    }
}

fn entries(json: &[u8], end: u64, own: Option<&toc::Table>) -> Result<Listed, Unused> {
    let (mut records, mut failed) = (Records::new(), None);
    let contents = toc::read(json, end, own, &mut |entry| {
        if failed.is_none() {
            failed = push(&mut records, entry).err();
        }
    })?;
    match failed {
        Some(e) => Err(e.into()),
        None => {
            records.shrink_to_fit();
            Ok(Listed { records: PackedRecords::new(&records)?, chunks: contents.chunks, len: contents.len })
        }
    }
}

/// The blob of such a layer, in parts where they can be had, else whole.
pub(super) struct Parts {
    blobs: Arc<BlobStore>,
    descriptor: Descriptor,
}

impl Parts {
    pub(super) fn new(blobs: Arc<BlobStore>, descriptor: Descriptor) -> Self {
        Self { blobs, descriptor }
    }

    pub(super) fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }
}

impl Input for Parts {
    type Error = LayerError;

    fn open(&self) -> Result<Box<dyn ReadAt>, LayerError> {
        match self.blobs.claimed_parts(&self.descriptor) {
            Some(parts) => Ok(parts),
            None => Ok(self.blobs.claimed(&self.descriptor)?),
        }
    }

    fn error(&self, cause: StreamError) -> LayerError {
        of_stream(&self.descriptor.digest, cause)
    }

    fn try_again(&self, failed: &StreamError, range: Range<u64>) -> bool {
        match failed {
            // The source has found out that it has whole blobs only.
            StreamError::Read(cause) => cause.kind() == io::ErrorKind::Unsupported,
            _ => {
                self.blobs.distrust_part(&self.descriptor.digest, range);
                true
            }
        }
    }
}
