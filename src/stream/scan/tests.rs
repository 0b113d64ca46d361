//! Passes with workers, held against the pass without.

use std::io::Write as _;

use super::*;

/// Keeps what a pass hands on.
#[derive(Default)]
struct Kept(Vec<u8>);

impl Sink for Kept {
    fn take(&mut self, piece: &[u8]) {
        self.0.extend_from_slice(piece);
    }
}

/// A small generator, so that every run tests the same (xorshift64*).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        ((self.next() >> 33) as usize) % end.max(1)
    }
}

/// Bytes of a character: what a compressor makes of them differs in blocks, distances and how long copies live.
fn data(character: &str, len: usize) -> Vec<u8> {
    let mut rng = Rng(len as u64 | 1);
    let mut out: Vec<u8> = Vec::with_capacity(len + 4096);
    let record: Vec<u8> = std::iter::repeat_with(|| rng.next() as u8).take(20_000).collect();
    let mut rng = Rng(77);
    while out.len() < len {
        match character {
            "random" => out.extend(rng.next().to_le_bytes()),
            "runs" => {
                let n = rng.below(3000);
                out.resize(out.len() + n, rng.next() as u8);
            }
            "zeros" => out.resize(len, 0),
            // Copied and copied again: nothing of it is ever written out a second time.
            "copies" => {
                let from = rng.below(record.len() - 300);
                out.extend(&record[from..from + 20 + rng.below(280)]);
            }
            "text" => {
                let word = rng.below(40) * rng.below(40) / 20;
                out.extend(format!("word{word} ").bytes());
                if rng.below(7) == 0 {
                    out.extend(format!("{}\n", rng.next()).bytes());
                }
            }
            _ => {
                let part = data(["random", "runs", "copies", "text"][rng.below(4)], rng.below(60_000));
                out.extend(part);
            }
        }
    }
    out.truncate(len);
    out
}

const CHARACTERS: [&str; 6] = ["random", "runs", "zeros", "copies", "text", "mixed"];

fn gzip(plain: &[u8], level: u32, flush_each: usize) -> Vec<u8> {
    let mut w = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
    for piece in plain.chunks(flush_each) {
        w.write_all(piece).unwrap();
        if flush_each < plain.len() {
            w.flush().unwrap();
        }
    }
    w.finish().unwrap()
}

