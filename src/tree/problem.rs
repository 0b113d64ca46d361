//! What could not be applied as a layer states it, and why.

use super::name::{MAX_TARGET, NameError};
use super::resolve::MAX_LINKS;

/// Most problems kept for one layer; beyond it they are only counted. A person reads the first few, and a hostile
/// layer could state millions.
pub const MAX_PROBLEMS: usize = 1000;

/// Most problems kept for all layers together: `.ocifs/problems` keeps no more. A manifest can list a layer of some
/// kilobytes four thousand times.
pub(super) const MAX_IN_ALL: usize = 10_000;

/// Most bytes of names and targets kept for all layers together.
const MAX_TEXT: usize = 16 << 20;

/// Most bytes kept of a name or target in a problem: two of them fill a line of `.ocifs/problems`.
const MAX_SHOWN: usize = 1000;

/// Something wrong with one entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[error("layer {layer}: {}: {what}", path.escape_ascii())]
pub struct Problem {
    /// The number of the layer.
    pub layer: u32,
    /// Where the entry's header begins in the layer's stream.
    pub header_offset: u64,
    /// The entry's name, as the archive has it; its first 1000 bytes.
    pub path: Vec<u8>,
    /// What is wrong, and what was done about it.
    pub what: Complaint,
}

impl Problem {
    /// Returns how many problems it stands for: more than one where the rest of them is only counted.
    pub fn count(&self) -> u64 {
        match self.what {
            Complaint::More(count) => count,
            _ => 1,
        }
    }

    /// Returns the bytes of names that it keeps.
    fn text(&self) -> usize {
        let target = match &self.what {
            Complaint::LinkMissing { target }
            | Complaint::LinkLoop { target }
            | Complaint::LinkToDirectory { target } => target.len(),
            _ => 0,
        };
        self.path.len() + target
    }
}

/// What is wrong with an entry, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Complaint {
    /// The name, or a name that a parent's symbolic link leads to, cannot be served. Left out.
    #[error("left out: {0}")]
    Name(#[from] NameError),
    /// The name holds `..`, which was resolved lexically inside the root.
    #[error("the name holds `..`; taken as the cleaned name inside the root")]
    DotDot,
    /// The root is not a directory in this entry. Left out.
    #[error("left out: the entry names the root and is not a directory")]
    RootNotDirectory,
    /// A whiteout marker for nothing, `.` or `..`. Left out.
    #[error("left out: a whiteout marker that names nothing, `.` or `..`")]
    BadMarker,
    /// An earlier entry of the same layer had this path.
    #[error("replaces an earlier entry of the same layer")]
    Duplicate,
    /// An earlier entry of the same layer had the path of one of this entry's parents, and was no directory.
    #[error(
        "needs a parent directory where an earlier entry of the same layer is; the earlier one is replaced"
    )]
    ParentReplaced,
    /// The parents lead through more than [`MAX_LINKS`] symbolic links. Left out.
    #[error("left out: its parents lead through more than {MAX_LINKS} symbolic links")]
    ParentLoop,
    /// The parents lead through a symbolic link to something that is no directory. Left out, and that stays.
    #[error("left out: its parents lead through a symbolic link to something that is no directory")]
    ParentNotDirectory,
    /// The layer's entries lead through symbolic links more often than any honest layer's. Left out.
    #[error("left out: the layer's entries lead through too many symbolic links")]
    TooManySteps,
    /// A symbolic link to nothing. Left out.
    #[error("left out: a symbolic link without a target")]
    EmptyTarget,
    /// A symbolic link whose target is longer than [`MAX_TARGET`]. Left out.
    #[error("left out: a symbolic link's target of {0} bytes, more than {MAX_TARGET}")]
    LongTarget(usize),
    /// A hard link to what neither the layer nor those below hold. Left out.
    #[error("left out: a hard link to {}, which does not exist", target.escape_ascii())]
    LinkMissing {
        /// The target, as the archive has it; its first 1000 bytes.
        target: Vec<u8>,
    },
    /// A hard link to something whose parents lead through more than [`MAX_LINKS`] symbolic links. Left out.
    #[error(
        "left out: a hard link to {}, whose parents lead through more than {MAX_LINKS} symbolic links",
        target.escape_ascii()
    )]
    LinkLoop {
        /// The target, as the archive has it; its first 1000 bytes.
        target: Vec<u8>,
    },
    /// A hard link to a directory. Left out.
    #[error("left out: a hard link to {}, which is a directory", target.escape_ascii())]
    LinkToDirectory {
        /// The target, as the archive has it; its first 1000 bytes.
        target: Vec<u8>,
    },
    /// The tree has as many nodes, bytes of names and attributes, or regions of sparse files as one tree can have. Left out.
    #[error("left out: the tree is full")]
    Full,
    /// There are more problems with this layer than are kept.
    #[error("{0} more problems with this layer")]
    More(u64),
}

/// Returns what a problem keeps of a name.
pub(super) fn shown(name: &[u8]) -> Vec<u8> {
    name[..name.len().min(MAX_SHOWN)].to_vec()
}

/// The problems of all layers, bounded for each and together.
#[derive(Default)]
pub(super) struct Problems {
    list: Vec<Problem>,
    /// Where those of the current layer begin.
    layer_start: usize,
    text: usize,
    /// How many of the current layer are only counted.
    more: u64,
    /// Whether any says that the tree is full.
    full: bool,
}

impl Problems {
    /// Begins the next layer.
    pub(super) fn next_layer(&mut self) {
        self.layer_start = self.list.len();
        self.more = 0;
    }

    pub(super) fn add(&mut self, layer: u32, header_offset: u64, path: &[u8], what: Complaint) {
        self.full |= what == Complaint::Full;
        let kept = self.list.len();
        let room = kept - self.layer_start < MAX_PROBLEMS && kept < MAX_IN_ALL && self.text < MAX_TEXT;
        // Once one is only counted, all that come later in the layer are.
        if room && self.more == 0 {
            let problem = Problem { layer, header_offset, path: shown(path), what };
            self.text += problem.text();
            self.list.push(problem);
            return;
        }
        self.more += 1;
        if self.more == 1 {
            self.list.push(Problem { layer, header_offset: 0, path: Vec::new(), what: Complaint::More(1) });
        } else if let Some(Problem { what: Complaint::More(count), .. }) = self.list.last_mut() {
            *count = self.more;
        }
    }

    /// Says whether anything was left out because the tree was full, also where that is only counted.
    pub(super) fn say_full(&self) -> bool {
        self.full
    }

    pub(super) fn into_vec(self) -> Vec<Problem> {
        self.list
    }
}
