//! Several things done at once, on threads that last as long as it takes.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

/// Returns how many processors there are for us. Asked once, before the cage: what limits a container stands in files that
/// cannot be opened in it.
pub fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Does `act` with each of `things`, on at most `threads` threads, of which the caller's is one, taking them up in their
/// order. Returns what came of each, in that order too; nothing for one at which another thread panicked.
pub fn side_by_side<T: Sync, R: Send>(
    things: &[T],
    threads: usize,
    act: impl Fn(&T) -> R + Sync,
) -> Vec<Option<R>> {
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<R>>> = things.iter().map(|_| Mutex::new(None)).collect();
    let work = || {
        while let Some((thing, result)) = {
            let n = next.fetch_add(1, Relaxed);
            things.get(n).zip(results.get(n))
        } {
            *result.lock() = Some(act(thing));
        }
    };
    std::thread::scope(|scope| {
        // Where the system has no thread left, fewer do it.
        let another = |_| std::thread::Builder::new().spawn_scoped(scope, work).ok();
        let others: Vec<_> = (1..threads.min(things.len())).filter_map(another).collect();
        work();
        for other in others {
            // Its panic was told when it happened, and what it leaves out the caller sees.
            let _ = other.join();
        }
    });
    results.into_iter().map(Mutex::into_inner).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread::{ThreadId, current};

    use super::*;

    #[test]
    fn each_once_and_in_its_place() {
        for (count, threads) in [(0, 4), (1, 4), (100, 0), (100, 1), (100, 7)] {
            let things: Vec<usize> = (0..count).collect();
            let done = side_by_side(&things, threads, |n| n * 2);
            assert_eq!(done, (0..count).map(|n| Some(n * 2)).collect::<Vec<_>>(), "{count} {threads}");
        }
    }

    #[test]
    fn at_the_same_time() {
        let all_there = Barrier::new(3);
        let threads = side_by_side(&[(); 3], 3, |()| {
            all_there.wait();
            current().id()
        });
        let different: std::collections::HashSet<Option<ThreadId>> = threads.into_iter().collect();
        assert_eq!(different.len(), 3);
    }

    #[test]
    fn a_panic_elsewhere_leaves_a_gap() {
        let (own, both_there) = (current().id(), Barrier::new(2));
        let done = side_by_side(&[1, 2], 2, |n| {
            both_there.wait();
            assert!(current().id() == own, "a bug");
            *n
        });
        assert_eq!(done.iter().flatten().count(), 1);
    }
}
