//! Blobs kept on this machine: a directory shared by all mounts, or nameless files that end with this one.
//!
//! A blob is written beside and gets its name only once its digest held. What has a name is believed no further: whoever
//! reads it checks it, and what turns out to be wrong is taken away with [`Store::remove`].

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::SystemTime;

use nix::fcntl::{Flock, FlockArg};
use parking_lot::Mutex;

use super::nameless::{self, Nameless};
use super::unfinished::{self, Part};
use crate::cache::ours::{self, is_ours};
use crate::cache::room::{self, Filling, SWEEPS, Used};
use crate::oci::Digest;

/// Begins the name of an unfinished file.
const UNFINISHED: &str = ".unfinished-";

/// Begins the name of a file that has parts of a blob.
const PARTS: &str = ".parts-";

/// Most files held open. Images have up to 127 layers; beyond this, files are opened for each read.
const MAX_HELD: usize = 400;

/// The blobs of this machine.
pub(super) struct Store {
    /// None: nothing is to be kept.
    dir: Option<PathBuf>,
    /// Most bytes kept.
    limit: u64,
    /// Open files. Their shared locks keep others from evicting them.
    held: Mutex<HashMap<Digest, Arc<Flock<File>>>>,
    /// What is not in the directory: because there is none, or none that can be used.
    nameless: Nameless,
    complained: AtomicBool,
    added: Filling,
}

impl Store {
    /// Uses `dir`, which is made when first written to, for at most `limit` bytes.
    pub(super) fn new(dir: Option<PathBuf>, limit: u64) -> Self {
        Self {
            dir,
            limit,
            held: Mutex::default(),
            nameless: Nameless::new(limit),
            complained: AtomicBool::new(false),
            added: Filling::default(),
        }
    }

    /// Returns the blob where it is there, in `size` bytes if the size is known, and marks it used.
    pub(super) fn find(&self, digest: &Digest, size: Option<u64>) -> Option<Arc<Flock<File>>> {
        let fits = |file: &File| file.metadata().is_ok_and(|meta| size.is_none_or(|size| meta.len() == size));
        if let Some(held) = self.held.lock().get(digest) {
            return fits(held).then(|| held.clone());
        }
        if let Some(held) = self.nameless.find(digest) {
            return fits(&held).then_some(held);
        }
        let path = self.path(digest)?;
        if !is_ours(path.parent()?) {
            return None;
        }
        let file = ours::open(&path).filter(fits)?;
        // Locked by somebody who is about to evict it: as good as gone.
        let file = Arc::new(Flock::lock(file, FlockArg::LockSharedNonblock).ok()?);
        let _ = file.set_modified(SystemTime::now());
        self.hold(digest, &file);
        Some(file)
    }

    /// Says whether the blob is there, of so many bytes: one that a descriptor states otherwise is asked for again.
    pub(super) fn has(&self, digest: &Digest, size: u64) -> bool {
        let held = self.held.lock().get(digest).and_then(|held| held.metadata().ok());
        let named = || {
            let path = self.path(digest)?;
            is_ours(path.parent()?).then(|| fs::symlink_metadata(path).ok())?
        };
        let is_it = |meta: fs::Metadata| meta.is_file() && meta.len() == size;
        self.nameless.has(digest, size) || held.or_else(named).is_some_and(is_it)
    }

    /// Takes a blob away, because it is not what it should be.
    pub(super) fn remove(&self, digest: &Digest) {
        self.held.lock().remove(digest);
        self.nameless.remove(digest);
        if let Some(path) = self.path(digest) {
            let _ = fs::remove_file(path);
        }
    }

    /// Begins a blob of `size` bytes, or goes on where an earlier attempt ended.
    pub(super) fn begin(&self, digest: &Digest, size: u64) -> io::Result<Part> {
        let nameless = || {
            let file = self.nameless.begin(size)?;
            Ok(Part { file, path: None, resumable: false, have: 0 })
        };
        let Some(dir) = &self.dir else { return nameless() };
        self.begin_in(dir, digest, size).or_else(|why| self.without(dir, &why, nameless))
    }

    fn begin_in(&self, dir: &Path, digest: &Digest, size: u64) -> io::Result<Part> {
        ours::make_dir(dir)?;
        let part = self.unfinished(dir, digest)?;
        let coming = size.saturating_sub(part.have);
        // What is small is looked after when it is here.
        if coming >= self.limit / SWEEPS || nameless::free(dir) < coming {
            self.evict(coming);
        }
        let free = nameless::free(dir);
        if free < coming {
            let is_empty = part.have == 0;
            part.give_up(is_empty);
            return Err(nameless::full(dir, free, coming));
        }
        Ok(part)
    }

