//! Chunks in memory: decoded once, pushed out for others, a failure forgotten.

/// The file that ocifs is built of, with loom's locks in place of parking_lot's.
#[path = "../../src/stream/blocks.rs"]
mod blocks;

/// Largest buffer that is kept to be filled again; the file asks its neighbour.
const CHUNK: u64 = 128 << 10;

#[cfg(test)]
mod orders {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use loom::thread;

    use super::blocks::{BlockCache, Key, PLACE};

    /// Bytes of each chunk.
    const LEN: usize = 10;

    /// How often a thread may be stopped where it does not wait. Without a bound three threads take minutes; what goes wrong
    /// at all goes wrong with two or three (Musuvathi and Qadeer, 2007).
    const MAX_PREEMPTIONS: usize = 3;

    /// What a caller asks for, and what comes of decoding it.
    type Call = (u32, Result<(), &'static str>);

    fn key(number: u32) -> Key {
        (0, number)
    }

    fn chunk(number: u32) -> Arc<Vec<u8>> {
        Arc::new(vec![number as u8; LEN])
    }

    /// Runs callers side by side in every order on a cache of so many chunks; hands their answers, and how many decoded, to
    /// `judge`.
    fn each_order(
        room: usize,
        callers: &'static [Call],
        judge: fn(&BlockCache, &[Result<Arc<Vec<u8>>, &'static str>], usize),
    ) {
        let mut orders = loom::model::Builder::new();
        orders.preemption_bound = Some(MAX_PREEMPTIONS);
        orders.check(move || {
            let cache = Arc::new(BlockCache::new((room * (LEN + PLACE)) as u64));
            // Not loom's: it counts, and orders nothing.
            let decoded = Arc::new(AtomicUsize::new(0));
            let threads: Vec<_> = callers
                .iter()
                .map(|(number, outcome)| {
                    let (cache, decoded) = (cache.clone(), decoded.clone());
                    thread::spawn(move || {
                        let got = cache.get(key(*number), || {
                            decoded.fetch_add(1, SeqCst);
                            thread::yield_now();
                            // As the decoders do it: a buffer of a chunk that was pushed out is filled again.
                            let mut bytes = cache.buffer(LEN);
                            bytes.fill(*number as u8);
                            outcome.map(|()| Arc::new(bytes))
                        });
                        if let Ok(got) = &got {
                            assert_eq!(*got, chunk(*number), "somebody else's bytes");
                        }
                        got
                    })
                })
                .collect();
            let answers: Vec<_> = threads.into_iter().map(|t| t.join().expect("no panic")).collect();
            judge(&cache, &answers, decoded.load(SeqCst));
        });
    }

    /// Asks for chunks one after the other, and checks that the cache holds no more than it may: its count is right.
    fn holds_at_most(cache: &BlockCache, room: usize) {
        for number in 10..13 {
            assert!(cache.get(key(number), || Ok::<_, ()>(chunk(number))).is_ok());
            assert!(cache.has(key(number)), "the one used last is there");
            let held = (0..13).filter(|number| cache.has(key(*number))).count();
            assert!(held <= room, "{held} of {room}");
        }
    }

    #[test]
    fn a_chunk_is_decoded_once_and_given_to_all() {
        each_order(2, &[(1, Ok(())), (1, Ok(())), (1, Ok(()))], |cache, answers, decoded| {
            assert_eq!(decoded, 1);
            assert!(answers.iter().all(Result::is_ok));
            assert!(cache.has(key(1)));
            holds_at_most(cache, 2);
        });
    }

    #[test]
    fn a_failure_is_told_to_one_and_the_next_tries_again() {
        each_order(2, &[(1, Err("no")), (1, Ok(()))], |cache, answers, decoded| {
            assert!((1..=2).contains(&decoded), "{decoded}");
            // Whoever could decode it has it, whatever became of the other.
            assert!(answers[1].is_ok() && cache.has(key(1)));
            assert!(answers[0].is_ok() || decoded == 2);
            holds_at_most(cache, 2);
        });
    }

    #[test]
    fn after_failures_the_count_is_right() {
        each_order(1, &[(1, Err("a")), (1, Err("b")), (1, Ok(()))], |cache, answers, _| {
            assert!(answers[2].is_ok() && cache.has(key(1)));
            holds_at_most(cache, 1);
        });
    }

    #[test]
    fn chunks_that_push_each_other_out_while_they_are_decoded() {
        each_order(1, &[(1, Ok(())), (2, Ok(())), (1, Ok(()))], |cache, answers, decoded| {
            assert!(answers.iter().all(Result::is_ok));
            // Pushed out between two who want it, it is decoded again.
            assert!((2..=3).contains(&decoded), "{decoded}");
            assert!(!(cache.has(key(1)) && cache.has(key(2))));
            holds_at_most(cache, 1);
        });
    }

    #[test]
    fn who_looks_whether_a_chunk_is_there_waits_for_nobody() {
        loom::model(|| {
            let cache = Arc::new(BlockCache::new((LEN + PLACE) as u64));
            let other = cache.clone();
            let decoding = thread::spawn(move || other.get(key(1), || Ok::<_, ()>(chunk(1))));
            if cache.has(key(1)) {
                assert_eq!(cache.get(key(1), || Err("decoded again")), Ok(chunk(1)));
            }
            assert!(decoding.join().expect("no panic").is_ok() && cache.has(key(1)));
        });
    }
}
