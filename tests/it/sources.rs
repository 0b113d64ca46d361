//! One image, given in every way there is: each tool's archive, a registry, and the layout it began as show one tree.

use crate::kit::{
    Layer, Layout, Member, Mount, PLATFORM, Registry, TempDir, bytes, ls, require_root, require_tool, run,
    sha256, temp_dir, text, wait_until,
};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The image: what tools tend to lose is in it, and a file that a later layer removes.
fn image() -> Layout {
    let bottom = [
        Member::dir("etc"),
        Member::file("etc/motd", "welcome\n"),
        Member::file("etc/doomed", "gone soon\n"),
        Member::dir("srv").mode(0o1777),
        Member::file("srv/setuid", "s").mode(0o4755),
        Member::file("srv/owned", "y").owner(1000, 2000).mode(0o640),
        Member::link("srv/linked", "srv/owned"),
        Member::file("srv/attributes", "z").xattr("user.note", "kept"),
        Member::symlink("srv/link", "../etc/motd"),
        Member::fifo("srv/pipe"),
        Member::device("srv/null", b'3', 1, 3),
        Member::file("srv/caf\u{e9} and space", "odd"),
        Member::file(format!("srv/{}", "long".repeat(30)), "long"),
        Member::file("srv/fine", "x").pax("mtime", "1600000000.123456789"),
    ];
    let top = [Member::dir("etc"), Member::empty("etc/.wh.doomed"), Member::file("etc/new", "n")];
    Layout::of_layers(&[Layer::of(&bottom), Layer::of(&top)])
}

/// The root filesystem that every way must lead to.
fn expected() -> String {
    let long = "long".repeat(30);
    let rows = [
        "etc 40755 0:0 1700000000.000000000 ",
        "etc/motd 100644 0:0 1700000000.000000000 welcome\\n",
        "etc/new 100644 0:0 1700000000.000000000 n",
        "srv 41777 0:0 1700000000.000000000 ",
        "srv/attributes 100644 0:0 1700000000.000000000 z user.note=kept",
        "srv/caf\u{e9} and space 100644 0:0 1700000000.000000000 odd",
        "srv/fine 100644 0:0 1600000000.123456789 x",
        "srv/link 120777 0:0 1700000000.000000000 ../etc/motd",
        "srv/linked 100640 1000:2000 1700000000.000000000 y",
        &format!("srv/{long} 100644 0:0 1700000000.000000000 long"),
        "srv/null 20660 0:0 1700000000.000000000 ",
        "srv/owned 100640 1000:2000 1700000000.000000000 y",
        "srv/pipe 10600 0:0 1700000000.000000000 ",
        "srv/setuid 104755 0:0 1700000000.000000000 s",
    ];
    rows.join("\n")
}

/// Lists a tree: path, mode, owner, time, content or target, and the attribute where there is one.
fn listing(root: &Path) -> String {
    let mut rows = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for name in ls(&directory) {
            let path = directory.join(&name);
            let meta = fs::symlink_metadata(&path).unwrap();
            let content = match meta.file_type() {
                kind if kind.is_file() => text(&path).replace('\n', "\\n"),
                kind if kind.is_symlink() => fs::read_link(&path).unwrap().display().to_string(),
                _ => String::new(),
            };
            let note = crate::kit::get_xattr(&path, "user.note", 100);
            let note = note.map(|note| format!(" user.note={}", String::from_utf8_lossy(&note)));
            rows.push(format!(
                "{} {:o} {}:{} {}.{:09} {content}{}",
                path.strip_prefix(root).unwrap().display(),
                meta.mode(),
                meta.uid(),
                meta.gid(),
                meta.mtime(),
                meta.mtime_nsec(),
                note.unwrap_or_default()
            ));
            if meta.is_dir() {
                waiting.push(path);
            }
        }
    }
    rows.sort();
    rows.join("\n")
}

