//! A hash index over directory entries: which entry has this name in this directory.
//!
//! It holds numbers only; names stay in the builder's arena. So an entry costs ten to twenty bytes here, and the
//! whole index goes away when the tree is finished.

/// Open addressing with linear probing; a slot is the hash above the entry's number plus one, 0 if free.
#[derive(Default)]
pub(super) struct Table {
    slots: Vec<u64>,
    used: usize,
}

impl Table {
    /// Returns the entry with this hash that `is_it` accepts.
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = hash as usize & mask;
        loop {
            match self.slots[at] {
                0 => return None,
                slot if (slot >> 32) as u32 == hash && is_it(slot as u32 - 1) => {
                    return Some(slot as u32 - 1);
                }
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// Adds an entry that is not there yet.
    pub(super) fn insert(&mut self, hash: u32, entry: u32) {
        // A quarter stays free, so that probes stay short.
        if (self.used + 1) * 4 > self.slots.len() * 3 {
            let doubled = (self.slots.len() * 2).max(64);
            let old = std::mem::replace(&mut self.slots, vec![0; doubled]);
            old.into_iter().filter(|slot| *slot != 0).for_each(|slot| self.place(slot));
        }
        self.place(u64::from(hash) << 32 | u64::from(entry + 1));
        self.used += 1;
    }

    fn place(&mut self, slot: u64) {
        let mask = self.slots.len() - 1;
        let mut at = (slot >> 32) as usize & mask;
        while self.slots[at] != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }

    /// Takes an entry out, closing the gap so that no search ends too early.
    pub(super) fn remove(&mut self, hash: u32, entry: u32) {
        let Some(mask) = self.slots.len().checked_sub(1) else { return };
        let wanted = u64::from(hash) << 32 | u64::from(entry + 1);
        let mut gap = hash as usize & mask;
        while self.slots[gap] != wanted {
            if self.slots[gap] == 0 {
                return;
            }
            gap = (gap + 1) & mask;
        }
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let slot = self.slots[at];
            if slot == 0 {
                break;
            }
            let home = (slot >> 32) as usize & mask;
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(gap) & mask {
                self.slots[gap] = slot;
                gap = at;
            }
        }
        self.slots[gap] = 0;
        self.used -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Few hashes, so that runs collide, wrap around and are broken up.
        #[test]
        fn behaves_like_a_set(steps in proptest::collection::vec((any::<bool>(), 0..40u32), 0..300)) {
            let hash = |entry: u32| [62, 0, 1, 1 << 31, 63][entry as usize % 5];
            let mut table = Table::default();
            let mut model = BTreeSet::new();
            for (add, entry) in steps {
                match add {
                    true if model.insert(entry) => table.insert(hash(entry), entry),
                    true => {}
                    false => {
                        model.remove(&entry);
                        table.remove(hash(entry), entry);
                    }
                }
                for entry in 0..40 {
                    prop_assert_eq!(table.find(hash(entry), |e| e == entry).is_some(), model.contains(&entry));
                }
            }
        }
    }
}
