//! Mounting and unmounting: mount(2) itself as root, fusermount3 otherwise.
//!
//! fuser can mount too, but its type is then not `fuse.ocifs`, commas in the source's name break it, and after an
//! outside `umount` it unmounts what lies beneath. Here a mount is known by its number in mountinfo, and nothing else
//! is ever unmounted.

use std::fs;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, socketpair,
};

use super::descriptors;

/// Where the kernel's side of FUSE is.
const DEV_FUSE: &str = "/dev/fuse";

/// The filesystem type shown by mount(8) and /proc/mounts.
const TYPE: &str = "fuse.ocifs";

/// Readahead of a mount, in KiB, where we may set it. Measured: cold sequential reads from 2 to 4 GB/s against 128.
const READAHEAD_KIB: &str = "1024";

/// Why there is no mount. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// No such mountpoint.
    #[error("{0}: mountpoint does not exist; make it with `mkdir -p`")]
    NoMountpoint(PathBuf),
    /// Something else than a directory.
    #[error("{0}: mountpoint is not a directory")]
    NotADirectory(PathBuf),
    /// Mounted there already.
    #[error(
        "{mountpoint}: {source_there} is mounted there already; `{unmount} {mountpoint}` ends that mount"
    )]
    Busy {
        /// The mountpoint.
        mountpoint: PathBuf,
        /// What is mounted.
        source_there: String,
        /// The program that ends it.
        unmount: &'static str,
    },
    /// No device.
    #[error(
        "/dev/fuse is missing: load the kernel's module with `modprobe fuse`, or give the container --device /dev/fuse"
    )]
    NoDevice,
    /// The device may not be opened.
    #[error("/dev/fuse cannot be opened: {0}; a container needs --device /dev/fuse and --cap-add SYS_ADMIN")]
    Device(io::Error),
    /// No helper for the unprivileged.
    #[error(
        "fusermount3 is not installed, and mounting without being root needs it: install the package `fuse3`"
    )]
    NoFusermount,
    /// The helper refused.
    #[error("{mountpoint}: fusermount3 refused: {said}{hint}")]
    Fusermount {
        /// The mountpoint.
        mountpoint: PathBuf,
        /// What it printed.
        said: String,
        /// What to do, where we know.
        hint: &'static str,
    },
    /// Too few descriptors to serve with.
    #[error(
        "a mount needs {needed} more file descriptors, and they are not to be had ({cause}): raise the limit with `ulimit -n 1024` (LimitNOFILE= of a systemd unit)"
    )]
    Descriptors {
        /// How many.
        needed: usize,
        /// Why there are not as many.
        cause: io::Error,
    },
    /// The kernel refused.
    #[error("{mountpoint}: cannot mount: {cause}{hint}")]
    Refused {
        /// The mountpoint.
        mountpoint: PathBuf,
        /// Why.
        cause: io::Error,
        /// What to do, where we know.
        hint: &'static str,
    },
    /// The kernel and we did not come to terms.
    #[error("the kernel's FUSE did not answer as it should: {0}")]
    Handshake(io::Error),
    /// Threads, signals, the log.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Who may look into the mount.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Access {
    /// Who mounted it.
    #[default]
    Owner,
    /// Who mounted it, and root.
    OwnerAndRoot,
    /// Everybody, by the permissions the files show.
    All,
}

impl Access {
    /// Returns the kernel's options for it, each with a comma before it.
    fn options(self) -> &'static str {
        match self {
            Self::Owner => "",
            // All by the kernel, and fuser then refuses others. Nobody's permissions count, as they do not for the owner alone.
            Self::OwnerAndRoot => ",allow_other",
            Self::All => ",default_permissions,allow_other",
        }
    }
}

/// What a mount is made with.
pub(super) struct Request<'a> {
    pub(super) source: &'a str,
    pub(super) mountpoint: &'a Path,
    pub(super) access: Access,
    pub(super) noexec: bool,
}

