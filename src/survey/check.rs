//! Reading everything, on all processors, each blob once.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::checklist::Unit;
use super::progress::Watched;
use super::{Checklist, Hit, Progress, Role, Target, Verdict, hits, lint};
use crate::blob::{BlobError, BlobStore};
use crate::image::Catalog;
use crate::layer::{LayerError, LayerIndex, LayerStore, mistyped};
use crate::oci::{Algorithm, Descriptor, Hasher};
use crate::read_at::ReadAt as _;
use crate::side_by_side::{cores, side_by_side};

/// Bytes hashed at once.
const PIECE: usize = 1 << 20;

/// What a check came to.
#[derive(Debug)]
pub struct Checked {
    /// One for each target of the checklist, in its order.
    pub outcomes: Vec<Outcome>,
    /// What is odd about trees that several layers make together: where, and what.
    pub notes: Vec<(String, String)>,
    /// Whether somebody ended it early.
    pub stopped: bool,
}

/// What is known of one blob.
#[derive(Debug)]
pub struct Outcome {
    /// Whether it is what it should be.
    pub verdict: Verdict,
    /// An absence that is a failure: others of the same manifest are there, or somebody asked for it.
    pub missing: bool,
    /// What is odd about it and no failure.
    pub notes: Vec<String>,
    /// Bytes of a layer's contents.
    pub unpacked: Option<u64>,
    /// What its damage hit, where that can be told.
    pub hit: Option<Hit>,
    /// A layer's entries, while trees are made of them.
    pub(super) index: Option<LayerIndex>,
}

impl Outcome {
    fn new(verdict: Verdict) -> Self {
        Self { verdict, missing: false, notes: Vec::new(), unpacked: None, hit: None, index: None }
    }
}

/// Reads every blob of `checklist` now, whatever was checked before; `deep` looks into layers as well.
pub fn check(
    catalog: &Catalog,
    layers: &LayerStore,
    checklist: &Checklist,
    deep: bool,
    progress: &Progress,
) -> Checked {
    progress.total.store(checklist.bytes(), Relaxed);
    // The largest first, so that no thread is left alone with one at the end.
    let mut order: Vec<usize> = (0..checklist.targets.len()).collect();
    order.sort_by_key(|n| std::cmp::Reverse(checklist.targets[*n].descriptor.size));
    let checker = Checker { store: catalog.store(), layers, deep, progress };
    let checked = side_by_side(&order, cores(), |n| checker.one(&checklist.targets[*n]));
    let unknown = || Outcome::new(Verdict::Unknown("not looked at".to_owned()));
    let mut outcomes: Vec<Outcome> = checklist.targets.iter().map(|_| unknown()).collect();
    for (n, outcome) in order.into_iter().zip(checked) {
        outcomes[n] = outcome.unwrap_or_else(unknown);
    }
    mark_missing(checklist, &mut outcomes);
    hits::in_rootfs(layers, checklist, &mut outcomes);
    let notes = if deep { lint::trees(checklist, &outcomes) } else { Vec::new() };
    for outcome in &mut outcomes {
        outcome.index = None;
    }
    Checked { outcomes, notes, stopped: progress.is_stopped() }
}

struct Checker<'a> {
    store: &'a Arc<BlobStore>,
    layers: &'a LayerStore,
    deep: bool,
    progress: &'a Progress,
}

