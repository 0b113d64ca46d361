//! A layer's own files: markers are files, nothing is merged.

use crate::kit::{Layer, Layout, Member, Mount, PLATFORM, errno, list_errno, ls, mounted, text};
use std::fs;
use std::os::unix::fs::MetadataExt;

#[test]
fn markers_are_visible_and_nothing_is_merged() {
    let (_layout, mount) = mounted(&[
        &[Member::file("gone", "1"), Member::file("d/old", "2")],
        &[Member::empty(".wh.gone"), Member::empty("d/.wh..wh..opq"), Member::file("d/new", "3")],
    ]);
    assert_eq!(ls(mount.diff(0, "")), ["d", "gone"]);
    assert_eq!(ls(mount.diff(1, "")), [".wh.gone", "d"]);
    assert_eq!(ls(mount.diff(1, "d")), [".wh..wh..opq", "new"]);
    assert_eq!(text(mount.diff(0, "gone")), "1");
    assert_eq!(ls(mount.join(PLATFORM).join("diffs")), ["0", "1"]);
}

#[test]
fn a_link_to_a_lower_layer_is_no_file_of_this_one() {
    let (_layout, mount) = mounted(&[
        &[Member::file("a", "x")],
        &[Member::link("b", "a"), Member::file("c", "y"), Member::link("d", "c")],
    ]);
    assert_eq!(ls(mount.diff(1, "")), ["c", "d"]);
    assert_eq!(fs::metadata(mount.diff(1, "c")).unwrap().nlink(), 2);
    assert_eq!(ls(mount.rootfs("")), ["a", "b", "c", "d"]);
    assert_eq!(mount.problems(), [""; 0], "an ordinary thing for a layer");
}

#[test]
fn a_dangling_link_is_left_out_and_told_once() {
    let (_layout, mount) = mounted(&[&[Member::file("a", "x"), Member::link("b", "nowhere")]]);
    assert_eq!(ls(mount.rootfs("")), ["a"]);
    assert_eq!(ls(mount.rootfs("")), ["a"]);
    let problems = mount.problems();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].contains("rootfs") && problems[0].contains("nowhere"), "{problems:#?}");
}

#[test]
fn an_invalid_entry_is_left_out_and_the_rest_is_shown() {
    let (_layout, mount) = mounted(&[&[
        Member::file("good", "x"),
        Member::symlink("empty", ""),
        Member::file("n".repeat(256), "too long"),
        Member::empty(".wh."),
        Member::file("late", "y"),
    ]]);
    assert_eq!(ls(mount.rootfs("")), ["good", "late"]);
    let problems = mount.problems();
    for name in ["empty", "nnnn", ".wh."] {
        assert_eq!(problems.iter().filter(|line| line.contains(name)).count(), 1, "{name}: {problems:#?}");
    }
}

#[test]
fn the_same_layer_twice_is_two_directories() {
    let layer = Layer::of(&[Member::file("x", "1")]);
    let hides = Layer::of(&[Member::empty(".wh.x"), Member::file("q", "2")]);
    let layout = Layout::of_layers(&[layer.clone(), hides, layer]);
    let mount = Mount::new(layout.path());
    assert_eq!(ls(mount.diff(0, "")), ["x"]);
    assert_eq!(ls(mount.diff(2, "")), ["x"]);
    assert_eq!(ls(mount.rootfs("")), ["q", "x"]);
    let ino = |number| fs::metadata(mount.diff(number, "x")).unwrap().ino();
    assert_ne!(ino(0), ino(2));
    assert_eq!(mount.stat("layer_passes_total"), 2);
}

#[test]
fn what_is_no_layer_by_its_type_is_not_looked_into() {
    let mut layer = Layer::of(&[Member::file("x", "1")]);
    layer.media_type = "application/vnd.example.thing".to_owned();
    let layout = Layout::of_layers(&[layer, Layer::of(&[Member::file("y", "2")])]);
    let mount = Mount::new(layout.path());
    assert_eq!(list_errno(mount.diff(0, "")), libc::EOPNOTSUPP);
    assert_eq!(list_errno(mount.rootfs("")), libc::EOPNOTSUPP);
    assert_eq!(ls(mount.diff(1, "")), ["y"]);
    assert_eq!(errno(fs::metadata(mount.diff(2, ""))), libc::ENOENT);
}
