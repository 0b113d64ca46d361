//! Places where a deflate block may begin, told from the bits alone (RFC 1951, section 3.2).
//!
//! Nothing here is sure: what looks like a block's header may stand in the middle of another's data. Fixed blocks have
//! no header worth the name, and are not looked for; nor is the last block of a member.

/// Where a block may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// A block with codes of its own begins at this bit.
    Dynamic {
        /// Counted from the beginning of the bytes searched.
        bit: usize,
    },
    /// A stored block has its length here. Its header stands before, and how far before depends on the block before it.
    Stored {
        /// Which byte of those searched is the length's first.
        len_at: usize,
    },
}

/// Bits before a stored block's length: its three, and those that fill up the byte.
const STORED_HEADER: std::ops::RangeInclusive<usize> = 3..=10;

impl Start {
    /// Says whether a block that is known to begin at `bit` is this one.
    pub(super) fn is_at(self, bytes: &[u8], bit: usize) -> bool {
        match self {
            Self::Dynamic { bit: own } => own == bit,
            Self::Stored { len_at } => {
                let header = (len_at * 8).checked_sub(bit);
                header.is_some_and(|n| STORED_HEADER.contains(&n))
                    && word(bytes, bit / 8) >> (bit % 8) & 7 == 0
            }
        }
    }

    /// Returns the last bit at which the block may begin.
    pub(super) fn latest(self) -> usize {
        match self {
            Self::Dynamic { bit } => bit,
            Self::Stored { len_at } => len_at * 8 - STORED_HEADER.start(),
        }
    }

    /// Returns the bit from which to look on, where this was none.
    pub(super) fn next(self) -> usize {
        self.latest() + 1
    }
}

/// Returns the first place at or after bit `from`, and before bit `until`, where a block may begin.
pub(super) fn find(bytes: &[u8], from: usize, until: usize) -> Option<Start> {
    find_in_bytes(bytes, from, until.div_ceil(8)).filter(|start| start.latest() < until)
}

fn find_in_bytes(bytes: &[u8], from: usize, until: usize) -> Option<Start> {
    let mut first = 0xff << (from % 8) & 0xff;
    for at in from / 8..until.min(bytes.len()) {
        let word = word(bytes, at);
        let mut places = dynamic(word) & first;
        while places != 0 {
            let bit = at * 8 + places.trailing_zeros() as usize;
            if is_complete(bytes, bit) {
                return Some(Start::Dynamic { bit });
            }
            places &= places - 1;
        }
        // Who writes stored blocks fills up with zeros. The header may begin in the byte before, so that must be there.
        let len_at = at + 1;
        if word as u8 >> 5 == 0 && first >> 5 & 1 == 1 && len_at >= 2 {
            let (len, complement) = ((word >> 8) as u16, (word >> 24) as u16);
            if len == !complement && len_at + 4 <= bytes.len() {
                return Some(Start::Stored { len_at });
            }
        }
        first = 0xff;
    }
    None
}

/// Returns eight bytes as a number, with zeros for those behind the end.
fn word(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).and_then(<[u8]>::first_chunk) {
        Some(word) => u64::from_le_bytes(*word),
        None => {
            let mut word = [0; 8];
            let rest = bytes.get(at..).unwrap_or_default();
            word[..rest.len()].copy_from_slice(rest);
            u64::from_le_bytes(word)
        }
    }
}

/// Returns those of the first eight bits, as a mask, at which a dynamic block that is not the last may begin: after 0, 0 and
/// 1 come two numbers of five bits, both below 30.
fn dynamic(word: u64) -> u64 {
    // Each bit stands for the place where it is: all are looked at together.
    let all_ones = |n: u32| word >> n & word >> (n + 1) & word >> (n + 2) & word >> (n + 3);
    !word & !(word >> 1) & word >> 2 & !all_ones(4) & !all_ones(9) & 0xff
}

/// Bits of a block's header before the lengths of the codes that the other codes' lengths are written in.
const BEFORE_LENGTHS: usize = 3 + 5 + 5 + 4;

/// How much of a complete code four lengths of three bits each take, in 128ths.
static SHARES: [u16; 1 << 12] = shares();

