//! Decoding ahead of somebody who reads on.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use parking_lot::Mutex;

use super::Layer;

/// Chunks decoded ahead of a reader.
pub(super) const AHEAD: u64 = 3;

/// Wishes waiting; more are dropped, for a wish is only a wish.
const MAX_WAITING: usize = 32;

/// Most threads that decode ahead.
const MAX_THREADS: usize = 2;

type Wish = (Arc<Layer>, u64);

/// Threads that decode chunks before they are asked for. They start with the first wish.
#[derive(Default)]
pub(super) struct Prefetcher(OnceLock<SyncSender<Wish>>);

impl Prefetcher {
    /// Wishes for a chunk.
    pub(super) fn wish(&self, layer: &Arc<Layer>, chunk: u64) {
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
        let _ = wishes.try_send((layer.clone(), chunk));
    }
}

fn fulfil(waiting: &Mutex<Receiver<Wish>>) {
    loop {
        let wish = waiting.lock().recv();
        let Ok((layer, chunk)) = wish else { return };
        // Who asks for the chunk itself meets the same failure and tells it.
        let _ = layer.chunk(chunk);
    }
}
