//! How often and how long something is tried again.

use std::hash::{BuildHasher as _, Hasher as _};
use std::time::{Duration, Instant};

use super::failure::{Failure, Trouble};

/// Most attempts without progress in between.
const MAX_TRIES: u32 = 6;

/// The wait before the second attempt; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The longest wait of our own choosing.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// A bound on trying: in attempts, and in time since something came.
pub(super) struct Patience {
    limit: Duration,
    since: Instant,
    tries: u32,
}

impl Patience {
    /// Starts with `limit` as the longest time without progress.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, since: Instant::now(), tries: 0 }
    }

    /// Notes that something came.
    pub(super) fn progress(&mut self) {
        self.since = Instant::now();
        self.tries = 0;
    }

    /// Returns how much time is left, at least a moment.
    pub(super) fn left(&self) -> Duration {
        self.limit.saturating_sub(self.since.elapsed()).max(Duration::from_millis(100))
    }

    /// Says whether nothing came for too long.
    pub(super) fn is_over(&self) -> bool {
        self.since.elapsed() >= self.limit
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
        if self.tries >= MAX_TRIES || wait >= self.limit.saturating_sub(self.since.elapsed()) {
            return Err(failure);
        }
        log::info!("{failure}; trying again in {wait:.1?}");
        std::thread::sleep(wait);
        Ok(())
    }
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
}
