//! Other people's tools: layouts they make, and the mount as a layout that they read.

use crate::kit::{Mount, TempDir, bytes, ls, repository, require_tool, run, sha256, temp_dir, text};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes the multi-platform layout of scripts/make-layout.sh: busybox of three architectures, by umoci.
fn multi_platform(directory: &TempDir) -> PathBuf {
    for tool in ["umoci", "jq"] {
        require_tool(tool);
    }
    let layout = directory.join("layout");
    run(Command::new(repository().join("scripts/make-layout.sh")).arg(&layout).arg("demo:1.0")).ok();
    layout
}

fn fixture(name: &str) -> PathBuf {
    repository().join("tests/fixtures").join(name)
}

fn skopeo(arguments: &[&str]) -> String {
    require_tool("skopeo");
    // No policy of the machine's, no registries: layouts are all it may look at.
    run(Command::new("skopeo").args(["--insecure-policy"]).args(arguments)).ok()
}

/// Every digest named anywhere in the documents that a layout's index leads to, with the index's own.
fn digests(layout: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![serde_json::from_slice::<Value>(&bytes(layout.join("index.json"))).unwrap()];
    while let Some(value) = waiting.pop() {
        match value {
            Value::Array(values) => waiting.extend(values),
            Value::Object(members) => {
                if let Some(digest) = members.get("digest").and_then(Value::as_str)
                    && found.insert(digest.to_owned())
                {
                    let content = bytes(layout.join("blobs").join(digest.replace(':', "/")));
                    assert_eq!(sha256(&content), digest, "{}", layout.display());
                    waiting.extend(serde_json::from_slice::<Value>(&content));
                }
                waiting.extend(members.into_iter().map(|(_, value)| value));
            }
            _ => {}
        }
    }
    found
}

/// Every document and blob of a mounted image agrees with its digest; returns how many platforms were seen.
#[track_caller]
fn check_platforms(platforms: &Path) -> usize {
    for name in ls(platforms) {
        let platform = platforms.join(&name);
        let manifest = bytes(platform.join("manifest.json"));
        assert_eq!(format!("{}\n", sha256(&manifest)), text(platform.join("digest")), "{name}");
        let document: Value = serde_json::from_slice(&manifest).unwrap();
        let config = bytes(platform.join("config.json"));
        assert_eq!(document["config"]["digest"], sha256(&config), "{name}");
        assert_eq!(format!("{}\n", sha256(&config)), text(platform.join("image-id")), "{name}");
        let layers = document["layers"].as_array().unwrap();
        assert_eq!(ls(platform.join("layers")).len(), layers.len(), "{name}");
        for (number, layer) in layers.iter().enumerate() {
            assert_eq!(layer["digest"], sha256(&bytes(platform.join(format!("layers/{number}")))), "{name}");
        }
        assert!(!text(platform.join("history")).is_empty(), "{name}");
        let pretty: Value = serde_json::from_str(&text(platform.join("pretty/config.json"))).unwrap();
        assert_eq!(pretty, serde_json::from_slice::<Value>(&config).unwrap(), "{name}");
    }
    ls(platforms).len()
}

#[test]
fn real_programs_of_three_architectures() {
    let directory = temp_dir();
    let layout = multi_platform(&directory);
    let mount = Mount::new(&layout);
    assert_eq!(ls(mount.join("platforms")), ["linux-amd64", "linux-arm-v7", "linux-arm64"]);
    assert_eq!(check_platforms(&mount.join("platforms")), 3);
    // The programs are what the platform's name says, told by the ELF header's machine field.
    for (platform, machine) in [("linux-amd64", 62_u8), ("linux-arm64", 183), ("linux-arm-v7", 40)] {
        let layer = mount.join("platforms").join(platform).join("layers/0");
        let program = run(Command::new("sh")
            .args(["-euc", "tar xzOf \"$0\" ./bin/busybox | od -An -tu1 -j18 -N1"])
            .arg(layer))
        .ok();
        assert_eq!(program.trim(), machine.to_string(), "{platform}");
    }
}

#[test]
fn skopeo_copies_a_platform_out_of_the_mount_and_keeps_every_digest() {
    let directory = temp_dir();
    let layout = multi_platform(&directory);
    let mount = Mount::new(&layout);
    let from = format!("oci:{}:demo:1.0", mount.point().display());
    let copy = directory.join("copy");
    let to = format!("oci:{}:demo:1.0", copy.display());
    skopeo(&["copy", "-q", "--multi-arch", "all", "--preserve-digests", &from, &to]);
    assert_eq!(digests(&copy), digests(&layout));
    assert_eq!(digests(mount.point()), digests(&layout));
    let index: Value = serde_json::from_str(&text(copy.join("index.json"))).unwrap();
    let original: Value = serde_json::from_str(&text(layout.join("index.json"))).unwrap();
    assert_eq!(index["manifests"][0]["digest"], original["manifests"][0]["digest"]);

    let one = directory.join("one");
    skopeo(&[
        "--override-arch",
        "arm64",
        "--override-os",
        "linux",
        "copy",
        "-q",
        &from,
        &format!("oci:{}:x", one.display()),
    ]);
    let one: Value = serde_json::from_str(&text(one.join("index.json"))).unwrap();
    let digest = text(mount.join("platforms/linux-arm64/digest"));
    assert_eq!(one["manifests"][0]["digest"], digest.trim_end());
}

