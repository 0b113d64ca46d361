//! Where indexes and decompressed streams live on disk: a directory of ours, bounded, safe with several ocifs at once.

pub(crate) mod ours;
pub(crate) mod room;

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::SystemTime;

use room::{Filling, Used};

use crate::oci::Digest;

/// Most bytes of indexes kept: some hundred large layers.
const MAX_INDEXES: u64 = 1 << 30;

/// Most bytes of decompressed streams kept: what can be made again is not worth more of somebody's disk.
const MAX_SPILLS: u64 = 8 << 30;

/// Largest index file read. Its parts have bounds that add up to less.
const MAX_INDEX: u64 = 1 << 30;

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
    added: [Filling; 2],
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
        if !ours::is_ours(&self.root.join(shelf.name())) {
            return None;
        }
        let file = ours::open(&self.path(shelf, key))?;
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
        ours::make_dir(&dir)?;
        let path = dir.join(format!(".unfinished-{}", ours::unique_suffix()));
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

    fn make_room(&self, shelf: Shelf, len: u64) {
        if self.added[shelf as usize].add(len, shelf.limit()) {
            self.evict(shelf);
        }
    }

    /// Removes what was used longest ago until the shelf is within its limit. Who has it open reads on.
    fn evict(&self, shelf: Shelf) {
        let Ok(entries) = fs::read_dir(self.root.join(shelf.name())) else { return };
        let mut files = Vec::new();
        for entry in entries.flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            let at = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            if !entry.file_name().as_encoded_bytes().starts_with(b".unfinished-") {
                files.push(Used { at, len: meta.len(), path: entry.path() });
            } else if room::is_abandoned(at) {
                let _ = fs::remove_file(entry.path());
            }
        }
        room::remove_oldest(files, |total| total <= shelf.limit(), |path| fs::remove_file(path).is_ok());
    }
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
