//! Archives built block by block, row by row of what tar writers do and what hostile ones could.

mod hostile;
mod kit;
mod pax;
mod sparse;

use super::*;
use kit::*;

#[test]
fn types() {
    for (flag, expected) in [(b'0', "f x="), (0, "f x="), (b'7', "f x="), (b'5', "d x"), (b'6', "p x")] {
        check(tar().head(flag, "x", 0).end(), &[expected]);
    }
    check(tar().head(b'7', "x", 3).data("abc").end(), &["f x=abc"]);
    check(tar().head(b'D', "d/", 5).data("Yf\0\0\0").file("d/f", "1").end(), &["d d/", "f d/f=1"]);
    check(tar().head(b'V', "label", 0).file("x", "1").end(), &["f x=1"]);
    check(
        tar().head(b'Z', "x", 3).data("abc").file("y", "").end(),
        &["? x at 0: unknown member type Z, read as a regular file", "f x=abc", "f y="],
    );
    check(
        tar().head(b's', "x", 0).end(),
        &["? x at 0: unknown member type s, read as a regular file", "f x="],
    );
    for flag in ['M', 'N'] {
        let line = format!("! x at 0: member of type '{flag}', which is no file of its own");
        check(tar().head(flag as u8, "x", 3).data("abc").file("y", "").end(), &[&line, "f y="]);
    }
}

#[test]
fn old_directories_are_files_with_a_slash() {
    for flag in [b'0', 0] {
        check(tar().head(flag, "x/", 0).file("x/y", "f").end(), &["d x/", "f x/y=f"]);
        check(
            tar().head(flag, "x/", 4).data("data").end(),
            &["? x/ at 0: file with data whose name ends in a slash", "f x/=data"],
        );
    }
    check(tar().head(b'5', "x", 0).file("x/y", "f").end(), &["d x", "f x/y=f"]);
}

#[test]
fn links() {
    check(
        tar().head(b'2', "s", 0).link("/a/../b").head(b'1', "h", 0).link("s").end(),
        &["l s->/a/../b", "h h=>s"],
    );
    check(tar().head(b'2', "s", 0).link(&"t".repeat(100)).end(), &[&format!("l s->{}", "t".repeat(100))]);
    let long = "t".repeat(4095);
    let k = tar().extended(b'K', format!("{long}\0")).head(b'2', "s", 0).link("short").end();
    check(k, &[&format!("l s->{long}")]);
    check(
        tar().pax(&[&format!("linkpath={long}")]).head(b'2', "s", 0).link("short").end(),
        &[&format!("l s->{long}")],
    );
    for flag in [b'1', b'2'] {
        check(tar().head(flag, "s", 0).file("x", "1").end(), &["! s at 0: link without a target", "f x=1"]);
    }
}

#[test]
fn devices() {
    let device = |flag, major: &str, minor: &str| tar().head(flag, "n", 0).with(329, major).with(337, minor);
    check(device(b'3', "0000001\0", "0000003\0").end(), &["c n 1:3"]);
    check(device(b'4', "0000010\0", "0000001\0").end(), &["b n 8:1"]);
    check(device(b'3', "0007777\0", "3777777\0").end(), &["c n 4095:1048575"]);
    check(device(b'3', "       \0", "\0").end(), &["c n 0:0"]);
    let minor = |bytes| tar().head(b'3', "n", 0).with(337, bytes);
    check(minor(b"\x80\0\0\0\xff\xff\xff\xff").end(), &["c n 0:4294967295"]);
    check(
        minor(b"\x80\0\0\x01\0\0\0\0").file("x", "").end(),
        &["! n at 0: device number is not a number in range", "f x="],
    );
    // What a device number does on a file is nothing, whatever it is.
    check(tar().head(b'0', "x", 0).with(329, "0000001\0junk").end(), &["f x="]);
    let record = tar().pax(&["SCHILY.devmajor=1", "SCHILY.devminor=1048577"]);
    check(record.head(b'3', "n", 0).with(337, "7777777").end(), &["c n 1:1048577"]);
    let record = || tar().pax(&["SCHILY.devmajor=x"]);
    let told = "! n at 1024: device number is not a number in range";
    check(record().head(b'3', "n", 0).file("x", "").end(), &[told, "f x="]);
    check(record().file("x", "").end(), &["f x="]);
    // v7 has no such fields.
    check(tar().head(b'3', "n", 0).with(257, [0; 8]).with(329, "junk").end(), &["c n 0:0"]);
}

