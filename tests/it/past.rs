//! `at/N` and `deleted/N`: what an image was after each layer, and what of it is gone by the end.

use crate::kit::{
    Layer, Layout, Member, Mount, PLATFORM, Packing, archive, bytes, errno, get_xattr, list_errno, ls,
    mounted, read_errno, sha256, text,
};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

fn at(mount: &Mount, number: usize, path: &str) -> PathBuf {
    mount.join(PLATFORM).join(format!("at/{number}")).join(path)
}

fn deleted(mount: &Mount, number: usize, path: &str) -> PathBuf {
    mount.join(PLATFORM).join(format!("deleted/{number}")).join(path)
}

/// Three layers: a secret comes, is replaced, and goes with its directory; a file stays all along.
fn leaky() -> (Layout, Mount) {
    mounted(&[
        &[
            Member::dir("etc").mode(0o700),
            Member::file("etc/secret", "first key").mode(0o600),
            Member::file("etc/motd", "welcome"),
        ],
        &[Member::file("etc/secret", "second key"), Member::symlink("etc/link", "secret")],
        &[Member::empty("etc/.wh.secret"), Member::empty("etc/.wh.link"), Member::file("new", "new")],
    ])
}

#[test]
fn each_layer_has_the_tree_of_its_time() {
    let (_layout, mount) = leaky();
    assert_eq!(ls(at(&mount, 0, "..")), ["0", "1", "2"]);
    assert_eq!(ls(at(&mount, 0, "etc")), ["motd", "secret"]);
    assert_eq!(ls(at(&mount, 1, "etc")), ["link", "motd", "secret"]);
    assert_eq!(ls(at(&mount, 2, "etc")), ["motd"]);
    assert_eq!(text(at(&mount, 0, "etc/secret")), "first key");
    assert_eq!(text(at(&mount, 1, "etc/secret")), "second key");
    assert_eq!(text(at(&mount, 1, "etc/motd")), "welcome");
    for (number, path, layer) in [(0, "etc/secret", "0"), (1, "etc/secret", "1"), (1, "etc/motd", "0")] {
        let found = get_xattr(&at(&mount, number, path), "user.oci.layer", 10).unwrap();
        assert_eq!(String::from_utf8(found).unwrap(), layer, "{number} {path}");
    }
    assert_eq!(mount.problems(), [""; 0]);
}

#[test]
fn the_last_of_them_is_the_root_filesystem() {
    let (_layout, mount) = leaky();
    assert_eq!(ls(at(&mount, 2, "")), ls(mount.rootfs("")));
    for path in ["", "etc", "etc/motd", "new"] {
        let (one, other) = (fs::metadata(at(&mount, 2, path)).unwrap(), mount.rootfs(path));
        let other = fs::metadata(other).unwrap();
        assert_eq!(
            (one.mode(), one.size(), one.nlink(), one.mtime()),
            (other.mode(), other.size(), other.nlink(), other.mtime()),
            "{path}"
        );
        // Two directories of one number would be one directory to the kernel.
        assert_ne!(one.ino(), other.ino(), "{path}");
    }
}

#[test]
fn what_is_deleted_is_with_the_layer_that_has_it() {
    let (_layout, mount) = leaky();
    assert_eq!(ls(deleted(&mount, 0, "..")), ["0", "1"]);
    assert_eq!(ls(deleted(&mount, 0, "")), ["etc"]);
    assert_eq!(ls(deleted(&mount, 0, "etc")), ["secret"]);
    assert_eq!(ls(deleted(&mount, 1, "etc")), ["link", "secret"]);
    assert_eq!(text(deleted(&mount, 0, "etc/secret")), "first key");
    assert_eq!(text(deleted(&mount, 1, "etc/secret")), "second key");
    assert_eq!(fs::read_link(deleted(&mount, 1, "etc/link")).unwrap().to_str(), Some("secret"));
    let meta = fs::metadata(deleted(&mount, 0, "etc/secret")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.nlink(), meta.size()), (0o600, 1, 9));
    assert_eq!(fs::metadata(deleted(&mount, 0, "etc")).unwrap().mode() & 0o7777, 0o700);
    let layer = get_xattr(&deleted(&mount, 1, "etc/secret"), "user.oci.layer", 10).unwrap();
    assert_eq!(layer, b"1");
}

#[test]
fn listing_them_goes_over_no_layer() {
    let (_layout, mount) = leaky();
    ls(mount.join(PLATFORM));
    assert_eq!(ls(mount.join(PLATFORM).join("at")), ["0", "1", "2"]);
    assert_eq!(ls(mount.join(PLATFORM).join("deleted")), ["0", "1"]);
    assert_eq!(mount.stat("layer_passes_total"), 0);
    // Of three layers the first two are enough.
    ls(at(&mount, 1, ""));
    assert_eq!(mount.stat("layer_passes_total"), 2);
    ls(deleted(&mount, 0, ""));
    assert_eq!(mount.stat("layer_passes_total"), 3);
}

