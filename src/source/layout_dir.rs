//! An OCI layout directory (image-layout.md).

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};

use super::{MAX_INDEX, MAX_OCI_LAYOUT, Source, SourceError};
use crate::oci::{Descriptor, Digest};
use crate::read_at::ReadAt;

/// A layout directory, held open: it stays the same one when it is renamed, and when something is mounted over it.
pub struct LayoutDir {
    pub(super) dir: OwnedFd,
    path: PathBuf,
    modified: SystemTime,
}

impl LayoutDir {
    /// Opens the directory at `path`, which must have an index.json.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let dir = nix::fcntl::open(path, flags, Mode::empty()).map_err(io::Error::from)?;
        let not_a_layout =
            |what: &str| SourceError::NotALayout { path: path.to_owned(), what: what.to_owned() };
        let modified = match fstatat(&dir, "index.json", AtFlags::empty()) {
            Ok(stat) if is(&stat, SFlag::S_IFREG) => modified(&stat),
            Ok(_) => return Err(not_a_layout("not an OCI layout: its index.json is not a regular file")),
            Err(e) => {
                return Err(match not_there(e) {
                    SourceError::Absent => {
                        not_a_layout("not an OCI layout: there is no index.json in this directory")
                    }
                    other => other,
                });
            }
        };
        Ok(Self { dir, path: path.to_owned(), modified })
    }

    /// Opens the directory that `names` lead to, for names in it to be opened.
    ///
    /// Step by step: the kernel would follow a link in the middle of a path unseen.
    fn directory(&self, names: &[&str]) -> Result<OwnedFd, SourceError> {
        let mut dir = self.dir.try_clone()?;
        for name in names {
            dir = step(&dir, name)?;
        }
        Ok(dir)
    }

    fn document(&self, name: &str, limit: u64) -> Result<Vec<u8>, SourceError> {
        let (file, size) = regular(&self.dir, name)?;
        if size > limit {
            return Err(SourceError::TooLarge { size, limit });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).expect("below a limit of ours"));
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Lists the names in a directory below the layout; one that is absent has none.
    fn names(&self, path: &[&str]) -> Result<Vec<String>, SourceError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let dir = self
            .directory(path)
            .and_then(|dir| Dir::openat(&dir, ".", flags, Mode::empty()).map_err(not_there));
        let mut dir = match dir {
            Ok(dir) => dir,
            Err(SourceError::Absent) => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let mut names = Vec::new();
        for entry in dir.iter() {
            // No algorithm and no digest begins with a dot; the directory's parent does, and is none of the layout's where a
            // link leads here.
            if let Ok(name) = entry.map_err(io::Error::from)?.file_name().to_str()
                && !name.starts_with('.')
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }
}

/// Opens a file by its name in a directory of the layout.
pub(super) fn regular(dir: &OwnedFd, name: &str) -> Result<(File, u64), SourceError> {
    // Asked before opening, because opening a device can already do something; and again after, because
    // somebody may have put another thing there in between. O_NONBLOCK: a FIFO must not hold us up.
    let (stat, link) = look(dir, name)?;
    if !is(&stat, SFlag::S_IFREG) {
        return Err(SourceError::NotRegular(kind_of(&stat)));
    }
    let mut flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    flags.set(OFlag::O_NOFOLLOW, link.is_none());
    let file = File::from(openat(dir, name, flags, Mode::empty()).map_err(not_there)?);
    let meta = file.metadata()?;
    if link.is_some_and(|link| !may_lead(link, meta.uid())) {
        return Err(SourceError::NotRegular(ASTRAY));
    }
    if !meta.is_file() {
        let kind = meta.file_type();
        return Err(SourceError::NotRegular(if kind.is_fifo() { "FIFO" } else { "special file" }));
    }
    Ok((file, meta.len()))
}

/// Opens a directory in a directory of the layout, itself or what a link of its name leads to.
pub(super) fn step(dir: &OwnedFd, name: &str) -> Result<OwnedFd, SourceError> {
    // A path alone, for which a directory need not be readable.
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    match openat(dir, name, flags | OFlag::O_NOFOLLOW, Mode::empty()).map_err(io::Error::from) {
        Ok(inner) => return Ok(inner),
        // A link too is no directory.
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {}
        Err(e) => return Err(not_there(e)),
    }
    let astray = SourceError::NotRegular("file below a symlink that leads to nothing of its owner");
    let Some(link) = (match look(dir, name) {
        Ok((_, link)) => link,
        Err(SourceError::NotRegular(_)) => return Err(astray),
        Err(e) => return Err(e),
    }) else {
        return Err(SourceError::Absent);
    };
    let inner = openat(dir, name, flags, Mode::empty()).map_err(not_there)?;
    match may_lead(link, fstat(&inner).map_err(io::Error::from)?.st_uid) {
        true => Ok(inner),
        false => Err(astray),
    }
}

