//! The only module that knows fuser, errno and the kernel: decode, ask the view, reply. No decisions.

mod abort;
mod attr;
mod descriptors;
mod errno;
mod keeper;
mod linger;
mod mount;
mod opening;
mod push;
mod session;
mod terminal;
mod workers;

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use fuser::{
    AccessFlags, Errno, FileHandle, Filesystem, Generation, INodeNo, InitFlags, KernelConfig, LockOwner,
    OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyXattr, Request,
};

use crate::view::{Error, Ino, Pace, View};
use attr::{file_attr, file_type, name_time_to_live, no_such_entry, time_to_live};
use errno::errno;
use linger::Linger;
use opening::Opening;
use push::Push;
use workers::Pools;

pub use mount::{Access, MountError};
pub use session::{MountOptions, Mounted, mount};
pub use terminal::let_go;

/// Most readahead we ask for: the kernel gives less unless root raises it for the mount.
const READAHEAD: u32 = 1 << 20;

/// Answers the kernel out of a view.
struct Kernel {
    view: Arc<View>,
    workers: Pools,
    access: Access,
    opening: Opening,
    linger: Option<Linger>,
    push: Push,
}

type Answer<T> = Result<T, Errno>;

/// One fence around every request: panics stop here, and a failure becomes an errno here.
fn answer<T>(
    view: &View,
    op: &str,
    ino: INodeNo,
    ask: impl FnOnce(&View, Ino) -> Result<T, Error>,
) -> Answer<T> {
    match catch_unwind(AssertUnwindSafe(|| ask(view, number(ino)))) {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            log::debug!("{op} {ino}: {error}");
            Err(errno(&error))
        }
        Err(_) => {
            log::error!("bug: {op} {ino} panicked; answered EIO");
            Err(Errno::EIO)
        }
    }
}

/// Asks what an answer takes, behind a fence of its own: a thread that talks to the kernel must not end.
fn pace(ask: impl FnOnce() -> Pace) -> Pace {
    catch_unwind(AssertUnwindSafe(ask)).unwrap_or_else(|_| {
        log::error!("bug: asking what an answer takes panicked");
        Pace::Blobs
    })
}

fn number(ino: INodeNo) -> Ino {
    Ino::from_raw(ino.0)
}

impl Kernel {
    fn new(view: View, access: Access, device: &OwnedFd) -> Self {
        let (workers, linger) = (Pools::default(), Linger::new(device));
        Self {
            view: Arc::new(view),
            workers,
            access,
            opening: Opening::default(),
            linger,
            push: Push::default(),
        }
    }

    /// Does `job` here where it takes nothing, and on a worker where it does.
    fn dispatch(&self, takes: impl FnOnce(&View) -> Pace, job: impl FnOnce(&View) + Send + 'static) {
        let workers = match pace(|| takes(&self.view)) {
            Pace::AtOnce => {
                job(&self.view);
                if let Some(linger) = &self.linger {
                    linger.for_the_next(self.view.processors_in_use());
                }
                return;
            }
            Pace::Documents => &self.workers.documents,
            Pace::Blobs => &self.workers.blobs,
        };
        let view = self.view.clone();
        workers.run(move || job(&view));
    }
}

