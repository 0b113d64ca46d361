//! Extended headers and attributes.

use super::super::*;
use super::kit::*;

#[test]
fn pax_records() {
    check_file(
        tar().pax(&["path=long", "uid=3000000", "gid=4294967295", "mtime=1.000000002"]),
        &["f long=abc own=3000000:4294967295 time=1+2"],
    );
    check_file(tar().pax(&["mtime=-5.5", "atime=1", "ctime=x"]), &["f x=abc time=-6+500000000"]);
    check_file(tar().pax(&["mtime=99999999999"]), &["f x=abc time=99999999999+0"]);
    check_file(tar().pax(&["path=", "uid=", "size=", "mtime="]), &["f x=abc"]);
    check_file(tar().pax(&["path=a", "path="]), &["f x=abc"]);
    check_file(
        tar().pax(&["comment=a=b", "GOLANG.pkg=tar", "uname=root", "hdrcharset=BINARY"]),
        &["f x=abc"],
    );
    check_file(tar().pax(&["path=a", "uid=1"]).pax(&["gid=2", "path=b"]), &["f b=abc own=1:2"]);
    check_file(tar().extended(b'X', record(b"path=solaris")), &["f solaris=abc"]);
    check_file(tar().extended(b'x', ""), &["f x=abc"]);
    check_file(tar().extended(b'x', [&record(b"uid=1")[..], &[0; 20]].concat()), &["f x=abc own=1:0"]);
    check_file(tar().extended(b'g', record(b"mtime=5")), &["f x=abc"]);
    check_file(tar().pax(&["uid=1"]).extended(b'g', "junk"), &["f x=abc own=1:0"]);
    // What is said before one member does not count for the next.
    check(tar().pax(&["uid=1"]).file("x", "").file("y", "").end(), &["f x= own=1:0", "f y="]);
    check(tar().pax(&["path=d/"]).head(b'0', "x", 0).end(), &["d d/"]);
}

#[test]
fn pax_size_leads_on() {
    let data = tar().file("smuggled", "").bytes;
    let smuggled = tar().pax(&["size=512"]).head(b'0', "x", 0).raw(&data).file("y", "").end();
    check(smuggled, &["f x 512 [(0, 1536, 512)]", "f y="]);
    check(tar().pax(&["size=1"]).head(b'0', "x", 3).data("abc").file("y", "").end(), &["f x=a", "f y="]);
}

#[test]
fn pax_records_that_are_bad() {
    let bad = |content: &[u8], what: &str| {
        check_file(tar().extended(b'x', content), &[&format!("! x at 1024: {what}")]);
    };
    bad(b"junk", "malformed PAX header: bad record length");
    bad(b"0 a=b\n", "malformed PAX header: bad record length");
    bad(b"1 a=b\n", "malformed PAX header: bad record length");
    bad(b"2 a=b\n", "malformed PAX header: bad record length");
    bad(b"3 a=b\n", "malformed PAX header: record without a newline");
    bad(b"99 a=b\n", "malformed PAX header: bad record length");
    bad(b"-6 a=b\n", "malformed PAX header: bad record length");
    bad(b"18446744073709551617 a=b\n", "malformed PAX header: bad record length");
    bad(b"00000000000000000000000000000000007 a=b\n", "malformed PAX header: bad record length");
    bad(b"6 a=bc", "malformed PAX header: record without a newline");
    bad(b"6 abc\n", "malformed PAX header: record without =");
    bad(b"5 =b\n", "malformed PAX header: record without a key");
    bad(&record(b"a\0=b"), "malformed PAX header: key with a NUL byte");
    bad(&record(b"SCHILY.xattr.user\0=b"), "malformed PAX header: key with a NUL byte");
    bad(&record(b"mtime=1.2.3"), "mtime is not a number in range");
    bad(&record(b"uid=4294967296"), "uid is not a number in range");
    bad(&record(b"gid=-1"), "gid is not a number in range");
    check_file(tar().pax(&["path=a\0b"]), &["! a\\x00b at 1024: path contains a NUL byte"]);
    let link = tar().pax(&["linkpath=a\0b"]).head(b'2', "s", 0).link("t").file("x", "").end();
    check(link, &["! s at 1024: link target contains a NUL byte", "f x="]);
    // The size counts all the same.
    let size = tar().pax(&["uid=x", "size=3"]).head(b'0', "x", 0).data("abc").file("y", "").end();
    check(size, &["! x at 1024: uid is not a number in range", "f y="]);
}

#[test]
fn extended_headers_without_a_member() {
    let line = "! p at 0: extended header that belongs to no member";
    check(tar().pax(&["path=p"]), &[line]);
    check(tar().pax(&["path=p"]).end(), &[line]);
    check(tar().extended(b'L', "p").end(), &[line]);
    check(tar().extended(b'K', "p"), &["! - at 0: extended header that belongs to no member"]);
}

