//! Packing and reading back; hostile bytes.

use super::super::*;
use proptest::prelude::*;

type Owned = (Vec<u8>, u8, (u16, u32, u32, i64, u32), Vec<(u64, u64, u64)>, Vec<(Vec<u8>, Vec<u8>)>, u64);

fn owned() -> impl Strategy<Value = Owned> {
    (
        proptest::collection::vec(any::<u8>(), 0..20),
        0..7u8,
        (0..=0o7777u16, any::<u32>(), any::<u32>(), any::<i64>(), 0..1_000_000_000u32),
        proptest::collection::vec((0..1000u64, 1..1000u64, 0..u64::MAX / 2), 0..4),
        proptest::collection::vec(
            (any::<[u8; 3]>().prop_map(Vec::from), any::<[u8; 2]>().prop_map(Vec::from)),
            0..3,
        ),
        0..u64::MAX / 2,
    )
}

/// Hands the record that `owned` describes to `with`.
fn record<T>(owned: &Owned, with: impl FnOnce(&Record<'_>) -> T) -> T {
    let (path, kind, (mode, uid, gid, seconds, nanos), pieces, xattrs, header_offset) = owned;
    let mut extents = Vec::new();
    let mut size = 0;
    for &(gap, length, stream_offset) in pieces {
        extents.push(Extent { file_offset: size + gap, stream_offset, length });
        size += gap + length;
    }
    let kind = match kind {
        0 => RecordKind::Regular,
        1 => RecordKind::Directory,
        2 => RecordKind::Symlink { target: path },
        3 => RecordKind::HardLink { target: path },
        4 => RecordKind::CharDevice { major: *uid, minor: *gid },
        5 => RecordKind::BlockDevice { major: *uid, minor: *gid },
        _ => RecordKind::Fifo,
    };
    if kind != RecordKind::Regular {
        (size, extents) = (0, Vec::new());
    }
    let xattrs: Vec<_> = xattrs.iter().map(|(n, v)| (n.as_slice(), v.as_slice())).collect();
    with(&Record {
        path,
        kind,
        mode: *mode,
        uid: *uid,
        gid: *gid,
        mtime: Time { seconds: *seconds, nanos: *nanos },
        size,
        extents: &extents,
        xattrs: &xattrs,
        header_offset: *header_offset,
    })
}

fn same(stored: &Stored<'_>, record: &Record<'_>) -> bool {
    (stored.path, stored.kind, stored.mode, stored.uid, stored.gid, stored.mtime)
        == (record.path, record.kind, record.mode, record.uid, record.gid, record.mtime)
        && (stored.size, stored.header_offset) == (record.size, record.header_offset)
        && stored.extents().eq(record.extents.iter().copied())
        && stored.xattrs().eq(record.xattrs.iter().copied())
}

proptest! {
    #[test]
    fn records_come_back(list in proptest::collection::vec(owned(), 0..8)) {
        let mut records = Records::new();
        for one in &list {
            record(one, |r| records.push(r)).unwrap();
        }
        let again = Records::decode(records.as_bytes()).unwrap();
        prop_assert!(again == records);
        prop_assert_eq!(again.iter().count(), list.len());
        for (stored, one) in again.iter().zip(&list) {
            prop_assert!(record(one, |r| same(&stored, r)), "{:?} is not {:?}", stored, one);
        }
    }

    #[test]
    fn damaged_bytes_never_panic(
        list in proptest::collection::vec(owned(), 1..6),
        at in any::<proptest::sample::Index>(),
        flip in 1..=255u8,
    ) {
        let mut records = Records::new();
        for one in &list {
            record(one, |r| records.push(r)).unwrap();
        }
        let mut bytes = records.as_bytes().to_vec();
        prop_assert!(Records::decode(&bytes[..at.index(bytes.len())]).is_err());
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(records) = Records::decode(bytes) {
            for stored in records.iter() {
                stored.extents().chain(None).count();
                stored.xattrs().count();
            }
            drop(build_rootfs([&records]));
        }
    }
}

#[track_caller]
fn refused(change: impl FnOnce(&mut Record<'_>), what: &'static str) {
    let mut records = Records::new();
    let extents = [Extent { file_offset: 0, stream_offset: 512, length: 10 }];
    let mut record = Record {
        path: b"x",
        kind: RecordKind::Regular,
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: Time { seconds: 0, nanos: 0 },
        size: 10,
        extents: &extents,
        xattrs: &[],
        header_offset: 0,
    };
    records.push(&record).unwrap();
    change(&mut record);
    let before = records.as_bytes().to_vec();
    assert_eq!(records.push(&record), Err(RecordsError::Bad { index: 1, what }));
    assert_eq!(records.as_bytes(), before, "a refused record leaves no trace");
}

#[test]
fn impossible_records_are_refused() {
    const fn extent(file_offset: u64, stream_offset: u64, length: u64) -> Extent {
        Extent { file_offset, stream_offset, length }
    }
    refused(|r| r.mode = 0o10000, "mode");
    refused(|r| r.mtime.nanos = 1_000_000_000, "time");
    refused(|r| r.size = 9, "extent");
    refused(|r| r.extents = const { &[extent(0, u64::MAX, 10)] }, "extent");
    refused(|r| r.extents = const { &[extent(u64::MAX, 0, 10)] }, "extent");
    refused(|r| r.extents = const { &[extent(0, 0, 0)] }, "extent");
    refused(|r| r.extents = const { &[extent(4, 0, 2), extent(5, 9, 2)] }, "order of extents");
}

#[test]
fn entries_more_or_fewer_than_announced_are_refused() {
    let mut records = Records::new();
    let one = (b"x".to_vec(), 1, (0, 0, 0, 0, 0), vec![], vec![], 0);
    record(&one, |r| records.push(r)).unwrap();
    let mut bytes = records.as_bytes().to_vec();
    bytes[0] = 2;
    assert_eq!(Records::decode(bytes.as_slice()), Err(RecordsError::Count { expected: 2, found: 1 }));
    bytes[0] = 0;
    assert_eq!(Records::decode(bytes), Err(RecordsError::Count { expected: 0, found: 1 }));
}
