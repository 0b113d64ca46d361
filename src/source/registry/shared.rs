//! What everything that is read of one image has in common: small blobs whole, large ones on their way, parts.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::Flock;
use parking_lot::Mutex;

use super::client::{Client, What};
use super::download::Download;
use super::failure::Failure;
use super::lazy::Kept;
use super::parts::{Parts, PartsStats};
use super::patience::Patience;
use super::store::Store;
use super::{MAX_SMALL, MAX_STORE, Reference, index};
use crate::flight::Flight;
use crate::oci::{Data, Descriptor, Digest, MAX_DOCUMENT, Manifest, MediaType};
use crate::read_at::ReadAt;

/// How long nobody else is made to wait after the registry did not answer in time.
const PAUSE: Duration = Duration::from_secs(5);

/// Most blobs of which parts are open: each takes a file descriptor.
const MAX_PARTLY: usize = 200;

/// What a blob that is opened now and read later needs.
pub(super) struct Shared {
    pub(super) client: Arc<Client>,
    pub(super) store: Arc<Store>,
    /// Blobs on their way. One that has ended goes: it holds a file open.
    downloads: Arc<Mutex<HashMap<Digest, Arc<Download>>>>,
    /// Blobs of which parts are read, and that are not here whole.
    pub(super) parts: Mutex<AllParts>,
    pub(super) parts_stats: Arc<PartsStats>,
    /// What is known to be a manifest or an index, whatever a descriptor leaves out.
    pub(super) manifests: Mutex<HashSet<Digest>>,
    /// Small blobs under way: one fetches, and all who ask meanwhile get what came of it. By size too, since that is
    /// where reading ends.
    fetching: Flight<(Digest, u64), Arc<Vec<u8>>, Failure>,
    /// When the registry did not answer in time, and what it failed with.
    paused: Paused,
    /// The same for questions about referrers.
    pub(super) no_referrers: Paused,
}

/// Each with when it was last used.
type AllParts = HashMap<Digest, (Arc<Parts>, Instant)>;

/// Where a registry has something: it keeps manifests apart from blobs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    Manifests,
    Blobs,
    /// The descriptor does not say what it is.
    Either,
}

impl Place {
    pub(super) fn of(descriptor: &Descriptor) -> Self {
        match descriptor.kind() {
            MediaType::Index | MediaType::Manifest => Self::Manifests,
            _ if descriptor.media_type.is_empty() => Self::Either,
            _ => Self::Blobs,
        }
    }
}

type Paused = Mutex<Option<(Instant, Failure)>>;

/// The manifest or index a reference means.
pub(super) struct Top {
    pub(super) descriptor: Descriptor,
    pub(super) bytes: Vec<u8>,
    pub(super) platform: Option<serde_json::Value>,
}

impl Shared {
    pub(super) fn new(client: Client, store: Store) -> Self {
        Self {
            client: Arc::new(client),
            store: Arc::new(store),
            downloads: Arc::default(),
            parts: Mutex::default(),
            parts_stats: Arc::default(),
            manifests: Mutex::default(),
            fetching: Flight::default(),
            paused: Paused::default(),
            no_referrers: Paused::default(),
        }
    }

