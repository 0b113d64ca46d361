//! What speaks of a manifest: manifests that name it as their subject, and tags made of its digest.
//!
//! A layout says so in many places (its own entries, an index under a fallback tag, cosign's tags), which takes its
//! documents to know; they are gone over once. A registry is asked, when somebody looks.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::walk::MAX_DEPTH;
use super::{ANNOTATION_REFERENCE_TYPE, Catalog, Entry, Form, Group, ImageError};
use crate::blob::BlobError;
use crate::oci::{
    ANNOTATION_REF_NAME, Descriptor, Digest, IndexEntry, Manifest, REFERRER_SUFFIXES, referrers_tag,
};
use crate::problems::Problem;

/// The digest of the manifest that one of BuildKit's attestation manifests speaks of.
const ANNOTATION_REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

/// Annotations that say what a statement is about, as a URI: BuildKit's, cosign's, that of sigstore's bundles.
const PREDICATE_TYPES: [&str; 3] =
    ["in-toto.io/predicate-type", "predicateType", "dev.sigstore.bundle.predicateType"];

/// Most documents looked into for what speaks of what. The largest layouts have some ten thousand.
const MAX_DOCUMENTS: usize = 1 << 16;

/// Most referrers of one manifest that are shown. A release has tens.
const MAX_REFERRERS: usize = 10_000;

/// Something that speaks of a manifest.
#[derive(Clone, Debug)]
pub struct Referrer {
    /// The entry that led to it.
    pub entry: Arc<Entry>,
    /// What it is, as far as that can be told without reading it.
    pub kind: ReferrerKind,
    /// What it speaks of.
    pub subject: Digest,
}

/// What a referrer is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReferrerKind {
    /// Its artifact type, or where it has none the media type of its configuration. Its manifest must name the subject.
    Type(String),
    /// It has one of cosign's tags: `sig`, `att` or `sbom`. Its manifest need not name the subject.
    Cosign(&'static str),
}

/// What was found in a layout.
#[derive(Default)]
pub(super) struct Scan {
    by_subject: HashMap<Digest, Vec<(Arc<Entry>, String)>>,
    by_reference: HashMap<Digest, Vec<Arc<Entry>>>,
    /// Groups by the tag in their name.
    by_tag: HashMap<String, Vec<usize>>,
}

impl Catalog {
    /// Returns what speaks of the manifest or index with this digest, each once, in no particular order.
    ///
    /// A registry is asked, once if it answers. Fails where a document cannot be read that may be the next time: a
    /// signature that is not shown looks like one that is not there.
    pub fn referrers(&self, subject: &Digest) -> Result<Arc<[Referrer]>, ImageError> {
        self.referrers.get_or_try(subject, || self.find_referrers(subject))
    }

    /// Returns BuildKit's statements about a manifest that stand anywhere in a layout. Fails as
    /// [`Catalog::referrers`] does.
    pub fn attestations(&self, of: &Digest) -> Result<Vec<Arc<Entry>>, ImageError> {
        Ok(self.scan()?.by_reference.get(of).cloned().unwrap_or_default())
    }

    /// Returns BuildKit's statements by what they speak of.
    pub fn by_reference(statements: &[Arc<Entry>]) -> HashMap<Digest, Vec<Arc<Entry>>> {
        let mut about: HashMap<_, Vec<_>> = HashMap::new();
        for entry in statements {
            if let Some(reference) = Self::reference(entry) {
                about.entry(reference).or_default().push(entry.clone());
            }
        }
        about
    }

    /// Returns what one of BuildKit's statements speaks of.
    fn reference(entry: &Entry) -> Option<Digest> {
        Digest::parse(entry.descriptor.annotations.get(ANNOTATION_REFERENCE_DIGEST)?).ok()
    }

