//! docs/semantics.md, paragraph by paragraph: what the mount promises, as a program sees it.

use crate::kit::{
    Act, Blob, Layout, Mount, Platform, Proxy, Registry, bytes, errno, ls, media, named, read_errno,
    repository, run, text,
};
use serde_json::json;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

const PLATFORM: &str = "platforms/linux-amd64";

/// A layout with one of everything that the errno table speaks of.
fn of_everything() -> (Layout, [Blob; 4]) {
    let layout = Layout::new();
    let wrong = layout.blob("its bit will be flipped");
    let absent = Blob::of("sha256", "stayed in the registry");
    let good = layout.blob("good");
    let layers = json!([
        wrong.descriptor(media::LAYER),
        absent.descriptor(media::LAYER),
        {"mediaType": media::LAYER, "digest": "md4:00112233", "size": 8},
        good.descriptor(media::LAYER),
    ]);
    // Longer than any document we parse, and valid JSON.
    let huge = layout
        .blob(format!("{{\"os\":\"linux\",\"architecture\":\"amd64\",\"x\":\"{}\"}}", "x".repeat(5 << 20)));
    let manifest =
        layout.json(&json!({"schemaVersion": 2, "config": huge.descriptor(media::CONFIG), "layers": layers}));
    let mut entry = manifest.descriptor(media::MANIFEST);
    entry["platform"] = Platform("linux", "amd64", "").json();
    layout.index(&[named(entry, "v1")]);
    layout.flip(&wrong, 3);
    (layout, [wrong, absent, good, huge])
}

/// Gets an extended attribute into a buffer of the given length.
fn getxattr(path: &Path, name: &str, length: usize) -> std::io::Result<usize> {
    let path = CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
    let name = CString::new(name).unwrap();
    let mut buffer = vec![0_u8; length];
    #[allow(unsafe_code)]
    // SAFETY: both strings end in NUL, and the buffer is as long as said.
    let result = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), buffer.as_mut_ptr().cast(), length) };
    usize::try_from(result).map_err(|_| std::io::Error::last_os_error())
}

/// The errno of reading a layer of a registry that does something else than to send it.
fn of_registry(act: Act) -> i32 {
    let registry = Registry::start();
    let (layout, sample) = Layout::sample();
    registry.push(&layout, "v1", "app:v1", &[]);
    let proxy = Proxy::before(&registry);
    let mount = Mount::with(proxy.image("app:v1"), &["--timeout", "2"]);
    let layer = sample.layers[0].digest.clone();
    proxy.rule(move |asked| if asked.target.contains(&layer) { act.clone() } else { Act::Pass });
    read_errno(mount.join(PLATFORM).join("layers/0"))
}

