//! `blobs/` and `layers/`: the blobs' own bytes, under every name they have.

use crate::kit::{
    Blob, Layout, Mount, Platform, bytes, gzip, ls, media, named, read_errno, require_root, require_tool,
    run, tar, wait_until,
};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, symlink};
use std::process::Command;
use std::time::{Duration, Instant};

const AMD64: Platform<'_> = Platform("linux", "amd64", "");

/// A layout whose only image has one layer under the given algorithm.
fn layer_by(algorithm: &str, content: &[u8]) -> (Layout, Blob) {
    let layout = Layout::new();
    let layer = layout.blob_by(algorithm, content);
    let config = layout.json(&json!({"os": "linux", "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]}}));
    layout.index(&[named(
        layout.manifest(&config, std::slice::from_ref(&layer)).descriptor(media::MANIFEST),
        "v1",
    )]);
    (layout, layer)
}

/// Mounts a layout of one layer, whose descriptor the closure may change before it is written.
fn with_layer(content: &[u8], change: impl FnOnce(&Layout, &Blob, &mut Value)) -> (Layout, Blob) {
    let layout = Layout::new();
    let layer = layout.blob(content);
    let mut descriptor = layer.descriptor(media::LAYER);
    change(&layout, &layer, &mut descriptor);
    let config = layout.json(&json!({"os": "linux", "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]}}));
    let manifest = layout.json(&json!({"schemaVersion": 2, "config": config.descriptor(media::CONFIG),
        "layers": [descriptor]}));
    layout.index(&[named(manifest.descriptor(media::MANIFEST), "v1")]);
    (layout, layer)
}

const LAYER: &str = "platforms/linux-amd64/layers/0";

#[test]
fn every_blob_gives_its_own_bytes() {
    let (layout, sample) = Layout::sample();
    let mount = Mount::new(layout.path());
    let [first, second] = &sample.layers;
    for blob in [first, second, &sample.config, &sample.manifest] {
        assert_eq!(bytes(mount.join(blob.path())), blob.bytes, "{}", blob.digest);
    }
    assert_eq!(bytes(mount.join("platforms/linux-amd64/layers/0")), first.bytes);
    assert_eq!(bytes(mount.join("platforms/linux-amd64/layers/1")), second.bytes);
    assert_eq!(ls(mount.join("platforms/linux-amd64/layers")), ["0", "1"]);
    assert_eq!(ls(mount.join("blobs/sha256")), ls(layout.path().join("blobs/sha256")));
}

#[test]
fn a_blob_nobody_refers_to_is_listed_and_checked() {
    let (layout, _) = Layout::sample();
    let stray = layout.blob("nobody refers to this");
    let liar = Blob::of("sha256", "what the name says");
    layout.store(&liar.digest, b"something else");
    let mount = Mount::new(layout.path());
    assert_eq!(bytes(mount.join(stray.path())), stray.bytes);
    assert_eq!(read_errno(mount.join(liar.path())), libc::EIO);
}

#[test]
fn names_that_are_no_digests_are_no_blobs() {
    let (layout, sample) = Layout::sample();
    fs::write(layout.path().join("blobs/sha256/.DS_Store"), "finder").unwrap();
    fs::write(layout.path().join("blobs/sha256/not a digest"), "").unwrap();
    fs::write(layout.path().join("blobs/README"), "").unwrap();
    fs::create_dir(layout.path().join("blobs/SHA256")).unwrap();
    let mount = Mount::new(layout.path());
    assert_eq!(ls(mount.join("blobs")), ["sha256"]);
    let listed = ls(mount.join("blobs/sha256"));
    assert_eq!(listed.len(), 4, "{listed:?}");
    assert!(listed.contains(&sample.config.hex().to_owned()));
}

#[test]
fn algorithms_we_know_are_checked() {
    for algorithm in ["sha256", "sha512", "blake3"] {
        let content = gzip(&tar(&[("a", b"a")]));
        let (layout, layer) = layer_by(algorithm, &content);
        let mount = Mount::new(layout.path());
        assert_eq!(bytes(mount.join(LAYER)), content, "{algorithm}");
        assert_eq!(bytes(mount.join(layer.path())), content, "{algorithm}");
        drop(mount);

        layout.flip(&layer, 12);
        let mount = Mount::new(layout.path());
        assert_eq!(read_errno(mount.join(LAYER)), libc::EIO, "{algorithm}");
        assert_eq!(read_errno(mount.join(layer.path())), libc::EIO, "{algorithm}");
    }
}

#[test]
fn an_algorithm_we_do_not_know_is_visible_and_cannot_be_read() {
    let (layout, layer) = with_layer(b"some bytes", |layout, _, descriptor| {
        descriptor["digest"] = json!("multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8");
        layout.store("multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8", b"some bytes");
    });
    let mount = Mount::new(layout.path());
    assert_eq!(fs::metadata(mount.join(LAYER)).unwrap().len(), layer.bytes.len() as u64);
    assert_eq!(read_errno(mount.join(LAYER)), libc::EOPNOTSUPP);
    let name = "blobs/multihash+base58/QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8";
    assert_eq!(read_errno(mount.join(name)), libc::EOPNOTSUPP);
}

#[test]
fn a_missing_blob_keeps_its_size_and_its_siblings() {
    let (layout, sample) = Layout::sample();
    layout.remove(&sample.layers[0]);
    let mount = Mount::new(layout.path());
    let size = sample.layers[0].bytes.len() as u64;
    assert_eq!(fs::metadata(mount.join("platforms/linux-amd64/layers/0")).unwrap().len(), size);
    assert_eq!(read_errno(mount.join("platforms/linux-amd64/layers/0")), libc::ENODATA);
    assert_eq!(bytes(mount.join("platforms/linux-amd64/layers/1")), sample.layers[1].bytes);
    assert_eq!(ls(mount.join("platforms/linux-amd64/layers")), ["0", "1"]);
}

#[test]
fn a_platform_whose_manifest_is_missing_stays_visible() {
    let layout = Layout::new();
    let present = layout.image(AMD64, "amd64");
    let absent = Blob::of("sha256", "a manifest that stayed in the registry");
    let mut entry = absent.descriptor(media::MANIFEST);
    entry["platform"] = Platform("linux", "arm64", "v8").json();
    layout.index(&[named(layout.nested(&[entry, present]), "v1")]);
    let mount = Mount::new(layout.path());
    assert_eq!(ls(mount.join("platforms")), ["linux-amd64", "linux-arm64"]);
    assert_eq!(read_errno(mount.join("platforms/linux-arm64/manifest.json")), libc::ENODATA);
    assert_eq!(ls(mount.join("platforms/linux-amd64/layers")), ["0"]);
}

#[test]
fn a_data_member_stands_in_for_a_missing_blob() {
    let (layout, layer) = with_layer(b"inline", |layout, layer, descriptor| {
        descriptor["data"] = json!("aW5saW5l");
        layout.remove(layer);
    });
    let mount = Mount::new(layout.path());
    assert_eq!(bytes(mount.join(LAYER)), layer.bytes);
}

#[test]
fn a_wrong_data_member_spoils_the_node_though_the_blob_is_right() {
    for wrong in ["aW5saW5F", "aW5saW5lIQ==", "not base64!"] {
        let (layout, layer) = with_layer(b"inline", |_, _, descriptor| descriptor["data"] = json!(wrong));
        let mount = Mount::new(layout.path());
        assert_eq!(read_errno(mount.join(LAYER)), libc::EIO, "{wrong}");
        // Whether blobs/ shares the node is open; that it gives no other bytes is not.
        assert!(fs::read(mount.join(layer.path())).map_or(true, |content| content == b"inline"));
    }
}

#[test]
fn a_wrong_size_is_an_error_though_the_digest_is_right() {
    for size in [5, 7, 0] {
        let (layout, _) = with_layer(b"inline", |_, _, descriptor| descriptor["size"] = json!(size));
        let mount = Mount::new(layout.path());
        let path = mount.join(LAYER);
        // A file of size 0 is never read by the kernel, so nobody can be given wrong bytes.
        if size == 0 {
            assert!(fs::read(&path).map_or(true, |content| content.is_empty()));
        } else {
            assert_eq!(read_errno(&path), libc::EIO, "size {size}");
        }
    }
}

#[test]
fn blobs_that_are_symlinks_out_of_the_layout_work() {
    let (layout, sample) = Layout::sample();
    let elsewhere = crate::kit::temp_dir();
    for blob in [&sample.layers[0], &sample.config, &sample.manifest] {
        let target = elsewhere.join(blob.hex());
        fs::rename(layout.file(blob), &target).unwrap();
        symlink(&target, layout.file(blob)).unwrap();
    }
    let mount = Mount::new(layout.path());
    assert_eq!(bytes(mount.join(sample.layers[0].path())), sample.layers[0].bytes);
    assert_eq!(bytes(mount.join("platforms/linux-amd64/config.json")), sample.config.bytes);
    assert!(fs::symlink_metadata(mount.join(sample.config.path())).unwrap().is_file());
}

#[test]
fn what_is_no_file_in_a_blobs_place_is_refused_without_blocking() {
    require_root();
    let (layout, sample) = Layout::sample();
    let [fifo, directory] = &sample.layers;
    layout.remove(fifo);
    nix::unistd::mkfifo(&layout.file(fifo), nix::sys::stat::Mode::S_IRWXU).unwrap();
    layout.remove(directory);
    fs::create_dir(layout.file(directory)).unwrap();
    let device = layout.blob("a device stands here");
    layout.remove(&device);
    symlink("/dev/zero", layout.file(&device)).unwrap();
    let looping = layout.blob("a symlink to itself");
    layout.remove(&looping);
    symlink(looping.hex(), layout.file(&looping)).unwrap();

    let start = Instant::now();
    let mount = Mount::new(layout.path());
    for number in 0..2 {
        let path = mount.join(format!("platforms/linux-amd64/layers/{number}"));
        assert!(
            fs::symlink_metadata(&path).unwrap().is_file(),
            "layers/{number} is a file by its descriptor"
        );
        assert_eq!(read_errno(&path), libc::EIO, "layers/{number}");
    }
    for blob in [&device, &looping] {
        // Not referenced by anything: it may be left out, but it may not give bytes.
        let path = mount.join(blob.path());
        assert!(fs::read(&path).is_err(), "{}", path.display());
        let special = fs::symlink_metadata(&path).is_ok_and(|meta| {
            meta.file_type().is_char_device() || meta.file_type().is_fifo() || meta.file_type().is_symlink()
        });
        assert!(!special, "{} shows what lies in the layout", path.display());
    }
    assert!(start.elapsed() < Duration::from_secs(10), "something blocked");
}

#[test]
fn one_blob_is_one_inode_with_a_true_link_count() {
    let layout = Layout::new();
    // The same layer twice in one image and once in another: every name counts.
    let layer = layout.blob(gzip(&tar(&[("a", b"a")])));
    let (config, manifest, first) = layout.image_of(AMD64, &[layer.clone(), layer.clone()]);
    let (_, _, second) = layout.image_of(Platform("linux", "arm64", ""), std::slice::from_ref(&layer));
    layout.index(&[named(layout.nested(&[first, second]), "v1")]);
    let mount = Mount::new(layout.path());
    // Everything is looked at first: link counts are true however much has been seen.
    let check = |names: &[&str], blob: &Blob| {
        let meta = fs::metadata(mount.join(blob.path())).unwrap();
        assert_eq!(meta.nlink(), 1 + names.len() as u64, "{names:?}");
        for name in names {
            let other = fs::metadata(mount.join(name)).unwrap();
            assert_eq!((other.ino(), other.nlink()), (meta.ino(), meta.nlink()), "{name}");
        }
    };
    run(Command::new("find").arg(mount.point())).ok();
    let layers = [
        "platforms/linux-amd64/layers/0",
        "platforms/linux-amd64/layers/1",
        "platforms/linux-arm64/layers/0",
    ];
    check(&layers, &layer);
    check(&["platforms/linux-amd64/config.json"], &config);
    check(&["platforms/linux-amd64/manifest.json"], &manifest);
    let found = run(Command::new("find").arg(mount.point()).arg("-samefile").arg(mount.join(layers[0]))).ok();
    assert_eq!(found.lines().count(), 4, "{found}");
}

#[test]
fn extended_attributes_say_digest_and_media_type() {
    require_tool("getfattr");
    let layout = Layout::new();
    let layer = layout.blob(gzip(&tar(&[("a", b"a")])));
    let mut descriptor = layer.descriptor(media::LAYER);
    descriptor["annotations"] = json!({"org.example.key": "some value"});
    let config = layout.json(&json!({"os": "linux", "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": []}}));
    let manifest = layout.json(&json!({"schemaVersion": 2, "config": config.descriptor(media::CONFIG),
        "layers": [descriptor]}));
    layout.index(&[named(manifest.descriptor(media::MANIFEST), "v1")]);
    let mount = Mount::new(layout.path());
    let get = |path: &str, name: &str| {
        let mut command = Command::new("getfattr");
        run(command.args(["--only-values", "-n", name]).arg(mount.join(path))).ok()
    };
    assert_eq!(get(LAYER, "user.oci.digest"), layer.digest);
    assert_eq!(get(LAYER, "user.oci.mediatype"), media::LAYER);
    assert_eq!(get(LAYER, "user.oci.annotation.org.example.key"), "some value");
    assert_eq!(get("platforms/linux-amd64/config.json", "user.oci.digest"), config.digest);
    assert_eq!(get("platforms/linux-amd64/manifest.json", "user.oci.mediatype"), media::MANIFEST);
    let all = run(Command::new("getfattr").args(["-d", "-m", "-"]).arg(mount.join(LAYER))).ok();
    for name in ["user.oci.digest", "user.oci.mediatype", "user.oci.annotation.org.example.key"] {
        assert!(all.contains(name), "listxattr lacks {name}: {all}");
    }
}

#[test]
fn a_big_blob_reads_right_at_every_place() {
    let layout = Layout::new();
    // Several chunks and an odd end, in a pattern that no two places share.
    let content: Vec<u8> = (0..5_000_003_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let blob = layout.blob(content.clone());
    layout.index(&[]);
    let mount = Mount::new(layout.path());
    let file = File::open(mount.join(blob.path())).unwrap();
    let mut buffer = vec![0; 70_000];
    for at in [0, 1, 4095, 4096, 1_048_575, 1_048_576, 2_097_000, 4_999_000, 4_999_999, 5_000_002] {
        let length = file.read_at(&mut buffer, at as u64).unwrap();
        assert!(length > 0, "at {at}");
        assert_eq!(buffer[..length], content[at..at + length], "at {at}");
    }
    assert_eq!(file.read_at(&mut buffer, 5_000_003).unwrap(), 0, "past the end");
    assert_eq!(bytes(mount.join(blob.path())), content);
}

#[test]
fn an_empty_blob_is_an_empty_file() {
    let layout = Layout::new();
    let blob = layout.blob("");
    layout.index(&[]);
    let mount = Mount::new(layout.path());
    assert_eq!(bytes(mount.join(blob.path())), b"");
}

/// A sparse blob that takes long to hash; its name need not be right for that.
fn slow_blob(layout: &Layout) -> Blob {
    let blob = Blob { digest: format!("sha256:{}", "5".repeat(64)), bytes: Vec::new() };
    layout.store(&blob.digest, b"");
    File::options().write(true).open(layout.file(&blob)).unwrap().set_len(3 << 30).unwrap();
    blob
}

#[test]
fn listing_does_not_wait_for_a_blob_that_is_being_hashed() {
    let (layout, _) = Layout::sample();
    let slow = slow_blob(&layout);
    let mount = Mount::new(layout.path());
    // Several readers, so that no number of event threads can hide a blocked one.
    let mut readers: Vec<_> = (0..8)
        .map(|_| {
            Command::new("cat")
                .arg(mount.join(slow.path()))
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    std::thread::sleep(Duration::from_millis(200));
    let mut worst = Duration::ZERO;
    for name in ["", "platforms", "platforms/linux-amd64", "platforms/linux-amd64/layers", "blobs/sha256"] {
        let start = Instant::now();
        let listed = ls(mount.join(name));
        assert!(!listed.is_empty());
        worst = worst.max(start.elapsed());
    }
    let hashing = readers.iter_mut().all(|reader| reader.try_wait().unwrap().is_none());
    for reader in &mut readers {
        reader.kill().unwrap();
    }
    for reader in &mut readers {
        assert!(wait_until(|| reader.try_wait().unwrap().is_some()), "a reader cannot be killed");
    }
    assert!(hashing, "the blob was hashed before the listing: this test measured nothing");
    // What waits for the hash takes seconds; a busy machine makes milliseconds of anything.
    assert!(worst < Duration::from_secs(1), "a listing took {worst:?}");
}

#[test]
fn the_link_count_is_true_at_the_first_look() {
    let layout = Layout::new();
    let layer = layout.blob(gzip(&tar(&[("a", b"a")])));
    // A layer that is the config of another image as well: one blob in two roles.
    let (config, _, first) = layout.image_of(AMD64, &[layer.clone(), layer.clone()]);
    let shared = json!({"schemaVersion": 2, "config": config.descriptor(media::CONFIG),
        "layers": [config.descriptor("text/plain"), layer.descriptor(media::LAYER)]});
    let mut second = layout.json(&shared).descriptor(media::MANIFEST);
    second["platform"] = Platform("linux", "arm64", "").json();
    layout.index(&[named(layout.nested(&[first, second]), "v1")]);
    for (blob, names) in [(&layer, 4), (&config, 4)] {
        let mount = Mount::new(layout.path());
        assert_eq!(fs::metadata(mount.join(blob.path())).unwrap().nlink(), names, "{}", blob.digest);
    }
}

#[test]
fn two_descriptors_of_one_digest_and_different_sizes() {
    let layout = Layout::new();
    let layer = layout.blob("seven b");
    let mut wrong = layer.descriptor(media::LAYER);
    wrong["size"] = json!(6);
    let config = layout.json(&json!({"os": "linux", "architecture": "amd64"}));
    let manifest = layout.json(&json!({"schemaVersion": 2, "config": config.descriptor(media::CONFIG),
        "layers": [wrong, layer.descriptor(media::LAYER)]}));
    layout.index(&[named(manifest.descriptor(media::MANIFEST), "v1")]);
    let mount = Mount::new(layout.path());
    assert_eq!(read_errno(mount.join("platforms/linux-amd64/layers/0")), libc::EIO);
    assert_eq!(bytes(mount.join("platforms/linux-amd64/layers/1")), b"seven b");
    assert_eq!(
        read_errno(mount.join("platforms/linux-amd64/layers/0")),
        libc::EIO,
        "whichever was read first"
    );
}

#[test]
fn more_blobs_than_the_process_may_have_files_open() {
    let layout = Layout::new();
    let blobs: Vec<Blob> = (0..300).map(|n| layout.blob(format!("blob number {n}"))).collect();
    layout.index(&[]);
    let directory = crate::kit::temp_dir();
    let point = directory.join("mnt");
    fs::create_dir(&point).unwrap();
    let done = run(Command::new("sh")
        .args(["-euc", "ulimit -n 64; exec \"$0\" \"$1\" \"$2\""])
        .arg(crate::kit::ocifs())
        .arg(layout.path())
        .arg(&point)
        .env("XDG_CACHE_HOME", directory.join("cache")));
    let read: Vec<_> = blobs.iter().map(|blob| fs::read(point.join(blob.path()))).collect();
    let again: Vec<_> = blobs.iter().map(|blob| fs::read(point.join(blob.path()))).collect();
    assert!(crate::kit::unmount(&point), "{done:?}");
    for (blob, result) in blobs.iter().chain(&blobs).zip(read.into_iter().chain(again)) {
        assert_eq!(result.unwrap(), blob.bytes);
    }
}

#[test]
fn a_manifest_of_very_many_layers() {
    let layout = Layout::new();
    let config = layout.json(&json!({"os": "linux", "architecture": "amd64"}));
    let absent: Vec<Value> = (0..20_000)
        .map(|n| json!({"mediaType": media::LAYER, "digest": format!("sha256:{n:064x}"), "size": n}))
        .collect();
    let manifest = layout
        .json(&json!({"schemaVersion": 2, "config": config.descriptor(media::CONFIG), "layers": absent}));
    assert!(manifest.bytes.len() < 4 << 20);
    layout.index(&[named(manifest.descriptor(media::MANIFEST), "v1")]);
    let mount = Mount::new(layout.path());
    let start = Instant::now();
    assert_eq!(ls(mount.join("platforms/linux-amd64/layers")).len(), 20_000);
    assert_eq!(fs::metadata(mount.join("platforms/linux-amd64/layers/19999")).unwrap().len(), 19_999);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn a_size_beyond_all_measure_is_refused() {
    for size in ["9223372036854775807", "4611686018427387904", "9223372036854775808", "1e300", "-1"] {
        let layout = Layout::new();
        let layer = layout.blob("small");
        let config = layout.json(&json!({"os": "linux", "architecture": "amd64"}));
        let text = json!({"schemaVersion": 2, "config": config.descriptor(media::CONFIG),
            "layers": [layer.descriptor(media::LAYER)]})
        .to_string();
        let manifest = layout.blob(text.replace("\"size\":5", &format!("\"size\":{size}")));
        layout.index(&[named(manifest.descriptor(media::MANIFEST), "v1")]);
        let mount = Mount::new(layout.path());
        assert_eq!(
            ls(mount.join("platforms/linux-amd64/layers")),
            ["0"],
            "{size}: every layer has its number"
        );
        let path = mount.join("platforms/linux-amd64/layers/0");
        let read = File::open(&path).and_then(|file| file.read_at(&mut [0; 10], 0));
        assert_eq!(crate::kit::errno(read), libc::EIO, "{size}");
        assert_eq!(bytes(mount.join("platforms/linux-amd64/config.json")), config.bytes, "{size}");
    }
}
