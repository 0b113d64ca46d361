//! The graph of documents: which images, platforms and artifacts a source holds. Never opens a layer.
//!
//! Only index.json is read to make a [`Catalog`]; everything below it is read when somebody asks, and kept.

mod claims;
mod classify;
mod groups;
mod referrers;
mod told;
mod walk;

use std::sync::{Arc, OnceLock};

use crate::blob::{BlobError, BlobStore, SourceError};
use crate::flight::Flight;
use crate::oci::{
    Descriptor, DescriptorError, Digest, DocumentError, ImageConfig, Index, Manifest, MediaType, Platform,
};
use crate::problems::{Problem, Problems};

pub use claims::{Objection, objections};
pub use classify::Class;
pub use groups::Group;
pub use referrers::{Referrer, ReferrerKind, predicate};
pub use told::Told;
pub use walk::{Image, MAX_DEPTH, PlatformImage};

/// Marks BuildKit's attestation manifests.
const ANNOTATION_REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// What a descriptor leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// What lists others.
    Index,
    /// What has a configuration and layers, or would have.
    Manifest,
    /// Anything else: bytes into which nothing is read.
    Other,
}

/// Why a document cannot be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ImageError {
    /// Its bytes cannot.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// Its bytes are not what they should be.
    #[error("{digest}: {cause}")]
    Document {
        /// The document.
        digest: Digest,
        /// What is wrong with it.
        cause: DocumentError,
    },
    /// A descriptor that says nothing usable.
    #[error(transparent)]
    Descriptor(#[from] DescriptorError),
    /// The manifest has no configuration.
    #[error("{0}: the manifest has no `config`")]
    NoConfig(Digest),
    /// The source could not say what speaks of it.
    #[error(transparent)]
    Source(Arc<SourceError>),
}

/// Why a source has no catalog.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Its index.json cannot be read.
    #[error("index.json: {0}")]
    Source(#[from] SourceError),
    /// Its index.json is not one.
    #[error("index.json: {0}")]
    Document(#[from] DocumentError),
}

/// One entry of an index: the descriptor, and its bytes as they stand there.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The entry's own bytes.
    pub raw: Box<str>,
    /// What they say.
    pub descriptor: Descriptor,
}

impl Entry {
    /// Says how the platform that the entry states and that of its configuration differ, where both state one.
    pub fn contradiction(&self, config: &ImageConfig) -> Option<String> {
        let stated = self.descriptor.platform.as_ref().filter(|p| p.is_stated())?;
        let own = Some(&config.platform).filter(|p| p.is_stated())?;
        let (a, b) = (stated.normalized(), own.normalized());
        let differ = (a.os, a.architecture) != (b.os, b.architecture);
        differ.then(|| format!("says {stated}, the configuration says {own}"))
    }
}

/// Every image reachable from index.json. The index is read once; the rest when asked for, once.
pub struct Catalog {
    store: Arc<BlobStore>,
    problems: Arc<Problems>,
    groups: Vec<Group>,
    classes: Vec<OnceLock<Class>>,
    /// What single documents are read as, where their descriptors do not say.
    form_of: Told<Form>,
    /// What single documents are, where their descriptors do not tell.
    class_of: Told<Class>,
    /// The platforms of manifests, where their descriptors state none.
    platform_of: Told<Platform>,
    /// A failure of the source is kept as a value: the tree does not change while it is mounted.
    images: Flight<usize, Result<Arc<Image>, ImageError>, ImageError>,
    scan: Flight<(), Arc<referrers::Scan>, ImageError>,
    referrers: Flight<Digest, Arc<[Referrer]>, ImageError>,
}

impl Catalog {
    /// Reads index.json, and nothing else.
    pub fn read(store: Arc<BlobStore>, problems: Arc<Problems>) -> Result<Self, CatalogError> {
        store.source_problems().iter().for_each(|problem| problems.add(problem));
        let index = Index::parse(&store.index()?)?;
        let mut entries = Vec::with_capacity(index.entries.len());
        for (n, entry) in index.entries.into_iter().enumerate() {
            match entry.descriptor {
                Ok(descriptor) => entries.push(Arc::new(Entry { raw: entry.raw, descriptor })),
                Err(e) => problems.add(&Problem::new(format!("index.json: manifests[{n}]"), e)),
            }
        }
        let groups = groups::group(&entries);
        let classes = groups.iter().map(|_| OnceLock::new()).collect();
        Ok(Self {
            store,
            problems,
            groups,
            classes,
            form_of: Told::default(),
            class_of: Told::default(),
            platform_of: Told::default(),
            images: Flight::default(),
            scan: Flight::default(),
            referrers: Flight::default(),
        })
    }

    /// Returns the store the catalog reads from.
    pub fn store(&self) -> &Arc<BlobStore> {
        &self.store
    }

    /// Returns where problems are collected.
    pub fn problems(&self) -> &Arc<Problems> {
        &self.problems
    }