    fn find_referrers(&self, subject: &Digest) -> Result<Arc<[Referrer]>, ImageError> {
        let mut found = Found { subject, list: Vec::new(), seen: HashSet::new() };
        let scan = self.scan()?;
        for (entry, kind) in scan.by_subject.get(subject).into_iter().flatten() {
            found.add(entry.clone(), ReferrerKind::Type(kind.clone()));
        }
        let tag = referrers_tag(subject);
        let mut asked = HashSet::new();
        for group in scan.groups(&tag, self) {
            for entry in &group.entries {
                for listed in self.listed(entry)? {
                    let d = &listed.descriptor;
                    // Who claims to list referrers may be wrong; a manifest that is not here cannot be asked.
                    if asked.insert(d.digest.clone())
                        && self.lasting(self.subject(d))?.is_none_or(|named| named.as_ref() == Some(subject))
                    {
                        let kind = listed.descriptor.artifact_type.clone();
                        found.add(Arc::new(listed), ReferrerKind::Type(kind));
                    }
                }
            }
        }
        for suffix in REFERRER_SUFFIXES {
            for group in scan.groups(&format!("{tag}.{suffix}"), self) {
                group.entries.iter().for_each(|e| found.add(e.clone(), ReferrerKind::Cosign(suffix)));
            }
        }
        let asked = self.store.referrers(subject).map_err(|e| ImageError::Source(Arc::new(e)))?;
        for IndexEntry { raw, descriptor } in asked {
            match descriptor {
                Ok(descriptor) => {
                    let kind = kind_by_tag(&descriptor)
                        .unwrap_or_else(|| ReferrerKind::Type(descriptor.artifact_type.clone()));
                    found.add(Arc::new(Entry { raw, descriptor }), kind);
                }
                Err(e) => self.problems.add(&Problem::new(format!("referrers of {subject}"), e)),
            }
        }
        if found.list.len() > MAX_REFERRERS {
            let what = format!("{} of them, of which {MAX_REFERRERS} are shown", found.list.len());
            self.problems.add(&Problem::new(format!("referrers of {subject}"), what));
            found.list.truncate(MAX_REFERRERS);
        }
        Ok(found.list.into())
    }

    /// Returns the entries of an index, and nothing for what is none.
    fn listed(&self, entry: &Entry) -> Result<Vec<Entry>, ImageError> {
        let entries = self.lasting(self.index(&entry.descriptor))?.map(|index| index.entries);
        let usable = |e: IndexEntry| Some(Entry { raw: e.raw, descriptor: e.descriptor.ok()? });
        Ok(entries.into_iter().flatten().filter_map(usable).collect())
    }

    /// Returns the subject that a manifest or index names. What is neither has none: its bytes are right, and name nothing.
    pub fn subject(&self, d: &Descriptor) -> Result<Option<Digest>, ImageError> {
        let subject = match self.form(d)? {
            Form::Index => self.index(d).map(|index| index.subject),
            Form::Manifest | Form::Other => self.manifest(d).map(|manifest| manifest.subject),
        };
        match subject {
            Err(ImageError::Document { .. }) => Ok(None),
            subject => Ok(subject?.map(|named| named.digest)),
        }
    }

    /// Returns a document that is asked what it speaks of, or nothing where it will not tell the next time either. Damage
    /// is told: a signature that is not shown looks like one that is not there.
    fn asked<T>(&self, d: &Descriptor, document: Result<T, ImageError>) -> Result<Option<T>, ImageError> {
        if let Err(e @ ImageError::Blob(cause)) = &document
            && !matches!(cause, BlobError::Absent { .. })
            && !self.may_pass(e)
        {
            let what = format!("cannot be asked what it speaks of: {e}");
            self.problems.add(&Problem::new(d.digest.blob_path(), what));
        }
        self.lasting(document)
    }

    /// Goes over the documents of a layout, once. Those of a registry are left where they are.
    fn scan(&self) -> Result<Arc<Scan>, ImageError> {
        self.scan.get_or_try(&(), || match self.store.is_remote() {
            true => Ok(Arc::default()),
            false => Scan::of(self).map(Arc::new),
        })
    }
}

/// The referrers of one manifest, as they are found.
struct Found<'a> {
    subject: &'a Digest,
    list: Vec<Referrer>,
    seen: HashSet<Digest>,
}

