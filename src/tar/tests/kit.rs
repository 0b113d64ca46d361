//! Archives from literals, and events as lines.

use super::super::*;

/// An archive under construction.
#[derive(Clone, Default)]
pub(super) struct Tar {
    pub(super) bytes: Vec<u8>,
    /// Where the header blocks are, to sum them again after a change.
    pub(super) headers: Vec<usize>,
}

/// Starts an archive.
pub(super) fn tar() -> Tar {
    Tar::default()
}

impl Tar {
    /// Adds a POSIX header: mode 644, everything else 0.
    pub(super) fn head(mut self, flag: u8, name: &str, size: u64) -> Self {
        let mut block = [0; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[100..107].copy_from_slice(b"0000644");
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[156] = flag;
        block[257..265].copy_from_slice(b"ustar\x0000");
        self.headers.push(self.bytes.len());
        self.bytes.extend(block);
        self.sum()
    }

    /// Changes the last header at `offset`.
    pub(super) fn with(mut self, offset: usize, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        let at = self.headers.last().unwrap() + offset;
        self.bytes[at..][..bytes.len()].copy_from_slice(bytes);
        self.sum()
    }

    pub(super) fn link(self, target: &str) -> Self {
        self.with(157, target)
    }

    pub(super) fn gnu(self) -> Self {
        self.with(257, b"ustar  \0")
    }

    pub(super) fn sum(mut self) -> Self {
        for &at in &self.headers {
            let block = &mut self.bytes[at..][..512];
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        self
    }

    /// Adds bytes, padded to whole blocks.
    pub(super) fn data(self, bytes: impl AsRef<[u8]>) -> Self {
        let mut tar = self.raw(bytes);
        tar.bytes.resize(tar.bytes.len().next_multiple_of(512), 0);
        tar
    }

    /// Adds bytes as they are.
    pub(super) fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.bytes.extend_from_slice(bytes.as_ref());
        self
    }

    pub(super) fn file(self, name: &str, content: &str) -> Self {
        self.head(b'0', name, content.len() as u64).data(content)
    }

    /// Adds a header of type `flag` and its content.
    pub(super) fn extended(self, flag: u8, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref();
        self.head(flag, "ext", content.len() as u64).data(content)
    }

    /// Adds an extended header of `key=value` records.
    pub(super) fn pax(self, records: &[&str]) -> Self {
        let records: Vec<_> = records.iter().flat_map(|text| record(text.as_bytes())).collect();
        self.extended(b'x', records)
    }

    pub(super) fn end(self) -> Self {
        self.raw([0; 1024])
    }
}

/// Puts the length before a record and a newline behind.
pub(super) fn record(text: &[u8]) -> Vec<u8> {
    let mut length = text.len() + 2;
    while length != text.len() + 2 + length.to_string().len() {
        length = text.len() + 2 + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", text, b"\n"].concat()
}

/// Parses `bytes` in pieces of the given lengths, over and over.
pub(super) fn parse(bytes: &[u8], pieces: &[usize]) -> (Vec<Event>, Result<(), TarError>) {
    let mut events = Vec::new();
    let mut sink = |event| events.push(event);
    let mut parser = Parser::new();
    let mut rest = bytes;
    for length in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, tail) = rest.split_at(rest.len().min(*length));
        parser.feed(piece, &mut sink);
        rest = tail;
    }
    let result = parser.finish(&mut sink);
    (events, result)
}

/// Parses `bytes` as [`parse`] does, a piece of `length` at a time, never showing what the parser does not want.
pub(super) fn parse_skipping(bytes: &[u8], length: usize) -> (Vec<Event>, Result<(), TarError>, usize) {
    let mut events = Vec::new();
    let mut sink = |event| events.push(event);
    let mut parser = Parser::new();
    let (mut rest, mut shown) = (bytes, 0);
    while !rest.is_empty() {
        let unwanted = usize::try_from(parser.unwanted()).unwrap_or(usize::MAX).min(rest.len());
        parser.skip(unwanted as u64);
        rest = &rest[unwanted..];
        let (piece, tail) = rest.split_at(rest.len().min(length));
        parser.feed(piece, &mut sink);
        shown += piece.len();
        rest = tail;
    }
    let result = parser.finish(&mut sink);
    (events, result, shown)
}

/// Writes an event on one line: kind, path, content (`.` for holes), what is not as [`Tar::head`] makes it.
pub(super) fn render(event: &Event, stream: &[u8]) -> String {
    let entry = match event {
        Event::Entry(entry) => entry,
        Event::Problem(Problem { offset, name, what }) => {
            let mark = if what.leaves_out() { "!" } else { "?" };
            let name = name.as_deref().unwrap_or(b"-").escape_ascii();
            return format!("{mark} {name} at {offset}: {what}");
        }
    };
    let path = entry.path.escape_ascii();
    let mut line = match &entry.kind {
        Kind::Regular if entry.size > 100 => {
            let runs = entry.extents.iter().map(|x| (x.file_offset, x.stream_offset, x.length));
            format!("f {path} {} {:?}", entry.size, runs.collect::<Vec<_>>())
        }
        Kind::Regular => {
            let mut content = vec![b'.'; entry.size as usize];
            for extent in &entry.extents {
                for i in 0..extent.length {
                    let byte = stream.get((extent.stream_offset + i) as usize).copied();
                    content[(extent.file_offset + i) as usize] = byte.unwrap_or(b'#');
                }
            }
            format!("f {path}={}", content.escape_ascii())
        }
        Kind::Directory => format!("d {path}"),
        Kind::Symlink(target) => format!("l {path}->{}", target.escape_ascii()),
        Kind::HardLink(target) => format!("h {path}=>{}", target.escape_ascii()),
        Kind::CharDevice { major, minor } => format!("c {path} {major}:{minor}"),
        Kind::BlockDevice { major, minor } => format!("b {path} {major}:{minor}"),
        Kind::Fifo => format!("p {path}"),
    };
    if entry.mode != 0o644 {
        line += &format!(" mode={:o}", entry.mode);
    }
    if (entry.uid, entry.gid) != (0, 0) {
        line += &format!(" own={}:{}", entry.uid, entry.gid);
    }
    if entry.mtime != Time::default() {
        line += &format!(" time={}+{}", entry.mtime.seconds, entry.mtime.nanos);
    }
    for (name, value) in &entry.xattrs {
        line += &format!(" {}={}", name.escape_ascii(), value.escape_ascii());
    }
    line
}

/// Checks what comes out, a line an event, and last how the stream ends when it does not end well.
#[track_caller]
pub(super) fn check(tar: Tar, expected: &[&str]) {
    let whole = parse(&tar.bytes, &[usize::MAX]);
    let mut lines: Vec<_> = whole.0.iter().map(|event| render(event, &tar.bytes)).collect();
    if let Err(error) = &whole.1 {
        lines.push(error.to_string());
    }
    assert_eq!(lines, expected);
    for pieces in [&[1][..], &[511], &[513, 1]] {
        assert!(parse(&tar.bytes, pieces) == whole, "pieces of {pieces:?} give other events");
    }
    for length in [1, 512, 700] {
        let (events, result, _) = parse_skipping(&tar.bytes, length);
        assert!((events, result) == whole, "skipping in pieces of {length} gives other events");
    }
}

/// Checks one file `x` with content `abc` behind some extended headers.
#[track_caller]
pub(super) fn check_file(extended: Tar, expected: &[&str]) {
    check(extended.file("x", "abc").file("next", "").end(), &[expected, &["f next="]].concat());
}
