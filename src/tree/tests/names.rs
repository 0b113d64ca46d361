//! Names: cleaning, limits, bytes.

use super::super::*;
use super::kit::{check, flawed};

#[test]
fn names_are_cleaned_inside_the_root() {
    let dots = |path: &str| format!("0:{path}:DotDot");
    flawed(&["../e a/../b /../../c"], "b c e", &[&dots("../e"), &dots("a/../b"), &dots("/../../c")]);
    check(&["/etc/p a//b ./a/./c x/=data"], "a/ a/b a/c etc/ etc/p x=data");
}

#[test]
fn names_are_bytes() {
    check(&["Foo foo Dir/ dir/ .WH.x"], ".WH.x Dir/ Foo dir/ foo");
    check(&["e\u{301} \u{e9}"], "e\\xcc\\x81 \\xc3\\xa9");
    let odd: [&[u8]; 6] = [b"\xe9", b"a\nb", b"t\tb", b"back\\slash", b"q\"'*:", b" "];
    let mut records = Records::new();
    for name in odd {
        records.push(&file(name)).unwrap();
    }
    let (tree, problems) = build_rootfs([records]);
    assert_eq!(problems, []);
    for name in odd {
        assert!(tree.child(tree.root(), name).is_some(), "{}", name.escape_ascii());
    }
    assert_eq!(tree.children(tree.root()).len(), odd.len());
}

#[test]
fn components_of_255_bytes_are_served_and_no_longer_ones() {
    let name = "n".repeat(255);
    check(&[&format!("{name} d/{name}/x")], &format!("d/ d/{name}/ d/{name}/x {name}"));
    let long = "n".repeat(256);
    flawed(
        &[&format!("x {long} d/{long}/x {long}=>x")],
        "x",
        &[&format!("0:{long}:Name"), &format!("0:d/{long}/x:Name"), &format!("0:{long}:Name")],
    );
    flawed(&[&format!("s->{long} s/x")], &format!("s->{long}"), &["0:s/x:Name"]);
    let mut records = Records::new();
    records.push(&file(b"a\0b")).unwrap();
    let (tree, problems) = build_rootfs([records]);
    assert_eq!((tree.entry_count(), &problems[0].what), (0, &Complaint::Name(NameError::Nul)));
}

#[test]
fn symbolic_links_keep_their_targets() {
    for target in ["/etc", "../../..", "s", "nowhere", "a//b/./", &"t".repeat(4095)] {
        check(&[&format!("s->{target}")], &format!("s->{target}"));
    }
    flawed(&["s-> x"], "x", &["0:s:EmptyTarget"]);
    flawed(&[&format!("d/s->{} x", "t".repeat(4096))], "x", &["0:d/s:LongTarget"]);
}

#[test]
fn deep_trees_work_without_recursion() {
    let deep = "d/".repeat(3000);
    let lower = format!("{deep}f keep");
    let (tree, problems) = build_rootfs([super::kit::layer(&lower)]);
    assert_eq!(problems, []);
    let mut dir = tree.root();
    for _ in 0..3000 {
        dir = tree.child(dir, b"d").unwrap();
    }
    assert!(tree.child(dir, b"f").is_some());
    drop(tree);
    check(&[&lower, ".wh.d"], "keep");
    check(&[&lower, "d=file"], "d=file keep");
    check(&[&lower, ".wh..wh..opq"], "");
    let very_deep = "d/".repeat(1_000_000);
    check(&[&format!("{very_deep}f"), ".wh.d"], "");
}

fn file(path: &[u8]) -> Record<'_> {
    Record {
        path,
        kind: RecordKind::Regular,
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: Time::default(),
        size: 0,
        extents: &[],
        xattrs: &[],
        header_offset: 0,
    }
}