#[test]
fn a_header_or_data_behind_what_has_none() {
    let stray = "5 bytes of data behind a member that has none";
    for (flag, line) in [(b'5', "d x"), (b'1', "h x=>t"), (b'2', "l x->t"), (b'6', "p x"), (b'3', "c x 0:0")]
    {
        let head = || tar().head(flag, "x", 5).link("t");
        let told = format!("? x at 0: {stray}");
        check(head().data("hello").file("y", "1").end(), &[line, &told, "f y=1"]);
        check(head().raw("hello"), &[line, &told]);
        check(head().file("y", "1").end(), &[line, "f y=1"]);
        check(head().end(), &[line]);
        check(head(), &[line]);
    }
    check(
        tar().head(b'5', "x", 1025).data([b'a'; 1025]).file("y", "1").end(),
        &["d x", "? x at 0: 1025 bytes of data behind a member that has none", "f y=1"],
    );
    check(
        tar().head(b'5', "x", 1025).raw([b'a'; 1024]),
        &[
            "d x",
            "? x at 0: 1025 bytes of data behind a member that has none",
            "tar member at 0: stream ends 1 bytes before its data does",
        ],
    );
    // An explicit size is believed, even where the data are an archive.
    let inner = tar().file("inner", "");
    check(
        tar().pax(&["size=512"]).head(b'1', "x", 0).link("t").raw(&inner.bytes).file("y", "1").end(),
        &["? x at 1024: 512 bytes of data behind a member that has none", "h x=>t", "f y=1"],
    );
}

/// A link whose data were all NULs ended the archive, and what came behind was missing without a word.
#[test]
fn zeros_behind_what_has_none_are_its_end_or_its_data() {
    let head = |size| tar().head(b'1', "b", size).link("a");
    let told = |size: u64| format!("? b at 0: {size} bytes of data behind a member that has none");
    for size in [3, 512, 600, 1500] {
        let zeros = vec![0; size as usize];
        check(head(size).data(&zeros).file("z", "1").end(), &["h b=>a", &told(size), "f z=1"]);
        // An archive's end, however long: zeros, nothing, or what is no header behind.
        for end in [0, 512, 1024, 4096] {
            check(head(size).raw(vec![0; end]), &["h b=>a"]);
        }
        check(head(size).raw([0; 10_240]).raw(b"junk"), &["h b=>a"]);
        check(head(size).raw([0; 10_240]).data(b"junk").file("z", "1"), &["h b=>a"]);
    }
    // Data that begin with zeros, and go on.
    let mut data = vec![0; 1024];
    data.extend(b"then this");
    check(head(1033).data(&data).file("z", "1").end(), &["h b=>a", &told(1033), "f z=1"]);
    check(head(1033).raw(&data), &["h b=>a", &told(1033)]);
    let cut = "tar member at 0: stream ends 7 bytes before its data does";
    check(head(1040).raw(&data), &["h b=>a", &told(1040), cut]);
    check(head(2000).data(&data).data([0; 464]).file("z", "1").end(), &["h b=>a", &told(2000), "f z=1"]);
    // Another archive behind this one's end is none of its data, unless it stands just where those would end.
    check(head(5000).end().file("z", "1").end(), &["h b=>a"]);
    check(head(1500).raw([0; 512]).file("z", "1").end(), &["h b=>a"]);
}

#[test]
fn names() {
    for name in ["../e", "/../../c", "a//b", "./a/./c", "a\nb", "a\\b", "\"*:", "", "."] {
        let shown = name.as_bytes().escape_ascii();
        check(tar().file(name, "1").end(), &[&format!("f {shown}=1")]);
    }
    check(tar().head(b'0', "x", 0).with(0, b"\xe9").end(), &["f \\xe9="]);
    let full = "n".repeat(100);
    check(tar().file(&full, "1").end(), &[&format!("f {full}=1")]);
    // Behind a NUL there may be anything.
    check(tar().head(b'0', "x\0junk", 0).end(), &["f x="]);
}

