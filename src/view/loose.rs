//! Trees that may go to make room for others, and come back when somebody looks again.
//!
//! Of one image `at/` has as many trees as there are layers, each as large as the root filesystem; and each platform has
//! its documents spelled for people, which may be far longer than they are. A tree is a pure function of its layers or
//! documents, so that one that is made again has the same numbers, and nobody notices but by the time it takes.

use parking_lot::Mutex;

use super::ino::SlotId;

/// Most memory for such trees, in bytes: some hundred of ordinary images.
const MAX_BYTES: usize = 48 << 20;

/// How many stay whatever their size: who compares two must not make each of them again for every file.
const MAX_KEPT: usize = 2;

/// The trees that may go, the one looked at last at the end, with their sizes in bytes.
#[derive(Default)]
pub(super) struct Loose(Mutex<Vec<(SlotId, usize)>>);

impl Loose {
    /// Notes that somebody looks at a tree, and returns those that are to go for it.
    pub(super) fn touch(&self, slot: SlotId, bytes: impl FnOnce() -> usize) -> Vec<SlotId> {
        let mut trees = self.0.lock();
        if trees.last().is_some_and(|(last, _)| *last == slot) {
            return Vec::new();
        }
        let known = trees.iter().position(|(other, _)| *other == slot);
        let tree = known.map_or_else(|| (slot, bytes()), |at| trees.remove(at));
        trees.push(tree);
        let mut sum = trees.iter().fold(0_usize, |sum, (_, bytes)| sum.saturating_add(*bytes));
        let mut gone = Vec::new();
        while sum > MAX_BYTES && trees.len() > MAX_KEPT {
            let (oldest, bytes) = trees.remove(0);
            sum = sum.saturating_sub(bytes);
            gone.push(oldest);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_and_two_stay() {
        let loose = Loose::default();
        let touch = |slot: u32, megabytes: usize| -> Vec<u32> {
            loose.touch(SlotId(slot), || megabytes << 20).iter().map(|slot| slot.0).collect()
        };
        assert_eq!(touch(1, 20), [0; 0]);
        assert_eq!(touch(2, 20), [0; 0]);
        assert_eq!(touch(1, 0), [0; 0]);
        assert_eq!(touch(3, 20), [2]);
        assert_eq!(touch(4, 500), [1]);
        assert_eq!(touch(5, 500), [3]);
        assert_eq!(touch(4, 0), [0; 0]);
        assert_eq!(touch(6, 1), [5]);
        assert_eq!(touch(7, 1), [4]);
        assert_eq!(touch(8, 1), [0; 0]);
    }
}
