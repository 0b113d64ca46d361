//! The directories of the mount: one function each, wherever such a directory stands.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::blobs::BlobTable;
use super::error::Error;
use super::files::MAX_LAYERS;
use super::graft::Graft;
use super::skeleton::{Content, Skeleton};
use super::stack::Stack;
use super::{ViewOptions, names};
use crate::blob::BlobError;
use crate::image::{Catalog, Class, Entry, Form, Image, ImageError, PlatformImage};
use crate::oci::{
    ANNOTATION_TITLE, Annotations, Data, Descriptor, DescriptorError, Digest, Manifest, Platform, pretty,
};
use crate::problems::Problem;

/// What directories are made from.
pub(super) struct Plan<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) blobs: &'a BlobTable,
    pub(super) options: &'a ViewOptions,
    /// The group whose image the root is; an error where that could not be told when the root was first looked into.
    pub(super) root: &'a Result<Option<usize>, ImageError>,
    /// Where the directory being made stands, for messages: empty, or ending in a slash.
    pub(super) path: String,
}

pub(super) type Built = Result<Skeleton, Error>;

impl Plan<'_> {
    /// Makes the directory that grows at `graft`.
    pub(super) fn build(&self, graft: &Graft) -> Built {
        match graft {
            Graft::Root => self.root(),
            Graft::Blobs => self.blobs(),
            Graft::Images => Ok(self.images()),
            Graft::Artifacts => Ok(self.artifacts()),
            Graft::Beside(n) => {
                let (mut tree, mut shown) = (Skeleton::new(), HashSet::new());
                for entry in &self.catalog.image(*n)?.artifacts {
                    if shown.insert(&entry.descriptor.digest) {
                        tree.graft(
                            0,
                            &names::entry(&entry.descriptor.digest),
                            Graft::Artifact(entry.clone()),
                        );
                    }
                }
                Ok(tree.finish())
            }
            Graft::Image(n) => {
                let mut tree = Skeleton::new();
                self.image(&mut tree, *n);
                Ok(tree.finish())
            }
            Graft::Platforms(n) => {
                let mut tree = Skeleton::new();
                match n.map_or_else(|| self.catalog.sole_image(), |n| Ok(Some(n)))? {
                    Some(n) => self.platforms(&mut tree, 0, &*self.catalog.image(n)?),
                    None => self.problem("", &"there is not one image, but several or none: see images/"),
                }
                Ok(tree.finish())
            }
            Graft::Platform(image) => self.unless_passing(self.platform(image)),
            Graft::Pretty(entry) => self.unless_passing(self.pretty(entry)),
            Graft::Artifact(entry) => {
                let mut tree = self.artifact(entry)?;
                if self.catalog.form(&entry.descriptor)? != Form::Other {
                    tree.graft(0, names::REFERRERS, Graft::Referrers(entry.clone()));
                }
                Ok(tree.finish())
            }
            Graft::Attestations(image) => self.attestations(image),
            Graft::Referrers(subject) => self.referrers(subject),
            Graft::Referrer(referrer) => self.referrer(referrer),
            Graft::Failed(why) => Err((**why).clone()),
            // Files grow elsewhere.
            Graft::Diff(..) | Graft::Rootfs(_) | Graft::At(..) | Graft::Deleted(..) => Ok(Skeleton::new()),
        }
    }

    /// Refuses a tree in which something failed that may go better the next time: trees are kept for good.
    pub(super) fn unless_passing(&self, tree: Skeleton) -> Built {
        let why = tree.failures().find(|why| why.may_pass(self.catalog.store())).cloned();
        why.map_or(Ok(tree), Err)
    }

    fn root(&self) -> Built {
        let store = self.catalog.store();
        let mut tree = Skeleton::new();
        match store.oci_layout() {
            Ok(bytes) => tree.text(0, names::OCI_LAYOUT, bytes),
            // Some producers forget it; the mount is to be a valid layout all the same.
            Err(e) => {
                self.catalog.problems().add(&Problem::new(names::OCI_LAYOUT, format!("{e}; made up")));
                tree.text(0, names::OCI_LAYOUT, *b"{\"imageLayoutVersion\":\"1.0.0\"}");
            }
        }
        tree.file(0, names::INDEX, Content::Text(store.index()?));
        tree.graft(0, names::BLOBS, Graft::Blobs);
        tree.graft(0, names::IMAGES, Graft::Images);
        tree.graft(0, names::ARTIFACTS, Graft::Artifacts);
        match self.root {
            Ok(Some(n)) => self.image(&mut tree, *n),
            Ok(None) => {}
            // Everything else is there all the same, and who looks into this asks again.
            Err(e) => {
                self.problem(names::PLATFORMS, e);
                tree.graft(0, names::PLATFORMS, Graft::Platforms(None));
            }
        }
        let hidden = tree.directory(0, names::HIDDEN);
        tree.hide(hidden);
        tree.file(hidden, names::PROBLEMS, Content::Problems);
        tree.file(hidden, names::STATS, Content::Stats);
        Ok(tree.finish())
    }

    fn blobs(&self) -> Built {
        let held = self.catalog.store().held()?;
        let mut tree = Skeleton::new();
        let mut algorithms = HashMap::new();
        for (digest, size) in held.iter() {
            let name = digest.algorithm_name();
            let directory = *algorithms.entry(name).or_insert_with(|| tree.directory(0, name));
            let id = self.blobs.intern(&bare(digest, *size), || format!("blobs/{name}/{}", digest.encoded()));
            tree.file(directory, digest.encoded(), Content::Blob(id));
        }
        Ok(tree.finish())
    }

    /// Makes `images/`: every group, shown where it turns out to be an image. Reads no document.
    fn images(&self) -> Skeleton {
        let (mut tree, mut forest) = (Skeleton::of_groups(), Forest::default());
        let groups = self.catalog.groups();
        let paths = names::ImagePaths::of_groups(groups);
        let path = |n: usize| paths.group(&groups[n]);
        for (n, group) in groups.iter().enumerate() {
            let path_here = path(n);
            let (directory, name) = forest.place(&mut tree, 0, &path_here);
            let first = group.same_as.unwrap_or(n);
            let up = |levels: usize| vec![".."; levels].join("/");
            if matches!(self.root, Ok(Some(n)) if *n == first) {
                tree.symlink(directory, &name, &up(path_here.len()));
            } else if first != n {
                let (up, first) = (up(path_here.len() - 1), path(first).join("/"));
                let target = if up.is_empty() { first } else { format!("{up}/{first}") };
                tree.symlink(directory, &name, &target);
            } else {
                tree.graft(directory, &name, Graft::Image(n));
            }
            tree.only_when(first, Class::Image);
        }
        tree.finish()
    }

    /// Makes `artifacts/`: every group, shown where it turns out to be one, and what images list beside platforms.
    fn artifacts(&self) -> Skeleton {
        let (mut tree, mut forest) = (Skeleton::of_groups(), Forest::default());
        let mut shown: HashSet<Digest> = HashSet::new();
        let mut unnamed: Vec<Arc<Entry>> = Vec::new();
        let groups = self.catalog.groups();
        let paths = names::ImagePaths::of_groups(groups);
        for (n, group) in groups.iter().enumerate() {
            let entries = &group.entries;
            let path = paths.group(group);
            let (directory, name) = forest.place(&mut tree, 0, &path);
            let first = group.same_as.unwrap_or(n);
            let image = (first == n && group.may_list()).then(|| self.catalog.lasting(self.catalog.image(n)));
            shown.extend(entries.iter().map(|e| e.descriptor.digest.clone()));
            if let Some(Err(e)) = &image {
                // What it lists has its place there, and can be read another time; the others have theirs now.
                self.problem(&path.join("/"), e);
                tree.graft(directory, &name, Graft::Beside(n));
                continue;
            }
            match &entries[..] {
                [only] => {
                    tree.graft(directory, &name, Graft::Artifact(only.clone()));
                    tree.only_when(first, Class::Artifact);
                }
                several => {
                    let directory = tree.directory(directory, &name);
                    for entry in several {
                        let name = names::entry(&entry.descriptor.digest);
                        tree.graft(directory, &name, Graft::Artifact(entry.clone()));
                        tree.only_when(first, Class::Artifact);
                    }
                }
            }
            if let Some(Ok(Some(image))) = image {
                unnamed.extend(image.artifacts.iter().cloned());
            }
        }
        // What images' own indexes list beside their platforms has no name of its own.
        for entry in unnamed {
            let digest = &entry.descriptor.digest;
            if shown.insert(digest.clone()) {
                let (directory, name) = forest.place(&mut tree, 0, &paths.path(None, digest));
                tree.graft(directory, &name, Graft::Artifact(entry));
            }
        }
        tree.finish()
    }

    /// Adds what an image directory shows to the root of `tree`.
    fn image(&self, tree: &mut Skeleton, n: usize) {
        let group = &self.catalog.groups()[n];
        let image = match self.catalog.image(n) {
            Ok(image) => image,
            Err(e) => {
                match group.index() {
                    Some(index) => {
                        self.image_index(tree, index);
                        self.problem(names::IMAGE_INDEX, &e);
                    }
                    None => self.problem(names::PLATFORMS, &e),
                }
                match e {
                    // Missing is not wrong: the index stays visible, and reading it says why there are no platforms.
                    ImageError::Blob(BlobError::Absent { .. }) => drop(tree.directory(0, names::PLATFORMS)),
                    // The directory around may be the root of the mount, where people look for what is wrong.
                    e if self.catalog.may_pass(&e) => {
                        tree.graft(0, names::PLATFORMS, Graft::Platforms(Some(n)))
                    }
                    e => tree.graft(0, names::PLATFORMS, Graft::Failed(Box::new(e.into()))),
                }
                return;
            }
        };
        if let Some(index) = &image.index {
            self.image_index(tree, index);
        }
        let directory = tree.directory(0, names::PLATFORMS);
        self.platforms(tree, directory, &image);
    }

    /// Adds the index that an image is, and what speaks of it.
    fn image_index(&self, tree: &mut Skeleton, index: &Arc<Entry>) {
        tree.file(0, names::IMAGE_INDEX, self.blob(&index.descriptor, names::IMAGE_INDEX));
        tree.graft(0, names::REFERRERS, Graft::Referrers(index.clone()));
    }

    /// Adds the platforms of an image to a directory.
    fn platforms(&self, tree: &mut Skeleton, directory: u32, image: &Image) {
        for (name, platform) in named_platforms(&image.platforms, self.options.platform.as_ref()) {
            tree.graft(directory, &name, Graft::Platform(platform));
        }
    }

    fn platform(&self, image: &Arc<PlatformImage>) -> Skeleton {
        let entry = &image.entry;
        let mut tree = Skeleton::new();
        let manifest = self.head(&mut tree, entry);
        self.config(&mut tree, &entry.descriptor, &manifest);
        match manifest {
            Ok(manifest) => {
                self.layers(&mut tree, &manifest);
                let stack = Arc::new(Stack::new(entry, manifest, &self.path));
                self.contents(&mut tree, &stack);
                tree.file(0, names::HISTORY, Content::History(stack));
            }
            Err(e) => {
                self.no_contents(&mut tree, &e.clone().into());
                tree.graft(0, names::LAYERS, Graft::Failed(Box::new(e.clone().into())));
                tree.file(0, names::HISTORY, Content::Failed(Box::new(e.into()), 1));
            }
        }
        tree.graft(0, names::PRETTY, Graft::Pretty(entry.clone()));
        tree.graft(0, names::ATTESTATIONS, Graft::Attestations(image.clone()));
        tree.graft(0, names::REFERRERS, Graft::Referrers(entry.clone()));
        tree.finish()
    }

    /// Makes what `artifacts/<name>/` and `referrers/<name>/` have in common.
    pub(super) fn artifact(&self, entry: &Arc<Entry>) -> Built {
        let mut tree = Skeleton::new();
        match self.catalog.form(&entry.descriptor)? {
            Form::Manifest => self.manifest(&mut tree, entry),
            // A list of artifacts, such as the fallback tag of referrers.
            Form::Index => {
                self.descriptor(&mut tree, entry);
                tree.file(0, names::IMAGE_INDEX, self.blob(&entry.descriptor, names::IMAGE_INDEX));
            }
            // A type we know nothing of is no error (rule 16): its bytes are shown, and nothing is read into them.
            Form::Other => {
                self.descriptor(&mut tree, entry);
                tree.file(0, names::BLOB, self.blob(&entry.descriptor, names::BLOB));
            }
        }
        self.unless_passing(tree.finish())
    }

    /// Adds what a manifest that is no image names.
    fn manifest(&self, tree: &mut Skeleton, entry: &Entry) {
        let manifest = self.head(tree, entry);
        if let Ok(Manifest { config: Some(config), .. }) = &manifest {
            tree.file(0, names::CONFIG, self.described(config, names::CONFIG));
        }
        match &manifest {
            Ok(manifest) => {
                self.layers(tree, manifest);
                self.files(tree, manifest);
            }
            Err(e) => tree.graft(0, names::LAYERS, Graft::Failed(Box::new(e.clone().into()))),
        }
    }

    /// Adds manifest.json, descriptor.json and digest, and returns the manifest.
    fn head(&self, tree: &mut Skeleton, entry: &Entry) -> Result<Manifest, ImageError> {
        self.descriptor(tree, entry);
        tree.file(0, names::MANIFEST, self.blob(&entry.descriptor, names::MANIFEST));
        let manifest = self.catalog.manifest(&entry.descriptor);
        if let Err(e) = &manifest {
            self.problem(names::MANIFEST, e);
        }
        manifest
    }

    fn descriptor(&self, tree: &mut Skeleton, entry: &Entry) {
        tree.text(0, names::DESCRIPTOR, format!("{}\n", entry.raw));
        tree.text(0, names::DIGEST, format!("{}\n", entry.descriptor.digest));
    }

    /// Adds config.json and image-id, for which nothing is read.
    fn config(&self, tree: &mut Skeleton, of: &Descriptor, manifest: &Result<Manifest, ImageError>) {
        let described = match manifest {
            Ok(Manifest { config: Some(described), .. }) => described.clone().map_err(ImageError::from),
            Ok(_) => Err(ImageError::NoConfig(of.digest.clone())),
            Err(e) => Err(e.clone()),
        };
        match described {
            Ok(descriptor) => {
                tree.file(0, names::CONFIG, self.blob(&descriptor, names::CONFIG));
                tree.text(0, names::IMAGE_ID, format!("{}\n", descriptor.digest));
            }
            Err(e) => {
                for name in [names::CONFIG, names::IMAGE_ID] {
                    tree.file(0, name, Content::Failed(Box::new(e.clone().into()), 1));
                }
            }
        }
    }

    fn layers(&self, tree: &mut Skeleton, manifest: &Manifest) {
        let directory = tree.directory(0, names::LAYERS);
        for (n, layer) in manifest.layers.iter().enumerate() {
            let content = self.described(layer, &format!("{}/{n}", names::LAYERS));
            tree.file(directory, &n.to_string(), content);
        }
    }

    /// Adds `diffs/`, `rootfs`, `at/` and `deleted/`, which grow when somebody looks inside.
    fn contents(&self, tree: &mut Skeleton, stack: &Arc<Stack>) {
        let found = stack.layers().len();
        if found > MAX_LAYERS {
            return self.no_contents(tree, &Error::TooManyLayers { found, limit: MAX_LAYERS });
        }
        let directories = [names::DIFFS, names::AT, names::DELETED].map(|name| tree.directory(0, name));
        let [diffs, at, deleted] = directories;
        for (number, layer) in (0_u32..).zip(stack.layers()) {
            let name = number.to_string();
            let diff = match layer {
                Ok(_) => Graft::Diff(number, stack.clone()),
                Err(e) => Graft::Failed(Box::new(e.clone().into())),
            };
            tree.graft(diffs, &name, diff);
            tree.graft(at, &name, Graft::At(number, stack.clone()));
            // Nothing comes after the last layer that could delete from it.
            if !stack.is_whole(number) {
                tree.graft(deleted, &name, Graft::Deleted(number, stack.clone()));
            }
        }
        tree.graft(0, names::ROOTFS, Graft::Rootfs(stack.clone()));
    }

    /// Adds them where they cannot be had.
    fn no_contents(&self, tree: &mut Skeleton, why: &Error) {
        for name in [names::DIFFS, names::ROOTFS, names::AT, names::DELETED] {
            tree.graft(0, name, Graft::Failed(Box::new(why.clone())));
        }
    }

    /// Adds `files/`: an artifact's layers by their titles.
    fn files(&self, tree: &mut Skeleton, manifest: &Manifest) {
        let titled = || {
            let layers = manifest.layers.iter().flatten();
            layers.filter_map(|layer| Some((layer.annotations.get(ANNOTATION_TITLE)?, layer)))
        };
        let paths = names::ImagePaths::new(titled().map(|(title, _)| title));
        let files = tree.directory(0, names::FILES);
        let mut forest = Forest::default();
        // Directories first: a name that is told apart from others must not be one of theirs.
        let mut placed = Vec::new();
        for (title, layer) in titled() {
            let path = paths.path(Some(title), &layer.digest);
            placed.push((forest.place(tree, files, &path), path.join("/"), layer));
        }
        let mut taken: HashSet<(u32, String)> = forest.0.into_keys().collect();
        for ((directory, mut name), path, layer) in placed {
            let is_taken = |name: &str| taken.contains(&(directory, name.to_owned()));
            if is_taken(&name) {
                name = names::with_digest(&name, &layer.digest, is_taken);
            }
            if taken.insert((directory, name.clone())) {
                tree.file(directory, &name, self.blob(layer, &format!("{}/{path}", names::FILES)));
            }
        }
    }

    fn pretty(&self, entry: &Entry) -> Skeleton {
        let mut tree = Skeleton::new();
        let mut add = |name: &str, bytes: Result<Vec<u8>, ImageError>, size: u64| {
            let text = bytes.map_err(Error::from).and_then(|bytes| {
                pretty(&bytes).map_err(|cause| {
                    let digest = entry.descriptor.digest.clone();
                    ImageError::Document { digest, cause }.into()
                })
            });
            match text {
                Ok(text) => tree.text(0, name, text),
                Err(e) => tree.file(0, name, Content::Failed(Box::new(e), size.max(1))),
            }
        };
        add(names::DESCRIPTOR, Ok(entry.raw.as_bytes().to_vec()), 1);
        let store = self.catalog.store();
        let d = &entry.descriptor;
        add(names::MANIFEST, store.document(d).map_err(ImageError::from), d.size);
        match self.catalog.manifest(d).map(|manifest| manifest.config) {
            Ok(Some(Ok(config))) => {
                add(names::CONFIG, store.document(&config).map_err(ImageError::from), config.size);
            }
            Ok(Some(Err(e))) => add(names::CONFIG, Err(e.into()), 1),
            Ok(None) => {}
            Err(e) => add(names::CONFIG, Err(e), 1),
        }
        tree.finish()
    }

    pub(super) fn blob(&self, descriptor: &Descriptor, name: &str) -> Content {
        Content::Blob(self.blobs.intern(descriptor, || format!("{}{name}", self.path)))
    }

    fn described(&self, descriptor: &Result<Descriptor, DescriptorError>, name: &str) -> Content {
        match descriptor {
            Ok(descriptor) => self.blob(descriptor, name),
            Err(e) => {
                self.problem(name, e);
                Content::Failed(Box::new(e.clone().into()), 1)
            }
        }
    }

    /// Notes what is wrong with something in the directory being made, or with the directory where `name` is empty.
    pub(super) fn problem(&self, name: &str, what: &dyn std::fmt::Display) {
        let path = format!("{}{name}", self.path);
        self.catalog.problems().add(&Problem::new(path.trim_end_matches('/'), what));
    }
}

