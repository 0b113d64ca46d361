//! What a source holds as a whole, and whether it is right: for those who ask without mounting.
//!
//! A [`Survey`] reads documents only. A [`Checklist`] is made of one: every blob that can be reached, each once, and where
//! in the mount it stands. [`check()`] reads all of them.

mod check;
mod checklist;
mod hits;
mod lint;
mod progress;
mod referrers;
mod rootfs;
mod verdict;

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;

use crate::image::{Catalog, Class, Entry, Form, ImageError, PlatformImage, Told, objections};
use crate::layer::LayerStore;
use crate::oci::{Descriptor, DescriptorError, Digest, ImageConfig, Manifest, MediaType, Platform};
use crate::problems::Problem;
use crate::side_by_side::side_by_side;
use crate::view::{Paths, Place};

pub use check::{Checked, Outcome, check};
pub use checklist::{Checklist, Fault, Role, Target};
pub use hits::{Hit, HitFiles};
pub use progress::Progress;
pub use referrers::{How, ReferrerReport};
pub use verdict::Verdict;

/// Documents asked for at once of a source that is far away.
const AT_ONCE: usize = 8;

/// Most lines about what one configuration says of the layers. It may have tens of thousands of bad diff_ids, and many
/// platforms may have it.
const MAX_REFUSALS: usize = 100;

/// What a source holds.
#[derive(Debug, Default)]
pub struct Survey {
    /// How many entries index.json has.
    pub entries: usize,
    /// The images, in the order of index.json.
    pub images: Vec<ImageReport>,
    /// Manifests that are no images, whatever lists them.
    pub artifacts: Vec<ArtifactReport>,
}

/// One image, under all its names.
#[derive(Debug)]
pub struct ImageReport {
    /// Its number among the catalog's groups.
    pub(crate) group: usize,
    /// Its names; none where it has none.
    pub names: Vec<String>,
    /// Its directory in the mount.
    pub path: Place,
    /// The entries of index.json that it is.
    pub entries: Vec<Arc<Entry>>,
    /// The index it is, where it is one.
    pub index: Option<Arc<Entry>>,
    /// Every index below it, that one included.
    pub indexes: Vec<Arc<Entry>>,
    /// Why its platforms are not known, and where in the mount that shows.
    pub failure: Option<(String, ImageError)>,
    /// Its platforms; those asked for.
    pub platforms: Vec<PlatformReport>,
    /// What speaks of the image as a whole.
    pub referrers: Vec<ReferrerReport>,
    /// The manifests of its attestations.
    pub attestations: Vec<ArtifactReport>,
}

/// One platform of an image.
#[derive(Debug)]
pub struct PlatformReport {
    /// Its directory in the mount.
    pub path: Place,
    /// What the entry says, or else the configuration.
    pub platform: Platform,
    /// What led here.
    pub entry: Arc<Entry>,
    /// Its manifest.
    pub manifest: Result<Arc<Manifest>, ImageError>,
    /// Its configuration.
    pub config: Result<Arc<ImageConfig>, ImageError>,
    /// Its layers, base first.
    pub layers: Arc<[LayerReport]>,
    /// What speaks of it.
    pub referrers: Vec<ReferrerReport>,
}

/// One layer.
#[derive(Debug)]
pub struct LayerReport {
    /// What the manifest says.
    pub descriptor: Result<Descriptor, DescriptorError>,
    /// What the configuration says its contents hash to.
    pub diff_id: Option<Digest>,
    /// Bytes of its contents, where the cache knows.
    pub unpacked: Option<u64>,
    /// Whether the source holds it, where that is known without asking a network.
    pub held: Option<bool>,
}

/// A manifest that is no image.
#[derive(Debug)]
pub struct ArtifactReport {
    /// Its names.
    pub names: Vec<String>,
    /// Its directory in the mount, where it has one.
    pub path: Option<Place>,
    /// What led here.
    pub entry: Arc<Entry>,
    /// What that leads to. It need not be a manifest.
    pub form: Form,
    /// Its manifest; an error where it is none, or cannot be had.
    pub manifest: Result<Arc<Manifest>, ImageError>,
}

