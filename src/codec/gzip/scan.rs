//! The index pass over a gzip stream.

use std::collections::VecDeque;

use super::super::inflate::{NotDeflate, Pause, Stop};
use super::super::{Checkpoint, CodecError, Decoder, Entry, Oddity, Scanner, Step, Window};
use super::trace::Trace;
use super::{Advance, Event, Gzip, drive};

/// Decompresses a gzip stream from its beginning and collects checkpoints.
pub(crate) struct GzipScanner {
    gzip: Gzip,
    places: Places,
}

/// Where checkpoints are, and where the next may be.
struct Places {
    spacing: u64,
    /// Output offset of the last checkpoint.
    last: u64,
    /// The last byte of input that was consumed: a block may begin inside it.
    byte: u8,
    trace: Trace,
    /// The checkpoint being traced, without its window: output offset, input offset, bits.
    open: Option<(u64, u64, u8)>,
    /// At most one for every `spacing` bytes of the output since somebody asked.
    ready: VecDeque<Checkpoint>,
}

impl GzipScanner {
    /// Starts at the beginning. Checkpoints closer than a window is long would only repeat each other's windows, so
    /// that is the least spacing.
    pub(crate) fn new(spacing: u64) -> Result<Self, CodecError> {
        let spacing = spacing.max(Window::MAX_LEN as u64);
        let ready = VecDeque::from([Checkpoint::START]);
        let places = Places { spacing, last: 0, byte: 0, trace: Trace::new()?, open: None, ready };
        Ok(Self { gzip: Gzip::resume(&Checkpoint::START)?, places })
    }
}

impl Decoder for GzipScanner {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, CodecError> {
        let Self { gzip, places } = self;
        drive(input, output, |input, output| {
            // Stopping at blocks costs a little each time, so go up to where a checkpoint is due in one stride. It
            // ends a byte before: the block that ends exactly there must not be run over, however input is cut.
            let (stop, room) = match places.stride(gzip.output_offset) {
                0 => (Stop::Block, output.len()),
                stride => (Stop::End, output.len().min(usize::try_from(stride).unwrap_or(usize::MAX))),
            };
            let advance = gzip.advance(input, &mut output[..room], stop)?;
            let seen = places.see(gzip, &input[..advance.consumed], &advance);
            seen.map_err(|NotDeflate| gzip.corrupt("not a deflate stream"))?;
            Ok(advance)
        })
    }

    fn finish(&mut self) -> Result<Vec<Oddity>, CodecError> {
        self.gzip.finish()
    }
}

impl Scanner for GzipScanner {
    fn next_checkpoint(&mut self) -> Option<Checkpoint> {
        self.places.ready.pop_front()
    }
}

impl Places {
    /// Returns how many bytes there are to the one before the next checkpoint may be.
    fn stride(&self, output_offset: u64) -> u64 {
        (self.spacing - 1).saturating_sub(output_offset - self.last)
    }

    /// Looks at what the decoder just did with `input`.
    fn see(&mut self, gzip: &Gzip, input: &[u8], advance: &Advance) -> Result<(), NotDeflate> {
        self.byte = input.last().copied().unwrap_or(self.byte);
        if let (Event::Body(pause), Some(_)) = (advance.event, self.open)
            && (self.trace.feed(input)? || pause == Pause::End)
        {
            self.close();
        }
        // The spacing is no smaller than a window, so what was open is closed by the time another is due.
        if self.open.is_some() || gzip.output_offset - self.last < self.spacing {
            return Ok(());
        }
        match advance.event {
            Event::Member { at } => {
                self.last = gzip.output_offset;
                let entry = Entry::Fresh;
                self.ready.push_back(Checkpoint { output_offset: self.last, input_offset: at, entry });
            }
            Event::Body(Pause::Block { bits }) => {
                self.last = gzip.output_offset;
                // The byte that is only partly used has to be seen again.
                let input_offset = gzip.input_offset - u64::from(bits > 0);
                self.open = Some((self.last, input_offset, bits));
                self.trace.begin(&gzip.inflater, bits, self.byte);
            }
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self) {
        if let Some((output_offset, input_offset, bits)) = self.open.take() {
            let entry = Entry::Block { bits, window: self.trace.end() };
            self.ready.push_back(Checkpoint { output_offset, input_offset, entry });
        }
    }
}
