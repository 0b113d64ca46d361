//! Tables from literals: what is taken, and what is refused, for every number that could be hostile.

use super::*;
use crate::oci::{Algorithm, Descriptor};
use crate::stream::Chunk;
use crate::tar::Entry;

const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Reads a table of these entries, of a blob whose files' bytes end at 10,000. `D` stands for a digest.
fn read_entries(entries: &str) -> Result<(Vec<Entry>, Contents), TocError> {
    let json = format!(r#"{{"version":1,"entries":[{}]}}"#, entries.replace("`D`", &format!("{D:?}")));
    let mut all = Vec::new();
    read(json.as_bytes(), 10_000, None, &mut |entry| all.push(entry.clone())).map(|contents| (all, contents))
}

#[track_caller]
fn refuse(entries: &str, why: &str) {
    let error = read_entries(entries).expect_err(entries).to_string();
    assert!(error.contains(why), "{entries}: {error}");
}

/// An entry of every type, and files of one chunk, of several, of zeros, and of nothing.
const GOOD: &str = r#"
    {"type":"dir","name":"d/","mode":16877},
    {"type":"reg","name":"d/empty","mode":420,"digest":`D`},
    {"type":"reg","name":"one","size":5,"mode":33261,"uid":1,"gid":2,"modtime":"2019-08-20T10:30:43.5Z",
     "offset":100,"digest":`D`,"xattrs":{"user.b":"Yg==","user.a":""},"userName":"root"},
    {"type":"reg","name":"many","size":10,"offset":200,"chunkSize":4,"chunkDigest":`D`,"digest":`D`},
    {"type":"chunk","name":"many","offset":300,"chunkOffset":4,"chunkSize":2,"chunkDigest":`D`},
    {"type":"chunk","name":"many","chunkOffset":6,"chunkSize":1,"chunkType":"zeros"},
    {"type":"chunk","name":"many","offset":300,"innerOffset":700,"chunkOffset":7,"chunkDigest":`D`},
    {"type":"symlink","name":"s","linkName":"one","mode":511},
    {"type":"hardlink","name":"h","linkName":"one"},
    {"type":"char","name":"c","devMajor":1,"devMinor":3},
    {"type":"block","name":"b","devMajor":8},
    {"type":"fifo","name":"p"}"#;

#[test]
fn a_table_is_taken_as_the_tar_it_lists() {
    let (entries, contents) = read_entries(GOOD).unwrap();
    let names: Vec<_> = entries.iter().map(|e| e.path.escape_ascii().to_string()).collect();
    assert_eq!(names, ["d/", "d/empty", "one", "many", "s", "h", "c", "b", "p"]);
    let one = &entries[2];
    assert_eq!((one.mode, one.uid, one.gid, one.size), (0o755, 1, 2, 5));
    assert_eq!((one.mtime.seconds, one.mtime.nanos), (1_566_297_043, 500_000_000));
    assert_eq!(one.xattrs, [(b"user.a".to_vec(), vec![]), (b"user.b".to_vec(), b"b".to_vec())]);
    let extents = |n: usize| entries[n].extents.iter().map(|e| (e.file_offset, e.stream_offset, e.length));
    assert!(extents(1).eq([]) && extents(2).eq([(0, 0, 5)]) && extents(3).eq([(0, 5, 10)]));
    let places = contents.chunks.iter().map(|c| (c.offset, c.packed_offset, c.packed_len, c.skip));
    assert!(places.eq([
        (0, 100, 100, 0),
        (5, 200, 100, 0),
        (9, 300, 9700, 0),
        (11, 0, 0, 0),
        (12, 300, 9700, 700)
    ]));
    assert!(contents.chunks[3].is_zeros() && contents.len == 15);
}

#[test]
fn what_packed_bytes_cannot_take_is_not_asked_for() {
    let far = r#"{"type":"reg","name":"a","size":5,"offset":1,"digest":`D`}"#;
    let json = format!(r#"{{"version":1,"entries":[{}]}}"#, far.replace("`D`", &format!("{D:?}")));
    let contents = read(json.as_bytes(), 1 << 50, None, &mut |_| {}).unwrap();
    // The last chunk's end is the contents' end, which the chunks alone do not say: it counts as the largest.
    assert!(u64::from(contents.chunks[0].packed_len) <= MAX_CHUNK * 2);
}

#[test]
fn whatever_is_in_doubt_is_refused() {
    let file = |more: &str| format!(r#"{{"type":"reg","name":"f","size":8,"digest":`D`,{more}}}"#);
    let first = r#"{"type":"reg","name":"f","size":8,"offset":1,"chunkSize":4,"chunkDigest":`D`}"#;
    let then = |more: &str| format!(r#"{first},{{"type":"chunk","chunkDigest":`D`,"offset":2,{more}}}"#);
    for (entries, why) in [
        ("7".to_owned(), "no object"),
        (r#"{"name":"x"}"#.into(), "no type"),
        (r#"{"type":7}"#.into(), "text should be"),
        (r#"{"type":"socket","name":"x"}"#.into(), "type we do not know"),
        (r#"{"type":"chunk","name":"x"}"#.into(), "of no file"),
        (r#"{"type":"fifo","name":"a\u0000b"}"#.into(), "NUL"),
        (format!(r#"{{"type":"fifo","name":"a{LOST}"}}"#, LOST = '\u{fffd}'), "no UTF-8"),
        (format!(r#"{{"type":"fifo","name":"{}"}}"#, "a".repeat(70_000)), "too long"),
        (r#"{"type":"reg","name":"x/"}"#.into(), "slash"),
        (r#"{"type":"reg","name":"./stargz.index.json"}"#.into(), "name of the table"),
        (r#"{"type":"symlink","name":"x"}"#.into(), "link to nothing"),
        (r#"{"type":"hardlink","name":"x","linkName":""}"#.into(), "link to nothing"),
        (r#"{"type":"dir","name":"x","uid":-1}"#.into(), "out of range"),
        (r#"{"type":"dir","name":"x","uid":4294967296}"#.into(), "out of range"),
        (r#"{"type":"dir","name":"x","gid":1.5}"#.into(), "out of range"),
        (r#"{"type":"dir","name":"x","mode":"755"}"#.into(), "out of range"),
        (r#"{"type":"char","name":"x","devMajor":99999999999}"#.into(), "out of range"),
        (r#"{"type":"dir","name":"x","modtime":"yesterday"}"#.into(), "time"),
        (r#"{"type":"dir","name":"x","xattrs":[]}"#.into(), "extended attributes"),
        (r#"{"type":"dir","name":"x","xattrs":{"a":"?"}}"#.into(), "no base64"),
        (r#"{"type":"dir","name":"x","xattrs":{"":""}}"#.into(), "Linux"),
        (format!(r#"{{"type":"dir","name":"x","xattrs":{{"{}":""}}}}"#, "n".repeat(256)), "Linux"),
        (format!(r#"{{"type":"dir","name":"x","xattrs":{{"n":"{}"}}}}"#, "AAAA".repeat(22_000)), "Linux"),
        (r#"{"type":"reg","name":"x","size":9,"offset":1}"#.into(), "no digest"),
        (r#"{"type":"reg","name":"x","size":9223372036854775808}"#.into(), "out of range"),
        (r#"{"type":"reg","name":"x","size":9223372036854775807}"#.into(), "too long"),
        (format!(r#"{{"type":"reg","name":"x","size":{},"digest":`D`}}"#, MAX_CHUNK + 1), "larger chunk"),
        (file(r#""offset":10000"#), "outside"),
        (file(r#""offset":18446744073709551615"#), "out of range"),
        (file(r#""offset":1,"innerOffset":99999999"#), "larger chunk"),
        (file(r#""offset":1,"chunkSize":9"#), "beyond its file"),
        (file(r#""offset":1,"chunkOffset":1"#), "does not follow"),
        (file(r#""offset":1,"chunkSize":4"#), "no digest"),
        (file(r#""offset":1,"chunkType":"odd""#), "kind we do not know"),
        (file(r#""offset":1,"chunkDigest":"sha512:00""#), "no sha256"),
        (first.to_owned(), "chunks missing"),
        (format!(r#"{first},{{"type":"dir","name":"x"}}"#), "chunks missing"),
        (then(r#""chunkOffset":3"#), "does not follow"),
        (then(r#""chunkOffset":4,"chunkSize":5"#), "beyond its file"),
        (then(r#""chunkOffset":18446744073709551615"#), "out of range"),
        (
            format!("{},{}", then(r#""chunkOffset":4"#), r#"{"type":"chunk","chunkOffset":8,"offset":1}"#),
            "of nothing",
        ),
    ] {
        refuse(&entries, why);
    }
    for json in
        ["", "[]", "{}", r#"{"version":1}"#, r#"{"version":2,"entries":[]}"#, r#"{"version":1,"entries":{}}"#]
    {
        let got = read(json.as_bytes(), 1, None, &mut |_| {});
        assert!(matches!(got, Err(TocError::Json(_))), "{json}: {got:?}");
    }
}

/// Reading such a layer would decompress 32 MiB for each byte of it.
#[test]
fn chunks_far_behind_the_beginnings_of_their_members_are_refused() {
    let chunk = |n: usize, skip: u64| {
        let kind = if n == 0 { r#""type":"reg","size":100"# } else { r#""type":"chunk""# };
        format!(
            r#"{{{kind},"name":"f","offset":1,"innerOffset":{skip},"chunkOffset":{n},"chunkSize":1,"chunkDigest":`D`}}"#
        )
    };
    let rest = r#"{"type":"chunk","name":"f","chunkOffset":3,"chunkSize":97,"chunkType":"zeros"}"#;
    let table = |skip| format!("{},{},{},{rest}", chunk(0, MAX_CHUNK), chunk(1, MAX_CHUNK), chunk(2, skip));
    assert!(read_entries(&table(16 * 3)).is_ok());
    refuse(&table(16 * 3 + 1), "too far behind the beginnings");
    // Small files that share a member, as --estargz-min-chunk-size makes them: the last is behind all others.
    let small = |n: u64| {
        let (member, inner) = (n / 4000, n % 4000 * 1024 + 512);
        format!(
            r#"{{"type":"reg","name":"{n}","size":100,"offset":{member},"innerOffset":{inner},"digest":`D`}}"#
        )
    };
    assert!(read_entries(&(0..10_000).map(small).collect::<Vec<_>>().join(",")).is_ok());
}

/// Whatever bytes are turned over in a good table, what is taken of it is in order.
#[test]
fn a_damaged_table_does_no_harm() {
    let good =
        format!(r#"{{"version":1,"entries":[{}]}}"#, GOOD.replace("`D`", &format!("{D:?}"))).into_bytes();
    let (mut random, mut taken) = (0x9e37_79b9_7f4a_7c15_u64, 0);
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as usize
    };
    for _ in 0..20_000 {
        let mut json = good.clone();
        for _ in 0..=next(3) {
            let (at, from) = (next(json.len()), next(json.len()));
            match next(3) {
                0 => json[at] = b"0123456789-.\",:{}[]eE"[next(21)],
                1 => json[at] = json[from],
                _ => drop(json.drain(at.min(from)..at.max(from).min(at.min(from) + 9))),
            }
        }
        let mut ends = vec![0];
        let read = read(&json, 10_000, None, &mut |entry| {
            ends.extend(entry.extents.iter().map(|e| e.stream_offset + e.length))
        });
        let Ok(contents) = read else { continue };
        taken += 1;
        assert_eq!(ends.last(), Some(&contents.len));
        for (n, chunk) in contents.chunks.iter().enumerate() {
            let end = contents.chunks.get(n + 1).map_or(contents.len, |next| next.offset);
            assert!(end > chunk.offset && (chunk.is_zeros() || end - chunk.offset <= MAX_CHUNK));
            assert!(chunk.packed_offset + u64::from(chunk.packed_len) <= 10_000);
        }
    }
    assert!(taken > 500, "{taken}");
}

#[test]
fn what_is_not_of_the_table_is_passed_over() {
    let json = r#"{"more":[1,{}],"entries":[{"type":"fifo","name":"p"}],"tarSplitDigest":"x","version":1}"#
        .to_owned();
    assert!(read(json.as_bytes(), 1, None, &mut |_| {}).is_ok());
    let twice = json.replace("tarSplitDigest\":\"x\"", "entries\":[]");
    assert!(matches!(read(twice.as_bytes(), 1, None, &mut |_| {}), Err(TocError::Json(_))));
    let behind = json.clone() + "x";
    assert!(matches!(read(behind.as_bytes(), 1, None, &mut |_| {}), Err(TocError::Json(_))));
    let long = format!(r#"{{"type":"fifo","name":"p","more":"{}"}}"#, "x".repeat(2 << 20));
    refuse(&long, "longer than any");
}

fn footer_of(field: &[u8], with_id: bool) -> Vec<u8> {
    let mut extra = if with_id { vec![b'S', b'G', field.len() as u8, 0] } else { Vec::new() };
    extra.extend_from_slice(field);
    let mut footer = vec![0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, extra.len() as u8, 0];
    footer.extend(extra);
    footer.extend([1, 0, 0, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0]);
    footer
}

#[test]
fn footers() {
    let at = |field: &[u8], id| footer(&[b"before".to_vec(), footer_of(field, id)].concat(), 1000);
    assert_eq!(footer_of(b"0000000000000064STARGZ", true).len(), FOOTER);
    assert_eq!(at(b"0000000000000064STARGZ", true), Ok(100..949));
    assert_eq!(at(b"0000000000000064STARGZ", false), Ok(100..953), "the first version of the format");
    assert_eq!(at(b"STARGZEXTERNALTOC", true), Err(TocError::External));
    for (field, id, why) in [
        (&b"000000000000g064STARGZ"[..], true, TocError::NoFooter),
        (b"0000000000000064STARGY", true, TocError::NoFooter),
        (b"0000000000000064", true, TocError::NoFooter),
        (b"00000000000003b5STARGZ", true, TocError::Outside),
        (b"ffffffffffffffffSTARGZ", true, TocError::Outside),
    ] {
        assert_eq!(at(field, id), Err(why), "{}", field.escape_ascii());
    }
    let good = footer_of(b"0000000000000064STARGZ", true);
    for n in 0..good.len() {
        assert_eq!(
            footer(&good[n + 1..], 1000),
            Err(TocError::NoFooter),
            "without its first {} bytes",
            n + 1
        );
    }
    assert_eq!(footer(&good, 50), Err(TocError::Outside));
    assert!(matches!(footer(&good, 1 << 40), Err(TocError::TooLarge { .. })));
}

fn claim(annotations: &str) -> Option<Result<Claim, TocError>> {
    let json = format!(r#"{{"digest":"{D}","size":1000,"annotations":{{{annotations}}}}}"#);
    Claim::of(&Descriptor::parse(&json).unwrap())
}

#[test]
fn claims() {
    const ZSTD: &str = "io.github.containers.zstd-chunked.manifest-";
    let zstd = |name: &str, position: &str, sum: &str| {
        claim(&format!(r#""{name}position":"{position}","{name}checksum":"{sum}""#)).unwrap()
    };
    let checksum = Digest::parse(D).unwrap();
    assert_eq!(claim(""), None);
    let stargz = claim(&format!(r#""containerd.io/snapshot/stargz/toc.digest":"{D}""#));
    assert_eq!(stargz, Some(Ok(Claim::Stargz { digest: checksum.clone() })));
    let good = Claim::ZstdChunked { position: 8, length: 992, unpacked: 3000, checksum };
    for name in [ZSTD, "io.containers.zstd-chunked.manifest-"] {
        assert_eq!(zstd(name, "8:992:3000:1", D), Ok(good.clone()));
    }
    let bad = claim(r#""containerd.io/snapshot/stargz/toc.digest":"sha256:00""#).unwrap();
    assert!(matches!(bad, Err(TocError::Annotation(_))));
    for (position, sum) in [
        ("8:992:3000", D),
        ("8:992:3000:2", D),
        ("8:992:3000:1:1", D),
        ("8:-1:3000:1", D),
        ("", D),
        ("8:992:3000:1", ""),
        ("8:992:3000:1", "odd:00"),
    ] {
        assert!(matches!(zstd(ZSTD, position, sum), Err(TocError::Annotation(_))), "{position} {sum}");
    }
    assert_eq!(zstd(ZSTD, "9:992:3000:1", D), Err(TocError::Outside));
    assert_eq!(zstd(ZSTD, "18446744073709551615:992:3000:1", D), Err(TocError::Outside));
    for position in ["8:992:999999999:1", "8:999999999:1:1"] {
        assert!(matches!(zstd(ZSTD, position, D), Err(TocError::TooLarge { .. })), "{position}");
    }
    let alone = claim(&format!(r#""{ZSTD}position":"8:992:3000:1""#)).unwrap();
    assert!(matches!(alone, Err(TocError::Annotation(_))), "a table that nothing vouches for");
}

#[test]
fn unpacking_is_bounded() {
    let zeros = vec![0; 5 << 20];
    for (compression, packed) in
        [(Compression::Zstd, zstd::bulk::compress(&zeros, 1).unwrap()), (Compression::Gzip, gzip(&zeros))]
    {
        assert_eq!(unpack(compression, &packed, 5 << 20).as_deref(), Ok(&zeros[..]));
        assert!(matches!(unpack(compression, &packed, (5 << 20) - 1), Err(TocError::TooLarge { .. })));
        assert!(matches!(unpack(compression, &packed, 10), Err(TocError::TooLarge { .. })));
        let cut = unpack(compression, &packed[..packed.len() - 3], 5 << 20);
        assert!(matches!(cut, Err(TocError::Codec(_))), "{cut:?}");
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The tar member of a table, with some of its header changed.
fn member(json: &[u8], name: &[u8], change: impl FnOnce(&mut [u8; 512])) -> Vec<u8> {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name);
    header[100..108].copy_from_slice(b"0000000\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", json.len()).as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[156] = b'0';
    change(&mut header);
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut tar = [&header[..], json].concat();
    tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
    gzip(&tar)
}

#[test]
fn the_table_in_the_tar() {
    let json = br#"{"version":1,"entries":[]}"#;
    let digest = Digest::of(Algorithm::Sha256, json).unwrap();
    let good = member(json, b"stargz.index.json", |_| {});
    let table = open_member(&good, &digest).unwrap();
    assert_eq!((&table.json[..], table.skip, table.packed_len as usize), (&json[..], 512, good.len()));
    let mut entries = Vec::new();
    let contents = read(json, 10_000, Some(&table), &mut |entry| entries.push(entry.clone())).unwrap();
    assert_eq!((entries.len(), entries[0].size, contents.len), (1, 26, 26));
    let chunk = Chunk {
        digest: contents.chunks[0].digest,
        offset: 0,
        packed_offset: 10_000,
        packed_len: table.packed_len,
        skip: 512,
    };
    assert_eq!(contents.chunks, [chunk]);
    for (what, packed) in [
        ("mode", member(json, b"stargz.index.json", |header| header[106] = b'4')),
        ("owner", member(json, b"stargz.index.json", |header| header[114] = b'1')),
        ("time", member(json, b"stargz.index.json", |header| header[146] = b'1')),
        ("type", member(json, b"stargz.index.json", |header| header[156] = b'5')),
        ("name", member(json, b"etc/passwd", |_| {})),
        ("empty", member(b"", b"stargz.index.json", |_| {})),
        ("no tar", gzip(b"nothing")),
        ("nothing", gzip(b"")),
    ] {
        assert!(matches!(open_member(&packed, &digest), Err(TocError::Member(_))), "{what}");
    }
    let other = member(br#"{"version":1,"entries":[7]}"#, b"stargz.index.json", |_| {});
    assert!(matches!(open_member(&other, &digest), Err(TocError::Digest { .. })));
    assert!(matches!(open_member(b"", &digest), Err(TocError::Codec(_) | TocError::Member(_))));
}
