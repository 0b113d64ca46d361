//! Tar headers, read by ocifs and by another reader: what both accept, they must understand in the same way.
//!
//! The other reader is the crate tar-core, written by others and for itself. It was taken because it knows base-256 numbers,
//! GNU's long names and all four forms of sparse files; the crate tar knows no PAX sparse files and ends PAX records at
//! newlines, so that half of what is to be compared would stand in the list of what is known to differ.
//!
//! Where the two part ways on purpose is written down once, in [`Way`] (the next header is elsewhere from there on) and in
//! [`Pair::differ`] (a fact of one member). Whatever is not there is a finding; TAR_DIFFERENTIAL_OUT names a file that then
//! gets the archive.

#![no_main]

#[path = "common/archive.rs"]
mod archive;

use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use ocifs::tar::{Entry, Event, Extent, Fault, Kind, Parser, Problem, TarError, Xattr};
use std::collections::BTreeMap;
use tar_core::parse::{Limits, ParseEvent, ParsedEntry, Parser as Other};

const BLOCK: usize = 512;

/// What ocifs reads, by where the members' headers stand.
struct Ours {
    entries: BTreeMap<usize, Entry>,
    problems: Vec<Problem>,
    end: Result<(), TarError>,
}

impl Ours {
    fn read(archive: &[u8]) -> Self {
        let (mut entries, mut problems) = (BTreeMap::new(), Vec::new());
        let mut sink = |event| match event {
            Event::Entry(entry) => {
                let at = entry.header_offset as usize;
                assert!(entries.insert(at, entry).is_none(), "two members with one header");
            }
            Event::Problem(problem) => problems.push(problem),
        };
        let mut parser = Parser::new();
        parser.feed(archive, &mut sink);
        let end = parser.finish(&mut sink);
        Self { entries, problems, end }
    }

    fn problems_at(&self, at: usize) -> impl Iterator<Item = &Fault> {
        self.problems.iter().filter(move |problem| problem.offset as usize == at).map(|problem| &problem.what)
    }

    /// Returns the header that ocifs could not read on behind.
    fn end(&self) -> Option<usize> {
        match self.end {
            Err(TarError::Checksum { at } | TarError::Size { at } | TarError::HeaderCut { at, .. }) => {
                Some(at as usize)
            }
            Ok(()) | Err(TarError::DataCut { .. }) => None,
        }
    }
}

/// A member that both read.
struct Pair<'a> {
    ours: &'a Entry,
    theirs: &'a ParsedEntry<'a>,
    block: &'a [u8; BLOCK],
    pax: &'a [u8],
    /// The blocks between the header and the data: where an old sparse map goes on.
    further: &'a [u8],
    /// The other reader's view of the file's bytes: its size, and where they are.
    size: u64,
    extents: Vec<Extent>,
}

/// How the other reader goes on behind a member.
enum Way {
    /// Where ocifs does.
    Together,
    /// Elsewhere, as is known and meant; this member is still compared, and nothing behind it.
    Elsewhere,
    /// Elsewhere, and this member is another to it.
    Parted,
}

fn is_gnu(block: &[u8; BLOCK]) -> bool {
    block[257..265] == *b"ustar  \0"
}

fn is_ustar(block: &[u8; BLOCK]) -> bool {
    block[257..265] == *b"ustar\x0000"
}

