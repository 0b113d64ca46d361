//! Decompressing a part of a gzip stream before what comes before it is known.
//!
//! Where a block begins is guessed; the window that it copies from is made up, twice, as in [`trace`](super::trace). Where
//! the two outputs are equal, they are right whatever the window is; elsewhere they name the place in the window. Who
//! comes to that block in the ordinary way puts in what stands there. Should the guess be wrong, nobody comes.

use super::super::inflate::{Inflater, NotDeflate, Pause, Stop};
use super::super::{CodecError, Window};
use super::guess::{self, Start};
use super::trace::{MARKS, place};

const LEN: usize = Window::MAX_LEN;

/// Output decoded by one twin before it is the other's turn, so that both find their bytes in the processor's cache.
const STRIDE: usize = 128 << 10;

/// What it costs to begin at a place that comes to nothing, in bytes of output: each twin is given a window.
const BEGINNING: usize = 2 * LEN;

/// Most blocks of a part: a megabyte has some thirty, or hundreds where a compressor flushes often. A part ends there.
const MAX_BLOCKS: usize = 1 << 13;

/// Finds parts; made once for each thread.
pub(crate) struct Seeker {
    probe: Inflater,
    twins: [Inflater; 2],
}

/// A part of a stream from one block's beginning to another's, decompressed; a buffer that can be filled again.
#[derive(Default)]
pub(crate) struct Part {
    /// Offset in the stream of the first compressed byte.
    at: u64,
    input: Vec<u8>,
    start: Option<Start>,
    /// Room for the window, and what one twin made.
    output: Vec<u8>,
    /// What the other made, as long as they differed.
    other: Vec<u8>,
    /// How many bytes of `other` count.
    unsure: usize,
    /// The ends of the blocks; that of the last is the end of the part.
    pub(super) blocks: Vec<Boundary>,
}

/// A place between two blocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Boundary {
    /// Bits of the part's input before it.
    pub(super) bit: usize,
    /// Bytes of the part's output before it.
    pub(super) made: usize,
}

/// How far to go; in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reach {
    /// Compressed bytes in which the first block is looked for.
    pub(crate) seek: usize,
    /// Compressed bytes after which the next block is left to the next part.
    pub(crate) piece: usize,
    /// Most bytes made.
    pub(crate) most: usize,
}

impl Part {
    /// Empties the buffer and takes compressed bytes, the first of which are at `at`.
    pub(crate) fn load<'a>(&mut self, at: u64, bytes: impl IntoIterator<Item = &'a [u8]>) {
        (self.at, self.start, self.unsure) = (at, None, 0);
        self.blocks.clear();
        self.input.clear();
        bytes.into_iter().for_each(|bytes| self.input.extend_from_slice(bytes));
    }

    /// Says whether its first block is the one that begins at `bit` of the stream.
    pub(super) fn is_at(&self, bit: u64) -> bool {
        let start = self.start.zip(self.local(bit));
        start.is_some_and(|(start, bit)| start.is_at(&self.input, bit))
    }

    /// Says whether its first block may still come where the stream was consumed up to byte `offset`.
    pub(crate) fn may_come(&self, offset: u64) -> bool {
        // A block may begin inside the last byte consumed.
        let latest = |start: Start| self.at.saturating_add(start.latest() as u64 / 8 + 1);
        self.start.is_some_and(|start| latest(start) >= offset)
    }

    /// Returns a bit of the stream as one of the part's input.
    fn local(&self, bit: u64) -> Option<usize> {
        bit.checked_sub(self.at.checked_mul(8)?).and_then(|bit| usize::try_from(bit).ok())
    }

    /// Returns the compressed bytes between two bits that are given as those of the part's input: from the first whole
    /// byte on, to the one in which the last bit is.
    pub(super) fn input(&self, from: usize, to: usize) -> &[u8] {
        &self.input[from.div_ceil(8)..to.div_ceil(8)]
    }

    /// Returns the bit of the part's input that is `bit` of the stream, where the part begins there.
    pub(super) fn enter(&self, bit: u64) -> Option<usize> {
        self.local(bit).filter(|_| self.is_at(bit))
    }

    /// Returns the first `len` bytes made, once [`Part::settle`] has put in the window.
    pub(super) fn made(&self, len: usize) -> &[u8] {
        &self.output[LEN..LEN + len]
    }

    /// Returns the 32 KiB before a byte of the output, once [`Part::settle`] has put in the window.
    pub(super) fn window(&self, made: usize) -> &[u8] {
        &self.output[made..made + LEN]
    }

    /// Puts in what stands in the window where something was copied from it.
    pub(super) fn settle(&mut self, window: &[u8; LEN]) {
        /// Bytes compared at once: most are the same.
        const RUN: usize = 64;
        let (room, output) = self.output.split_at_mut(LEN);
        room.copy_from_slice(window);
        let unsure = self.unsure.min(self.blocks.last().map_or(0, |last| last.made));
        let runs = output[..unsure].chunks_mut(RUN).zip(self.other[..unsure].chunks(RUN));
        for (ours, theirs) in runs.filter(|(ours, theirs)| ours != theirs) {
            for (ours, theirs) in ours.iter_mut().zip(theirs) {
                if *ours != *theirs {
                    *ours = window[usize::from(place((*ours, *theirs)))];
                }
            }
        }
    }
}

