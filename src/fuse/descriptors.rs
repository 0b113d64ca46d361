//! Enough file descriptors, or no mount: one that has too few answers EIO for as long as it lasts.

use std::fs::File;
use std::io;

use super::MountError;

/// Descriptors that must be to be had. The mount itself takes some ten: the device for each thread that talks to the
/// kernel, signals, the keeper. The others are for blobs and indexes, one or two for each reader.
const SPARE: usize = 32;

/// Fails unless [`SPARE`] descriptors can be opened now.
pub(super) fn ensure_spare() -> Result<(), MountError> {
    let opened = || {
        let null = File::open("/dev/null")?;
        (1..SPARE).map(|_| null.try_clone()).collect::<io::Result<Vec<File>>>()
    };
    match opened() {
        Ok(_) => Ok(()),
        Err(cause) if matches!(cause.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
            Err(MountError::Descriptors { needed: SPARE, cause })
        }
        Err(e) => Err(e.into()),
    }
}
