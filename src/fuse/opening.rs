//! Opening files and directories, of which there is nothing to remember: left to the kernel where that is possible.

use fuser::{Errno, FileHandle, FopenFlags, InitFlags, ReplyOpen};

use super::Access;

/// What the kernel opens by itself, and keeps the pages and the listings of, once it heard that nobody needs to be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Opening {
    files: bool,
    directories: bool,
}

impl Opening {
    /// Returns what is left to the kernel, which says what it `can` do. One before Linux 5.1 fails to open the directory.
    pub(super) fn left_to(can: InitFlags, access: Access) -> Self {
        // The kernel lets everybody in where root is let in, and fuser asks who it is at `open` but not at `read`.
        let asks = access == Access::OwnerAndRoot;
        Self {
            files: !asks && can.contains(InitFlags::FUSE_NO_OPEN_SUPPORT),
            directories: !asks && can.contains(InitFlags::FUSE_NO_OPENDIR_SUPPORT),
        }
    }

    /// Answers `open`.
    pub(super) fn open(self, reply: ReplyOpen) {
        answer(self.files, FopenFlags::FOPEN_KEEP_CACHE, reply);
    }

    /// Answers `opendir`.
    pub(super) fn open_directory(self, reply: ReplyOpen) {
        answer(self.directories, FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR, reply);
    }
}

fn answer(left_to_kernel: bool, keep: FopenFlags, reply: ReplyOpen) {
    match left_to_kernel {
        // "Not needed."
        true => reply.error(Errno::ENOSYS),
        false => reply.opened(FileHandle(0), keep),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_open_under_kernels_that_ask() {
        let files = InitFlags::FUSE_NO_OPEN_SUPPORT;
        let both = files | InitFlags::FUSE_NO_OPENDIR_SUPPORT;
        for (can, access, expected) in [
            (both, Access::Owner, (true, true)),
            (both, Access::All, (true, true)),
            (both, Access::OwnerAndRoot, (false, false)),
            (files, Access::Owner, (true, false)),
            (InitFlags::empty(), Access::All, (false, false)),
        ] {
            let got = Opening::left_to(can, access);
            assert_eq!((got.files, got.directories), expected, "{can:?} {access:?}");
        }
    }
}
