//! What the user sees: every question the kernel can ask, answered without knowing a kernel.
//!
//! The mount is made of trees. Each stands in a *slot*; places in one tree where another appears are *grafts*, grown
//! when somebody first looks. Blobs are inodes of their own, shown by as many directories as name them.

mod attr;
mod beside;
mod blobs;
mod directories;
mod error;
mod files;
mod foresight;
mod graft;
mod grow;
mod history;
mod ino;
mod links;
mod loose;
mod names;
mod paths;
mod ready;
mod rebase;
mod skeleton;
mod stack;
mod state;
mod stats;
mod xattrs;

use std::sync::Arc;

use crate::image::Catalog;
use crate::layer::LayerStore;
use crate::oci::Platform;

use state::State;
use stats::add;

pub use attr::{Attr, FileKind, Time};
pub use error::Error;
pub use files::MAX_LAYERS;
pub use foresight::{Foresight, Seen};
pub use history::size as human_size;
pub use ino::Ino;
pub use paths::{Paths, Place};
pub use ready::Pace;
pub use stats::{CageStats, ViewStats};

/// How the view shows things.
#[derive(Clone, Debug, Default)]
pub struct ViewOptions {
    /// The group of the catalog that the root shows, where one was chosen.
    pub image: Option<usize>,
    /// Shows this platform only.
    pub platform: Option<Platform>,
    /// Who owns what has no owner of its own.
    pub owner: (u32, u32),
    /// Shows everything as this user's.
    pub uid: Option<u32>,
    /// Shows everything as this group's.
    pub gid: Option<u32>,
    /// How absolute symlinks of the image are shown.
    pub symlinks: Symlinks,
    /// What `.ocifs/stats` says of the cage.
    pub cage: Arc<CageStats>,
}

/// How absolute symlinks of an image are shown. Followed from a mount, they lead into the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Symlinks {
    /// As the image has them.
    #[default]
    Verbatim,
    /// Relative, so that they stay inside the tree they stand in.
    Rebase,
}

/// A child of a directory, as listing shows it.
#[derive(Debug)]
pub struct Child<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// What stat shows of it.
    pub attr: Attr,
    /// Where to go on listing after it.
    pub next: u64,
}

/// Size of what the mount shows, for statfs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Bytes of all blobs.
    pub bytes: u64,
    /// Number of blobs.
    pub blobs: u64,
}

/// The whole mount: looked up, listed, described and read by inode number.
pub struct View {
    /// Shared with the thread that counts links, and with nobody else.
    state: Arc<State>,
}

type Result<T> = std::result::Result<T, Error>;

impl View {
    /// Makes a view of `catalog`, with the contents of its layers from `layers`. Reads nothing.
    pub fn new(catalog: Catalog, layers: LayerStore, options: ViewOptions) -> Self {
        Self { state: State::new(catalog, layers, options) }
    }

    /// Finds `name` in a directory.
    pub fn lookup(&self, parent: Ino, name: &[u8]) -> Result<Attr> {
        add(&self.state.stats.lookups, 1);
        self.reported(parent, || self.state.lookup(parent, name))
    }

    /// Describes a node.
    pub fn attr(&self, ino: Ino) -> Result<Attr> {
        self.reported(ino, || self.state.attr(ino))
    }

    /// Lists a directory from `from` on (0 at first, then [`Child::next`]), until `take` says no.
    pub fn list(&self, ino: Ino, from: u64, take: &mut dyn FnMut(&Child<'_>) -> bool) -> Result<()> {
        add(&self.state.stats.listings, 1);
        self.reported(ino, || self.state.list(ino, from, take))
    }

    /// Returns the directory a directory stands in; the root stands in itself.
    pub fn parent(&self, ino: Ino) -> Result<Ino> {
        self.reported(ino, || self.state.parent(ino))
    }

    /// Returns where a symlink points.
    pub fn link_target(&self, ino: Ino) -> Result<Vec<u8>> {
        self.reported(ino, || self.state.link_target(ino))
    }

    /// Reads at most `len` bytes from `offset` on; fewer means the end.
    pub fn read(&self, ino: Ino, offset: u64, len: usize) -> Result<Vec<u8>> {
        add(&self.state.stats.reads, 1);
        let bytes = self.reported(ino, || self.state.read(ino, offset, len))?;
        add(&self.state.stats.read_bytes, bytes.len() as u64);
        Ok(bytes)
    }

    /// Hands to `give` the small files that are likely to be read after what was `seen`, each whole, as far as their bytes are in
    /// memory and it says yes.
    pub fn foresee(&self, foresight: &mut Foresight, seen: Seen, give: &mut dyn FnMut(Ino, &[u8]) -> bool) {
        self.state.foresee(foresight, seen, give);
    }

    /// Returns one extended attribute of a node.
    pub fn xattr(&self, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        self.reported(ino, || self.state.xattr(ino, name))
    }

    /// Returns the extended attributes of a node.
    pub fn xattrs(&self, ino: Ino) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.reported(ino, || self.state.xattrs(ino))
    }

    /// Returns the size of everything.
    pub fn totals(&self) -> Totals {
        self.state.totals()
    }

    /// Says what [`View::list`] takes.
    pub fn pace_of_list(&self, ino: Ino) -> Pace {
        Pace::new(self.state.lists_at_once(ino), || self.state.is_of_layers(ino))
    }

    /// Says what [`View::lookup`] takes.
    pub fn pace_of_lookup(&self, parent: Ino, name: &[u8]) -> Pace {
        Pace::new(self.state.looks_up_at_once(parent, name), || self.state.is_of_layers(parent))
    }

    /// Says what [`View::attr`] and [`View::link_target`] take.
    pub fn pace_of_attr(&self, ino: Ino) -> Pace {
        // Who describes a root does not wait for the layers, or a moment at most.
        Pace::new(self.state.describes_at_once(ino), || !ino.is_root() && self.state.is_of_layers(ino))
    }

    /// Says what [`View::xattr`] and [`View::xattrs`] take.
    pub fn pace_of_xattrs(&self, ino: Ino) -> Pace {
        Pace::new(self.state.tells_xattrs_at_once(ino), || self.state.is_of_layers(ino))
    }

    /// Says what [`View::read`] takes.
    pub fn pace_of_read(&self, ino: Ino, offset: u64, len: usize) -> Pace {
        Pace::new(self.state.reads_at_once(ino, offset, len), || self.state.is_of_blobs(ino))
    }

    /// Returns how many processors are at work for reads to come.
    pub fn processors_in_use(&self) -> usize {
        self.state.processors_in_use()
    }

    /// Runs `ask`, and puts what is wrong with the source where people look.
    fn reported<T>(&self, ino: Ino, ask: impl FnOnce() -> Result<T>) -> Result<T> {
        ask().inspect_err(|e| self.state.report(ino, e))
    }
}
