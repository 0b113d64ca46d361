//! bzip2: streams one after the other. Read from the start only.

use bzip2::{Decompress, Error, Status};

use super::{At, CodecError, Compression, Decoder, Oddity, Step, Tail};

/// What every stream begins with, before the digit that says how large its blocks are.
const MAGIC: &[u8] = b"BZh";

/// Streams in a row that may yield next to nothing. Each takes some fourteen bytes and 47 µs, most of that for the
/// tables of a block; tools put 100 kB and more in each.
const THIN_STREAMS: u64 = 1000;

/// Bytes that a stream yields for not to count among those: one block of a tar.
const THIN: u64 = 512;

/// Says whether these bytes, found behind a stream's first four, begin a block or end the stream.
pub(super) fn begins_block(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x31, 0x41, 0x59, 0x26, 0x53, 0x59])
        || bytes.starts_with(&[0x17, 0x72, 0x45, 0x38, 0x50, 0x90])
}

/// Decompresses a bzip2 stream.
pub(super) struct Bzip2 {
    state: State,
    offset: u64,
    /// How many more thin streams are taken. What others yield beyond [`THIN`] brings them back.
    spare: u64,
}

enum State {
    Stream(Decompress),
    /// After a stream that ended at `at`: so many bytes of another's magic were seen.
    Between {
        at: u64,
        matched: usize,
    },
    Tail(Tail),
}

impl Bzip2 {
    pub(super) fn new() -> Self {
        Self { state: State::Stream(Decompress::new(false)), offset: 0, spare: THIN_STREAMS }
    }

    fn corrupt(&self, what: &'static str) -> CodecError {
        CodecError::Corrupt { compression: Compression::Bzip2, at: self.offset, what }
    }

    /// Does the next thing there is to do, and says how many bytes it consumed and produced.
    fn advance(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), CodecError> {
        match &mut self.state {
            State::Stream(stream) => {
                let before = (stream.total_in(), stream.total_out());
                let status = stream.decompress(input, output);
                // Differences of one call: no larger than the slices.
                let consumed = (stream.total_in() - before.0) as usize;
                let produced = (stream.total_out() - before.1) as usize;
                match status {
                    Ok(Status::StreamEnd) => {
                        let paid = (self.spare + stream.total_out() / THIN).min(THIN_STREAMS + 1);
                        let Some(spare) = paid.checked_sub(1) else {
                            return Err(self.corrupt("too many streams that yield nothing"));
                        };
                        self.spare = spare;
                        let at = self.offset.saturating_add(consumed as u64);
                        self.state = State::Between { at, matched: 0 };
                    }
                    Ok(Status::MemNeeded) => {
                        return Err(CodecError::OutOfMemory { compression: Compression::Bzip2 });
                    }
                    Ok(_) => {}
                    Err(Error::DataMagic) => return Err(self.corrupt("no bzip2 header")),
                    Err(_) => return Err(self.corrupt("damaged data")),
                }
                Ok((consumed, produced))
            }
            State::Between { matched, .. }
                if *matched < MAGIC.len() && input.first() == MAGIC.get(*matched) =>
            {
                *matched += 1;
                if *matched == MAGIC.len() {
                    let mut stream = Decompress::new(false);
                    // The magic was consumed here, and the decoder wants to see it too.
                    stream.decompress(MAGIC, &mut []).map_err(|_| self.corrupt("no bzip2 header"))?;
                    self.state = State::Stream(stream);
                }
                Ok((1, 0))
            }
            State::Between { at, matched } => {
                let mut tail = Tail::new(*at);
                tail.eat(&MAGIC[..*matched]);
                self.state = State::Tail(tail);
                Ok((0, 0))
            }
            State::Tail(tail) => {
                tail.eat(input);
                Ok((input.len(), 0))
            }
        }
    }
}

impl Decoder for Bzip2 {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, CodecError> {
        let mut step = Step { consumed: 0, produced: 0, at: At::More };
        loop {
            let streaming = matches!(self.state, State::Stream(_));
            let (rest, room) = (&input[step.consumed..], &mut output[step.produced..]);
            if if streaming { room.is_empty() } else { rest.is_empty() } {
                break;
            }
            let (starving, moved) = (rest.is_empty(), self.advance(rest, room)?);
            step.consumed += moved.0;
            step.produced += moved.1;
            self.offset = self.offset.saturating_add(moved.0 as u64);
            if moved == (0, 0) && matches!(self.state, State::Stream(_)) {
                if !starving {
                    return Err(self.corrupt("no progress"));
                }
                break;
            }
        }
        if matches!(self.state, State::Tail(_)) {
            step.at = At::End;
        }
        Ok(step)
    }

    fn finish(&mut self) -> Result<Vec<Oddity>, CodecError> {
        match &self.state {
            State::Tail(tail) => Ok(vec![tail.oddity()]),
            State::Between { matched: 0, .. } => Ok(Vec::new()),
            _ => Err(CodecError::Truncated { compression: Compression::Bzip2, at: self.offset }),
        }
    }

    fn memory(&mut self) -> usize {
        // Four bytes for each of a block's 900,000.
        4 << 20
    }
}