/// Names the platforms of an image. The first of one name keeps it; the same manifest under the same name is one.
pub(super) fn named_platforms(
    platforms: &[PlatformImage],
    only: Option<&Platform>,
) -> Vec<(String, Arc<PlatformImage>)> {
    let mut taken: HashSet<String> = HashSet::new();
    let mut known: HashSet<(String, Digest)> = HashSet::new();
    let mut named = Vec::new();
    let wanted = |p: &&PlatformImage| only.is_none_or(|w| p.platform.matches(w));
    for platform in platforms.iter().filter(wanted) {
        let mut name = names::platform(&platform.platform);
        let digest = &platform.entry.descriptor.digest;
        if !known.insert((name.clone(), digest.clone())) {
            continue;
        }
        if taken.contains(&name) {
            name = names::with_digest(&name, digest, |name| taken.contains(name));
        }
        taken.insert(name.clone());
        named.push((name, Arc::new(platform.clone())));
    }
    named
}

/// A descriptor of a blob of which nothing is known but that it is there.
fn bare(digest: &Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type: String::new(),
        digest: digest.clone(),
        size,
        artifact_type: String::new(),
        annotations: Annotations::default(),
        platform: None,
        data: Data::Absent,
    }
}

/// The directories made on the way to something, found by their names in no time, however many there are.
#[derive(Default)]
struct Forest(HashMap<(u32, String), u32>);

impl Forest {
    /// Makes the directories of `path` below `at`, all but its last component, and returns where that one goes.
    fn place(&mut self, tree: &mut Skeleton, at: u32, path: &[String]) -> (u32, String) {
        let (name, directories) = path.split_last().expect("a path has a last component");
        let on_the_way =
            |at, part: &String| *self.0.entry((at, part.clone())).or_insert_with(|| tree.directory(at, part));
        (directories.iter().fold(at, on_the_way), name.clone())
    }
}
