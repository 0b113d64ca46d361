//! The keeper: a process beside the one that serves, which can do one thing, ending the mount.
//!
//! Unmounting takes umount2(2) or a program with more rights, and who serves may have neither: it decodes what
//! strangers wrote. So it asks, and whom it asks decodes nothing: a request is one byte, and what is unmounted was
//! settled before the first request of the kernel. A thread would not do, for threads share their memory.
//! A signal to end that reaches the keeper goes on to who serves, so it does not matter which one somebody meant.
//!
//! When the thread that started it is gone, the keeper ends the connection to the kernel. That would end by itself with the last
//! thread, but a thread that waits inside the kernel for one of the others does not end before it.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{ForkResult, Pid, fork, getpid};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::abort::Abort;
use super::mount::Mount;
use super::terminal::let_go;

/// Asks for the mount to be ended if nobody uses it.
const UNMOUNT: u8 = b'u';

/// Asks for the mount to be taken away from where it is, whoever uses it.
const DETACH: u8 = b'd';

/// What is answered when it is done; anything else says why it is not.
const DONE: &str = "done";

/// Longest answer read, in bytes: what fusermount3 says, and a path in it.
const MAX_ANSWER: u64 = 16 << 10;

/// The way to the keeper. It ends when this is dropped.
pub(super) struct Keeper {
    socket: UnixStream,
}

impl Keeper {
    /// Starts the process. There must be one thread only, and SIGTERM and SIGINT must be blocked: they are sent to all
    /// processes by terminals and systemd, and end none before it has its handlers.
    pub(super) fn start(mount: &Mount, abort: Option<Abort>) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let server = getpid();
        #[allow(unsafe_code)]
        // SAFETY: the process has one thread, so the child may do whatever the parent may.
        match unsafe { fork() }? {
            ForkResult::Child => {
                drop(ours);
                let _ = keep(theirs, mount, abort, server);
                std::process::exit(0);
            }
            ForkResult::Parent { .. } => {
                drop((theirs, abort));
                let mut keeper = Self { socket: ours };
                // It has let go of everything by then, the device above all.
                keeper.answer()?;
                Ok(keeper)
            }
        }
    }

    /// Has the mount ended: `lazily` takes it away at once and lets open files come to their end.
    pub(super) fn unmount(&mut self, lazily: bool) -> io::Result<()> {
        self.socket.write_all(&[if lazily { DETACH } else { UNMOUNT }])?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<()> {
        let mut line = String::new();
        BufReader::new((&self.socket).take(MAX_ANSWER)).read_line(&mut line)?;
        match line.trim_end() {
            DONE => Ok(()),
            "" => Err(io::Error::other("the process that unmounts is gone")),
            why => Err(io::Error::other(why.to_owned())),
        }
    }
}

/// Returns the signals that end a mount.
pub(super) fn ends() -> SigSet {
    [Signal::SIGTERM, Signal::SIGINT].into_iter().collect()
}

/// The keeper's life: until nobody can ask any more.
fn keep(mut socket: UnixStream, mount: &Mount, abort: Option<Abort>, server: Pid) -> io::Result<()> {
    prctl::set_name(c"ocifs-keeper")?;
    let_go(&File::options().read(true).write(true).open("/dev/null")?)?;
    close_others([Some(socket.as_fd()), abort.as_ref().map(Abort::as_fd)])?;
    // Nobody with the same user number looks into this process, or writes to its memory. Takes /proc/self/fd from us.
    prctl::set_dumpable(false)?;
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1])?;
    std::thread::Builder::new().spawn(move || {
        for signal in signals.forever() {
            // Nobody is left to be told what fails.
            let _ = match (signal, &abort) {
                (SIGUSR1, Some(abort)) => abort.end(),
                (SIGUSR1, None) => Ok(()),
                // It is there: the keeper ends when it does.
                _ => kill(server, Signal::SIGTERM).map_err(io::Error::from),
            };
        }
    })?;
    prctl::set_pdeathsig(Signal::SIGUSR1)?;
    ends().thread_unblock()?;
    socket.write_all(b"done\n")?;
    let mut request = [0];
    while socket.read(&mut request)? == 1 {
        let answer = match mount.unmount(request[0] == DETACH) {
            Ok(()) => DONE.to_owned(),
            Err(e) => e.to_string().replace('\n', " "),
        };
        socket.write_all(format!("{answer}\n").as_bytes())?;
    }
    Ok(())
}

/// Closes everything but standard input, output and error, and what is `kept`: a connection to the kernel ends when the last
/// descriptor of it does, and who waits for the end of a pipe waits for all who hold it.
fn close_others(kept: [Option<BorrowedFd<'_>>; 2]) -> io::Result<()> {
    let mut kept: Vec<u32> = kept.iter().flatten().filter_map(|fd| fd.as_raw_fd().try_into().ok()).collect();
    kept.sort_unstable();
    let mut first = 3;
    for kept in kept {
        if first < kept {
            close_range(first, kept - 1)?;
        }
        first = first.max(kept + 1);
    }
    close_range(first, u32::MAX)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    #[allow(unsafe_code)]
    // SAFETY: no owner of these descriptors uses or drops them: the process ends by exit(2) without dropping.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if done == 0 {
        return Ok(());
    }
    // Linux before 5.9. All that are open are in this list.
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for fd in open.into_iter().filter(|&fd| u32::try_from(fd).is_ok_and(|fd| (first..=last).contains(&fd))) {
        // One is the list's own, and gone already.
        let _ = nix::unistd::close(fd);
    }
    Ok(())
}