fn has_record(pax: &[u8], key: &str) -> bool {
    let key = format!(" {key}");
    pax.windows(key.len()).any(|window| window == key.as_bytes())
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Says whether a number is one that the other reader gets wrong: negative or above 63 bits in base 256 (it keeps the low
/// 63 or 64 bits, and knows no sign), or digits behind a NUL (it stops at the NUL; GNU tar and ocifs read on, for there are
/// writers whose field before ran over).
fn is_odd(field: &[u8]) -> bool {
    if field[0] & 0x80 != 0 {
        let (high, low) = field.split_at(field.len() - 8);
        let too_high = high.iter().enumerate().any(|(n, byte)| if n == 0 { byte & 0x7f } else { *byte } != 0);
        return too_high || low[0] & if high.is_empty() { 0x40 } else { 0x80 } != 0;
    }
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let digits = field.iter().position(|byte| !blank(byte)).unwrap_or(0);
    field[..digits].contains(&0)
}

/// Says whether the readers know from here on of different headers, though they may agree on this member.
fn way(block: &[u8; BLOCK], pax: &[u8], further: &[u8]) -> Way {
    let flag = block[156];
    let parted = match flag {
        // Extended headers under no magic, or one of another version: the other reader takes them for members. GNU tar goes
        // by the type alone, and Solaris' `X` is PAX under an older name.
        b'x' | b'L' | b'K' | b'X' => true,
        b'S' => {
            // Under another magic the other reader takes a sparse file for a plain one. What says that a further block
            // follows is 1 to it, and to GNU tar anything but 0: in the header, and in each further block.
            let is_odd_mark = |mark: &u8| *mark > 1;
            let mut marks = further.chunks_exact(BLOCK).map(|block| &block[504]);
            !is_gnu(block) || is_odd_mark(&block[482]) || marks.any(is_odd_mark) || is_odd(&block[124..136])
        }
        // Links, devices and directories that state a size: whether data follow is seen from the next block (POSIX has
        // them mean different things), where the other reader believes the size.
        b'1'..=b'6' if !has_record(pax, "size=") && (block[124] & 0x80 != 0 || stated(block) != 0) => {
            return Way::Elsewhere;
        }
        _ => is_odd(&block[124..136]),
    };
    // Of a sparse file in form 1.0 with a size in a record, the other reader forgets that the map is part of the size; and
    // it reads a map where the member is no file at all.
    let form_1 = has_record(pax, "GNU.sparse.major=1") && has_record(pax, "GNU.sparse.minor=0");
    let forgets =
        form_1 && (has_record(pax, "size=") || matches!(flag, b'1'..=b'6' | b'D' | b'V' | b'M' | b'N'));
    if parted || forgets { Way::Parted } else { Way::Together }
}

/// Returns the size a header states, as far as octal digits say it.
fn stated(block: &[u8; BLOCK]) -> u64 {
    block[124..136]
        .iter()
        .filter(|byte| byte.is_ascii_digit())
        .fold(0, |n, byte| n << 3 | u64::from(byte - b'0'))
}

/// Says whether an extended header states an odd size, of those from `at` to `end`: its content ends elsewhere then.
fn has_odd_extension(archive: &[u8], at: usize, end: usize) -> bool {
    let mut at = at;
    while at < end {
        let Some(block) = archive.get(at..).and_then(|rest| rest.first_chunk::<BLOCK>()) else {
            return false;
        };
        let field = &block[124..136];
        if is_odd(field) {
            return true;
        }
        let size = match field[0] & 0x80 {
            0 => stated(block),
            _ => field[4..].iter().fold(0, |n, byte| n << 8 | u64::from(*byte)),
        };
        let Some(next) = usize::try_from(size).ok().and_then(|size| size.checked_next_multiple_of(BLOCK))
        else {
            return false;
        };
        at = at.saturating_add(BLOCK).saturating_add(next);
    }
    false
}

impl Pair<'_> {
    /// Returns what the readers say differently of this member, but for what is known and meant.
    fn differ(&self, xattr_left_out: bool) -> Option<String> {
        let (ours, theirs, block) = (self.ours, self.theirs, self.block);
        let field = |at: usize, len: usize| &block[at..at + len];
        let differ = |what: &str, a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug| {
            Some(format!(
                "{what} of the member at {}: {a:?}, and the other reader says {b:?}",
                ours.header_offset
            ))
        };
        // A GNU long name ends at its first NUL, as C reads it; the other reader takes off one at the end.
        let path = until_nul(&theirs.path);
        if ours.path != path && !self.is_known_path(path) {
            return differ(
                "the path",
                &ours.path.escape_ascii().to_string(),
                &path.escape_ascii().to_string(),
            );
        }
        if let Some((a, b)) = self.kinds()
            && a != b
        {
            return differ("the kind", &a.escape_ascii().to_string(), &b.escape_ascii().to_string());
        }
        if let Kind::Symlink(target) | Kind::HardLink(target) = &ours.kind {
            let other = until_nul(theirs.link_target.as_deref().unwrap_or_default());
            // An empty record cancels what it names, and the header counts again (POSIX); the other reader takes it for the
            // target.
            let cancelled = other.is_empty() && has_record(self.pax, "linkpath=\n");
            if target != other && !cancelled {
                return differ(
                    "the target",
                    &target.escape_ascii().to_string(),
                    &other.escape_ascii().to_string(),
                );
            }
        }
        if let Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } = ours.kind
            && let (Some(a), Some(b)) = (theirs.dev_major, theirs.dev_minor)
            // The other reader does not know these records.
            && !has_record(self.pax, "SCHILY.dev")
            && !is_odd(field(329, 8)) && !is_odd(field(337, 8))
            && (major, minor) != (a, b)
        {
            return differ("the device", &(major, minor), &(a, b));
        }
        if u32::from(ours.mode) != theirs.mode & 0o7777 && !is_odd(field(100, 8)) {
            return differ("the mode", &ours.mode, &theirs.mode);
        }
        if u64::from(ours.uid) != theirs.uid && !is_odd(field(108, 8)) {
            return differ("the owner", &ours.uid, &theirs.uid);
        }
        if u64::from(ours.gid) != theirs.gid && !is_odd(field(116, 8)) {
            return differ("the group", &ours.gid, &theirs.gid);
        }
        // The other reader has no fractions and nothing before 1970.
        if u64::try_from(ours.mtime.seconds) != Ok(theirs.mtime) && !is_odd(field(136, 12)) {
            return differ("the time", &ours.mtime, &theirs.mtime);
        }
        if ours.kind == Kind::Regular {
            // A region that begins with a NUL is one that is not used, to the other reader; GNU tar and ocifs look at its
            // length.
            let is_odd_region = |region: &[u8]| {
                region[12] != 0 && (region[0] == 0 || is_odd(&region[..12]) || is_odd(&region[12..]))
            };
            let mut regions =
                field(386, 96).chunks(24).chain(self.further.chunks(BLOCK).flat_map(|b| b[..504].chunks(24)));
            let odd_map = block[156] == b'S' && (is_odd(field(483, 12)) || regions.any(is_odd_region));
            if (ours.size, &ours.extents) != (self.size, &self.extents) && !odd_map {
                return differ("the bytes", &(ours.size, &ours.extents), &(self.size, &self.extents));
            }
        }
        // The other reader does not know libarchive's attributes, nor limits.
        if !has_record(self.pax, "LIBARCHIVE.xattr.") && !xattr_left_out && ours.xattrs != self.xattrs() {
            return differ("the attributes", &ours.xattrs, &self.xattrs());
        }
        None
    }

    /// Says whether the two paths are ones of those that are meant to differ.
    fn is_known_path(&self, other: &[u8]) -> bool {
        let behind_prefix = |end: usize| {
            let prefix = until_nul(&self.block[345..end]);
            !prefix.is_empty() && self.ours.path == [prefix, b"/", until_nul(&self.block[..100])].concat()
        };
        // An empty record cancels (POSIX); the other reader has a member without a name.
        let cancelled = other.is_empty()
            && (has_record(self.pax, "path=\n") || has_record(self.pax, "GNU.sparse.name=\n"));
        // A prefix under GNU's magic that is not two times: Go's old writers put it there, and Go's reader takes it.
        let go = self.block[257..263] == *b"ustar " && behind_prefix(500);
        // POSIX' magic in another version; the other reader has no prefix then.
        let version = self.block[257..263] == *b"ustar\0" && !is_ustar(self.block) && behind_prefix(500);
        // star's header ends the prefix after 131 bytes, and has times behind it.
        let star = self.block[508..512] == *b"tar\0" && behind_prefix(476);
        cancelled || go || version || star
    }

    /// Returns the kind in both readings, where the other reader has a word for it.
    fn kinds(&self) -> Option<([u8; 1], [u8; 1])> {
        let ours = match self.ours.kind {
            Kind::Regular => b'0',
            Kind::HardLink(_) => b'1',
            Kind::Symlink(_) => b'2',
            Kind::CharDevice { .. } => b'3',
            Kind::BlockDevice { .. } => b'4',
            Kind::Directory => b'5',
            Kind::Fifo => b'6',
        };
        let theirs = match self.theirs.entry_type.to_byte() {
            // Before there was a type for directories, they were files with a slash and nothing stored. The other reader
            // leaves that to its caller.
            b'0' | 0 if ours == b'5' && self.ours.path.ends_with(b"/") && self.theirs.size == 0 => {
                return None;
            }
            // Contiguous files and GNU's sparse ones are files; GNU's `D` is a directory with a list of names.
            0 | b'7' | b'S' => b'0',
            b'D' => b'5',
            flag @ b'0'..=b'6' => flag,
            // What nobody defined is a file.
            _ => b'0',
        };
        Some(([ours], [theirs]))
    }

    /// Returns the other reader's attributes as ocifs has them: sorted, of each name the last.
    fn xattrs(&self) -> Vec<Xattr> {
        let all: BTreeMap<_, _> = self.theirs.xattrs.iter().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
        all.into_iter().collect()
    }
}

