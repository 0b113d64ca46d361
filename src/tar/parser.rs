//! The state machine: takes the stream piece by piece, keeps headers only, passes over data.

use super::header::{BLOCK, Block, Header, is_zero, padding, sparse_regions, until_nul};
use super::member::{Pending, draft};
use super::sparse::{Form, Map, MapReader};
use super::{Entry, Event, Fault, MAX_NAME, MAX_RECORDS, Problem, TarError};

/// Reads an archive that comes in pieces of any size.
///
/// Memory is bounded by the `MAX_` constants of this module, whatever the stream says. Data are never kept. Behind
/// the end-of-archive block (one is enough) and behind a header that is corrupt, everything is taken and ignored.
#[derive(Debug)]
pub struct Parser {
    /// Where in the stream the next byte stands.
    position: u64,
    state: State,
    /// The block that is coming in, when it does not lie whole in one piece.
    block: Block,
    filled: usize,
    pending: Pending,
}

/// What the next byte belongs to.
#[derive(Debug)]
enum State {
    /// A header.
    Header,
    /// A header, or else `stored` bytes of data that the entry before should not have.
    HeaderOrData { stored: u64, owner: Owner },
    /// The end of the archive, or else `stored` bytes of such data, of which the first `passed` are zeros.
    EndOrData { stored: u64, owner: Owner, passed: u64 },
    /// The content of an extended header.
    Records { kind: Extension, content: Vec<u8>, data: Data },
    /// A block that continues an old GNU sparse map.
    SparseBlock(SparseBlocks),
    /// The map at the start of a sparse file's data.
    SparseMap { entry: Box<Entry>, reader: MapReader, data: Data },
    /// Bytes nobody asks for.
    Skip(Data),
    /// What is behind the end of the archive, or behind an error.
    Ended(Option<TarError>),
}

/// Data that are being passed: what is left of them, and of the padding behind.
#[derive(Debug, Clone, Copy)]
struct Data {
    left: u64,
    padding: u64,
    /// Where the header stands that announced them.
    header: u64,
}

impl Data {
    fn new(stored: u64, header: u64) -> Self {
        Data { left: stored, padding: padding(stored), header }
    }

    /// Drops as much as it can from the front of `piece`, data and padding, and says how much.
    fn pass(&mut self, piece: &[u8]) -> u64 {
        self.drop_front(piece.len() as u64)
    }

    /// Drops up to `len` bytes, data and padding, and says how many.
    fn drop_front(&mut self, len: u64) -> u64 {
        let data = self.left.min(len);
        self.left -= data;
        let padding = if self.left == 0 { self.padding.min(len - data) } else { 0 };
        self.padding -= padding;
        data + padding
    }
}

/// Whom a problem with stray data is told about.
#[derive(Debug)]
struct Owner {
    header: u64,
    name: Vec<u8>,
}

/// An old GNU sparse file whose map is still coming in.
#[derive(Debug)]
struct SparseBlocks {
    entry: Result<Box<Entry>, Problem>,
    map: Map,
    stored: u64,
    header: u64,
}

/// An extended header: it belongs to the member that follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extension {
    Pax,
    LongName,
    LongLink,
}

impl Default for Parser {
    fn default() -> Self {
        Self::new()
    }
}

impl Parser {
    /// Returns a parser at the start of a stream.
    pub fn new() -> Self {
        Parser {
            position: 0,
            state: State::Header,
            block: [0; BLOCK],
            filled: 0,
            pending: Pending::default(),
        }
    }

    /// Takes the next piece of the stream, which follows the one before without a gap.
    ///
    /// `sink` gets each event, in the order of the archive; how the stream is cut into pieces makes no difference.
    pub fn feed(&mut self, mut piece: &[u8], sink: &mut dyn FnMut(Event)) {
        while !piece.is_empty() {
            let taken = self.step(piece, sink);
            self.position += taken as u64;
            piece = &piece[taken..];
        }
    }

    /// Returns how many of the next bytes it would not look at, whatever they are.
    pub fn unwanted(&self) -> u64 {
        match &self.state {
            State::Skip(data) => data.left.saturating_add(data.padding),
            State::Ended(_) => u64::MAX,
            State::Header
            | State::HeaderOrData { .. }
            | State::EndOrData { .. }
            | State::Records { .. }
            | State::SparseBlock(_)
            | State::SparseMap { .. } => 0,
        }
    }

    /// Goes on behind `len` bytes of the stream without seeing them; they are there, and no more than [`Self::unwanted`].
    pub fn skip(&mut self, len: u64) {
        let len = len.min(self.unwanted());
        self.position = self.position.saturating_add(len);
        if let State::Skip(data) = &mut self.state {
            data.drop_front(len);
            if data.left == 0 && data.padding == 0 {
                self.state = State::Header;
            }
        }
    }

