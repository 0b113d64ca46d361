//! Putting small files into the kernel's cache before anybody asks for them.
//!
//! A thread of its own does: the kernel has it wait for a page that somebody reads at that moment, until the read is answered.
//! It waits so where no signal reaches it, and holds the device meanwhile. If everything else is killed just then, nobody is left
//! to answer, so none of this happens without a keeper that would end the connection; see [`super::keeper`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};

use fuser::{INodeNo, Notifier};

use crate::view::{Foresight, Ino, Seen, View};

/// Most that was seen and not thought about; more is forgotten.
const MAX_WAITING: usize = 16;

/// The way to the thread that puts files into the kernel's cache. Does nothing until [`Push::begin`].
#[derive(Clone, Default)]
pub(super) struct Push(Arc<Shared>);

#[derive(Default)]
struct Shared {
    seen: OnceLock<SyncSender<Seen>>,
    /// Whether listings matter now.
    heeds_listings: AtomicBool,
}

impl Push {
    /// Starts the thread. Without one everything is asked for, and nothing else is lost.
    pub(super) fn begin(&self, notifier: Notifier, view: Arc<View>) {
        let (seen_in, seen) = sync_channel(MAX_WAITING);
        let push = self.clone();
        let thread = std::thread::Builder::new().name("push".to_owned());
        if thread.spawn(move || push.follow(&seen, &notifier, &view)).is_ok() {
            let _ = self.0.seen.set(seen_in);
        }
    }

    /// Notes that a file was read from its beginning.
    pub(super) fn after_reading(&self, ino: Ino) {
        self.note(Seen::Read(ino));
    }

    /// Notes that a directory was listed from its beginning.
    pub(super) fn after_listing(&self, ino: Ino) {
        if self.0.heeds_listings.load(Relaxed) {
            self.note(Seen::Listed(ino));
        }
    }

    fn note(&self, seen: Seen) {
        if let Some(thread) = self.0.seen.get() {
            let _ = thread.try_send(seen);
        }
    }

    fn follow(&self, seen: &Receiver<Seen>, notifier: &Notifier, view: &View) {
        let mut foresight = Foresight::default();
        while let Ok(seen) = seen.recv() {
            let mut store = |ino: Ino, bytes: &[u8]| notifier.store(INodeNo(ino.raw()), 0, bytes).is_ok();
            let push = || view.foresee(&mut foresight, seen, &mut store);
            // A bug there is met again by who reads the file; here it would end this for everybody.
            if catch_unwind(AssertUnwindSafe(push)).is_err() {
                foresight = Foresight::default();
            }
            self.0.heeds_listings.store(foresight.heeds_listings(), Relaxed);
        }
    }
}
