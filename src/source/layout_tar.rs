//! A tar archive of an OCI layout (oci-archive), read where it lies.

use std::collections::VecDeque;
use std::time::SystemTime;

use super::archive::Archive;
use super::{MAX_INDEX, MAX_OCI_LAYOUT, Source, SourceError};
use crate::oci::{Data, Descriptor, Digest, Index, MAX_DOCUMENT, Manifest, MediaType};
use crate::problems::Problem;
use crate::read_at::ReadAt;

/// Most documents looked at to tell whether an index leads anywhere. The first is enough in all real archives.
const MAX_LOOKS: usize = 100;

/// An archive of a layout. Its index.json is read once, when it is opened: nothing else vouches for it.
pub struct LayoutTar {
    archive: Archive,
    index: Vec<u8>,
    oci_layout: Option<Vec<u8>>,
}

impl LayoutTar {
    /// Takes the layout in `archive`, which must have an index.json.
    pub(super) fn new(archive: Archive) -> Result<Self, SourceError> {
        let index = archive.document(b"index.json", MAX_INDEX).map_err(|e| match e {
            SourceError::Io(_) | SourceError::NotALayout { .. } => e,
            other => archive.refuse(format!("its index.json {other}")),
        })?;
        // Readers of layouts get along without it, and so does a layout directory here.
        let oci_layout = archive.document(b"oci-layout", MAX_OCI_LAYOUT).ok();
        archive.remember();
        Ok(Self { archive, index, oci_layout })
    }
}

impl Source for LayoutTar {
    fn index(&self) -> Result<Vec<u8>, SourceError> {
        Ok(self.index.clone())
    }

    fn oci_layout(&self) -> Result<Vec<u8>, SourceError> {
        self.oci_layout.clone().ok_or(SourceError::Absent)
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn ReadAt>, SourceError> {
        let piece = self.archive.members().find(&blob_name(&descriptor.digest))?;
        self.archive.open_piece(piece)
    }

    fn blobs(&self) -> Result<Vec<(Digest, u64)>, SourceError> {
        let members = self.archive.members();
        let mut blobs = Vec::new();
        for name in members.names(b"blobs/") {
            // Anything may lie around in there: only digests are blobs.
            let name = std::str::from_utf8(name).ok().and_then(|name| name.strip_prefix("blobs/"));
            let Some((algorithm, encoded)) = name.and_then(|name| name.split_once('/')) else { continue };
            let Ok(digest) = Digest::parse(&format!("{algorithm}:{encoded}")) else { continue };
            match members.find(&blob_name(&digest)) {
                Ok(piece) => blobs.push((digest, piece.len())),
                Err(SourceError::NotRegular(_)) => blobs.push((digest, 0)),
                Err(_) => {}
            }
        }
        Ok(blobs)
    }

    fn modified(&self) -> SystemTime {
        self.archive.modified()
    }

    fn problems(&self) -> Vec<Problem> {
        self.archive.problems().to_vec()
    }
}

fn blob_name(digest: &Digest) -> Vec<u8> {
    digest.blob_path().into_bytes()
}

/// Says whether the index.json of `archive` leads to a manifest that is there; with layers, if `layers` are wanted.
///
/// Docker 25 wrote indexes without manifests, and manifests without layers, beside a manifest.json that has them.
pub(super) fn is_usable(archive: &Archive, layers: bool) -> bool {
    let Ok(index) = archive.document(b"index.json", MAX_INDEX) else { return false };
    let mut todo = listed(&index);
    let mut looks = 0;
    while let Some(descriptor) = todo.pop_front() {
        looks += 1;
        if looks > MAX_LOOKS {
            return true;
        }
        let Ok(bytes) = document(archive, &descriptor) else { continue };
        match descriptor.kind() {
            MediaType::Index => todo.extend(listed(&bytes)),
            MediaType::Other if descriptor.media_type.is_empty() && is_index(&bytes) => {
                todo.extend(listed(&bytes));
            }
            _ => match Manifest::parse(&bytes) {
                Ok(manifest) if !layers || !manifest.layers.is_empty() => return true,
                _ => {}
            },
        }
    }
    false
}

/// Returns as many entries of an index as may be looked at, and nothing for what is none.
fn listed(bytes: &[u8]) -> VecDeque<Descriptor> {
    let entries = Index::parse(bytes).map(|index| index.entries).unwrap_or_default();
    entries.into_iter().filter_map(|entry| entry.descriptor.ok()).take(MAX_LOOKS + 1).collect()
}

fn document(archive: &Archive, descriptor: &Descriptor) -> Result<Vec<u8>, SourceError> {
    match archive.document(&blob_name(&descriptor.digest), MAX_DOCUMENT) {
        Err(SourceError::Absent) => match &descriptor.data {
            Data::Content(bytes) => Ok(bytes.to_vec()),
            Data::Absent | Data::Wrong(_) => Err(SourceError::Absent),
        },
        other => other,
    }
}

fn is_index(bytes: &[u8]) -> bool {
    Index::parse(bytes).is_ok_and(|index| !index.entries.is_empty())
}