#[test]
fn extended_headers_that_are_too_long() {
    let long = MAX_RECORDS as usize + 1;
    for flag in [b'x', b'L', b'K'] {
        let line = "! x at 1049600: extended header of 1048577 bytes, longer than 1048576";
        check_file(tar().extended(flag, vec![b'a'; long]), &[line]);
    }
    // Nobody reads a global one, so its length does not matter.
    check_file(tar().extended(b'g', vec![b'a'; long]), &["f x=abc"]);
    let claimed = tar().head(b'x', "x", 1 << 32);
    check(claimed, &["tar member at 0: stream ends 4294967296 bytes before its data does"]);
}

#[test]
fn xattrs() {
    let x = "SCHILY.xattr.";
    check_file(
        tar().pax(&[&format!("{x}user.foo=b=r"), &format!("{x}trusted.overlay.opaque=y")]),
        &["f x=abc trusted.overlay.opaque=y user.foo=b=r"],
    );
    check_file(
        tar().extended(b'x', record(b"SCHILY.xattr.security.capability=\x01\0\0\x02\n\xff")),
        &["f x=abc security.capability=\\x01\\x00\\x00\\x02\\n\\xff"],
    );
    check_file(tar().pax(&[&format!("{x}user.a=1"), &format!("{x}user.a=2")]), &["f x=abc user.a=2"]);
    check_file(tar().pax(&[&format!("{x}user.empty=")]), &["f x=abc user.empty="]);
    check_file(tar().pax(&["LIBARCHIVE.xattr.user.%6cib=YmF6"]), &["f x=abc user.lib=baz"]);
    check_file(
        tar().pax(&["LIBARCHIVE.xattr.user.a=YmE", "LIBARCHIVE.xattr.user.b=YmE="]),
        &["f x=abc user.a=ba user.b=ba"],
    );
    for order in [
        ["SCHILY.xattr.user.a=1", "LIBARCHIVE.xattr.user.a=Mg"],
        ["LIBARCHIVE.xattr.user.a=Mg", "SCHILY.xattr.user.a=1"],
    ] {
        check_file(tar().pax(&order), &["f x=abc user.a=1"]);
    }
    let link = tar().pax(&["SCHILY.xattr.user.a=1"]).head(b'2', "s", 0).link("t").end();
    check(link, &["l s->t user.a=1"]);
}

#[test]
fn xattrs_that_cannot_be() {
    let left_out = |records: &[&str], why: &str| {
        let records = [records, &["SCHILY.xattr.user.ok=1"]].concat();
        let line = format!("extended attribute left out: {why}");
        let tar = tar().pax(&records).file("x", "abc").end();
        let at = tar.headers[1];
        check(tar, &[&format!("? x at {at}: {line}"), "f x=abc user.ok=1"]);
    };
    left_out(&["SCHILY.xattr.=1"], "malformed name");
    left_out(&["LIBARCHIVE.xattr.a%00=Mg"], "malformed name");
    left_out(&["LIBARCHIVE.xattr.a%0=Mg"], "malformed name");
    left_out(&["LIBARCHIVE.xattr.a=?"], "value is not base64");
    left_out(&[&format!("SCHILY.xattr.{}=1", "n".repeat(256))], "name too long");
    left_out(&[&format!("SCHILY.xattr.a={}", "v".repeat(65537))], "value too long");
    let most = format!("f x= {}={}", "n".repeat(255), "v".repeat(65536));
    let record = format!("SCHILY.xattr.{}={}", "n".repeat(255), "v".repeat(65536));
    check(tar().pax(&[&record]).file("x", "").end(), &[&most]);
}

#[test]
fn xattrs_without_end_are_bounded() {
    let count = |tar: Tar| {
        let (events, _) = parse(&tar.bytes, &[usize::MAX]);
        let [Event::Problem(problem), Event::Entry(entry)] = &events[..] else { panic!("{}", events.len()) };
        assert_eq!(problem.what, Fault::Xattr("too many"));
        let bytes = |x: &(Vec<u8>, Vec<u8>)| x.0.len() + x.1.len();
        (entry.xattrs.len(), entry.xattrs.iter().map(bytes).sum::<usize>())
    };
    let many = (0..20000).map(|i| format!("SCHILY.xattr.{i:07}=")).collect::<Vec<_>>();
    let many: Vec<_> = many.iter().map(|text| &text[..]).collect();
    assert_eq!(count(tar().pax(&many).file("x", "").end()), (65536 / 8, 65536 / 8 * 7));
    // The same name over and over is not kept over and over, so the last value comes too late.
    let same = vec!["SCHILY.xattr.a=1"; 40000];
    let same = tar().pax(&same).pax(&same).pax(&["SCHILY.xattr.a=late"]).file("x", "").end();
    assert_eq!(count(same), (1, 2));
    let mut long = tar();
    for i in 0..20 {
        long = long.pax(&[&format!("SCHILY.xattr.{i:04}={}", "v".repeat(65532))]);
    }
    assert_eq!(count(long.file("x", "").end()), (16, MAX_XATTR_BYTES));
}
