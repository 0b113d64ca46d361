//! What the tests stand on: layouts from literals, a mount that ends itself, commands with a time limit.
//!
//! Only this folder knows how a layout is written and how the binary is run; the tests speak of names and bytes.

mod archive;
mod artifact;
mod layout;
mod mount;
pub(crate) mod naive;
mod nobody;
mod process;
mod random;
mod registry;
mod table;
mod xattr;

pub(crate) use archive::{Layer, Member, PLATFORM, Packing, archive, mounted};
pub(crate) use artifact::{DSSE, IN_TOTO, SIMPLE_SIGNING, short, tag_of};
pub(crate) use layout::{Blob, Layout, Platform, Sample, annotate, gzip, media, named, sha256, tar};
pub(crate) use mount::{Mount, daemons, detach, is_mounted, keepers, mounts_on, unmount};
pub(crate) use nobody::Nobody;
pub(crate) use process::{Done, TempDir, require_root, require_tool, run, run_for, temp_dir, wait_until};
pub(crate) use random::{Random, noise};
pub(crate) use registry::{Act, Asked, Proxy, Registry};
pub(crate) use table::{Form, Listed, listed};
pub(crate) use xattr::{get_xattr, list_xattrs, xattr_len};

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The binary under test.
pub(crate) fn ocifs() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_ocifs"))
}

/// The root of the repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Reads a text file, failing the test with the path in the message.
#[track_caller]
pub(crate) fn text(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Reads a file, failing the test with the path in the message.
#[track_caller]
pub(crate) fn bytes(path: impl AsRef<Path>) -> Vec<u8> {
    let path = path.as_ref();
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Lists a directory, sorted.
#[track_caller]
pub(crate) fn ls(path: impl AsRef<Path>) -> Vec<String> {
    let path = path.as_ref();
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Lists a directory that must refuse, and says with which errno.
///
/// The refusal comes with the first entry: opening a directory reads nothing.
#[track_caller]
pub(crate) fn list_errno(path: impl AsRef<Path>) -> i32 {
    errno(fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>))
}

/// The errno of an operation that must fail.
#[track_caller]
pub(crate) fn errno<T>(result: io::Result<T>) -> i32 {
    match result {
        Ok(_) => panic!("that should have failed"),
        Err(error) => error.raw_os_error().unwrap_or_else(|| panic!("no errno in {error}")),
    }
}

/// Reads a whole file that must refuse, and says with which errno.
#[track_caller]
pub(crate) fn read_errno(path: impl AsRef<Path>) -> i32 {
    let path = path.as_ref();
    match fs::read(path) {
        Ok(content) => panic!("{}: gave {} bytes, and should have refused", path.display(), content.len()),
        Err(error) => error.raw_os_error().unwrap_or_else(|| panic!("{}: {error}", path.display())),
    }
}
