//! The decompressed bytes a deflate block may copy from, kept small.
//!
//! Most windows need few of their bytes: only those are kept, and where they stand. Windows of neighbours are packed
//! together, because they resemble each other.

mod pack;

use std::sync::Arc;

pub use pack::repack;
pub(super) use pack::{Packer, Sparse};
use zstd::bulk;

use super::{CodecError, Compression};

/// The bytes before a [`Checkpoint`](super::Checkpoint) that later ones are copied from, at most 32 KiB.
///
/// One of several that are packed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    group: Arc<Windows>,
    number: u8,
}

impl Window {
    /// How far back a deflate stream may copy from (RFC 1951, section 2).
    pub const MAX_LEN: usize = 32 << 10;

    /// Returns one of the windows in `group`.
    ///
    /// Fails where the number is above any group's. Whether it is in there shows only when it is needed.
    pub fn new(group: Arc<Windows>, number: u8) -> Result<Self, CodecError> {
        match usize::from(number) < Windows::MAX {
            true => Ok(Self { group, number }),
            false => Err(bad("window beyond the last of its group")),
        }
    }

    /// Returns what it is packed with.
    pub fn group(&self) -> &Arc<Windows> {
        &self.group
    }

    /// Returns which one of its group it is, from 0.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// Returns the bytes, from the first that is copied from; those that nothing copies from are zero.
    pub(super) fn unpack(&self) -> Result<Vec<u8>, CodecError> {
        self.group.unpack()?.window(self.number)
    }
}

/// Several windows in one: where their bytes stand, and the bytes, each packed with zstd.
#[derive(Debug, PartialEq, Eq)]
pub struct Windows {
    /// For each window: how far back its first byte is, how many runs of bytes it has, and for each run the gap before
    /// it and its length; numbers of seven bits a byte, low ones first.
    pub places: Packed,
    /// The bytes of all runs.
    pub bytes: Packed,
}

/// Bytes packed with zstd, and how many they are.
#[derive(Debug, PartialEq, Eq)]
pub struct Packed {
    /// How many bytes come out.
    pub len: u32,
    /// The zstd frame.
    pub frame: Box<[u8]>,
}

impl Windows {
    /// Most windows packed together. Twice as many would save one or two per cent of them, and reading one unpacks all.
    pub const MAX: usize = 8;

    /// Most bytes of their places and of their contents, unpacked: all windows full, or with a gap after each byte.
    const MAX_UNPACKED: usize = Self::MAX * (Window::MAX_LEN + 64);

    /// Returns the bytes it takes in memory.
    pub fn packed_len(&self) -> usize {
        size_of::<Self>() + self.places.frame.len() + self.bytes.frame.len()
    }

    fn unpack(&self) -> Result<Unpacked, CodecError> {
        Ok(Unpacked { places: self.places.unpack()?, bytes: self.bytes.unpack()? })
    }
}

impl Packed {
    fn unpack(&self) -> Result<Vec<u8>, CodecError> {
        let len = usize::try_from(self.len).ok().filter(|len| *len <= Windows::MAX_UNPACKED);
        let len = len.ok_or_else(|| bad("windows longer than windows are"))?;
        // The buffer's capacity is the limit: more is an error, and never allocated.
        let bytes = bulk::decompress(&self.frame, len).map_err(|_| bad("window does not unpack"))?;
        if bytes.len() == len { Ok(bytes) } else { Err(bad("window unpacks to another length")) }
    }
}

/// The windows of a group, not packed any more.
struct Unpacked {
    places: Vec<u8>,
    bytes: Vec<u8>,
}

impl Unpacked {
    /// Returns the bytes of the window with this number.
    fn window(&self, number: u8) -> Result<Vec<u8>, CodecError> {
        let contradiction = || bad("window contradicts itself");
        let (mut places, mut bytes) = (&self.places[..], &self.bytes[..]);
        for _ in 0..number {
            skip(&mut places, &mut bytes).ok_or_else(contradiction)?;
        }
        expand(places, bytes).ok_or_else(contradiction)
    }
}

/// Goes over one window.
fn skip(places: &mut &[u8], bytes: &mut &[u8]) -> Option<()> {
    let _reach = take(places)?;
    for _ in 0..take(places)? {
        let _gap = take(places)?;
        *bytes = bytes.get(take(places)?..)?;
    }
    Some(())
}

/// Puts the bytes of the next window in their places.
fn expand(mut places: &[u8], mut bytes: &[u8]) -> Option<Vec<u8>> {
    let reach = take(&mut places).filter(|reach| *reach <= Window::MAX_LEN)?;
    let mut window = vec![0; reach];
    let mut rest = &mut window[..];
    for _ in 0..take(&mut places)? {
        let (gap, length) = (take(&mut places)?, take(&mut places)?);
        let (run, behind) = rest.get_mut(gap..)?.split_at_mut_checked(length)?;
        let (now, later) = bytes.split_at_checked(length)?;
        run.copy_from_slice(now);
        (rest, bytes) = (behind, later);
    }
    Some(window)
}

/// Takes a number off the front of `input`; `None` where it ends early or has more than 16 bits.
fn take(input: &mut &[u8]) -> Option<usize> {
    let mut value = 0_u32;
    for shift in [0, 7, 14] {
        let (byte, rest) = input.split_first()?;
        *input = rest;
        value |= u32::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return u16::try_from(value).ok().map(usize::from);
        }
    }
    None
}

fn bad(what: &'static str) -> CodecError {
    CodecError::BadCheckpoint { compression: Compression::Gzip, what }
}

#[cfg(test)]
mod tests;