    /// Says how the stream ended: well, with a corrupt header, or too early.
    ///
    /// An archive without the end-of-archive block is whole, and so is one whose last padding is missing.
    pub fn finish(mut self, sink: &mut dyn FnMut(Event)) -> Result<(), TarError> {
        let cut = |data: Data| match data.left {
            0 => Ok(()),
            missing => Err(TarError::DataCut { at: data.header, missing }),
        };
        let partial = &self.block[..self.filled];
        match &self.state {
            State::Ended(None) => {}
            State::Ended(Some(error)) => return Err(error.clone()),
            // A writer that ends with fewer zeros than it should has still ended.
            State::Header | State::HeaderOrData { .. } | State::EndOrData { .. }
                if partial.iter().all(|byte| *byte == 0) => {}
            State::HeaderOrData { stored, owner } if *stored <= self.filled as u64 => {
                sink(owner.stray(*stored));
            }
            State::EndOrData { stored, owner, passed } => {
                // Behind data that were all zeros there is no more to tell them from the end.
                let missing = stored.saturating_sub(passed + self.filled as u64);
                if passed < stored {
                    sink(owner.stray(*stored));
                    cut(Data { left: missing, padding: 0, header: owner.header })?;
                }
            }
            State::Header | State::HeaderOrData { .. } | State::SparseBlock(_) => {
                let got = self.filled as u64;
                return Err(TarError::HeaderCut { at: self.position - got, got });
            }
            State::Records { data, .. } | State::SparseMap { data, .. } | State::Skip(data) => cut(*data)?,
        }
        self.drop_pending(sink);
        Ok(())
    }

    /// Takes some bytes from the front of a piece that is not empty, at least one, and says how many.
    fn step(&mut self, piece: &[u8], sink: &mut dyn FnMut(Event)) -> usize {
        match &mut self.state {
            State::Header | State::HeaderOrData { .. } | State::EndOrData { .. } | State::SparseBlock(_) => {
                let wanted = BLOCK - self.filled;
                if self.filled == 0
                    && let Some(block) = piece.first_chunk::<BLOCK>()
                {
                    self.block_done(block, sink);
                    return BLOCK;
                }
                let taken = wanted.min(piece.len());
                self.block[self.filled..][..taken].copy_from_slice(&piece[..taken]);
                self.filled += taken;
                if self.filled == BLOCK {
                    let block = self.block;
                    // `position` is that of the last part; the block started before it.
                    self.position -= (BLOCK - taken) as u64;
                    self.filled = 0;
                    self.block_done(&block, sink);
                    self.position += (BLOCK - taken) as u64;
                }
                taken
            }
            State::Records { content, data, .. } => {
                let wanted = usize::try_from(data.left).unwrap_or(usize::MAX).min(piece.len());
                content.extend_from_slice(&piece[..wanted]);
                let taken = data.pass(piece);
                if data.left == 0 {
                    self.records_done();
                }
                within(taken)
            }
            State::SparseMap { reader, data, .. } => {
                let wanted = usize::try_from(data.left).unwrap_or(usize::MAX).min(piece.len());
                let result = reader.feed(&piece[..wanted]);
                let taken = match &result {
                    Ok((taken, _)) => *taken,
                    // One byte is enough to get on; the rest is passed over as data.
                    Err(_) => 1,
                };
                data.left -= taken as u64;
                let result = match result {
                    Ok((_, true)) => Some(Ok(())),
                    Ok((_, false)) if data.left == 0 => Some(Err(Fault::Sparse("map does not end"))),
                    Ok((_, false)) => None,
                    Err(fault) => Some(Err(fault)),
                };
                if let Some(result) = result {
                    self.sparse_map_done(result, self.position + taken as u64, sink);
                }
                taken
            }
            State::Skip(data) => {
                let taken = data.pass(piece);
                if data.left == 0 && data.padding == 0 {
                    self.state = State::Header;
                }
                within(taken)
            }
            State::Ended(_) => piece.len(),
        }
    }

    /// Takes a whole block that starts at `position`.
    fn block_done(&mut self, block: &Block, sink: &mut dyn FnMut(Event)) {
        match std::mem::replace(&mut self.state, State::Header) {
            State::SparseBlock(sparse) => self.sparse_block(sparse, block, sink),
            State::HeaderOrData { stored, owner } if !is_zero(block) && !Header(block).checksum_holds() => {
                sink(owner.stray(stored));
                let mut data = Data::new(stored, owner.header);
                data.pass(block);
                self.pass_over(data);
            }
            State::HeaderOrData { stored, owner } if is_zero(block) => {
                self.state = State::EndOrData { stored, owner, passed: BLOCK as u64 };
            }
            State::EndOrData { stored, owner, passed } => {
                self.end_or_data(stored, owner, passed, block, sink)
            }
            _ => self.header(block, sink),
        }
    }

