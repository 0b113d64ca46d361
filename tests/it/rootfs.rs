//! The root filesystem of an image, through a real mount: layers applied, and everything a file can be.

use crate::kit::{
    Layer, Layout, Member, Mount, bytes, errno, get_xattr, list_xattrs, ls, mounted, read_errno,
    require_root, run, text, xattr_len,
};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::PathBuf;
use std::process::Command;

#[test]
fn whiteouts_and_opaque_directories_are_applied() {
    let (_layout, mount) = mounted(&[
        &[
            Member::file("gone", "1"),
            Member::file("kept", "2"),
            Member::file("d/old", "3"),
            Member::file("whole/deep/file", "4"),
            Member::file("again", "old"),
        ],
        &[
            Member::file("again", "new"),
            Member::empty(".wh.again"),
            Member::empty(".wh.gone"),
            Member::file("d/new", "5"),
            Member::empty("d/.wh..wh..opq"),
            Member::empty(".wh.whole"),
        ],
    ]);
    assert_eq!(ls(mount.rootfs("")), ["again", "d", "kept"]);
    assert_eq!(ls(mount.rootfs("d")), ["new"]);
    assert_eq!(text(mount.rootfs("again")), "new", "a whiteout spares its own layer");
    assert_eq!(errno(fs::metadata(mount.rootfs("gone"))), libc::ENOENT);
    assert_eq!(mount.problems(), [""; 0]);
}

#[test]
fn hard_links_across_layers_are_one_inode() {
    let (_layout, mount) = mounted(&[
        &[Member::file("a", "content"), Member::link("b", "a")],
        &[Member::link("d/c", "a")],
        &[Member::link("e", "d/c"), Member::file("b", "own")],
    ]);
    let meta = |path: &str| fs::symlink_metadata(mount.rootfs(path)).unwrap();
    for path in ["a", "d/c", "e"] {
        assert_eq!(meta(path).ino(), meta("a").ino(), "{path}");
        assert_eq!(meta(path).nlink(), 3, "{path}");
        assert_eq!(text(mount.rootfs(path)), "content");
    }
    assert_eq!((meta("b").nlink(), meta("b").ino() == meta("a").ino()), (1, false));
}

#[test]
fn attributes_are_the_images_own_and_say_their_layer() {
    let capability = b"\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let layers = [
        Layer::of(&[
            Member::file("low", "x")
                .xattr("user.name", b"\x00\xff=\n binary")
                .xattr("security.capability", capability),
            Member::dir("d").xattr("user.d", ""),
        ]),
        Layer::of(&[Member::file("high", "y"), Member::symlink("s", "low"), Member::link("d/again", "low")]),
    ];
    let layout = Layout::of_layers(&layers);
    let mount = Mount::new(layout.path());
    let low = mount.rootfs("low");
    assert_eq!(get_xattr(&low, "user.name", 100).unwrap(), b"\x00\xff=\n binary");
    assert_eq!(get_xattr(&low, "security.capability", 100).unwrap(), capability);
    assert_eq!(get_xattr(&mount.rootfs("d"), "user.d", 100).unwrap(), b"");
    for (path, layer) in [("low", 0), ("d", 0), ("high", 1), ("d/again", 0)] {
        let path = mount.rootfs(path);
        assert_eq!(get_xattr(&path, "user.oci.layer", 100).unwrap(), layer.to_string().as_bytes());
        let digest = get_xattr(&path, "user.oci.layer.digest", 100).unwrap();
        assert_eq!(String::from_utf8(digest).unwrap(), layers[layer].blob.digest, "{path:?}");
    }
    // In a layer's own files there is nothing to say: it is the layer.
    assert_eq!(errno(get_xattr(&mount.diff(0, "low"), "user.oci.layer", 100)), libc::ENODATA);
    let names = ["security.capability", "user.name", "user.oci.layer", "user.oci.layer.digest"];
    assert_eq!(list_xattrs(&low, 1000).unwrap(), names);
    // Asked for the size first, as every tool does; and with too little room.
    assert_eq!(xattr_len(&low, "user.name").unwrap(), 11);
    assert_eq!(errno(get_xattr(&low, "user.name", 10)), libc::ERANGE);
    assert_eq!(errno(list_xattrs(&low, 10)), libc::ERANGE);
    assert_eq!(errno(get_xattr(&low, "user.other", 10)), libc::ENODATA);
}