/// A mount of ours, known by its number.
#[derive(Clone, Debug)]
pub(super) struct Mount {
    id: u64,
    device: String,
    path: PathBuf,
    as_root: bool,
}

impl Mount {
    /// Mounts, and returns the kernel's end of it.
    pub(super) fn new(request: &Request<'_>) -> Result<(Self, OwnedFd), MountError> {
        let path = resolve(request.mountpoint)?;
        let as_root = nix::unistd::geteuid().is_root();
        if !Path::new(DEV_FUSE).exists() {
            return Err(MountError::NoDevice);
        }
        refuse_twice(request, &path, as_root)?;
        descriptors::ensure_spare()?;
        let fd = if as_root { mount_as_root(request, &path)? } else { mount_by_helper(request, &path)? };
        let found = mounts_at(&path).and_then(|mut there| {
            let ours = there.pop().filter(|entry| entry.kind == TYPE);
            ours.ok_or_else(|| io::Error::other("the mount is not in /proc/self/mountinfo"))
        });
        match found {
            Ok(MountInfo { id, device, .. }) => Ok((Self { id, device, path, as_root }, fd)),
            Err(e) => {
                // It cannot be told apart from others by its number, and is the newest there all the same.
                let _ = unmount(&path, as_root, true);
                Err(e.into())
            }
        }
    }

    /// Unmounts, if this mount is still the one on top at its place; what lies beneath is never touched.
    ///
    /// `lazily` detaches it now and lets open files come to their end. One that is gone already is no failure.
    pub(super) fn unmount(&self, lazily: bool) -> io::Result<()> {
        let all = mounts()?;
        let Some(own) = all.iter().find(|m| m.id == self.id && m.device == self.device) else {
            return Ok(());
        };
        let on_top = all.iter().rfind(|m| m.path == own.path).is_some_and(|top| top.id == own.id);
        if !on_top {
            return Err(io::Error::other(format!(
                "{}: something else is mounted over it",
                own.path.display()
            )));
        }
        unmount(&own.path, self.as_root, lazily)
    }

    /// Returns the name of its connection to the kernel: the number of its device.
    pub(super) fn connection(&self) -> Option<u32> {
        self.device.strip_prefix("0:")?.parse().ok()
    }

    /// Returns where it was mounted.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Lets the kernel read further ahead than the 128 KiB it allows by itself. Only root may; others do without.
    ///
    /// To be called after the handshake, in which the kernel goes back to what it said at its beginning.
    pub(super) fn raise_readahead(&self) {
        let knob = format!("/sys/class/bdi/{}/read_ahead_kb", self.device);
        if let Err(e) = fs::write(&knob, READAHEAD_KIB) {
            log::debug!("{knob}: {e}");
        }
    }
}

/// Unmounts what is on top at `path`.
fn unmount(path: &Path, as_root: bool, lazily: bool) -> io::Result<()> {
    if as_root {
        let flags = if lazily { MntFlags::MNT_DETACH } else { MntFlags::empty() };
        return Ok(nix::mount::umount2(path, flags | MntFlags::UMOUNT_NOFOLLOW)?);
    }
    let mut command = Command::new("fusermount3");
    command.arg("-u").args(lazily.then_some("-z")).arg("--").arg(path);
    let done = command.stdin(Stdio::null()).output()?;
    match done.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(String::from_utf8_lossy(&done.stderr).trim().to_owned())),
    }
}

