//! zstd: hostile streams, and streams of many frames; from every checkpoint the bytes are those of a plain decoder.

#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use ocifs::codec::Compression;

fn packed(plain: &[u8], pattern: u8) -> Vec<u8> {
    let mut stream = Vec::new();
    for frame in plain.chunks(usize::from(pattern >> 3) * 700 + 100) {
        if pattern & 1 != 0 {
            stream.extend([0x50 | pattern >> 4, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
        }
        stream.extend(zstd::bulk::compress(frame, i32::from(pattern % 7) - 2).expect("memory takes everything"));
    }
    stream
}

fuzz_target!(|input: &[u8]| {
    let [mode, pattern, rest @ ..] = input else { return };
    let spacing = u64::from(*pattern) * 16 + 1;
    if mode % 2 == 0 {
        common::check(Compression::Zstd, rest, spacing);
    } else {
        let found = common::check(Compression::Zstd, &packed(rest, *pattern), spacing);
        assert!(found.is_some_and(|found| found == rest) || rest.is_empty());
    }
});
