//! Decoding ahead of somebody who reads on.

use std::ops::Range;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use parking_lot::Mutex;

/// Chunks decoded ahead of a reader.
pub(super) const AHEAD: u64 = 8;

/// Wishes waiting; more are dropped, for a wish is only a wish.
const MAX_WAITING: usize = 32;

/// Most threads that decode ahead.
const MAX_THREADS: usize = 4;

/// Something whose chunks can be decoded before they are asked for.
pub(super) trait Fetch: Send + Sync {
    /// Decodes chunks into memory, if it can.
    fn fetch(&self, chunks: Range<u64>);
}

type Wish = (Arc<dyn Fetch>, Range<u64>);

/// Threads that decode chunks before they are asked for. They start with the first wish.
#[derive(Default)]
pub(super) struct Prefetcher(OnceLock<SyncSender<Wish>>);

impl Prefetcher {
    /// Wishes for some chunks.
    pub(super) fn wish(&self, stream: Arc<dyn Fetch>, chunks: Range<u64>) {
        let wishes = self.0.get_or_init(|| {
            let (wishes, waiting) = sync_channel(MAX_WAITING);
            let waiting = Arc::new(Mutex::new(waiting));
            for _ in 0..MAX_THREADS {
                let waiting = waiting.clone();
                let thread = std::thread::Builder::new().name("prefetch".to_owned());
                // Without threads nothing is decoded ahead, and nothing else is lost.
                let _ = thread.spawn(move || fulfil(&waiting));
            }
            wishes
        });
        let _ = wishes.try_send((stream, chunks));
    }
}

fn fulfil(waiting: &Mutex<Receiver<Wish>>) {
    loop {
        let wish = waiting.lock().recv();
        let Ok((stream, chunks)) = wish else { return };
        stream.fetch(chunks);
    }
}
