//! Any bytes in any pieces: the same events, no panic, every promise kept.

use proptest::prelude::*;

use super::super::*;
use super::kit::*;
use super::sparse::region;

/// An archive with something of everything.
fn sample() -> Tar {
    let sparse = ["GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.realsize=10", "GNU.sparse.name=s"];
    let mut tar = tar()
        .pax(&["path=long", "uid=1", "mtime=-5.5", "SCHILY.xattr.user.a=1", "LIBARCHIVE.xattr.user.b=MQ"])
        .file("x", "abc")
        .head(b'5', "d", 7)
        .file("d/f", &"f".repeat(1500))
        .extended(b'L', "n".repeat(600))
        .head(b'1', "h", 3)
        .link("x")
        .data("abc")
        .pax(&["GNU.sparse.size=10", "GNU.sparse.map=0,3,7,2"])
        .file("s1", "abcde")
        .pax(&sparse)
        .head(b'0', "x", 517)
        .data("2\n2\n3\n7\n2\n")
        .data("abcde")
        .head(b'3', "c", 0)
        .extended(b'K', "t");
    tar = tar.head(b'S', "s2", 3).gnu().with(386, region(0, 1)).with(482, [1]).with(483, "00000000012\0");
    tar.data(region(4, 2)).data("abc").file("last", "1").end()
}

#[test]
fn sample_is_sound() {
    let (events, result) = parse(&sample().bytes, &[usize::MAX]);
    assert_eq!(result, Ok(()));
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Entry(_))).count(), 9);
}

/// Checks what [`Entry`] and [`Fault`] promise, whatever went in.
fn promises(events: &[Event]) -> Result<(), TestCaseError> {
    for event in events {
        let Event::Entry(entry) = event else { continue };
        prop_assert!(entry.path.len() <= MAX_NAME && !entry.path.contains(&0));
        prop_assert!(entry.mode <= 0o7777 && entry.mtime.nanos < 1_000_000_000);
        prop_assert!(entry.kind == Kind::Regular || (entry.size == 0 && entry.extents.is_empty()));
        let mut end = 0;
        for extent in &entry.extents {
            prop_assert!(extent.length > 0 && extent.file_offset >= end);
            end = extent.file_offset.checked_add(extent.length).unwrap();
            prop_assert!(extent.stream_offset > entry.header_offset);
            prop_assert!(extent.stream_offset.checked_add(extent.length).is_some());
        }
        prop_assert!(end <= entry.size);
        prop_assert!(entry.xattrs.is_sorted_by(|a, b| a.0 < b.0));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn pieces_make_no_difference(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        digits in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b"0179 ,=\n\x80\xff".to_vec())), 0..8),
        sums in any::<bool>(),
        length in any::<prop::sample::Index>(),
        cut in any::<bool>(),
        lengths in prop::collection::vec(1_usize..1400, 1..12),
    ) {
        let mut tar = sample();
        for (at, byte) in changes.iter().chain(&digits) {
            let at = at.index(tar.bytes.len());
            tar.bytes[at] = *byte;
        }
        // With the sums right, the parser believes what it reads.
        if sums {
            tar = tar.sum();
        }
        if cut {
            tar.bytes.truncate(length.index(tar.bytes.len()));
        }
        let whole = parse(&tar.bytes, &[usize::MAX]);
        promises(&whole.0)?;
        prop_assert!(parse(&tar.bytes, &lengths) == whole);
    }

    #[test]
    fn records_of_any_bytes(content in prop::collection::vec(any::<u8>(), 0..600), flag in any::<u8>()) {
        let tar = tar().extended(b'x', &content).extended(flag, &content).file("x", "abc").end();
        let (events, _) = parse(&tar.bytes, &[usize::MAX]);
        promises(&events)?;
    }
}
