//! xz and bzip2: hostile streams, and several streams one after the other, which decompress to all of their contents.

#![no_main]

mod common;

use std::io::Write as _;

use libfuzzer_sys::fuzz_target;
use ocifs::codec::Compression;

fn xz(plain: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
    encoder.write_all(plain).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

fn bzip2(plain: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(plain).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

fuzz_target!(|input: &[u8]| {
    let [mode, pattern, rest @ ..] = input else { return };
    let spacing = u64::from(*pattern) * 16 + 1;
    let streams = || rest.chunks(usize::from(*pattern) * 90 + 600);
    let (compression, packed) = match mode % 4 {
        0 => return drop(common::check(Compression::Xz, rest, spacing)),
        1 => return drop(common::check(Compression::Bzip2, rest, spacing)),
        2 => {
            // Between streams stand whole words of zeros (the .xz file format, section 2.2).
            let padding = vec![0; usize::from(*pattern % 3) * 4];
            (Compression::Xz, streams().flat_map(|part| [xz(part), padding.clone()].concat()).collect::<Vec<_>>())
        }
        _ => (Compression::Bzip2, streams().flat_map(bzip2).collect()),
    };
    let found = common::check(compression, &packed, spacing);
    assert!(rest.is_empty() || found.is_some_and(|found| found == rest), "{compression}");
});
