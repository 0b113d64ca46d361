//! Raw deflate through zlib's interface: the one place in this module where `unsafe` is needed.
//!
//! zlib-rs's safe `Inflate` cannot stop between blocks nor start inside a byte; its C interface can both.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_uint};

use libz_rs_sys as z;

use super::{CodecError, Compression, Window};

/// Most bytes handed to zlib in one call: its counters have 32 bits.
const MOST: usize = 1 << 30;

/// A raw inflate stream.
pub(super) struct Inflater {
    // Boxed so that zlib sees one address for as long as the stream lives.
    stream: Box<z::z_stream>,
}

// SAFETY: the stream owns its state through `stream.state`, nobody else has that pointer, and zlib-rs keeps
// nothing in thread-local or global variables. Its pointers to input and output are set anew in every call.
unsafe impl Send for Inflater {}

/// Where [`Inflater::run`] should stop, apart from running out of input or room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// At the end of the stream only.
    End,
    /// After every deflate block too.
    Block,
}

/// What one call of [`Inflater::run`] did.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ran {
    pub(super) consumed: usize,
    pub(super) produced: usize,
    pub(super) pause: Pause,
}

/// Why [`Inflater::run`] came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// There is no more input, or no more room.
    Starved,
    /// A block is over and another follows. So many bits of the last consumed byte belong to that, 0 to 7.
    Block { bits: u8 },
    /// The last block is over.
    End,
}

/// The stream is no deflate stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct NotDeflate {
    /// How many bytes of the input were consumed until that showed: the same place in a stream however it is cut.
    pub(super) consumed: usize,
}

impl Inflater {
    pub(super) fn new() -> Result<Self, CodecError> {
        let mut stream = Box::<z::z_stream>::default();
        // SAFETY: `stream` is a valid `z_stream` whose allocator fields `default` has set; the version string is
        // the library's own and ends in NUL; the size is that of the struct passed.
        let code = unsafe {
            z::inflateInit2_(&raw mut *stream, -15, z::zlibVersion(), size_of::<z::z_stream>() as c_int)
        };
        match code {
            z::Z_OK => Ok(Self { stream }),
            _ => Err(CodecError::OutOfMemory { compression: Compression::Gzip }),
        }
    }

    /// Begins another stream.
    pub(super) fn restart(&mut self) {
        self.start(0, 0, &[]);
    }

    /// Begins in the middle of a stream: with the upper `bits` bits of `byte`, and `window` as what came before.
    ///
    /// `bits` is 0 to 7, and `window` no longer than [`Window::MAX_LEN`].
    pub(super) fn start(&mut self, bits: u8, byte: u8, window: &[u8]) {
        debug_assert!(bits < 8 && window.len() <= Window::MAX_LEN);
        let value = c_int::from(byte.unbounded_shr(8 - u32::from(bits)));
        // SAFETY: `stream` was initialised by `inflateInit2_` in `new`; `window` is readable for its length,
        // which fits, and zlib copies it before it returns.
        let codes = unsafe {
            [
                z::inflateReset(&raw mut *self.stream),
                z::inflatePrime(&raw mut *self.stream, c_int::from(bits), value),
                z::inflateSetDictionary(&raw mut *self.stream, window.as_ptr(), window.len() as c_uint),
            ]
        };
        // They fail only for a stream in disorder, more than 16 bits, or a stream that is not raw.
        debug_assert_eq!(codes, [z::Z_OK; 3]);
    }

    /// Inflates from `input` into `output`.
    pub(super) fn run(&mut self, input: &[u8], output: &mut [u8], stop: Stop) -> Result<Ran, NotDeflate> {
        let (room_in, room_out) = (input.len().min(MOST), output.len().min(MOST));
        self.stream.next_in = input.as_ptr();
        self.stream.avail_in = room_in as c_uint;
        self.stream.next_out = output.as_mut_ptr();
        self.stream.avail_out = room_out as c_uint;
        let flush = match stop {
            Stop::End => z::Z_NO_FLUSH,
            Stop::Block => z::Z_BLOCK,
        };
        // SAFETY: `stream` was initialised by `inflateInit2_` in `new`; `next_in` and `next_out` were set just now
        // to slices borrowed until after the call, with lengths no greater than theirs, and slices never have
        // null pointers. The output's bytes are initialised.
        let code = unsafe { z::inflate(&raw mut *self.stream, flush) };
        let consumed = room_in - self.stream.avail_in as usize;
        let produced = room_out - self.stream.avail_out as usize;
        // The borrow of both ends here.
        self.stream.next_in = std::ptr::null();
        self.stream.avail_in = 0;
        self.stream.next_out = std::ptr::null_mut();
        self.stream.avail_out = 0;
        let pause = match code {
            z::Z_STREAM_END => Pause::End,
            // Z_BUF_ERROR says that no byte moved. A block can end without one: its last code may lie in bits
            // that were taken in before.
            z::Z_OK | z::Z_BUF_ERROR if stop == Stop::Block => self.block().unwrap_or(Pause::Starved),
            z::Z_OK | z::Z_BUF_ERROR => Pause::Starved,
            _ => return Err(NotDeflate { consumed }),
        };
        Ok(Ran { consumed, produced, pause })
    }

    /// Says whether the stream stands between two blocks.
    fn block(&self) -> Option<Pause> {
        // zlib.h, inflate(): 128 is added right after a block, 64 while in the last one, and the rest is the
        // number of bits not used of the last byte; fewer than eight wherever 128 is set.
        const AFTER_BLOCK: c_int = 128;
        const LAST: c_int = 64;
        let state = self.stream.data_type;
        (state & (AFTER_BLOCK | LAST) == AFTER_BLOCK).then_some(state & 63).and_then(|bits| {
            let bits = u8::try_from(bits).ok().filter(|bits| *bits < 8)?;
            Some(Pause::Block { bits })
        })
    }

    /// Copies the last bytes produced, up to 32 KiB, to the end of `window`, and says how many they are.
    pub(super) fn window(&self, window: &mut [u8; Window::MAX_LEN]) -> usize {
        let mut len: c_uint = 0;
        // SAFETY: `stream` was initialised by `inflateInit2_` in `new`; 32 KiB are always enough for the
        // dictionary (zlib.h, inflateGetDictionary()), and `window` has them.
        let code =
            unsafe { z::inflateGetDictionary(&raw const *self.stream, window.as_mut_ptr(), &raw mut len) };
        debug_assert_eq!(code, z::Z_OK);
        let len = (len as usize).min(window.len());
        window.copy_within(..len, Window::MAX_LEN - len);
        len
    }
}

impl Drop for Inflater {
    fn drop(&mut self) {
        // SAFETY: `stream` was initialised by `inflateInit2_` in `new` and is not used after this.
        unsafe { z::inflateEnd(&raw mut *self.stream) };
    }
}

/// Continues a CRC-32 (that of RFC 1952) over more bytes.
pub(super) fn crc32(sum: u32, bytes: &[u8]) -> u32 {
    // SAFETY: the pointer and the length are those of a slice.
    let sum = unsafe { z::crc32_z(sum.into(), bytes.as_ptr(), bytes.len()) };
    sum as u32
}