const fn shares() -> [u16; 1 << 12] {
    let mut shares = [0; 1 << 12];
    let mut lengths = 0;
    while lengths < shares.len() {
        let mut rest = lengths;
        while rest != 0 {
            if rest & 7 != 0 {
                shares[lengths] += 128 >> (rest & 7);
            }
            rest >>= 3;
        }
        lengths += 1;
    }
    shares
}

/// Says whether the first of a dynamic block's codes is complete, as it must be.
fn is_complete(bytes: &[u8], bit: usize) -> bool {
    let lengths_at = bit + BEFORE_LENGTHS;
    let count = (word(bytes, (lengths_at - 4) / 8) >> ((lengths_at - 4) % 8) & 15) + 4;
    // At most 19 lengths, that is 57 bits: with those before them in the byte, just what a word has.
    let lengths = word(bytes, lengths_at / 8) >> (lengths_at % 8) & ((1 << (count * 3)) - 1);
    let share = |n: u32| SHARES[(lengths >> (12 * n) & 0xfff) as usize];
    (0..5).map(share).sum::<u16>() == 128
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes three bits of header at `bit`, and the rest of it, and says what is found.
    fn planted(bit: usize, header: u128) -> Option<Start> {
        let mut bytes = [0xff; 64];
        for n in 0..90 {
            let at = bit + n;
            if header >> n & 1 == 0 {
                bytes[at / 8] &= !(1 << (at % 8));
            }
        }
        find(&bytes, 0, 64 * 8)
    }

    /// A header with the given numbers, and the code lengths 1 and 1 somewhere among the first `count`.
    fn header(last: u128, kind: u128, hlit: u128, hdist: u128, count: u128) -> u128 {
        let lengths = 1 | 1 << ((count - 1) * 3);
        let ones = !0 << (17 + count * 3);
        last | kind << 1 | hlit << 3 | hdist << 8 | (count - 4) << 13 | lengths << 17 | ones
    }

    #[test]
    fn a_header_is_found_at_every_bit_and_with_every_count() {
        for bit in 16..48 {
            for count in 4..=19 {
                let found = planted(bit, header(0, 2, 29, 29, count));
                assert_eq!(found, Some(Start::Dynamic { bit }), "{count}");
            }
            for wrong in [
                header(1, 2, 0, 0, 4),
                header(0, 1, 0, 0, 4),
                header(0, 3, 0, 0, 4),
                header(0, 2, 30, 0, 4),
                header(0, 2, 0, 31, 4),
                header(0, 2, 0, 0, 4) | 1 << 20,
                header(0, 2, 0, 0, 4) & !(1 << 17),
            ] {
                assert_ne!(planted(bit, wrong), Some(Start::Dynamic { bit }), "{wrong:b}");
            }
        }
    }

    #[test]
    fn a_stored_block_is_found_by_its_length_and_known_by_where_it_may_begin() {
        for len in [0_u16, 1, 5, 0x1234, 0xffff] {
            let mut bytes = [0x55; 32];
            bytes[8..10].copy_from_slice(&[0x20, 0]);
            bytes[10..12].copy_from_slice(&len.to_le_bytes());
            bytes[12..14].copy_from_slice(&(!len).to_le_bytes());
            let start = Start::Stored { len_at: 10 };
            assert_eq!(find(&bytes, 0, 256), Some(start), "{len}");
            let at: Vec<usize> = (0..256).filter(|bit| start.is_at(&bytes, *bit)).collect();
            assert_eq!(at, (70..=77).collect::<Vec<_>>());
            bytes[9] = 0x10;
            assert!(!start.is_at(&bytes, 76) && start.is_at(&bytes, 77));
            bytes[12] ^= 1;
            assert_eq!(find(&bytes, 0, 256), None, "{len}");
        }
    }

    #[test]
    fn nothing_is_found_twice_nor_out_of_the_range() {
        let mut seed = 1_u32;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        })
        .take(200_000)
        .collect();
        let (mut from, mut found) = (0, 0);
        while let Some(start) = find(&bytes, from, bytes.len() * 8) {
            assert!(start.latest() >= from && start.next() > from);
            assert_eq!(find(&bytes, start.latest(), start.latest()), None);
            (from, found) = (start.next(), found + 1);
        }
        assert!((100..5000).contains(&found), "{found}");
        assert_eq!(find(&[], 0, 100), None);
        assert_eq!(find(&bytes[..3], 0, usize::MAX), None);
    }
}