impl Filesystem for Kernel {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        for wanted in [
            // Always: stat follows nearly every listing, and one question beats one for each name.
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_ASYNC_DIO,
            // For the two files whose text moves: a new time makes the kernel drop their pages.
            InitFlags::FUSE_AUTO_INVAL_DATA,
            InitFlags::FUSE_NO_OPEN_SUPPORT,
            InitFlags::FUSE_NO_OPENDIR_SUPPORT,
        ] {
            // A kernel that lacks one is slower, and nothing else.
            let _ = config.add_capabilities(wanted);
        }
        self.opening = Opening::left_to(config.capabilities(), self.access);
        if let Err(most) = config.set_max_readahead(READAHEAD) {
            let _ = config.set_max_readahead(most);
        }
        let _ = config.set_max_write(READAHEAD);
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let takes = |view: &View| view.pace_of_lookup(number(parent), name.as_bytes());
        let name = name.as_bytes().to_vec();
        self.dispatch(takes, move |view| {
            match answer(view, "lookup", parent, |view, ino| view.lookup(ino, &name)) {
                Ok(found) => reply.entry_with_ttls(
                    &name_time_to_live(),
                    &time_to_live(&found),
                    &file_attr(&found),
                    Generation(0),
                ),
                Err(e) if e.code() == libc::ENOENT => {
                    reply.entry(&name_time_to_live(), &no_such_entry(), Generation(0));
                }
                Err(e) => reply.error(e),
            }
        });
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        let takes = |view: &View| view.pace_of_attr(number(ino));
        self.dispatch(takes, move |view| match answer(view, "getattr", ino, View::attr) {
            Ok(found) => reply.attr(&time_to_live(&found), &file_attr(&found)),
            Err(e) => reply.error(e),
        });
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        let takes = |view: &View| view.pace_of_attr(number(ino));
        self.dispatch(takes, move |view| match answer(view, "readlink", ino, View::link_target) {
            Ok(target) => reply.data(&target),
            Err(e) => reply.error(e),
        });
    }

    fn open(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.opening.open(reply);
    }

    fn opendir(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.opening.open_directory(reply);
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let takes = |view: &View| view.pace_of_read(number(ino), offset, size as usize);
        let push = (offset == 0).then(|| self.push.clone());
        self.dispatch(takes, move |view| {
            match answer(view, "read", ino, |view, ino| view.read(ino, offset, size as usize)) {
                Ok(bytes) => {
                    reply.data(&bytes);
                    if let Some(push) = push {
                        push.after_reading(number(ino));
                    }
                }
                Err(e) => reply.error(e),
            }
        });
    }

    fn readdir(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        self.dispatch(
            |view| view.pace_of_list(number(ino)),
            move |view| {
                let listed = answer(view, "readdir", ino, |view, ino| {
                    with_dots(view, ino, offset, &mut |name, at, next| {
                        let kind = at.map_or(fuser::FileType::Directory, |attr| file_type(attr.kind));
                        let number = at.map_or(ino, |attr| attr.ino);
                        reply.add(INodeNo(number.raw()), next, kind, OsStr::from_bytes(name))
                    })
                });
                match listed {
                    Ok(()) => reply.ok(),
                    Err(e) => reply.error(e),
                }
            },
        );
    }

    fn readdirplus(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let push = (offset == 0).then(|| self.push.clone());
        self.dispatch(
            |view| view.pace_of_list(number(ino)),
            move |view| {
                let listed = answer(view, "readdirplus", ino, |view, ino| {
                    let own = view.attr(ino)?;
                    with_dots(view, ino, offset, &mut |name, at, next| {
                        // The kernel takes no attributes for the dots.
                        let found = at.unwrap_or(&own);
                        let number = INodeNo(found.ino.raw());
                        reply.add(
                            number,
                            next,
                            OsStr::from_bytes(name),
                            &time_to_live(found),
                            &file_attr(found),
                            Generation(0),
                        )
                    })
                });
                match listed {
                    Ok(()) => {
                        reply.ok();
                        if let Some(push) = push {
                            push.after_listing(number(ino));
                        }
                    }
                    Err(e) => reply.error(e),
                }
            },
        );
    }

    fn getxattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let takes = |view: &View| view.pace_of_xattrs(number(ino));
        let name = name.as_bytes().to_vec();
        self.dispatch(takes, move |view| {
            let found = answer(view, "getxattr", ino, |view, ino| view.xattr(ino, &name));
            reply_xattr(found, size, reply);
        });
    }

    fn listxattr(&self, _req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let takes = |view: &View| view.pace_of_xattrs(number(ino));
        self.dispatch(takes, move |view| {
            let names = answer(view, "listxattr", ino, |view, ino| {
                let mut names = Vec::new();
                for (name, _) in view.xattrs(ino)? {
                    names.extend_from_slice(&name);
                    names.push(0);
                }
                Ok(names)
            });
            reply_xattr(names, size, reply);
        });
    }

    fn statfs(&self, _req: &Request, ino: INodeNo, reply: ReplyStatfs) {
        self.dispatch(
            |_| Pace::Documents,
            move |view| match answer(view, "statfs", ino, |view, _| Ok(view.totals())) {
                // All used, nothing free: what df shows of any medium that cannot be written.
                Ok(totals) => {
                    reply.statfs(totals.bytes.div_ceil(4096), 0, 0, totals.blobs, 0, 4096, 255, 4096)
                }
                Err(e) => reply.error(e),
            },
        );
    }

    fn access(&self, _req: &Request, _ino: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        match mask.contains(AccessFlags::W_OK) {
            true => reply.error(Errno::EROFS),
            false => reply.ok(),
        }
    }

    fn flush(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }
}

fn reply_xattr(value: Answer<Vec<u8>>, size: u32, reply: ReplyXattr) {
    match value {
        Err(e) => reply.error(e),
        Ok(value) => match u32::try_from(value.len()) {
            Err(_) => reply.error(Errno::E2BIG),
            Ok(len) if size == 0 => reply.size(len),
            Ok(len) if len > size => reply.error(Errno::ERANGE),
            Ok(_) => reply.data(&value),
        },
    }
}

type Take<'a> = dyn FnMut(&[u8], Option<&crate::view::Attr>, u64) -> bool + 'a;

/// Lists a directory with the two entries every directory has; `take` gets no attributes for those, and says whether
/// it is full.
fn with_dots(view: &View, ino: Ino, offset: u64, take: &mut Take<'_>) -> Result<(), Error> {
    if offset == 0 && take(b".", None, 1) {
        return Ok(());
    }
    if offset <= 1 {
        let above = view.attr(view.parent(ino)?)?;
        if take(b"..", Some(&above), 2) {
            return Ok(());
        }
    }
    view.list(ino, offset.saturating_sub(2), &mut |child| {
        !take(child.name, Some(&child.attr), child.next + 2)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_no_thread_that_talks_to_the_kernel() {
        assert_eq!(pace(|| Pace::AtOnce), Pace::AtOnce);
        assert_eq!(pace(|| std::panic::resume_unwind(Box::new(()))), Pace::Blobs);
    }
}
