//! The index pass over a gzip stream.

use std::collections::VecDeque;

use super::super::inflate::{NotDeflate, Pause, Stop};
use super::super::window::{Packer, Sparse};
use super::super::{Checkpoint, CodecError, Decoder, Entry, Oddity, Scanner, Step, Window, Windows};
use super::ahead::Part;
use super::trace::{Needs, Progress, Trace};
use super::{Advance, Event, Gzip, drive};

/// A window with no more bytes than this is as good as none: nothing better is looked for.
const FEW: usize = 256;

/// Decompresses a gzip stream from its beginning and collects checkpoints.
pub(crate) struct GzipScanner {
    gzip: Gzip,
    places: Places,
}

/// Where checkpoints are, and where the next may be.
///
/// A checkpoint may be from `spacing` after the last one on; of the places in the half of that which follows, the one
/// whose window needs fewest bytes is taken. They are looked at one at a time, and one that begins before it is known
/// what the one before it needs is passed over.
struct Places {
    spacing: u64,
    /// Output offset of the last checkpoint.
    last: u64,
    /// The last byte of input that was consumed: a block may begin inside it.
    byte: u8,
    /// The bit of the stream at which the decoder stands, where that is between two blocks.
    block: Option<u64>,
    trace: Trace,
    /// The place that is being traced.
    open: Option<Place>,
    /// The best of those that were.
    best: Option<Found>,
    found: Packing,
}

/// Where a block begins.
#[derive(Debug, Clone, Copy)]
struct Place {
    output_offset: u64,
    input_offset: u64,
    bits: u8,
}

/// A place, and what it needs.
struct Found {
    place: Place,
    needs: Needs,
    window: Sparse,
}

/// Checkpoints on their way out: their windows are packed together.
struct Packing {
    packer: Packer,
    /// At most [`Windows::MAX`], in order; a window where it is not a fresh one.
    waiting: Vec<(Checkpoint, Option<(u8, Sparse)>)>,
    /// At most one for every `spacing` bytes of the output since somebody asked.
    ready: VecDeque<Checkpoint>,
}

impl GzipScanner {
    /// Starts at the beginning. Checkpoints closer than a window is long would only repeat each other's windows, so
    /// that is the least spacing.
    pub(crate) fn new(spacing: u64) -> Result<Self, CodecError> {
        let spacing = spacing.max(Window::MAX_LEN as u64);
        let ready = VecDeque::from([Checkpoint::START]);
        let found = Packing { packer: Packer::new()?, waiting: Vec::new(), ready };
        let trace = Trace::new()?;
        let places = Places { spacing, last: 0, byte: 0, block: None, trace, open: None, best: None, found };
        Ok(Self { gzip: Gzip::resume(&Checkpoint::START)?, places })
    }
}

impl GzipScanner {
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
            let advance = places.advance(gzip, input, output, Stop::Block)?;
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
                let byte = input.last().copied().unwrap_or(places.byte);
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
        drive(input, output, |input, output| places.advance(gzip, input, output, Stop::End))
    }

    fn finish(&mut self) -> Result<Vec<Oddity>, CodecError> {
        let oddities = self.gzip.finish()?;
        self.places.settle()?;
        self.places.found.pack()?;
        Ok(oddities)
    }
}

impl Scanner for GzipScanner {
    fn next_checkpoint(&mut self) -> Option<Checkpoint> {
        self.places.found.ready.pop_front()
    }
}

impl Places {
    /// Returns how many bytes there are to the one before the next checkpoint may be.
    fn stride(&self, output_offset: u64) -> u64 {
        (self.spacing - 1).saturating_sub(output_offset - self.last)
    }

    /// Goes on, with a stop after each block where `stop` says so or a checkpoint is due.
    fn advance(
        &mut self,
        gzip: &mut Gzip,
        input: &[u8],
        output: &mut [u8],
        stop: Stop,
    ) -> Result<Advance, CodecError> {
        // Stopping at blocks costs a little each time, so go up to where a checkpoint is due in one stride. It
        // ends a byte before: the block that ends exactly there must not be run over, however input is cut.
        let (stop, room) = match (stop, self.stride(gzip.output_offset)) {
            (Stop::Block, _) | (Stop::End, 0) => (Stop::Block, output.len()),
            (Stop::End, stride) => {
                (Stop::End, output.len().min(usize::try_from(stride).unwrap_or(usize::MAX)))
            }
        };
        let advance = gzip.advance(input, &mut output[..room], stop)?;
        self.follow(gzip, &input[..advance.consumed], &advance)?;
        Ok(advance)
    }

