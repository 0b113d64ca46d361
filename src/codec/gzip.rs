//! gzip: members one after the other, each a header, a deflate stream and a trailer (RFC 1952).

mod ahead;
mod choice;
mod guess;
mod header;
mod places;
mod scan;
mod trace;

pub(crate) use ahead::{Part, Reach, Seeker};
use header::{Header, Progress};
pub(crate) use scan::GzipScanner;

use super::inflate::{Inflater, NotDeflate, Pause, Stop, crc32};
use super::{At, Checkpoint, CodecError, Compression, Decoder, Entry, Oddity, Step, Tail};

/// Bytes of a member's trailer: CRC-32 and length.
const TRAILER: usize = 8;

/// Decompresses a gzip stream from a checkpoint on.
pub(super) struct Gzip {
    state: State,
    inflater: Inflater,
    /// Offset in the compressed stream of the next byte to consume.
    input_offset: u64,
    /// Offset in the decompressed stream of the next byte to produce.
    output_offset: u64,
    /// The content of the member so far. A member that was entered in the middle has none to compare.
    sum: Option<Sum>,
}

enum State {
    /// In a member's header. Before its first byte, the stream may as well be over, unless it is the first.
    Header { header: Header, at: u64 },
    /// Before a block that begins inside a byte not yet seen.
    Enter { bits: u8, window: Vec<u8> },
    /// In a member's deflate stream.
    Body,
    /// In a member's trailer.
    Trailer { bytes: [u8; TRAILER], have: usize },
    /// After the last member.
    Tail(Tail),
}

#[derive(Default)]
struct Sum {
    crc: u32,
    len: u32,
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        self.crc = crc32(self.crc, bytes);
        // Modulo 2³², as the trailer has it.
        self.len = self.len.wrapping_add(bytes.len() as u32);
    }
}

/// What one call of [`Gzip::advance`] did: `consumed` and `produced` as in [`Step`].
struct Advance {
    consumed: usize,
    produced: usize,
    event: Event,
}

/// What happened in [`Gzip::advance`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// There is no more input, or no more room.
    Starved,
    /// A header is over; its member began at this offset.
    Member { at: u64 },
    /// Part of a deflate stream was inflated; see [`Pause`].
    Body(Pause),
    /// Something else is over.
    Framing,
    /// The place that was looked for is reached.
    Met,
    /// No more output will come.
    Tail,
}

impl Gzip {
    pub(super) fn resume(checkpoint: &Checkpoint) -> Result<Self, CodecError> {
        let mut inflater = Inflater::new()?;
        let state = match &checkpoint.entry {
            Entry::Fresh => State::Header { header: Header::default(), at: checkpoint.input_offset },
            Entry::Block { bits: 0, window } => {
                inflater.start(0, 0, &window.unpack()?);
                State::Body
            }
            Entry::Block { bits: bits @ 1..8, window } => {
                State::Enter { bits: *bits, window: window.unpack()? }
            }
            Entry::Block { .. } => return Err(bad_bits()),
        };
        let Checkpoint { input_offset, output_offset, .. } = *checkpoint;
        Ok(Self { state, inflater, input_offset, output_offset, sum: None })
    }