/// A sparse file of 60 GB that holds two pieces, in the PAX form 1.0.
fn huge() -> Member {
    const SIZE: u64 = 60_000_000_000;
    let map = format!("2\n1000000\n4\n{}\n3\n", SIZE - 3);
    let mut data = map.into_bytes();
    data.resize(512, 0);
    data.extend_from_slice(b"headend");
    Member::file("GNUSparseFile.0/huge", data)
        .pax("GNU.sparse.major", "1")
        .pax("GNU.sparse.minor", "0")
        .pax("GNU.sparse.name", "huge")
        .pax("GNU.sparse.realsize", SIZE.to_string())
}

#[test]
fn a_sparse_file_of_sixty_gigabytes_costs_nothing() {
    let (_layout, mount) = mounted(&[&[huge(), Member::file("beside", "here")]]);
    let path = mount.rootfs("huge");
    let meta = fs::metadata(&path).unwrap();
    assert_eq!(meta.len(), 60_000_000_000);
    assert!(meta.blocks() * 512 < 100_000, "{} blocks", meta.blocks());
    let du = run(Command::new("du").arg("-sk").arg(mount.rootfs(""))).ok();
    let kib: u64 = du.split_whitespace().next().unwrap().parse().unwrap();
    assert!(kib < 1000, "du: {du}");
    let mut file = File::open(&path).unwrap();
    let mut buffer = [7; 10];
    for (at, expected) in [
        (0, &[0; 10][..]),
        (999_998, b"\0\0head\0\0\0\0"),
        (30_000_000_000, &[0; 10]),
        (59_999_999_995, b"\0\0end"),
        (60_000_000_000, b""),
    ] {
        let got = file.read_at(&mut buffer, at).unwrap();
        assert_eq!(&buffer[..got], expected, "at {at}");
    }
    assert_eq!(file.seek(SeekFrom::End(-3)).unwrap(), 59_999_999_997);
    let mut end = String::new();
    file.read_to_string(&mut end).unwrap();
    assert_eq!(end, "end");
    assert!(mount.peak_memory() < 96 << 10, "{} KiB", mount.peak_memory());
    assert_eq!(text(mount.rootfs("beside")), "here");
}

#[test]
fn devices_and_pipes_are_shown_and_do_not_open() {
    let (_layout, mount) = mounted(&[&[
        Member::device("null", b'3', 1, 3).mode(0o666),
        Member::device("disk", b'4', 8, 1),
        Member::device("far", b'3', 4095, 1_048_575),
        Member::device("zero", b'3', 0, 0),
        Member::fifo("pipe"),
    ]]);
    let meta = |path: &str| fs::symlink_metadata(mount.rootfs(path)).unwrap();
    for (path, major, minor) in [("null", 1, 3), ("disk", 8, 1), ("far", 4095, 1_048_575), ("zero", 0, 0)] {
        assert_eq!(meta(path).rdev(), libc::makedev(major, minor), "{path}");
        assert_eq!(meta(path).file_type().is_block_device(), path == "disk");
        assert_eq!(meta(path).file_type().is_char_device(), path != "disk");
        // The mount is nodev: the kernel refuses, whoever asks.
        assert_eq!(errno(File::open(mount.rootfs(path))), libc::EACCES, "{path}");
    }
    assert!(meta("pipe").file_type().is_fifo());
}

#[test]
fn modes_owners_and_times_are_the_images_own() {
    let (_layout, mount) = mounted(&[&[
        Member::file("setuid", "x").mode(0o4755).owner(1, 2),
        Member::file("setgid", "x").mode(0o2711),
        Member::dir("tmp").mode(0o1777),
        Member::file("none", "").mode(0),
        Member::file("far", "").pax("uid", "3000000").pax("gid", "4000000000"),
        Member::file("before", "").pax("mtime", "-5.5"),
        Member::file("fine", "").pax("mtime", "1700000000.123456789"),
        Member::file("late", "").pax("mtime", "100000000000"),
        Member::symlink("link", "nowhere").pax("mtime", "1.000000001"),
    ]]);
    let meta = |path: &str| fs::symlink_metadata(mount.rootfs(path)).unwrap();
    for (path, mode) in [("setuid", 0o4755), ("setgid", 0o2711), ("tmp", 0o1777), ("none", 0)] {
        assert_eq!(meta(path).mode() & 0o7777, mode, "{path}");
    }
    assert_eq!((meta("setuid").uid(), meta("setuid").gid()), (1, 2));
    assert_eq!((meta("far").uid(), meta("far").gid()), (3_000_000, 4_000_000_000));
    for (path, seconds, nanos) in [
        ("before", -6, 500_000_000),
        ("fine", 1_700_000_000, 123_456_789),
        ("late", 100_000_000_000, 0),
        ("link", 1, 1),
    ] {
        assert_eq!((meta(path).mtime(), meta(path).mtime_nsec()), (seconds, nanos), "{path}");
    }
}

