//! Ending a connection to the kernel whose other end will never answer again.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use super::mount::Mount;

/// Where systemd mounts FUSE's control filesystem. Containers mostly are without.
const CONTROL: &str = "/sys/fs/fuse/connections";

/// The kernel's switch for one connection: what waits for an answer fails, and what is asked later does. The mount stays.
///
/// It belongs to this connection for good, whatever is mounted in the same place or gets the same number later.
pub(super) struct Abort(File);

impl Abort {
    /// Finds the switch of a connection that is open. Returns none where there is no way to it: a control filesystem that is not
    /// mounted is for root alone.
    pub(super) fn of(mount: &Mount) -> Option<Self> {
        let switch = format!("{}/abort", mount.connection()?);
        let mounted = File::options().write(true).open(Path::new(CONTROL).join(&switch));
        let found = mounted.or_else(|_| {
            Ok(openat(control()?, switch, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?.into())
        });
        found
            .inspect_err(|e: &io::Error| log::debug!("no way to end the connection from outside: {e}"))
            .ok()
            .map(Self)
    }

    /// Ends the connection.
    pub(super) fn end(&self) -> io::Result<()> {
        (&self.0).write_all(b"1")
    }
}

impl AsFd for Abort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Mounts the control filesystem where nobody sees it (Linux 5.2), for as long as something in it is open.
fn control() -> io::Result<OwnedFd> {
    let control = fsopen("fusectl", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&control)?;
    Ok(fsmount(control, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?)
}
