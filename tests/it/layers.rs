//! What is done with a layer's bytes: every packing read, every lie refused, never another byte.

use crate::kit::{
    Layer, Layout, Member, Mount, PLATFORM, Packing, Platform, archive, bytes, errno, gzip, list_errno, ls,
    media, noise, read_errno, require_root, sha256, tar, text,
};
use serde_json::json;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

/// A tar that takes several chunks, of what compresses and what does not.
fn sample() -> (Vec<u8>, Vec<u8>) {
    let mut big = noise(0, 1_500_000);
    big.resize(3_000_000, b'a');
    big.extend(noise(1, 100_000));
    (archive(&[Member::file("small", "text"), Member::file("big", &big), Member::dir("d")]), big)
}

/// Reads a layer under both names, in order and from the middle; no problem is told but `odd` ones.
#[track_caller]
fn check_read(layer: Layer, odd: &[&str]) {
    let (_, big) = sample();
    let layout = Layout::of_layers(&[layer]);
    let mount = Mount::new(layout.path());
    assert_eq!(ls(mount.rootfs("")), ["big", "d", "small"]);
    let file = File::open(mount.diff(0, "big")).unwrap();
    let mut buffer = vec![0; 5000];
    for at in [2_999_000, 10, 1_499_000, big.len() - 5000] {
        file.read_exact_at(&mut buffer, at as u64).unwrap();
        assert!(buffer == big[at..at + 5000], "other bytes at {at}");
    }
    assert!(bytes(mount.rootfs("big")) == big);
    assert_eq!(text(mount.rootfs("small")), "text");
    let problems = mount.problems();
    for part in odd {
        assert!(problems.iter().any(|line| line.contains(part)), "{part}: {problems:#?}");
    }
    assert!(!odd.is_empty() || problems.is_empty(), "{problems:#?}");
}

#[test]
fn every_packing_is_read() {
    let (tar, _) = sample();
    for packing in Packing::ALL {
        let odd: &[&str] = match packing {
            // There is no media type for these; they are told from the bytes.
            Packing::Xz => &["xz"],
            Packing::Bzip2 => &["bzip2"],
            _ => &[],
        };
        check_read(Layer::packed(&tar, packing), odd);
    }
}

#[test]
fn bytes_tell_the_compression_and_a_wrong_media_type_is_told() {
    let (tar, _) = sample();
    for (packing, said, is) in [
        (Packing::Gzip, media::TAR, "gzip"),
        (Packing::Plain, media::LAYER, "plain"),
        (Packing::Zstd, media::LAYER, "zstd"),
    ] {
        check_read(Layer::raw(packing.pack(&tar), said, &sha256(&tar)), &[said, is]);
    }
}

#[test]
fn trailing_bytes_are_told_and_spoil_nothing() {
    let (tar, _) = sample();
    let zeros = [gzip(&tar), vec![0; 700]].concat();
    check_read(Layer::raw(zeros, media::LAYER, &sha256(&tar)), &["diffs/0"]);
    let garbage = [gzip(&tar), b"garbage".to_vec()].concat();
    check_read(Layer::raw(garbage, media::LAYER, &sha256(&tar)), &["diffs/0"]);
    // Behind the tar's end, inside the stream: part of the diff_id.
    let longer = [&tar[..], b"more", &[0; 5000]].concat();
    check_read(Layer::packed(&longer, Packing::Gzip), &[]);
}

/// The contents are refused with a reason, once; the blob itself is readable or not.
#[track_caller]
fn check_refused(layers: &[Layer], bad: usize, blob: Option<i32>, reason: &str) {
    let layout = Layout::of_layers(layers);
    check_refused_in(&layout, layers, bad, blob, reason);
}

