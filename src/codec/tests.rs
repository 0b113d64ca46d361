mod edges;
pub(super) mod kit;

use kit::{Rng, read, rest, scan_all, scan_with, streams};

use super::*;

const SPACING: u64 = 40_000;

#[track_caller]
fn check_scan(stream: &kit::Stream, sizes: impl FnMut() -> (usize, usize)) {
    let kit::Stream { name, compression, packed, plain } = stream;
    let (out, checkpoints, oddities) = scan_with(*compression, packed, SPACING, sizes).expect(name);
    assert!(out == *plain, "{name}: other bytes");
    assert_eq!(oddities, [], "{name}");
    assert_eq!(checkpoints[0], Checkpoint::START, "{name}");
    let apart = checkpoints.windows(2).all(|pair| pair[0].output_offset + SPACING <= pair[1].output_offset);
    assert!(apart, "{name}: checkpoints too close");
    let whole = scan_all(*compression, packed, SPACING).unwrap().1;
    assert!(checkpoints == whole, "{name}: checkpoints depend on how the input was cut");
}

#[test]
fn every_stream_comes_out_whole_however_it_is_cut() {
    for stream in streams(150_000) {
        check_scan(&stream, || (usize::MAX, 1 << 20));
        check_scan(&stream, || (1, 4096));
        check_scan(&stream, || (4096, 1));
        let mut rng = Rng(99);
        check_scan(&stream, || (1 + rng.below(700), 1 + rng.below(900)));
    }
}

#[test]
fn resuming_at_every_checkpoint_gives_the_same_rest() {
    let mut offsets = [0; 8];
    for stream in streams(600_000) {
        let kit::Stream { name, compression, packed, plain } = &stream;
        let (_, checkpoints, _) = scan_all(*compression, packed, SPACING).unwrap();
        for checkpoint in &checkpoints {
            let at = checkpoint.output_offset as usize;
            let out = rest(*compression, packed, checkpoint).expect(name);
            assert!(out == plain[at..], "{name}: resumed at {at}");
            if let Entry::Block { bits, .. } = checkpoint.entry {
                offsets[usize::from(bits)] += 1;
            }
        }
    }
    assert!(offsets.iter().all(|n| *n > 5), "bit offsets are not all covered: {offsets:?}");
}

#[test]
fn three_thousand_random_reads_equal_the_plain_bytes() {
    let mut rng = Rng(7);
    let streams = streams(600_000);
    let resumable =
        |stream: &&kit::Stream| !matches!(stream.compression, Compression::Xz | Compression::Bzip2);
    let scanned: Vec<_> = streams
        .iter()
        .filter(resumable)
        .map(|stream| (stream, scan_all(stream.compression, &stream.packed, SPACING).unwrap().1))
        .collect();
    for i in 0..3000 {
        let (stream, checkpoints) = &scanned[i % scanned.len()];
        let offset = rng.below(stream.plain.len());
        let len = rng.below(100_000);
        let expected = &stream.plain[offset..stream.plain.len().min(offset + len)];
        assert!(read(stream, checkpoints, offset, len) == expected, "{}: {len} at {offset}", stream.name);
    }
}

#[test]
fn streams_that_allow_it_have_checkpoints() {
    for stream in streams(600_000) {
        let (_, checkpoints, _) = scan_all(stream.compression, &stream.packed, SPACING).unwrap();
        let expected = match (stream.compression, stream.name.as_str()) {
            // A run of equal bytes makes few, long blocks.
            (Compression::Gzip, name) if name.contains("sparse") || name.contains("runs") => 1..16,
            (Compression::Gzip, name) if name.contains("members") || name.contains("odd") => 8..16,
            (Compression::Gzip, _) => 4..16,
            (Compression::Zstd, name) if name.contains("frames") => 10..11,
            (Compression::None, _) => 15..16,
            _ => 1..2,
        };
        assert!(expected.contains(&checkpoints.len()), "{}: {} checkpoints", stream.name, checkpoints.len());
    }
}

/// Small output must not make a decoder keep back what large output lets out.
#[test]
fn nothing_is_held_back_for_want_of_input() {
    for kit::Stream { name, compression, packed, .. } in streams(150_000) {
        let half = &packed[..packed.len() / 2];
        let emitted = |room| {
            let mut decoder = resume(compression, &Checkpoint::START).unwrap();
            let (mut input, mut buffer, mut total) = (half, vec![0; room], 0);
            loop {
                let step = decoder.step(input, &mut buffer).unwrap();
                total += step.produced;
                input = &input[step.consumed..];
                if input.is_empty() && step.produced < buffer.len() {
                    return total;
                }
            }
        };
        assert_eq!(emitted(7), emitted(1 << 20), "{name}");
    }
}

/// Streams of a few hundred bytes, so that every byte of them can be tried.
fn small() -> Vec<kit::Stream> {
    streams(700).into_iter().filter(|stream| stream.compression != Compression::None).collect()
}

#[test]
fn truncated_anywhere_is_an_error() {
    for kit::Stream { name, compression, packed, plain } in small() {
        for len in 0..packed.len() {
            match scan_all(compression, &packed[..len], 100) {
                Err(CodecError::Truncated { .. }) => {}
                // Between two members, frames or streams everything is well.
                Ok((out, ..))
                    if len > 0 && name.contains("members")
                        || name.contains("frames")
                        || name.contains("streams") =>
                {
                    assert!(plain.starts_with(&out), "{name} cut to {len}");
                }
                other => {
                    panic!("{name} cut to {len} of {}: {:?}", packed.len(), other.map(|scanned| scanned.2))
                }
            }
        }
    }
}