impl PlatformReport {
    /// Returns the digest of the configuration: the ImageID.
    pub fn image_id(&self) -> Option<&Digest> {
        match &self.manifest.as_ref().ok()?.config {
            Some(Ok(config)) => Some(&config.digest),
            _ => None,
        }
    }
}

impl ArtifactReport {
    fn new(
        catalog: &Catalog,
        names: Vec<String>,
        path: Option<Place>,
        entry: Arc<Entry>,
        manifest: Result<Arc<Manifest>, ImageError>,
    ) -> Self {
        // Where that cannot be told, its manifest cannot be had either.
        let form = catalog.form(&entry.descriptor).unwrap_or(Form::Manifest);
        Self { names, path, entry, form, manifest }
    }

    /// Returns what kind of thing it is: its artifact type, or that of its configuration.
    pub fn kind(&self) -> &str {
        let own = &self.entry.descriptor;
        if !own.artifact_type.is_empty() {
            return &own.artifact_type;
        }
        let Ok(manifest) = &self.manifest else { return &own.media_type };
        Some(manifest.kind()).filter(|kind| !kind.is_empty()).unwrap_or(&own.media_type)
    }
}

impl Survey {
    /// Reads the documents of everything in `catalog`, or of one group of it, or of one platform. What is wrong goes to
    /// the catalog's problems; no layer is read.
    pub fn new(
        catalog: &Catalog,
        layers: &LayerStore,
        image: Option<usize>,
        only: Option<&Platform>,
    ) -> Self {
        let root =
            image.or_else(|| catalog.sole_image().ok()?).map(|n| catalog.groups()[n].same_as.unwrap_or(n));
        let mut names: HashMap<usize, Vec<String>> = HashMap::new();
        for (n, group) in catalog.groups().iter().enumerate() {
            names.entry(group.same_as.unwrap_or(n)).or_default().extend(group.name.clone());
        }
        let (paths, manifests, contents) = (Paths::new(catalog, root), Told::default(), Told::default());
        let surveyor = Surveyor { catalog, layers, only, names, paths, manifests, contents };
        let mut survey = Self::default();
        let mut entries: HashSet<&Digest> = HashSet::new();
        for n in 0..catalog.groups().len() {
            let group = &catalog.groups()[n];
            let wanted = image.is_none_or(|_| root == Some(n));
            if group.same_as.is_some() || !wanted {
                continue;
            }
            entries.extend(group.entries.iter().map(|entry| &entry.descriptor.digest));
            match catalog.assumed_class(n) {
                Class::Image => survey.images.push(surveyor.image(n)),
                Class::Artifact => survey.artifacts.extend(surveyor.artifacts(n)),
                // A statement that stands alone is in no directory of the mount.
                Class::Attestation => survey.artifacts.extend(surveyor.attestations(n)),
            }
        }
        survey.entries = entries.len();
        let mut shown: HashSet<Digest> =
            survey.artifacts.iter().map(|a| a.entry.descriptor.digest.clone()).collect();
        for image in &survey.images {
            // What an image's own indexes list beside its platforms.
            for entry in catalog.image(image.group).iter().flat_map(|image| &image.artifacts) {
                let digest = &entry.descriptor.digest;
                if shown.insert(digest.clone()) {
                    let path = Some(surveyor.paths.unnamed_artifact(digest));
                    survey.artifacts.push(surveyor.artifact(Vec::new(), path, entry));
                }
            }
        }
        surveyor.attach(&mut survey);
        survey
    }
}

