//! Where bytes come from.
//!
//! No trust, no caching of meaning: answers are claims, and nothing from here reaches a reader except through
//! [`crate::blob`].

mod archive;
mod docker_archive;
mod facts;
mod held;
mod layout_dir;
mod layout_tar;
mod members;
mod places;
#[cfg(feature = "registry")]
pub mod registry;
mod saved;
#[cfg(test)]
mod tests;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::cache::Cache;
use crate::oci::{Descriptor, Digest, IndexEntry};
use crate::problems::Problem;
use crate::read_at::ReadAt;

use archive::Archive;

pub use docker_archive::DockerArchive;
pub use layout_dir::LayoutDir;
pub use layout_tar::LayoutTar;
pub use places::{Places, places};

/// Largest index.json we read. It has an entry for each image, and 10,000 of them are 3 MB.
pub const MAX_INDEX: u64 = 64 << 20;

/// Largest `oci-layout` file we read; it holds one short member.
const MAX_OCI_LAYOUT: u64 = 1 << 20;

/// A holder of an OCI layout's bytes. Answers are claims.
pub trait Source: Send + Sync {
    /// Returns the bytes of index.json.
    fn index(&self) -> Result<Vec<u8>, SourceError>;

    /// Returns the bytes of the `oci-layout` file.
    fn oci_layout(&self) -> Result<Vec<u8>, SourceError>;

    /// Opens what the source holds of `descriptor`, without blocking. Its digest is enough for most.
    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn ReadAt>, SourceError>;

    /// Says whether the source's documents are elsewhere, so that reading all of them only to count is too much.
    fn is_remote(&self) -> bool {
        false
    }

    /// Hears that what it gave under `digest` was not that: a copy that was kept must go.
    fn distrust(&self, _digest: &Digest) {}

    /// Opens what the source holds of `descriptor` for who wants parts of it only: unread parts are not fetched. None
    /// where the source has nothing but whole blobs. A read fails as [`io::ErrorKind::Unsupported`] where that turns out
    /// only then.
    fn parts(&self, _descriptor: &Descriptor) -> Option<Box<dyn ReadAt>> {
        None
    }

    /// Hears that the bytes in `range` of what it gave under `digest` were not those: a copy that was kept must go.
    fn distrust_part(&self, _digest: &Digest, _range: Range<u64>) {}

    /// Returns how often parts of blobs were asked for elsewhere, and how many bytes came.
    fn parts_fetched(&self) -> (u64, u64) {
        (0, 0)
    }

    /// Says whether a blob's bytes are on this machine, so that reading them costs nobody a download.
    fn is_near(&self, _descriptor: &Descriptor) -> bool {
        true
    }

    /// Lists the blobs the source holds, with their sizes in bytes, in no particular order.
    fn blobs(&self) -> Result<Vec<(Digest, u64)>, SourceError>;

    /// Asks who speaks of the manifest or index `subject`, with entries of an index in answer. For sources that know more
    /// than index.json and what lies below it.
    fn referrers(&self, _subject: &Digest) -> Result<Vec<IndexEntry>, SourceError> {
        Ok(Vec::new())
    }

    /// Returns when the source was last written, as the time of everything that has none of its own.
    fn modified(&self) -> SystemTime;

    /// Returns what is odd about the source as a whole.
    fn problems(&self) -> Vec<Problem> {
        Vec::new()
    }
}

/// Why a source did not answer.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The source does not exist.
    #[error("{0}: no such file or directory")]
    NoSuchSource(PathBuf),
    /// It exists, and is nothing we can mount.
    #[error("{path}: {what}")]
    NotALayout {
        /// The source.
        path: PathBuf,
        /// What is missing or wrong.
        what: String,
    },
    /// The source does not hold this.
    #[error("not in this source")]
    Absent,
    /// Something else than a regular file stands in its place.
    #[error("is a {0}, not a regular file")]
    NotRegular(&'static str),
    /// Larger than anything of its kind has reason to be.
    #[error("has {size} bytes, and we read at most {limit}")]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// Our limit in bytes.
        limit: u64,
    },
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What kind of source the user said it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Kind {
    /// Nothing was said: its content tells.
    #[default]
    Any,
    /// A layout directory.
    LayoutDir,
    /// A tar of a layout.
    LayoutTar,
    /// A docker-archive; of its images all, or the one of this number.
    DockerArchive(Option<usize>),
}

