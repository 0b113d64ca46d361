//! How often and how long something is tried again.

use std::hash::{BuildHasher as _, Hasher as _};
use std::time::{Duration, Instant};

use super::failure::{Failure, Trouble};
use super::http::Until;

/// Most attempts without progress in between.
const MAX_TRIES: u32 = 6;

/// The wait before the second attempt; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The longest wait of our own choosing.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// Bytes a second that must come on the average, once the first grace is used up: a slow modem's.
const RATE: u64 = 8 << 10;

/// New bytes after which a connection counts as one that works: attempts are counted anew.
const WORKING: u64 = 16 << 10;

/// The bytes that a document counts for, however small it is: two seconds for a question and its answer.
const DOCUMENT: u64 = 2 * RATE;

/// A bound on trying: in attempts, and in time. It holds the time that may pass without anything; what comes buys more, up
/// to the limit that it began with.
pub(super) struct Patience {
    limit: Duration,
    /// When it is over, unless something comes.
    until: Instant,
    tries: u32,
    /// New bytes since attempts were last counted anew.
    fresh: u64,
}

impl Patience {
    /// Starts with `limit` as the longest time without progress.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, until: Instant::now() + limit, tries: 0, fresh: 0 }
    }

    /// Notes that bytes came, wanted or not.
    pub(super) fn came(&mut self, bytes: u64) {
        self.until = (self.until + bought(bytes)).min(Instant::now() + self.limit);
    }

    /// Notes that bytes came which were not here before.
    pub(super) fn progress(&mut self, bytes: u64) {
        self.came(bytes);
        self.fresh += bytes;
        if self.fresh >= WORKING {
            (self.fresh, self.tries) = (0, 0);
        }
    }

    /// Notes that a whole document of so many bytes came.
    pub(super) fn document(&mut self, bytes: u64) {
        self.progress(bytes.max(DOCUMENT));
    }

    /// Returns when it is over, at least a moment from now.
    pub(super) fn deadline(&self) -> Instant {
        self.until.max(Instant::now() + Duration::from_millis(100))
    }

    /// Returns when the head of an answer must be there whose body has so many bytes, and how long that may take.
    pub(super) fn body(&self, bytes: u64) -> Until {
        Until::Head { at: self.deadline(), body: self.limit + bought(bytes) }
    }

    /// Says whether too little came for too long.
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Waits before the next attempt, or gives up with what went wrong in this one.
    pub(super) fn again(&mut self, trouble: Trouble) -> Result<(), Failure> {
        let (failure, after) = match trouble {
            Trouble::Final(failure) => return Err(failure),
            Trouble::Again { failure, after } => (failure, after),
        };
        self.tries += 1;
        let own = FIRST_WAIT.saturating_mul(1 << self.tries.min(16)).min(2 * MAX_WAIT) / 2;
        let wait = after.unwrap_or_default().max(jittered(own));
        // Compared so that no wait a registry asks for overflows.
        if self.tries >= MAX_TRIES || wait >= self.until.saturating_duration_since(Instant::now()) {
            return Err(failure);
        }
        log::info!("{failure}; trying again in {wait:.1?}");
        std::thread::sleep(wait);
        Ok(())
    }
}

/// Returns the time that so many bytes may take.
fn bought(bytes: u64) -> Duration {
    Duration::from_micros(bytes.saturating_mul(1_000_000) / RATE)
}

/// Takes up to half away, so that many who were turned away do not come back together.
fn jittered(wait: Duration) -> Duration {
    let random = std::hash::RandomState::new().build_hasher().finish();
    wait.mul_f64(1.0 - (random % 1000) as f64 / 2000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends() {
        let again = |after| Trouble::Again { failure: Failure::Network("down".into()), after };
        let mut patience = Patience::new(Duration::from_secs(1));
        let start = Instant::now();
        let tries = (0..100).take_while(|_| patience.again(again(None)).is_ok()).count();
        assert!((1..=5).contains(&tries), "{tries}");
        assert!(start.elapsed() < Duration::from_secs(2));
        // Asked to wait longer than we may: given up at once.
        for asked in [3600, u64::MAX] {
            let mut patience = Patience::new(Duration::from_secs(1));
            std::thread::sleep(Duration::from_millis(1));
            let start = Instant::now();
            assert!(patience.again(again(Some(Duration::from_secs(asked)))).is_err(), "{asked}");
            assert!(start.elapsed() < Duration::from_millis(100), "{asked}");
        }
    }

    #[test]
    fn a_trickle_ends_and_a_slow_line_does_not() {
        for (bytes_each, ends) in [(RATE / 100, true), (RATE / 25, false)] {
            let mut patience = Patience::new(Duration::from_millis(200));
            let start = Instant::now();
            // Some bytes every 20 ms or, on a busy machine, more seldom: as many as the time that passed has.
            let mut last = start;
            while !patience.is_over() && start.elapsed() < Duration::from_secs(1) {
                std::thread::sleep(Duration::from_millis(20));
                let ticks = last.elapsed().as_secs_f64() / 0.02;
                last = Instant::now();
                patience.progress((bytes_each as f64 * ticks) as u64);
            }
            assert_eq!(patience.is_over(), ends, "{bytes_each}");
        }
    }

    #[test]
    fn what_comes_buys_no_more_than_the_limit() {
        let mut patience = Patience::new(Duration::from_secs(60));
        patience.progress(1 << 40);
        patience.document(1);
        assert!(patience.deadline() <= Instant::now() + Duration::from_secs(60));
    }
}
