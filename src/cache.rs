//! Where indexes and decompressed streams live on disk: a directory of ours, bounded, safe with several ocifs at once.

use std::fs::{self, DirBuilder, File};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use crate::oci::Digest;

/// Most bytes of indexes kept: some hundred large layers.
const MAX_INDEXES: u64 = 1 << 30;

/// Most bytes of decompressed streams kept: what can be made again is not worth more of somebody's disk.
const MAX_SPILLS: u64 = 8 << 30;

/// Largest index file read. Its parts have bounds that add up to less.
const MAX_INDEX: u64 = 1 << 30;

/// How often a shelf is looked over while it fills once.
const SWEEPS: u64 = 64;

/// After this long an unfinished file belongs to nobody: its writer was killed.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// What a file of the cache is about: its name, a single path component.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key(String);

impl Key {
    /// Returns the key of something that has no digest of its own: `kind`, and a hash of all `parts` that tell it.
    pub fn derived(kind: &'static str, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(kind);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(format!("{kind}-{}", hasher.finalize().to_hex()))
    }

    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&Digest> for Key {
    fn from(digest: &Digest) -> Self {
        Self(format!("{}-{}", digest.algorithm_name(), digest.encoded()))
    }
}

/// What a file in the cache is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shelf {
    /// Layer indexes.
    Index,
    /// Decompressed streams.
    Spill,
}

impl Shelf {
    fn name(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Spill => "spill",
        }
    }

    /// Returns how many bytes the shelf may hold.
    pub fn limit(self) -> u64 {
        match self {
            Self::Index => MAX_INDEXES,
            Self::Spill => MAX_SPILLS,
        }
    }
}

/// A directory of our own. Everything about it may fail; the mount works without.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
    complained: AtomicBool,
    /// Bytes added to each shelf by this process.
    added: [AtomicU64; 2],
}

impl Cache {
    /// Uses `root`, which is made when first written to.
    pub fn new(root: PathBuf) -> Self {
        Self { root, complained: AtomicBool::new(false), added: Default::default() }
    }

    /// Reads an index file, and marks it used.
    pub fn read_index(&self, key: &Key) -> Option<Vec<u8>> {
        let path = self.path(Shelf::Index, key);
        let file = self.open(Shelf::Index, key)?;
        let len = file.metadata().ok()?.len();
        if len > MAX_INDEX {
            log::debug!("{}: too large for an index", path.display());
            return None;
        }
        let mut bytes = Vec::with_capacity(usize::try_from(len).ok()?);
        file.take(MAX_INDEX).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Opens a file of the cache, and marks it used.
    pub fn open(&self, shelf: Shelf, key: &Key) -> Option<File> {
        if !self.is_ours(&self.root.join(shelf.name())) {
            return None;
        }
        let path = self.path(shelf, key);
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
        let file = File::options().read(true).custom_flags(flags).open(&path).ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        // The time of last use, for eviction. Readable is good enough where it cannot be set.
        let _ = file.set_modified(SystemTime::now());
        Some(file)
    }

    /// Takes a file out, because it is not what it should be.
    pub fn remove(&self, shelf: Shelf, key: &Key) {
        let _ = fs::remove_file(self.path(shelf, key));
    }

    /// Writes a file as a whole, or not at all.
    pub fn write(&self, shelf: Shelf, key: &Key, bytes: &[u8]) {
        let done = self.begin(shelf).and_then(|mut unfinished| {
            unfinished.file.write_all(bytes)?;
            self.keep(unfinished, key)
        });
        if let Err(e) = done {
            self.complain(&e);
        }
    }

    /// Begins a file that becomes visible with [`Cache::keep`] only.
    pub fn begin(&self, shelf: Shelf) -> io::Result<Unfinished> {
        let dir = self.root.join(shelf.name());
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        if !self.is_ours(&dir) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "belongs to somebody else, or others may write to it",
            ));
        }
        let path = dir.join(format!(".unfinished-{}", unique_suffix()));
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Unfinished { file, path, shelf, kept: false })
    }

    /// Makes a finished file visible under `key`, and makes room for it.
    pub fn keep(&self, mut unfinished: Unfinished, key: &Key) -> io::Result<()> {
        // Not synced: a file that a crash tears is found out by its checksum, or its chunks', and made again.
        let len = unfinished.file.metadata()?.len();
        fs::rename(&unfinished.path, self.path(unfinished.shelf, key))?;
        unfinished.kept = true;
        self.make_room(unfinished.shelf, len);
        Ok(())
    }

    /// Says once that the cache is of no use; everything works without it, only slower.
    pub fn complain(&self, why: &io::Error) {
        if !self.complained.swap(true, Relaxed) {
            log::warn!(
                "{}: cannot be used as cache: {why}; everything is indexed anew at each mount",
                self.root.display()
            );
        }
    }

    fn path(&self, shelf: Shelf, key: &Key) -> PathBuf {
        self.root.join(shelf.name()).join(key.as_str())
    }

    /// What others can write to could be made by them, checksum and all.
    fn is_ours(&self, dir: &Path) -> bool {
        let own = nix::unistd::geteuid().as_raw();
        fs::symlink_metadata(dir).is_ok_and(|m| m.is_dir() && m.uid() == own && m.mode() & 0o022 == 0)
    }

    /// Makes room after `len` bytes were added: now and then, for it takes a look at every file.
    fn make_room(&self, shelf: Shelf, len: u64) {
        let added = self.added[shelf as usize].fetch_add(len, Relaxed);
        let share = shelf.limit() / SWEEPS;
        if added == 0 || added / share != (added + len) / share {
            self.evict(shelf);
        }
    }

    /// Removes what was used longest ago until the shelf is within its limit.
    fn evict(&self, shelf: Shelf) {
        let Ok(entries) = fs::read_dir(self.root.join(shelf.name())) else { return };
        let mut files = Vec::new();
        let now = SystemTime::now();
        for entry in entries.flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            let used = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            if entry.file_name().as_encoded_bytes().starts_with(b".unfinished-") {
                if now.duration_since(used).is_ok_and(|age| age > ABANDONED) {
                    let _ = fs::remove_file(entry.path());
                }
            } else {
                files.push((used, meta.len(), entry.path()));
            }
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, len, _)| len).sum();
        for (_, len, path) in files {
            if total <= shelf.limit() {
                break;
            }
            if fs::remove_file(path).is_ok() {
                total -= len;
            }
        }
    }
}

/// Returns what ends the name of a file being written, so that no other process writes to it: process numbers repeat, after
/// a restart, and in containers that share a cache.
pub(crate) fn unique_suffix() -> String {
    let random = RandomState::new().build_hasher().finish();
    format!("{}-{random:016x}", std::process::id())
}

/// A file that is not visible yet; it goes when it is dropped unfinished.
pub struct Unfinished {
    /// To write to.
    pub file: File,
    path: PathBuf,
    shelf: Shelf,
    kept: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}
