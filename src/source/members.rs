//! The table of an archive's members: which names it has, and where their bytes are.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::SourceError;
use crate::problems::Problem;
use crate::stream::{Miss, Reader, Sink, Writer};
use crate::tar::{self, Event, Extent, Kind, Parser, TarError};

/// Most members of an archive. A layout of 100,000 images has fewer, and the table of so many takes some 60 MB.
const MAX_MEMBERS: usize = 1 << 19;

/// Most bytes of all members' names and link targets together.
const MAX_NAMES: usize = 64 << 20;

/// Most data regions of all sparse members together.
const MAX_EXTENTS: usize = 1 << 20;

/// Longest name and link target taken, as Linux has it for paths. Layouts have names of some eighty bytes.
const MAX_NAME: usize = 4096;

/// Most steps from a name to a file, counting the components of links on the way. Real ones take three to six.
const MAX_STEPS: usize = 64;

/// Most oddities of an archive that are told.
const MAX_PROBLEMS: usize = 100;

/// Where the bytes of a file are in the archive's stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Piece {
    /// All together.
    Run {
        /// Where they begin.
        at: u64,
        /// How many they are.
        len: u64,
    },
    /// In regions, with zeros between them.
    Sparse {
        /// The file's size in bytes.
        len: u64,
        /// The regions, ascending, each inside the file.
        extents: Arc<[Extent]>,
    },
}

impl Piece {
    /// Returns the file's size in bytes, as the archive claims it.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Run { len, .. } | Self::Sparse { len, .. } => *len,
        }
    }

    /// Returns where the first byte in the archive is, and how many there are. No two that differ share both.
    pub(super) fn place(&self) -> (u64, u64) {
        match self {
            Self::Run { at, len } => (*at, *len),
            Self::Sparse { len, extents } => (extents.first().map_or(0, |e| e.stream_offset), *len),
        }
    }
}

/// What stands under a name.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Member {
    File(Piece),
    /// The target, as it stands there.
    Symlink(Box<[u8]>),
    /// The target, a name of the archive.
    HardLink(Box<[u8]>),
    Other(&'static str),
}

/// The members of an archive by name, without `./` in front; of several of one name, the last.
#[derive(Default, PartialEq, Eq, Debug)]
pub(super) struct Members(BTreeMap<Box<[u8]>, Member>);

impl Members {
    /// Finds the file of this name. Links are followed, and never out of the archive.
    pub(super) fn find(&self, name: &[u8]) -> Result<Piece, SourceError> {
        let mut ahead: Vec<Vec<u8>> = components(name);
        let mut here: Vec<u8> = Vec::new();
        for _ in 0..MAX_STEPS {
            let Some(component) = ahead.pop() else { return Err(SourceError::NotRegular("directory")) };
            let parent = here.len();
            match &component[..] {
                b".." => {
                    let up = here.iter().rposition(|b| *b == b'/').unwrap_or(0);
                    if here.is_empty() {
                        return Err(SourceError::Absent);
                    }
                    here.truncate(up);
                    continue;
                }
                name if here.is_empty() => here.extend_from_slice(name),
                name => {
                    here.push(b'/');
                    here.extend_from_slice(name);
                }
            }
            match self.0.get(&here[..]) {
                Some(Member::Symlink(target)) if !target.starts_with(b"/") => {
                    here.truncate(parent);
                    ahead.extend(components(target));
                }
                Some(Member::Symlink(_)) => return Err(SourceError::Absent),
                Some(Member::HardLink(target)) => {
                    here.clear();
                    ahead.extend(components(target));
                }
                Some(Member::File(piece)) if ahead.is_empty() => return Ok(piece.clone()),
                Some(Member::Other(kind)) if ahead.is_empty() => return Err(SourceError::NotRegular(kind)),
                None if ahead.is_empty() => return Err(SourceError::Absent),
                // A directory, stated or not.
                Some(Member::Other("directory")) | None => {}
                Some(Member::File(_) | Member::Other(_)) => return Err(SourceError::Absent),
            }
        }
        Err(SourceError::Absent)
    }

    /// Says whether there is something under this very name.
    pub(super) fn has(&self, name: &[u8]) -> bool {
        self.0.contains_key(name)
    }

    /// Returns the names that begin with `prefix`, in order.
    pub(super) fn names<'a>(&'a self, prefix: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let names = self.0.range::<[u8], _>(from).map(|(name, _)| &name[..]);
        names.take_while(move |name| name.starts_with(prefix))
    }

    /// Says whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes the table down as part of a file.
    pub(super) fn encode(&self, w: &mut Writer) -> std::io::Result<()> {
        w.count(self.0.len())?;
        for (name, member) in &self.0 {
            w.bytes(name)?;
            match member {
                Member::File(Piece::Run { at, len }) => {
                    w.u8(0);
                    w.u64(*at);
                    w.u64(*len);
                }
                Member::File(Piece::Sparse { len, extents }) => {
                    w.u8(1);
                    w.u64(*len);
                    w.count(extents.len())?;
                    for extent in extents.iter() {
                        w.u64(extent.file_offset);
                        w.u64(extent.stream_offset);
                        w.u64(extent.length);
                    }
                }
                Member::Symlink(target) => {
                    w.u8(2);
                    w.bytes(target)?;
                }
                Member::HardLink(target) => {
                    w.u8(3);
                    w.bytes(target)?;
                }
                Member::Other(kind) => w.u8(if *kind == DIRECTORY { 4 } else { 5 }),
            }
        }
        Ok(())
    }

    /// Reads back what [`Members::encode`] wrote.
    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, Miss> {
        let mut members = BTreeMap::new();
        for _ in 0..r.u32()? {
            let name: Box<[u8]> = r.bytes()?.into();
            let member = match r.u8()? {
                0 => Member::File(Piece::Run { at: r.u64()?, len: r.u64()? }),
                1 => {
                    let len = r.u64()?;
                    let extent = |r: &mut Reader<'_>| -> Result<Extent, Miss> {
                        Ok(Extent { file_offset: r.u64()?, stream_offset: r.u64()?, length: r.u64()? })
                    };
                    let extents = (0..r.u32()?).map(|_| extent(r)).collect::<Result<_, _>>()?;
                    Member::File(Piece::Sparse { len, extents })
                }
                2 => Member::Symlink(r.bytes()?.into()),
                3 => Member::HardLink(r.bytes()?.into()),
                4 => Member::Other(DIRECTORY),
                5 => Member::Other(SPECIAL),
                _ => return Err(Miss::Unsound),
            };
            members.insert(name, member);
        }
        Ok(Self(members))
    }
}

