//! Decoding ahead of somebody who reads on.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use parking_lot::Mutex;

/// Most chunks decoded ahead of a reader, and up to half a run more to where one can begin: 8 MiB, a quarter of what is
/// kept in memory.
const MAX_AHEAD: u64 = 64;

/// Chunks of a run. From half of that on, one is decoded beside another.
pub(super) const LONG: u64 = 32;

/// Wishes waiting; more are dropped, for a wish is only a wish.
const MAX_WAITING: usize = 32;

/// Most threads that decode ahead.
const MAX_THREADS: usize = 4;

/// How far ahead of a reader to decode: further the longer somebody reads on, not at all for who jumps about.
#[derive(Default)]
pub(super) struct Ahead {
    /// The chunk after the ones read last.
    next: u64,
    /// How many chunks to be ahead.
    window: u64,
    /// Up to which chunk was wished for.
    wished: u64,
}

impl Ahead {
    /// Returns the runs to decode after `read` was read from a stream of so many chunks.
    ///
    /// `entry` says for a chunk which is the first from it on that decoding can begin at without much ado: runs begin
    /// there, or where the last one ended.
    pub(super) fn after_reading(
        &mut self,
        read: Range<u64>,
        chunks: u64,
        entry: impl Fn(u64) -> u64,
    ) -> Vec<Range<u64>> {
        if read.end == self.next {
            // Still in the same chunk.
            return Vec::new();
        }
        let goes_on = read.start <= self.next && read.end > self.next;
        self.next = read.end;
        if !goes_on {
            (self.window, self.wished) = (0, read.end);
            return Vec::new();
        }
        self.window = (self.window * 2).clamp(2, MAX_AHEAD);
        let goal = (read.end + self.window).min(chunks);
        let from = self.wished.max(read.end);
        // Half a window at a time: a wish for each chunk would be as many runs as chunks.
        if goal < from + (self.window / 2).max(1) && goal < chunks {
            return Vec::new();
        }
        let goal = entry(goal).clamp(from, chunks);
        self.wished = goal;
        let mut runs = Vec::new();
        let mut start = from;
        while start < goal {
            let is_last = goal - start < LONG + LONG / 2;
            let end = if is_last { goal } else { entry(start + LONG).clamp(start + 1, goal) };
            runs.push(start..end);
            start = end;
        }
        runs
    }
}

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
        // A bug there is met again by who reads the chunk; here it would end decoding ahead for everybody.
        let _ = catch_unwind(AssertUnwindSafe(|| stream.fetch(chunks)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_on_is_decoded_for_ever_further_and_no_chunk_twice() {
        let mut ahead = Ahead::default();
        let mut wished = Vec::new();
        for chunk in 0..200 {
            let runs = ahead.after_reading(chunk..chunk + 1, 200, |chunk| chunk);
            assert!(runs.iter().all(|run| run.start > chunk && run.end <= chunk + 1 + MAX_AHEAD));
            wished.extend(runs.into_iter().flatten());
        }
        assert!(wished.windows(2).all(|w| w[1] == w[0] + 1), "in order, each once");
        assert_eq!((wished.first(), wished.last()), (Some(&1), Some(&199)));
    }

    #[test]
    fn who_jumps_about_gets_nothing() {
        let mut ahead = Ahead::default();
        for chunk in [50, 10, 70, 30, 90] {
            assert!(ahead.after_reading(chunk..chunk + 1, 200, |chunk| chunk).is_empty());
            assert!(
                ahead.after_reading(chunk..chunk + 1, 200, |chunk| chunk).is_empty(),
                "the same chunk again"
            );
        }
    }
}
