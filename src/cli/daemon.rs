//! Becoming a daemon after the mount stands, so that errors before it reach the terminal.

use std::fs::File;
use std::io::{self, Read as _, Write as _};

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe, setsid};

use crate::fuse::let_go;

/// The two processes after the fork.
pub(super) enum Role {
    /// The one the user started: waits for the other, then ends.
    Foreground(Waiting),
    /// The daemon.
    Background(Starting),
}

/// Forks. The process must have one thread only.
pub(super) fn split() -> io::Result<Role> {
    let (read, write) = pipe()?;
    // Opened now: later there may be no right to, and the child must not fail.
    let null = File::options().read(true).write(true).open("/dev/null")?;
    #[allow(unsafe_code)]
    // SAFETY: nothing has started a thread that still runs, so the child may do whatever the parent may.
    let forked = unsafe { fork() }?;
    Ok(match forked {
        ForkResult::Parent { child } => {
            drop(write);
            Role::Foreground(Waiting { child, ready: read.into() })
        }
        ForkResult::Child => {
            drop(read);
            setsid()?;
            Role::Background(Starting { ready: write.into(), null })
        }
    })
}

/// The foreground's side.
pub(super) struct Waiting {
    child: Pid,
    ready: File,
}

impl Waiting {
    /// Waits until the daemon answers, and returns the exit status to end with.
    pub(super) fn wait(mut self) -> i32 {
        let mut byte = [0];
        if matches!(self.ready.read(&mut byte), Ok(1)) {
            return 0;
        }
        // It ended before it was ready, and has said why.
        match waitpid(self.child, None) {
            Ok(WaitStatus::Exited(_, status)) => status.max(1),
            _ => 1,
        }
    }
}

/// The daemon's side.
pub(super) struct Starting {
    ready: File,
    null: File,
}

impl Starting {
    /// Lets go of the terminal and the working directory, and tells the foreground.
    pub(super) fn ready(mut self) {
        if let Err(e) = let_go(&self.null) {
            log::warn!("cannot let go of the terminal: {e}");
        }
        // Nobody listens any more where the foreground was killed.
        let _ = self.ready.write_all(b"1");
    }
}