/// Mounts a source, holds what is there against the image, and returns the first bytes of its first layer.
#[track_caller]
fn check(source: &str) -> [u8; 4] {
    let mount = Mount::new(source);
    assert_eq!(ls(mount.join("platforms")), ["linux-amd64"], "{source}");
    let platform = mount.join(PLATFORM);
    assert_eq!(listing(&platform.join("rootfs")), expected(), "{source}");
    let owned = fs::metadata(platform.join("rootfs/srv/owned")).unwrap();
    let linked = fs::metadata(platform.join("rootfs/srv/linked")).unwrap();
    assert_eq!((owned.ino(), owned.nlink()), (linked.ino(), 2), "{source}");
    assert_eq!(fs::metadata(platform.join("rootfs/srv/null")).unwrap().rdev(), 0x103, "{source}");
    assert_eq!(ls(platform.join("layers")), ["0", "1"], "{source}");
    assert_eq!(ls(platform.join("diffs/1/etc")), [".wh.doomed", "new"], "{source}");
    assert_eq!(mount.problems(), [""; 0], "{source}");
    // What the mount made up of it is a layout that hangs together.
    let config = fs::read(platform.join("config.json")).unwrap();
    assert_eq!(text(platform.join("image-id")), format!("{}\n", sha256(&config)), "{source}");
    let copy = temp_dir();
    let digest = text(platform.join("digest"));
    let (from, to) = (mount.point().display(), copy.join("copy"));
    run(Command::new("umoci").args(["list", "--layout"]).arg(mount.point())).ok();
    let entry: serde_json::Value = serde_json::from_str(&text(platform.join("descriptor.json"))).unwrap();
    let reference = entry["annotations"]["org.opencontainers.image.ref.name"].as_str();
    let from = reference.map_or(format!("oci:{from}"), |name| format!("oci:{from}:{name}"));
    skopeo(&["copy", "-q", "--preserve-digests", &from, &format!("oci:{}:x", to.display())]);
    let copied: serde_json::Value = serde_json::from_str(&text(to.join("index.json"))).unwrap();
    assert_eq!(copied["manifests"][0]["digest"], digest.trim_end(), "{source}");
    *bytes(platform.join("layers/0")).first_chunk().expect("a layer")
}

fn skopeo(arguments: &[&str]) -> String {
    require_tool("skopeo");
    run(Command::new("skopeo").arg("--insecure-policy").args(arguments)).ok()
}

/// The image's own place, as tools name it.
fn origin(layout: &Layout) -> String {
    format!("oci:{}:v1", layout.path().display())
}

/// Checks a tar, and the same compressed in each way.
#[track_caller]
fn check_archive(transport: &str, tar: &Path) {
    check(tar.to_str().unwrap());
    check(&format!("{transport}:{}", tar.display()));
    for tool in ["gzip", "zstd", "xz", "bzip2"] {
        require_tool(tool);
        let packed = tar.with_extension(tool);
        let script = format!("{tool} -1 -q -c \"$0\" >\"$1\"");
        run(Command::new("sh").args(["-euc", &script]).arg(tar).arg(&packed)).ok();
        check(packed.to_str().unwrap());
    }
}

#[test]
fn the_layout_itself() {
    let layout = image();
    check(layout.path().to_str().unwrap());
    check(&origin(&layout));
}

#[test]
fn archives_of_skopeo() {
    let (layout, directory) = (image(), temp_dir());
    for transport in ["oci-archive", "docker-archive"] {
        let tar = directory.join(format!("{transport}.tar"));
        let to = format!("{transport}:{}:local/app:v1", tar.display());
        skopeo(&["copy", "-q", &origin(&layout), &to]);
        check_archive(transport, &tar);
    }
}

#[test]
fn layouts_of_skopeo_with_other_compression() {
    let (layout, directory) = (image(), temp_dir());
    let zstd = format!("oci:{}:v1", directory.join("zstd").display());
    skopeo(&["copy", "-q", "--dest-compress-format", "zstd", &origin(&layout), &zstd]);
    assert_eq!(check(&zstd), [0x28, 0xb5, 0x2f, 0xfd]);
    let plain = format!("oci:{}:v1", directory.join("plain").display());
    skopeo(&["copy", "-q", "--dest-oci-accept-uncompressed-layers", &origin(&layout), &plain]);
    check(&plain);
}

/// A store of podman's and buildah's of this test's own.
struct Store(TempDir);

impl Store {
    fn run(&self, tool: &str, arguments: &[&str]) -> String {
        require_root();
        require_tool(tool);
        let policy = self.0.join("policy.json");
        fs::write(&policy, r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).unwrap();
        let mut command = Command::new(tool);
        command.env("XDG_RUNTIME_DIR", self.0.path()).env("TMPDIR", self.0.path());
        command.arg("--root").arg(self.0.join("root")).arg("--runroot").arg(self.0.join("run"));
        command.args(["--storage-driver", "vfs"]).args(&arguments[..1]);
        if matches!(arguments[0], "pull" | "push") {
            command.arg("--signature-policy").arg(policy);
        }
        run(command.args(&arguments[1..])).ok()
    }