#[test]
fn prefixes() {
    check(tar().head(b'0', "b", 0).with(345, "a/a").end(), &["f a/a/b="]);
    let full = "p".repeat(155);
    check(tar().head(b'0', "b", 0).with(345, &full).end(), &[&format!("f {full}/b=")]);
    check(tar().head(b'0', "b", 0).gnu().with(345, "14130612002\0").end(), &["f b="]);
    check(tar().head(b'0', "b", 0).gnu().with(345, "junk").end(), &["f junk/b="]);
    check(tar().head(b'0', "b", 0).gnu().with(345, [b'j', 0xff]).end(), &["f b="]);
    check(tar().head(b'0', "b", 0).with(257, [0; 8]).with(345, "junk").end(), &["f b="]);
    let times = |tar: Tar| tar.with(476, "07346545000 ").with(488, "07346545000 ");
    let prefix = "p".repeat(130);
    check(times(tar().head(b'0', "b", 0).with(345, &prefix)).end(), &[&format!("f {prefix}/b=")]);
    let prefix = "p".repeat(131);
    let signed = tar().head(b'0', "b", 0).with(345, &prefix).with(508, "tar\0");
    check(times(signed).end(), &[&format!("f {prefix}/b=")]);
}

#[test]
fn gnu_long_names() {
    let long = "n".repeat(271);
    let named = |content: &str| tar().extended(b'L', content).head(b'0', "short", 0).end();
    check(named(&format!("{long}\0")), &[&format!("f {long}=")]);
    check(named(&long), &[&format!("f {long}=")]);
    check(named("before\0behind"), &["f before="]);
    let twice = tar().extended(b'L', "one").extended(b'K', "t1").extended(b'L', "two").extended(b'K', "t2");
    check(twice.head(b'2', "s", 0).end(), &["l two->t2"]);
    check(tar().extended(b'L', "one").pax(&["path=two"]).head(b'0', "s", 0).end(), &["f two="]);
    let deep = "d/".repeat(3000);
    check(named(&format!("{deep}f\0")), &[&format!("f {deep}f=")]);
    check(named(&"n".repeat(MAX_NAME)), &[&format!("f {}=", "n".repeat(MAX_NAME))]);
    let cut = "n".repeat(MAX_NAME);
    check(
        tar().extended(b'L', "n".repeat(MAX_NAME + 1)).head(b'0', "s", 0).file("x", "").end(),
        &[&format!("! {cut} at 66560: path longer than 65536 bytes"), "f x="],
    );
    let link = tar().extended(b'K', "n".repeat(MAX_NAME + 1)).head(b'2', "s", 0).file("x", "").end();
    check(link, &["! s at 66560: link target longer than 65536 bytes", "f x="]);
}

#[test]
fn numbers() {
    let x = |offset, bytes: &[u8]| tar().head(b'0', "x", 0).with(offset, bytes).end();
    check(x(100, b"0104755\0"), &["f x= mode=4755"]);
    check(x(100, b"041777 \0"), &["f x= mode=1777"]);
    check(x(100, b"0000000\0"), &["f x= mode=0"]);
    check(x(108, b"   10 \0\0  20 \0"), &["f x= own=8:16"]);
    check(x(108, b"        \0\0\0\0\0\0\0\0"), &["f x="]);
    check(x(108, b"\x80\0\0\0\0\x2d\xc6\xc0\x80\0\0\0\x80\0\0\0"), &["f x= own=3000000:2147483648"]);
    check(x(136, b"07346545000\0"), &["f x= time=1000000000+0"]);
    check(x(136, &[0xff; 12]), &["f x= time=-1+0"]);
    check(x(136, b"\x80\0\0\0\0\0\0\x17\x48\x76\xe7\xff"), &["f x= time=99999999999+0"]);
    check(x(124, b"\x80\0\0\0\0\0\0\0\0\0\0\0"), &["f x="]);

    let bad = |offset, bytes: &[u8], what: &str| {
        let line = format!("! x at 0: {what} is not a number in range");
        check(tar().file("x", "abc").with(offset, bytes).file("y", "1").end(), &[&line, "f y=1"]);
    };
    bad(100, b"999", "mode");
    bad(108, b"junk", "uid");
    bad(108, &[0xff; 8], "uid");
    bad(116, b"\x80\0\0\x01\0\0\0\0", "gid");
    bad(136, b"\x80\0\0\0\x80\0\0\0\0\0\0\0", "mtime");
}