    /// Does the next thing there is to do, and says what it was.
    fn advance(&mut self, input: &[u8], output: &mut [u8], stop: Stop) -> Result<Advance, CodecError> {
        let (mut consumed, mut produced) = (0, 0);
        let event = match &mut self.state {
            State::Header { .. } | State::Enter { .. } | State::Trailer { .. } if input.is_empty() => {
                Event::Starved
            }
            State::Header { header, at } => {
                let at = *at;
                let (n, progress) = header.eat(input);
                consumed = n;
                match progress {
                    Progress::More => Event::Starved,
                    Progress::Done => {
                        self.inflater.restart();
                        self.sum = Some(Sum::default());
                        self.state = State::Body;
                        Event::Member { at }
                    }
                    Progress::NoMember { matched } if at > 0 => {
                        let mut tail = Tail::new(at);
                        tail.eat(matched);
                        self.state = State::Tail(tail);
                        Event::Framing
                    }
                    Progress::NoMember { .. } => return Err(self.corrupt(consumed, "no gzip header")),
                    Progress::Bad(what) => return Err(self.corrupt(consumed, what)),
                }
            }
            State::Enter { bits, window } => {
                consumed = 1;
                self.inflater.start(*bits, input[0], window);
                self.state = State::Body;
                Event::Framing
            }
            State::Body => {
                let ran = self.inflater.run(input, output, stop);
                let ran = ran.map_err(|e| self.not_deflate(e))?;
                if ran.pause == Pause::Starved
                    && ran.consumed + ran.produced == 0
                    && !input.is_empty()
                    && !output.is_empty()
                {
                    return Err(self.corrupt(0, "no progress"));
                }
                (consumed, produced) = (ran.consumed, ran.produced);
                if let Some(sum) = &mut self.sum {
                    sum.add(&output[..produced]);
                }
                if ran.pause == Pause::End {
                    self.state = State::Trailer { bytes: [0; TRAILER], have: 0 };
                }
                Event::Body(ran.pause)
            }
            State::Trailer { bytes, have } => {
                consumed = input.len().min(TRAILER - *have);
                bytes[*have..*have + consumed].copy_from_slice(&input[..consumed]);
                *have += consumed;
                if *have < TRAILER {
                    Event::Starved
                } else {
                    let at = self.input_offset.saturating_add(consumed as u64);
                    check_trailer(*bytes, self.sum.take(), at)?;
                    self.state = State::Header { header: Header::default(), at };
                    Event::Framing
                }
            }
            State::Tail(tail) => {
                tail.eat(input);
                consumed = input.len();
                Event::Tail
            }
        };
        self.input_offset = self.input_offset.saturating_add(consumed as u64);
        self.output_offset = self.output_offset.saturating_add(produced as u64);
        Ok(Advance { consumed, produced, event })
    }

    fn not_deflate(&self, NotDeflate { consumed }: NotDeflate) -> CodecError {
        self.corrupt(consumed, "not a deflate stream")
    }

    /// Says what is wrong `consumed` bytes further on: the same place however the stream is cut.
    fn corrupt(&self, consumed: usize, what: &'static str) -> CodecError {
        let at = self.input_offset.saturating_add(consumed as u64);
        CodecError::Corrupt { compression: Compression::Gzip, at, what }
    }
}

impl Decoder for Gzip {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, CodecError> {
        drive(input, output, |input, output| self.advance(input, output, Stop::End))
    }

    fn finish(&mut self) -> Result<Vec<Oddity>, CodecError> {
        match &self.state {
            State::Tail(tail) => Ok(vec![tail.oddity()]),
            State::Header { header, at } if header.is_untouched() && *at > 0 => Ok(Vec::new()),
            _ => Err(CodecError::Truncated { compression: Compression::Gzip, at: self.input_offset }),
        }
    }
}

/// Advances until there is no more input or no more room.
fn drive(
    input: &[u8],
    output: &mut [u8],
    mut advance: impl FnMut(&[u8], &mut [u8]) -> Result<Advance, CodecError>,
) -> Result<Step, CodecError> {
    let mut step = Step { consumed: 0, produced: 0, at: At::More };
    loop {
        let advance = advance(&input[step.consumed..], &mut output[step.produced..])?;
        step.consumed += advance.consumed;
        step.produced += advance.produced;
        match advance.event {
            Event::Tail => return Ok(Step { at: At::End, ..step }),
            Event::Met => return Ok(step),
            // Not starved where zlib was given less than there is (see `Inflater::run`).
            Event::Starved | Event::Body(Pause::Starved)
                if step.consumed == input.len() || step.produced == output.len() =>
            {
                return Ok(step);
            }
            _ => {}
        }
    }
}

/// Compares a member's content with its trailer, where there is something to compare.
fn check_trailer(trailer: [u8; TRAILER], sum: Option<Sum>, at: u64) -> Result<(), CodecError> {
    let Some(sum) = sum else { return Ok(()) };
    let [c0, c1, c2, c3, l0, l1, l2, l3] = trailer;
    let (crc, len) = (u32::from_le_bytes([c0, c1, c2, c3]), u32::from_le_bytes([l0, l1, l2, l3]));
    if sum.crc != crc {
        return Err(CodecError::Checksum { at, expected: crc, found: sum.crc });
    }
    if sum.len != len {
        return Err(CodecError::Length { at, expected: len, found: sum.len });
    }
    Ok(())
}

fn bad_bits() -> CodecError {
    CodecError::BadCheckpoint { compression: Compression::Gzip, what: "more than seven bits" }
}
