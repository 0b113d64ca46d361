//! The edges of the formats: what is odd, what is wrong, and what is too much.

use super::super::*;
use super::kit::{self, scan_all, scan_with};

#[test]
fn sniff_knows_a_stream_by_its_first_bytes() {
    let check = |bytes: &[u8], expected| assert_eq!(Compression::sniff(bytes), expected, "{bytes:?}");
    check(b"", Compression::None);
    check(b"etc/passwd\0", Compression::None);
    check(&[0x1f, 0x8b], Compression::None);
    check(&[0x1f, 0x8b, 7], Compression::None);
    check(&kit::gzip(b"x", 6), Compression::Gzip);
    check(&kit::zstd(b"x", 1), Compression::Zstd);
    check(&kit::zstd_frames(b"x", 1), Compression::Zstd);
    check(&[0x5f, 0x2a, 0x4d, 0x18], Compression::Zstd);
    check(&[0x60, 0x2a, 0x4d, 0x18], Compression::None);
    check(&kit::xz(b"x"), Compression::Xz);
    check(&kit::bzip2(b"x"), Compression::Bzip2);
    check(&kit::bzip2(b""), Compression::Bzip2);
    check(b"BZh9-handbook.txt", Compression::None);
}

#[track_caller]
fn check_tail(compression: Compression, packed: &[u8], tail: &[u8], expected: &[Oddity]) {
    let stream = [packed, tail].concat();
    for size in [1, 5, usize::MAX] {
        let (plain, _, oddities) = scan_with(compression, &stream, 1 << 20, || (size, 99)).unwrap();
        assert_eq!(plain, b"content");
        assert_eq!(oddities, expected, "{tail:?} fed by {size}");
    }
}

#[test]
fn what_follows_the_last_member_is_told_and_not_decoded() {
    for (compression, packed) in
        [(Compression::Gzip, kit::gzip(b"content", 6)), (Compression::Bzip2, kit::bzip2(b"content"))]
    {
        let at = packed.len() as u64;
        let garbage = |len| [Oddity::TrailingGarbage { at, len }];
        check_tail(compression, &packed, &[], &[]);
        check_tail(compression, &packed, &[0], &[Oddity::TrailingZeros { at, len: 1 }]);
        check_tail(compression, &packed, &[0; 512], &[Oddity::TrailingZeros { at, len: 512 }]);
        check_tail(compression, &packed, &[0, 0, 1], &garbage(3));
        check_tail(compression, &packed, b"hello", &garbage(5));
        // As much as possible of what another member begins with, and then not.
        check_tail(compression, &packed, &[0x1f, 0x8b, 0x07, 0], &garbage(4));
        check_tail(compression, &packed, b"BZ\0", &garbage(3));
        // A member behind padding is not one.
        check_tail(compression, &packed, &[&[0; 8], &packed[..]].concat(), &garbage(8 + at));
    }
}

#[track_caller]
fn check_error(compression: Compression, packed: &[u8], expected: &CodecError) {
    for size in [1, usize::MAX] {
        let error = scan_with(compression, packed, 1 << 20, || (size, 99)).unwrap_err();
        assert_eq!(error, *expected, "fed by {size}");
    }
}

#[test]
fn every_member_is_checked_against_its_trailer() {
    let member = kit::gzip(b"content", 6);
    for i in 0..3 {
        let mut members = [member.clone(), member.clone(), member.clone()];
        let at = (member.len() * (i + 1)) as u64;
        let end = member.len();
        let crc = u32::from_le_bytes(member[end - 8..end - 4].try_into().unwrap());
        members[i][end - 8] ^= 1;
        check_error(
            Compression::Gzip,
            &members.concat(),
            &CodecError::Checksum { at, expected: crc ^ 1, found: crc },
        );
        members[i][end - 8] ^= 1;
        members[i][end - 1] = 1;
        let expected = 7 | 1 << 24;
        check_error(Compression::Gzip, &members.concat(), &CodecError::Length { at, expected, found: 7 });
    }
}

