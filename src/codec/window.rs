//! The decompressed bytes a deflate block may copy from, kept small.

use zstd::bulk;

use super::{CodecError, Compression};

/// The bytes before a [`Checkpoint`](super::Checkpoint) that later ones are copied from, at most 32 KiB.
///
/// Kept compressed with zstd, or as they are where that would not be smaller. Of equal length means the latter,
/// so length and bytes are all there is to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    len: u16,
    packed: Box<[u8]>,
}

impl Window {
    /// How far back a deflate stream may copy from (RFC 1951, section 2).
    pub const MAX_LEN: usize = 32 << 10;

    /// Returns the length in bytes once unpacked.
    pub fn unpacked_len(&self) -> u16 {
        self.len
    }

    /// Returns the bytes as they are kept: these and the length are what an index stores.
    pub fn packed(&self) -> &[u8] {
        &self.packed
    }

    /// Puts together a window that was stored.
    ///
    /// Fails where the lengths cannot be those of a window. Whether the bytes unpack shows only when they are
    /// needed.
    pub fn from_parts(unpacked_len: u16, packed: Box<[u8]>) -> Result<Self, CodecError> {
        if usize::from(unpacked_len) > Self::MAX_LEN {
            return Err(bad("window longer than 32 KiB"));
        }
        if packed.len() > usize::from(unpacked_len) {
            return Err(bad("window packed larger than it is"));
        }
        Ok(Self { len: unpacked_len, packed })
    }

    /// Returns the bytes.
    pub(super) fn unpack(&self) -> Result<Vec<u8>, CodecError> {
        let len = usize::from(self.len);
        if self.packed.len() == len {
            return Ok(self.packed.to_vec());
        }
        // The buffer's capacity is the limit: more is an error, and never allocated.
        let bytes = bulk::decompress(&self.packed, len).map_err(|_| bad("window does not unpack"))?;
        if bytes.len() == len { Ok(bytes) } else { Err(bad("window unpacks to another length")) }
    }
}

/// Makes windows; keeps what compressing needs from one to the next.
pub(super) struct Packer {
    zstd: bulk::Compressor<'static>,
    scratch: Vec<u8>,
}

impl Packer {
    /// Windows are made in the index pass and there are thousands: the fastest level is within a few per cent of
    /// the others on 32 KiB.
    const LEVEL: i32 = 1;

    pub(super) fn new() -> Result<Self, CodecError> {
        let no_memory = |_| CodecError::OutOfMemory { compression: Compression::Gzip };
        Ok(Self { zstd: bulk::Compressor::new(Self::LEVEL).map_err(no_memory)?, scratch: Vec::new() })
    }

    /// Makes a window of the bytes, of which there are at most [`Window::MAX_LEN`].
    pub(super) fn pack(&mut self, bytes: &[u8]) -> Window {
        let len = u16::try_from(bytes.len()).expect("a window has at most 32 KiB");
        // What does not fit the room did not get smaller, and is kept as it is.
        self.scratch.clear();
        self.scratch.reserve_exact(Window::MAX_LEN);
        let packed = match self.zstd.compress_to_buffer(bytes, &mut self.scratch) {
            Ok(n) if n < bytes.len() => self.scratch[..n].into(),
            _ => bytes.into(),
        };
        Window { len, packed }
    }
}

fn bad(what: &'static str) -> CodecError {
    CodecError::BadCheckpoint { compression: Compression::Gzip, what }
}
