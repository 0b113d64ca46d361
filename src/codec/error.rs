//! Every way for decompression to fail.

use super::Compression;

/// A way for decompression to fail. Offsets are in the compressed stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The input is over before the stream is.
    #[error("{compression} stream ends early, at byte {at}")]
    Truncated {
        /// What the stream is.
        compression: Compression,
        /// Where it ends.
        at: u64,
    },
    /// The bytes are not what the format allows.
    #[error("{compression} stream is damaged near byte {at}: {what}")]
    Corrupt {
        /// What the stream should be.
        compression: Compression,
        /// Near which byte.
        at: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// A gzip member's content does not have the CRC-32 its trailer states.
    #[error("gzip member ending at byte {at}: content has CRC {found:08x}, trailer says {expected:08x}")]
    Checksum {
        /// Where the member ends.
        at: u64,
        /// What the trailer says.
        expected: u32,
        /// What the content has.
        found: u32,
    },
    /// A gzip member's content does not have the length its trailer states, modulo 2³².
    #[error(
        "gzip member ending at byte {at}: content has {found} bytes, trailer says {expected} (modulo 2^32)"
    )]
    Length {
        /// Where the member ends.
        at: u64,
        /// What the trailer says.
        expected: u32,
        /// What the content has.
        found: u32,
    },
    /// The stream needs more memory to decompress than we give.
    #[error("{compression} stream needs a window of more than {limit} bytes to decompress")]
    WindowTooLarge {
        /// What the stream is.
        compression: Compression,
        /// What we give, in bytes.
        limit: u64,
    },
    /// There is no memory for the decoder.
    #[error("no memory for a {compression} decoder")]
    OutOfMemory {
        /// What the decoder is for.
        compression: Compression,
    },
    /// The checkpoint is none of this kind of stream, or was damaged.
    #[error("{compression} checkpoint cannot be used: {what}")]
    BadCheckpoint {
        /// What the stream is.
        compression: Compression,
        /// What is wrong with the checkpoint.
        what: &'static str,
    },
}