#[test]
fn a_flipped_bit_is_an_error_or_changes_nothing() {
    for kit::Stream { name, compression, mut packed, plain } in small() {
        let one = !["members", "frames", "streams"].iter().any(|many| name.contains(many));
        for bit in 0..packed.len() * 8 {
            packed[bit / 8] ^= 1 << (bit % 8);
            if let Ok((out, ..)) = scan_all(compression, &packed, 100) {
                // With several, one may turn into something that is passed over.
                assert!(out == plain || !one, "{name}: bit {bit}");
            }
            packed[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

/// Damage far behind a checkpoint, in it, and in what it is traced by.
#[test]
fn damage_in_large_streams_ends_in_an_error() {
    let mut rng = Rng(2024);
    for kit::Stream { name, compression, mut packed, plain } in streams(200_000) {
        if compression == Compression::None {
            continue;
        }
        let checkpoints = scan_all(compression, &packed, SPACING).unwrap().1;
        let one = !["members", "frames", "streams"].iter().any(|many| name.contains(many));
        for _ in 0..20 {
            let (at, bit) = (rng.below(packed.len()), 1 << rng.below(8));
            packed[at] ^= bit;
            if let Ok((out, ..)) = scan_all(compression, &packed, SPACING) {
                assert!(out == plain || !one, "{name}: byte {at}");
            }
            // What a reader gets may be wrong, for the caller to find out; it must only end.
            for checkpoint in &checkpoints {
                let _ = rest(compression, &packed, checkpoint);
            }
            packed[at] ^= bit;
        }
    }
}

/// What is said of a damaged stream does not depend on how it was cut.
#[test]
fn damage_is_told_alike_however_the_stream_is_cut() {
    let mut rng = Rng(5);
    let mut failed = 0;
    for kit::Stream { name, compression, mut packed, .. } in streams(30_000) {
        if compression != Compression::Gzip {
            continue;
        }
        for _ in 0..15 {
            let (at, bit) = (rng.below(packed.len()), 1 << rng.below(8));
            packed[at] ^= bit;
            let whole = scan_all(compression, &packed, SPACING).map(drop);
            failed += usize::from(whole.is_err());
            for (n, room) in [(1, 4096), (4096, 7), (10_000, 777), (usize::MAX, 1 << 20)] {
                let cut = scan_with(compression, &packed, SPACING, || (n, room)).map(drop);
                assert_eq!(format!("{cut:?}"), format!("{whole:?}"), "{name}: {n} {room}");
            }
            packed[at] ^= bit;
        }
    }
    assert!(failed > 200, "{failed}");
}

#[test]
fn noise_behind_a_signature_ends_in_an_error() {
    let mut rng = Rng(77);
    let heads: [(Compression, Vec<u8>); 5] = [
        (Compression::Gzip, vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]),
        (Compression::Gzip, vec![0x1f, 0x8b, 8]),
        (Compression::Zstd, vec![0x28, 0xb5, 0x2f, 0xfd]),
        (Compression::Xz, kit::xz(b"x")[..12].to_vec()),
        (Compression::Bzip2, b"BZh11AY&SY".to_vec()),
    ];
    for (compression, head) in &heads {
        for _ in 0..1000 {
            let n = rng.below(400);
            let noise: Vec<u8> = std::iter::repeat_with(|| rng.next() as u8).take(n).collect();
            let scanned = scan_all(*compression, &[&head[..], &noise].concat(), SPACING);
            assert!(scanned.is_err(), "{compression}: {noise:?}");
        }
    }
}

/// Other programs' habits: other blocks, other distances, members, flushes. What is not installed is named and left
/// out; the streams made above need no program.
#[test]
fn streams_of_other_programs_come_out_whole() {
    let plain = kit::data("mixed", 1_000_000, 11);
    for (compression, command) in [
        (Compression::Gzip, "gzip -1"),
        (Compression::Gzip, "gzip -9"),
        (Compression::Gzip, "pigz -p 2"),
        (Compression::Gzip, "pigz -p 2 -i -b 64"),
        (Compression::Gzip, "pigz -11 -I 1"),
        (Compression::Gzip, "pigz -H"),
        (Compression::Zstd, "zstd -19"),
        (Compression::Zstd, "zstd -1 --no-check"),
        (Compression::Xz, "xz -2"),
        (Compression::Bzip2, "bzip2 -2"),
    ] {
        let Some(packed) = kit::run(command, &plain) else {
            eprintln!("left out, not installed: {command}");
            continue;
        };
        assert_eq!(Compression::sniff(&packed), compression, "{command}");
        let stream = kit::Stream { name: command.into(), compression, packed, plain: plain.clone() };
        check_scan(&stream, || (100_000, 70_000));
        let (_, checkpoints, _) = scan_all(compression, &stream.packed, SPACING).unwrap();
        for checkpoint in checkpoints.iter().step_by(3) {
            let out = rest(compression, &stream.packed, checkpoint).unwrap();
            assert!(out == plain[checkpoint.output_offset as usize..], "{command}");
        }
    }
}
