//! Finding the directory that a path leads to, through symbolic links, never out of the root.

use super::builder::{Builder, Full, NONE, implied_directory};
use super::name::{self, NameError};
use super::node::Tag;
use super::problem::Complaint;

/// Most symbolic links on the way to one directory; what Linux allows.
pub const MAX_LINKS: u32 = 40;

/// Bytes of a path put together behind a symbolic link that count as one component walked.
const BYTES_PER_STEP: usize = 32;

/// Components that may be walked behind symbolic links in any layer, however small.
const FREE_STEPS: u64 = 1 << 20;

/// Components that may be walked behind symbolic links for each entry of a layer. Honest layers need one to ten;
/// a chain of [`MAX_LINKS`] long targets would need 80,000 for each entry.
const STEPS_PER_RECORD: u64 = 64;

/// Why a path leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stuck {
    Loop,
    Steps,
    /// A symbolic link leads to something that is no directory, and it may not be made one.
    NotDirectory,
    Name(NameError),
    Full,
}

impl From<Full> for Stuck {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

impl From<Full> for Complaint {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

impl From<Stuck> for Complaint {
    fn from(stuck: Stuck) -> Self {
        match stuck {
            Stuck::Loop => Self::ParentLoop,
            Stuck::Steps => Self::TooManySteps,
            Stuck::NotDirectory => Self::ParentNotDirectory,
            Stuck::Name(error) => Self::Name(error),
            Stuck::Full => Self::Full,
        }
    }
}

/// What to do where a directory is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// Say that there is none.
    Stop,
    /// Make it, also in the place of something else; but not behind a symbolic link, where it is something that the
    /// path does not name.
    Make,
}

/// The directory that one path led to; good until something that a path can lead through goes away.
#[derive(Default)]
struct Found {
    path: Vec<u8>,
    dir: u32,
    turns: u64,
}

/// Walks paths for one layer after the other.
#[derive(Default)]
pub(super) struct Walker {
    layer: u32,
    epoch: u32,
    steps: u64,
    /// Set when an entry of the same layer had to make room for a directory.
    pub(super) overwrote: bool,
    /// The last results of looking and of making: entries of one directory stand together.
    found: [Found; 2],
    path: Vec<u8>,
    spliced: Vec<u8>,
}

impl Walker {
    /// Begins the next layer.
    pub(super) fn next_layer(&mut self, layer: u32, epoch: u32, records: u32) {
        self.layer = layer;
        self.epoch = epoch;
        self.steps = FREE_STEPS + STEPS_PER_RECORD * u64::from(records);
    }

    /// Returns the directory at a path, which need not be clean; `None` only if it may not be made.
    pub(super) fn directory(
        &mut self,
        tree: &mut Builder,
        path: &[u8],
        missing: Missing,
    ) -> Result<Option<u32>, Stuck> {
        let slot = missing as usize;
        let last = &self.found[slot];
        if last.turns == tree.turns && last.path == path {
            return Ok(Some(last.dir));
        }
        let found = self.walk(tree, path, missing)?;
        if let Some(dir) = found {
            let last = &mut self.found[slot];
            last.path.clear();
            last.path.extend_from_slice(path);
            (last.dir, last.turns) = (dir, tree.turns);
        }
        Ok(found)
    }

    fn walk(&mut self, tree: &mut Builder, path: &[u8], missing: Missing) -> Result<Option<u32>, Stuck> {
        self.path.clear();
        self.path.extend_from_slice(path);
        let (mut dir, mut at, mut links) = (0, 0, 0);
        while at < self.path.len() {
            let rest = &self.path[at..];
            let part = &rest[..rest.iter().position(|&b| b == b'/').unwrap_or(rest.len())];
            at += part.len() + 1;
            if links > 0 {
                self.steps = self.steps.checked_sub(1).ok_or(Stuck::Steps)?;
            }
            match part {
                b"" | b"." => continue,
                b".." => {
                    dir = tree.row(dir).size as u32;
                    continue;
                }
                _ => {}
            }
            let entry = tree.find(dir, part);
            let node = entry.map_or(NONE, |entry| tree.entry(entry).node);
            match entry.map(|_| *tree.row(node)) {
                Some(row) if row.tag == Tag::Directory => dir = node,
                Some(row) if row.tag == Tag::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Stuck::Loop);
                    }
                    let target = &tree.bytes[row.a as usize..][..row.b as usize];
                    if target.starts_with(b"/") {
                        dir = 0;
                    }
                    self.spliced.clear();
                    self.spliced.extend_from_slice(target);
                    self.spliced.push(b'/');
                    self.spliced.extend_from_slice(self.path.get(at..).unwrap_or_default());
                    // What is copied may never be walked: forty links, each of whose targets begins with the next.
                    let copied = (self.spliced.len() / BYTES_PER_STEP) as u64;
                    self.steps = self.steps.checked_sub(copied).ok_or(Stuck::Steps)?;
                    std::mem::swap(&mut self.path, &mut self.spliced);
                    at = 0;
                }
                _ if missing == Missing::Stop => return Ok(None),
                Some(_) if links > 0 => return Err(Stuck::NotDirectory),
                _ => {
                    name::check(part).map_err(Stuck::Name)?;
                    let new = tree.add_node(implied_directory(self.layer))?;
                    match entry {
                        None => drop(tree.attach(dir, part, new, self.epoch << 1)?),
                        Some(entry) => {
                            self.overwrote |= tree.entry(entry).made >> 1 == self.epoch;
                            tree.point(entry, new, self.epoch << 1);
                        }
                    }
                    dir = new;
                }
            }
        }
        Ok(Some(dir))
    }
}