    /// Takes the image in, and gives it a name.
    fn take(&self, tool: &str, layout: &Layout) -> String {
        let id = self.run(tool, &["pull", "-q", &origin(layout)]);
        self.run(tool, &["tag", id.trim(), "local/app:v1"]);
        "localhost/local/app:v1".to_owned()
    }
}

#[test]
fn archives_of_podman() {
    let (layout, store, directory) = (image(), Store(temp_dir()), temp_dir());
    let name = store.take("podman", &layout);
    for format in ["oci-archive", "docker-archive"] {
        let tar = directory.join(format!("{format}.tar"));
        store.run("podman", &["save", "-q", "--format", format, "-o", tar.to_str().unwrap(), &name]);
        check_archive(format, &tar);
    }
    let folder = directory.join("folder");
    store.run("podman", &["save", "-q", "--format", "oci-dir", "-o", folder.to_str().unwrap(), &name]);
    check(folder.to_str().unwrap());
}

#[test]
fn archives_of_buildah() {
    let (layout, store, directory) = (image(), Store(temp_dir()), temp_dir());
    let name = store.take("buildah", &layout);
    for format in ["oci-archive", "docker-archive"] {
        let tar = directory.join(format!("{format}.tar"));
        let to = format!("{format}:{}:local/app:v1", tar.display());
        store.run("buildah", &["push", "-q", &name, &to]);
        check_archive(format, &tar);
    }
}

/// A containerd of this test's own.
struct Containerd(TempDir, Child);

impl Containerd {
    fn start() -> Self {
        require_root();
        require_tool("containerd");
        let directory = temp_dir();
        let config = directory.join("config.toml");
        fs::write(&config, "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n").unwrap();
        let mut command = Command::new("containerd");
        command.arg("--config").arg(config);
        for (option, name) in [("--root", "root"), ("--state", "state"), ("--address", "socket")] {
            command.arg(option).arg(directory.join(name));
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let socket = directory.join("socket");
        let started = Self(directory, child);
        assert!(wait_until(|| socket.exists()), "containerd does not start");
        started
    }

    fn run(&self, arguments: &[&str]) -> String {
        run(Command::new("ctr").arg("--address").arg(self.0.join("socket")).args(arguments)).ok()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.1.kill();
        let _ = self.1.wait();
    }
}

#[test]
fn archives_of_containerd() {
    let (layout, containerd, directory) = (image(), Containerd::start(), temp_dir());
    let tar = |name: &str| -> PathBuf { directory.join(name) };
    let (given, exported) = (tar("given.tar"), tar("exported.tar"));
    skopeo(&["copy", "-q", &origin(&layout), &format!("oci-archive:{}:v1", given.display())]);
    let given = given.to_str().unwrap();
    containerd.run(&["images", "import", "--no-unpack", "--index-name", "local/app:v1", given]);
    let names = containerd.run(&["images", "list", "-q"]);
    let name = names.lines().next().expect("it was imported");
    containerd.run(&["images", "export", "--platform", "linux/amd64", exported.to_str().unwrap(), name]);
    check_archive("oci-archive", &exported);
}

#[test]
fn a_registry() {
    let (layout, registry) = (image(), Registry::start());
    registry.push(&layout, "v1", "local/app:v1", &[]);
    check(&format!("docker://127.0.0.1:{}/local/app:v1", registry.port));
    // Packed anew on the way to a directory: into a registry that knows the layer already, skopeo would not.
    let packed = temp_dir();
    let (between, zstd) = (
        format!("oci:{}:v2", packed.join("zstd").display()),
        format!("docker://127.0.0.1:{}/local/app:v2", registry.port),
    );
    skopeo(&["copy", "-q", "--dest-compress-format", "zstd", &origin(&layout), &between]);
    skopeo(&["copy", "-q", "--preserve-digests", "--dest-tls-verify=false", &between, &zstd]);
    assert_eq!(check(&zstd), [0x28, 0xb5, 0x2f, 0xfd]);
}