/// Compares the two readings of an archive, and returns the first difference that is not known.
fn compare(archive: &[u8]) -> Result<(), String> {
    let ours = Ours::read(archive);
    let limits = Limits { max_pending_entries: usize::MAX, max_sparse_entries: 1 << 20, ..Limits::default() };
    let mut other = Other::new(limits);
    other.set_allow_empty_path(true);
    let mut at = 0;
    let mut met = Vec::new();
    while let Some(rest) = archive.get(at..) {
        // One block of zeros ends an archive to GNU tar, to bsdtar and to ocifs; the other reader wants two, and looks past one.
        if rest.get(..BLOCK).is_none_or(|block| block.iter().all(|byte| *byte == 0)) {
            break;
        }
        // What the other reader refuses is nothing to compare: it has no numbers with junk behind them, no signed checksums,
        // no two extended headers of a kind before one member, no negative times, and no map that is not finished.
        let (consumed, entry, sparse) = match other.parse(rest) {
            Ok(ParseEvent::Entry { consumed, entry }) => (consumed, entry, None),
            Ok(ParseEvent::SparseEntry { consumed, entry, sparse_map, real_size }) => {
                (consumed, entry, Some((sparse_map, real_size)))
            }
            Ok(ParseEvent::GlobalExtensions { consumed, pax_data }) => {
                // Between an extended header and its member the other reader forgets the extended header.
                let forgets = consumed > BLOCK + pax_data.len().next_multiple_of(BLOCK);
                if forgets || has_odd_extension(archive, at, at + 1) {
                    break;
                }
                at += consumed;
                continue;
            }
            Ok(ParseEvent::NeedData { .. } | ParseEvent::End { .. }) | Err(_) => break,
        };
        let header = std::ptr::from_ref(entry.header).addr() - archive.as_ptr().addr();
        let block: &[u8; BLOCK] = archive[header..].first_chunk().expect("a header is a block");
        let pax = entry.pax.unwrap_or_default();
        if has_odd_extension(archive, at, header) {
            break;
        }
        // A block of zeros stood between an extended header and its member.
        if ours
            .problems
            .iter()
            .any(|p| p.what == Fault::Dangling && (at..header).contains(&(p.offset as usize)))
        {
            break;
        }
        let data = (at + consumed) as u64;
        let skip =
            entry.size.checked_next_multiple_of(BLOCK as u64).and_then(|size| usize::try_from(size).ok());
        let further = &archive[header + BLOCK..at + consumed];
        let way = way(block, pax, further);
        match ours.entries.get(&header) {
            Some(our) => {
                met.push(header);
                let (map, size) = match sparse {
                    Some((map, size)) => {
                        (map.iter().map(|region| (region.offset, region.length)).collect(), size)
                    }
                    None => (vec![(0, entry.size)], entry.size),
                };
                let mut stored = data;
                let mut extents = Vec::new();
                for (file_offset, length) in map.into_iter().filter(|(_, length)| *length > 0) {
                    extents.push(Extent { file_offset, stream_offset: stored, length });
                    stored = stored.saturating_add(length);
                }
                let pair = Pair { ours: our, theirs: &entry, block, pax, further, size, extents };
                let xattr_left_out = ours.problems_at(header).any(|fault| matches!(fault, Fault::Xattr(_)));
                if !matches!(way, Way::Parted)
                    && let Some(difference) = pair.differ(xattr_left_out)
                {
                    return Err(difference);
                }
            }
            // A volume's label is no member to us; the others are ones we left out, and told of.
            None if block[156] == b'V' || ours.problems_at(header).any(Fault::leaves_out) => {}
            // A size, of an extended header before it too, that is no number to ocifs: with a tab before it, say.
            None if ours.end().is_some_and(|end| end <= header) => break,
            None if matches!(way, Way::Parted) => {}
            None => return Err(format!("ocifs has no member at {header}")),
        }
        if !matches!(way, Way::Together) || ours.end().is_some_and(|end| end <= header) {
            return Ok(());
        }
        match skip.and_then(|skip| (at + consumed).checked_add(skip)) {
            Some(next) => at = next,
            None => break,
        }
    }
    // And the other way round: whatever ocifs has before the place they came to, the other has too.
    match ours.entries.keys().find(|header| **header < at && !met.contains(header)) {
        Some(header) => Err(format!("the other reader has no member at {header}")),
        None => Ok(()),
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    let archive = match mode % 4 {
        0 => rest.to_vec(),
        1 => {
            let mut bytes = rest.to_vec();
            archive::mend(&mut bytes);
            bytes
        }
        // What there is of the decisions makes an archive, down to the last one that is missing.
        _ => match archive::make(&mut Unstructured::new(rest)) {
            Ok(archive) => archive,
            Err(_) => return,
        },
    };
    if let Err(difference) = compare(&archive) {
        if let Ok(path) = std::env::var("TAR_DIFFERENTIAL_OUT") {
            let _ = std::fs::write(path, &archive);
        }
        panic!("{difference}");
    }
});
