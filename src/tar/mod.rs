//! Tar headers as facts: what each member of an archive says about itself, and where its bytes lie.
//!
//! Writes nothing, resolves nothing, knows no image. Names stay as the archive has them; whether a name is
//! allowed, where it leads and what a whiteout means is decided elsewhere.

mod header;
mod member;
mod parser;
mod pax;
mod sparse;
#[cfg(test)]
mod tests;

pub use parser::Parser;

/// Longest PAX or GNU long-name block that is kept. Real ones are a few kilobytes, a few hundred with large
/// extended attributes.
pub const MAX_RECORDS: u64 = 1 << 20;

/// Longest path or link target. Linux stops at 4 KiB for one call, but trees deeper than that exist and can be
/// walked step by step.
pub const MAX_NAME: usize = 64 << 10;

/// Most data regions of one sparse file: 24 MiB of memory, and a 4 GiB file with every other page a hole.
pub const MAX_EXTENTS: usize = 1 << 20;

/// Longest name of an extended attribute; Linux has the same limit (`XATTR_NAME_MAX`).
pub const MAX_XATTR_NAME: usize = 255;

/// Longest value of an extended attribute; Linux has the same limit (`XATTR_SIZE_MAX`).
pub const MAX_XATTR_VALUE: usize = 64 << 10;

/// Longest list of attribute names, each with a NUL behind it; Linux has the same limit (`XATTR_LIST_MAX`).
pub const MAX_XATTR_LIST: usize = 64 << 10;

/// Most bytes of extended attributes, names and values, of one member. Filesystems hold less.
pub const MAX_XATTR_BYTES: usize = 1 << 20;

/// Something the parser has to say about the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A member that is sound.
    Entry(Entry),
    /// A member that is left out, or an oddity of one that is not.
    Problem(Problem),
}

/// A member of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where its own header starts in the stream, behind any PAX or GNU headers that belong to it.
    pub header_offset: u64,
    /// The name as the archive has it: not normalised, never split. May be empty, holds no NUL.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission, set-id and sticky bits: the low twelve.
    pub mode: u16,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Time of the last modification.
    pub mtime: Time,
    /// Length in bytes as a reader sees it, holes included. Zero for everything but regular files.
    pub size: u64,
    /// Where the bytes are: ascending, without overlap, none empty, none past `size`. What no extent covers
    /// is zeros.
    pub extents: Vec<Extent>,
    /// Extended attributes, sorted by name, each name once.
    pub xattrs: Vec<Xattr>,
}

/// Name and value of an extended attribute, byte for byte.
pub type Xattr = (Vec<u8>, Vec<u8>);

/// A kind of member, with what only that kind has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file with bytes.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link and its target, never empty.
    Symlink(Vec<u8>),
    /// Another name of the member with this path, never empty.
    HardLink(Vec<u8>),
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// A point in time: `seconds` since 1970, rounded down, and what is left in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Time {
    /// Whole seconds, negative before 1970.
    pub seconds: i64,
    /// Nanoseconds after `seconds`, below 1,000,000,000.
    pub nanos: u32,
}

/// A run of a file's bytes that lie together in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where the run starts in the file.
    pub file_offset: u64,
    /// Where it starts in the uncompressed stream.
    pub stream_offset: u64,
    /// Its length in bytes, never zero.
    pub length: u64,
}

/// Something wrong or odd about one member; the members around it are sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where the member's header starts in the stream.
    pub offset: u64,
    /// The member's name as far as it is known.
    pub name: Option<Vec<u8>>,
    /// What is wrong.
    pub what: Fault,
}

/// What can be wrong with one member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A PAX extended header does not follow its grammar.
    #[error("malformed PAX header: {0}")]
    Pax(&'static str),
    /// A numeric field is no number, or one out of range.
    #[error("{0} is not a number in range")]
    Number(&'static str),
    /// A name from a PAX record has a NUL in it.
    #[error("{0} contains a NUL byte")]
    Nul(&'static str),
    /// A link without a target.
    #[error("link without a target")]
    NoTarget,
    /// A path or link target longer than [`MAX_NAME`].
    #[error("{0} longer than {MAX_NAME} bytes")]
    NameTooLong(&'static str),
    /// A PAX or GNU long-name block longer than [`MAX_RECORDS`].
    #[error("extended header of {0} bytes, longer than {MAX_RECORDS}")]
    HeaderTooLong(u64),
    /// A sparse file whose map contradicts itself or the data.
    #[error("malformed sparse map: {0}")]
    Sparse(&'static str),
    /// A sparse file with more than [`MAX_EXTENTS`] regions.
    #[error("sparse file of more than {MAX_EXTENTS} regions")]
    TooManyExtents,
    /// A member that carries part of something else: a continued volume, an old list of long names.
    #[error("member of type {:?}, which is no file of its own", char::from(*.0))]
    NotAFile(u8),
    /// An extended header with no member behind it.
    #[error("extended header that belongs to no member")]
    Dangling,
    /// A type nobody defined; read as a regular file.
    #[error("unknown member type {}, read as a regular file", .0.escape_ascii())]
    UnknownType(u8),
    /// A file whose name ends in a slash, yet has data; read as a file.
    #[error("file with data whose name ends in a slash")]
    SlashOnFile,
    /// Data behind something that has none; passed over.
    #[error("{0} bytes of data behind a member that has none")]
    StrayData(u64),
    /// Extended attributes that are malformed, or beyond what Linux can hold; those are missing.
    #[error("extended attribute left out: {0}")]
    Xattr(&'static str),
}

impl Event {
    fn problem(offset: u64, name: Option<Vec<u8>>, what: Fault) -> Self {
        Event::Problem(Problem { offset, name, what })
    }
}

impl Fault {
    /// Says whether the member is missing from the entries because of this.
    pub fn leaves_out(&self) -> bool {
        match self {
            Fault::Pax(_)
            | Fault::Number(_)
            | Fault::Nul(_)
            | Fault::NoTarget
            | Fault::NameTooLong(_)
            | Fault::HeaderTooLong(_)
            | Fault::Sparse(_)
            | Fault::TooManyExtents
            | Fault::NotAFile(_)
            | Fault::Dangling => true,
            Fault::UnknownType(_) | Fault::SlashOnFile | Fault::StrayData(_) | Fault::Xattr(_) => false,
        }
    }
}

/// Why a stream is no archive from some point on. What was reported before that point stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TarError {
    /// A header's checksum does not hold, so nothing in it can be believed, least of all where the next one is.
    #[error("tar header at {at}: wrong checksum")]
    Checksum {
        /// Where the header starts.
        at: u64,
    },
    /// A size that is negative, too large or no number: the next header cannot be found.
    #[error("tar header at {at}: size is not a number in range")]
    Size {
        /// Where the header starts.
        at: u64,
    },
    /// The stream ends inside a header.
    #[error("tar header at {at}: stream ends after {got} of its bytes")]
    HeaderCut {
        /// Where the header starts.
        at: u64,
        /// How many bytes of it there are.
        got: u64,
    },
    /// The stream ends inside a member's data.
    #[error("tar member at {at}: stream ends {missing} bytes before its data does")]
    DataCut {
        /// Where the member's header starts.
        at: u64,
        /// How many bytes are missing.
        missing: u64,
    },
}
