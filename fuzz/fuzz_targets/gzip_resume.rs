//! gzip: hostile streams, and streams of our making; from every checkpoint the bytes are those of a plain decoder.

#![no_main]

mod common;

use flate2::read::{GzDecoder, MultiGzDecoder};
use flate2::write::GzEncoder;
use flate2::{Compression as Level, Crc};
use libfuzzer_sys::fuzz_target;
use ocifs::codec::Compression;
use std::io::{Read, Write};

/// Makes a member of raw deflate bytes, with the trailer that belongs to them: what a hostile stream says is then read.
fn dressed(deflate: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    stream.extend_from_slice(deflate);
    let mut plain = Vec::new();
    let mut padded = stream.clone();
    padded.extend([0; 8]);
    let mut decoder = GzDecoder::new(&padded[..]).take(common::MAX_OUTPUT as u64);
    let _ = decoder.read_to_end(&mut plain);
    let mut crc = Crc::new();
    crc.update(&plain);
    stream.extend(crc.sum().to_le_bytes());
    stream.extend(crc.amount().to_le_bytes());
    stream
}

/// Packs bytes as they say themselves: levels, flushes and members.
fn packed(plain: &[u8], pattern: u8) -> Vec<u8> {
    let mut stream = Vec::new();
    for member in plain.chunks(usize::from(pattern >> 4) * 3000 + 500) {
        let mut encoder = GzEncoder::new(&mut stream, Level::new(u32::from(pattern % 10)));
        for piece in member.chunks(usize::from(pattern & 7) * 300 + 37) {
            encoder.write_all(piece).expect("memory takes everything");
            if pattern & 8 != 0 {
                encoder.flush().expect("memory takes everything");
            }
        }
        encoder.finish().expect("memory takes everything");
    }
    stream
}

fuzz_target!(|input: &[u8]| {
    let [mode, pattern, rest @ ..] = input else { return };
    let spacing = u64::from(*pattern) * 16 + 1;
    match mode % 3 {
        0 => {
            if let Some(found) = common::check(Compression::Gzip, rest, spacing) {
                let mut plain = Vec::new();
                let limit = found.len() as u64;
                let _ = MultiGzDecoder::new(rest).take(limit).read_to_end(&mut plain);
                assert_eq!(found, plain, "another decoder reads something else");
            }
        }
        1 => drop(common::check(Compression::Gzip, &dressed(rest), spacing)),
        _ => {
            let stream = packed(rest, *pattern);
            let found = common::check(Compression::Gzip, &stream, spacing);
            assert!(found.is_some_and(|found| found == rest) || stream.is_empty());
        }
    }
});