#[test]
fn a_piece_of_another_member_is_a_truncated_member() {
    let member = kit::gzip(b"content", 6);
    for extra in 1..member.len() {
        let packed = [&member[..], &member[..extra]].concat();
        let expected = CodecError::Truncated { compression: Compression::Gzip, at: packed.len() as u64 };
        check_error(Compression::Gzip, &packed, &expected);
    }
}

/// Makes a member with a header of these flags and fields.
fn with_header(flags: u8, fields: &[u8]) -> Vec<u8> {
    let plain = kit::gzip_odd_blocks(b"content", &mut kit::Rng(1));
    [&[0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 0, 3], fields, &plain[10..]].concat()
}

#[test]
fn header_fields_are_passed_over() {
    let check = |flags, fields: &[u8]| check_tail(Compression::Gzip, &with_header(flags, fields), &[], &[]);
    check(0, b"");
    check(0x01, b"");
    check(0x04, &[0, 0]);
    check(0x04, &[3, 0, 0x1f, 0x8b, 8]);
    check(0x08, b"\0");
    check(0x08, b"name\0");
    check(0x10, b"comment\0");
    check(0x18, b"name\0comment\0");
    check(0x1c, b"\x02\0xxname\0comment\0");
    check(0x1c, &[&[255, 255][..], &[0; 65535], &[7; 100_000], &[0], &[7; 100_000], &[0]].concat());
    for (flags, fields) in [(0x02, &b""[..]), (0x06, b"\x01\0x"), (0x1e, b"\x01\0xname\0comment\0")] {
        let header = [&[0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 0, 3], fields].concat();
        let crc = inflate::crc32(0, &header) as u16;
        check(flags, &[fields, &crc.to_le_bytes()].concat());
        let wrong = with_header(flags, &[fields, &(crc ^ 0x100).to_le_bytes()].concat());
        assert!(matches!(scan_all(Compression::Gzip, &wrong, 1), Err(CodecError::Corrupt { .. })));
    }
    for reserved in [0x20, 0x40, 0x80] {
        assert!(scan_all(Compression::Gzip, &with_header(reserved, b""), 1).is_err());
    }
}

#[test]
fn what_is_no_stream_is_an_error() {
    use Compression::{Bzip2, Gzip, Xz, Zstd};
    for compression in [Gzip, Zstd, Xz, Bzip2] {
        let scanned = scan_all(compression, b"", 1);
        assert_eq!(scanned.unwrap_err(), CodecError::Truncated { compression, at: 0 });
        let scanned = scan_all(compression, &[b'x'; 600], 1);
        assert!(matches!(scanned, Err(CodecError::Corrupt { .. })), "{compression}: {scanned:?}");
    }
    // Unlike gzip's, writers of these do not pad, and readers take no garbage.
    for (compression, packed) in [(Zstd, kit::zstd(b"content", 1)), (Xz, kit::xz(b"content"))] {
        let scanned = scan_all(compression, &[&packed[..], b"garbage garbage"].concat(), 1);
        assert!(matches!(scanned, Err(CodecError::Corrupt { .. })), "{compression}: {scanned:?}");
    }
}

#[test]
fn zstd_windows_up_to_64_mib_are_taken() {
    // Magic, a header without content size, the window descriptor, one empty raw block that is the last.
    let frame = |descriptor| [0x28, 0xb5, 0x2f, 0xfd, 0x00, descriptor, 0x01, 0x00, 0x00];
    let check = |log: u8, eighths: u8| scan_all(Compression::Zstd, &frame((log - 10) << 3 | eighths), 1);
    assert!(check(23, 0).is_ok());
    assert!(check(26, 0).is_ok());
    let limit = 64 << 20;
    let refused = CodecError::WindowTooLarge { compression: Compression::Zstd, limit };
    assert_eq!(check(26, 1).unwrap_err(), refused);
    assert_eq!(check(27, 0).unwrap_err(), refused);
    assert_eq!(check(41, 7).unwrap_err(), refused);
}