/// Returns the mountpoint as mountinfo will show it. A dead mount of an ocifs that was killed is taken away first.
fn resolve(mountpoint: &Path) -> Result<PathBuf, MountError> {
    let owned = || mountpoint.to_owned();
    let found = fs::canonicalize(mountpoint).and_then(|path| {
        let is_directory = fs::metadata(&path)?.is_dir();
        // The kernel may have kept what it was told of the root of a dead mount. This it asks for each time.
        match nix::sys::statvfs::statvfs(&path) {
            Err(e @ Errno::ENOTCONN) => Err(e.into()),
            _ => Ok((is_directory, path)),
        }
    });
    match found {
        Ok((true, path)) => Ok(path),
        Ok((false, _)) => Err(MountError::NotADirectory(owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(MountError::NoMountpoint(owned())),
        Err(e) if e.raw_os_error() == Some(libc::ENOTCONN) => {
            let parent = match mountpoint.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            let name = mountpoint.file_name().ok_or_else(|| MountError::NoMountpoint(owned()))?;
            let path = fs::canonicalize(parent)?.join(name);
            let refused = |hint| MountError::Refused { mountpoint: owned(), cause: e, hint };
            let dead = mounts_at(&path)?.pop().filter(|entry| entry.kind == TYPE);
            let Some(dead) = dead else { return Err(refused("; unmount what is there first")) };
            let as_root = nix::unistd::geteuid().is_root();
            log::info!("{}: taking away the mount of an ocifs that is gone", path.display());
            let dead = Mount { id: dead.id, device: dead.device, path: path.clone(), as_root };
            match dead.unmount(true) {
                Ok(()) => Ok(path),
                Err(_) => Err(refused("; the ocifs behind it is gone: unmount it first")),
            }
        }
        Err(cause) => Err(MountError::Refused { mountpoint: owned(), cause, hint: "" }),
    }
}

/// Refuses to mount a source where it is mounted already, which nobody means: one `umount` would not end it.
///
/// Another source over it is what mount(8) allows root, and what fusermount3 refuses with words that help nobody.
fn refuse_twice(request: &Request<'_>, path: &Path, as_root: bool) -> Result<(), MountError> {
    let Some(top) = mounts_at(path)?.pop().filter(|top| top.kind == TYPE) else { return Ok(()) };
    if as_root && top.source != request.source.as_bytes() {
        return Ok(());
    }
    Err(MountError::Busy {
        mountpoint: request.mountpoint.to_owned(),
        source_there: top.source.escape_ascii().to_string(),
        unmount: if as_root { "umount" } else { "fusermount3 -u" },
    })
}

fn mount_as_root(request: &Request<'_>, path: &Path) -> Result<OwnedFd, MountError> {
    let device = fs::File::options().read(true).write(true).open(DEV_FUSE).map_err(MountError::Device)?;
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let access = request.access.options();
    let data = format!("fd={},rootmode=40000,user_id={uid},group_id={gid}{access}", device.as_raw_fd());
    let mut flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    flags.set(MsFlags::MS_NOEXEC, request.noexec);
    nix::mount::mount(Some(request.source), path, Some(TYPE), flags, Some(data.as_str())).map_err(|e| {
        let hint = match e {
            Errno::EPERM => {
                "; mounting needs CAP_SYS_ADMIN here, which a container has with --cap-add SYS_ADMIN"
            }
            Errno::ENODEV => "; this kernel has no FUSE: `modprobe fuse`",
            _ => "",
        };
        MountError::Refused { mountpoint: path.to_owned(), cause: e.into(), hint }
    })?;
    Ok(device.into())
}

/// Has fusermount3 mount, which sends the device's descriptor back through a socket.
fn mount_by_helper(request: &Request<'_>, path: &Path) -> Result<OwnedFd, MountError> {
    // Only the helper is to inherit its end, and nothing else is started in between.
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::empty())
        .map_err(io::Error::from)?;
    nix::fcntl::fcntl(&ours, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))
        .map_err(io::Error::from)?;
    let noexec = if request.noexec { ",noexec" } else { "" };
    // It undoes backslashes. What is anybody's text comes last: nothing stands behind it that it could swallow.
    let name = request.source.replace('\\', r"\\").replace(',', r"\,");
    let options = format!("ro,nosuid,nodev{}{noexec},subtype=ocifs,fsname={name}", request.access.options());
    let helper = Command::new("fusermount3")
        .args(["-o", &options, "--"])
        .arg(path)
        .env("_FUSE_COMMFD", theirs.as_raw_fd().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => MountError::NoFusermount,
            _ => MountError::Io(e),
        })?;
    drop(theirs);
    let received = receive(&ours)?;
    let done = helper.wait_with_output()?;
    received.ok_or_else(|| {
        let said = String::from_utf8_lossy(&done.stderr);
        let said = said.trim().trim_start_matches("fusermount3: ").to_owned();
        let hint = match () {
            () if said.contains("user_allow_other") => {
                "; ask the administrator for a line `user_allow_other` in /etc/fuse.conf, or leave allow_other out"
            }
            () if said.contains("no write access") => {
                "; choose a directory of yours, which you may write to, or mount as root"
            }
            () if said.contains("Permission denied") => {
                "; you must be able to read and write /dev/fuse: `ls -l /dev/fuse` shows who may"
            }
            () => "",
        };
        MountError::Fusermount { mountpoint: path.to_owned(), said, hint }
    })
}