    fn unfinished(&self, dir: &Path, digest: &Digest) -> io::Result<Part> {
        let common = dir.join(format!("{UNFINISHED}{}", file_name(digest)));
        if let Some(part) = unfinished::open(common.clone())? {
            return Ok(part);
        }
        // Somebody else fetches the same blob. Either of us may finish first.
        let mut own = common.into_os_string();
        own.push(format!("-{}", ours::unique_suffix()));
        let part = unfinished::open(PathBuf::from(own))?.map(|part| Part { resumable: false, ..part });
        part.ok_or_else(|| io::Error::other("a file of ours is locked by somebody else"))
    }

    /// Gives a blob, which is whole and of the right digest, its name.
    pub(super) fn finish(&self, part: Part, digest: &Digest) -> io::Result<Arc<Flock<File>>> {
        let len = part.file.metadata()?.len();
        let is_named = part.path.is_some();
        if let Some((path, to)) = part.path.as_ref().zip(self.path(digest)) {
            // What has a name should be whole after a crash as well.
            part.file.sync_data()?;
            fs::rename(path, &to)?;
            // Whoever reads from it has it open.
            let _ = fs::remove_file(to.with_file_name(format!("{PARTS}{}", file_name(digest))));
        }
        let file = part.file;
        file.relock(FlockArg::LockShared)?;
        let file = Arc::new(file);
        if is_named {
            self.hold(digest, &file);
            self.make_room(len);
        } else {
            self.nameless.keep(digest, &file, len);
        }
        Ok(file)
    }

    /// Opens the file for parts of a blob, which may be empty. Others may have it open and write to it as well.
    pub(super) fn parts(&self, digest: &Digest) -> io::Result<Flock<File>> {
        let nameless = || nameless::file(&std::env::temp_dir());
        let Some(dir) = &self.dir else { return nameless() };
        match self.parts_in(dir, digest) {
            Ok(Some(file)) => Ok(file),
            Ok(None) => nameless(),
            Err(why) => self.without(dir, &why, nameless),
        }
    }

    /// None where somebody is about to take the file away.
    fn parts_in(&self, dir: &Path, digest: &Digest) -> io::Result<Option<Flock<File>>> {
        ours::make_dir(dir)?;
        let path = dir.join(format!("{PARTS}{}", file_name(digest)));
        let file = ours::open_or_make(&path)?;
        let _ = file.set_modified(SystemTime::now());
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(file) if file.metadata()?.is_file() => Ok(Some(file)),
            _ => Ok(None),
        }
    }

    /// Does without a directory that cannot be used, and says so once. Where a file without a name cannot be had either,
    /// the directory may not be to blame: there may be no descriptors left.
    fn without<T>(
        &self,
        dir: &Path,
        why: &io::Error,
        nameless: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let made = nameless()?;
        if !self.complained.swap(true, Relaxed) {
            log::warn!(
                "{}: blobs cannot be kept there: {why}; they are kept in {} without names, until the end of this mount",
                dir.display(),
                std::env::temp_dir().display()
            );
        }
        Ok(made)
    }

    fn hold(&self, digest: &Digest, file: &Arc<Flock<File>>) {
        let mut held = self.held.lock();
        if held.len() < MAX_HELD {
            held.insert(digest.clone(), file.clone());
        }
    }

    fn path(&self, digest: &Digest) -> Option<PathBuf> {
        Some(self.dir.as_ref()?.join(file_name(digest)))
    }

    /// Makes room after `len` bytes were added: now and then, for it takes a look at every file.
    pub(super) fn make_room(&self, len: u64) {
        if self.added.add(len, self.limit) {
            self.evict(0);
        }
    }

    /// Removes what was used longest ago and is not open, until the store is within its limit with so many bytes more, and
    /// the disk has room for them.
    fn evict(&self, coming: u64) {
        let Some(dir) = &self.dir else { return };
        let Ok(entries) = fs::read_dir(dir) else { return };
        let mut files = Vec::new();
        for entry in entries.flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            let at = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let unfinished = entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes());
            if !meta.is_file() || (unfinished && room::is_abandoned(at) && remove_unused(&entry.path())) {
                continue;
            }
            // Files of parts are mostly holes.
            let is_partly = entry.file_name().as_encoded_bytes().starts_with(PARTS.as_bytes());
            let len = if is_partly { meta.len().min(meta.blocks() * 512) } else { meta.len() };
            files.push(Used { at, len, path: entry.path() });
        }
        let total: u64 = files.iter().map(|file| file.len).sum();
        if total.saturating_add(nameless::free(dir)) < coming {
            // All of it together would not make the room.
            return;
        }
        let enough = |total: u64| total.saturating_add(coming) <= self.limit && nameless::free(dir) >= coming;
        room::remove_oldest(files, enough, remove_unused);
    }
}

fn file_name(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm_name(), digest.encoded())
}

