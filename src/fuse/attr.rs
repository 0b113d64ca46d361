//! From the view's attributes to the kernel's.

use std::time::{Duration, SystemTime};

use fuser::{FileAttr, FileType, INodeNo};

use crate::view::{Attr, FileKind, Time};

/// How long the kernel may keep what does not change: for good. A mount's tree is what it was when it was mounted.
const FOR_GOOD: Duration = Duration::from_secs(u32::MAX as u64);

/// Block size told to stat: what a sequential reader should ask for at once.
const BLOCK_SIZE: u32 = 128 << 10;

pub(super) fn time_to_live(attr: &Attr) -> Duration {
    match attr.settled {
        true => FOR_GOOD,
        false => Duration::ZERO,
    }
}

/// Names stay, whatever becomes of attributes.
pub(super) fn name_time_to_live() -> Duration {
    FOR_GOOD
}

pub(super) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::Directory => FileType::Directory,
        FileKind::Regular => FileType::RegularFile,
        FileKind::Symlink => FileType::Symlink,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
        FileKind::Fifo => FileType::NamedPipe,
    }
}

pub(super) fn file_attr(attr: &Attr) -> FileAttr {
    let time = system_time(attr.mtime);
    FileAttr {
        ino: INodeNo(attr.ino.raw()),
        size: attr.size,
        blocks: attr.allocated.div_ceil(512),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: file_type(attr.kind),
        perm: attr.mode,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: device(attr.rdev),
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}

/// What a name that does not exist is answered with, so that the kernel remembers it: inode number 0.
pub(super) fn no_such_entry() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: SystemTime::UNIX_EPOCH,
        mtime: SystemTime::UNIX_EPOCH,
        ctime: SystemTime::UNIX_EPOCH,
        crtime: SystemTime::UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}

/// Packs a device number as the FUSE protocol has it (the kernel's `new_encode_dev`): 12 bits major, 20 bits minor. No
/// device has a larger number, and an archive that states one gets the rest of it.
fn device((major, minor): (u32, u32)) -> u32 {
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xf_ff00) << 12)
}

fn system_time(time: Time) -> SystemTime {
    let nanos = Duration::from_nanos(u64::from(time.nanos));
    let whole = Duration::from_secs(time.seconds.unsigned_abs());
    let second = match time.seconds >= 0 {
        true => SystemTime::UNIX_EPOCH.checked_add(whole),
        false => SystemTime::UNIX_EPOCH.checked_sub(whole),
    };
    second.and_then(|second| second.checked_add(nanos)).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_packed_as_the_kernel_unpacks_them() {
        for (device_number, packed) in [
            ((1, 3), 0x103),
            ((8, 1), 0x801),
            ((4095, 1_048_575), 0xffff_ffff),
            ((0, 0), 0),
            ((259, 300), 0x0011_032c),
        ] {
            assert_eq!(device(device_number), packed, "{device_number:?}");
        }
    }

    #[test]
    fn times_before_1970_keep_their_fraction() {
        let time = system_time(Time { seconds: -6, nanos: 500_000_000 });
        assert_eq!(SystemTime::UNIX_EPOCH.duration_since(time).unwrap(), Duration::from_millis(5500));
        let earliest = system_time(Time { seconds: i64::MIN, nanos: 0 });
        assert!(earliest < SystemTime::UNIX_EPOCH);
    }
}
