//! What may follow the last member of a stream.

use std::fmt;

/// Something in a stream that is tolerated and worth telling. Offsets are in the compressed stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oddity {
    /// `len` NUL bytes follow the last member.
    TrailingZeros {
        /// Where they begin.
        at: u64,
        /// How many there are.
        len: u64,
    },
    /// `len` bytes follow the last member that are no member, and not all NUL.
    TrailingGarbage {
        /// Where they begin.
        at: u64,
        /// How many there are.
        len: u64,
    },
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TrailingZeros { at, len } => {
                write!(f, "{len} NUL bytes after the last member, at byte {at}")
            }
            Self::TrailingGarbage { at, len } => {
                write!(f, "{len} stray bytes after the last member, at byte {at}")
            }
        }
    }
}

/// What follows the last member: looked at, never decoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tail {
    at: u64,
    len: u64,
    zeros: bool,
}

impl Tail {
    pub(super) fn new(at: u64) -> Self {
        Self { at, len: 0, zeros: true }
    }

    pub(super) fn eat(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        self.zeros = self.zeros && bytes.iter().all(|byte| *byte == 0);
    }

    pub(super) fn oddity(self) -> Oddity {
        let Self { at, len, zeros } = self;
        if zeros { Oddity::TrailingZeros { at, len } } else { Oddity::TrailingGarbage { at, len } }
    }
}