impl Seeker {
    pub(crate) fn new() -> Result<Self, CodecError> {
        Ok(Self { probe: Inflater::new()?, twins: [Inflater::new()?, Inflater::new()?] })
    }

    /// Looks for a block in the bytes that `part` was loaded with and decodes from there on, and says whether that came to
    /// something.
    pub(crate) fn seek(&mut self, part: &mut Part, reach: Reach) -> bool {
        let (mut from, until) = (0, reach.seek.saturating_mul(8));
        // What false starts may cost together.
        let mut patience = reach.most;
        while let Some(start) = guess::find(&part.input, from, until) {
            if self.is_plausible(&part.input, start) {
                part.start = Some(start);
                let end = self.decode(part, start, reach);
                if let (Ok(_), Some(last)) = (end, part.blocks.last()) {
                    part.unsure = part.unsure.min(last.made);
                    return true;
                }
                let (Ok(made) | Err(made)) = end;
                patience = patience.saturating_sub(made + BEGINNING);
                if patience == 0 {
                    break;
                }
            }
            from = start.next();
        }
        part.start = None;
        false
    }

    /// Has the header judged by who knows how to.
    fn is_plausible(&mut self, input: &[u8], start: Start) -> bool {
        /// More than the longest header has: three numbers, 19 lengths of 3 bits, and 316 codes of at most 14 bits.
        const HEADER: usize = 640;
        let Start::Dynamic { .. } = start else { return true };
        let rest = begin(&mut self.probe, input, start, &[]);
        let rest = &rest[..rest.len().min(HEADER)];
        // With no room for output it stops behind the header.
        self.probe.run(rest, &mut [], Stop::End).is_ok()
    }

    /// Decodes from `start` on. Returns how many bytes were made, also where it fails.
    fn decode(&mut self, part: &mut Part, start: Start, reach: Reach) -> Result<usize, usize> {
        let Part { input, output, other, unsure, blocks, .. } = part;
        let [one, two] = &mut self.twins;
        let mut rest = begin(one, input, start, &MARKS[0]);
        begin(two, input, start, &MARKS[1]);
        let (mut made, mut is_sure) = (0, false);
        blocks.clear();
        loop {
            let room = STRIDE.min(reach.most - made);
            grow(output, LEN + made + room);
            let ran = one
                .run(rest, &mut output[LEN + made..][..room], Stop::Block)
                .map_err(|NotDeflate { .. }| made)?;
            if !is_sure {
                grow(other, made + room);
                // The same bits in the same portions: it does the same to other bytes.
                let too = two
                    .run(rest, &mut other[made..][..room], Stop::Block)
                    .map_err(|NotDeflate { .. }| made)?;
                if (too.consumed, too.produced, too.pause) != (ran.consumed, ran.produced, ran.pause) {
                    return Err(made);
                }
            }
            made += ran.produced;
            rest = &rest[ran.consumed..];
            if !is_sure {
                *unsure = made;
                let last = made.saturating_sub(LEN)..made;
                is_sure = last.len() == LEN && output[LEN..][last.clone()] == other[last];
            }
            match ran.pause {
                Pause::Block { bits } => {
                    let bit = (input.len() - rest.len()) * 8 - usize::from(bits);
                    blocks.push(Boundary { bit, made });
                    if bit >= reach.piece.saturating_mul(8) || blocks.len() == MAX_BLOCKS {
                        return Ok(made);
                    }
                }
                Pause::End => return Ok(made),
                Pause::Starved if rest.is_empty() || made == reach.most => return Ok(made),
                Pause::Starved if ran.consumed + ran.produced == 0 => return Err(made),
                Pause::Starved => {}
            }
        }
    }
}

/// Makes a decoder begin at a block and returns the bytes to feed it.
fn begin<'a>(inflater: &mut Inflater, input: &'a [u8], start: Start, window: &[u8]) -> &'a [u8] {
    match start {
        Start::Dynamic { bit } if bit.is_multiple_of(8) => {
            inflater.start(0, 0, window);
            &input[bit / 8..]
        }
        Start::Dynamic { bit } => {
            let bits = 8 - bit % 8;
            inflater.start(bits as u8, input[bit / 8], window);
            &input[bit / 8 + 1..]
        }
        Start::Stored { len_at } => {
            // The three bits that say so, whatever fills up after them.
            inflater.start(3, 0, window);
            &input[len_at..]
        }
    }
}

/// Makes a buffer at least `len` bytes long. It is never made shorter, for clearing it costs as much as filling it.
fn grow(buffer: &mut Vec<u8>, len: usize) {
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
}