#[test]
fn one_layer_alone_deletes_nothing() {
    let (_layout, mount) = mounted(&[&[Member::file("a", "x")]]);
    assert_eq!(ls(mount.join(PLATFORM).join("at")), ["0"]);
    assert_eq!(ls(mount.join(PLATFORM).join("deleted")), [""; 0]);
    let (_layout, mount) = mounted(&[]);
    assert_eq!(ls(mount.join(PLATFORM).join("at")), [""; 0]);
}

#[test]
fn what_is_below_a_wrong_layer_still_works() {
    let good = |name: &str| Layer::of(&[Member::file(name, name)]);
    let wrong = Layer::raw(
        Packing::Gzip.pack(&archive(&[Member::file("b", "b")])),
        Packing::Gzip.media_type(),
        &sha256(b"something else"),
    );
    let layout = Layout::of_layers(&[good("a"), wrong, good("c")]);
    let mount = Mount::new(layout.path());
    assert_eq!(ls(at(&mount, 0, "")), ["a"]);
    assert_eq!(text(at(&mount, 0, "a")), "a");
    for wrong in [at(&mount, 1, ""), at(&mount, 2, ""), deleted(&mount, 0, ""), mount.rootfs("")] {
        assert_eq!(list_errno(&wrong), libc::EIO, "{}", wrong.display());
    }
    let problems = mount.problems();
    let line = problems.iter().find(|line| line.starts_with("platforms/linux-amd64/at/1: ")).unwrap();
    assert!(line.contains("diff_id"), "{line}");
}

#[test]
fn a_layer_that_is_not_there_spoils_nothing_below_it() {
    let layers = [Layer::of(&[Member::file("a", "a")]), Layer::of(&[Member::file("b", "b")])];
    let layout = Layout::of_layers(&layers);
    layout.remove(&layers[1].blob);
    let mount = Mount::new(layout.path());
    assert_eq!(ls(at(&mount, 0, "")), ["a"]);
    assert_eq!(list_errno(at(&mount, 1, "")), libc::ENODATA);
    assert_eq!(list_errno(deleted(&mount, 0, "")), libc::ENODATA);
}

#[test]
fn what_cannot_be_put_together_has_no_past() {
    let layers = [Layer::of(&[Member::file("a", "a")])];
    let layout = Layout::of_layers_with(&layers, |config| config["rootfs"]["type"] = "other".into());
    let mount = Mount::new(layout.path());
    assert_eq!(list_errno(at(&mount, 0, "")), libc::EIO);
    let missing = at(&mount, 1, "");
    assert_eq!(errno(fs::metadata(missing)), libc::ENOENT);
}

#[test]
fn bytes_that_are_gone_are_checked_like_others() {
    let noise: Vec<u8> =
        (0..40_000_u32).flat_map(|n| blake3::hash(&n.to_le_bytes()).as_bytes()[..7].to_vec()).collect();
    let layers = [Layer::of(&[Member::file("key", &noise)]), Layer::of(&[Member::empty(".wh.key")])];
    let layout = Layout::of_layers(&layers);
    let mount = Mount::new(layout.path());
    assert_eq!(ls(deleted(&mount, 0, "")), ["key"]);
    layout.flip(&layers[0].blob, 20_000);
    assert_eq!(read_errno(deleted(&mount, 0, "key")), libc::EIO);
    let whole = Layout::of_layers(&layers);
    let mount = Mount::new(whole.path());
    assert_eq!(bytes(deleted(&mount, 0, "key")), noise);
}

#[test]
fn problems_are_told_once_however_many_trees_have_them() {
    let (_layout, mount) = mounted(&[
        &[Member::file("a", "x"), Member::link("dangling", "nowhere")],
        &[Member::file("b", "x")],
        &[Member::file("c", "x")],
    ]);
    for number in 0..3 {
        ls(at(&mount, number, ""));
    }
    ls(deleted(&mount, 0, ""));
    ls(mount.rootfs(""));
    let problems = mount.problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("platforms/linux-amd64/rootfs: layer 0: dangling: "), "{problems:?}");
}

#[test]
fn symlinks_stay_inside_where_that_is_asked_for() {
    let layers = [
        Layer::of(&[Member::dir("d"), Member::symlink("d/s", "/etc/passwd")]),
        Layer::of(&[Member::empty("d/.wh.s")]),
    ];
    let layout = Layout::of_layers(&layers);
    let mount = Mount::with(layout.path(), &["--symlinks=rebase"]);
    for place in [at(&mount, 0, "d/s"), deleted(&mount, 0, "d/s")] {
        assert_eq!(fs::read_link(&place).unwrap().to_str(), Some("../etc/passwd"), "{}", place.display());
    }
}
