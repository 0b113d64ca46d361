//! Sparse files: four ways to write them, many to write them wrong.

use super::kit::*;

/// A region of an old GNU map.
pub(super) fn region(offset: u64, length: u64) -> String {
    format!("{offset:011o}\0{length:011o}\0")
}

/// An old GNU sparse file of `size` bytes, of which `stored` are in the archive.
fn old_sparse(regions: &[(u64, u64)], size: u64, stored: u64) -> Tar {
    let map: String = regions.iter().map(|(offset, length)| region(*offset, *length)).collect();
    tar().head(b'S', "s", stored).gnu().with(386, map).with(483, format!("{size:011o}\0"))
}

#[test]
fn sparse_old_gnu() {
    let s = |regions, size, stored: &str| {
        old_sparse(regions, size, stored.len() as u64).data(stored).file("y", "1").end()
    };
    check(s(&[(2, 3), (7, 2), (10, 0)], 10, "abcde"), &["f s=..abc..de.", "f y=1"]);
    check(s(&[(0, 3)], 3, "abc"), &["f s=abc", "f y=1"]);
    check(old_sparse(&[(0, 3)], 3, 3).with(386, [0; 12]).data("abc").end(), &["f s=abc"]);
    check(s(&[(5, 0)], 5, ""), &["f s=.....", "f y=1"]);
    check(s(&[], 5, ""), &["f s=.....", "f y=1"]);
    check(s(&[(0, 1), (2, 1), (4, 1), (6, 1)], 8, "abcd"), &["f s=a.b.c.d.", "f y=1"]);
    let big = old_sparse(&[(0, 1)], 0, 1).with(483, b"\x80\0\0\0\0\0\0\x0d\xf8\x47\x58\0").data("a").end();
    check(big, &["f s 60000000000 [(0, 512, 1)]"]);
}

#[test]
fn sparse_old_gnu_in_several_blocks() {
    let more = |regions: &[(u64, u64)], flag: u8| {
        let map: String = regions.iter().map(|(offset, length)| region(*offset, *length)).collect();
        let mut block = [0; 512];
        block[..map.len()].copy_from_slice(map.as_bytes());
        block[504] = flag;
        block
    };
    let start = || old_sparse(&[(0, 1), (2, 1), (4, 1), (6, 1)], 12, 6).with(482, [1]);
    let blocks = start().raw(more(&[(8, 1)], 1)).raw(more(&[(10, 1), (12, 0)], 0));
    check(blocks.clone().data("abcdef").file("y", "").end(), &["f s=a.b.c.d.e.f.", "f y="]);
    let full: Vec<_> = (0..21).map(|i| (2 * i, 1)).collect();
    let full = old_sparse(&[], 42, 21).with(482, [1]).raw(more(&full, 0)).data("abcdefghijklmnopqrstu").end();
    check(full, &["f s=a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u."]);
    check(start(), &["tar header at 512: stream ends after 0 of its bytes"]);
    // The bad map is read to its end, or the next header would not be found.
    let bad = start().raw(more(&[(5, 1)], 1)).raw(more(&[(10, 1)], 0)).data("abcdef").file("y", "").end();
    check(bad, &["! s at 0: malformed sparse map: regions overlap or go backwards", "f y="]);
}

#[test]
fn sparse_maps_that_are_bad() {
    let overlap = "regions overlap or go backwards";
    let beyond = "region beyond the end of the file";
    for (regions, why) in [
        (&[(0, 2), (1, 2)][..], overlap),
        (&[(4, 1), (0, 1)], overlap),
        (&[(4, 2)], beyond),
        (&[(6, 0)], beyond),
        (&[(0, 5)], "more data mapped than stored"),
    ] {
        let line = format!("! s at 0: malformed sparse map: {why}");
        check(old_sparse(regions, 5, 3).data("abc").file("y", "").end(), &[&line, "f y="]);
    }
    let line = "! s at 0: malformed sparse map: not a number";
    check(old_sparse(&[(0, 1)], 5, 1).with(386, [0xff; 12]).data("a").file("y", "").end(), &[line, "f y="]);
    let line = "! s at 0: malformed sparse map: size is not a number";
    check(old_sparse(&[(0, 1)], 5, 1).with(483, [0xff; 12]).data("a").file("y", "").end(), &[line, "f y="]);
}