    /// Takes a block behind zeros that are the end of the archive, or data of a member that should have none.
    ///
    /// They are data where more data follow, and where a header follows just where data would end. A header before
    /// that belongs to an archive behind this one.
    fn end_or_data(
        &mut self,
        stored: u64,
        owner: Owner,
        passed: u64,
        block: &Block,
        sink: &mut dyn FnMut(Event),
    ) {
        let (is_header, all) = (Header(block).checksum_holds(), passed >= stored);
        self.state = match is_zero(block) {
            true if all => State::Ended(None),
            true => State::EndOrData { stored, owner, passed: passed + BLOCK as u64 },
            false if all && is_header => {
                sink(owner.stray(stored));
                return self.header(block, sink);
            }
            false if all || is_header => State::Ended(None),
            false => {
                sink(owner.stray(stored));
                let mut data = Data::new(stored, owner.header);
                data.drop_front(passed);
                data.pass(block);
                return self.pass_over(data);
            }
        };
    }

    fn header(&mut self, block: &Block, sink: &mut dyn FnMut(Event)) {
        if is_zero(block) {
            self.drop_pending(sink);
            self.state = State::Ended(None);
            return;
        }
        let at = self.position;
        let header = Header(block);
        if !header.checksum_holds() {
            return self.fail(TarError::Checksum { at }, sink);
        }
        let Some(size) = header.size() else {
            return self.fail(TarError::Size { at }, sink);
        };
        match header.flag() {
            b'x' | b'X' => self.extension(Extension::Pax, size),
            b'L' => self.extension(Extension::LongName, size),
            b'K' => self.extension(Extension::LongLink, size),
            // Global headers describe the archive, or its maker; what a member is stands with the member.
            b'g' => self.pass_over(Data::new(size, at)),
            _ => self.member(header, size, sink),
        }
    }

    fn extension(&mut self, kind: Extension, size: u64) {
        let at = self.position;
        self.pending.since.get_or_insert(at);
        let data = Data::new(size, at);
        if size > MAX_RECORDS {
            self.pending.fault.get_or_insert(Fault::HeaderTooLong(size));
            self.state = State::Skip(data);
        } else {
            // Grows with what really comes in, not with what the header claims.
            self.state = State::Records { kind, content: Vec::new(), data };
            if size == 0 {
                self.records_done();
            }
        }
    }

    fn records_done(&mut self) {
        let State::Records { kind, content, data } = std::mem::replace(&mut self.state, State::Header) else {
            return;
        };
        match kind {
            Extension::Pax => {
                if let Err(fault) = self.pending.records.read(&content) {
                    self.pending.fault.get_or_insert(fault);
                }
            }
            Extension::LongName => self.pending.long_name = Some(until_nul(&content).to_vec()),
            Extension::LongLink => self.pending.long_link = Some(until_nul(&content).to_vec()),
        }
        self.pass_over(data);
    }

    /// Takes the header of a member, which is everything but an extended header.
    fn member(&mut self, header: Header<'_>, size: u64, sink: &mut dyn FnMut(Event)) {
        let at = self.position;
        let pending =
            if self.pending.since.is_some() { std::mem::take(&mut self.pending) } else { Pending::default() };
        let Some(stored) = pending.records.size.unwrap_or(Some(size)) else {
            return self.fail(TarError::Size { at }, sink);
        };
        let explicit = pending.records.size.is_some();
        let flag = header.flag();
        let draft = draft(header, at, stored, pending, sink);

        // Links, devices and directories have no data, yet some writers state a size: of the link's target,
        // of the directory on disk. Others really write data. So the block that follows decides: a header, or the
        // end with nothing behind it, means that there are none. A size in a PAX record is there to be believed (pax writes the data of
        // hard links, and they may look like a header when the file is an archive).
        if matches!(flag, b'1'..=b'6') && !explicit && stored > 0 {
            let name = match &draft {
                Ok((entry, _)) => entry.path.clone(),
                Err(problem) => problem.name.clone().unwrap_or_default(),
            };
            self.state = State::HeaderOrData { stored, owner: Owner { header: at, name } };
            return emit(draft.map(|(entry, _)| entry), sink);
        }
        let data = Data::new(stored, at);
        if flag == b'S' {
            let (fields, more) = header.sparse();
            let entry = draft.map(|(entry, _)| Box::new(entry));
            let mut sparse = SparseBlocks { entry, map: Map::default(), stored, header: at };
            sparse.take(fields);
            return self.sparse_next(sparse, more, sink);
        }
        match draft {
            Ok((entry, Form::InData)) if stored > 0 => {
                self.state = State::SparseMap { entry: Box::new(entry), reader: MapReader::default(), data };
                return;
            }
            Ok((entry, Form::InData)) => {
                sink(Event::problem(at, Some(entry.path), Fault::Sparse("map does not end")));
            }
            Ok((mut entry, Form::Known(map))) => match map.finish(entry.size, at + BLOCK as u64, stored) {
                Ok(extents) => {
                    entry.extents = extents;
                    sink(Event::Entry(entry));
                }
                Err(fault) => sink(Event::problem(at, Some(entry.path), fault)),
            },
            Ok((entry, Form::Dense)) => {
                if explicit && stored > 0 && matches!(flag, b'1'..=b'6') {
                    sink(Event::problem(at, Some(entry.path.clone()), Fault::StrayData(stored)));
                }
                sink(Event::Entry(entry));
            }
            // A volume label is no member that somebody could miss.
            Err(problem) if problem.what == Fault::NotAFile(b'V') => {}
            Err(problem) => sink(Event::Problem(problem)),
        }
        self.pass_over(data);
    }