struct Surveyor<'a> {
    catalog: &'a Catalog,
    layers: &'a LayerStore,
    only: Option<&'a Platform>,
    /// The names of each group that is not a further name of another.
    names: HashMap<usize, Vec<String>>,
    paths: Paths<'a>,
    /// Held once, however often an index lists them; a failure counts for the whole survey.
    manifests: Told<Result<Arc<Manifest>, ImageError>>,
    contents: Told<Contents>,
}

/// What the manifest of a platform leads to.
#[derive(Clone)]
struct Contents {
    config: Result<Arc<ImageConfig>, ImageError>,
    layers: Arc<[LayerReport]>,
}

impl Surveyor<'_> {
    fn names(&self, n: usize) -> Vec<String> {
        self.names.get(&n).cloned().unwrap_or_default()
    }

    fn image(&self, n: usize) -> ImageReport {
        let group = &self.catalog.groups()[n];
        let mut image = ImageReport {
            group: n,
            names: self.names(n),
            path: self.paths.image(n),
            entries: group.entries.clone(),
            index: None,
            indexes: Vec::new(),
            failure: None,
            platforms: Vec::new(),
            referrers: Vec::new(),
            attestations: Vec::new(),
        };
        let found = match self.catalog.image(n) {
            Ok(found) => found,
            Err(e) => {
                let path = self.paths.failure(n);
                self.problem(path.clone(), &e);
                image.index = group.index().cloned();
                image.indexes.extend(image.index.clone());
                image.failure = Some((path, e));
                return image;
            }
        };
        image.index = found.index.clone();
        image.indexes = found.indexes.clone();
        let named = image.path.platforms(&found, self.only);
        if self.catalog.store().is_remote() {
            let entries: Vec<_> = named.iter().map(|(_, p)| &p.entry).chain(&found.attestations).collect();
            self.fetch(&entries);
        }
        image.platforms = named.into_iter().map(|(path, p)| self.platform(path, &p)).collect();
        image.attestations =
            found.attestations.iter().map(|entry| self.artifact(Vec::new(), None, entry)).collect();
        image
    }

    /// Asks for several documents at once: each answer takes a while, and then they are here.
    fn fetch(&self, entries: &[&Arc<Entry>]) {
        side_by_side(entries, AT_ONCE, |entry| {
            // What fails here fails again where it is asked for, and is told there.
            if let Ok(manifest) = self.catalog.manifest(&entry.descriptor)
                && is_image_config(&manifest)
            {
                let _ = self.catalog.config(&entry.descriptor, &manifest);
            }
        });
    }

    /// Puts what speaks of an image or platform beside it.
    fn attach(&self, survey: &mut Survey) {
        for image in &mut survey.images {
            let attestations: Vec<_> = image.attestations.iter().map(|a| a.entry.clone()).collect();
            let about = Catalog::by_reference(&attestations);
            let own = |digest: &Digest| about.get(digest).map_or(&[][..], Vec::as_slice);
            let of = |digest: &Digest| referrers::of(self.catalog, digest, own(digest));
            let platforms = image.platforms.iter().map(|p| &p.entry.descriptor.digest);
            let subjects: Vec<&Digest> =
                platforms.chain(image.indexes.iter().map(|e| &e.descriptor.digest)).collect();
            if self.catalog.store().is_remote() {
                side_by_side(&subjects, AT_ONCE, |digest| drop(of(digest)));
            }
            image.referrers = image.indexes.iter().flat_map(|e| of(&e.descriptor.digest)).collect();
            for platform in &mut image.platforms {
                platform.referrers = of(&platform.entry.descriptor.digest);
            }
        }
    }

    fn platform(&self, path: Place, image: &PlatformImage) -> PlatformReport {
        let entry = image.entry.clone();
        let manifest = self.manifest(&entry.descriptor);
        let d = &entry.descriptor;
        let Ok(Contents { config, layers }) =
            self.contents.get_or_ask(d, || Ok::<_, Infallible>(self.contents(d, &manifest)));
        match (&manifest, &config) {
            (Err(e), _) => self.problem(path.manifest(), e),
            (Ok(_), Err(e)) => self.problem(path.config(), e),
            _ => {}
        }
        for (n, layer) in layers.iter().enumerate() {
            if let Err(e) = &layer.descriptor {
                self.problem(path.layer(n), e);
            }
        }
        let report = PlatformReport {
            path,
            platform: image.platform.clone(),
            entry,
            manifest,
            config,
            layers,
            referrers: Vec::new(),
        };
        for (path, what) in contradictions(&report) {
            self.problem(path, &what);
        }
        report
    }

    fn manifest(&self, d: &Descriptor) -> Result<Arc<Manifest>, ImageError> {
        let Ok(manifest) =
            self.manifests.get_or_ask(d, || Ok::<_, Infallible>(self.catalog.manifest(d).map(Arc::new)));
        manifest
    }

    fn contents(&self, d: &Descriptor, manifest: &Result<Arc<Manifest>, ImageError>) -> Contents {
        let config = match manifest {
            Ok(manifest) => self.catalog.config(d, manifest).map(Arc::new),
            Err(e) => Err(e.clone()),
        };
        let diff_id = |n: usize| config.as_ref().ok().and_then(|c| c.diff_ids.get(n)?.clone().ok());
        let descriptors = manifest.iter().flat_map(|m| &m.layers).enumerate();
        let layers = descriptors.map(|(n, descriptor)| self.layer(descriptor, diff_id(n))).collect();
        Contents { config, layers }
    }

    fn layer(
        &self,
        descriptor: &Result<Descriptor, DescriptorError>,
        diff_id: Option<Digest>,
    ) -> LayerReport {
        let store = self.catalog.store();
        let known = |d: &Descriptor| match d.kind() {
            MediaType::Layer(_) => self.layers.known(d).map(|index| index.stream.stream_len),
            _ => None,
        };
        let held = |d: &Descriptor| match store.is_remote() {
            true => None,
            false => Some(store.held_at_once().contains_key(&d.digest)),
        };
        LayerReport {
            unpacked: descriptor.as_ref().ok().and_then(known),
            held: descriptor.as_ref().ok().and_then(held),
            descriptor: descriptor.clone(),
            diff_id,
        }
    }

    /// Returns the artifacts that a group is.
    fn artifacts(&self, n: usize) -> Vec<ArtifactReport> {
        let entries = self.catalog.groups()[n].entries.iter();
        let one = |(entry, path)| self.artifact(self.names(n), Some(path), entry);
        entries.zip(self.paths.artifacts(n)).map(one).collect()
    }

    /// Returns the statements about other manifests that a group is.
    fn attestations(&self, n: usize) -> Vec<ArtifactReport> {
        let one = |entry: &Arc<Entry>| self.artifact(self.names(n), None, entry);
        self.catalog.groups()[n].entries.iter().map(one).collect()
    }

    fn artifact(&self, names: Vec<String>, path: Option<Place>, entry: &Arc<Entry>) -> ArtifactReport {
        let manifest = self.manifest(&entry.descriptor);
        let artifact = ArtifactReport::new(self.catalog, names, path, entry.clone(), manifest);
        if let (Err(e), Form::Manifest) = (&artifact.manifest, artifact.form) {
            let blob = || entry.descriptor.digest.blob_path();
            self.problem(artifact.path.as_ref().map_or_else(blob, Place::manifest), e);
        }
        artifact
    }

    fn problem(&self, path: String, what: &dyn std::fmt::Display) {
        self.catalog.problems().add(&Problem::new(path, what));
    }
}

