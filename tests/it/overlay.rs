//! Random histories on the kernel's overlayfs, against the root filesystem made of the layers that they leave.
//!
//! What overlayfs shows after the last layer is what a container saw; whoever packs its upper directories as layers
//! means that tree.

use crate::kit::{
    Layer, Layout, Member, Mount, Packing, Random, TempDir, archive, get_xattr, require_root, temp_dir,
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

const LAYERS: usize = 3;

fn some_path(random: &mut Random, depth: usize) -> String {
    let parts: Vec<&str> = (0..=random.below(depth)).map(|_| random.of(&["a", "b", "c"])).collect();
    parts.join("/")
}

/// A path below `root` whose parent is there, with that parent's real name; through symlinks, but not out.
fn some_place(random: &mut Random, root: &Path) -> io::Result<PathBuf> {
    let path = root.join(some_path(random, 3));
    let parent = path.parent().unwrap().canonicalize()?;
    match parent.starts_with(root) {
        true => Ok(parent.join(path.file_name().unwrap())),
        false => Err(io::ErrorKind::PermissionDenied.into()),
    }
}

fn is_symlink(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path)?.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    }
}

/// All symlinks below a directory.
fn symlinks(root: &Path) -> Vec<PathBuf> {
    entries(root).into_iter().filter(|path| is_symlink(path)).collect()
}

/// All that is below a directory: parents first, else by name.
fn entries(root: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let below = |path: PathBuf| {
        let inner = if !is_symlink(&path) && path.is_dir() { entries(&path) } else { Vec::new() };
        std::iter::once(path).chain(inner)
    };
    paths.into_iter().flat_map(below).collect()
}

/// Does one thing that people do in containers. Half of the things cannot be done, and the error means nothing.
fn act(random: &mut Random, root: &Path) -> io::Result<()> {
    let path = some_place(random, root)?;
    match random.below(100) {
        0..22 => fs::create_dir(&path),
        22..40 if is_symlink(&path) => Err(io::ErrorKind::AlreadyExists.into()),
        22..40 => fs::write(&path, random.below(10_000).to_string()),
        40..54 => {
            let depth = path.strip_prefix(root).unwrap().components().count() - 1;
            // Mostly to something that is there, and so to a directory more often than not.
            let target = match entries(root) {
                there if !there.is_empty() && random.below(4) > 0 => {
                    let target = &there[random.below(there.len())];
                    target.strip_prefix(root).unwrap().to_str().unwrap().to_owned()
                }
                _ => some_path(random, 2),
            };
            symlink("../".repeat(depth) + &target, &path)
        }
        54..62 => fs::hard_link(&path, some_place(random, root)?),
        62..69 => fs::rename(&path, some_place(random, root)?),
        69..79 => remove(&path),
        // rm link && mkdir link: what is in it is not where the link led.
        79..92 => {
            let links = symlinks(root);
            let Some(link) = (!links.is_empty()).then(|| &links[random.below(links.len())]) else {
                return Ok(());
            };
            fs::remove_file(link)?;
            fs::create_dir(link)?;
            match random.below(2) {
                0 => Ok(()),
                _ => fs::write(link.join(random.of(&["a", "b", "c"])), "inside"),
            }
        }
        92..95 => {
            remove(&path)?;
            fs::create_dir(&path)
        }
        _ if is_symlink(&path) => Ok(()),
        _ => fs::set_permissions(&path, Permissions::from_mode(random.of(&[0o755, 0o700, 0o644]))),
    }
}

/// Packs an upper directory: whiteouts and opaque directories as markers, as every builder does.
fn packed(upper: &Path) -> Vec<Member> {
    let mut members = Vec::new();
    let mut seen: HashMap<u64, String> = HashMap::new();
    for path in entries(upper) {
        let meta = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(upper).unwrap().to_str().unwrap().to_owned();
        let mode = meta.mode() & 0o7777;
        if meta.file_type().is_char_device() && meta.rdev() == 0 {
            let (parent, last) = name.rsplit_once('/').map_or(("", &*name), |(parent, last)| (parent, last));
            members.push(Member::empty(format!("{parent}/.wh.{last}").trim_start_matches('/')));
        } else if meta.is_dir() {
            members.push(Member::dir(format!("{name}/")).mode(mode));
            if get_xattr(&path, "trusted.overlay.opaque", 10).is_ok_and(|value| value == b"y") {
                members.push(Member::empty(format!("{name}/.wh..wh..opq")));
            }
        } else if let Some(first) = seen.get(&meta.ino()) {
            members.push(Member::link(name, first));
        } else {
            members.push(match meta.is_symlink() {
                true => Member::symlink(&name, fs::read_link(&path).unwrap().to_str().unwrap()),
                false => Member::file(&name, fs::read(&path).unwrap()).mode(mode),
            });
            seen.insert(meta.ino(), name);
        }
    }
    members
}

