//! Which files a layer's damage hit. Told where an index of the layer is in the cache: it knows what was there.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use super::{Checklist, Outcome, rootfs};
use crate::blob::BlobStore;
use crate::layer::LayerStore;
use crate::oci::Descriptor;
use crate::stream;
use crate::tree::{FileTree, Kind, NodeId, RecordKind};

/// Most files named. The rest is counted.
const MAX_FILES: usize = 1_000;

/// Bytes of a tar header, which are a file's as much as its content.
const HEADER: u64 = 512;

/// What the damage of a layer hit.
#[derive(Debug, Default)]
pub struct Hit {
    /// The ranges of the layer's contents that are lost, ascending.
    pub lost: Vec<Range<u64>>,
    /// The files of the layer that lie in them, as they stand in `diffs/N`.
    pub files: HitFiles,
    /// Those of them that a `rootfs` shows, and which one; none where not all its layers are known.
    pub rootfs: Option<(String, HitFiles)>,
}

/// Names of files, 1,000 at most, and how many there are.
#[derive(Debug, Default)]
pub struct HitFiles {
    /// Paths, with bytes that are no printable ASCII escaped.
    pub names: Vec<String>,
    /// How many files there are in all.
    pub count: u64,
}

impl HitFiles {
    fn add(&mut self, name: impl FnOnce() -> String) {
        self.count += 1;
        if self.names.len() < MAX_FILES {
            self.names.push(name());
        }
    }
}

impl Hit {
    /// Returns how many bytes of the layer's contents are lost.
    pub fn bytes(&self) -> u64 {
        self.lost.iter().map(|range| range.end - range.start).sum()
    }
}

/// Finds what is lost of a damaged layer; none where the cache knows nothing of it, or nothing can be read.
pub(super) fn find(store: &Arc<BlobStore>, layers: &LayerStore, descriptor: &Descriptor) -> Option<Hit> {
    let index = layers.known(descriptor)?;
    let raw = store.remains(descriptor).ok()?;
    let lost = stream::damaged(&*raw, &index.stream).ok()?;
    let mut files = HitFiles::default();
    for entry in index.entries().ok()?.iter() {
        let header = entry.header_offset..entry.header_offset.saturating_add(HEADER);
        let in_content = || entry.extents().any(|e| meets(&lost, e.stream_offset, e.length));
        if entry.kind == RecordKind::Regular && (meets(&lost, header.start, HEADER) || in_content()) {
            files.add(|| shown(entry.path));
        }
    }
    Some(Hit { lost, files, rootfs: None })
}

/// Finds which of the files hit a root filesystem shows, for the first platform whose layers are all known.
pub(super) fn in_rootfs(layers: &LayerStore, checklist: &Checklist, outcomes: &mut [Outcome]) {
    let mut known = HashMap::new();
    for (path, unit) in checklist.units.iter().filter_map(|unit| Some((unit.rootfs.as_ref()?, unit))) {
        let wanted: BTreeSet<usize> =
            unit.layers.iter().map(|(n, _)| *n).filter(|n| is_wanted(&outcomes[*n])).collect();
        let mut is_known = |n: usize| {
            let here =
                || outcomes[n].index.is_some() || layers.known(&checklist.targets[n].descriptor).is_some();
            *known.entry(n).or_insert_with(here)
        };
        // Before a tree is begun that one layer keeps from being made.
        if wanted.is_empty() || !unit.layers.iter().all(|(n, _)| is_known(*n)) {
            continue;
        }
        let records = |n: usize| match &outcomes[n].index {
            Some(index) => index.entries().ok(),
            None => layers.known(&checklist.targets[n].descriptor)?.entries().ok(),
        };
        let Some((tree, _)) = rootfs::made(unit, records) else { continue };
        for n in wanted {
            let Some(hit) = &mut outcomes[n].hit else { continue };
            // A manifest may list a layer more than once.
            let is_of = |layer: u32| usize::try_from(layer).is_ok_and(|layer| unit.layers[layer].0 == n);
            hit.rootfs = Some((path.clone(), hit_files(&tree, is_of, &hit.lost)));
        }
    }
}

fn is_wanted(outcome: &Outcome) -> bool {
    outcome.hit.as_ref().is_some_and(|hit| hit.rootfs.is_none() && !hit.lost.is_empty())
}

/// Returns the files of `tree` that a layer brought which `is_of` takes, and that lie in `lost`.
fn hit_files(tree: &FileTree, is_of: impl Fn(u32) -> bool, lost: &[Range<u64>]) -> HitFiles {
    let mut files = HitFiles::default();
    let mut todo: Vec<(NodeId, Vec<u8>)> = vec![(tree.root(), Vec::new())];
    while let Some((directory, path)) = todo.pop() {
        for (name, id) in tree.children(directory).iter() {
            let node = tree.node(id);
            let here = || [&path[..], if path.is_empty() { b"" } else { b"/" }, name].concat();
            if node.kind() == Kind::Directory {
                todo.push((id, here()));
            } else if node.kind() == Kind::Regular
                && is_of(node.layer())
                && node.extents().iter().any(|e| meets(lost, e.stream_offset, e.length))
            {
                files.add(|| here().escape_ascii().to_string());
            }
        }
    }
    files.names.sort();
    files
}

fn meets(lost: &[Range<u64>], from: u64, length: u64) -> bool {
    let first = lost.partition_point(|range| range.end <= from);
    length > 0 && lost.get(first).is_some_and(|range| range.start < from.saturating_add(length))
}

/// Spells a name from an archive as a path below the layer's root.
fn shown(path: &[u8]) -> String {
    let parts: Vec<&[u8]> = path.split(|b| *b == b'/').filter(|p| !matches!(*p, b"" | b".")).collect();
    parts.join(&b'/').escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_meet() {
        let lost = [10..20, 30..40];
        for (from, length, expected) in [
            (0, 10, false),
            (0, 11, true),
            (19, 1, true),
            (20, 10, false),
            (20, 11, true),
            (39, 100, true),
            (40, 1, false),
            (15, 0, false),
            (u64::MAX, u64::MAX, false),
        ] {
            assert_eq!(meets(&lost, from, length), expected, "{from} {length}");
        }
    }
}