fn is_image_config(manifest: &Manifest) -> bool {
    matches!(&manifest.config, Some(Ok(config)) if config.kind() == MediaType::Config)
}

/// Returns what entry, manifest and configuration of a platform say differently, and at which file.
fn contradictions(report: &PlatformReport) -> Vec<(String, String)> {
    let (Ok(manifest), Ok(config)) = (&report.manifest, &report.config) else { return Vec::new() };
    let mut found = Vec::new();
    found.extend(report.entry.contradiction(config).map(|what| (report.path.descriptor(), what)));
    found.extend(refusals(manifest, config).into_iter().map(|what| (report.path.rootfs(), what)));
    found
}

/// Returns why the configuration does not vouch for the layers.
fn refusals(manifest: &Manifest, config: &ImageConfig) -> Vec<String> {
    let mut all = objections(manifest, config);
    let mut told: Vec<String> = all.by_ref().take(MAX_REFUSALS).map(|o| o.to_string()).collect();
    match all.count() {
        0 => {}
        more => told.push(format!("{more} more of the kind")),
    }
    told
}

#[cfg(test)]
mod tests {
    pub(super) mod kit;

    use super::*;
    use crate::blob::BlobStore;
    use crate::oci::{Algorithm, Hasher};
    use crate::problems::Problems;
    use crate::read_at::ReadAt;
    use crate::source::SourceError;
    use kit::Fake;