const DIRECTORY: &str = "directory";
const SPECIAL: &str = "special file";

/// Splits a path, the last component first.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let components = path.split(|b| *b == b'/').filter(|c| !c.is_empty() && *c != b".");
    let mut components: Vec<_> = components.map(<[u8]>::to_vec).collect();
    components.reverse();
    components
}

/// Returns a name as the table has it: no `./`, no slash at either end. None for one that leads out.
fn tidy(path: &[u8]) -> Option<Vec<u8>> {
    let mut components = components(path);
    components.reverse();
    let out = components.is_empty() || components.iter().any(|c| c == b"..");
    (!out).then(|| components.join(&b'/'))
}

/// Makes the table from an archive's bytes, as they come or with data skipped.
#[derive(Default)]
pub(super) struct Collector {
    pub(super) parser: Parser,
    found: Found,
}

#[derive(Default)]
struct Found {
    members: Members,
    names: usize,
    extents: usize,
    problems: Vec<Problem>,
    failed: Option<String>,
}

impl Sink for Collector {
    fn take(&mut self, piece: &[u8]) {
        self.parser.feed(piece, &mut |event| self.found.take(event));
    }
}

impl Collector {
    /// Says whether the archive was found to be more than we take; the rest need not be read.
    pub(super) fn has_failed(&self) -> bool {
        self.found.failed.is_some()
    }

    /// Returns the table, and what was odd; or why these bytes are no archive we can use.
    pub(super) fn finish(self) -> Result<(Members, Vec<Problem>), String> {
        let Self { parser, mut found } = self;
        let end = parser.finish(&mut |event| found.take(event));
        if let Some(failed) = found.failed {
            return Err(failed);
        }
        match end {
            Ok(()) => {}
            Err(
                TarError::Checksum { at: 0 } | TarError::Size { at: 0 } | TarError::HeaderCut { at: 0, .. },
            ) => {
                return Err("is no tar archive, and no image ocifs knows: it mounts layout directories, tars of them, and what \
                     `docker save` writes".to_owned());
            }
            Err(e) => {
                found.problems.push(Problem::new("archive", format!("{e}; it is damaged from there on")))
            }
        }
        Ok((found.members, found.problems))
    }
}

impl Found {
    fn take(&mut self, event: Event) {
        match event {
            Event::Entry(entry) => self.add(entry),
            Event::Problem(problem) => {
                if problem.what.leaves_out() && self.problems.len() < MAX_PROBLEMS {
                    let name = problem.name.unwrap_or_default();
                    let what = format!("{}: {}; left out", name.escape_ascii(), problem.what);
                    self.problems.push(Problem::new("archive", what));
                }
            }
        }
    }

    fn add(&mut self, entry: tar::Entry) {
        // Nothing is looked for under a name that leads out, or is longer than any path.
        let Some(name) = tidy(&entry.path).filter(|name| name.len() <= MAX_NAME) else { return };
        let member = match entry.kind {
            Kind::Regular => match entry.extents[..] {
                [] if entry.size == 0 => Member::File(Piece::Run { at: 0, len: 0 }),
                [Extent { file_offset: 0, stream_offset: at, length }] if length == entry.size => {
                    Member::File(Piece::Run { at, len: length })
                }
                _ => {
                    self.extents += entry.extents.len();
                    Member::File(Piece::Sparse { len: entry.size, extents: entry.extents.into() })
                }
            },
            Kind::Symlink(target) if target.len() <= MAX_NAME => Member::Symlink(target.into()),
            Kind::HardLink(target) if target.len() <= MAX_NAME => Member::HardLink(target.into()),
            Kind::Directory => Member::Other(DIRECTORY),
            _ => Member::Other(SPECIAL),
        };
        let link = match &member {
            Member::Symlink(target) | Member::HardLink(target) => target.len(),
            Member::File(_) | Member::Other(_) => 0,
        };
        self.names += name.len() + link;
        let too_many =
            |what: &str, limit: usize| format!("has more than {limit} {what}: ocifs does not take it");
        if self.failed.is_some() {
            return;
        }
        if self.members.0.len() == MAX_MEMBERS {
            self.failed = Some(too_many("members", MAX_MEMBERS));
        } else if self.names > MAX_NAMES {
            self.failed = Some(too_many("bytes of names", MAX_NAMES));
        } else if self.extents > MAX_EXTENTS {
            self.failed = Some(too_many("regions of sparse files", MAX_EXTENTS));
        } else {
            self.members.0.insert(name.into(), member);
        }
    }
}
