//! Waiting a moment for the next request before going to sleep.
//!
//! Who asks one thing after the other (find, tar, grep -r) asks again some microseconds after an answer. A thread that has
//! gone to sleep by then is to be woken on another processor, which takes longer than most answers do.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::side_by_side::cores;

/// How long to wait. The next question of a program that does next to nothing with an answer comes sooner; what this costs
/// when none comes is what waking a thread costs.
const MOMENT: Duration = Duration::from_micros(50);

/// The device, to be looked at for a next request.
pub(super) struct Linger {
    device: OwnedFd,
    /// Whether a thread waits here: one is enough, and more would take processors from others.
    is_taken: AtomicBool,
}

impl Linger {
    /// Returns none where it is of no use: the asker needs the only processor, or there is no descriptor left.
    pub(super) fn new(device: &OwnedFd) -> Option<Self> {
        let device = device.try_clone().ok().filter(|_| cores() > 1)?;
        Some(Self { device, is_taken: AtomicBool::new(false) })
    }

    /// Returns when a request has come, or a moment has passed; at once where no processor is left for this beside the one of
    /// the asker and the ones `in_use`.
    pub(super) fn for_the_next(&self, in_use: usize) {
        if in_use + 2 > cores() || self.is_taken.swap(true, Relaxed) {
            return;
        }
        let until = Instant::now() + MOMENT;
        let mut device = [PollFd::new(self.device.as_fd(), PollFlags::POLLIN)];
        // Anything but silence ends it, a connection that is over too.
        while poll(&mut device, PollTimeout::ZERO) == Ok(0) && Instant::now() < until {
            std::hint::spin_loop();
        }
        self.is_taken.store(false, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use nix::unistd::{pipe, write};

    use super::*;

    #[test]
    fn it_ends_by_itself_and_by_what_comes() {
        let (read, write_end) = pipe().unwrap();
        let linger = Linger { device: read, is_taken: AtomicBool::new(false) };
        linger.for_the_next(0);
        assert!(!linger.is_taken.load(Relaxed));
        write(&write_end, b"x").unwrap();
        linger.for_the_next(0);
        drop(write_end);
        linger.for_the_next(0);
        // One that is there already is not joined.
        linger.is_taken.store(true, Relaxed);
        linger.for_the_next(0);
        assert!(linger.is_taken.load(Relaxed));
    }

    #[test]
    fn it_takes_no_processor_from_others() {
        let (read, _write_end) = pipe().unwrap();
        let linger = Linger { device: read, is_taken: AtomicBool::new(false) };
        let begin = Instant::now();
        (0..10_000).for_each(|_| linger.for_the_next(cores()));
        assert!(begin.elapsed() < 10_000 * MOMENT);
    }
}
