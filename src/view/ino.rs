//! Inode numbers: computed from where a node stands, never allocated, never forgotten.

/// Bits of a node's number within its slot: a tree has fewer than 2^40 nodes, a mount fewer than 2^24 trees.
const NODE_BITS: u32 = 40;

/// An inode number: `slot << 40 | node + 1`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ino(u64);

/// A tree's place in the mount.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(super) struct SlotId(pub(super) u32);

impl SlotId {
    /// The root of the mount.
    pub(super) const ROOT: Self = Self(0);
    /// The blobs: not a tree, but inodes that many directories show.
    pub(super) const BLOBS: Self = Self(1);
}

impl Ino {
    /// The root of the mount.
    pub const ROOT: Self = Self(1);

    /// Takes the number the kernel has.
    pub fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// Returns the number for the kernel.
    pub fn raw(self) -> u64 {
        self.0
    }

    pub(super) fn new(slot: SlotId, node: u32) -> Self {
        Self(u64::from(slot.0) << NODE_BITS | (u64::from(node) + 1))
    }

    pub(super) fn root_of(slot: SlotId) -> Self {
        Self::new(slot, 0)
    }

    /// Says whether this is where a tree begins.
    pub(super) fn is_root(self) -> bool {
        self.parts().is_some_and(|(_, node)| node == 0)
    }

    /// Returns slot and node, or nothing for a number that was never ours.
    pub(super) fn parts(self) -> Option<(SlotId, u32)> {
        let node = (self.0 & ((1 << NODE_BITS) - 1)).checked_sub(1)?;
        Some((SlotId(u32::try_from(self.0 >> NODE_BITS).ok()?), u32::try_from(node).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        assert_eq!(Ino::root_of(SlotId::ROOT), Ino::ROOT);
        for (slot, node) in [(0, 0), (0, u32::MAX), (1, 7), (0xff_ffff, u32::MAX)] {
            assert_eq!(Ino::new(SlotId(slot), node).parts(), Some((SlotId(slot), node)));
        }
        for raw in [0, 1 << NODE_BITS, (1 << 33) + (1 << 40)] {
            assert_eq!(Ino::from_raw(raw).parts(), None, "{raw:#x}");
        }
    }
}