#[test]
fn a_size_that_means_nothing_ends_it() {
    let end = "tar header at 1024: size is not a number in range";
    for size in [[0xff; 12], *b"\x80\0\0\0\x80\0\0\0\0\0\0\0", *b"-0000000001\0", *b"junk\0\0\0\0\0\0\0\0"] {
        let size = tar().file("x", "1").head(b'0', "y", 0).with(124, size).file("z", "");
        check(size.end(), &["f x=1", end]);
    }
    let end = "tar header at 2048: size is not a number in range";
    for size in ["-1", "junk", "9223372036854775808", "99999999999999999999"] {
        let size = tar().file("x", "1").pax(&[&format!("size={size}")]).file("y", "1").end();
        check(size, &["f x=1", end]);
    }
    let most = tar().pax(&["size=9223372036854775807"]).head(b'0', "y", 0);
    check(
        most,
        &[
            "f y 9223372036854775807 [(0, 1536, 9223372036854775807)]",
            "tar member at 1024: stream ends 9223372036854775807 bytes before its data does",
        ],
    );
}

#[test]
fn checksums() {
    check(tar().head(b'0', "x", 0).with(0, b"\xff\xfe").end(), &["f \\xff\\xfe="]);
    // The same header, summed as signed bytes.
    let mut signed = tar().head(b'0', "x", 0).with(0, b"\xff\xfe");
    let sum =
        signed.bytes[..148].iter().chain(&signed.bytes[156..]).map(|b| i64::from(*b as i8)).sum::<i64>();
    signed.bytes[148..156].copy_from_slice(format!("{:06o}\0 ", sum + 256).as_bytes());
    check(signed.end(), &["f \\xff\\xfe="]);

    let mut bad = tar().file("x", "1").file("y", "1").file("z", "1").end();
    bad.bytes[1024] = b'q';
    check(bad, &["f x=1", "tar header at 1024: wrong checksum"]);
    check(tar().raw([b'a'; 512]), &["tar header at 0: wrong checksum"]);
}

#[test]
fn ends() {
    check(tar(), &[]);
    check(tar().raw([0; 512]), &[]);
    check(tar().raw([0; 10240]), &[]);
    let x = || tar().file("x", "abc");
    for end in [0, 100, 512, 1024, 10240] {
        check(x().raw(vec![0; end]), &["f x=abc"]);
    }
    check(x().raw([0; 512]).file("y", "").end(), &["f x=abc"]);
    check(x().end().raw("garbage").raw([b'g'; 600]), &["f x=abc"]);
    check(x().end().file("y", "").end(), &["f x=abc"]);
    check(x().head(b'0', "y", 3).raw("abc"), &["f x=abc", "f y=abc"]);
    check(x().head(b'0', "y", 3).raw("abc\0\0"), &["f x=abc", "f y=abc"]);
    let cut = "tar member at 1024: stream ends 1 bytes before its data does";
    check(x().head(b'0', "y", 3).raw("ab"), &["f x=abc", "f y=ab#", cut]);
    let cut = "tar header at 1024: stream ends after 7 of its bytes";
    check(x().raw("garbage"), &["f x=abc", cut]);
    let cut = "tar member at 1024: stream ends 1 bytes before its data does";
    check(x().head(b'x', "y", 3).raw("ab"), &["f x=abc", cut]);
}

#[test]
fn data_need_not_be_shown() {
    let archive =
        tar().file("a", &"x".repeat(100_000)).file("b", &"y".repeat(50_001)).end().raw([7; 100_000]);
    let (events, result, shown) = parse_skipping(&archive.bytes, 512);
    assert_eq!((events, result), parse(&archive.bytes, &[usize::MAX]));
    assert_eq!(shown, 3 * 512, "two headers and the end");
    let cut = parse_skipping(&archive.bytes[..5_000], 512);
    assert_eq!(cut.1, Err(TarError::DataCut { at: 0, missing: 100_512 - 5_000 }));
}
