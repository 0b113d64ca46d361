//! Finds out which bytes of a window a stream really copies from, so that the others need not be kept.
//!
//! A window is 32 KiB, and deflate reaches back no further: only the first 32 KiB after a checkpoint can copy
//! from it. They are inflated twice more, with two made-up windows in which every place has its own pair of
//! values. A byte that was in the compressed stream comes out the same both times; a copied one comes out as the
//! pair that names its place.
//!
//! It also says early that a place needs more than another one did, so that looking at several costs little.

use super::super::inflate::{Inflater, NotDeflate, Stop};
use super::super::window::Sparse;
use super::super::{CodecError, Window};

const LEN: usize = Window::MAX_LEN;

/// How many pairs of bytes there are.
const PAIRS: usize = 1 << 16;

/// The two made-up windows. Place `i` has `i % 256` in the first and, above it by 1 + `i / 256`, that is by 1 to
/// 128 and so never equal, its partner in the second.
pub(super) static MARKS: [[u8; LEN]; 2] = marks();

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
pub(super) fn place(pair: (u8, u8)) -> u16 {
    u16::from_be_bytes([pair.1.wrapping_sub(pair.0).wrapping_sub(1), pair.0])
}

/// Bytes of the twins that are looked at side by side.
const AT_ONCE: usize = 16;

/// How many bytes behind a place are looked at before its needs are held against another's, and then again.
const MARKS_AT: [usize; 4] = [4 << 10, 8 << 10, 16 << 10, LEN];

/// How many bytes of a window were copied from, at each of [`MARKS_AT`].
pub(super) type Needs = [usize; MARKS_AT.len()];

/// What looking at the stream behind a place has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// More of the stream has to be seen.
    More,
    /// It is known what the window needs.
    Done,
    /// It needs more than the other one.
    Worse,
}

/// Watches the stream behind a place; made once and used for one place after the other.
pub(super) struct Trace {
    twins: [Twin; 2],
    /// The real window, at the end of the array.
    window: Box<[u8; LEN]>,
    len: usize,
    /// For each pair whether it came out. A table for all, so that nothing has to be decided for each byte.
    used: Box<[bool; PAIRS]>,
    /// How many bytes of the twins were looked at.
    seen: usize,
    /// The first of [`MARKS_AT`] that was not reached.
    mark: usize,
    needs: Needs,
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
            seen: 0,
            mark: 0,
            needs: Needs::default(),
        })
    }

    /// Begins behind the last `len` bytes of `window`: `bits` bits of `byte` are still to come.
    pub(super) fn begin(&mut self, window: Box<[u8; LEN]>, len: usize, bits: u8, byte: u8) {
        (self.window, self.len) = (window, len);
        for (twin, marks) in self.twins.iter_mut().zip(&MARKS) {
            twin.inflater.start(bits, byte, &marks[LEN - self.len..]);
            twin.filled = 0;
        }
        self.used.fill(false);
        (self.seen, self.mark) = (0, 0);
    }

    /// Looks at compressed bytes, as far as that takes; `other` is what another place needs.
    ///
    /// The outcome depends on the stream alone, not on how much more of it there is.
    pub(super) fn feed(&mut self, input: &[u8], other: Option<&Needs>) -> Result<Progress, NotDeflate> {
        let mut at = [0; 2];
        while let Some(goal) = MARKS_AT.get(self.mark).copied() {
            for (twin, at) in self.twins.iter_mut().zip(&mut at) {
                twin.fill(&input[*at..], goal).map(|consumed| *at += consumed)?;
            }
            if self.twins.iter().any(|twin| twin.filled < goal) {
                return Ok(Progress::More);
            }
            self.look();
            let need = self.need();
            self.needs[self.mark] = need;
            if other.is_some_and(|other| need > other[self.mark]) {
                return Ok(Progress::Worse);
            }
            self.mark += 1;
        }
        Ok(Progress::Done)
    }

    /// Ends, and returns how much the window needs (for marks that the stream did not reach, all it needs) and the window with
    /// nothing in it but what was copied from.
    pub(super) fn end(&mut self) -> (Needs, Sparse) {
        self.look();
        let need = self.need();
        self.needs[self.mark..].fill(need);
        (self.needs, Sparse::new(&self.window[LEN - self.len..], &self.used[LEN - self.len..LEN]))
    }

    /// Ends where not all was seen that may copy from the window, which is kept whole then.
    pub(super) fn all(&mut self) -> (Needs, Sparse) {
        self.used.fill(true);
        self.end()
    }

    /// Marks what came out since the last time.
    fn look(&mut self) {
        let [a, b] = &self.twins;
        let until = a.filled.min(b.filled);
        let new = self.seen..until;
        let ((a, a_rest), (b, b_rest)) =
            (a.output[new.clone()].as_chunks::<AT_ONCE>(), b.output[new].as_chunks::<AT_ONCE>());
        for (a, b) in a.iter().zip(b) {
            // What a stream does not copy from its window is often long.
            if a != b {
                // Apart from the table, so that they are computed side by side.
                let places: [u16; AT_ONCE] = std::array::from_fn(|i| place((a[i], b[i])));
                for place in places {
                    self.used[usize::from(place)] = true;
                }
            }
        }
        for pair in a_rest.iter().copied().zip(b_rest.iter().copied()) {
            self.used[usize::from(place(pair))] = true;
        }
        self.seen = until;
    }

    /// Counts the places that were copied from.
    fn need(&self) -> usize {
        // Few enough at once for the sum to fit into the byte that it is computed in.
        let parts = self.used[..LEN].chunks(128).map(|part| part.iter().map(|used| u8::from(*used)).sum());
        parts.map(|sum: u8| usize::from(sum)).sum()
    }
}

impl Twin {
    /// Inflates until so many bytes are out or there is no more input, and says how much of it was consumed.
    fn fill(&mut self, input: &[u8], goal: usize) -> Result<usize, NotDeflate> {
        let mut at = 0;
        while self.filled < goal {
            let ran = self.inflater.run(&input[at..], &mut self.output[self.filled..goal], Stop::End)?;
            at += ran.consumed;
            self.filled += ran.produced;
            if ran.consumed == 0 && ran.produced == 0 {
                break;
            }
        }
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_has_its_own_pair() {
        for (i, pair) in MARKS[0].iter().copied().zip(MARKS[1].iter().copied()).enumerate() {
            assert_eq!(usize::from(place(pair)), i);
        }
        assert!((0..=255).all(|literal| usize::from(place((literal, literal))) >= LEN));
    }
}