    fn sparse_block(&mut self, mut sparse: SparseBlocks, block: &Block, sink: &mut dyn FnMut(Event)) {
        sparse.take(&block[..504]);
        self.sparse_next(sparse, block[504] != 0, sink);
    }

    /// Goes on to the next block of a sparse map, or to the data when there is none.
    fn sparse_next(&mut self, sparse: SparseBlocks, more: bool, sink: &mut dyn FnMut(Event)) {
        if more {
            self.state = State::SparseBlock(sparse);
            return;
        }
        let SparseBlocks { entry, map, stored, header } = sparse;
        let start = self.position + BLOCK as u64;
        let entry = entry.and_then(|mut entry| match map.finish(entry.size, start, stored) {
            Ok(extents) => {
                entry.extents = extents;
                Ok(*entry)
            }
            Err(what) => Err(Problem { offset: header, name: Some(entry.path), what }),
        });
        emit(entry, sink);
        self.pass_over(Data::new(stored, header));
    }

    /// Goes on to the data behind a map that is complete, or known to be bad, `here` in the stream.
    fn sparse_map_done(&mut self, result: Result<(), Fault>, here: u64, sink: &mut dyn FnMut(Event)) {
        let State::SparseMap { mut entry, reader, data } = std::mem::replace(&mut self.state, State::Header)
        else {
            return;
        };
        // The data start with the next block.
        let gap = padding(reader.taken());
        let extents = result.and_then(|()| {
            let available = data.left.checked_sub(gap).ok_or(Fault::Sparse("map does not end"))?;
            reader.into_map().finish(entry.size, here + gap, available)
        });
        match extents {
            Ok(extents) => {
                entry.extents = extents;
                sink(Event::Entry(*entry));
            }
            Err(fault) => sink(Event::problem(data.header, Some(entry.path), fault)),
        }
        self.pass_over(data);
    }

    fn pass_over(&mut self, data: Data) {
        self.state = if data.left == 0 && data.padding == 0 { State::Header } else { State::Skip(data) };
    }

    fn fail(&mut self, error: TarError, sink: &mut dyn FnMut(Event)) {
        self.drop_pending(sink);
        self.state = State::Ended(Some(error));
    }

    /// Reports extended headers that no member came for.
    fn drop_pending(&mut self, sink: &mut dyn FnMut(Event)) {
        let pending = std::mem::take(&mut self.pending);
        if let Some(at) = pending.since {
            let mut name = pending.records.path.or(pending.long_name);
            if let Some(name) = &mut name {
                name.truncate(MAX_NAME);
            }
            sink(Event::problem(at, name, Fault::Dangling));
        }
    }
}

impl Owner {
    fn stray(&self, stored: u64) -> Event {
        Event::problem(self.header, Some(self.name.clone()), Fault::StrayData(stored))
    }
}

impl SparseBlocks {
    /// Takes the regions of one block; the first that is bad condemns the entry, and the blocks are read on.
    fn take(&mut self, fields: &[u8]) {
        let Ok(entry) = &self.entry else { return };
        for (offset, length) in sparse_regions(fields) {
            let number = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok());
            let result = match (number(offset), number(length)) {
                (Some(offset), Some(length)) => self.map.push(offset, length),
                _ => Err(Fault::Sparse("not a number")),
            };
            if let Err(what) = result {
                self.entry = Err(Problem { offset: self.header, name: Some(entry.path.clone()), what });
                self.map = Map::default();
                return;
            }
        }
    }
}

fn emit(result: Result<Entry, Problem>, sink: &mut dyn FnMut(Event)) {
    sink(result.map_or_else(Event::Problem, Event::Entry));
}

/// Converts a count of bytes taken from a slice.
fn within(taken: u64) -> usize {
    usize::try_from(taken).expect("no more than the piece has")
}