#[test]
fn skopeo_inspects_the_mount() {
    let mount = Mount::new(fixture("umoci"));
    let raw = skopeo(&["inspect", "--raw", &format!("oci:{}:v1", mount.point().display())]);
    assert_eq!(raw.trim_end(), text(mount.join("platforms/linux-arm64/manifest.json")).trim_end());
}

#[test]
fn umoci_lists_and_unpacks_the_mount() {
    require_tool("umoci");
    let mount = Mount::new(fixture("umoci"));
    let list = run(Command::new("umoci").args(["list", "--layout"]).arg(mount.point())).ok();
    assert_eq!(list.trim(), "v1");
    let directory = temp_dir();
    let bundle = directory.join("bundle");
    let mut command = Command::new("umoci");
    command
        .args(["unpack", "--rootless", "--image"])
        .arg(format!("{}:v1", mount.point().display()))
        .arg(&bundle);
    run(&mut command).ok();
    assert_eq!(text(bundle.join("rootfs/etc/hello")), "hello from a layer\n");
    let stat = run(Command::new("umoci")
        .args(["stat", "--json", "--image"])
        .arg(format!("{}:v1", mount.point().display())));
    let stat: Value = serde_json::from_str(&stat.ok()).unwrap();
    assert_eq!(stat["history"].as_array().unwrap().len(), 2);
}

#[test]
fn buildah_pushes_a_layout_and_pulls_from_the_mount() {
    require_tool("buildah");
    let directory = temp_dir();
    let buildah = |arguments: &[&str]| {
        let (root, runroot) = (directory.join("root"), directory.join("run"));
        run(Command::new("buildah")
            .arg("--root")
            .arg(root)
            .arg("--runroot")
            .arg(runroot)
            .args(["--storage-driver", "vfs"])
            .args(arguments))
        .ok()
    };
    fs::write(directory.join("policy.json"), r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).unwrap();
    let policy = directory.join("policy.json").display().to_string();
    fs::write(directory.join("hello"), "hello\n").unwrap();
    let hello = directory.join("hello").display().to_string();
    buildah(&["manifest", "create", "list"]);
    for arch in ["amd64", "arm64"] {
        let container = buildah(&["from", "--name", arch, "scratch"]);
        buildah(&["copy", "-q", container.trim(), &hello, "/hello"]);
        buildah(&["config", "--os", "linux", "--arch", arch, container.trim()]);
        buildah(&["commit", "-q", "--signature-policy", &policy, "--manifest", "list", container.trim()]);
    }
    let layout = directory.join("layout");
    buildah(&[
        "manifest",
        "push",
        "-q",
        "--all",
        "--signature-policy",
        &policy,
        "list",
        &format!("oci:{}:two", layout.display()),
    ]);

    let mount = Mount::new(&layout);
    assert_eq!(ls(mount.join("platforms")), ["linux-amd64", "linux-arm64"]);
    assert_eq!(check_platforms(&mount.join("platforms")), 2);
    let pulled = buildah(&[
        "pull",
        "-q",
        "--signature-policy",
        &policy,
        "--arch",
        "arm64",
        &format!("oci:{}:two", mount.point().display()),
    ]);
    let id = text(mount.join("platforms/linux-arm64/image-id"));
    assert_eq!(format!("sha256:{}", pulled.trim()), id.trim_end(), "buildah's own id is the ImageID");
}

#[test]
fn the_frozen_layouts_of_other_tools() {
    let umoci = Mount::new(fixture("umoci"));
    assert_eq!(ls(umoci.join("platforms")), ["linux-arm64"]);
    assert_eq!(check_platforms(&umoci.join("platforms")), 1);

    // One digest with a name and once more without: one image, and the name has a slash and a colon.
    let skopeo = Mount::new(fixture("skopeo"));
    assert_eq!(ls(skopeo.join("platforms")), ["linux-arm64"]);
    assert_eq!(ls(skopeo.join("images/docker.io/library/hello:v1/platforms")), ["linux-arm64"]);
    assert_eq!(check_platforms(&skopeo.join("platforms")), 1);

    let buildah = Mount::new(fixture("buildah"));
    assert_eq!(ls(buildah.join("platforms")), ["linux-amd64", "linux-arm64"]);
    assert_eq!(check_platforms(&buildah.join("platforms")), 2);
    let names: Vec<PathBuf> = ["linux-amd64", "linux-arm64"]
        .iter()
        .map(|name| buildah.join("platforms").join(name).join("layers/0"))
        .collect();
    use std::os::unix::fs::MetadataExt;
    let inodes: BTreeSet<u64> = names.iter().map(|name| fs::metadata(name).unwrap().ino()).collect();
    assert_eq!(inodes.len(), 1, "both platforms have one and the same layer");
}

#[test]
fn ordinary_tools_walk_the_mount() {
    let mount = Mount::new(fixture("buildah"));
    let copy = temp_dir();
    run(Command::new("cp").arg("-a").arg(mount.point()).arg(copy.join("copy"))).ok();
    run(Command::new("diff").args(["-r", "--no-dereference"]).arg(mount.point()).arg(copy.join("copy"))).ok();
    run(Command::new("tar").arg("-cf").arg(copy.join("all.tar")).arg("-C").arg(mount.point()).arg(".")).ok();
    let hard_links = run(Command::new("tar").arg("-tvf").arg(copy.join("all.tar"))).ok();
    assert!(hard_links.contains(" link to "), "tar sees the hard links:\n{hard_links}");
    run(Command::new("grep").args(["-r", "architecture"]).arg(mount.point())).ok();
}