impl Checker<'_> {
    fn one(&self, target: &Target) -> Outcome {
        let stopped = || Outcome::new(Verdict::Unknown("not checked: stopped before its end".to_owned()));
        if self.progress.is_stopped() {
            return stopped();
        }
        let read = AtomicU64::new(0);
        let mut outcome = match target.role {
            Role::Layer if self.deep => self.layer(target, &read),
            _ => match self.hash(&target.descriptor, &read) {
                Ok(()) => Outcome::new(Verdict::Good),
                Err(e) => Outcome::new(Verdict::of_blob(&e)),
            },
        };
        if self.progress.is_stopped() && outcome.verdict != Verdict::Good {
            return stopped();
        }
        // What was not read by now, because it is not there or the beginning is wrong, will not be.
        let rest = target.descriptor.size.saturating_sub(read.into_inner());
        self.progress.total.fetch_sub(rest, Relaxed);
        // A layer that was gone over to its end has the right bytes, whatever else is wrong.
        let wrong_bytes = matches!(outcome.verdict, Verdict::Damaged(_)) && outcome.index.is_none();
        if target.role == Role::Layer && wrong_bytes {
            outcome.hit = hits::find(self.store, self.layers, &target.descriptor);
        }
        outcome
    }

    fn open<'a>(&'a self, descriptor: &Descriptor, read: &'a AtomicU64) -> Result<Watched<'a>, BlobError> {
        Ok(Watched { inner: self.store.claimed(descriptor)?, progress: self.progress, read })
    }

    fn hash(&self, descriptor: &Descriptor, read: &AtomicU64) -> Result<(), BlobError> {
        let digest = &descriptor.digest;
        let unverifiable = || BlobError::Unverifiable { digest: digest.clone() };
        let mut hasher = Hasher::new(digest.algorithm()).ok_or_else(unverifiable)?;
        let raw = self.open(descriptor, read)?;
        let mut buffer = vec![0; usize::try_from(descriptor.size).unwrap_or(PIECE).min(PIECE)];
        let mut at = 0;
        while at < descriptor.size {
            let want = usize::try_from(descriptor.size - at).unwrap_or(PIECE).min(PIECE);
            let got = raw
                .read_at(at, &mut buffer[..want])
                .map_err(|cause| BlobError::Read { digest: digest.clone(), cause: Arc::new(cause) })?;
            hasher.update(&buffer[..got]);
            at += got as u64;
            if got < want {
                let (digest, expected) = (digest.clone(), descriptor.size);
                return Err(BlobError::Size { digest, expected, found: at });
            }
        }
        let found = hasher.finish();
        if found != *digest {
            self.store.distrust(digest);
            return Err(BlobError::Mismatch { expected: digest.clone(), found });
        }
        Ok(())
    }

    fn layer(&self, target: &Target, read: &AtomicU64) -> Outcome {
        let descriptor = &target.descriptor;
        let mut algorithms = vec![Algorithm::Sha256];
        for diff_id in &target.diff_ids {
            if !algorithms.contains(&diff_id.algorithm()) && diff_id.algorithm() != Algorithm::Unknown {
                algorithms.push(diff_id.algorithm());
            }
        }
        let examined = self
            .open(descriptor, read)
            .map_err(LayerError::from)
            .and_then(|raw| self.layers.examine(&raw, descriptor, &algorithms));
        let mut index = match examined {
            Ok(index) => index,
            Err(e) => return Outcome::new(Verdict::of_layer(&e)),
        };
        let mut outcome = Outcome::new(diff_ids(target, &index));
        let stream_len = index.stream.stream_len;
        outcome.unpacked = Some(stream_len);
        outcome.notes.extend(mistyped(descriptor, index.stream.compression, stream_len));
        outcome.notes.append(&mut index.problems);
        outcome.notes.extend(self.layers.disagreement(descriptor, &index));
        // What is needed later are the entries alone.
        index.stream.chunks = Vec::new();
        index.stream.checkpoints = Vec::new();
        outcome.index = Some(index);
        outcome
    }
}

/// Holds a layer's contents against everything that configurations say of them.
fn diff_ids(target: &Target, index: &LayerIndex) -> Verdict {
    let mut verdict = Verdict::Good;
    for expected in &target.diff_ids {
        match index.diff_id(expected.algorithm()) {
            None => {
                let error = LayerError::Unverifiable(expected.clone());
                if verdict == Verdict::Good {
                    verdict = Verdict::Unknown(error.to_string());
                }
            }
            Some(found) if found != expected => {
                let (digest, expected) = (target.descriptor.digest.clone(), expected.clone());
                let error = LayerError::DiffId { digest, expected, found: found.clone() };
                return Verdict::Damaged(error.to_string());
            }
            Some(_) => {}
        }
    }
    verdict
}

