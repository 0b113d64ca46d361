//! Room for what takes much at once: who finds none waits.

use parking_lot::{Condvar, Mutex};

/// A bounded amount of something (memory, processors) that those who need some of it share.
pub struct Room {
    all: u64,
    /// Held by who waits, so that one who needs much is not passed by for ever.
    next: Mutex<()>,
    left: Mutex<u64>,
    given_back: Condvar,
}

/// A part of a [`Room`], until it is dropped.
pub struct Place<'a> {
    room: &'a Room,
    taken: u64,
}

impl Room {
    /// Makes room for `all`.
    pub fn new(all: u64) -> Self {
        Self { all, next: Mutex::new(()), left: Mutex::new(all), given_back: Condvar::new() }
    }

    /// Takes room for `wanted`, or all there is where that is more; waits until it is free.
    pub fn take(&self, wanted: u64) -> Place<'_> {
        let taken = wanted.min(self.all);
        let _next = self.next.lock();
        let mut left = self.left.lock();
        self.given_back.wait_while(&mut left, |left| *left < taken);
        *left -= taken;
        Place { room: self, taken }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.room.left.lock() += self.taken;
        self.room.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    use super::*;

    #[test]
    fn no_more_than_there_is_and_everybody_in_the_end() {
        let (room, used, most) = (Room::new(10), AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for wanted in [1, 4, 7, 10, 500, 3, 3, 9] {
                let (room, used, most) = (&room, &used, &most);
                scope.spawn(move || {
                    for _ in 0..100 {
                        let place = room.take(wanted);
                        let now = used.fetch_add(place.taken, SeqCst) + place.taken;
                        most.fetch_max(now, SeqCst);
                        std::thread::yield_now();
                        used.fetch_sub(place.taken, SeqCst);
                    }
                });
            }
        });
        assert_eq!(*room.left.lock(), 10);
        assert_eq!(most.into_inner(), 10, "all of it was in use, and never more");
    }
}