/// Writes down a tree: kinds, modes, contents and targets.
fn shown(root: &Path) -> Vec<String> {
    let line = |path: &PathBuf| {
        let meta = fs::symlink_metadata(path).unwrap();
        let (name, mode) = (path.strip_prefix(root).unwrap().display(), meta.mode() & 0o7777);
        match meta.file_type() {
            kind if kind.is_symlink() => format!("{name} -> {}", fs::read_link(path).unwrap().display()),
            kind if kind.is_dir() => format!("{name}/ {mode:o}"),
            kind if kind.is_file() => format!("{name} {mode:o} {}", fs::read_to_string(path).unwrap()),
            kind => format!("{name}: {kind:?}"),
        }
    };
    entries(root).iter().map(line).collect()
}

/// A file system that is unmounted at the end.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(kind: &str, point: &'a Path, options: &str) -> Self {
        let mounted = mount(Some(kind), point, Some(kind), MsFlags::empty(), Some(options));
        mounted.unwrap_or_else(|error| {
            panic!("{kind} does not mount ({options}): {error}; this test needs a kernel and a container that let it")
        });
        Self(point)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = umount2(self.0, MntFlags::MNT_DETACH);
    }
}

/// Lives through one history in a directory that can hold upper directories: its layers, and what there is at the end.
fn history(seed: u64, directory: &Path) -> (Vec<Vec<Member>>, Vec<String>) {
    let mut random = Random::new(seed);
    let place = |name: String| {
        let path = directory.join(name);
        fs::create_dir_all(&path).unwrap();
        path
    };
    let point = place("merged".to_owned());
    let mut lower = vec![place("empty".to_owned()).display().to_string()];
    let (mut layers, mut end) = (Vec::new(), Vec::new());
    for layer in 0..LAYERS {
        let (upper, work) = (place(format!("upper{layer}")), place(format!("work{layer}")));
        let options = format!(
            "lowerdir={},upperdir={},workdir={},redirect_dir=off,metacopy=off,index=off",
            lower.join(":"),
            upper.display(),
            work.display()
        );
        let overlay = Mounted::new("overlay", &point, &options);
        let acts = if layer == 0 { 25 } else { 6 + random.below(20) };
        for _ in 0..acts {
            let _ = act(&mut random, &point);
        }
        end = shown(&point);
        drop(overlay);
        layers.push(packed(&upper));
        lower.insert(0, upper.display().to_string());
    }
    (layers, end)
}

/// Goes through histories until one is shown otherwise than overlayfs shows it.
fn agree(seeds: std::ops::Range<u64>) {
    require_root();
    // The directory of temporary files may itself be on overlayfs, which takes no upper directory.
    let directory: TempDir = temp_dir();
    let _tmpfs = Mounted::new("tmpfs", directory.path(), "mode=0755");
    let mut replaced = 0;
    for seed in seeds.clone() {
        let here = directory.join(seed.to_string());
        let (layers, expected) = history(seed, &here);
        fs::remove_dir_all(&here).unwrap();
        let tars = layers.iter().map(|members| Layer::packed(&archive(members), Packing::Plain));
        let layout = Layout::of_layers(&tars.collect::<Vec<_>>());
        let mount = Mount::new(layout.path());
        assert_eq!(shown(&mount.rootfs("")), expected, "seed {seed}: {layers:#?}");
        assert_eq!(mount.problems(), [""; 0], "seed {seed}: {layers:#?}");
        replaced += layers.windows(2).filter(|pair| replaces_a_link(&pair[0], &pair[1])).count();
    }
    assert!(replaced as u64 * 5 > seeds.end - seeds.start, "{replaced} links became directories: too few");
}

/// Says whether a layer has a directory, opaque, where the one below has a symlink.
fn replaces_a_link(below: &[Member], layer: &[Member]) -> bool {
    let links = below.iter().filter(|member| member.is_symlink());
    let markers: Vec<Vec<u8>> = links.map(|link| [link.path(), b"/.wh..wh..opq"].concat()).collect();
    layer.iter().any(|member| markers.iter().any(|marker| marker == member.path()))
}

#[test]
fn layers_made_on_overlayfs_show_what_it_showed() {
    agree(0..100);
}

#[test]
#[ignore = "takes minutes"]
fn many_layers_made_on_overlayfs_show_what_it_showed() {
    agree(1_000..6_000);
}
