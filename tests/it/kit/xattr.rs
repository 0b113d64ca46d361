//! Extended attributes as the system calls give them.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

fn c(bytes: &[u8]) -> CString {
    CString::new(bytes).expect("a path and a name have no NUL")
}

fn filled(mut buffer: Vec<u8>, got: isize) -> io::Result<Vec<u8>> {
    buffer.truncate(usize::try_from(got).map_err(|_| io::Error::last_os_error())?);
    Ok(buffer)
}

/// Asks for an attribute of the file itself, never of what a symlink leads to, with a buffer of `room` bytes.
#[allow(unsafe_code)]
pub(crate) fn get_xattr(path: &Path, name: &str, room: usize) -> io::Result<Vec<u8>> {
    let (path, name) = (c(path.as_os_str().as_bytes()), c(name.as_bytes()));
    let mut buffer = vec![0; room];
    // SAFETY: both strings end in NUL, and the buffer has `room` bytes.
    let got = unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), buffer.as_mut_ptr().cast(), room) };
    filled(buffer, got)
}

/// Asks how long an attribute is.
#[allow(unsafe_code)]
pub(crate) fn xattr_len(path: &Path, name: &str) -> io::Result<usize> {
    let (path, name) = (c(path.as_os_str().as_bytes()), c(name.as_bytes()));
    // SAFETY: both strings end in NUL, and a size of 0 says that there is no buffer.
    let got = unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), std::ptr::null_mut(), 0) };
    usize::try_from(got).map_err(|_| io::Error::last_os_error())
}

/// Lists the attributes of the file itself, with a buffer of `room` bytes.
#[allow(unsafe_code)]
pub(crate) fn list_xattrs(path: &Path, room: usize) -> io::Result<Vec<String>> {
    let path = c(path.as_os_str().as_bytes());
    let mut buffer = vec![0; room];
    // SAFETY: the string ends in NUL, and the buffer has `room` bytes.
    let got = unsafe { libc::llistxattr(path.as_ptr(), buffer.as_mut_ptr().cast(), room) };
    let list = filled(buffer, got)?;
    let names = list.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut names: Vec<String> = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    names.sort();
    Ok(names)
}
