//! What is done with the contents of a layer, its decompressed stream: its digests, its entries.

use crate::codec::Checkpoint;
use crate::oci::{Algorithm, Digest, Hasher};
use crate::stream::{Sink, SpillWriter};
use crate::tar::{self, Event, Parser, TarError};
use crate::tree::{Extent, Record, RecordKind, Records, RecordsError, Time};

/// Most lines about one layer. A person reads the first few, and a hostile layer could state millions.
const MAX_PROBLEMS: usize = 1_000;

/// Longest such line, in bytes: a name can have 64 KiB.
const MAX_LINE: usize = 2_000;

/// Takes the decompressed stream in order.
pub(super) struct Contents {
    hashers: Vec<Hasher>,
    parser: Option<Parser>,
    entries: Entries,
    spill: Option<SpillWriter>,
}

/// Why a stream is no layer.
#[derive(Debug)]
pub(super) enum ContentsError {
    /// It is no tar.
    Tar(TarError),
    /// It has more entries than we take.
    Records(RecordsError),
}

impl From<TarError> for ContentsError {
    fn from(e: TarError) -> Self {
        Self::Tar(e)
    }
}

impl From<RecordsError> for ContentsError {
    fn from(e: RecordsError) -> Self {
        Self::Records(e)
    }
}

/// What the stream came to.
pub(super) struct End {
    pub(super) diff_ids: Vec<Digest>,
    pub(super) records: Records,
    pub(super) problems: Vec<String>,
}

struct Entries {
    records: Records,
    problems: Vec<String>,
    more: u64,
    failed: Option<RecordsError>,
}

impl Contents {
    pub(super) fn new(algorithms: impl Iterator<Item = Algorithm>, spill: Option<SpillWriter>) -> Self {
        let entries = Entries { records: Records::new(), problems: Vec::new(), more: 0, failed: None };
        Self {
            hashers: algorithms.filter_map(Hasher::new).collect(),
            parser: Some(Parser::new()),
            entries,
            spill,
        }
    }

    /// Ends the stream. `checkpoints` tell whether it is worth keeping decompressed.
    pub(super) fn finish(mut self, checkpoints: &[Checkpoint]) -> Result<End, ContentsError> {
        if let Some(parser) = self.parser.take() {
            match parser.finish(&mut |event| self.entries.take(event)) {
                Ok(()) => {}
                // The bytes are the image's own; they end early. What came before is whole and shown.
                Err(e @ (TarError::HeaderCut { .. } | TarError::DataCut { .. })) => {
                    self.entries.problem(format!("{e}; what comes before is shown"));
                }
                Err(e @ (TarError::Checksum { .. } | TarError::Size { .. })) => return Err(e.into()),
            }
        }
        let Entries { mut records, mut problems, more, failed } = self.entries;
        if let Some(e) = failed {
            return Err(e.into());
        }
        if more > 0 {
            problems.push(format!("{more} more problems with this layer"));
        }
        records.shrink_to_fit();
        if let Some(spill) = self.spill {
            spill.finish(checkpoints);
        }
        let diff_ids = self.hashers.into_iter().map(Hasher::finish).collect();
        Ok(End { diff_ids, records, problems })
    }
}

impl Sink for Contents {
    fn take(&mut self, piece: &[u8]) {
        for hasher in &mut self.hashers {
            hasher.update(piece);
        }
        if let Some(parser) = &mut self.parser {
            parser.feed(piece, &mut |event| self.entries.take(event));
        }
        if let Some(spill) = &mut self.spill {
            spill.take(piece);
        }
    }
}

impl Entries {
    fn take(&mut self, event: Event) {
        match event {
            Event::Entry(entry) => {
                if self.failed.is_none()
                    && let Err(e) = push(&mut self.records, &entry)
                {
                    self.failed = Some(e);
                }
            }
            Event::Problem(problem) => {
                let name = problem.name.map(|name| format!("{}: ", name.escape_ascii())).unwrap_or_default();
                let left_out = if problem.what.leaves_out() { "; left out" } else { "" };
                self.problem(format!(
                    "{name}{}{left_out} (tar member at byte {})",
                    problem.what, problem.offset
                ));
            }
        }
    }

    fn problem(&mut self, mut line: String) {
        let fits = line.char_indices().map(|(at, _)| at).take_while(|at| *at <= MAX_LINE).last();
        line.truncate(if line.len() > MAX_LINE { fits.unwrap_or(0) } else { MAX_LINE });
        match self.problems.len() < MAX_PROBLEMS {
            true => self.problems.push(line),
            false => self.more += 1,
        }
    }
}

/// Translates a tar's entry to a tree's record.
pub(super) fn push(records: &mut Records, entry: &tar::Entry) -> Result<(), RecordsError> {
    let kind = match &entry.kind {
        tar::Kind::Regular => RecordKind::Regular,
        tar::Kind::Directory => RecordKind::Directory,
        tar::Kind::Symlink(target) => RecordKind::Symlink { target },
        tar::Kind::HardLink(target) => RecordKind::HardLink { target },
        tar::Kind::CharDevice { major, minor } => RecordKind::CharDevice { major: *major, minor: *minor },
        tar::Kind::BlockDevice { major, minor } => RecordKind::BlockDevice { major: *major, minor: *minor },
        tar::Kind::Fifo => RecordKind::Fifo,
    };
    let extent = |e: &tar::Extent| Extent {
        file_offset: e.file_offset,
        stream_offset: e.stream_offset,
        length: e.length,
    };
    let extents: Vec<Extent> = entry.extents.iter().map(extent).collect();
    let xattrs: Vec<(&[u8], &[u8])> =
        entry.xattrs.iter().map(|(n, v)| (n.as_slice(), v.as_slice())).collect();
    records.push(&Record {
        path: &entry.path,
        kind,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        mtime: Time { seconds: entry.mtime.seconds, nanos: entry.mtime.nanos },
        size: entry.size,
        extents: &extents,
        xattrs: &xattrs,
        header_offset: entry.header_offset,
    })
}
