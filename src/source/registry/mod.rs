//! An image in a registry, read lazily over the distribution API.
//!
//! When it is opened, one or two small documents are fetched; everything else comes when somebody reads it, and is
//! kept in a store that later mounts share. Like every source this one proves nothing: what it hands out is checked
//! by [`crate::blob`], and what it kept and turns out to be wrong is fetched anew.

mod auth;
mod client;
mod credentials;
mod download;
mod failure;
mod http;
mod index;
mod parts;
mod patience;
mod reference;
mod referrers;
mod store;

use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use super::{Source, SourceError};
use crate::oci::{Data, Descriptor, Digest, Index, IndexEntry, Manifest, MediaType};
use crate::read_at::ReadAt;
use client::{Client, What};
use download::Download;
use failure::Failure;
use http::Http;
use parts::{Parts, PartsStats};
use store::Store;

pub use reference::{Reference, ReferenceError};

/// Most bytes of blobs kept: some tens of large images.
const MAX_STORE: u64 = 20 << 30;

/// Largest blob fetched in one piece, in bytes; larger ones can be read while they come.
const MAX_SMALL: u64 = 256 << 10;

/// Largest manifest we take. The distribution specification has registries accept 4 MiB.
const MAX_MANIFEST: u64 = 4 << 20;

/// Most manifests looked into for `blobs/`.
const MAX_MANIFESTS: usize = 10_000;

/// Documents that can be fetched at once without two of them waiting for each other by chance.
const STRIPES: usize = 16;

/// How long nobody else is made to wait after the registry did not answer in time.
const PAUSE: Duration = Duration::from_secs(5);

/// How to read from a registry.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// Where blobs are kept; nowhere but in nameless files if there is none.
    pub store: Option<PathBuf>,
    /// A file of further certificate authorities, in PEM form.
    pub tls_ca: Option<PathBuf>,
    /// Asks without TLS, whatever the host.
    pub plain_http: bool,
    /// How long a registry may give nothing before it counts as gone.
    pub timeout: Duration,
}

/// How long a registry may give nothing, when nobody says.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// An image in a registry.
pub struct Registry {
    shared: Arc<Shared>,
    index: Vec<u8>,
    /// What index.json names.
    top: Descriptor,
    opened: SystemTime,
}

/// What a blob that is opened now and read later needs.
struct Shared {
    client: Arc<Client>,
    store: Arc<Store>,
    downloads: Mutex<HashMap<Digest, Arc<Download>>>,
    /// Blobs of which parts are read.
    parts: Mutex<HashMap<Digest, Arc<Parts>>>,
    parts_stats: Arc<PartsStats>,
    /// What is known to be a manifest or an index, whatever a descriptor leaves out.
    manifests: Mutex<HashSet<Digest>>,
    /// One for the documents of some digests each: a document is fetched once, however many ask.
    fetching: [Mutex<()>; STRIPES],
    /// When the registry did not answer in time, and what it failed with.
    paused: Paused,
    /// The same for questions about referrers.
    no_referrers: Paused,
}

type Paused = Mutex<Option<(std::time::Instant, Failure)>>;

impl Registry {
    /// Fetches the manifest or index that `reference` means, and makes up the index.json that names it.
    pub fn open(reference: &Reference, options: &RegistryOptions) -> Result<Self, SourceError> {
        let refuse = |failure: Failure| SourceError::NotALayout {
            path: reference.to_string().into(),
            what: failure.to_string(),
        };
        // Half of the limit for each silence: then there is time to try once more.
        let http = Http::new(options.timeout / 2, options.tls_ca.as_deref()).map_err(refuse)?;
        let tls = options.tls_ca.is_some();
        let client = Client::new(reference.clone(), http, tls, options.plain_http, options.timeout);
        let shared = Arc::new(Shared {
            client: Arc::new(client),
            store: Arc::new(Store::new(options.store.clone(), MAX_STORE)),
            downloads: Mutex::default(),
            parts: Mutex::default(),
            parts_stats: Arc::default(),
            manifests: Mutex::default(),
            fetching: Default::default(),
            paused: Paused::default(),
            no_referrers: Paused::default(),
        });
        let mut top = shared.top(reference).map_err(refuse)?;
        shared.manifests.lock().insert(top.descriptor.digest.clone());
        if top.descriptor.kind() == MediaType::Manifest {
            // An index would state the platform; without it, everybody who looks would fetch the configuration.
            top.platform = shared.platform(&top.bytes);
        }
        shared.client.find_credentials();
        let index = index::made_up(&top.descriptor, reference.tag(), top.platform.as_ref());
        Ok(Self { shared, index, top: top.descriptor, opened: SystemTime::now() })
    }
}