/// Tells absences apart: a platform that is not there at all was left out on purpose, part of one was lost.
fn mark_missing(checklist: &Checklist, outcomes: &mut [Outcome]) {
    let absent: Vec<bool> = outcomes.iter().map(|o| o.verdict == Verdict::Absent).collect();
    let mut in_whole = vec![false; absent.len()];
    let mut in_unit = vec![false; absent.len()];
    let mut has_manifest = HashSet::new();
    let parts = |unit: &Unit| -> Vec<usize> {
        unit.config.into_iter().chain(unit.layers.iter().filter(|l| !l.1).map(|l| l.0)).collect()
    };
    for unit in &checklist.units {
        let parts = parts(unit);
        if !absent[unit.manifest] {
            has_manifest.extend(unit.image);
        }
        let whole = !absent[unit.manifest] && parts.iter().all(|n| !absent[*n]);
        for n in parts.iter().copied().chain([unit.manifest]).chain(unit.layers.iter().map(|l| l.0)) {
            in_unit[n] = true;
            in_whole[n] |= whole;
        }
    }
    for unit in &checklist.units {
        let parts = parts(unit);
        if absent[unit.manifest] {
            let nothing = unit.image.is_some_and(|image| !has_manifest.contains(&image));
            outcomes[unit.manifest].missing |= nothing || (checklist.asked && unit.image.is_some());
            continue;
        }
        // What a whole platform has as well says nothing about this one.
        let layers = || unit.layers.iter().filter(|l| !l.1).map(|l| l.0);
        let some = layers().any(|n| !absent[n] && !in_whole[n]);
        for n in parts.into_iter().filter(|n| absent[*n]) {
            outcomes[n].missing |= some || (checklist.asked && unit.image.is_some());
        }
    }
    for (n, outcome) in outcomes.iter_mut().enumerate() {
        outcome.missing |= absent[n] && !in_unit[n];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Manifest;
    use crate::problems::Problems;
    use crate::read_at::ReadAt;
    use crate::survey::tests::kit::Fake;
    use std::io;

    /// A blob on a disk that cannot be read from the second piece on.
    struct Failing;

    const SIZE: u64 = 4 << 20;

    impl ReadAt for Failing {
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
            match offset {
                0 => Ok(buf.len()),
                _ => Err(io::Error::from_raw_os_error(5)),
            }
        }
        fn len(&self) -> io::Result<u64> {
            Ok(SIZE)
        }
    }

    /// The bar stopped short of its end where the beginning of a blob was read, or another blob meanwhile.
    #[test]
    fn progress_comes_to_its_end_whatever_cannot_be_read() {
        let mut checklist = Checklist::default();
        for n in 0..3 {
            let layer = format!(r#"{{"digest":"sha256:{n:064x}","size":{SIZE}}}"#);
            let manifest = Manifest::parse(format!(r#"{{"layers":[{layer}]}}"#).as_bytes()).unwrap();
            let descriptor = manifest.layers[0].clone().unwrap();
            let (role, places, diff_ids) = (Role::Other, Vec::new(), Vec::new());
            checklist.targets.push(Target { descriptor, role, places, diff_ids });
        }
        let store =
            Arc::new(BlobStore::new(Box::new(Fake(r#"{"manifests":[]}"#.to_owned(), |_: &Descriptor| {
                Ok(Box::new(Failing) as Box<dyn ReadAt>)
            }))));
        let catalog = Catalog::read(store.clone(), Arc::new(Problems::default())).unwrap();
        let progress = Progress::default();
        let checked = check(&catalog, &LayerStore::new(store, None), &checklist, false, &progress);
        assert!(checked.outcomes.iter().all(|o| matches!(o.verdict, Verdict::Unknown(_))), "{checked:?}");
        let (bytes, total) = (progress.bytes.load(Relaxed), progress.total.load(Relaxed));
        assert_eq!((bytes, total), (3 * PIECE as u64, bytes));
    }
}
