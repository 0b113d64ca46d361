//! zstd: frames one after the other, some of them skippable (RFC 8878).
//!
//! A frame can only be read from its start, so checkpoints lie between frames. Most writers make one frame of a
//! layer; zstd:chunked makes many.

use std::collections::VecDeque;

use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode;
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, get_error_name};

use super::{At, Checkpoint, CodecError, Compression, Decoder, Entry, Oddity, Scanner, Step};

/// Largest window we decompress with, as a power of two: 64 MiB.
///
/// Builders write 8 MiB, at their highest levels 32 MiB. 128 MiB (`zstd --ultra -22`, `--long=27`) would alone be
/// more memory than a whole mount should have.
const WINDOW_LOG: u32 = 26;

/// Decompresses a zstd stream from a frame's start on.
pub(super) struct Zstd {
    context: DCtx<'static>,
    input_offset: u64,
    output_offset: u64,
    /// Whether the stream may end here: no frame is open, and there was one.
    between: bool,
    /// Whether zstd filled the output last time, so that it may hold back more.
    held_back: bool,
    spacing: u64,
    /// Output offset of the last checkpoint.
    last: u64,
    /// A place between frames; a checkpoint as soon as there is output behind it.
    open: Option<Checkpoint>,
    /// At most one for every `spacing` bytes of the output since somebody asked.
    ready: VecDeque<Checkpoint>,
}

impl Zstd {
    pub(super) fn scan(spacing: u64) -> Result<Self, CodecError> {
        let mut scanner = Self::resume(&Checkpoint::START)?;
        scanner.spacing = spacing;
        scanner.ready.push_back(Checkpoint::START);
        Ok(scanner)
    }

    pub(super) fn resume(checkpoint: &Checkpoint) -> Result<Self, CodecError> {
        let no_memory = || CodecError::OutOfMemory { compression: Compression::Zstd };
        let mut context = DCtx::try_create().ok_or_else(no_memory)?;
        context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)).map_err(|_| no_memory())?;
        Ok(Self {
            context,
            input_offset: checkpoint.input_offset,
            output_offset: checkpoint.output_offset,
            between: checkpoint.input_offset > 0,
            held_back: false,
            spacing: u64::MAX,
            last: checkpoint.output_offset,
            open: None,
            ready: VecDeque::new(),
        })
    }

    /// Takes note of what zstd did: bytes consumed and produced, and whether a frame is complete.
    fn moved(&mut self, consumed: usize, produced: usize, frame_over: bool) {
        self.input_offset = self.input_offset.saturating_add(consumed as u64);
        self.output_offset = self.output_offset.saturating_add(produced as u64);
        if produced > 0
            && let Some(checkpoint) = self.open.take()
        {
            self.last = checkpoint.output_offset;
            self.ready.push_back(checkpoint);
        }
        if consumed + produced > 0 {
            self.between = frame_over;
        }
        if self.between && self.open.is_none() && self.output_offset - self.last >= self.spacing {
            let Self { input_offset, output_offset, .. } = *self;
            self.open = Some(Checkpoint { output_offset, input_offset, entry: Entry::Fresh });
        }
    }

    fn error(&self, code: usize) -> CodecError {
        // zstd's error codes are its enum's values, negated (zstd_errors.h).
        let is = |error: ZSTD_ErrorCode| code == (error as usize).wrapping_neg();
        let compression = Compression::Zstd;
        if is(ZSTD_ErrorCode::ZSTD_error_frameParameter_windowTooLarge) {
            CodecError::WindowTooLarge { compression, limit: 1 << WINDOW_LOG }
        } else if is(ZSTD_ErrorCode::ZSTD_error_memory_allocation) {
            CodecError::OutOfMemory { compression }
        } else {
            CodecError::Corrupt { compression, at: self.input_offset, what: get_error_name(code) }
        }
    }
}

impl Decoder for Zstd {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, CodecError> {
        let room = output.len();
        let mut input_buffer = InBuffer::around(input);
        let mut output_buffer = OutBuffer::around(output);
        // zstd counts calls that can do nothing, and fails at some point: make none.
        while output_buffer.pos() < room && (input_buffer.pos() < input.len() || self.held_back) {
            let (consumed, produced) = (input_buffer.pos(), output_buffer.pos());
            let hint = self.context.decompress_stream(&mut output_buffer, &mut input_buffer);
            let hint = hint.map_err(|code| self.error(code))?;
            self.held_back = output_buffer.pos() == room;
            let (consumed, produced) = (input_buffer.pos() - consumed, output_buffer.pos() - produced);
            if consumed + produced == 0 && input_buffer.pos() < input.len() {
                let at = self.input_offset;
                return Err(CodecError::Corrupt { compression: Compression::Zstd, at, what: "no progress" });
            }
            self.moved(consumed, produced, hint == 0);
        }
        Ok(Step { consumed: input_buffer.pos(), produced: output_buffer.pos(), at: At::More })
    }

    fn finish(&mut self) -> Result<Vec<Oddity>, CodecError> {
        match self.between {
            true => Ok(Vec::new()),
            false => Err(CodecError::Truncated { compression: Compression::Zstd, at: self.input_offset }),
        }
    }

    fn memory(&mut self) -> usize {
        self.context.sizeof()
    }
}

impl Scanner for Zstd {
    fn next_checkpoint(&mut self) -> Option<Checkpoint> {
        self.ready.pop_front()
    }
}