/// What a link is that is not followed, whatever stands where it leads.
const ASTRAY: &str = "symlink that leads to nothing of its owner";

/// Looks at what a name in a directory of the layout leads to, and says whose link it is, if it is one.
///
/// A link that may lead to some places only fails alike where it leads to another and where there is nothing: it is not to
/// tell its owner which files there are that they cannot see.
fn look(dir: &OwnedFd, name: &str) -> Result<(FileStat, Option<libc::uid_t>), SourceError> {
    let own = fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(not_there)?;
    if !is(&own, SFlag::S_IFLNK) {
        return Ok((own, None));
    }
    let link = own.st_uid;
    match fstatat(dir, name, AtFlags::empty()).map_err(not_there) {
        Ok(stat) if may_lead(link, stat.st_uid) => Ok((stat, Some(link))),
        Err(SourceError::Absent) if is_ours(link) => Err(SourceError::Absent),
        Ok(_) | Err(SourceError::Absent) => Err(SourceError::NotRegular(ASTRAY)),
        Err(e) => Err(e),
    }
}

/// Says whether a link is followed, by whose it is and whose the thing is that it leads to.
///
/// We may be able to read what the layout's owner cannot. Where a link of theirs leads to what is somebody else's,
/// following it would hand that out: documents unchecked, of blobs their digests and sizes.
fn may_lead(link: libc::uid_t, target: libc::uid_t) -> bool {
    link == target || is_ours(link)
}

fn is_ours(uid: libc::uid_t) -> bool {
    uid == nix::unistd::geteuid().as_raw()
}

impl Source for LayoutDir {
    fn index(&self) -> Result<Vec<u8>, SourceError> {
        self.document("index.json", MAX_INDEX)
    }

    fn oci_layout(&self) -> Result<Vec<u8>, SourceError> {
        self.document("oci-layout", MAX_OCI_LAYOUT)
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn ReadAt>, SourceError> {
        let digest = &descriptor.digest;
        let dir = self.directory(&["blobs", digest.algorithm_name()])?;
        let (file, _) = regular(&dir, digest.encoded())?;
        Ok(Box::new(file))
    }

    fn blobs(&self) -> Result<Vec<(Digest, u64)>, SourceError> {
        let mut blobs = Vec::new();
        for algorithm in self.names(&["blobs"])? {
            let path = ["blobs", algorithm.as_str()];
            let names = self.names(&path)?;
            // What is no directory has no names: whether it can be opened was asked with them.
            let Ok(dir) = self.directory(&path) else { continue };
            for encoded in names {
                // Anything may lie around in there (temporary files, signatures): only digests are blobs.
                let Ok(digest) = Digest::parse(&format!("{algorithm}:{encoded}")) else { continue };
                let size = match look(&dir, &encoded) {
                    Ok((stat, _)) if is(&stat, SFlag::S_IFREG) => u64::try_from(stat.st_size).unwrap_or(0),
                    // A FIFO in a blob's place is listed: it is there, and reading it says what is wrong with it. So is a
                    // link that is not followed.
                    Ok(_) | Err(SourceError::NotRegular(_)) => 0,
                    Err(_) => continue,
                };
                blobs.push((digest, size));
            }
        }
        Ok(blobs)
    }

    fn modified(&self) -> SystemTime {
        self.modified
    }
}

impl std::fmt::Debug for LayoutDir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LayoutDir").field("path", &self.path).finish()
    }
}

/// Tells what is not there from what cannot be looked at.
fn not_there(error: impl Into<io::Error>) -> SourceError {
    let error = error.into();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => SourceError::Absent,
        _ => error.into(),
    }
}

pub(super) fn is(stat: &FileStat, kind: SFlag) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == kind
}

fn kind_of(stat: &FileStat) -> &'static str {
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFDIR => "directory",
        SFlag::S_IFIFO => "FIFO",
        SFlag::S_IFSOCK => "socket",
        SFlag::S_IFCHR => "character device",
        SFlag::S_IFBLK => "block device",
        _ => "special file",
    }
}

fn modified(stat: &FileStat) -> SystemTime {
    let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    SystemTime::UNIX_EPOCH + std::time::Duration::new(seconds, nanos)
}
