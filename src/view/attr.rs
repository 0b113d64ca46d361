//! What stat shows of a node.

use std::time::SystemTime;

use super::ino::Ino;

/// The type of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A regular file.
    Regular,
    /// A symbolic link.
    Symlink,
    /// A character device, shown and not openable.
    CharDevice,
    /// A block device, shown and not openable.
    BlockDevice,
    /// A FIFO.
    Fifo,
}

/// A point in time, before or after 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Time {
    /// Seconds since 1970, rounded down.
    pub seconds: i64,
    /// Nanoseconds on top of that.
    pub nanos: u32,
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(d) => {
                Self { seconds: i64::try_from(d.as_secs()).unwrap_or(i64::MAX), nanos: d.subsec_nanos() }
            }
            Err(_) => Self::default(),
        }
    }
}

/// What stat shows of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attr {
    /// The inode number.
    pub ino: Ino,
    /// The type.
    pub kind: FileKind,
    /// Permissions with set-id bits: the low twelve bits.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// How many names this inode has; 1 for directories whose children are not counted.
    pub nlink: u32,
    /// The size in bytes.
    pub size: u64,
    /// Bytes that are stored: less than the size where a file has holes.
    pub allocated: u64,
    /// When it was last written.
    pub mtime: Time,
    /// Major and minor number of a device.
    pub rdev: (u32, u32),
    /// Whether this is the last word. What is not settled may be answered otherwise the next time.
    pub settled: bool,
}
