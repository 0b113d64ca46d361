//! The cache directory: what is kept there saves a pass, and whatever else lies there is never an answer.

use crate::kit::{
    Layer, Layout, Member, Mount, Packing, TempDir, archive, bytes, is_mounted, ls, require_root, run,
    temp_dir, text, unmount,
};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// An image of two layers whose contents are known.
struct Stage {
    layout: Layout,
    scratch: TempDir,
}

const CONTENT: &str = "the one right answer";

impl Stage {
    fn new() -> Self {
        let layers = [
            Layer::of(&[Member::file("f", CONTENT), Member::dir("d")]),
            Layer::packed(&archive(&[Member::file("d/zeros", vec![0; 100_000])]), Packing::Zstd),
        ];
        Self { layout: Layout::of_layers(&layers), scratch: temp_dir() }
    }

    fn cache(&self) -> PathBuf {
        self.scratch.join("cache")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.scratch.join("log")).unwrap_or_default()
    }

    /// Mounts with a cache directory, looks at everything, and holds it against what is known.
    #[track_caller]
    fn look(&self) -> (u64, u64) {
        self.look_with(&["--cache-dir", self.cache().to_str().unwrap()])
    }

    #[track_caller]
    fn look_with(&self, options: &[&str]) -> (u64, u64) {
        let log = self.scratch.join("log");
        let options = [options, &["--log-file", log.to_str().unwrap()]].concat();
        let mount = Mount::with(self.layout.path(), &options);
        right(&mount);
        (mount.stat("layer_passes_total"), mount.stat("layer_cached_total"))
    }

    fn index_files(&self) -> Vec<PathBuf> {
        let names = ls(self.cache().join("index")).into_iter().filter(|name| name.starts_with("sha256-"));
        names.map(|name| self.cache().join("index").join(name)).collect()
    }
}