    /// Goes with the decoder over `input`, of which it just did something.
    fn follow(&mut self, gzip: &Gzip, input: &[u8], advance: &Advance) -> Result<(), CodecError> {
        self.byte = input.last().copied().unwrap_or(self.byte);
        self.block = match advance.event {
            Event::Body(Pause::Block { bits }) => {
                gzip.input_offset.checked_mul(8).map(|end| end - u64::from(bits))
            }
            _ => None,
        };
        if let (Event::Body(pause), Some(place)) = (advance.event, self.open) {
            self.trace(input, pause, place).map_err(|e| gzip.not_deflate(e))?;
        }
        self.see(gzip, advance)
    }

    /// Looks at the bytes behind the place that is being traced.
    fn trace(&mut self, input: &[u8], pause: Pause, place: Place) -> Result<(), NotDeflate> {
        match self.trace.feed(input, self.best.as_ref().map(|best| &best.needs))? {
            Progress::More if pause != Pause::End => return Ok(()),
            Progress::Worse => {}
            Progress::More | Progress::Done => self.compare(place),
        }
        self.open = None;
        Ok(())
    }

    /// Holds the place that was traced to the end against the best one.
    fn compare(&mut self, place: Place) {
        let needs = self.trace.end();
        let total = |needs: &Needs| needs.last().copied().unwrap_or(0);
        if self.best.as_ref().is_none_or(|best| total(&needs) < total(&best.needs)) {
            self.best = Some(Found { place, needs, window: self.trace.window() });
        }
    }

    /// Looks at what the decoder just did.
    fn see(&mut self, gzip: &Gzip, advance: &Advance) -> Result<(), CodecError> {
        if self.best.as_ref().is_some_and(|best| best.needs.last().is_some_and(|need| *need <= FEW)) {
            self.settle()?;
        }
        if self.open.is_some() || self.stride(gzip.output_offset) > 0 {
            return Ok(());
        }
        let (Event::Member { .. } | Event::Body(Pause::Block { .. })) = advance.event else { return Ok(()) };
        // Before this one is looked at: it may be too far for the choice, and far enough for the next.
        if gzip.output_offset - self.last > self.spacing + self.spacing / 2 {
            self.settle()?;
        }
        if gzip.output_offset - self.last < self.spacing {
            return Ok(());
        }
        match advance.event {
            Event::Member { at } => {
                // Nothing needs less than one that needs no window.
                self.best = None;
                self.last = gzip.output_offset;
                let checkpoint =
                    Checkpoint { output_offset: self.last, input_offset: at, entry: Entry::Fresh };
                self.found.push(checkpoint, None)?;
            }
            Event::Body(Pause::Block { bits }) => {
                // The byte that is only partly used has to be seen again.
                let input_offset = gzip.input_offset - u64::from(bits > 0);
                self.open = Some(Place { output_offset: gzip.output_offset, input_offset, bits });
                self.trace.begin(&gzip.inflater, bits, self.byte);
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes the best place, if there is one.
    fn settle(&mut self) -> Result<(), CodecError> {
        let Some(Found { place, window, .. }) = self.best.take() else { return Ok(()) };
        self.last = place.output_offset;
        let Place { output_offset, input_offset, bits } = place;
        let checkpoint = Checkpoint { output_offset, input_offset, entry: Entry::Fresh };
        self.found.push(checkpoint, Some((bits, window)))
    }
}

impl Packing {
    fn push(&mut self, checkpoint: Checkpoint, window: Option<(u8, Sparse)>) -> Result<(), CodecError> {
        self.waiting.push((checkpoint, window));
        if self.waiting.len() == Windows::MAX { self.pack() } else { Ok(()) }
    }

    /// Lets out what waits.
    fn pack(&mut self) -> Result<(), CodecError> {
        let waiting = std::mem::take(&mut self.waiting);
        let sparse: Vec<_> = waiting.iter().filter_map(|(_, window)| Some(&window.as_ref()?.1)).collect();
        let mut windows = self.packer.pack(&sparse)?.into_iter();
        for (mut checkpoint, window) in waiting {
            if let Some((bits, _)) = window {
                let window = windows.next().expect("as many come out as went in");
                checkpoint.entry = Entry::Block { bits, window };
            }
            self.ready.push_back(checkpoint);
        }
        Ok(())
    }
}
