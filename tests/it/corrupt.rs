//! Damage of every kind: an error and a reason, never other bytes.

use crate::kit::{
    Blob, Layout, Mount, Sample, bytes, errno, list_errno, ls, named, noise, read_errno, require_root,
    wait_until,
};
use crate::kit::{Platform, gzip, tar};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

const LAYER: &str = "platforms/linux-amd64/layers/0";

/// A layout of one image with one layer big enough for several chunks, of bytes that do not compress.
fn big() -> (Layout, Blob) {
    let layout = Layout::new();
    let layer = layout.blob(gzip(&tar(&[("noise", &noise(0, 5_000_000))])));
    let (_, _, entry) = layout.image_of(Platform("linux", "amd64", ""), std::slice::from_ref(&layer));
    layout.index(&[named(entry, "v1")]);
    (layout, layer)
}

/// Damages the big layer before the mount; it must be refused under both names, and say why.
#[track_caller]
fn check_before(damage: impl FnOnce(&Layout, &Blob), expected: i32) {
    let (layout, layer) = big();
    damage(&layout, &layer);
    let found = fs::read(layout.file(&layer)).map(|content| crate::kit::sha256(&content)).ok();
    let mount = Mount::new(layout.path());
    assert_eq!(read_errno(mount.join(LAYER)), expected);
    // A blob that is not there is not in the list of those that are.
    let by_digest = if expected == libc::ENODATA { libc::ENOENT } else { expected };
    assert_eq!(read_errno(mount.join(layer.path())), by_digest);
    // The rest of the image is as good as before.
    assert!(!bytes(mount.join("platforms/linux-amd64/config.json")).is_empty());
    check_reported(&mount, &layer, found.as_deref());
}

/// Damages the big layer after it was read once; reads through a new and through an old descriptor must refuse.
#[track_caller]
fn check_after(damage: impl FnOnce(&Layout, &Blob)) {
    let (layout, layer) = big();
    let mount = Mount::new(layout.path());
    let path = mount.join(LAYER);
    let open = File::open(&path).unwrap();
    assert_eq!(bytes(&path), layer.bytes);
    let (middle, length) = (layer.bytes.len() / 2, layer.bytes.len());
    damage(&layout, &layer);
    drop_caches(&mount, &open);

    let mut buffer = vec![0; 100_000];
    for at in [0, middle, length - 1000] {
        match open.read_at(&mut buffer, at as u64) {
            Ok(count) => {
                assert_eq!(buffer[..count], layer.bytes[at..at + count], "other bytes through an open file")
            }
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EIO), "at {at}"),
        }
    }
    assert_eq!(errno(read_all(&open, length)), libc::EIO, "through an open file");
    assert_eq!(read_errno(&path), libc::EIO, "opened again");
    assert_eq!(read_errno(mount.join(layer.path())), libc::EIO, "by its other name");
    assert_eq!(ls(mount.join("platforms")), ["linux-amd64"]);
    check_reported(&mount, &layer, None);
}

fn read_all(file: &File, length: usize) -> std::io::Result<()> {
    file.read_exact_at(&mut vec![0; length], 0)
}

