//! xz: streams one after the other, with padding between them. Read from the start only.

use liblzma::stream::{Action, CONCATENATED, Error, Status, Stream};

use super::{At, CodecError, Compression, Decoder, Oddity, Step};

/// Memory a decoder may use, in bytes: the 64 MiB dictionary of `xz -9`, and what goes with it.
const MEMORY: u64 = 72 << 20;

/// Decompresses an xz stream.
pub(super) struct Xz {
    stream: Stream,
    over: bool,
}

impl Xz {
    pub(super) fn new() -> Result<Self, CodecError> {
        let stream = Stream::new_stream_decoder(MEMORY, CONCATENATED);
        let stream = stream.map_err(|_| CodecError::OutOfMemory { compression: Compression::Xz })?;
        Ok(Self { stream, over: false })
    }

    fn process(
        &mut self,
        input: &[u8],
        output: &mut [u8],
        action: Action,
    ) -> Result<(Step, Status), CodecError> {
        let (consumed, produced) = (self.stream.total_in(), self.stream.total_out());
        let status = self.stream.process(input, output, action).map_err(|error| self.error(error))?;
        // Differences of one call: no larger than the slices.
        let consumed = (self.stream.total_in() - consumed) as usize;
        let produced = (self.stream.total_out() - produced) as usize;
        Ok((Step { consumed, produced, at: At::More }, status))
    }

    fn error(&self, error: Error) -> CodecError {
        let compression = Compression::Xz;
        let what = match error {
            Error::MemLimit => return CodecError::WindowTooLarge { compression, limit: MEMORY },
            Error::Mem => return CodecError::OutOfMemory { compression },
            Error::Format => "no xz header",
            Error::Options | Error::UnsupportedCheck | Error::NoCheck => "options that are not supported",
            Error::Data | Error::Program => "damaged data",
        };
        CodecError::Corrupt { compression, at: self.stream.total_in(), what }
    }
}

impl Decoder for Xz {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, CodecError> {
        let mut step = Step { consumed: 0, produced: 0, at: At::More };
        while step.produced < output.len() {
            let (rest, room) = (&input[step.consumed..], &mut output[step.produced..]);
            let (moved, _) = self.process(rest, room, Action::Run)?;
            step.consumed += moved.consumed;
            step.produced += moved.produced;
            if moved.consumed + moved.produced == 0 {
                if step.consumed < input.len() {
                    return Err(self.error(Error::Data));
                }
                break;
            }
        }
        Ok(step)
    }

    fn finish(&mut self) -> Result<Vec<Oddity>, CodecError> {
        // Only now is the end of the last stream the end of everything. Twice, because liblzma does not say at the
        // first call that can do nothing that it lacks input. A piece of padding is called damaged here.
        for _ in 0..2 {
            if !self.over {
                let ended = self.process(&[], &mut [0], Action::Finish);
                self.over = ended.is_ok_and(|(_, status)| status == Status::StreamEnd);
            }
        }
        match self.over {
            true => Ok(Vec::new()),
            false => Err(CodecError::Truncated { compression: Compression::Xz, at: self.stream.total_in() }),
        }
    }

    fn memory(&mut self) -> usize {
        // liblzma says so only by refusing a limit below what it uses.
        let mut enough = 1 << 20;
        while enough < MEMORY && self.stream.set_memlimit(enough).is_err() {
            enough *= 2;
        }
        let _ = self.stream.set_memlimit(MEMORY);
        usize::try_from(enough.min(MEMORY)).unwrap_or(usize::MAX)
    }
}
