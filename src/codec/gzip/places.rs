//! Where checkpoints may be.
//!
//! In every stretch of the output there is a zone, and of the blocks that begin in it the one becomes a checkpoint whose window
//! needs fewest bytes. Which blocks are looked at depends on nothing but where they begin: so the choice is made on another
//! thread ([`Chooser`]), and this one need not wait for it.

use std::num::NonZero;

use super::super::inflate::Pause;
use super::super::{Checkpoint, CodecError, Window};
use super::choice::{Candidate, Chooser, Found, Place};
use super::{Advance, Event, Gzip};

/// How far behind a place deflate can copy from its window.
const REACH: u64 = Window::MAX_LEN as u64;

/// Most compressed bytes behind a place that are kept to see what is copied. They become the whole of [`REACH`] unless they
/// hold little else than blocks without content: no code has more than 15 bits.
const MAX_INPUT: usize = 2 * Window::MAX_LEN + 4096;

/// Watches where the decoder goes, and collects places.
pub(super) struct Places {
    spacing: u64,
    /// Zones begin at multiples of this, and have the length that leaves `spacing` between any two.
    period: NonZero<u64>,
    /// Where the zone begins whose places are looked for, or in vain so far.
    zone: u64,
    /// The last place found for it.
    last: Option<u64>,
    /// The last byte of input that was consumed: a block may begin inside it.
    byte: u8,
    /// The bit of the stream at which the decoder stands, where that is between two blocks.
    pub(super) block: Option<u64>,
    /// The place behind which the stream is kept.
    open: Option<Candidate>,
    /// How far it can be copied from the window of the last place. Before that no other one is looked at.
    behind: u64,
    chooser: Chooser,
}

impl Places {
    /// Makes places at least `spacing` apart. Closer than a window is long they would only repeat each other's windows, so that
    /// is the least.
    pub(super) fn new(spacing: u64) -> Result<Self, CodecError> {
        let spacing = spacing.clamp(REACH, u64::MAX / 4);
        let period = NonZero::new(spacing + spacing / 4).expect("a window is longer than nothing");
        let zone = period.get();
        let (open, behind, chooser) = (None, 0, Chooser::new()?);
        Ok(Self { spacing, period, zone, last: None, byte: 0, block: None, open, behind, chooser })
    }

    /// Returns how many bytes there are to the one before the next place may be.
    pub(super) fn stride(&self, output_offset: u64) -> u64 {
        (self.zone.max(self.behind) - 1).saturating_sub(output_offset)
    }

    /// Returns the last byte that was consumed.
    pub(super) fn last_byte(&self) -> u8 {
        self.byte
    }

    /// Goes with the decoder over `input`, of which it just did something.
    pub(super) fn follow(&mut self, gzip: &Gzip, input: &[u8], advance: &Advance) -> Result<(), CodecError> {
        self.byte = input.last().copied().unwrap_or(self.byte);
        self.block = match advance.event {
            Event::Body(Pause::Block { bits }) => {
                gzip.input_offset.checked_mul(8).map(|end| end - u64::from(bits))
            }
            _ => None,
        };
        if let (Event::Body(pause), Some(open)) = (advance.event, &mut self.open) {
            let room = MAX_INPUT - open.input.len();
            open.input.extend_from_slice(&input[..input.len().min(room)]);
            open.is_whole = pause == Pause::End || gzip.output_offset >= self.behind;
            if (open.is_whole || input.len() > room)
                && let Some(seen) = self.open.take()
            {
                self.chooser.put(Found::Block(seen))?;
            }
        }
        if advance.event == Event::Body(Pause::End) {
            self.behind = 0;
        }
        self.see(gzip, advance)
    }

    /// Looks at what the decoder just did.
    fn see(&mut self, gzip: &Gzip, advance: &Advance) -> Result<(), CodecError> {
        let at = gzip.output_offset;
        let (Event::Member { .. } | Event::Body(Pause::Block { .. })) = advance.event else { return Ok(()) };
        if self.open.is_some() || at < self.zone.max(self.behind) {
            return Ok(());
        }
        if let Some(last) = self.last
            && at - self.zone >= self.period.get() - self.spacing
        {
            // Behind the zone. Where it was found in vain, the first place behind it is its own.
            (self.zone, self.last) = (self.next_zone(last), None);
            if at < self.zone {
                return Ok(());
            }
        }
        self.last = Some(at);
        match advance.event {
            Event::Member { at: input_offset } => {
                // Nothing needs less than one that needs no window.
                let place = Place { output_offset: at, input_offset, bits: 0 };
                self.chooser.put(Found::Fresh { zone: self.zone, place })?;
                (self.zone, self.last) = (self.next_zone(at), None);
            }
            Event::Body(Pause::Block { bits }) => {
                // The byte that is only partly used has to be seen again.
                let input_offset = gzip.input_offset - u64::from(bits > 0);
                let place = Place { output_offset: at, input_offset, bits };
                self.behind = at.saturating_add(REACH);
                self.open = Some(Candidate::new(self.zone, place, self.byte, &gzip.inflater));
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns where the zone begins that follows a place.
    fn next_zone(&self, place: u64) -> u64 {
        place.saturating_add(self.spacing).div_ceil(self.period.get()).saturating_mul(self.period.get())
    }

    /// Returns the next checkpoint that is chosen.
    pub(super) fn next_checkpoint(&mut self) -> Option<Checkpoint> {
        self.chooser.next_checkpoint()
    }

    /// Ends the stream: from now on all checkpoints are to be had.
    pub(super) fn finish(&mut self) -> Result<(), CodecError> {
        self.chooser.finish()
    }
}
