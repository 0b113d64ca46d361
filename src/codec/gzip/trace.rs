//! Finds out which bytes of a window a stream really copies from, so that the others need not be kept.
//!
//! A window is 32 KiB, and deflate reaches back no further: only the first 32 KiB after a checkpoint can copy
//! from it. They are inflated twice more, with two made-up windows in which every place has its own pair of
//! values. A byte that was in the compressed stream comes out the same both times; a copied one comes out as the
//! pair that names its place.

use super::super::inflate::{Inflater, NotDeflate, Stop};
use super::super::window::Packer;
use super::super::{CodecError, Window};

const LEN: usize = Window::MAX_LEN;

/// How many pairs of bytes there are.
const PAIRS: usize = 1 << 16;

/// The two made-up windows. Place `i` has `i % 256` in the first and, above it by 1 + `i / 256`, that is by 1 to
/// 128 and so never equal, its partner in the second.
static MARKS: [[u8; LEN]; 2] = marks();

const fn marks() -> [[u8; LEN]; 2] {
    let mut marks = [[0; LEN]; 2];
    let mut i = 0;
    while i < LEN {
        marks[0][i] = (i % 256) as u8;
        marks[1][i] = marks[0][i].wrapping_add(1 + (i / 256) as u8);
        i += 1;
    }
    marks
}

/// Returns the place in the window that a pair of bytes names: [`LEN`] or more for two equal ones.
fn place(pair: (u8, u8)) -> usize {
    usize::from(pair.1.wrapping_sub(pair.0).wrapping_sub(1)) * 256 + usize::from(pair.0)
}

/// Watches the stream behind a checkpoint; made once and used for one checkpoint after the other.
pub(super) struct Trace {
    twins: [Twin; 2],
    /// The real window, at the end of the array.
    window: Box<[u8; LEN]>,
    len: usize,
    used: Box<[bool; PAIRS]>,
    packer: Packer,
}

struct Twin {
    inflater: Inflater,
    output: Box<[u8; LEN]>,
    filled: usize,
}

impl Trace {
    pub(super) fn new() -> Result<Self, CodecError> {
        let twin = || Ok(Twin { inflater: Inflater::new()?, output: Box::new([0; LEN]), filled: 0 });
        Ok(Self {
            twins: [twin()?, twin()?],
            window: Box::new([0; LEN]),
            len: 0,
            used: Box::new([false; PAIRS]),
            packer: Packer::new()?,
        })
    }

    /// Begins where `inflater` stands: `bits` bits of `byte` are still to come.
    pub(super) fn begin(&mut self, inflater: &Inflater, bits: u8, byte: u8) {
        self.len = inflater.window(&mut self.window);
        for (twin, marks) in self.twins.iter_mut().zip(&MARKS) {
            twin.inflater.start(bits, byte, &marks[LEN - self.len..]);
            twin.filled = 0;
        }
    }

    /// Looks at compressed bytes, and says whether that is enough.
    pub(super) fn feed(&mut self, input: &[u8]) -> Result<bool, NotDeflate> {
        for twin in &mut self.twins {
            let mut at = 0;
            while twin.filled < LEN {
                let ran = twin.inflater.run(&input[at..], &mut twin.output[twin.filled..], Stop::End)?;
                at += ran.consumed;
                twin.filled += ran.produced;
                if ran.consumed == 0 && ran.produced == 0 {
                    break;
                }
            }
        }
        Ok(self.twins.iter().all(|twin| twin.filled == LEN))
    }

    /// Ends, and returns the window with nothing in it but what was copied from.
    pub(super) fn end(&mut self) -> Window {
        let [a, b] = &self.twins;
        let seen = a.filled.min(b.filled);
        // A table for every pair, so that nothing has to be decided for each byte: this runs for 32 KiB of them.
        self.used.fill(false);
        for pair in a.output[..seen].iter().copied().zip(b.output[..seen].iter().copied()) {
            self.used[place(pair)] = true;
        }
        let used = &self.used[..LEN];
        let mut kept = [0; LEN];
        for (kept, (byte, used)) in kept.iter_mut().zip(self.window.iter().zip(used)) {
            *kept = if *used { *byte } else { 0 };
        }
        let first = used.iter().position(|used| *used).unwrap_or(LEN);
        self.packer.pack(&kept[first..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_has_its_own_pair() {
        for (i, pair) in MARKS[0].iter().copied().zip(MARKS[1].iter().copied()).enumerate() {
            assert_eq!(place(pair), i);
        }
        assert!((0..=255).all(|literal| place((literal, literal)) >= LEN));
    }
}