#[test]
fn sparse_pax() {
    let s = |records: &[&str], stored: &str| {
        tar()
            .pax(records)
            .head(b'0', "GNUSparseFile.1/s", stored.len() as u64)
            .data(stored)
            .file("y", "1")
            .end()
    };
    let zero =
        ["GNU.sparse.size=10", "GNU.sparse.numblocks=2", "GNU.sparse.offset=2", "GNU.sparse.numbytes=3"];
    let zero = [&zero[..], &["GNU.sparse.offset=7", "GNU.sparse.numbytes=2", "path=s"]].concat();
    check(s(&zero, "abcde"), &["f s=..abc..de.", "f y=1"]);
    let one = ["GNU.sparse.size=10", "GNU.sparse.numblocks=2", "GNU.sparse.map=2,3,7,2", "GNU.sparse.name=s"];
    check(s(&one, "abcde"), &["f s=..abc..de.", "f y=1"]);
    let versioned = [&["GNU.sparse.major=0", "GNU.sparse.minor=1"], &one[..]].concat();
    check(s(&versioned, "abcde"), &["f s=..abc..de.", "f y=1"]);
    check(s(&["GNU.sparse.size=5", "GNU.sparse.map=", "GNU.sparse.name=s"], ""), &["f s=.....", "f y=1"]);
    check(s(&["GNU.sparse.name=s"], "abc"), &["f s=abc", "f y=1"]);
    check(s(&["path=s", "GNU.sparse.name="], "abc"), &["f s=abc", "f y=1"]);

    let bad = |records: &[&str], why: &str| {
        let tar = s(&[&["path=s"], records].concat(), "abcde");
        let at = tar.headers[1];
        check(tar, &[&format!("! s at {at}: malformed sparse map: {why}"), "f y=1"]);
    };
    let size = "GNU.sparse.size=10";
    bad(&["GNU.sparse.map=0,1"], "no size given");
    bad(&[size, "GNU.sparse.major=0", "GNU.sparse.minor=1"], "no map");
    bad(&[size, "GNU.sparse.map=0,1,2"], "offset without a length");
    bad(&[size, "GNU.sparse.map=0,1", "GNU.sparse.numblocks=2"], "number of regions is not as stated");
    bad(&[size, "GNU.sparse.map=0,x"], "not a number");
    bad(&[size, "GNU.sparse.map=0,2,1,2"], "regions overlap or go backwards");
    bad(&[size, "GNU.sparse.map=9,2"], "region beyond the end of the file");
    bad(&[size, "GNU.sparse.map=0,6"], "more data mapped than stored");
    bad(&[size, "GNU.sparse.map=18446744073709551615,2"], "region too large");
    bad(&[size, "GNU.sparse.numbytes=1", "GNU.sparse.offset=1"], "offset and length do not alternate");
    bad(&[size, "GNU.sparse.major=2", "GNU.sparse.minor=0"], "unknown version");
    bad(&["GNU.sparse.size=-1"], "size out of range");
    bad(&["GNU.sparse.size=9223372036854775808", "GNU.sparse.map=0,1"], "size out of range");
}

#[test]
fn sparse_pax_with_the_map_in_the_data() {
    let s = |map: &str, stored: &str| {
        let mut data = tar().data(map).raw(stored).bytes;
        data.truncate(data.len().max(map.len()));
        let records =
            ["GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.realsize=10", "GNU.sparse.name=s"];
        tar().pax(&records).head(b'0', "x", data.len() as u64).data(data).file("y", "1").end()
    };
    check(s("2\n2\n3\n7\n2\n", "abcde"), &["f s=..abc..de.", "f y=1"]);
    check(s("0\n", ""), &["f s=..........", "f y=1"]);
    let padded = format!("2\n{}2\n3\n7\n2\n", "0".repeat(600));
    check(s(&padded, "abcde"), &["f s=..abc..de.", "f y=1"]);

    let bad = |map: &str, why: &str| {
        check(s(map, "abcde"), &[&format!("! s at 1024: {why}"), "f y=1"]);
    };
    bad("x\n", "malformed sparse map: not a number");
    bad("\n", "malformed sparse map: not a number");
    bad("1\n2\n", "malformed sparse map: not a number");
    bad("99999999999999999999\n", "malformed sparse map: not a number");
    bad("1048577\n", "sparse file of more than 1048576 regions");
    bad("2\n0\n3\n2\n2\n", "malformed sparse map: regions overlap or go backwards");
    bad("1\n0\n6\n", "malformed sparse map: more data mapped than stored");
    bad("1\n9\n2\n", "malformed sparse map: region beyond the end of the file");
    let cut = "malformed sparse map: map does not end";
    for data in ["", "2\n", "1\n2\n3\n"] {
        let records = ["GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.realsize=10", "path=s"];
        let tar = tar().pax(&records).head(b'0', "x", data.len() as u64).data(data).file("y", "1").end();
        check(tar, &[&format!("! s at 1024: {cut}"), "f y=1"]);
    }
}
