//! Threads for what takes a while, so that the threads that talk to the kernel never do.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Most threads of a pool at once. Each holds one slow request; more than this many wait in line.
const MAX_WORKERS: usize = 64;

/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// A pool for each kind of slow work: what waits in line waits behind its own kind.
#[derive(Default)]
pub(super) struct Pools {
    /// Documents, read and parsed.
    pub(super) documents: Workers,
    /// Passes over blobs, which take minutes; and all who wait for one.
    pub(super) blobs: Workers,
}

/// A pool that grows with the work, up to a bound, and shrinks again.
#[derive(Clone, Default)]
pub(super) struct Workers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    workers: usize,
    idle: usize,
}

impl Workers {
    /// Runs `job` on a thread of the pool.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) {
        let mut queue = self.0.queue.lock();
        queue.jobs.push_back(Box::new(job));
        if queue.idle >= queue.jobs.len() {
            self.0.work.notify_one();
        } else if queue.workers < MAX_WORKERS {
            queue.workers += 1;
            drop(queue);
            self.start();
        }
    }

    fn start(&self) {
        let shared = self.0.clone();
        let thread = std::thread::Builder::new().name("worker".to_owned());
        if thread.spawn(move || shared.work_off()).is_err() {
            // No thread to be had: the work is done here, slowly, and not lost.
            self.0.clone().work_off_without_waiting();
        }
    }
}

impl Shared {
    fn work_off(&self) {
        let mut queue = self.queue.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                job();
                queue = self.queue.lock();
                continue;
            }
            queue.idle += 1;
            let timed_out = self.work.wait_for(&mut queue, IDLE).timed_out();
            queue.idle -= 1;
            if timed_out && queue.jobs.is_empty() {
                queue.workers -= 1;
                return;
            }
        }
    }

    fn work_off_without_waiting(&self) {
        loop {
            let Some(job) = self.queue.lock().jobs.pop_front() else { break };
            job();
        }
        self.queue.lock().workers -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn slow_jobs_do_not_hold_up_others() {
        let workers = Workers::default();
        let (release, wait) = channel::<()>();
        workers.run(move || wait.recv().unwrap());
        let (done_in, done) = channel();
        for n in 0..200 {
            let done_in = done_in.clone();
            workers.run(move || done_in.send(n).unwrap());
        }
        let mut got: Vec<i32> =
            (0..200).map(|_| done.recv_timeout(Duration::from_secs(10)).unwrap()).collect();
        got.sort_unstable();
        assert_eq!(got, (0..200).collect::<Vec<_>>());
        release.send(()).unwrap();
    }
}
