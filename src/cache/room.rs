//! How a directory stays within its limit: it is looked over now and then, and what was used longest ago goes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

/// How often a directory is looked over while it fills once.
pub(crate) const SWEEPS: u64 = 64;

/// After this long without a change an unfinished file belongs to nobody, and goes: its writer was killed.
pub(crate) const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// Counts what this process adds to a directory: looking it over takes a look at every file.
#[derive(Default, Debug)]
pub(crate) struct Filling(AtomicU64);

impl Filling {
    /// Says, after `len` bytes were added, whether it is time to look over a directory that may hold `limit`.
    pub(crate) fn add(&self, len: u64, limit: u64) -> bool {
        let added = self.0.fetch_add(len, Relaxed);
        let share = (limit / SWEEPS).max(1);
        added == 0 || added / share != (added + len) / share
    }
}

/// A file that may go.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Used {
    pub(crate) at: SystemTime,
    pub(crate) len: u64,
    pub(crate) path: PathBuf,
}

/// Says whether a file that was changed then is [`ABANDONED`].
pub(crate) fn is_abandoned(changed: SystemTime) -> bool {
    SystemTime::now().duration_since(changed).is_ok_and(|age| age > ABANDONED)
}

/// Removes what was used longest ago, as far as `remove` does, until there is `enough` room beside the bytes that are left.
pub(crate) fn remove_oldest(
    mut files: Vec<Used>,
    enough: impl Fn(u64) -> bool,
    remove: impl Fn(&Path) -> bool,
) {
    files.sort();
    let mut total: u64 = files.iter().map(|file| file.len).sum();
    for Used { len, path, .. } in files {
        if enough(total) {
            break;
        }
        if remove(&path) {
            total -= len;
        }
    }
}