#[test]
fn xz_dictionaries_up_to_64_mib_are_taken() {
    let pack = |mib: u32| {
        let mut options = liblzma::stream::LzmaOptions::new_preset(0).unwrap();
        options.dict_size(mib << 20);
        let mut filters = liblzma::stream::Filters::new();
        filters.lzma2(&options);
        let stream =
            liblzma::stream::Stream::new_stream_encoder(&filters, liblzma::stream::Check::Crc32).unwrap();
        let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
        std::io::Write::write_all(&mut encoder, b"content").unwrap();
        encoder.finish().unwrap()
    };
    assert!(scan_all(Compression::Xz, &pack(64), 1).is_ok());
    let error = scan_all(Compression::Xz, &pack(96), 1).unwrap_err();
    assert!(matches!(error, CodecError::WindowTooLarge { compression: Compression::Xz, .. }), "{error}");
}

#[test]
fn checkpoints_of_another_kind_are_refused() {
    let block = |bits| Checkpoint {
        output_offset: 9,
        input_offset: 9,
        entry: Entry::Block { bits, window: kit::window(b"") },
    };
    assert!(resume(Compression::Gzip, &block(7)).is_ok());
    for (compression, checkpoint) in [
        (Compression::Gzip, block(8)),
        (Compression::None, block(0)),
        (Compression::Zstd, block(0)),
        (Compression::Xz, Checkpoint { output_offset: 1, ..Checkpoint::START }),
        (Compression::Bzip2, Checkpoint { input_offset: 1, ..Checkpoint::START }),
    ] {
        let error = resume(compression, &checkpoint).err();
        assert!(matches!(error, Some(CodecError::BadCheckpoint { .. })), "{compression}: {error:?}");
    }
}

/// A window that is not the stream's gives other bytes or an error, and ends.
#[test]
fn a_wrong_checkpoint_never_panics() {
    let plain = kit::data("text", 300_000, 5);
    let packed = kit::gzip(&plain, 6);
    let mut rng = kit::Rng(5);
    for _ in 0..2000 {
        let input_offset = rng.below(packed.len()) as u64;
        let window = kit::window(b"abc");
        let entry = Entry::Block { bits: rng.below(8) as u8, window };
        let checkpoint = Checkpoint { output_offset: 0, input_offset, entry };
        let _ = kit::rest(Compression::Gzip, &packed, &checkpoint);
    }
}

/// Offsets in a checkpoint come from a file as well.
#[test]
fn offsets_at_the_end_of_numbers_do_not_overflow() {
    let checkpoint =
        Checkpoint { output_offset: u64::MAX - 1, input_offset: u64::MAX - 1, entry: Entry::Fresh };
    for (compression, packed) in [
        (Compression::None, b"content".to_vec()),
        (Compression::Gzip, kit::gzip(b"content", 6)),
        (Compression::Zstd, kit::zstd(b"content", 1)),
    ] {
        let mut decoder = resume(compression, &checkpoint).unwrap();
        let (plain, _) = kit::feed(&mut *decoder, &packed, || (3, 3)).unwrap();
        assert_eq!(plain, b"content", "{compression}");
    }
}

/// Fourteen bytes took 47 µs, however many of them there were.
#[test]
fn bzip2_streams_that_yield_nothing_come_to_an_end() {
    let scanned = |parts: &[Vec<u8>]| scan_all(Compression::Bzip2, &parts.concat(), 1 << 20);
    let (empty, thin, block) = (kit::bzip2(b""), kit::bzip2(b"x"), kit::bzip2(&[b'x'; 512]));
    assert_eq!(scanned(&vec![empty.clone(); 1000]).unwrap().0, b"");
    assert_eq!(scanned(&vec![thin.clone(); 1000]).unwrap().0.len(), 1000);
    assert_eq!(scanned(&vec![block.clone(); 3000]).unwrap().0.len(), 3000 * 512);
    let all = |n| {
        scanned(&[vec![empty.clone(); n], vec![kit::bzip2(&[b'x'; 5120])], vec![thin.clone(); 10]].concat())
    };
    assert!(all(999).is_ok());
    for streams in [vec![empty.clone(); 1001], vec![thin; 1001], [vec![block; 9], vec![empty; 1001]].concat()]
    {
        match scanned(&streams) {
            Err(CodecError::Corrupt { what, .. }) => assert_eq!(what, "too many streams that yield nothing"),
            other => panic!("{:?}", other.map(|(plain, ..)| plain.len())),
        }
    }
}

