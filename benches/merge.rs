//! Merging the entries of three layers into a root filesystem.

mod kit;

use kit::Work;
use ocifs::tree::{self, Extent, Record, RecordKind, Records, Time};

/// Entries of the lowest layer; the others have a tenth of it each.
const ENTRIES: u64 = 100_000;

fn main() {
    let lowest = layer(0, ENTRIES, "");
    let replaces = layer(ENTRIES / 2, ENTRIES / 10, "");
    let removes = layer(ENTRIES / 4, ENTRIES / 10, ".wh.");
    let work = Work::Items(ENTRIES * 12 / 10, "entries");
    kit::measure("one layer of 100,000 entries", &Work::Items(ENTRIES, "entries"), || {
        tree::build_layer(0, &lowest)
    });
    kit::measure("three layers of 120,000 entries", &work, || {
        let (rootfs, problems) = tree::build_rootfs([&lowest, &replaces, &removes]);
        assert!(problems.is_empty(), "the layers are sound");
        rootfs
    });
}

/// Makes a layer of `count` files, numbered from `first` on, their names behind `prefix`.
fn layer(first: u64, count: u64, prefix: &str) -> Records {
    let mut records = Records::new();
    for number in first..first + count {
        let path = format!(
            "srv/project-{:03}/module-{:02}/{prefix}part-{number:06}.txt",
            number / 5000,
            number / 100 % 50
        );
        let size = if prefix.is_empty() { 1 + number % 900 } else { 0 };
        let extent = Extent { file_offset: 0, stream_offset: number * 1024 + 512, length: size };
        let record = Record {
            path: path.as_bytes(),
            kind: RecordKind::Regular,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Time { seconds: 1_704_164_645, nanos: 0 },
            size,
            extents: if size == 0 { &[] } else { std::slice::from_ref(&extent) },
            xattrs: &[],
            header_offset: number * 1024,
        };
        records.push(&record).expect("far from the limits");
    }
    records.shrink_to_fit();
    records
}
