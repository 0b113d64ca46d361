//! How many names each blob has in the mount: the link count that du, rsync and tar rest on.
//!
//! The count needs every document of the source, so it is taken once, when first asked for, on a thread of its own. Of a source of
//! few images who asks waits for it a moment from its beginning on, in which it mostly is done; else nobody waits.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::blobs::BlobId;
use super::grow::aside;

/// How long the count is waited for, of a source of few images.
const MOMENT: Duration = Duration::from_millis(200);

/// Most entries of index.json that are few; some milliseconds.
const FEW: usize = 32;

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
pub(super) struct Links {
    /// How long the count is waited for.
    moment: Duration,
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

impl Links {
    /// Nothing is counted yet, in a source of so many images.
    pub(super) fn new(images: usize) -> Self {
        let moment = if images > FEW { Duration::ZERO } else { MOMENT };
        Self { moment, counts: OnceLock::new(), progress: Mutex::default(), changed: Condvar::new() }
    }

    /// Says whether who asks now begins a count or waits for one.
    fn takes_time(&self, progress: Progress) -> bool {
        match progress {
            Progress::Idle => true,
            Progress::Counting { since } => since.elapsed() < self.moment,
            Progress::Failed { at } => at.elapsed() >= PAUSE,
        }
    }

    /// Returns the number of names of a blob, where the count is done.
    pub(super) fn of(&self, id: BlobId) -> Option<u32> {
        let counts = self.counts.get()?.as_ref();
        Some(counts.map_or(UNCOUNTED, |counts| counts.get(&id).copied().unwrap_or(1)))
    }

    /// Says whether asking for a number takes no time.
    pub(super) fn tell_at_once(&self) -> bool {
        self.counts.get().is_some() || !self.takes_time(*self.progress.lock())
    }

    /// Has the count taken, unless it is, and waits a moment for it.
    pub(super) fn count(self: &Arc<Self>, count: impl FnOnce() -> Count + Send + 'static) {
        let mut progress = self.progress.lock();
        if self.counts.get().is_some() || !self.takes_time(*progress) {
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
        self.changed.wait_while_until(&mut progress, is_under_way, since + self.moment);
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
        let links = Arc::new(Links::new(1));
        assert!(!links.tell_at_once() && links.of(A).is_none());
        links.count(|| Count::Counted(HashMap::from([(A, 3)])));
        assert_eq!((links.of(A), links.of(BlobId(8))), (Some(3), Some(1)));
        links.count(|| unreachable!("it is counted"));
        assert!(links.tell_at_once());
    }

    #[test]
    fn a_long_count_holds_up_nobody() {
        let links = Arc::new(Links::new(1));
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
    fn of_many_images_nobody_waits() {
        let links = Arc::new(Links::new(10_000));
        let (go_on, wait) = channel();
        let begin = Instant::now();
        links.count(move || {
            wait.recv().unwrap();
            Count::Counted(HashMap::new())
        });
        assert!(begin.elapsed() < MOMENT && links.of(A).is_none());
        go_on.send(()).unwrap();
    }

    #[test]
    fn a_failure_is_not_taken_for_a_count() {
        let links = Arc::new(Links::new(1));
        links.count(|| Count::Failed);
        assert!(links.of(A).is_none() && links.tell_at_once(), "not for each who asks anew");
        *links.progress.lock() = Progress::Failed { at: Instant::now() - PAUSE };
        links.count(|| Count::Counted(HashMap::new()));
        assert_eq!(links.of(A), Some(1));
    }
}
