//! Every blob that can be reached, each once, and what each platform needs.

use std::collections::HashMap;
use std::sync::Arc;

use super::{ArtifactReport, ImageReport, PlatformReport, Survey, Verdict, refusals};
use crate::image::{Catalog, Entry, Form, ImageError, MAX_DEPTH};
use crate::oci::{Data, Descriptor, DescriptorError, Digest, Manifest, MediaType};
use crate::view::{self, MAX_LAYERS, Place};

/// Most places told of one blob. The empty layer may be in every image of a large layout.
pub(super) const MAX_PLACES: usize = 1_000;

/// What a blob is to the images that have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// An index, a manifest, a configuration.
    Document,
    /// A file tree.
    Layer,
    /// Anything else.
    Other,
}

/// One blob to check.
#[derive(Debug)]
pub struct Target {
    /// Which bytes are meant.
    pub descriptor: Descriptor,
    /// What it is.
    pub role: Role,
    /// Where it stands in the mount, 1,000 at most.
    pub places: Vec<String>,
    /// What its contents must hash to, by every configuration that says so; for layers. Two of an algorithm at most.
    pub diff_ids: Vec<Digest>,
}

/// Something wrong that is no blob of its own.
#[derive(Debug)]
pub struct Fault {
    /// Where it shows in the mount.
    pub path: String,
    /// What is wrong.
    pub verdict: Verdict,
}

/// The blobs that belong together: those of one manifest.
#[derive(Debug)]
pub(super) struct Unit {
    /// Where its layers stand put together; none where a mount has no such place, or refuses it.
    pub(super) rootfs: Option<String>,
    /// The image it is a platform of, by number; none for artifacts.
    pub(super) image: Option<usize>,
    pub(super) manifest: usize,
    pub(super) config: Option<usize>,
    /// The layers' targets, and whether each may lie elsewhere (`urls`, nondistributable).
    pub(super) layers: Vec<(usize, bool)>,
}

/// What is to be checked.
#[derive(Debug, Default)]
pub struct Checklist {
    /// The blobs.
    pub targets: Vec<Target>,
    /// What is wrong already, from the documents alone.
    pub faults: Vec<Fault>,
    /// Whether somebody asked for a platform, so that its absence is a failure.
    pub asked: bool,
    pub(super) units: Vec<Unit>,
    known: HashMap<(Digest, u64), usize>,
}

impl Checklist {
    /// Collects everything a survey found.
    pub fn new(catalog: &Catalog, survey: &Survey, asked: bool) -> Self {
        let mut checklist = Self { asked, ..Self::default() };
        for (n, image) in survey.images.iter().enumerate() {
            checklist.image(n, image);
        }
        for artifact in &survey.artifacts {
            checklist.artifact(catalog, artifact);
        }
        checklist
    }

    /// Returns how many bytes there are to read.
    pub fn bytes(&self) -> u64 {
        self.targets.iter().fold(0, |sum, t| sum.saturating_add(t.descriptor.size))
    }

    fn image(&mut self, n: usize, image: &ImageReport) {
        for entry in &image.indexes {
            let own = image.index.as_ref().is_some_and(|i| i.descriptor.digest == entry.descriptor.digest);
            let path = match own {
                true => image.path.image_index(),
                false => entry.descriptor.digest.blob_path(),
            };
            self.target(&entry.descriptor, Role::Document, path);
        }
        if let Some((path, e)) = &image.failure {
            for entry in image.entries.iter().filter(|_| image.index.is_none()) {
                self.target(&entry.descriptor, Role::Document, entry.descriptor.digest.blob_path());
            }
            self.document(path.clone(), e);
        }
        for platform in &image.platforms {
            self.platform(n, platform);
        }
        for attestation in &image.attestations {
            self.manifest(attestation);
        }
    }