/// Every row of the table in docs/semantics.md has a function here that brings it about; a row without one fails.
#[test]
fn the_errno_table() {
    let (layout, _) = of_everything();
    let mount = Mount::new(layout.path());
    let platform = mount.join(PLATFORM);
    let layer = |number: usize| platform.join(format!("layers/{number}"));
    let bring_about = |row: &str| -> Vec<i32> {
        match row {
            "no such name" => vec![errno(fs::metadata(platform.join("nothing")))],
            "a name inside a file" => vec![errno(fs::metadata(platform.join("digest/x")))],
            "reading a directory" => {
                vec![errno(File::open(&platform).unwrap().read_at(&mut [0; 10], 0))]
            }
            "digest or size does not hold" => vec![read_errno(layer(0))],
            "a document is not what its type says" => {
                let layout = Layout::new();
                let manifest = layout.manifest(&layout.blob("no JSON"), &[]);
                let mut entry = manifest.descriptor(media::MANIFEST);
                entry["platform"] = Platform("linux", "amd64", "").json();
                layout.index(&[named(entry, "v1")]);
                let mount = Mount::new(layout.path());
                vec![read_errno(mount.join(PLATFORM).join("pretty/config.json"))]
            }
            "the blob is not in this layout" => vec![read_errno(layer(1))],
            "the registry refuses, or wants a login" => {
                vec![of_registry(Act::Answer("403 Forbidden".to_owned(), String::new()))]
            }
            "the registry does not answer in time" => vec![of_registry(Act::Hang)],
            "the registry cannot be reached, or fails" => vec![
                of_registry(Act::Cut(0)),
                of_registry(Act::Answer("500 Internal Server Error".to_owned(), String::new())),
            ],
            "a digest of an algorithm we cannot compute" => vec![read_errno(layer(2))],
            "a limit of ours" => vec![read_errno(platform.join("pretty/config.json"))],
            "no such extended attribute" => vec![errno(getxattr(&layer(3), "user.oci.nothing", 100))],
            "buffer too small for an extended attribute" => {
                vec![errno(getxattr(&layer(3), "user.oci.digest", 10))]
            }
            "any attempt to write" => vec![
                errno(OpenOptions::new().write(true).open(layer(3))),
                errno(File::create(platform.join("new"))),
                errno(fs::create_dir(platform.join("new"))),
                errno(fs::remove_file(layer(3))),
                errno(fs::remove_dir(platform.join("layers"))),
                errno(fs::rename(layer(3), platform.join("moved"))),
                errno(fs::hard_link(layer(3), platform.join("linked"))),
                errno(std::os::unix::fs::symlink("x", platform.join("symlink"))),
                errno(fs::set_permissions(layer(3), fs::Permissions::from_mode(0o777))),
                errno(std::os::unix::fs::chown(layer(3), Some(1), Some(1))),
                errno(nix::unistd::truncate(&layer(3), 0).map_err(std::io::Error::from)),
                errno(
                    nix::unistd::mkfifo(&platform.join("fifo"), nix::sys::stat::Mode::S_IRWXU)
                        .map_err(Into::into),
                ),
            ],
            other => panic!("no test brings about {other:?}"),
        }
    };

    let page = text(repository().join("docs/semantics.md"));
    let mut executed = 0;
    for line in page.lines().skip_while(|line| !line.starts_with("| what happened")).skip(2) {
        let Some((what, name)) = line.strip_prefix("| ").and_then(|line| line.split_once(" | `")) else {
            break;
        };
        let name = name.trim_end_matches(|c: char| !c.is_ascii_uppercase());
        let expected = match name {
            "ENOENT" => libc::ENOENT,
            "ENOTDIR" => libc::ENOTDIR,
            "EISDIR" => libc::EISDIR,
            "EACCES" => libc::EACCES,
            "EIO" => libc::EIO,
            "ENODATA" => libc::ENODATA,
            "EOPNOTSUPP" => libc::EOPNOTSUPP,
            "EFBIG" => libc::EFBIG,
            "ERANGE" => libc::ERANGE,
            "ETIMEDOUT" => libc::ETIMEDOUT,
            "EROFS" => libc::EROFS,
            other => panic!("the table names {other}, and this test does not know it"),
        };
        let seen = bring_about(what);
        assert_eq!(seen, vec![expected; seen.len()], "{what}");
        executed += 1;
    }
    assert_eq!(executed, 14, "rows of the table that were executed");
    // The raw bytes of what is too long to parse are there all the same.
    assert!(bytes(platform.join("config.json")).len() > 5 << 20);
}

/// find's way around the image's own files, whose modes are the image's.
const OWN_FILES: [&str; 15] = [
    "(", "-name", "rootfs", "-o", "-name", "diffs", "-o", "-name", "at", "-o", "-name", "deleted", ")",
    "-prune", "-o",
];

#[test]
fn everything_is_read_only_by_mode_and_by_mount() {
    let (layout, _) = Layout::sample();
    let mount = Mount::new(layout.path());
    let listing = run(Command::new("find")
        .arg(mount.point())
        .args(OWN_FILES)
        .args(["!", "-type", "l", "-perm", "/222", "-print"]))
    .ok();
    assert_eq!(listing, "", "nothing has a write bit");
    let executable = run(Command::new("find")
        .arg(mount.point())
        .args(OWN_FILES)
        .args(["-type", "f", "-perm", "/111", "-print"]))
    .ok();
    assert_eq!(executable, "", "no document or blob is executable");
    let table = text("/proc/self/mountinfo");
    let line = table.lines().find(|line| line.contains(mount.point().to_str().unwrap())).unwrap();
    let options: Vec<&str> = line.split(' ').nth(5).unwrap().split(',').collect();
    for option in ["ro", "nosuid", "nodev"] {
        assert!(options.contains(&option), "{option} is not in {options:?}");
    }
    assert!(line.contains(" - fuse.ocifs "), "{line}");
}

#[test]
fn dot_ocifs_is_reachable_and_not_listed() {
    let (layout, _) = Layout::sample();
    let mount = Mount::new(layout.path());
    assert!(!ls(mount.point()).contains(&".ocifs".to_owned()));
    let mut listed = ls(mount.join(".ocifs"));
    listed.retain(|name| name == "problems" || name == "stats");
    assert_eq!(listed, ["problems", "stats"]);
    let found = run(Command::new("find").arg(mount.point()).args(["-name", "problems"])).ok();
    assert_eq!(found, "");
}

#[test]
fn stats_are_prometheus_text() {
    let (layout, _) = Layout::sample();
    let mount = Mount::new(layout.path());
    let value = |text: &str| -> f64 {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
    };
    let before = text(mount.join(".ocifs/stats"));
    for line in before.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            assert!(comment.starts_with("HELP ocifs_") || comment.starts_with("TYPE ocifs_"), "{line}");
        } else {
            let (name, number) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value in {line:?}"));
            assert!(name.starts_with("ocifs_"), "{line}");
            number.parse::<f64>().unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }
    assert!(before.lines().count() > 3, "{before}");
    bytes(mount.join("platforms/linux-amd64/layers/0"));
    assert!(
        value(&text(mount.join(".ocifs/stats"))) > value(&before),
        "the counters count, and are not cached"
    );
}

