//! What later layers delete, hide and replace, layer by layer.

use super::super::builder::Limits;
use super::super::lost::build_lost_within;
use super::super::*;
use super::kit::{layer, render, sparse};

/// Checks what each of some layers brought and the root filesystem does not show.
#[track_caller]
fn check(layers: &[&str], expected: &[&str]) {
    let lost = build_lost(layers.iter().map(|words| layer(words))).unwrap();
    assert_eq!(lost.iter().map(render).collect::<Vec<_>>(), expected, "{layers:?}");
}

#[test]
fn nothing_goes_where_nothing_is_deleted() {
    check(&[], &[]);
    check(&["a=x d/ d/b=y"], &[""]);
    check(&["a=x", "b=y", "c=z"], &["", "", ""]);
}

#[test]
fn what_is_whited_out_is_with_the_layer_that_brought_it() {
    check(&["etc/ etc/secret=key etc/motd=hi", "etc/.wh.secret"], &["etc/ etc/secret=key", ""]);
    check(&["a=0", "a=1", ".wh.a"], &["a=0", "a=1", ""]);
    check(&["d/ d/a=0", "d/b=1", ".wh.d"], &["d/ d/a=0", "d/ d/b=1", ""]);
    check(&["a=0", ".wh.b"], &["", ""]);
}

#[test]
fn an_opaque_directory_hides_what_was_below_it() {
    check(&["d/ d/e/ d/e/a=0 d/b=0", "d/.wh..wh..opq d/b=1"], &["d/ d/b=0 d/e/ d/e/a=0", ""]);
    check(&["a=0", ".wh..wh..opq a=1"], &["a=0", ""]);
    check(&["d/ d/e/ d/e/a=0", "d/.wh..wh..opq d/e/.wh..wh..opq d/e/.wh.a"], &["d/ d/e/ d/e/a=0", ""]);
}

#[test]
fn what_a_later_layer_replaces_is_not_shown_any_more() {
    check(&["a=0", "a=1", "a=2"], &["a=0", "a=1", ""]);
    check(&["a=0", "a/"], &["a=0", ""]);
    check(&["a=0", "a/b=1"], &["a=0", ""]);
    check(&["d/ d/a=0 d/e/ d/e/b=0", "d=1"], &["d/ d/a=0 d/e/ d/e/b=0", ""]);
    check(&["s->x n%c1:3 p%p", ".wh.s .wh.n .wh.p"], &["n%c1:3 p%p s->x", ""]);
}

#[test]
fn directories_are_there_to_lead_to_files_only() {
    check(&["d/ d/e/", ".wh.d"], &["", ""]);
    check(&["d/@0700 d/a=0", "d/@0711"], &["", ""]);
    // With the attributes they had last.
    check(&["d/@0700 d/a=0", "d/@0711,3:4", "d/.wh.a"], &["d/@0711,3:4 d/a=0", "", ""]);
    check(&["d/@0700 d/a=0@0600,user.x=1", ".wh.d", "d/@0711"], &["d/@0700 d/a=0@0600,user.x=1", "", ""]);
    check(&["/@0700 a=0", ".wh.a"], &["/@0700 a=0", "/@0700"]);
}

#[test]
fn what_a_layer_itself_takes_back_was_never_there() {
    check(&["a=0 a=1", ".wh.a"], &["a=1", ""]);
    check(&["", "d/ d/a=0 d=1"], &["", ""]);
    check(&["d/ d/a=0", "d/ d/b=1 d=2"], &["d/ d/a=0", ""]);
    check(&["d/ d/a=0", "d/ d/b=1 d=2", "d/"], &["d/ d/a=0", "d=2", ""]);
}

#[test]
fn what_comes_back_as_it_was_is_not_lost() {
    check(&["a=0 b=>a", "a=1", "a=>b"], &["", "a=1", ""]);
    check(&["d/ d/a=0 b=>d/a", ".wh.d", "d/ d/a=>b"], &["", "", ""]);
    // Another file of the same bytes is another file.
    check(&["a=0", "a=0"], &["a=0", ""]);
}

#[test]
fn a_name_is_with_the_layer_that_gave_it() {
    check(&["a=0", "b=>a", ".wh.a .wh.b"], &["a=0", "b=0", ""]);
    check(&["a=0 b=>a", ".wh.a .wh.b"], &["a=0 b=>a", ""]);
    // One name goes, another one stays: the name is lost, the bytes are not.
    check(&["a=0 b=>a", ".wh.a"], &["a=0", ""]);
    // A link to what the name leads to already gives nothing.
    check(&["a=0 b=>a", "a=>b", ".wh.a .wh.b"], &["a=0 b=>a", "", ""]);
    // Links that wait for a file that comes later, in the place of an older one.
    check(&["a=0", "a=>z z=1"], &["a=0", ""]);
    check(&["a=0", "a=>z a=>y z=1 y=2", ".wh.a"], &["a=0", "a=2", ""]);
}

#[test]
fn symlinks_on_the_way_are_followed() {
    check(&["usr/ usr/lib/ usr/lib/a=0 lib->usr/lib", "lib/.wh.a"], &["usr/ usr/lib/ usr/lib/a=0", ""]);
}

#[test]
fn sparse_files_and_attributes_are_taken_along() {
    let mut records = Records::new();
    let extents = [
        Extent { file_offset: 512, stream_offset: 1024, length: 10 },
        Extent { file_offset: 4096, stream_offset: 2048, length: 20 },
    ];
    let xattrs = [(&b"user.a"[..], &b"1"[..])];
    for path in ["a", "b"] {
        let record = Record {
            path: path.as_bytes(),
            kind: RecordKind::Regular,
            mode: 0o4755,
            uid: 1,
            gid: 2,
            mtime: Time { seconds: -1, nanos: 7 },
            size: 5000,
            extents: &extents,
            xattrs: &xattrs,
            header_offset: 0,
        };
        records.push(&record).unwrap();
    }
    let lost = build_lost([records, layer(".wh.b")]).unwrap();
    let tree = &lost[0];
    let node = tree.node(tree.child(tree.root(), b"b").unwrap());
    assert_eq!((node.size(), &*node.extents()), (5000, &extents[..]));
    assert_eq!((node.mode(), node.uid(), node.gid(), node.mtime().seconds), (0o4755, 1, 2, -1));
    assert_eq!(node.xattr(b"user.a"), Some(&b"1"[..]));
    assert_eq!(tree.entry_count(), 1);
}

/// Each layer gives a file one more name, and takes it away in the end: the file is in the tree of each.
#[test]
fn all_trees_together_hold_no_more_than_one() {
    let links = ["b=>a", "c=>a", "d=>a", ".wh.a .wh.b .wh.c .wh.d"].map(layer);
    let layers = || [sparse(&[("a", 5)])].into_iter().chain(links.clone());
    let within = |regions| build_lost_within(Limits { regions, ..Limits::default() }, layers());
    assert_eq!(within(20).unwrap().iter().map(FileTree::entry_count).collect::<Vec<_>>(), [1, 1, 1, 1, 0]);
    assert!(within(19).is_err());
    let deep = ["a/b/c/d/0", "a/b/c/d/1", ".wh.a"].map(layer);
    let within = |nodes| build_lost_within(Limits { nodes, ..Limits::default() }, &deep).is_ok();
    assert!(within(13));
    assert!(!within(11));
}
