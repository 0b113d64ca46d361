//! How many names each blob has in the mount: the link count that du, rsync and tar rest on.
//!
//! The count needs every document of the source, so it is taken once, when first asked for, on a thread of its own. Who asks
//! waits for it a moment from its beginning on, in which the count of a few dozen images is done; later nobody does.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::blobs::BlobId;
use super::grow::aside;

/// How long the count is waited for.
const MOMENT: Duration = Duration::from_millis(200);

/// How long after one that failed the next count begins.
const PAUSE: Duration = Duration::from_secs(5);

/// Most names gone over. What has more is no layout of this world, and its blobs are not counted.
pub(super) const MAX_NAMES: usize = 1 << 24;

/// What is told of a blob that is not counted: whatever is shown has one name in blobs/ and one where it was met.
pub(super) const UNCOUNTED: u32 = 2;

/// What counting came to.
pub(super) enum Count {
    /// The number of names of each blob that has more than one.
    Counted(HashMap<BlobId, u32>),
    /// There are more than [`MAX_NAMES`].
    TooMany,
    /// Something could not be read that may be the next time.
    Failed,
}

/// The counts, once taken.
#[derive(Default)]
pub(super) struct Links {
    counts: OnceLock<Option<HashMap<BlobId, u32>>>,
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Default, Clone, Copy)]
enum Progress {
    #[default]
    Idle,
    Counting {
        since: Instant,
    },
    Failed {
        at: Instant,
    },
}

impl Progress {
    /// Says whether who asks now waits.
    fn is_waited_for(self) -> bool {
        match self {
            Self::Idle => true,
            Self::Counting { since } => since.elapsed() < MOMENT,
            Self::Failed { at } => at.elapsed() >= PAUSE,
        }
    }
}

impl Links {
    /// Returns the number of names of a blob, where the count is done.
    pub(super) fn of(&self, id: BlobId) -> Option<u32> {
        let counts = self.counts.get()?.as_ref();
        Some(counts.map_or(UNCOUNTED, |counts| counts.get(&id).copied().unwrap_or(1)))
    }

    /// Says whether asking for a number takes no time.
    pub(super) fn tell_at_once(&self) -> bool {
        self.counts.get().is_some() || !self.progress.lock().is_waited_for()
    }

    /// Has the count taken, unless it is, and waits a moment for it.
    pub(super) fn count(self: &Arc<Self>, count: impl FnOnce() -> Count + Send + 'static) {
        let mut progress = self.progress.lock();
        if self.counts.get().is_some() || !progress.is_waited_for() {
            return;
        }
        let since = match *progress {
            Progress::Counting { since } => since,
            Progress::Idle | Progress::Failed { .. } => {
                let links = self.clone();
                if !aside("links", move || links.end(count())) {
                    return;
                }
                Instant::now()
            }
        };
        *progress = Progress::Counting { since };
        let is_under_way = |progress: &mut Progress| matches!(progress, Progress::Counting { .. });
        self.changed.wait_while_until(&mut progress, is_under_way, since + MOMENT);
    }

    fn end(&self, count: Count) {
        let mut progress = self.progress.lock();
        *progress = match count {
            Count::Failed => Progress::Failed { at: Instant::now() },
            Count::Counted(counts) => {
                self.counts.get_or_init(|| Some(counts));
                Progress::Idle
            }
            Count::TooMany => {
                self.counts.get_or_init(|| None);
                Progress::Idle
            }
        };
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    const A: BlobId = BlobId(7);

    #[test]
    fn a_quick_count_is_told_at_once_and_taken_once() {
        let links = Arc::new(Links::default());
        assert!(!links.tell_at_once() && links.of(A).is_none());
        links.count(|| Count::Counted(HashMap::from([(A, 3)])));
        assert_eq!((links.of(A), links.of(BlobId(8))), (Some(3), Some(1)));
        links.count(|| unreachable!("it is counted"));
        assert!(links.tell_at_once());
    }

    #[test]
    fn a_long_count_holds_up_nobody() {
        let links = Arc::new(Links::default());
        let (go_on, wait) = channel();
        links.count(move || {
            wait.recv().unwrap();
            Count::TooMany
        });
        assert!(links.tell_at_once() && links.of(A).is_none(), "the moment is over");
        let begin = Instant::now();
        (0..1_000).for_each(|_| links.count(|| unreachable!("one is under way")));
        assert!(begin.elapsed() < MOMENT);
        go_on.send(()).unwrap();
        while links.of(A).is_none() {
            std::thread::yield_now();
        }
        assert_eq!(links.of(A), Some(UNCOUNTED));
    }

    #[test]
    fn a_failure_is_not_taken_for_a_count() {
        let links = Arc::new(Links::default());
        links.count(|| Count::Failed);
        assert!(links.of(A).is_none() && links.tell_at_once(), "not for each who asks anew");
        *links.progress.lock() = Progress::Failed { at: Instant::now() - PAUSE };
        links.count(|| Count::Counted(HashMap::new()));
        assert_eq!(links.of(A), Some(1));
    }
}