#[test]
fn inode_numbers_are_unique_stable_and_agree_with_readdir() {
    let (layout, _) = Layout::sample();
    let mount = Mount::new(layout.path());
    let list = || run(Command::new("find").arg(mount.point()).args(["-printf", "%i %n %y %P\n"])).ok();
    let first = list();
    assert_eq!(first, list());
    let mut by_inode = std::collections::BTreeMap::<&str, Vec<&str>>::new();
    for line in first.lines() {
        by_inode.entry(line.split(' ').next().unwrap()).or_default().push(line);
    }
    for (inode, lines) in by_inode {
        let links = lines[0].split(' ').nth(1).unwrap();
        let file = lines[0].split(' ').nth(2) == Some("f");
        if file {
            assert_eq!(links, lines.len().to_string(), "link count of {lines:?}");
        } else {
            assert_eq!(lines.len(), 1, "a directory has two names: {inode} {lines:?}");
        }
    }
    for entry in fs::read_dir(mount.join(PLATFORM)).unwrap() {
        let entry = entry.unwrap();
        use std::os::unix::fs::DirEntryExt;
        assert_eq!(entry.ino(), entry.metadata().unwrap().ino(), "{:?}", entry.path());
        let kind = entry.file_type().unwrap();
        assert_eq!(kind, fs::symlink_metadata(entry.path()).unwrap().file_type());
    }
}

#[test]
fn the_tree_does_not_change_while_it_is_mounted() {
    let (layout, _) = Layout::sample();
    let mount = Mount::new(layout.path());
    let before = text(mount.join("index.json"));
    layout.index(&[]);
    layout.blob("a new blob");
    assert_eq!(text(mount.join("index.json")), before);
    assert_eq!(ls(mount.join("platforms")), ["linux-amd64"]);
    drop(mount);
    let again = Mount::new(layout.path());
    assert_ne!(text(again.join("index.json")), before);
}

#[test]
fn statfs_says_something() {
    let (layout, _) = Layout::sample();
    let mount = Mount::new(layout.path());
    let stat = nix::sys::statvfs::statvfs(mount.point()).unwrap();
    assert!(
        stat.block_size() > 0 && stat.blocks() > 0 && stat.files() > 0 && stat.name_max() == 255,
        "{stat:?}"
    );
    assert_eq!((stat.blocks_free(), stat.blocks_available(), stat.files_free()), (0, 0, 0));
    assert!(run(Command::new("df").arg(mount.point())).ok().lines().count() == 2);
}

#[test]
fn du_counts_a_blob_once() {
    let layout = Layout::new();
    let layer = layout.blob(vec![7; 3 << 20]);
    let config = layout.json(&json!({"os": "linux", "architecture": "amd64"}));
    let manifest = layout.manifest(&config, &[layer.clone(), layer.clone(), layer]);
    layout.index(&[named(manifest.descriptor(media::MANIFEST), "v1")]);
    let mount = Mount::new(layout.path());
    let total = run(Command::new("du")
        .args(["-sc", "--block-size=1048576"])
        .args([mount.join("blobs"), mount.join("platforms/linux-amd64/layers")]))
    .ok();
    let megabytes: u64 = total.lines().last().unwrap().split('\t').next().unwrap().parse().unwrap();
    assert!((3..=4).contains(&megabytes), "{total}");
}

#[test]
fn times_are_not_in_the_future_and_do_not_move() {
    let (layout, _) = Layout::sample();
    let mount = Mount::new(layout.path());
    let list = || run(Command::new("find").arg(mount.point()).args(["-printf", "%T@ %C@ %p\n"])).ok();
    let before = list();
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(before, list());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    for line in before.lines() {
        assert!(line.split(' ').next().unwrap().parse::<f64>().unwrap() <= now + 1.0, "{line}");
    }
}

#[test]
fn odd_reads_are_answered_as_by_any_file() {
    let (layout, sample) = Layout::sample();
    let mount = Mount::new(layout.path());
    let content = &sample.layers[0].bytes;
    let file = File::open(mount.join("platforms/linux-amd64/layers/0")).unwrap();
    let mut buffer = vec![0; content.len() + 100];
    assert_eq!(file.read_at(&mut buffer, 0).unwrap(), content.len());
    assert_eq!(file.read_at(&mut buffer, content.len() as u64).unwrap(), 0);
    assert_eq!(file.read_at(&mut buffer, i64::MAX as u64 - 4096).unwrap(), 0);
    assert_eq!(file.read_at(&mut buffer[..1], 5).unwrap(), 1);
    assert_eq!(buffer[0], content[5]);
    let mapped = run(Command::new("cmp")
        .arg(mount.join(PLATFORM).join("layers/0"))
        .arg(layout.file(&sample.layers[0])));
    mapped.ok();
}
