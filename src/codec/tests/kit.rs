//! What the tests share: data of several characters, streams made of it, and ways to take them apart.

use std::io::Write;

use super::super::window::{Packer, Sparse};
use super::super::{At, Checkpoint, CodecError, Compression, Decoder, Oddity, Window, resume, scan};

/// A small generator, so that every run tests the same (xorshift64*).
pub(in super::super) struct Rng(pub(in super::super) u64);

impl Rng {
    pub(in super::super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Returns a number below `end`.
    pub(in super::super) fn below(&mut self, end: usize) -> usize {
        ((self.next() >> 33) as usize) % end.max(1)
    }
}

pub(super) const CHARACTERS: [&str; 5] = ["random", "text", "runs", "sparse", "mixed"];

/// Makes `len` bytes of a character.
pub(super) fn data(character: &str, len: usize, seed: u64) -> Vec<u8> {
    let mut rng = Rng(seed | 1);
    let mut out = Vec::with_capacity(len + 4096);
    while out.len() < len {
        match character {
            "random" => out.extend(rng.next().to_le_bytes()),
            "text" => {
                // Few words of uneven likelihood, and the odd number.
                let word = rng.below(40) * rng.below(40) / 20;
                out.extend(format!("word{word} ").bytes());
                if rng.below(7) == 0 {
                    out.extend(format!("{}\n", rng.next()).bytes());
                }
            }
            "runs" => {
                let byte = rng.next() as u8;
                out.resize(out.len() + rng.below(3000), byte);
            }
            "sparse" => {
                out.resize(out.len() + rng.below(40_000), 0);
                out.push(rng.next() as u8);
            }
            _ => {
                let part = CHARACTERS[rng.below(4)];
                let n = rng.below(60_000);
                out.extend(data(part, n, rng.next()));
            }
        }
    }
    out.truncate(len);
    out
}

pub(super) fn gzip(plain: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = flate2::GzBuilder::new()
        .filename("a name")
        .comment("a comment")
        .extra(vec![7; 300])
        .write(Vec::new(), flate2::Compression::new(level));
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// Makes one gzip member after another of pieces of the data, each flushed now and then.
pub(super) fn gzip_members(plain: &[u8], piece: usize) -> Vec<u8> {
    let mut out = gzip(b"", 6);
    for piece in plain.chunks(piece) {
        let mut encoder = flate2::write::GzEncoder::new(&mut out, flate2::Compression::fast());
        for part in piece.chunks(9_001) {
            encoder.write_all(part).unwrap();
            encoder.flush().unwrap();
        }
        encoder.finish().unwrap();
    }
    out.extend(gzip(b"", 6));
    out
}

/// Makes a gzip member of stored and fixed blocks of random lengths, with copies from as far back as possible.
pub(super) fn gzip_odd_blocks(plain: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bits = Bits::default();
    let mut at = 0;
    let mut oldest = std::collections::HashMap::new();
    while at < plain.len() {
        let end = plain.len().min(at + 1 + rng.below(20_000));
        if rng.below(4) == 0 {
            bits.stored(&plain[at..end]);
            at = end;
            continue;
        }
        bits.put(0b010, 3);
        while at < end {
            let key = plain.get(at..at + 4);
            let from = key.and_then(|key| oldest.insert(key, at)).filter(|from| at - from <= 32_768);
            match from {
                Some(from) => {
                    // Put back the oldest place still in reach, so that distances grow to the limit.
                    if at - from < 30_000 {
                        oldest.insert(key.unwrap(), from);
                    }
                    bits.copy_four(at - from);
                    at += 4;
                }
                None => {
                    bits.literal(plain[at]);
                    at += 1;
                }
            }
        }
        bits.put(0, 7);
    }
    // The last block: fixed, empty.
    bits.put(0b011, 3);
    bits.put(0, 7);
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    out.extend(bits.bytes());
    out.extend(super::super::inflate::crc32(0, plain).to_le_bytes());
    out.extend((plain.len() as u32).to_le_bytes());
    out
}

/// Writes deflate's bits (RFC 1951, section 3).
#[derive(Default)]
struct Bits {
    out: Vec<u8>,
    pending: u64,
    n: u32,
}

impl Bits {
    fn put(&mut self, value: u64, n: u32) {
        self.pending |= value << self.n;
        self.n += n;
        while self.n >= 8 {
            self.out.push(self.pending as u8);
            self.pending >>= 8;
            self.n -= 8;
        }
    }

    /// Huffman codes go the other way round.
    fn code(&mut self, code: u64, n: u32) {
        self.put(code.reverse_bits() >> (64 - n), n);
    }

    fn literal(&mut self, byte: u8) {
        match u64::from(byte) {
            byte @ 0..144 => self.code(0x30 + byte, 8),
            byte => self.code(0x190 + byte - 144, 9),
        }
    }

    fn copy_four(&mut self, distance: usize) {
        // Length 4 is symbol 258, the second of the seven-bit codes.
        self.code(2, 7);
        let distance = distance as u64 - 1;
        if distance < 4 {
            self.code(distance, 5);
        } else {
            let top = distance.ilog2();
            let half = (distance >> (top - 1)) & 1;
            self.code(u64::from(top) * 2 + half, 5);
            self.put(distance & ((1 << (top - 1)) - 1), top - 1);
        }
    }

    fn stored(&mut self, bytes: &[u8]) {
        self.put(0, 3);
        self.put(0, (8 - self.n) % 8);
        self.put(bytes.len() as u64, 16);
        self.put(!bytes.len() as u64 & 0xffff, 16);
        self.out.extend(bytes);
    }

    fn bytes(mut self) -> Vec<u8> {
        self.put(0, (8 - self.n) % 8);
        self.out
    }
}

pub(super) fn zstd(plain: &[u8], level: i32) -> Vec<u8> {
    let mut encoder = ::zstd::Encoder::new(Vec::new(), level).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// Makes frames of pieces of the data, with skippable frames before, between and after.
pub(super) fn zstd_frames(plain: &[u8], piece: usize) -> Vec<u8> {
    let skippable = |n: u8| [&[0x50 | n, 0x2a, 0x4d, 0x18, n, 0, 0, 0], &vec![0xee; n.into()][..]].concat();
    let mut out = skippable(0);
    for (i, piece) in plain.chunks(piece).enumerate() {
        out.extend(zstd(piece, 3));
        out.extend(skippable((i % 16) as u8));
    }
    out
}

pub(super) fn xz(plain: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn bzip2(plain: &[u8]) -> Vec<u8> {
    let mut encoder = ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// Makes a window all of whose bytes are needed.
pub(super) fn window(bytes: &[u8]) -> Window {
    let sparse = Sparse::new(bytes, &vec![true; bytes.len()]);
    Packer::new().unwrap().pack(&[&sparse]).unwrap().remove(0)
}

/// A stream and what is in it.
pub(super) struct Stream {
    pub(super) name: String,
    pub(super) compression: Compression,
    pub(super) packed: Vec<u8>,
    pub(super) plain: Vec<u8>,
}

/// Makes streams of every format and character, each of about `len` bytes.
pub(super) fn streams(len: usize) -> Vec<Stream> {
    let mut rng = Rng(len as u64 | 1);
    let mut streams = Vec::new();
    for character in CHARACTERS {
        let plain = data(character, len, rng.next());
        let mut add = |what: &str, compression, packed| {
            streams.push(Stream {
                name: format!("{what} of {character}"),
                compression,
                packed,
                plain: plain.clone(),
            });
        };
        for level in [0, 1, 6, 9] {
            add(&format!("gzip -{level}"), Compression::Gzip, gzip(&plain, level));
        }
        add("gzip members", Compression::Gzip, gzip_members(&plain, len / 5 + 1));
        add("gzip odd blocks", Compression::Gzip, gzip_odd_blocks(&plain, &mut rng));
        add("zstd", Compression::Zstd, zstd(&plain, 3));
        add("zstd frames", Compression::Zstd, zstd_frames(&plain, len / 20 + 1));
        add("xz", Compression::Xz, xz(&plain));
        add("xz streams", Compression::Xz, [xz(b"").as_slice(), &[0; 8], &xz(&plain), &[0; 4]].concat());
        add("bzip2", Compression::Bzip2, bzip2(&plain));
        let (a, b) = plain.split_at(len / 3);
        add("bzip2 streams", Compression::Bzip2, [bzip2(a), bzip2(b""), bzip2(b)].concat());
        add("plain", Compression::None, plain.clone());
    }
    streams
}

/// Feeds everything, in pieces as `sizes` says (input, output), and returns what came out.
pub(super) fn feed(
    decoder: &mut dyn Decoder,
    mut input: &[u8],
    mut sizes: impl FnMut() -> (usize, usize),
) -> Result<(Vec<u8>, Vec<Oddity>), CodecError> {
    let mut out = Vec::new();
    let mut buffer = Vec::new();
    loop {
        let (n, room) = sizes();
        buffer.resize(room.max(1), 0xaa);
        let piece = &input[..n.min(input.len())];
        let step = decoder.step(piece, &mut buffer)?;
        assert!(step.consumed <= piece.len() && step.produced <= buffer.len());
        if !piece.is_empty() {
            assert!(step.consumed + step.produced > 0, "a step without progress");
        }
        if step.produced < buffer.len() {
            assert_eq!(step.consumed, piece.len(), "neither was used up");
        }
        out.extend_from_slice(&buffer[..step.produced]);
        input = &input[step.consumed..];
        if input.is_empty() && step.produced < buffer.len() {
            return Ok((out, decoder.finish()?));
        }
    }
}

pub(super) type Scanned = (Vec<u8>, Vec<Checkpoint>, Vec<Oddity>);

/// Goes over a stream with a scanner, in pieces as `sizes` says.
pub(super) fn scan_with(
    compression: Compression,
    packed: &[u8],
    spacing: u64,
    sizes: impl FnMut() -> (usize, usize),
) -> Result<Scanned, CodecError> {
    let mut scanner = scan(compression, spacing)?;
    let (plain, oddities) = feed(&mut *scanner, packed, sizes)?;
    let checkpoints = std::iter::from_fn(|| scanner.next_checkpoint()).collect();
    Ok((plain, checkpoints, oddities))
}

pub(super) fn scan_all(compression: Compression, packed: &[u8], spacing: u64) -> Result<Scanned, CodecError> {
    scan_with(compression, packed, spacing, || (64 << 10, 64 << 10))
}

/// Decompresses from a checkpoint to the end.
pub(super) fn rest(
    compression: Compression,
    packed: &[u8],
    from: &Checkpoint,
) -> Result<Vec<u8>, CodecError> {
    let mut decoder = resume(compression, from)?;
    let (out, _) = feed(&mut *decoder, &packed[from.input_offset as usize..], || (8191, 32 << 10))?;
    Ok(out)
}

/// Reads a range, as a reader would: from the last checkpoint before it, no further than needed.
pub(super) fn read(stream: &Stream, checkpoints: &[Checkpoint], offset: usize, len: usize) -> Vec<u8> {
    let i = checkpoints.partition_point(|checkpoint| checkpoint.output_offset <= offset as u64);
    let from = &checkpoints[i - 1];
    let mut decoder = resume(stream.compression, from).unwrap();
    let mut input = &stream.packed[from.input_offset as usize..];
    let skip = offset - from.output_offset as usize;
    let mut out = vec![0; skip + len];
    let mut done = 0;
    while done < out.len() {
        let piece = &input[..input.len().min(4096)];
        let step = decoder.step(piece, &mut out[done..]).unwrap();
        done += step.produced;
        input = &input[step.consumed..];
        if step.at == At::End || (input.is_empty() && done < out.len() && step.produced == 0) {
            break;
        }
    }
    out.truncate(done);
    out.split_off(skip.min(done))
}

/// Runs a command as a filter over the bytes, or says that it is not installed.
pub(super) fn run(command: &str, input: &[u8]) -> Option<Vec<u8>> {
    use std::process::{Command, Stdio};
    let mut words = command.split(' ');
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(input).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let out = Command::new(words.next()?).args(words).arg("-c").stdin(file).stderr(Stdio::inherit()).output();
    match out {
        Ok(out) => {
            assert!(out.status.success(), "{command}: {}", out.status);
            Some(out.stdout)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("{command}: {error}"),
    }
}
