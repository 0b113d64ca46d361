//! The index pass over a gzip stream.

use super::super::inflate::{Pause, Stop};
use super::super::{Checkpoint, CodecError, Decoder, Oddity, Scanner, Step, Window};
use super::ahead::Part;
use super::places::Places;
use super::{Advance, Event, Gzip, drive};

/// Decompresses a gzip stream from its beginning and collects checkpoints.
pub(crate) struct GzipScanner {
    gzip: Gzip,
    places: Places,
}

impl GzipScanner {
    /// Starts at the beginning.
    pub(crate) fn new(spacing: u64) -> Result<Self, CodecError> {
        Ok(Self { gzip: Gzip::resume(&Checkpoint::START)?, places: Places::new(spacing)? })
    }

    /// Steps as [`Decoder::step`] does, and no further than to where `part` begins. What a step promises about input and
    /// room that are left over holds unless [`GzipScanner::meets`] says that it is there.
    pub(crate) fn step_towards(
        &mut self,
        part: &Part,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<Step, CodecError> {
        let Self { gzip, places } = self;
        drive(input, output, |input, output| {
            let advance = advance(gzip, places, input, output, Stop::Block)?;
            let met = places.block.is_some_and(|bit| part.is_at(bit));
            Ok(if met { Advance { event: Event::Met, ..advance } } else { advance })
        })
    }

    /// Says whether the next block is the first of `part`, which was decompressed without knowing what comes before.
    pub(crate) fn meets(&self, part: &Part) -> bool {
        self.places.block.is_some_and(|bit| part.is_at(bit))
    }

    /// Goes to the end of `part` as if it had decompressed it, and returns what that is; nothing where it cannot be told to
    /// be the same.
    pub(crate) fn take<'a>(&mut self, part: &'a mut Part) -> Result<Option<&'a [u8]>, CodecError> {
        let Self { gzip, places } = self;
        let Some(mut from) = places.block.and_then(|bit| part.enter(bit)) else { return Ok(None) };
        let mut window = Box::new([0; Window::MAX_LEN]);
        // Before a whole window there is a member's beginning, which the part may reach beyond. That is an error.
        if gzip.inflater.window(&mut window) < Window::MAX_LEN {
            return Ok(None);
        }
        part.settle(&window);
        let mut made = 0;
        for (n, to) in part.blocks.iter().enumerate() {
            let input = part.input(from, to.bit);
            let bits = (to.bit.next_multiple_of(8) - to.bit) as u8;
            let (consumed, produced) = (input.len(), to.made - made);
            gzip.input_offset = gzip.input_offset.saturating_add(consumed as u64);
            gzip.output_offset = gzip.output_offset.saturating_add(produced as u64);
            // To have it stand in each of them costs a window's copy.
            if places.stride(gzip.output_offset) == 0 || n + 1 == part.blocks.len() {
                let byte = input.last().copied().unwrap_or(places.last_byte());
                gzip.inflater.start(bits, byte, part.window(to.made));
            }
            let advance = Advance { consumed, produced, event: Event::Body(Pause::Block { bits }) };
            places.follow(gzip, input, &advance)?;
            (from, made) = (to.bit, to.made);
        }
        let made = part.made(made);
        if let Some(sum) = &mut gzip.sum {
            sum.add(made);
        }
        Ok(Some(made))
    }

    /// Returns the offset in the compressed stream of the next byte to consume.
    pub(crate) fn input_offset(&self) -> u64 {
        self.gzip.input_offset
    }
}

impl Decoder for GzipScanner {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, CodecError> {
        let Self { gzip, places } = self;
        drive(input, output, |input, output| advance(gzip, places, input, output, Stop::End))
    }

    fn finish(&mut self) -> Result<Vec<Oddity>, CodecError> {
        let oddities = self.gzip.finish()?;
        self.places.finish()?;
        Ok(oddities)
    }
}

impl Scanner for GzipScanner {
    fn next_checkpoint(&mut self) -> Option<Checkpoint> {
        self.places.next_checkpoint()
    }
}

/// Goes on, with a stop after each block where `stop` says so or a checkpoint may be.
fn advance(
    gzip: &mut Gzip,
    places: &mut Places,
    input: &[u8],
    output: &mut [u8],
    stop: Stop,
) -> Result<Advance, CodecError> {
    // Stopping at blocks costs a little each time, so go up to where a checkpoint is due in one stride. It
    // ends a byte before: the block that ends exactly there must not be run over, however input is cut.
    let (stop, room) = match (stop, places.stride(gzip.output_offset)) {
        (Stop::Block, _) | (Stop::End, 0) => (Stop::Block, output.len()),
        (Stop::End, stride) => (Stop::End, output.len().min(usize::try_from(stride).unwrap_or(usize::MAX))),
    };
    let advance = gzip.advance(input, &mut output[..room], stop)?;
    places.follow(gzip, &input[..advance.consumed], &advance)?;
    Ok(advance)
}