/// A member of fixed blocks only, which nothing gives away.
fn fixed(plain: &[u8]) -> Vec<u8> {
    let (mut bits, mut n, mut out) = (0_u64, 0, vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
    let mut put = |value: u64, len: u32| {
        bits |= value << n;
        n += len;
        while n >= 8 {
            out.push(bits as u8);
            (bits, n) = (bits >> 8, n - 8);
        }
    };
    for piece in plain.chunks(3000) {
        put(0b010, 3);
        for byte in piece {
            let (code, len) = match u64::from(*byte) {
                byte @ 0..144 => (0x30 + byte, 8),
                byte => (0x190 + byte - 144, 9),
            };
            put(code.reverse_bits() >> (64 - len), len);
        }
        put(0, 7);
    }
    put(0b011, 3);
    put(0, 14);
    let mut crc = flate2::Crc::new();
    crc.update(plain);
    // What fills up the last byte was put too: 7 bits more than the block has.
    out.extend(crc.sum().to_le_bytes());
    out.extend(crc.amount().to_le_bytes());
    out
}

/// Says what a pass came to in every particular, and how much of it workers made.
fn pass(packed: &[u8], workers: usize, piece: usize) -> (String, Vec<u8>, u64) {
    let how = Workers::Exactly { workers, piece };
    let bytes = packed.to_vec();
    let scan = scan_abreast(&bytes, bytes.len() as u64, Kept::default(), Kept::default(), how).unwrap();
    assert!(scan.input.0 == packed, "the input was not handed on");
    let plain = if scan.decoded.is_ok() { scan.output.0 } else { Vec::new() };
    (format!("{:?}", scan.decoded), plain, scan.ahead)
}

/// Passes with workers and without, and returns how many bytes workers made.
#[track_caller]
fn check(name: &str, packed: &[u8], ways: &[(usize, usize)]) -> u64 {
    let mut total = 0;
    for (workers, piece) in ways {
        let (decoded, plain, none) = pass(packed, 0, *piece);
        assert_eq!(none, 0);
        let (too, same, ahead) = pass(packed, *workers, *piece);
        assert!(
            too == decoded,
            "{name}, {workers} workers, pieces of {piece}: {too:.300} not {decoded:.300}"
        );
        assert!(same == plain, "{name}, {workers} workers, pieces of {piece}: other bytes");
        total += ahead;
    }
    total
}

const WAYS: [(usize, usize); 4] = [(1, 3000), (2, 20_000), (3, 60_000), (8, 9000)];

#[test]
fn every_level_and_character_comes_out_alike() {
    let mut rng = Rng(3);
    let mut ahead = 0;
    for character in CHARACTERS {
        let plain = data(character, 1_500_000 + rng.below(1000));
        for level in 0..=9 {
            ahead += check(&format!("{character} -{level}"), &gzip(&plain, level, usize::MAX), &WAYS);
        }
    }
    // How much is made ahead depends on who is how fast, and some of these have next to nothing to guess.
    assert!(ahead > 1_500_000, "{ahead}");
}

#[test]
fn flushes_members_fixed_blocks_and_what_trails_come_out_alike() {
    for character in CHARACTERS {
        let plain = data(character, 700_000);
        let flushed = gzip(&plain, 6, 40_000);
        check(&format!("{character} flushed"), &flushed, &WAYS);
        let members: Vec<u8> = plain.chunks(65_000).flat_map(|part| gzip(part, 6, usize::MAX)).collect();
        check(&format!("{character} in small members"), &members, &WAYS);
        let members: Vec<u8> = plain.chunks(301_000).flat_map(|part| gzip(part, 6, 50_000)).collect();
        check(&format!("{character} in members"), &members, &WAYS);
        let blocks = fixed(&plain);
        check(&format!("{character} in fixed blocks"), &blocks, &WAYS);
        assert!(pass(&blocks, 2, 5000).1 == plain, "{character} in fixed blocks");
        for trail in [&[0; 70_000][..], b"garbage", &[0x1f], &[0x1f, 0x8b, 8, 0xff], &gzip(b"", 6, 1)] {
            check(&format!("{character} and what trails"), &[&flushed, trail].concat(), &WAYS[1..3]);
        }
    }
    for tiny in [&[][..], &[0x1f], &gzip(b"", 6, 1), &gzip(b"hello", 6, 9)] {
        check("hardly anything", tiny, &[(1, 1), (3, 1), (2, 7)]);
    }
}

#[test]
fn cut_short_and_damaged_come_to_the_same_end() {
    let mut rng = Rng(2026);
    let mut failed = 0;
    for character in ["random", "copies", "text", "mixed"] {
        let plain = data(character, 400_000);
        for mut packed in [gzip(&plain, 6, usize::MAX), gzip(&plain, 1, 30_000), gzip(&plain, 0, usize::MAX)]
        {
            for n in 0..12 {
                let ways = [WAYS[n % 4]];
                check(&format!("{character} cut"), &packed[..rng.below(packed.len())], &ways);
                let (at, bit) = (rng.below(packed.len()), 1 << rng.below(8));
                packed[at] ^= bit;
                check(&format!("{character} with byte {at} changed by {bit}"), &packed, &ways);
                failed += usize::from(pass(&packed, 0, PIECE).1.is_empty());
                packed[at] ^= bit;
            }
            let end = packed.len();
            for len in (end - 12..end).chain([0, 1, 5, 10, 11]) {
                check(&format!("{character} cut to {len}"), &packed[..len], &WAYS[1..2]);
            }
        }
    }
    assert!(failed > 100, "{failed}");
}

/// A block near a member's beginning cannot copy from before it, and who guesses knows nothing of where that is.
#[test]
fn a_block_that_reaches_before_its_member_is_refused() {
    let good = gzip(&data("text", 300_000), 6, 3000);
    let flush =
        good[..good.len() * 2 / 3].windows(4).rposition(|bytes| *bytes == [0, 0, 0xff, 0xff]).unwrap();
    // What comes after a flush begins a byte, and copies from before: here that is one stored block, far too short.
    let stored = [&[0, 0xb8, 0x0b, 0x47, 0xf4][..], &[7; 3000]].concat();
    let bad = [&good[..10], &stored, &good[flush + 4..]].concat();
    // A member before it in which guesses fit, so that workers are there first.
    let stream = [&good[..], &bad].concat();
    for _ in 0..10 {
        check("blocks from elsewhere", &stream, &[(1, 2500), (2, 4000), (3, 1500)]);
    }
    let told = pass(&stream, 0, PIECE).0;
    assert!(told.contains("not a deflate stream"), "{told:.300}");
}

/// Long enough for pieces of the usual size, and for most of it to be made ahead.
#[test]
fn a_large_stream_is_made_ahead_and_a_bomb_is_not() {
    let plain = data("mixed", 24 << 20);
    let packed = gzip(&plain, 6, usize::MAX);
    let ahead = check("large", &packed, &[(2, PIECE)]);
    assert!(ahead > 0, "of {}", plain.len());
    let bomb = gzip(&vec![0; 200 << 20], 9, usize::MAX);
    check("a bomb", &bomb, &[(2, 20_000)]);
}