/// Takes the file's pages out of the kernel's cache: by the file, and as root by the whole machine's switch.
fn drop_caches(mount: &Mount, file: &File) {
    nix::unistd::sync();
    nix::fcntl::posix_fadvise(file, 0, 0, nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
    if nix::unistd::geteuid().is_root() {
        let _ = fs::write("/proc/sys/vm/drop_caches", "3");
    }
    assert!(mount.join("index.json").exists());
}

/// One line in problems names the blob, what was expected and, where it is known, what was found.
#[track_caller]
fn check_reported(mount: &Mount, blob: &Blob, found: Option<&str>) {
    let problems = mount.problems();
    let lines: Vec<&String> = problems.iter().filter(|line| line.contains(&blob.digest)).collect();
    assert!(!lines.is_empty(), "nothing about {} in {problems:#?}", blob.digest);
    assert!(
        lines.iter().any(|line| line.contains(LAYER) || line.contains(&*blob.path().to_string_lossy())),
        "{lines:#?}"
    );
    if let Some(found) = found {
        // A blob of the wrong size need not be hashed to be refused.
        let size = fs::metadata(mount.join(LAYER)).unwrap().len().to_string();
        assert!(
            lines.iter().any(|line| line.contains(found) || line.contains(&size)),
            "{found} not in {lines:#?}"
        );
    }
}

#[test]
fn flipped_at_the_start() {
    check_before(|layout, layer| layout.flip(layer, 0), libc::EIO);
}

#[test]
fn flipped_in_the_middle() {
    check_before(|layout, layer| layout.flip(layer, layer.bytes.len() / 2), libc::EIO);
}

#[test]
fn flipped_at_the_end() {
    check_before(|layout, layer| layout.flip(layer, layer.bytes.len() - 1), libc::EIO);
}

#[test]
fn truncated() {
    check_before(|layout, layer| layout.overwrite(layer, &layer.bytes[..layer.bytes.len() - 1]), libc::EIO);
    check_before(|layout, layer| layout.overwrite(layer, b""), libc::EIO);
}

#[test]
fn grown() {
    check_before(|layout, layer| layout.overwrite(layer, &[&*layer.bytes, b"\0"].concat()), libc::EIO);
}

#[test]
fn swapped_for_another_valid_layer_of_the_same_size() {
    check_before(
        |layout, layer| layout.replace(layer, &layer.bytes.iter().rev().copied().collect::<Vec<u8>>()),
        libc::EIO,
    );
}

#[test]
fn missing() {
    check_before(|layout, layer| layout.remove(layer), libc::ENODATA);
}

#[test]
fn a_mismatch_is_reported_with_both_digests() {
    let (layout, Sample { layers: [layer, _], .. }) = Layout::sample();
    layout.flip(&layer, 20);
    let found = crate::kit::sha256(&bytes(layout.file(&layer)));
    let mount = Mount::new(layout.path());
    for _ in 0..3 {
        assert_eq!(read_errno(mount.join(LAYER)), libc::EIO);
    }
    let problems = mount.problems();
    let lines: Vec<&String> = problems.iter().filter(|line| line.contains(&layer.digest)).collect();
    assert_eq!(lines.len(), 1, "reported once, however often it is read: {problems:#?}");
    assert!(lines[0].contains(&found), "{lines:?}");
}

#[test]
fn a_good_layout_has_no_problems() {
    let (layout, sample) = Layout::sample();
    let mount = Mount::new(layout.path());
    assert_eq!(bytes(mount.join(LAYER)), sample.layers[0].bytes);
    assert_eq!(mount.problems(), Vec::<String>::new());
}

#[test]
fn swapped_layers_are_both_refused() {
    let (layout, Sample { layers: [first, second], .. }) = Layout::sample();
    layout.overwrite(&first, &second.bytes);
    layout.overwrite(&second, &first.bytes);
    let mount = Mount::new(layout.path());
    for number in 0..2 {
        assert_eq!(read_errno(mount.join(format!("platforms/linux-amd64/layers/{number}"))), libc::EIO);
    }
}

#[test]
fn a_damaged_config_spoils_what_is_made_of_it_and_no_more() {
    let (layout, sample) = Layout::sample();
    layout.flip(&sample.config, 5);
    let mount = Mount::new(layout.path());
    let platform = mount.join("platforms/linux-amd64");
    assert_eq!(read_errno(platform.join("config.json")), libc::EIO);
    assert_eq!(read_errno(platform.join("pretty/config.json")), libc::EIO);
    assert_eq!(bytes(platform.join("image-id")), format!("{}\n", sample.config.digest).as_bytes());
    assert_eq!(bytes(platform.join("layers/0")), sample.layers[0].bytes);
    assert_eq!(bytes(platform.join("manifest.json")), sample.manifest.bytes);
}

#[test]
fn a_damaged_manifest_is_refused_and_the_mount_lives() {
    let (layout, sample) = Layout::sample();
    layout.flip(&sample.manifest, 5);
    let mount = Mount::new(layout.path());
    assert_eq!(read_errno(mount.join("platforms/linux-amd64/manifest.json")), libc::EIO);
    assert_eq!(read_errno(mount.join(sample.manifest.path())), libc::EIO);
    assert_eq!(bytes(mount.join(sample.layers[0].path())), sample.layers[0].bytes);
    assert!(!mount.problems().is_empty());
}

#[test]
fn a_damaged_index_spoils_its_image_only() {
    let layout = Layout::new();
    let nested = layout.nested(&[layout.image(Platform("linux", "amd64", ""), "x")]);
    let blob = Blob {
        digest: nested["digest"].as_str().unwrap().to_owned(),
        bytes: bytes(layout.path().join("blobs").join(nested["digest"].as_str().unwrap().replace(':', "/"))),
    };
    layout.index(&[named(nested, "bad"), named(layout.image(Platform("linux", "arm64", ""), "y"), "good")]);
    layout.flip(&blob, 30);
    let mount = Mount::new(layout.path());
    assert_eq!(ls(mount.join("images")), ["bad", "good"]);
    assert_eq!(ls(mount.join("images/good/platforms")), ["linux-arm64"]);
    assert_eq!(list_errno(mount.join("images/bad/platforms")), libc::EIO);
    assert_eq!(read_errno(mount.join("images/bad/image-index.json")), libc::EIO);
}

#[test]
fn changed_in_place_after_it_was_verified() {
    check_after(|layout, layer| {
        let middle = layer.bytes.len() / 2;
        // Written through, one byte, same size; the times may even be put back.
        let file = File::options().write(true).open(layout.file(layer)).unwrap();
        let times =
            fs::FileTimes::new().set_modified(fs::metadata(layout.file(layer)).unwrap().modified().unwrap());
        file.write_all_at(&[!layer.bytes[middle]], middle as u64).unwrap();
        file.set_times(times).unwrap();
    });
}

#[test]
fn truncated_after_it_was_verified() {
    check_after(|layout, layer| layout.overwrite(layer, &layer.bytes[..layer.bytes.len() / 3]));
}

#[test]
fn emptied_after_it_was_verified() {
    check_after(|layout, layer| layout.overwrite(layer, b""));
}

#[test]
fn other_content_after_it_was_verified() {
    check_after(|layout, layer| layout.overwrite(layer, &vec![b'x'; layer.bytes.len()]));
}

/// A file that only grew, or whose place another one took, may still have the right bytes to give: what is
/// promised is that they are right, or refused.
#[track_caller]
fn check_right_or_refused(damage: impl FnOnce(&Layout, &Blob)) {
    let (layout, layer) = big();
    let mount = Mount::new(layout.path());
    let open = File::open(mount.join(LAYER)).unwrap();
    assert_eq!(bytes(mount.join(LAYER)), layer.bytes);
    damage(&layout, &layer);
    drop_caches(&mount, &open);
    for path in [mount.join(LAYER), mount.join(layer.path())] {
        match fs::read(&path) {
            Ok(content) => assert!(content == layer.bytes, "{}: other bytes", path.display()),
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EIO)),
        }
    }
    let mut buffer = vec![0; layer.bytes.len()];
    match open.read_exact_at(&mut buffer, 0) {
        Ok(()) => assert!(buffer == layer.bytes, "other bytes through an open file"),
        Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EIO)),
    }
}

