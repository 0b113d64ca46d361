//! One computation for each key, however many ask at once.
//!
//! A computation must not ask for its own key: it would wait for itself. Values stay as long as the flight does, so keys
//! are of something that is bounded already.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

/// Values computed once for each key; callers of a key that is being computed wait for that one computation.
///
/// A failure goes to everybody who waited for it, and is not remembered: the next caller tries again.
pub struct Flight<K, V, E> {
    places: Mutex<HashMap<K, Arc<Place<V, E>>>>,
}

/// Where the outcome of one computation will stand.
struct Place<V, E> {
    outcome: OnceLock<Result<V, E>>,
    /// Locked until it stands there, or never will.
    making: Mutex<()>,
}

impl<K, V, E> Default for Flight<K, V, E> {
    fn default() -> Self {
        Self { places: Mutex::default() }
    }
}

impl<K: Eq + Hash + Clone, V: Clone, E: Clone> Flight<K, V, E> {
    /// Returns the value of `key`, computing it with `make` where nobody has yet, and remembers it.
    pub fn get_or_try(&self, key: &K, make: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        self.fly(key, make, Result::is_ok)
    }

    /// Returns what `make` comes to, for all who ask while it is made, and remembers nothing.
    pub fn share(&self, key: &K, make: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        self.fly(key, make, |_| false)
    }

    fn fly(
        &self,
        key: &K,
        make: impl FnOnce() -> Result<V, E>,
        is_kept: impl FnOnce(&Result<V, E>) -> bool,
    ) -> Result<V, E> {
        loop {
            let mut places = self.places.lock();
            let Some(place) = places.get(key).cloned() else {
                let place = Arc::new(Place { outcome: OnceLock::new(), making: Mutex::new(()) });
                // Locked before anybody can see it; from then on nobody waits for it who holds the map.
                let _making = place.making.lock();
                places.insert(key.clone(), place.clone());
                drop(places);
                let attempt = Attempt { flight: self, key, place: &place };
                let made = place.outcome.get_or_init(make).clone();
                match is_kept(&made) {
                    true => std::mem::forget(attempt),
                    false => drop(attempt),
                }
                return made;
            };
            drop(places);
            if place.outcome.get().is_none() {
                drop(place.making.lock());
            }
            // None: that one panicked. Its place is gone, and this caller computes.
            if let Some(outcome) = place.outcome.get() {
                return outcome.clone();
            }
        }
    }

    /// Returns the value of `key` where it is there already, without waiting.
    pub fn get(&self, key: &K) -> Option<V> {
        let place = self.places.lock().get(key)?.clone();
        place.outcome.get()?.as_ref().ok().cloned()
    }

    /// Returns how many values are held, or being computed.
    pub fn len(&self) -> usize {
        self.places.lock().len()
    }

    /// Says whether no value is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A computation that takes its place out of the map unless it came to a value: also when it panics.
///
/// That happens before the place is unlocked, so whoever comes afterwards finds none and begins anew.
struct Attempt<'a, K: Eq + Hash, V, E> {
    flight: &'a Flight<K, V, E>,
    key: &'a K,
    place: &'a Arc<Place<V, E>>,
}

impl<K: Eq + Hash, V, E> Drop for Attempt<'_, K, V, E> {
    fn drop(&mut self) {
        let mut places = self.flight.places.lock();
        if places.get(self.key).is_some_and(|held| Arc::ptr_eq(held, self.place)) {
            places.remove(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::time::Duration;

    use super::*;

    #[test]
    fn many_callers_one_computation() {
        let flight = Flight::<u8, u8, ()>::default();
        let made = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    let got = flight.get_or_try(&1, || {
                        made.fetch_add(1, SeqCst);
                        std::thread::sleep(Duration::from_millis(20));
                        Ok(7)
                    });
                    assert_eq!(got, Ok(7));
                });
            }
        });
        assert_eq!(made.load(SeqCst), 1);
    }

    #[test]
    fn a_failure_goes_to_all_who_waited_and_is_not_remembered() {
        let flight = Flight::<u8, u8, &str>::default();
        let made = AtomicUsize::new(0);
        let all_there = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    all_there.wait();
                    let got = flight.get_or_try(&1, || {
                        made.fetch_add(1, SeqCst);
                        std::thread::sleep(Duration::from_millis(100));
                        Err("no")
                    });
                    assert_eq!(got, Err("no"));
                });
            }
        });
        // One that was late by all of the time would be a second computation.
        assert!(made.load(SeqCst) <= 2, "{made:?}");
        assert!(flight.is_empty());
        assert_eq!(flight.get(&1), None);
        assert_eq!(flight.get_or_try(&1, || Ok(2)), Ok(2));
        assert_eq!(flight.get(&1), Some(2));
        assert_eq!(flight.share(&2, || Ok(3)), Ok(3));
        assert_eq!((flight.get(&2), flight.len()), (None, 1));
    }

    #[test]
    fn a_value_is_there_while_somebody_else_takes_it() {
        /// Copied by a thread named "slow" between the two barriers.
        struct Slow(Arc<[std::sync::Barrier; 2]>);
        impl Clone for Slow {
            fn clone(&self) -> Self {
                if std::thread::current().name() == Some("slow") {
                    self.0.iter().for_each(|barrier| _ = barrier.wait());
                }
                Self(self.0.clone())
            }
        }
        let flight = Flight::<u8, Slow, ()>::default();
        let barriers = Arc::new([2, 2].map(std::sync::Barrier::new));
        assert!(flight.get_or_try(&1, || Ok(Slow(barriers.clone()))).is_ok());
        std::thread::scope(|scope| {
            let slow = std::thread::Builder::new().name("slow".to_owned());
            slow.spawn_scoped(scope, || flight.get_or_try(&1, || Err(())).is_ok()).unwrap();
            barriers[0].wait();
            let got = flight.get(&1);
            barriers[1].wait();
            assert!(got.is_some());
        });
    }

    #[test]
    fn a_panic_leaves_nothing_behind() {
        let flight = Flight::<u8, u8, ()>::default();
        let panicking = || flight.get_or_try(&1, || panic!("a bug"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panicking)).is_err());
        assert!(flight.is_empty());
        assert_eq!(flight.get_or_try(&1, || Ok(3)), Ok(3));
    }
}
