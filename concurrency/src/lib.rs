//! The orders in which threads can meet in [`flight::Flight`], and in the cache of decoded chunks: loom runs them all.
//!
//! What else of ocifs waits and wakes (workers, prefetching, passes) starts threads of its own and waits with time limits;
//! loom knows neither, and a copy of it made for loom would not be what ocifs is built of.

/// The file that ocifs is built of, with loom's locks in place of parking_lot's.
#[path = "../../src/flight.rs"]
pub mod flight;

mod chunks;

#[cfg(test)]
mod orders {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use loom::thread;

    use crate::flight::Flight;

    type Numbers = Flight<u8, usize, &'static str>;

    type Answer = Result<usize, &'static str>;

    /// How a caller asks.
    type Ask = fn(&Numbers, &mut dyn FnMut() -> Answer) -> Answer;

    const GET_OR_TRY: Ask = |flight, make| flight.get_or_try(&1, make);
    const SHARE: Ask = |flight, make| flight.share(&1, make);

    /// Runs callers side by side in every order, each of whom computes its own outcome; hands their answers and how many
    /// computed to `judge`.
    fn each_order(ask: Ask, callers: &'static [Answer], judge: fn(&Numbers, &[Answer], usize)) {
        loom::model(move || {
            let flight = Arc::new(Numbers::default());
            // Not loom's: it counts, and orders nothing.
            let computed = Arc::new(AtomicUsize::new(0));
            let threads: Vec<_> = callers
                .iter()
                .map(|outcome| {
                    let (flight, computed) = (flight.clone(), computed.clone());
                    thread::spawn(move || {
                        ask(&flight, &mut || {
                            computed.fetch_add(1, SeqCst);
                            thread::yield_now();
                            *outcome
                        })
                    })
                })
                .collect();
            let answers: Vec<_> = threads.into_iter().map(|t| t.join().expect("no panic")).collect();
            judge(&flight, &answers, computed.load(SeqCst));
        });
    }

    #[test]
    fn a_value_is_computed_once_and_given_to_all() {
        each_order(GET_OR_TRY, &[Ok(1), Ok(2), Ok(3)], |flight, answers, computed| {
            assert_eq!(computed, 1);
            assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
            assert_eq!(flight.get(&1), answers[0].ok());
        });
    }

    #[test]
    fn a_failure_leaves_nothing_and_two_never_hold_different_values() {
        each_order(GET_OR_TRY, &[Err("no"), Ok(2), Ok(3)], |flight, answers, computed| {
            assert!((1..=2).contains(&computed), "{computed}");
            let values: Vec<_> = answers.iter().filter_map(|answer| answer.ok()).collect();
            assert!(values.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
            assert_eq!(flight.get(&1), values.first().copied());
            assert_eq!(flight.len(), usize::from(!values.is_empty()));
        });
    }

    #[test]
    fn failures_alone_leave_nothing() {
        each_order(GET_OR_TRY, &[Err("a"), Err("b")], |flight, answers, _| {
            assert!(answers.iter().all(Result::is_err));
            assert!(flight.is_empty());
        });
    }

    #[test]
    fn what_is_shared_goes_to_who_waits_and_is_not_kept() {
        each_order(SHARE, &[Ok(1), Err("no"), Ok(3)], |flight, answers, computed| {
            let mut different = answers.to_vec();
            different.sort_unstable();
            different.dedup();
            assert!(different.len() <= computed, "{answers:?}");
            assert!(flight.is_empty());
        });
    }

    #[test]
    fn who_asks_without_waiting_sees_a_whole_value_or_none() {
        loom::model(|| {
            let flight = Arc::new(Numbers::default());
            let other = flight.clone();
            let computing = thread::spawn(move || other.get_or_try(&1, || Ok(7)));
            assert!(matches!(flight.get(&1), None | Some(7)));
            assert_eq!(computing.join().expect("no panic"), Ok(7));
            assert_eq!(flight.get(&1), Some(7));
        });
    }

    #[test]
    fn a_value_is_there_however_many_take_it() {
        loom::model(|| {
            let flight = Arc::new(Numbers::default());
            assert_eq!(flight.get_or_try(&1, || Ok(7)), Ok(7));
            let other = flight.clone();
            let taking = thread::spawn(move || other.get_or_try(&1, || Err("made twice")));
            assert_eq!(flight.get(&1), Some(7));
            assert_eq!(taking.join().expect("no panic"), Ok(7));
        });
    }
}