/// Opens the source at `path`. What takes a pass over an archive to know is kept in `cache`.
pub fn open(path: &Path, kind: Kind, cache: Option<&Arc<Cache>>) -> Result<Box<dyn Source>, SourceError> {
    let refuse = |what: &str| SourceError::NotALayout { path: path.to_owned(), what: what.to_owned() };
    let meta = match std::fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(SourceError::NoSuchSource(path.to_owned()));
        }
        Err(e) => return Err(refuse(&e.to_string())),
        Ok(meta) => meta,
    };
    let opened: Result<Box<dyn Source>, _> = match (kind, meta.is_dir()) {
        (Kind::Any | Kind::LayoutDir, true) => LayoutDir::open(path).map(|dir| Box::new(dir) as _),
        (Kind::LayoutTar | Kind::DockerArchive(_), true) => {
            Err(refuse("is a directory, not an archive; leave the transport away, or say `oci:`"))
        }
        (_, false) if !meta.is_file() => Err(refuse("is neither a directory nor a regular file")),
        (Kind::LayoutDir, false) => Err(refuse("is a file, not a layout directory; say `oci-archive:`")),
        (_, false) => match open_archive(path, kind, cache, true) {
            // What was remembered of the archive may not be true of it any more.
            Err((SourceError::Io(_), true)) => open_archive(path, kind, cache, false),
            other => other,
        }
        .map_err(|(e, _)| e),
    };
    opened.map_err(|e| match e {
        SourceError::NotALayout { .. } | SourceError::NoSuchSource(_) => e,
        other => refuse(&other.to_string()),
    })
}

/// Opens an archive. A failure says whether something remembered was believed.
fn open_archive(
    path: &Path,
    kind: Kind,
    cache: Option<&Arc<Cache>>,
    trusting: bool,
) -> Result<Box<dyn Source>, (SourceError, bool)> {
    let archive = Archive::open(path, cache, trusting).map_err(|e| (e, false))?;
    let remembered = archive.is_remembered();
    told_apart(archive, kind).map_err(|e| (e, remembered))
}

/// Takes an archive for what it is.
///
/// Docker since version 25 and BuildKit write both kinds in one: then the layout counts, unless it leads nowhere.
fn told_apart(archive: Archive, kind: Kind) -> Result<Box<dyn Source>, SourceError> {
    let (index, manifest) = (archive.members().has(b"index.json"), archive.members().has(b"manifest.json"));
    let docker = |archive, only| {
        let images = docker_archive::images(&archive)?;
        Ok(Box::new(DockerArchive::new(archive, images, only)?) as _)
    };
    let layout = |archive| Ok(Box::new(LayoutTar::new(archive)?) as _);
    match (kind, index, manifest) {
        (_, false, false) => Err(unknown(&archive)),
        (Kind::DockerArchive(only), _, true) => docker(archive, only),
        (Kind::DockerArchive(_), _, false) => Err(archive
            .refuse("is no docker-archive: it has an index.json and no manifest.json; say `oci-archive:`")),
        (Kind::LayoutTar, true, _) => layout(archive),
        (Kind::LayoutTar, false, _) => Err(archive.refuse(
            "is no tar of a layout: it has a manifest.json and no index.json; say `docker-archive:`",
        )),
        (Kind::Any | Kind::LayoutDir, true, false) => layout(archive),
        (Kind::Any | Kind::LayoutDir, false, true) => docker(archive, None),
        (Kind::Any | Kind::LayoutDir, true, true) => {
            let images = docker_archive::images(&archive).unwrap_or_default();
            let layers = images.iter().flatten().any(|image| !image.layers.is_empty());
            // Where manifest.json is of no use either, the layout says better what is wrong.
            match layout_tar::is_usable(&archive, layers) || !docker_archive::is_usable(&archive, &images) {
                true => layout(archive),
                false => Ok(Box::new(DockerArchive::new(archive, images, None)?)),
            }
        }
    }
}

/// Says what an archive is that is neither.
fn unknown(archive: &Archive) -> SourceError {
    let members = archive.members();
    let has = |ends: &str| members.names(b"").any(|name| name.ends_with(ends.as_bytes()));
    if members.has(b"repositories") || (has("/json") && has("/layer.tar")) {
        return archive.refuse(
            "is an archive as docker wrote it before version 1.10, without a manifest.json; \
             `docker load` it and `docker save` it anew",
        );
    }
    if members.is_empty() {
        return archive.refuse("is an empty archive");
    }
    if has("/index.json") {
        return archive.refuse(
            "has an index.json, but not at its top; pack the layout anew with `tar -C LAYOUT -cf FILE .`",
        );
    }
    archive.refuse(
        "is an archive of something else: it has neither an index.json nor a manifest.json at its top",
    )
}
