//! How many names each blob has in the mount: the link count that du, rsync and tar rest on.
//!
//! The count needs every document of the source, so it is taken once, when first asked for: at once for a source of
//! few images, beside for one of many, with what is known so far in the meantime.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::blobs::BlobId;

/// Most entries of index.json for which somebody who asks waits for the count; some milliseconds.
pub(super) const MAX_AT_ONCE: usize = 32;

/// The counts, once taken.
#[derive(Default)]
pub(super) struct Links {
    counts: OnceLock<HashMap<BlobId, u32>>,
    counting: Mutex<bool>,
}

impl Links {
    /// Returns the number of names of a blob, where the count is done.
    pub(super) fn of(&self, id: BlobId) -> Option<u32> {
        Some(self.counts.get()?.get(&id).copied().unwrap_or(1))
    }

    /// Says whether the count is taken.
    pub(super) fn are_counted(&self) -> bool {
        self.counts.get().is_some()
    }

    /// Takes the count now, unless it is taken.
    pub(super) fn count_now(&self, count: impl FnOnce() -> HashMap<BlobId, u32>) {
        self.counts.get_or_init(count);
    }

    /// Takes the count on a thread of its own, unless that runs already.
    pub(super) fn count_beside(
        self: &Arc<Self>,
        count: impl FnOnce() -> HashMap<BlobId, u32> + Send + 'static,
    ) {
        let mut counting = self.counting.lock();
        if *counting {
            return;
        }
        let links = self.clone();
        let thread = std::thread::Builder::new().name("links".to_owned());
        *counting = thread.spawn(move || links.count_now(count)).is_ok();
    }
}