impl Found<'_> {
    fn add(&mut self, entry: Arc<Entry>, kind: ReferrerKind) {
        let digest = &entry.descriptor.digest;
        if digest != self.subject && self.seen.insert(digest.clone()) {
            self.list.push(Referrer { entry, kind, subject: self.subject.clone() });
        }
    }
}

/// Returns what a statement is about, as a URI: its layer says so, else its manifest, else the entry that led there.
pub fn predicate<'a>(
    layer: &'a Descriptor,
    manifest: &'a Manifest,
    entry: &'a Descriptor,
) -> Option<&'a str> {
    let places = [&layer.annotations, &manifest.annotations, &entry.annotations];
    PREDICATE_TYPES.iter().find_map(|key| places.iter().find_map(|said| said.get(key)))
}

/// Tells one of cosign's tags in the reference name of an entry.
fn kind_by_tag(d: &Descriptor) -> Option<ReferrerKind> {
    let (_, suffix) = d.annotations.get(ANNOTATION_REF_NAME)?.rsplit_once('.')?;
    REFERRER_SUFFIXES.into_iter().find(|known| *known == suffix).map(ReferrerKind::Cosign)
}

impl Scan {
    fn of(catalog: &Catalog) -> Result<Self, ImageError> {
        let mut scan = Self::default();
        for (n, group) in catalog.groups.iter().enumerate() {
            // A reference may have its host and repository before the tag.
            let tag = group.name.as_deref().map(|name| name.rsplit(':').next().unwrap_or(name));
            if let Some(tag) = tag.filter(|tag| tag.contains('-')) {
                scan.by_tag.entry(tag.to_owned()).or_default().push(n);
            }
        }
        let mut todo: Vec<(Arc<Entry>, usize)> = Vec::new();
        for group in catalog.groups.iter().rev().filter(|group| group.same_as.is_none()) {
            todo.extend(group.entries.iter().rev().map(|entry| (entry.clone(), 0)));
        }
        let mut seen = HashSet::new();
        while let Some((entry, depth)) = todo.pop() {
            if !seen.insert(entry.descriptor.digest.clone()) {
                continue;
            }
            if seen.len() > MAX_DOCUMENTS {
                let what =
                    format!("more than {MAX_DOCUMENTS} documents: not all were asked what they speak of");
                catalog.problems.add(&Problem::new("index.json", what));
                break;
            }
            for listed in scan.look_into(catalog, &entry, depth < MAX_DEPTH)?.into_iter().rev() {
                todo.push((Arc::new(listed), depth + 1));
            }
        }
        Ok(scan)
    }

    /// Notes what one document speaks of, and returns what it lists.
    fn look_into(
        &mut self,
        catalog: &Catalog,
        entry: &Arc<Entry>,
        further: bool,
    ) -> Result<Vec<Entry>, ImageError> {
        let d = &entry.descriptor;
        if d.annotations.contains(ANNOTATION_REFERENCE_TYPE)
            && let Some(reference) = Catalog::reference(entry)
        {
            self.by_reference.entry(reference).or_default().push(entry.clone());
        }
        match catalog.form(d)? {
            Form::Index => {
                if let Some(index) = catalog.asked(d, catalog.index(d))?
                    && let Some(subject) = index.subject
                {
                    self.note(subject.digest, entry, index.artifact_type);
                }
                if further { catalog.listed(entry) } else { Ok(Vec::new()) }
            }
            Form::Manifest => {
                if let Some(manifest) = catalog.asked(d, catalog.manifest(d))?
                    && let Some(subject) = &manifest.subject
                {
                    self.note(subject.digest.clone(), entry, manifest.kind().to_owned());
                }
                Ok(Vec::new())
            }
            Form::Other => Ok(Vec::new()),
        }
    }

    fn note(&mut self, subject: Digest, entry: &Arc<Entry>, kind: String) {
        self.by_subject.entry(subject).or_default().push((entry.clone(), kind));
    }

    /// Returns the groups of a tag.
    fn groups<'a>(&'a self, tag: &str, catalog: &'a Catalog) -> impl Iterator<Item = &'a Group> {
        self.by_tag.get(tag).into_iter().flatten().map(|n| &catalog.groups[*n])
    }
}