#[test]
fn names_are_bytes() {
    let odd: &[&[u8]] = &[b"caf\xe9", b"new\nline", b"tab\t\\back", b"q'u\"o*te", &[b'n'; 255]];
    let members: Vec<Member> = odd.iter().map(|name| Member::file(name, name)).collect();
    let (_layout, mount) = mounted(&[&members]);
    for name in odd {
        assert_eq!(bytes(mount.rootfs("").join(OsStr::from_bytes(name))), *name);
    }
    assert_eq!(fs::read_dir(mount.rootfs("")).unwrap().count(), odd.len());
}

#[test]
fn six_hundred_levels_can_be_walked() {
    let path = (0..600).map(|n| format!("level{n}")).collect::<Vec<_>>().join("/");
    let (_layout, mount) = mounted(&[&[Member::file(format!("{path}/file"), "deep")]]);
    // Longer than a path may be: step by step.
    let walk = r#"for n in $(seq 0 599); do cd -P "level$n" || exit 1; done; cat file"#;
    let done = run(Command::new("sh").args(["-c", walk]).current_dir(mount.rootfs("")));
    assert_eq!(done.ok(), "deep");
    let found = run(Command::new("find").arg(mount.rootfs("")).args(["-name", "file", "-printf", "%d"]));
    assert_eq!(found.ok(), "601");
}

#[test]
fn files_can_be_shown_as_somebodys() {
    let layers = [Layer::of(&[Member::file("f", "x").owner(5, 6), Member::dir("d/e").owner(7, 8)])];
    let layout = Layout::of_layers(&layers);
    let mount = Mount::with(layout.path(), &["--uid", "1234", "--gid", "4321"]);
    for path in ["", "f", "d", "d/e"] {
        let meta = fs::symlink_metadata(mount.rootfs(path)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (1234, 4321), "{path:?}");
    }
}

#[test]
fn absolute_symlinks_stay_inside_when_rebased() {
    let layers = [Layer::of(&[
        Member::file("etc/hosts", "inside"),
        Member::symlink("usr/lib/deep", "/etc/hosts"),
        Member::symlink("top", "/etc"),
        Member::symlink("root", "/"),
        Member::symlink("usr/relative", "../etc/hosts"),
    ])];
    let layout = Layout::of_layers(&layers);
    let verbatim = Mount::new(layout.path());
    let rebased = Mount::with(layout.path(), &["--symlinks=rebase"]);
    for (path, plain, inside) in [
        ("usr/lib/deep", "/etc/hosts", "../../etc/hosts"),
        ("top", "/etc", "etc"),
        ("root", "/", "."),
        ("usr/relative", "../etc/hosts", "../etc/hosts"),
    ] {
        assert_eq!(fs::read_link(verbatim.rootfs(path)).unwrap(), PathBuf::from(plain), "{path}");
        assert_eq!(fs::read_link(rebased.rootfs(path)).unwrap(), PathBuf::from(inside), "{path}");
        assert_eq!(fs::symlink_metadata(rebased.rootfs(path)).unwrap().len(), inside.len() as u64, "{path}");
    }
    assert_eq!(text(rebased.rootfs("usr/lib/deep")), "inside");
    assert_eq!(text(rebased.rootfs("top/hosts")), "inside");
    assert_eq!(text(rebased.diff(0, "usr/lib/deep")), "inside");
}

#[test]
fn nothing_can_be_written() {
    require_root();
    let (_layout, mount) = mounted(&[&[Member::file("f", "x")]]);
    assert_eq!(errno(fs::write(mount.rootfs("f"), "y")), libc::EROFS);
    assert_eq!(errno(fs::create_dir(mount.rootfs("d"))), libc::EROFS);
    assert_eq!(errno(fs::remove_file(mount.diff(0, "f"))), libc::EROFS);
    assert_eq!(read_errno(mount.rootfs("")), libc::EISDIR);
}