#[track_caller]
fn right(mount: &Mount) {
    assert_eq!(ls(mount.rootfs("")), ["d", "f"]);
    assert_eq!(text(mount.rootfs("f")), CONTENT);
    assert_eq!(text(mount.diff(0, "f")), CONTENT);
    assert!(bytes(mount.rootfs("d/zeros")) == vec![0; 100_000]);
    assert_eq!(mount.problems(), [""; 0]);
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn the_second_mount_opens_without_a_pass() {
    let stage = Stage::new();
    assert_eq!(stage.look(), (2, 0));
    assert_eq!(stage.look(), (0, 2));
    assert_eq!(mode(&stage.cache()), 0o700);
    assert_eq!(mode(&stage.cache().join("index")), 0o700);
    let files = stage.index_files();
    assert_eq!(files.len(), 2);
    assert!(files.iter().all(|file| mode(file) == 0o600), "{files:?}");
    // The index is the blob's alone: another image of the same layer finds it too.
    assert_eq!(stage.look_with(&["--cache-dir", stage.cache().to_str().unwrap(), "--uid", "7"]), (0, 2));
}

#[test]
fn without_a_cache_nothing_is_written() {
    let stage = Stage::new();
    // A mount of the tests has a cache directory of its own, in XDG_CACHE_HOME.
    let mount = Mount::with(stage.layout.path(), &["--no-cache"]);
    right(&mount);
    let cache = mount.point().with_file_name("cache");
    assert!(!cache.exists());
    right(&Mount::with(stage.layout.path(), &["-o", "no-cache"]));
    let kept = Mount::new(stage.layout.path());
    right(&kept);
    assert!(kept.point().with_file_name("cache/ocifs/index").exists());
}

/// Puts something in the place of one index file: it is a miss, the answers are right, and the file is good again.
#[track_caller]
fn check_miss(what: &str, damage: impl FnOnce(&Path, &Path)) {
    let stage = Stage::new();
    stage.look();
    let files = stage.index_files();
    damage(&files[0], &files[1]);
    assert_eq!(stage.look(), (1, 1), "{what}");
    assert_eq!(stage.look(), (0, 2), "{what}: the file is good again");
}

fn rewrite(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut content = fs::read(file).unwrap();
    change(&mut content);
    fs::write(file, content).unwrap();
}

/// Puts the checksum at the end right, so that only what it covers is wrong.
fn seal(content: &mut Vec<u8>) {
    content.truncate(content.len() - 32);
    let checksum = blake3::hash(content);
    content.extend_from_slice(checksum.as_bytes());
}

#[test]
fn what_is_no_index_of_this_layer_is_a_miss() {
    check_miss("empty", |file, _| fs::write(file, "").unwrap());
    check_miss("text", |file, _| fs::write(file, "not an index").unwrap());
    check_miss("a flipped bit", |file, _| rewrite(file, |content| content[60] ^= 1));
    check_miss("truncated", |file, _| rewrite(file, |content| content.truncate(content.len() / 2)));
    check_miss("longer", |file, _| rewrite(file, |content| content.push(0)));
    check_miss("another layer's", |file, other| {
        fs::copy(other, file).unwrap();
    });
    // The version stands behind the eight bytes of the magic.
    for version in [0, 99] {
        check_miss("another version", |file, _| {
            rewrite(file, |content| {
                content[8..12].copy_from_slice(&u32::to_le_bytes(version));
                seal(content);
            });
        });
    }
    check_miss("a symlink", |file, other| {
        fs::remove_file(file).unwrap();
        symlink(other, file).unwrap();
    });
    check_miss("a FIFO", |file, _| {
        fs::remove_file(file).unwrap();
        run(Command::new("mkfifo").arg(file)).ok();
    });
}

/// Every index file cut at every so many bytes and flipped all over, under one daemon after the other: never a panic,
/// never another answer.
#[test]
fn cut_and_flipped_anywhere_the_answers_stay_right() {
    let stage = Stage::new();
    stage.look();
    let file = &stage.index_files()[0];
    let good = fs::read(file).unwrap();
    // A mount for each place would take minutes: the places are spread, and the fuzz target does the rest.
    let step = good.len() / 12 + 1;
    for at in (0..good.len()).step_by(step) {
        fs::write(file, &good[..at]).unwrap();
        assert_eq!(stage.look().0, 1, "cut at {at}");
        let mut flipped = good.clone();
        flipped[at] ^= 0x80;
        fs::write(file, flipped).unwrap();
        assert_eq!(stage.look().0, 1, "flipped at {at}");
    }
    assert!(!stage.log().contains("bug"), "{}", stage.log());
}

/// The mount works, and the log says once that the cache does not.
#[track_caller]
fn check_useless(stage: &Stage, what: &str) {
    let _ = fs::remove_file(stage.scratch.join("log"));
    assert_eq!(stage.look(), (2, 0), "{what}");
    let log = stage.log();
    let said: Vec<&str> = log.lines().filter(|line| line.contains("cache")).collect();
    assert_eq!(said.len(), 1, "{what}: {log}");
    assert!(said[0].contains(stage.cache().to_str().unwrap()), "{what}: {log}");
}

#[test]
fn a_cache_directory_that_cannot_be_is_told_once() {
    let stage = Stage::new();
    fs::write(stage.cache(), "a file").unwrap();
    check_useless(&stage, "a file in its place");

    let stage = Stage::new();
    fs::create_dir_all(stage.cache().join("index")).unwrap();
    fs::set_permissions(stage.cache().join("index"), Permissions::from_mode(0o777)).unwrap();
    check_useless(&stage, "others may write to it");
    assert!(ls(stage.cache().join("index")).is_empty());

    require_root();
    let stage = Stage::new();
    fs::create_dir_all(stage.cache().join("index")).unwrap();
    std::os::unix::fs::chown(stage.cache().join("index"), Some(65534), Some(65534)).unwrap();
    check_useless(&stage, "somebody else's");
}

/// What others may write to is not read either: they could put an index there that proves itself.
#[test]
fn an_index_that_others_could_have_made_is_not_read() {
    let stage = Stage::new();
    stage.look();
    fs::set_permissions(stage.cache().join("index"), Permissions::from_mode(0o770)).unwrap();
    assert_eq!(stage.look(), (2, 0));
}

/// A file system of a size, unmounted at the end.
struct Small(PathBuf);

impl Small {
    fn mount(point: PathBuf, options: &str) -> Self {
        fs::create_dir_all(&point).unwrap();
        run(Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(&point)).ok();
        Self(point)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        if is_mounted(&self.0) {
            unmount(&self.0);
        }
    }
}

#[test]
fn a_full_disk_is_told_once() {
    require_root();
    let stage = Stage::new();
    let _small = Small::mount(stage.cache(), "size=64k,mode=0700");
    fs::write(stage.cache().join("filler"), vec![1; 65 << 10]).unwrap_err();
    check_useless(&stage, "a full disk");
    let index = stage.cache().join("index");
    assert!(!index.exists() || ls(index).is_empty(), "nothing half written is left");
}

#[test]
fn a_read_only_disk_is_told_once() {
    require_root();
    let stage = Stage::new();
    let small = Small::mount(stage.cache(), "size=64k,mode=0700");
    run(Command::new("mount").args(["-o", "remount,ro"]).arg(&small.0)).ok();
    check_useless(&stage, "a read-only disk");
}

#[test]
fn two_mounts_at_once_share_a_fresh_cache() {
    let stage = Stage::new();
    let cache = stage.cache();
    let options = ["--cache-dir", cache.to_str().unwrap()];
    let mounts = [(); 3].map(|()| Mount::with(stage.layout.path(), &options));
    std::thread::scope(|threads| {
        for mount in &mounts {
            threads.spawn(|| right(mount));
        }
    });
    drop(mounts);
    assert_eq!(stage.look(), (0, 2));
    assert_eq!(ls(cache.join("index")).iter().filter(|name| name.contains("unfinished")).count(), 0);
}

/// A single-frame layer is kept decompressed; a copy that was tampered with is not believed.
#[test]
fn a_damaged_spill_is_not_believed() {
    let content: Vec<u8> = (0..24_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let layers = [Layer::packed(&archive(&[Member::file("big", &content)]), Packing::Zstd)];
    let (layout, scratch) = (Layout::of_layers(&layers), temp_dir());
    let cache = scratch.join("cache");
    let options = ["--cache-dir", cache.to_str().unwrap()];
    assert!(bytes(Mount::with(layout.path(), &options).rootfs("big")) == content);
    let spilled = ls(cache.join("spill"));
    assert_eq!(spilled.len(), 1, "{spilled:?}");
    rewrite(&cache.join("spill").join(&spilled[0]), |copy| copy[5_000_000] ^= 1);
    let mount = Mount::with(layout.path(), &options);
    assert!(bytes(mount.rootfs("big")) == content, "a damaged copy was believed");
    assert_eq!(mount.stat("layer_passes_total"), 0);
}