    /// Each platform held the manifest, the configuration and the layers as a copy of its own.
    #[test]
    fn a_manifest_listed_as_many_platforms_is_held_once() {
        let mut blobs = HashMap::new();
        let mut put = |media_type: &str, content: String| {
            let mut hasher = Hasher::new(Algorithm::Sha256).unwrap();
            hasher.update(content.as_bytes());
            let (digest, size) = (hasher.finish(), content.len());
            blobs.insert(digest.clone(), content);
            format!(
                r#""mediaType":"application/vnd.oci.image.{media_type}.v1+json","digest":"{digest}","size":{size}"#
            )
        };
        let config = put("config", r#"{"rootfs":{"type":"layers","diff_ids":[]}}"#.to_owned());
        let manifest = put("manifest", format!(r#"{{"config":{{{config}}},"layers":[]}}"#));
        let entry = |n: usize| {
            format!(r#"{{{manifest},"platform":{{"os":"linux","architecture":"amd64","variant":"v{n}"}}}}"#)
        };
        let entries: Vec<String> = (0..100).map(entry).collect();
        let nested = put("index", format!(r#"{{"manifests":[{}]}}"#, entries.join(",")));
        let open = move |d: &Descriptor| {
            let content = blobs.get(&d.digest).ok_or(SourceError::Absent)?;
            Ok(Box::new(content.clone().into_bytes()) as Box<dyn ReadAt>)
        };
        let source = Fake(format!(r#"{{"manifests":[{{{nested}}}]}}"#), open);
        let store = Arc::new(BlobStore::new(Box::new(source)));
        let catalog = Catalog::read(store.clone(), Arc::new(Problems::default())).unwrap();
        let survey = Survey::new(&catalog, &LayerStore::new(store, None), None, None);
        let platforms = &survey.images[0].platforms;
        let [first, others @ ..] = &platforms[..] else { panic!("no platforms") };
        assert_eq!(others.len(), 99);
        for other in others {
            assert!(Arc::ptr_eq(first.manifest.as_ref().unwrap(), other.manifest.as_ref().unwrap()));
            assert!(Arc::ptr_eq(first.config.as_ref().unwrap(), other.config.as_ref().unwrap()));
            assert!(Arc::ptr_eq(&first.layers, &other.layers));
        }
    }

    /// Each was a line of its own, tens of thousands for every platform that has the configuration.
    #[test]
    fn very_many_bad_diff_ids_are_counted() {
        let manifest = Manifest::parse(br#"{"layers":[]}"#).unwrap();
        let bad = vec![r#""x""#; MAX_REFUSALS + 10].join(",");
        let config = format!(r#"{{"rootfs":{{"type":"layers","diff_ids":[{bad}]}}}}"#);
        let told = refusals(&manifest, &ImageConfig::parse(config.as_bytes()).unwrap());
        assert_eq!((told.len(), told.last().unwrap().as_str()), (MAX_REFUSALS + 1, "11 more of the kind"));
    }
}