/// The manifest or index a reference means.
struct Top {
    descriptor: Descriptor,
    bytes: Vec<u8>,
    platform: Option<serde_json::Value>,
}

impl Source for Registry {
    fn index(&self) -> Result<Vec<u8>, SourceError> {
        Ok(self.index.clone())
    }

    fn oci_layout(&self) -> Result<Vec<u8>, SourceError> {
        Ok(br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())
    }

    fn open(&self, digest: &Digest) -> Result<Box<dyn ReadAt>, SourceError> {
        let file = self.shared.store.find(digest, None).ok_or(SourceError::Absent)?;
        Ok(Box::new(Kept(file)))
    }

    fn open_described(&self, descriptor: &Descriptor) -> Result<Box<dyn ReadAt>, SourceError> {
        if let Data::Content(bytes) = &descriptor.data {
            return Ok(Box::new(bytes.to_vec()));
        }
        Ok(Box::new(Lazy {
            shared: self.shared.clone(),
            digest: descriptor.digest.clone(),
            size: descriptor.size,
            is_manifest: matches!(descriptor.kind(), MediaType::Index | MediaType::Manifest),
            blob: OnceLock::new(),
        }))
    }

    fn parts(&self, descriptor: &Descriptor) -> Option<Box<dyn ReadAt>> {
        let supported = !self.shared.parts_stats.unsupported.load(Relaxed);
        (supported && descriptor.size <= parts::MAX_BLOB).then(|| {
            let (shared, digest) = (self.shared.clone(), descriptor.digest.clone());
            Box::new(Partly { shared, digest, size: descriptor.size }) as _
        })
    }

    fn distrust_part(&self, digest: &Digest, range: Range<u64>) {
        // A whole copy is where it was read from, if there is one.
        self.shared.store.remove(digest);
        let parts = self.shared.parts.lock().get(digest).cloned();
        if let Some(parts) = parts {
            parts.forget(range);
        }
    }

    fn parts_fetched(&self) -> (u64, u64) {
        let stats = &self.shared.parts_stats;
        (stats.requests.load(Relaxed), stats.bytes.load(Relaxed))
    }