    fn platform(&mut self, image: usize, report: &PlatformReport) {
        let path = &report.path;
        let manifest = self.target(&report.entry.descriptor, Role::Document, path.manifest());
        let mut unit = Unit { rootfs: None, image: Some(image), manifest, config: None, layers: Vec::new() };
        match &report.manifest {
            Err(e) => self.document(path.manifest(), e),
            Ok(manifest) => {
                match &manifest.config {
                    Some(Ok(config)) => {
                        unit.config = Some(self.target(config, Role::Document, path.config()));
                    }
                    Some(Err(e)) => self.bad(path.config(), e),
                    None => {}
                }
                if let Err(e) = &report.config {
                    self.document(path.config(), e);
                }
                unit.rootfs = self.rootfs(report, manifest);
                self.layers(&mut unit, report);
            }
        }
        self.units.push(unit);
    }

    /// Returns where a mount puts the layers of a platform together; says why where it refuses to.
    fn rootfs(&mut self, report: &PlatformReport, manifest: &Manifest) -> Option<String> {
        let path = report.path.rootfs();
        let (mut refused, vouched) = match &report.config {
            Ok(config) => (refusals(manifest, config).into_iter().map(Verdict::Damaged).collect(), true),
            // Missing is not wrong: the manifest vouches for its layers alone.
            Err(e) => (Vec::new(), Verdict::of_document(e) == Verdict::Absent),
        };
        let (found, limit) = (manifest.layers.len(), MAX_LAYERS);
        if found > limit {
            refused.push(Verdict::Unknown(view::Error::TooManyLayers { found, limit }.to_string()));
        }
        let is_whole = vouched && refused.is_empty() && manifest.layers.iter().all(Result::is_ok);
        self.faults.extend(refused.into_iter().map(|verdict| Fault { path: path.clone(), verdict }));
        is_whole.then_some(path)
    }

    fn layers(&mut self, unit: &mut Unit, report: &PlatformReport) {
        for (n, layer) in report.layers.iter().enumerate() {
            let place = report.path.layer(n);
            match &layer.descriptor {
                Err(e) => self.bad(place, e),
                Ok(descriptor) => {
                    let role = match descriptor.kind() {
                        MediaType::Layer(_) => Role::Layer,
                        _ => Role::Other,
                    };
                    let target = self.target(descriptor, role, place);
                    if let Some(diff_id) = layer.diff_id.as_ref().filter(|_| role == Role::Layer) {
                        claim(&mut self.targets[target].diff_ids, diff_id);
                    }
                    unit.layers.push((target, may_be_elsewhere(descriptor)));
                }
            }
        }
    }

    fn artifact(&mut self, catalog: &Catalog, artifact: &ArtifactReport) {
        if artifact.form != Form::Index {
            return self.manifest(artifact);
        }
        // A list of artifacts: what it names is reachable too.
        let mut todo = vec![(artifact.entry.clone(), 0)];
        while let Some((entry, depth)) = todo.pop() {
            let d = &entry.descriptor;
            let before = self.targets.len();
            let path = match &artifact.path {
                Some(place) if depth == 0 => place.image_index(),
                _ => d.digest.blob_path(),
            };
            self.target(d, Role::Document, path.clone());
            let is_new = self.targets.len() > before;
            match catalog.form(d).unwrap_or(Form::Manifest) {
                Form::Index if is_new && depth < MAX_DEPTH => match catalog.index(d) {
                    Err(e) => self.document(path, &e),
                    Ok(index) => todo.extend(index.entries.into_iter().filter_map(|e| {
                        let entry = Entry { raw: e.raw, descriptor: e.descriptor.ok()? };
                        Some((Arc::new(entry), depth + 1))
                    })),
                },
                Form::Manifest if is_new => {
                    let manifest = catalog.manifest(d).map(Arc::new);
                    self.manifest(&ArtifactReport::new(catalog, Vec::new(), None, entry.clone(), manifest));
                }
                _ => {}
            }
        }
    }

