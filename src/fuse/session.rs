//! One mount from its first request to its end: threads, signals, unmounting.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fuser::{Config, Session, SessionACL};
use parking_lot::Mutex;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::Kernel;
use super::abort::Abort;
use super::keeper::{self, Keeper};
use super::mount::{Access, Mount, MountError, Request, shown};
use super::push::Push;
use crate::side_by_side::cores;
use crate::view::View;

/// Most threads that talk to the kernel. What takes longer goes to workers, so a few do.
const MAX_THREADS: usize = 4;

/// How long open files get to come to their end after a signal.
const GRACE: Duration = Duration::from_secs(1);

/// How to mount.
#[derive(Clone, Debug, Default)]
pub struct MountOptions {
    /// What mount(8) shows as the source.
    pub source: String,
    /// Where.
    pub mountpoint: PathBuf,
    /// For whom.
    pub access: Access,
    /// Without the right to run programs from it.
    pub noexec: bool,
}

/// A mount that answers once [`Mounted::serve`] runs.
pub struct Mounted {
    session: Session<Kernel>,
    mount: Mount,
    push: Push,
    view: Arc<View>,
}

/// Mounts `view`. The kernel has agreed when this returns; nothing runs yet, so the process may still become a daemon.
pub fn mount(view: View, options: &MountOptions) -> Result<Mounted, MountError> {
    let request = Request {
        source: &options.source,
        mountpoint: &options.mountpoint,
        access: options.access,
        noexec: options.noexec,
    };
    let (mount, fd) = Mount::new(&request)?;
    let mut config = Config::default();
    config.acl = match options.access {
        Access::Owner => SessionACL::Owner,
        Access::OwnerAndRoot => SessionACL::RootAndOwner,
        Access::All => SessionACL::All,
    };
    config.n_threads = Some(cores().clamp(2, MAX_THREADS));
    // A queue for each thread needs the device opened again, which an odd set-up may forbid.
    config.clone_fd = std::fs::File::options().read(true).write(true).open("/dev/fuse").is_ok();
    let acl = config.acl;
    let kernel = Kernel::new(view, options.access, &fd);
    let (push, view) = (kernel.push.clone(), kernel.view.clone());
    match Session::from_fd(kernel, fd, acl, config) {
        Ok(session) => {
            mount.raise_readahead();
            Ok(Mounted { session, mount, push, view })
        }
        Err(e) => {
            let _ = mount.unmount(true);
            Err(MountError::Handshake(e))
        }
    }
}

impl Mounted {
    /// Takes the mount away again, of which nothing was served.
    pub fn give_up(self) {
        let _ = self.mount.unmount(true);
    }

    /// Answers requests until the mount ends: by an outside `umount`, or by SIGTERM or SIGINT, which unmount it.
    ///
    /// Calls `cage` on the thread that all others come from, before any does and when nothing has to be opened any more;
    /// then `ready`, when nothing can go wrong any more that belongs on a terminal; and `ending` when it begins to end.
    /// The process must have one thread only.
    pub fn serve(
        self,
        cage: impl FnOnce(),
        ready: impl FnOnce(),
        ending: impl Fn() + Send + Sync + 'static,
    ) -> Result<(), MountError> {
        let Self { session, mount, push, view } = self;
        let abort = Abort::of(&mount);
        let can_be_aborted = abort.is_some();
        let (keeper, signals) = match keeper_and_signals(&mount, abort) {
            Ok(both) => both,
            Err(e) => {
                let _ = mount.unmount(true);
                return Err(e.into());
            }
        };
        cage();
        if can_be_aborted {
            push.begin(session.notifier(), view);
        }
        let ending = Arc::new(ending);
        let (keeper, ending_by_signal) = (Arc::new(Mutex::new(keeper)), ending.clone());
        let of_signals = keeper.clone();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || end_on_signal(signals, &of_signals, &mount, &*ending_by_signal))
            .inspect_err(|_| drop(keeper.lock().unmount(true)))?;
        ready();
        let ended = session.run();
        ending();
        // Where nobody answers any more, nothing may stay mounted that waits for answers.
        Ok(ended.inspect_err(|_| drop(keeper.lock().unmount(true)))?)
    }
}

/// Starts the keeper, and begins to listen to signals; one that comes meanwhile waits.
fn keeper_and_signals(mount: &Mount, abort: Option<Abort>) -> std::io::Result<(Keeper, Signals)> {
    let ends = keeper::ends();
    ends.thread_block()?;
    let keeper = Keeper::start(mount, abort);
    let signals = Signals::new([SIGTERM, SIGINT]);
    ends.thread_unblock()?;
    Ok((keeper?, signals?))
}

fn end_on_signal(mut signals: Signals, keeper: &Mutex<Keeper>, mount: &Mount, ending: &dyn Fn()) {
    let Some(signal) = signals.forever().next() else { return };
    log::info!("signal {signal}: unmounting");
    ending();
    let mut keeper = keeper.lock();
    if let Err(busy) = keeper.unmount(false) {
        log::info!("{busy}; detaching the mount instead");
        if let Err(e) = keeper.unmount(true) {
            log::error!("cannot unmount {}: {e}", shown(mount.path()));
        }
    }
    // Readers that hang on get this long; then the connection ends with the process, and they get ENOTCONN.
    std::thread::sleep(GRACE);
    std::process::exit(0);
}