#[track_caller]
fn check_refused_in(layout: &Layout, layers: &[Layer], bad: usize, blob: Option<i32>, reason: &str) {
    let mount = Mount::new(layout.path());
    for _ in 0..2 {
        assert_eq!(list_errno(mount.diff(bad, "")), libc::EIO);
        assert_eq!(list_errno(mount.rootfs("")), libc::EIO);
        assert_eq!(errno(fs::metadata(mount.diff(bad, "small"))), libc::EIO);
    }
    let path = mount.join(PLATFORM).join(format!("layers/{bad}"));
    match blob {
        Some(expected) => assert_eq!(read_errno(&path), expected),
        None => assert!(bytes(&path) == layers[bad].blob.bytes, "the blob itself is good"),
    }
    let problems = mount.problems();
    for place in [format!("diffs/{bad}"), "rootfs".to_owned()] {
        let lines: Vec<&String> = problems.iter().filter(|line| line.contains(&place)).collect();
        assert_eq!(lines.len(), 1, "one line of {place}: {problems:#?}");
        assert!(lines[0].contains(reason), "{reason}: {lines:#?}");
    }
    for other in (0..layers.len()).filter(|n| *n != bad) {
        assert!(!ls(mount.diff(other, "")).is_empty(), "the other layers are as good as before");
    }
    assert!(!bytes(mount.join(PLATFORM).join("config.json")).is_empty());
}

fn good() -> Layer {
    Layer::of(&[Member::file("other", "good")])
}

#[test]
fn wrong_contents_are_refused_and_the_blob_is_not() {
    let (tar, _) = sample();
    let packed = gzip(&tar);
    let lie = sha256(b"something else");
    check_refused(&[good(), Layer::raw(packed.clone(), media::LAYER, &lie)], 1, None, &lie);
    // The CRC of a member, in its last eight bytes; the digest is right.
    let mut crc = packed.clone();
    let at = crc.len() - 7;
    crc[at] ^= 1;
    check_refused(&[Layer::raw(crc, media::LAYER, &sha256(&tar)), good()], 0, None, "CRC");
    let mut length = packed.clone();
    let at = length.len() - 2;
    length[at] ^= 1;
    check_refused(&[Layer::raw(length, media::LAYER, &sha256(&tar))], 0, None, "trailer says");
    let short = packed[..packed.len() * 2 / 3].to_vec();
    check_refused(&[Layer::raw(short, media::LAYER, &sha256(&tar))], 0, None, "ends");
    for packing in [Packing::Zstd, Packing::Xz, Packing::Bzip2] {
        let whole = packing.pack(&tar);
        let short = whole[..whole.len() * 2 / 3].to_vec();
        check_refused(&[Layer::raw(short, packing.media_type(), &sha256(&tar))], 0, None, "ends");
        let mut flipped = whole;
        let at = flipped.len() / 2;
        flipped[at] ^= 0x40;
        check_refused(&[Layer::raw(flipped, packing.media_type(), &sha256(&tar))], 0, None, "");
    }
}

/// Members after the tar's end, and bytes appended to the stream, change the diff_id.
#[test]
fn bytes_behind_the_tars_end_are_hashed() {
    let (tar, _) = sample();
    let longer = [&tar[..], &[0; 512]].concat();
    check_refused(&[Layer::raw(gzip(&longer), media::LAYER, &sha256(&tar))], 0, None, &sha256(&longer));
}

#[test]
fn a_wrong_blob_is_refused_under_every_name() {
    let (tar, _) = sample();
    let layers = [good(), Layer::packed(&tar, Packing::Gzip)];
    let layout = Layout::of_layers(&layers);
    layout.flip(&layers[1].blob, layers[1].blob.bytes.len() / 2);
    check_refused_in(&layout, &layers, 1, Some(libc::EIO), &layers[1].blob.digest);

    let mut sized = Layer::packed(&tar, Packing::Gzip);
    sized.size += 1;
    check_refused(&[good(), sized], 1, Some(libc::EIO), "bytes");
}

#[test]
fn a_missing_blob_is_absent() {
    let layers = [good(), Layer::of(&[Member::file("x", "1")])];
    let layout = Layout::of_layers(&layers);
    layout.remove(&layers[1].blob);
    let mount = Mount::new(layout.path());
    assert_eq!(list_errno(mount.diff(1, "")), libc::ENODATA);
    assert_eq!(list_errno(mount.rootfs("")), libc::ENODATA);
    assert_eq!(ls(mount.diff(0, "")), ["other"]);
}

