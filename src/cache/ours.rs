//! A directory of our own, and files in it. Others may be able to put something there: what is no plain file is not waited
//! for, and what a link leads to is not taken for ours.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Makes a directory of ours where there is none. One that is there must be ours alone to write to.
pub(crate) fn make_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    if !is_ours(dir) {
        let what = format!("{} belongs to somebody else, or others may write to it", dir.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    }
    Ok(())
}

/// Says whether a directory is ours alone to write to: what others can write to could be made by them, checksum and all.
pub(crate) fn is_ours(dir: &Path) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    fs::symlink_metadata(dir).is_ok_and(|m| m.is_dir() && m.uid() == own && m.mode() & 0o022 == 0)
}

/// Opens a file to be read. Returns none where there is no file.
pub(crate) fn open(path: &Path) -> Option<File> {
    let file = options().read(true).open(path).ok()?;
    file.metadata().ok()?.is_file().then_some(file)
}

/// Opens a file to be read and written, as downloads are, and makes it where there is none. What was there may be no file.
#[cfg(feature = "registry")]
pub(crate) fn open_or_make(path: &Path) -> io::Result<File> {
    options().read(true).write(true).create(true).truncate(false).open(path)
}

fn options() -> OpenOptions {
    let mut options = File::options();
    options.mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC);
    options
}

/// Returns what ends the name of a file being written, so that no other process writes to it: process numbers repeat, after
/// a restart, and in containers that share a cache.
pub(crate) fn unique_suffix() -> String {
    let random = RandomState::new().build_hasher().finish();
    format!("{}-{random:016x}", std::process::id())
}
