//! One computation for each key, however many ask at once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

/// Values computed once for each key; callers of a key that is being computed wait for that one computation.
///
/// A failure goes to everybody who waited for it, and is not remembered: the next caller tries again.
pub struct Flight<K, V> {
    places: Mutex<HashMap<K, Arc<Place<V>>>>,
}

struct Place<V> {
    value: Mutex<Option<V>>,
}

impl<K, V> Default for Flight<K, V> {
    fn default() -> Self {
        Self { places: Mutex::default() }
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Flight<K, V> {
    /// Returns the value of `key`, computing it with `make` where nobody has yet.
    pub fn get_or_try<E>(&self, key: &K, make: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        let place = self.places.lock().entry(key.clone()).or_insert_with(|| Arc::new(Place::new())).clone();
        let mut value = place.value.lock();
        if let Some(value) = &*value {
            return Ok(value.clone());
        }
        match make() {
            Ok(made) => Ok(value.insert(made).clone()),
            Err(e) => {
                drop(value);
                self.forget_failed(key, &place);
                Err(e)
            }
        }
    }

    /// Returns the value of `key` where it is there already, without waiting.
    pub fn get(&self, key: &K) -> Option<V> {
        let place = self.places.lock().get(key)?.clone();
        place.value.try_lock()?.clone()
    }

    /// Returns how many values are held.
    pub fn len(&self) -> usize {
        self.places.lock().len()
    }

    /// Says whether no value is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn forget_failed(&self, key: &K, place: &Arc<Place<V>>) {
        let mut places = self.places.lock();
        // Somebody else may already be trying again in this very place.
        if places.get(key).is_some_and(|held| Arc::ptr_eq(held, place))
            && place.value.try_lock().is_some_and(|v| v.is_none())
        {
            places.remove(key);
        }
    }
}

impl<V> Place<V> {
    fn new() -> Self {
        Self { value: Mutex::new(None) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::time::Duration;

    use super::*;

    #[test]
    fn many_callers_one_computation() {
        let flight = Flight::<u8, u8>::default();
        let made = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    let got = flight.get_or_try(&1, || {
                        made.fetch_add(1, SeqCst);
                        std::thread::sleep(Duration::from_millis(20));
                        Ok::<_, ()>(7)
                    });
                    assert_eq!(got, Ok(7));
                });
            }
        });
        assert_eq!(made.load(SeqCst), 1);
    }

    #[test]
    fn a_failure_is_not_remembered() {
        let flight = Flight::<u8, u8>::default();
        assert_eq!(flight.get_or_try(&1, || Err("no")), Err("no"));
        assert!(flight.is_empty());
        assert_eq!(flight.get(&1), None);
        assert_eq!(flight.get_or_try(&1, || Ok::<_, ()>(2)), Ok(2));
        assert_eq!(flight.get(&1), Some(2));
    }
}