/// Removes a file unless somebody has it open. Returns whether it is gone.
fn remove_unused(path: &Path) -> bool {
    let Some(file) = ours::open(path) else { return false };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(_locked) => fs::remove_file(path).is_ok(),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;
    use std::time::Duration;

    use super::*;
    use crate::cache::room::ABANDONED;
    use crate::oci::Algorithm;

    fn put(store: &Store, content: &[u8]) -> Digest {
        let digest = Digest::of(Algorithm::Sha256, content).unwrap();
        let part = store.begin(&digest, 7).unwrap();
        part.file().write_all_at(content, 0).unwrap();
        store.finish(part, &digest).unwrap();
        digest
    }

    fn age(store: &Store, digest: &Digest, seconds: u64) {
        let file = File::options().write(true).open(store.path(digest).unwrap()).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
    }

    #[test]
    fn kept_found_and_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("blobs");
        let store = Store::new(Some(root.clone()), 1 << 20);
        let digest = put(&store, b"content");
        assert_eq!(fs::metadata(&root).unwrap().mode() & 0o777, 0o700);
        let again = Store::new(Some(root.clone()), 1 << 20);
        assert!(again.has(&digest, 7) && again.find(&digest, Some(7)).is_some());
        assert!(again.find(&digest, Some(8)).is_none(), "of another size");
        again.remove(&digest);
        assert!(!again.has(&digest, 7) && again.find(&digest, None).is_none());
        let digest = put(&again, b"content");
        fs::set_permissions(&root, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let other = Store::new(Some(root.clone()), 1 << 20);
        assert!(
            !other.has(&digest, 7) && other.find(&digest, None).is_none(),
            "others could have put it there"
        );
        let part = Store::new(Some(root), 1).begin(&digest, 7).unwrap();
        assert_eq!(part.path, None, "others can write to it");
    }

    #[test]
    fn nothing_is_kept_without_a_directory() {
        let store = Store::new(None, 1 << 20);
        let digest = put(&store, b"content");
        assert!(store.find(&digest, Some(7)).is_some());
        assert!(Store::new(None, 1 << 20).find(&digest, None).is_none());
    }

    #[test]
    fn an_unfinished_file_is_resumed_by_one_and_not_shared() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(Some(dir.path().join("b")), 1 << 20);
        let digest = Digest::of(Algorithm::Sha256, b"content").unwrap();
        let first = store.begin(&digest, 7).unwrap();
        first.file().write_all_at(b"con", 0).unwrap();
        let second = store.begin(&digest, 7).unwrap();
        assert_eq!((second.have, second.path != first.path), (0, true));
        drop(first);
        assert_eq!(store.begin(&digest, 7).unwrap().have, 3);
        let path = second.path.clone().unwrap();
        second.give_up(false);
        assert!(!path.exists());
    }

    #[test]
    fn the_oldest_go_first_and_none_that_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("b");
        let fill = Store::new(Some(root.clone()), 1 << 20);
        let [old, open, new] = [b"old", b"opn", b"new"].map(|c| put(&fill, c));
        drop(fill);
        let holder = Store::new(Some(root.clone()), 1 << 20);
        let held = holder.find(&open, None).unwrap();
        let store = Store::new(Some(root.clone()), 6);
        age(&store, &open, 300);
        age(&store, &old, 200);
        age(&store, &new, 100);
        store.evict(0);
        assert_eq!([&old, &open, &new].map(|d| store.has(d, 3)), [false, true, true]);
        drop((held, holder));
        let store = Store::new(Some(root), 3);
        store.evict(0);
        assert_eq!([&open, &new].map(|d| store.has(d, 3)), [false, true]);
    }

    #[test]
    fn what_nobody_finishes_goes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(Some(dir.path().join("b")), 1 << 20);
        let part = store.begin(&Digest::of(Algorithm::Sha256, b"x").unwrap(), 1).unwrap();
        let path = part.path.clone().unwrap();
        part.file().set_modified(SystemTime::now() - ABANDONED * 2).unwrap();
        store.evict(0);
        assert!(path.exists(), "somebody writes to it");
        drop(part);
        store.evict(0);
        assert!(!path.exists());
    }

    /// It was begun, and filled the disk.
    #[test]
    fn a_blob_is_begun_only_where_there_is_room_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("b");
        let store = Store::new(Some(root.clone()), 1 << 20);
        let digest = Digest::of(Algorithm::Sha256, b"content").unwrap();
        let said = store.begin(&digest, 1 << 62).map(|part| part.have).unwrap_err().to_string();
        assert!(said.contains("bytes left") && said.contains(&(1_u64 << 62).to_string()), "{said}");
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0, "nothing is left of it");
        let old = put(&Store::new(Some(root.clone()), 1 << 20), b"old");
        let store = Store::new(Some(root), 100);
        store.begin(&digest, 99).unwrap();
        assert!(!store.has(&old, 3), "room is made before it comes");
    }
}