/// Receives one descriptor; nothing where the other side closed without sending any.
fn receive(socket: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    let mut byte = [0];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let mut parts = [IoSliceMut::new(&mut byte)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control
            && let Some(&fd) = descriptors.first()
        {
            #[allow(unsafe_code)]
            // SAFETY: the kernel has just put this descriptor into our table, and nobody else knows of it.
            return Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok(None)
}

/// One line of /proc/self/mountinfo.
struct MountInfo {
    id: u64,
    device: String,
    path: PathBuf,
    kind: String,
    source: Vec<u8>,
}

fn mounts_at(path: &Path) -> io::Result<Vec<MountInfo>> {
    Ok(mounts()?.into_iter().filter(|entry| entry.path == path).collect())
}

fn mounts() -> io::Result<Vec<MountInfo>> {
    Ok(fs::read("/proc/self/mountinfo")?.split(|b| *b == b'\n').filter_map(mount_info).collect())
}

/// Parses `id parent major:minor root mountpoint options … - type source options` (proc_pid_mountinfo(5)).
fn mount_info(line: &[u8]) -> Option<MountInfo> {
    let mut fields = line.split(|b| *b == b' ');
    let text = |field: &[u8]| String::from_utf8(field.to_vec()).ok();
    let id = text(fields.next()?)?.parse().ok()?;
    let device = text(fields.nth(1)?)?;
    let path = PathBuf::from(std::ffi::OsString::from_vec(unescape(fields.nth(1)?)));
    fields.find(|field| *field == b"-")?;
    let kind = text(fields.next()?)?;
    let source = unescape(fields.next()?);
    Some(MountInfo { id, device, path, kind, source })
}

/// Undoes mountinfo's `\ooo` for space, tab, newline and backslash.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| first == b'\\').and_then(|digits| {
            digits
                .iter()
                .try_fold(0_u32, |n, d| Some(n * 8 + (*d as char).to_digit(8)?))
                .and_then(|n| u8::try_from(n).ok())
        });
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    bytes
}

/// Escapes what a terminal should not get from a path.
pub(super) fn shown(path: &Path) -> String {
    path.as_os_str().as_bytes().escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_lines() {
        let line =
            br"36 35 98:0 /mnt1 /mnt\040with\134odd\011name rw,noatime master:1 - fuse.ocifs /src\040x ro";
        let got = mount_info(line).unwrap();
        assert_eq!((got.id, got.device.as_str(), got.kind.as_str()), (36, "98:0", "fuse.ocifs"));
        assert_eq!(got.path, Path::new("/mnt with\\odd\tname"));
        assert_eq!(got.source, b"/src x");
        for bad in [&b""[..], b"1 2", b"x y 1:2 / /mnt rw - t s o", b"1 2 0:1 / /mnt rw no dash"] {
            assert!(mount_info(bad).is_none());
        }
        assert_eq!(unescape(br"a\04"), br"a\04");
        assert_eq!(unescape(br"a\999b"), br"a\999b");
    }
}