    /// Fetches what the reference means: by digest from here where it is here, by tag always from the registry.
    pub(super) fn top(&self, reference: &Reference) -> Result<Top, Failure> {
        let kept = reference.digest().and_then(|digest| self.kept(digest));
        let known = kept.is_some();
        let (bytes, media_type) = match (kept, reference.digest()) {
            (Some(bytes), _) => (bytes, String::new()),
            (None, digest) => {
                let name = digest.map(Digest::as_str).or(reference.tag()).unwrap_or_default().to_owned();
                let document =
                    self.client.document(&What::Manifest(name), MAX_DOCUMENT, &mut self.client.patience())?;
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
    pub(super) fn platform(&self, manifest: &[u8]) -> Option<serde_json::Value> {
        let config = Manifest::parse(manifest).ok()?.config?.ok()?;
        if config.kind() != MediaType::Config || config.size > MAX_SMALL {
            return None;
        }
        let bytes = self.checked(&config, Place::Blobs, &mut self.client.patience());
        index::platform(&bytes.inspect_err(|e| log::warn!("{e}")).ok()?)
    }

    /// Returns a small blob whose digest held, for who reads it here instead of handing it on to be checked.
    pub(super) fn checked(
        &self,
        descriptor: &Descriptor,
        place: Place,
        patience: &mut Patience,
    ) -> Result<Arc<Vec<u8>>, Failure> {
        let (digest, size) = (&descriptor.digest, descriptor.size);
        if let Data::Content(bytes) = &descriptor.data {
            return Ok(Arc::new(bytes.to_vec()));
        }
        let bytes = self.claimed(digest, size, place, patience)?;
        match Digest::of(digest.algorithm(), &bytes) {
            Some(found) if found == *digest && bytes[..].len() as u64 == size => Ok(bytes),
            _ => Err(self.client.wrong(&format!("sent something else than {digest}, of {size} bytes"))),
        }
    }

    /// Returns a small blob in one piece, from here or from the registry: whatever came, and kept only if its digest held.
    pub(super) fn claimed(
        &self,
        digest: &Digest,
        size: u64,
        place: Place,
        patience: &mut Patience,
    ) -> Result<Arc<Vec<u8>>, Failure> {
        let fetch = || match self.kept(digest).filter(|bytes| bytes.len() as u64 == size) {
            Some(bytes) => Ok(Arc::new(bytes)),
            None => self.fetch(digest, size, place, patience).map(Arc::new),
        };
        self.fetching.share(&(digest.clone(), size), fetch)
    }

    fn fetch(
        &self,
        digest: &Digest,
        size: u64,
        place: Place,
        patience: &mut Patience,
    ) -> Result<Vec<u8>, Failure> {
        self.check_pause()?;
        let mut ask =
            |what: fn(String) -> What| self.client.document(&what(digest.to_string()), size, patience);
        let document = match place {
            Place::Manifests => ask(What::Manifest),
            Place::Blobs => ask(What::Blob),
            Place::Either => match ask(What::Blob) {
                Err(Failure::Absent(_)) => ask(What::Manifest),
                other => other,
            },
        };
        let document = document.inspect_err(|failure| self.pause(failure))?;
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
            usize::try_from(file.metadata().ok()?.len()).ok().filter(|len| *len as u64 <= MAX_DOCUMENT)?;
        let mut bytes = vec![0; len];
        let whole = ReadAt::read_at(&**file, 0, &mut bytes).is_ok_and(|got| got == len);
        if whole && Digest::of(digest.algorithm(), &bytes).is_some_and(|found| found == *digest) {
            return Some(bytes);
        }
        self.store.remove(digest);
        None
    }

    pub(super) fn keep(&self, digest: &Digest, bytes: &[u8]) {
        let write = || -> io::Result<()> {
            use std::os::unix::fs::FileExt as _;
            let mut part = self.store.begin(digest, bytes.len() as u64)?;
            part.restart()?;
            part.file().write_all_at(bytes, 0)?;
            self.store.finish(part, digest).map(|_| ())
        };
        if let Err(e) = write() {
            log::warn!("cannot keep {digest}: {e}");
        }
    }

    /// Returns a large blob: kept, or on its way.
    pub(super) fn large(&self, digest: &Digest, size: u64) -> Result<Arc<dyn ReadAt>, Failure> {
        let mut downloads = self.downloads.lock();
        // Asked before the store is: one that ends well in between is as good as what it has put there. One that is
        // not there any more has put it there before.
        let under_way = downloads.get(digest).filter(|download| !download.is_over()).cloned();
        if let Some(file) = self.whole(digest, size) {
            return Ok(Arc::new(Kept(file)));
        }
        if let Some(download) = under_way
            && download.len().is_ok_and(|len| len == size)
        {
            return Ok(download);
        }
        self.check_pause()?;
        let all = self.downloads.clone();
        let ended = move |download: &Arc<Download>| {
            let mut all = all.lock();
            // Another one of the same digest, of a size that somebody else claims, is not ours to take out.
            if all.get(download.digest()).is_some_and(|other| Arc::ptr_eq(other, download)) {
                all.remove(download.digest());
            }
        };
        let (client, store) = (self.client.clone(), self.store.clone());
        let download = Download::start(client, store, digest.clone(), size, ended)?;
        downloads.insert(digest.clone(), download.clone());
        Ok(download)
    }

    /// Returns a blob that is here whole. Then nobody needs its parts, and the file that they are in.
    pub(super) fn whole(&self, digest: &Digest, size: u64) -> Option<Arc<Flock<File>>> {
        let file = self.store.find(digest, Some(size))?;
        self.parts.lock().remove(digest);
        Some(file)
    }

    /// Returns a blob of which parts are read. Others that nobody has read for long are closed for it.
    pub(super) fn parts(&self, digest: &Digest, size: u64) -> Result<Arc<Parts>, Failure> {
        let (mut all, now) = (self.parts.lock(), Instant::now());
        if let Some((parts, used)) = all.get_mut(digest).filter(|(parts, _)| parts.size() == size) {
            *used = now;
            return Ok(parts.clone());
        }
        let_go(&mut all, MAX_PARTLY, MAX_STORE);
        let (client, stats) = (self.client.clone(), self.parts_stats.clone());
        let parts = Arc::new(Parts::open(client, stats, self.store.clone(), digest, size)?);
        all.insert(digest.clone(), (parts.clone(), now));
        Ok(parts)
    }

    /// Fails at once where the registry has just made somebody wait for nothing.
    pub(super) fn check_pause(&self) -> Result<(), Failure> {
        check(&self.paused)
    }

    pub(super) fn pause_after<T>(&self, got: &io::Result<T>) {
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

/// Lets go of parts that nobody reads, those used longest ago first, until there is room for one more of `most`, and those
/// that the store does not count are within `bytes`.
fn let_go(all: &mut AllParts, most: usize, bytes: u64) {
    while all.len() >= most || all.values().map(|(parts, _)| parts.uncounted()).sum::<u64>() > bytes {
        let idle = all.iter().filter(|(_, (parts, _))| Arc::strong_count(parts) == 1);
        let oldest = idle.min_by_key(|(_, (_, used))| *used).map(|(digest, _)| digest.clone());
        let Some(oldest) = oldest else { break };
        all.remove(&oldest);
    }
}

pub(super) fn check(paused: &Paused) -> Result<(), Failure> {
    match &*paused.lock() {
        Some((since, failure)) if since.elapsed() < PAUSE => Err(failure.clone()),
        _ => Ok(()),
    }
}

pub(super) fn pause(paused: &Paused, failure: &Failure) {
    if matches!(failure, Failure::TimedOut(_)) {
        *paused.lock() = Some((Instant::now(), failure.clone()));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

    use super::super::tests::kit;
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn parts_used_longest_ago_are_let_go_and_none_that_is_read() {
        let shared = kit::shared(1, Duration::from_secs(1));
        let digests = [b"a", b"b", b"c"].map(|content| Digest::of(Algorithm::Sha256, content).unwrap());
        let read = shared.parts(&digests[0], 1 << 20).unwrap();
        for digest in [&digests[1], &digests[2], &digests[1]] {
            shared.parts(digest, 1 << 20).unwrap();
        }
        let mut all = shared.parts.lock();
        let there = |all: &AllParts| digests.each_ref().map(|digest| all.contains_key(digest));
        let_go(&mut all, 4, 0);
        assert_eq!(there(&all), [true, true, true], "nothing has come");
        let_go(&mut all, 3, 0);
        assert_eq!(there(&all), [true, true, false]);
        let_go(&mut all, 1, 0);
        assert_eq!(there(&all), [true, false, false]);
        drop(read);
        let_go(&mut all, 1, 0);
        assert_eq!(there(&all), [false, false, false]);
    }

    /// Each of those who waited began anew: eight times six tries, one after the other.
    #[test]
    fn a_failure_goes_to_all_who_wait_for_a_document() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let port = kit::serve(move |_, connection| {
            counted.fetch_add(1, SeqCst);
            let _ =
                connection.write_all(b"HTTP/1.1 503 Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        });
        let shared = kit::shared(port, Duration::from_secs(2));
        let digest = Digest::of(Algorithm::Sha256, b"document").unwrap();
        let all_there = Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    all_there.wait();
                    let got = shared.claimed(&digest, 8, Place::Blobs, &mut shared.client.patience());
                    assert!(matches!(got, Err(Failure::Network(_))), "{got:?}");
                });
            }
        });
        let asked = asked.load(SeqCst);
        assert!((1..=6).contains(&asked), "{asked}");
    }

    /// Whoever read it waited for ever, and so did all that came after.
    #[test]
    fn a_body_that_never_ends_holds_nobody() {
        let (blob, broken) = (vec![7; 1 << 20], Arc::new(AtomicBool::new(true)));
        let (served, is_broken) = (blob.clone(), broken.clone());
        let port = kit::serve(move |request, connection| {
            let (from, to) = kit::range(request).map_or((0, served.len()), |(from, to)| (from, to.unwrap()));
            let head =
                format!("HTTP/1.1 206 Part\r\nContent-Range: bytes {from}-{}/{}\r\n", to - 1, served.len());
            let head = if (from, to) == (0, served.len()) { "HTTP/1.1 200 OK\r\n".to_owned() } else { head };
            if !is_broken.load(SeqCst) {
                let head = format!("{head}Content-Length: {}\r\n\r\n", to - from);
                let _ = connection.write_all(&[head.as_bytes(), &served[from..to]].concat());
                return;
            }
            let head = format!("{head}Transfer-Encoding: chunked\r\n\r\n0\r\n");
            let mut sent = connection.write_all(head.as_bytes());
            while sent.is_ok() && is_broken.load(SeqCst) {
                std::thread::sleep(Duration::from_millis(100));
                sent = connection.write_all(b"trailer: x\r\n");
            }
        });
        let shared = kit::shared(port, Duration::from_secs(1));
        let digest = Digest::of(Algorithm::Sha256, &blob).unwrap();
        let size = blob.len() as u64;
        let parts = shared.parts(&digest, size).unwrap();
        let start = Instant::now();
        std::thread::scope(|scope| {
            // Who asks for a lot may wait long for it. It is over when the connection is.
            let many = scope.spawn(|| parts.read_at(0, &mut vec![0; 10 << 16]));
            std::thread::sleep(Duration::from_millis(300));
            let in_vain = [
                scope.spawn(|| parts.read_at(size - 10, &mut [0; 10])),
                scope.spawn(|| parts.read_at(0, &mut [0; 10])),
                scope.spawn(|| shared.large(&digest, size).unwrap().read_at(0, &mut [0; 10])),
            ];
            for got in in_vain.map(|reader| reader.join().unwrap()) {
                assert_eq!(got.unwrap_err().kind(), io::ErrorKind::TimedOut);
            }
            broken.store(false, SeqCst);
            assert!(many.join().unwrap().is_err(), "nothing came in time");
            let anew = shared.large(&digest, size).unwrap();
            assert_eq!(anew.read_at(0, &mut [0; 10]).unwrap(), 10, "what failed is asked for anew");
        });
        assert!(start.elapsed() < Duration::from_secs(18), "{:?}", start.elapsed());
    }
}
