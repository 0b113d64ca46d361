//! gzip with workers: what a pass comes to is the same with them and without, whatever the stream is.

#![no_main]

use flate2::write::GzEncoder;
use libfuzzer_sys::fuzz_target;
use ocifs::stream::{Sink, Workers, scan_abreast};
use std::io::Write;

/// Most bytes compared; what is longer is compared by its chunks' digests, in the index.
const MAX_OUTPUT: usize = 1 << 20;

#[derive(Default)]
struct Kept(Vec<u8>);

impl Sink for Kept {
    fn take(&mut self, piece: &[u8]) {
        let room = MAX_OUTPUT - self.0.len();
        self.0.extend_from_slice(&piece[..piece.len().min(room)]);
    }
}

/// Goes over a stream and says what came of it.
fn pass(stream: &Vec<u8>, workers: usize, piece: usize) -> (String, Vec<u8>) {
    let how = Workers::Exactly { workers, piece };
    let scan = scan_abreast(stream, stream.len() as u64, (), Kept::default(), how).expect("memory is read");
    let plain = if scan.decoded.is_ok() { scan.output.0 } else { Vec::new() };
    (format!("{:?}", scan.decoded), plain)
}

fuzz_target!(|input: &[u8]| {
    let [mode, pattern, size, rest @ ..] = input else { return };
    // A stream of ours whose blocks are many, one with changes, or the bytes as they are.
    let stream = match mode % 3 {
        0 => [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], rest].concat(),
        way => {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::new(u32::from(pattern % 10)));
            for piece in rest.repeat(1 + 200_000 / rest.len().max(1000)).chunks(usize::from(*size) * 97 + 500) {
                encoder.write_all(piece).expect("memory takes everything");
                if pattern & 16 != 0 {
                    encoder.flush().expect("memory takes everything");
                }
            }
            let mut stream = encoder.finish().expect("memory takes everything");
            if way == 2 {
                let at = rest.iter().fold(0_usize, |at, byte| at.wrapping_mul(31) ^ usize::from(*byte));
                let len = stream.len();
                stream[at % len] ^= 1 << (pattern >> 5);
            }
            stream
        }
    };
    let piece = usize::from(*size) * 64 + 200;
    let alone = pass(&stream, 0, piece);
    let abreast = pass(&stream, 1 + usize::from(pattern & 3), piece);
    assert!(alone == abreast, "{:.300} and {:.300}", alone.0, abreast.0);
});