#[test]
fn grown_after_it_was_verified() {
    check_right_or_refused(|layout, layer| layout.overwrite(layer, &[&*layer.bytes, b"more"].concat()));
}

#[test]
fn replaced_by_another_file_after_it_was_verified() {
    check_right_or_refused(|layout, layer| layout.replace(layer, &vec![b'x'; layer.bytes.len()]));
}

#[test]
fn removed_after_it_was_verified() {
    let (layout, layer) = big();
    let mount = Mount::new(layout.path());
    assert_eq!(bytes(mount.join(LAYER)), layer.bytes);
    let open = File::open(mount.join(LAYER)).unwrap();
    layout.remove(&layer);
    drop_caches(&mount, &open);
    // The daemon may hold the file open; then its bytes are still there, and right.
    match fs::read(mount.join(LAYER)) {
        Ok(content) => assert!(content == layer.bytes),
        Err(error) => assert!([libc::EIO, libc::ENODATA].contains(&error.raw_os_error().unwrap())),
    }
}

#[test]
fn a_blob_that_comes_later_can_be_read() {
    let (layout, sample) = Layout::sample();
    let layer = &sample.layers[0];
    layout.remove(layer);
    let mount = Mount::new(layout.path());
    assert_eq!(read_errno(mount.join(LAYER)), libc::ENODATA);
    layout.store(&layer.digest, &layer.bytes);
    // A failure is not remembered as an answer.
    assert!(wait_until(|| fs::read(mount.join(LAYER)).is_ok_and(|content| content == layer.bytes)));
}

#[test]
fn damage_while_many_read_gives_right_bytes_or_an_error() {
    require_root();
    let (layout, layer) = big();
    let mount = Mount::new(layout.path());
    let path = mount.join(LAYER);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let refusals: usize = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut refused = 0;
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        match fs::read(&path) {
                            Ok(content) => assert!(content == layer.bytes, "other bytes"),
                            Err(error) => {
                                assert_eq!(error.raw_os_error(), Some(libc::EIO));
                                refused += 1;
                            }
                        }
                    }
                    refused
                })
            })
            .collect();
        for round in 0..10 {
            std::thread::sleep(std::time::Duration::from_millis(50));
            layout.flip(&layer, round * layer.bytes.len() / 10);
            let _ = fs::write("/proc/sys/vm/drop_caches", "3");
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        readers.into_iter().map(|reader| reader.join().unwrap()).sum()
    });
    assert!(refusals > 0, "the damage was never seen: this test measured nothing");
}