    /// Adds a manifest that is no image, with what it names. Without a directory of its own it stands in `blobs/`.
    fn manifest(&mut self, artifact: &ArtifactReport) {
        let place = |digest: &Digest, file: &dyn Fn(&Place) -> String| {
            artifact.path.as_ref().map_or_else(|| digest.blob_path(), file)
        };
        let d = &artifact.entry.descriptor;
        if artifact.form != Form::Manifest {
            self.target(d, Role::Other, place(&d.digest, &Place::blob));
            return;
        }
        let path = place(&d.digest, &Place::manifest);
        let manifest = self.target(d, Role::Document, path.clone());
        let mut unit = Unit { rootfs: None, image: None, manifest, config: None, layers: Vec::new() };
        match &artifact.manifest {
            Err(e) => self.document(path, e),
            Ok(manifest) => {
                match &manifest.config {
                    Some(Ok(config)) => {
                        let place = place(&config.digest, &Place::config);
                        unit.config = Some(self.target(config, Role::Document, place));
                    }
                    Some(Err(e)) => self.bad(path.clone(), e),
                    None => {}
                }
                for (n, layer) in manifest.layers.iter().enumerate() {
                    match layer {
                        Err(e) => self.bad(path.clone(), e),
                        Ok(layer) => {
                            let place = place(&layer.digest, &|place| place.layer(n));
                            let target = self.target(layer, Role::Other, place);
                            unit.layers.push((target, may_be_elsewhere(layer)));
                        }
                    }
                }
            }
        }
        self.units.push(unit);
    }

    /// Adds a blob, or a further place of one.
    fn target(&mut self, descriptor: &Descriptor, role: Role, place: String) -> usize {
        let key = (descriptor.digest.clone(), descriptor.size);
        let targets = &mut self.targets;
        let n = *self.known.entry(key).or_insert_with(|| {
            let (places, diff_ids) = (Vec::new(), Vec::new());
            targets.push(Target { descriptor: descriptor.clone(), role, places, diff_ids });
            targets.len() - 1
        });
        let target = &mut self.targets[n];
        if role == Role::Layer {
            target.role = role;
        }
        match (&target.descriptor.data, &descriptor.data) {
            // One of two descriptors may contradict itself, and then that is what is to be told; or it alone may hold
            // what the source does not.
            (_, Data::Wrong(_)) | (Data::Absent, Data::Content(_)) => {
                target.descriptor.data = descriptor.data.clone();
            }
            _ => {}
        }
        if target.places.len() < MAX_PLACES && !target.places.contains(&place) {
            target.places.push(place);
        }
        n
    }

    fn bad(&mut self, path: String, error: &DescriptorError) {
        self.faults.push(Fault { path, verdict: Verdict::Damaged(error.to_string()) });
    }

    /// Takes what is wrong with a document. Where it is a blob's bytes, checking the blob tells.
    fn document(&mut self, path: String, error: &ImageError) {
        match error {
            ImageError::Blob(_) | ImageError::Descriptor(_) => {}
            ImageError::Document { .. } | ImageError::NoConfig(_) | ImageError::Source(_) => {
                self.faults.push(Fault { path, verdict: Verdict::of_document(error) });
            }
        }
    }
}

/// Adds what a layer's contents must hash to. Of two by one algorithm, one is wrong, whatever all others are.
fn claim(diff_ids: &mut Vec<Digest>, diff_id: &Digest) {
    let of_its_algorithm = diff_ids.iter().filter(|d| d.algorithm() == diff_id.algorithm());
    if of_its_algorithm.count() < 2 && !diff_ids.contains(diff_id) {
        diff_ids.push(diff_id.clone());
    }
}

/// Layers that may not be handed on lie at a URL of their own, and are left out on purpose (layer.md).
fn may_be_elsewhere(descriptor: &Descriptor) -> bool {
    descriptor.media_type.contains(".nondistributable.") || descriptor.media_type.contains(".foreign.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_that_differ_about_a_layer_in_millions() {
        let digest = |algorithm: &str, n: usize, digits: usize| {
            Digest::parse(&format!("{algorithm}:{n:0digits$x}")).unwrap()
        };
        let mut diff_ids = Vec::new();
        for n in 0..1_000_000 {
            claim(&mut diff_ids, &digest("sha256", n / 2, 64));
        }
        claim(&mut diff_ids, &digest("sha512", 0, 128));
        let expected = [digest("sha256", 0, 64), digest("sha256", 1, 64), digest("sha512", 0, 128)];
        assert_eq!(diff_ids, expected);
    }
}