#[test]
fn a_config_that_does_not_fit_refuses_rootfs() {
    for (part, change) in [
        ("rootfs.type", json!({"type": "disks", "diff_ids": [good().diff_id]})),
        ("diff_ids", json!({"type": "layers", "diff_ids": []})),
        ("diff_ids", json!({"type": "layers", "diff_ids": [good().diff_id, good().diff_id]})),
    ] {
        let layout = Layout::of_layers_with(&[good()], |config| config["rootfs"] = change);
        let mount = Mount::new(layout.path());
        assert_eq!(list_errno(mount.rootfs("")), libc::EIO);
        let problems = mount.problems();
        let about = |line: &&String| line.contains("rootfs") && line.contains(part);
        assert_eq!(problems.iter().filter(about).count(), 1, "{part}: {problems:#?}");
    }
}

/// A blob that changes under the mount, after its pass: `EIO`, through old descriptors too, never other bytes.
#[test]
fn a_blob_changed_after_its_pass_gives_no_other_bytes() {
    require_root();
    for packing in [Packing::Plain, Packing::Gzip, Packing::Frames, Packing::Zstd] {
        let (tar, big) = sample();
        // Beyond what chunks in memory can answer.
        let mut members = vec![Member::file("big", &big)];
        members.extend((0..14).map(|n| Member::file(format!("filler{n}"), [&[n][..], &big].concat())));
        drop(tar);
        let layer = Layer::packed(&archive(&members), packing);
        let layout = Layout::of_layers(std::slice::from_ref(&layer));
        let mount = Mount::with(layout.path(), &["--no-cache"]);
        let open = File::open(mount.rootfs("big")).unwrap();
        assert_eq!(ls(mount.rootfs("")).len(), 15);
        let mut changed = layer.blob.bytes.clone();
        for at in (0..changed.len()).step_by(997) {
            changed[at] ^= 0x55;
        }
        layout.overwrite(&layer.blob, &changed);
        fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
        let mut buffer = vec![0; 100_000];
        let mut refused = 0;
        for at in (0..big.len() - 100_000).step_by(100_000) {
            match open.read_at(&mut buffer, at as u64) {
                Ok(got) => assert!(buffer[..got] == big[at..at + got], "{packing:?}: other bytes at {at}"),
                Err(e) => {
                    assert_eq!(e.raw_os_error(), Some(libc::EIO), "{packing:?}");
                    refused += 1;
                }
            }
        }
        assert!(refused > 0, "{packing:?}: nothing was read from the changed blob");
        for n in 0..14 {
            assert_eq!(read_errno(mount.rootfs(&format!("filler{n}"))), libc::EIO, "{packing:?}");
        }
        let problems = mount.problems();
        assert!(problems.iter().any(|line| line.contains("rootfs/big")), "{problems:#?}");
    }
}

#[test]
fn of_more_layers_than_can_be_put_together_there_is_the_list() {
    let layout = Layout::new();
    let layer = layout.blob(gzip(&tar(&[("a", b"x")])));
    let (_, _, most) = layout.image_of(Platform("linux", "amd64", ""), &vec![layer.clone(); 4_096]);
    let (_, _, more) = layout.image_of(Platform("linux", "arm64", ""), &vec![layer; 4_097]);
    layout.index(&[most, more]);
    let mount = Mount::new(layout.path());
    let (most, more) = (mount.join("platforms/linux-amd64"), mount.join("platforms/linux-arm64"));
    assert_eq!((ls(most.join("layers")).len(), ls(most.join("diffs")).len()), (4_096, 4_096));
    assert_eq!(ls(more.join("layers")).len(), 4_097);
    for name in ["diffs", "rootfs", "at", "deleted"] {
        assert_eq!(list_errno(more.join(name)), libc::EFBIG, "{name}");
    }
}