    /// Returns the named groups of index.json, in its order. A group is an image or an artifact: see [`Catalog::class`].
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Says what group `n` is; reads a document or two where its descriptors do not tell. Fails where that may be told
    /// the next time.
    pub fn class(&self, n: usize) -> Result<Class, ImageError> {
        if let Some(known) = self.known_class(n) {
            return Ok(known);
        }
        let class = classify::group(self, &self.groups[n])?;
        Ok(*self.classes[n].get_or_init(|| class))
    }

    /// Says what group `n` is taken for: an image, where it cannot be told now. There people look for it.
    pub fn assumed_class(&self, n: usize) -> Class {
        self.class(n).unwrap_or(Class::Image)
    }

    /// Says what group `n` is, where that is known already.
    pub fn known_class(&self, n: usize) -> Option<Class> {
        self.classes[n].get().copied()
    }

    /// Returns the image of group `n`: its platforms, with nested indexes walked.
    pub fn image(&self, n: usize) -> Result<Arc<Image>, ImageError> {
        self.images.get_or_try(&n, || match walk::expand(self, &self.groups[n]).map(Arc::new) {
            Err(e) if self.may_pass(&e) => Err(e),
            read => Ok(read),
        })?
    }

    /// Says whether a document may be had the next time, so that nothing may be concluded for good from its failure.
    pub fn may_pass(&self, error: &ImageError) -> bool {
        matches!(error, ImageError::Blob(e) if self.store.may_pass(e))
    }

    /// Returns a document, or nothing where it will not be there the next time either.
    pub fn lasting<T>(&self, document: Result<T, ImageError>) -> Result<Option<T>, ImageError> {
        match document {
            Err(e) if self.may_pass(&e) => Err(e),
            read => Ok(read.ok()),
        }
    }

    /// Returns the only image's number, where there is exactly one; reads documents until a second one is met. Fails where
    /// that may be told the next time.
    pub fn sole_image(&self) -> Result<Option<usize>, ImageError> {
        let own = (0..self.groups.len()).filter(|n| self.groups[*n].same_as.is_none());
        let is_alone = own.clone().nth(1).is_none();
        let (mut only, mut untold) = (None, None);
        for n in own {
            match self.class(n) {
                Ok(Class::Image) if only.is_some() => return Ok(None),
                Ok(Class::Image) => only = Some(n),
                Ok(_) => {}
                // There people look for it. If it is none, it will turn out to have no platforms.
                Err(_) if is_alone => only = Some(n),
                Err(e) => untold = Some(e),
            }
        }
        untold.map_or(Ok(only), Err)
    }

    /// Returns the first group of a name.
    pub fn named(&self, name: &str) -> Option<usize> {
        self.groups.iter().position(|g| g.name.as_deref() == Some(name))
    }

    /// Narrows the catalog to the one manifest or index with `digest`, found anywhere below index.json.
    ///
    /// Returns the number of the group that holds it alone, or nothing where no entry has this digest.
    pub fn pin(&mut self, digest: &Digest) -> Option<usize> {
        let whole = |g: &Group| g.entries.len() == 1 && g.entries[0].descriptor.digest == *digest;
        if let Some(n) = self.groups.iter().position(whole) {
            return Some(self.groups[n].same_as.unwrap_or(n));
        }
        let entry = walk::find(self, digest)?;
        self.groups.push(Group { name: None, entries: vec![entry], same_as: None });
        self.classes.push(OnceLock::new());
        Some(self.groups.len() - 1)
    }

    /// Says what a descriptor leads to. Fails where its document is to tell, and may do so the next time.
    pub fn form(&self, d: &Descriptor) -> Result<Form, ImageError> {
        match d.kind() {
            MediaType::Index => Ok(Form::Index),
            MediaType::Manifest => Ok(Form::Manifest),
            // Some producers leave the type out; then what lists something is an index.
            _ if d.media_type.is_empty() => self.form_of.get_or_ask(d, || {
                let index = self.lasting(self.index(d))?;
                let lists = index.is_some_and(|index| !index.entries.is_empty());
                Ok(if lists { Form::Index } else { Form::Manifest })
            }),
            // A type we do not know is no error (rule 16).
            _ => Ok(Form::Other),
        }
    }

    /// Reads and parses an index.
    pub fn index(&self, descriptor: &Descriptor) -> Result<Index, ImageError> {
        self.parsed(descriptor, Index::parse)
    }

    /// Reads and parses a manifest.
    pub fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest, ImageError> {
        self.parsed(descriptor, Manifest::parse)
    }

    /// Reads and parses the configuration of a manifest.
    pub fn config(&self, of: &Descriptor, manifest: &Manifest) -> Result<ImageConfig, ImageError> {
        match &manifest.config {
            None => Err(ImageError::NoConfig(of.digest.clone())),
            Some(Err(e)) => Err(e.clone().into()),
            Some(Ok(descriptor)) => self.parsed(descriptor, ImageConfig::parse),
        }
    }

    fn parsed<T>(
        &self,
        descriptor: &Descriptor,
        parse: impl FnOnce(&[u8]) -> Result<T, DocumentError>,
    ) -> Result<T, ImageError> {
        let bytes = self.store.document(descriptor)?;
        parse(&bytes).map_err(|cause| ImageError::Document { digest: descriptor.digest.clone(), cause })
    }
}