    fn is_near(&self, digest: &Digest) -> bool {
        self.shared.store.has(digest)
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn distrust(&self, digest: &Digest) {
        self.shared.store.remove(digest);
    }

    /// Lists everything that the documents of the image name. For that, the manifests of all platforms are fetched, and
    /// nothing else.
    fn blobs(&self) -> Result<Vec<(Digest, u64)>, SourceError> {
        let mut found = HashMap::from([(self.top.digest.clone(), self.top.size)]);
        let mut todo = vec![self.top.clone()];
        let mut looked_into = 0;
        while let Some(descriptor) = todo.pop() {
            looked_into += 1;
            if looked_into > MAX_MANIFESTS {
                break;
            }
            let bytes = match self.shared.manifest(&descriptor) {
                Ok(bytes) => bytes,
                // Indexes may name platforms that were never pushed, or whose manifest is damaged.
                Err(Failure::Absent(_) | Failure::Wrong(_)) => continue,
                Err(failure) => return Err(failure.into()),
            };
            for child in children(&descriptor, &bytes) {
                let is_manifest = matches!(child.kind(), MediaType::Index | MediaType::Manifest);
                if found.insert(child.digest.clone(), child.size).is_none() && is_manifest {
                    self.shared.manifests.lock().insert(child.digest.clone());
                    todo.push(child);
                }
            }
        }
        Ok(found.into_iter().collect())
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<IndexEntry>, SourceError> {
        Ok(self.shared.referrers(subject)?)
    }

    fn modified(&self) -> SystemTime {
        self.opened
    }
}

/// Returns what a manifest or index names.
fn children(of: &Descriptor, bytes: &[u8]) -> Vec<Descriptor> {
    if of.kind() == MediaType::Index {
        let entries = Index::parse(bytes).map(|index| index.entries).unwrap_or_default();
        return entries.into_iter().filter_map(|entry| entry.descriptor.ok()).collect();
    }
    match Manifest::parse(bytes) {
        Ok(manifest) => manifest.config.into_iter().chain(manifest.layers).filter_map(Result::ok).collect(),
        Err(_) => Vec::new(),
    }
}

impl Shared {
    /// Fetches what the reference means: by digest from here where it is here, by tag always from the registry.
    fn top(&self, reference: &Reference) -> Result<Top, Failure> {
        let kept = reference.digest().and_then(|digest| self.kept(digest));
        let known = kept.is_some();
        let (bytes, media_type) = match (kept, reference.digest()) {
            (Some(bytes), _) => (bytes, String::new()),
            (None, digest) => {
                let name = digest.map(Digest::as_str).or(reference.tag()).unwrap_or_default().to_owned();
                let document = self.client.document(&What::Manifest(name), MAX_MANIFEST)?;
                index::check_claim(&document, digest).map_err(|what| self.client.wrong(&what))?;
                (document.bytes, document.media_type)
            }
        };
        let descriptor = index::describe(&bytes, &media_type, reference.digest());
        let descriptor = descriptor.map_err(|what| self.client.wrong(&what))?;
        if !known {
            self.keep(&descriptor.digest, &bytes);
        }
        Ok(Top { descriptor, bytes, platform: None })
    }

    /// Returns the platform that the configuration of a manifest states; none where it cannot be had.
    fn platform(&self, manifest: &[u8]) -> Option<serde_json::Value> {
        let config = Manifest::parse(manifest).ok()?.config?.ok()?;
        if config.kind() != MediaType::Config || config.size > MAX_SMALL {
            return None;
        }
        let bytes = match &config.data {
            Data::Content(bytes) => bytes.to_vec(),
            _ => self.small(&config.digest, config.size, false).inspect_err(|e| log::warn!("{e}")).ok()?,
        };
        index::platform(&bytes)
    }

    /// Returns a manifest or index whose digest held.
    fn manifest(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Failure> {
        if descriptor.size > MAX_MANIFEST {
            return Err(Failure::Wrong(format!("{}: too large for a manifest", descriptor.digest)));
        }
        if let Data::Content(bytes) = &descriptor.data {
            return Ok(bytes.to_vec());
        }
        self.small(&descriptor.digest, descriptor.size, true)
    }

    /// Returns a small blob in one piece, from here or from the registry. Its digest held, or it is not kept.
    fn small(&self, digest: &Digest, size: u64, is_manifest: bool) -> Result<Vec<u8>, Failure> {
        let stripe = digest.encoded().bytes().fold(0_usize, |sum, b| sum * 31 % 1_000_003 + usize::from(b));
        let _fetching = self.fetching[stripe % STRIPES].lock();
        if let Some(bytes) = self.kept(digest).filter(|bytes| bytes.len() as u64 == size) {
            return Ok(bytes);
        }
        self.check_pause()?;
        let is_manifest = is_manifest || self.manifests.lock().contains(digest);
        let name = digest.to_string();
        let what = if is_manifest { What::Manifest(name) } else { What::Blob(name) };
        let document = self.client.document(&what, size).inspect_err(|failure| self.pause(failure))?;
        let bytes = document.bytes;
        match Digest::of(digest.algorithm(), &bytes) {
            Some(found) if found == *digest => self.keep(digest, &bytes),
            // Who asked finds out, and says what was expected and what came.
            _ => log::warn!("{} sent something else than {digest}", self.client.host()),
        }
        Ok(bytes)
    }

    /// Returns a small blob that is kept and whose digest holds.
    fn kept(&self, digest: &Digest) -> Option<Vec<u8>> {
        let file = self.store.find(digest, None)?;
        let len =
            usize::try_from(file.metadata().ok()?.len()).ok().filter(|len| *len as u64 <= MAX_MANIFEST)?;
        let mut bytes = vec![0; len];
        let whole = ReadAt::read_at(&**file, 0, &mut bytes).is_ok_and(|got| got == len);
        if whole && Digest::of(digest.algorithm(), &bytes).is_some_and(|found| found == *digest) {
            return Some(bytes);
        }
        self.store.remove(digest);
        None
    }

    fn keep(&self, digest: &Digest, bytes: &[u8]) {
        let write = || -> io::Result<()> {
            use std::os::unix::fs::FileExt as _;
            let mut part = self.store.begin(digest)?;
            part.restart()?;
            part.file().write_all_at(bytes, 0)?;
            self.store.finish(part, digest).map(|_| ())
        };
        if let Err(e) = write() {
            log::warn!("cannot keep {digest}: {e}");
        }
    }

    /// Returns a large blob: kept, or on its way.
    fn large(&self, digest: &Digest, size: u64) -> Result<Arc<dyn ReadAt>, Failure> {
        let mut downloads = self.downloads.lock();
        // Asked before the store is: one that ends well in between is as good as what it has put there.
        let under_way = downloads.get(digest).filter(|download| !download.has_ended()).cloned();
        if let Some(file) = self.store.find(digest, Some(size)) {
            downloads.remove(digest);
            return Ok(Arc::new(Kept(file)));
        }
        if let Some(download) = under_way
            && download.len().is_ok_and(|len| len == size)
        {
            return Ok(download);
        }
        self.check_pause()?;
        let download = Download::start(self.client.clone(), self.store.clone(), digest.clone(), size)?;
        downloads.insert(digest.clone(), download.clone());
        Ok(download)
    }

    /// Returns a blob of which parts are read.
    fn parts(&self, digest: &Digest, size: u64) -> Result<Arc<Parts>, Failure> {
        let mut all = self.parts.lock();
        if let Some(parts) = all.get(digest).filter(|parts| parts.size() == size) {
            return Ok(parts.clone());
        }
        let (client, stats) = (self.client.clone(), self.parts_stats.clone());
        let parts = Arc::new(Parts::open(client, stats, self.store.clone(), digest, size)?);
        all.insert(digest.clone(), parts.clone());
        Ok(parts)
    }

    /// Fails at once where the registry has just made somebody wait for nothing.
    fn check_pause(&self) -> Result<(), Failure> {
        check(&self.paused)
    }

    fn pause_after<T>(&self, got: &io::Result<T>) {
        if let Err(e) = got
            && let Some(failure) = e.get_ref().and_then(|inner| inner.downcast_ref::<Failure>())
        {
            self.pause(failure);
        }
    }

    fn pause(&self, failure: &Failure) {
        pause(&self.paused, failure);
    }
}

fn check(paused: &Paused) -> Result<(), Failure> {
    match &*paused.lock() {
        Some((since, failure)) if since.elapsed() < PAUSE => Err(failure.clone()),
        _ => Ok(()),
    }
}

fn pause(paused: &Paused, failure: &Failure) {
    if matches!(failure, Failure::TimedOut(_)) {
        *paused.lock() = Some((std::time::Instant::now(), failure.clone()));
    }
}

/// A blob that is fetched when it is first read.
struct Lazy {
    shared: Arc<Shared>,
    digest: Digest,
    size: u64,
    is_manifest: bool,
    blob: OnceLock<Arc<dyn ReadAt>>,
}

impl Lazy {
    fn blob(&self) -> Result<&Arc<dyn ReadAt>, Failure> {
        if let Some(blob) = self.blob.get() {
            return Ok(blob);
        }
        let is_manifest = self.is_manifest || self.shared.manifests.lock().contains(&self.digest);
        let blob: Arc<dyn ReadAt> = match self.shared.store.find(&self.digest, Some(self.size)) {
            Some(file) => Arc::new(Kept(file)),
            None if is_manifest && self.size > MAX_MANIFEST => {
                return Err(Failure::Wrong(format!("{}: too large for a manifest", self.digest)));
            }
            None if is_manifest || self.size <= MAX_SMALL => {
                Arc::new(self.shared.small(&self.digest, self.size, is_manifest)?)
            }
            None => self.shared.large(&self.digest, self.size)?,
        };
        Ok(self.blob.get_or_init(|| blob))
    }
}

impl ReadAt for Lazy {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let got = self.blob()?.read_at(offset, buf);
        self.shared.pause_after(&got);
        got
    }

    /// Returns what the descriptor says: whether it is true, reading tells.
    fn len(&self) -> io::Result<u64> {
        Ok(self.size)
    }
}

/// A blob of which those parts are fetched that are read.
struct Partly {
    shared: Arc<Shared>,
    digest: Digest,
    size: u64,
}

impl ReadAt for Partly {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(file) = self.shared.store.find(&self.digest, Some(self.size)) {
            return Kept(file).read_at(offset, buf);
        }
        let parts = self.shared.parts(&self.digest, self.size)?;
        if !parts.has(offset, buf.len()) {
            self.shared.check_pause()?;
        }
        let got = parts.read_at(offset, buf);
        self.shared.pause_after(&got);
        got
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.size)
    }
}

/// A file of the store.
struct Kept(Arc<nix::fcntl::Flock<std::fs::File>>);

impl ReadAt for Kept {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        ReadAt::read_at(&**self.0, offset, buf)
    }

    fn len(&self) -> io::Result<u64> {
        ReadAt::len(&**self.0)
    }
}
