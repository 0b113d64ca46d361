//! Blobs in files without names, where no directory keeps them: they end with this process, and are bounded until then.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::statvfs::statvfs;
use parking_lot::Mutex;

use crate::oci::Digest;

/// Most blobs held: each takes a file descriptor, of which there may be 1024.
const MAX_FILES: usize = 400;

/// The blobs of this process alone.
pub(super) struct Nameless {
    /// Most bytes held.
    limit: u64,
    files: Mutex<Files>,
}

#[derive(Default)]
struct Files {
    held: HashMap<Digest, Held>,
    /// Counts uses, to tell what was used longest ago.
    uses: u64,
}

struct Held {
    file: Arc<Flock<File>>,
    len: u64,
    used: u64,
}

impl Nameless {
    /// Holds at most `limit` bytes.
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, files: Mutex::default() }
    }

    /// Returns the blob where it is held, and marks it used.
    pub(super) fn find(&self, digest: &Digest) -> Option<Arc<Flock<File>>> {
        let mut files = self.files.lock();
        files.uses += 1;
        let used = files.uses;
        let held = files.held.get_mut(digest)?;
        held.used = used;
        Some(held.file.clone())
    }

    pub(super) fn has(&self, digest: &Digest, size: u64) -> bool {
        self.files.lock().held.get(digest).is_some_and(|held| held.len == size)
    }

    pub(super) fn remove(&self, digest: &Digest) {
        self.files.lock().held.remove(digest);
    }

    /// Makes a file for a blob of `size` bytes. What was used longest ago goes for it; an error says where there is no
    /// room all the same.
    pub(super) fn begin(&self, size: u64) -> io::Result<Flock<File>> {
        let dir = std::env::temp_dir();
        self.make_room(size, || free(&dir)).map_err(|free| full(&dir, free, size))?;
        file(&dir)
    }

    /// Holds a finished blob.
    pub(super) fn keep(&self, digest: &Digest, file: &Arc<Flock<File>>, len: u64) {
        // Where files are closed now, there is nothing to fail for: the blob is here.
        let _ = self.make_room(len, || u64::MAX);
        let mut files = self.files.lock();
        files.uses += 1;
        let held = Held { file: file.clone(), len, used: files.uses };
        files.held.insert(digest.clone(), held);
    }

    /// Lets go of blobs until `size` more bytes are within the bounds, and in what is free on the disk. Nobody's blob is
    /// taken away while it is read; a blob above the limit is held alone. Fails with what is free.
    fn make_room(&self, size: u64, free: impl Fn() -> u64) -> Result<(), u64> {
        let mut files = self.files.lock();
        loop {
            let total = files.held.values().map(|held| held.len).sum::<u64>().saturating_add(size);
            let left = free();
            if total <= self.limit && files.held.len() < MAX_FILES && left >= size {
                return Ok(());
            }
            let idle = files.held.iter().filter(|(_, held)| Arc::strong_count(&held.file) == 1);
            match idle.min_by_key(|(_, held)| held.used).map(|(digest, _)| digest.clone()) {
                Some(oldest) => files.held.remove(&oldest),
                None if left >= size => return Ok(()),
                None => return Err(left),
            };
        }
    }
}

/// Makes a file without a name in a directory.
pub(super) fn file(dir: &Path) -> io::Result<Flock<File>> {
    let flags = libc::O_TMPFILE | libc::O_CLOEXEC;
    let file = File::options().read(true).write(true).mode(0o600).custom_flags(flags).open(dir)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| e.into())
}

/// Says that there is no room for a blob of `size` bytes.
pub(super) fn full(dir: &Path, free: u64, size: u64) -> io::Error {
    let what = format!("{} has {free} bytes left, and it has {size}", dir.display());
    io::Error::new(io::ErrorKind::StorageFull, what)
}

/// Returns how many bytes may still be written; as many as there are where nobody says.
pub(super) fn free(dir: &Path) -> u64 {
    // Of one type on one machine, and of another on the next.
    #[allow(clippy::useless_conversion)]
    match statvfs(dir) {
        // ramfs has no size, and says 0 of everything.
        Ok(told) if told.blocks() > 0 => {
            u64::from(told.blocks_available()).saturating_mul(u64::from(told.fragment_size()))
        }
        _ => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    fn put(nameless: &Nameless, content: &[u8]) -> Digest {
        let digest = Digest::of(Algorithm::Sha256, content).unwrap();
        let len = content.len() as u64;
        nameless.keep(&digest, &Arc::new(nameless.begin(len).unwrap()), len);
        digest
    }

    fn held(nameless: &Nameless, digest: &Digest) -> bool {
        nameless.files.lock().held.contains_key(digest)
    }

    #[test]
    fn what_was_used_longest_ago_goes_and_nothing_that_is_read() {
        let nameless = Nameless::new(9);
        let [read, old, used] = [b"abc", b"def", b"ghi"].map(|content| put(&nameless, content));
        let reader = nameless.find(&read).unwrap();
        nameless.find(&old).unwrap();
        nameless.find(&used).unwrap();
        let new = put(&nameless, b"jkl");
        assert_eq!([&read, &old, &used, &new].map(|d| held(&nameless, d)), [true, false, true, true]);
        // Above the limit, alone but for what is read.
        let large = put(&nameless, b"0123456789");
        assert_eq!([&read, &used, &new, &large].map(|d| held(&nameless, d)), [true, false, false, true]);
        drop(reader);
        put(&nameless, b"mno");
        assert_eq!([&read, &large].map(|d| held(&nameless, d)), [false, false]);
    }

    #[test]
    fn their_number_is_bounded() {
        let nameless = Nameless::new(u64::MAX);
        for n in 0..MAX_FILES + 5 {
            put(&nameless, format!("{n}").as_bytes());
        }
        assert_eq!(nameless.files.lock().held.len(), MAX_FILES);
    }

    #[test]
    fn a_full_disk_is_told() {
        let nameless = Nameless::new(u64::MAX);
        let digest = put(&nameless, b"abc");
        let said = nameless.begin(1 << 62).unwrap_err().to_string();
        assert!(said.contains("bytes left") && said.contains(&(1_u64 << 62).to_string()), "{said}");
        assert!(!held(&nameless, &digest), "it would have made room");
    }
}