/// 1000 empty members, and 1000 empty frames, are one empty stream.
#[test]
fn empty_members_and_frames_yield_nothing() {
    for (compression, packed) in [
        (Compression::Gzip, kit::gzip(b"", 6)),
        (Compression::Zstd, kit::zstd(b"", 1)),
        (Compression::Zstd, vec![0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]),
        (Compression::Xz, kit::xz(b"")),
    ] {
        let (plain, checkpoints, _) = scan_all(compression, &packed.repeat(1000), 1).unwrap();
        assert_eq!((plain.len(), checkpoints.len()), (0, 1), "{compression}");
    }
}

/// A run of zeros makes blocks of megabytes.
#[test]
fn there_is_no_checkpoint_inside_a_block() {
    let plain = vec![0; 40 << 20];
    let (_, checkpoints, _) = scan_all(Compression::Gzip, &kit::gzip(&plain, 9), 1 << 20).unwrap();
    let widest = checkpoints.windows(2).map(|pair| pair[1].output_offset - pair[0].output_offset).max();
    assert!(widest.unwrap_or(u64::MAX) > 2 << 20, "{widest:?}");
}

/// Of the places in a zone the one whose window needs least is taken, not the first.
#[test]
fn the_cheapest_place_is_taken() {
    let mut compress = flate2::Compress::new(flate2::Compression::new(6), false);
    let plain = kit::data("text", 390_000, 8);
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    packed.reserve(1 << 20);
    // Blocks begin at all of these, and only behind one of them nothing is copied from before.
    let ends = [(200_000, false), (235_000, true), (290_000, false), (390_000, false)];
    let mut at = 0;
    for (end, forget) in ends {
        let flush = if forget { flate2::FlushCompress::Full } else { flate2::FlushCompress::Sync };
        compress.compress_vec(&plain[at..end], &mut packed, flush).unwrap();
        at = end;
    }
    compress.compress_vec(&[], &mut packed, flate2::FlushCompress::Finish).unwrap();
    packed.extend(inflate::crc32(0, &plain).to_le_bytes());
    packed.extend((plain.len() as u32).to_le_bytes());
    // So zones begin at multiples of 200,000, and end 40,000 behind them.
    let (_, checkpoints, _) = scan_all(Compression::Gzip, &packed, 160_000).unwrap();
    let places: Vec<_> = checkpoints.iter().map(|checkpoint| checkpoint.output_offset).collect();
    assert_eq!(places, [0, 235_000]);
}

/// Windows hold what is copied from, and nothing else.
#[test]
fn a_window_nobody_copies_from_is_empty() {
    // Flushing in full makes the compressor forget what was before.
    let mut compress = flate2::Compress::new(flate2::Compression::new(6), false);
    let plain = kit::data("text", 420_000, 8);
    let mut packed = Vec::with_capacity(1 << 20);
    for piece in plain.chunks(60_000) {
        compress.compress_vec(piece, &mut packed, flate2::FlushCompress::Full).unwrap();
    }
    compress.compress_vec(&[], &mut packed, flate2::FlushCompress::Finish).unwrap();
    let member = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255][..], &packed].concat();
    let sum = [inflate::crc32(0, &plain).to_le_bytes(), (plain.len() as u32).to_le_bytes()].concat();
    let packed = [member, sum].concat();
    // So zones begin at multiples of 60,000.
    let (_, checkpoints, _) = scan_all(Compression::Gzip, &packed, 48_000).unwrap();
    let at_flushes: Vec<_> = checkpoints.iter().filter(|c| c.output_offset % 60_000 == 0).collect();
    // The last is where everything is out, before the empty block that ends the stream.
    assert_eq!(at_flushes.len(), 8);
    for checkpoint in at_flushes {
        let empty = match &checkpoint.entry {
            Entry::Fresh => true,
            Entry::Block { window, .. } => window.unpack().unwrap().is_empty(),
        };
        assert!(empty, "at {}", checkpoint.output_offset);
        assert!(
            kit::rest(Compression::Gzip, &packed, checkpoint).unwrap()
                == plain[checkpoint.output_offset as usize..]
        );
    }
}
