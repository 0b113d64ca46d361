//! Which images there are, what they are called, and how many platforms they have.

use crate::kit::{Blob, Layout, Mount, Platform, annotate, bytes, gzip, ls, media, named, run, tar, text};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const AMD64: Platform<'_> = Platform("linux", "amd64", "");
const ARM64: Platform<'_> = Platform("linux", "arm64", "v8");

/// Every path below `images/` or `artifacts/` that is an image or an artifact, relative to it; symlinks count.
fn entries(top: &Path, mark: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut stack = vec![PathBuf::new()];
    while let Some(directory) = stack.pop() {
        for entry in fs::read_dir(top.join(&directory)).unwrap() {
            let entry = entry.unwrap();
            let path = directory.join(entry.file_name());
            if top.join(&path).join(mark).exists() {
                found.insert(path.to_str().expect("names of these tests are text").to_owned());
            }
            // An image has nothing else below it that could be an image, unless another one's name says so.
            if entry.file_type().unwrap().is_dir() && !top.join(&path).join(mark).exists() {
                stack.push(path);
            }
        }
    }
    found
}

/// Undoes percent-encoding; a percent sign that encodes nothing is an error, or the encoding would be ambiguous.
///
/// A component that is a percent sign alone stands for an empty one, which no directory entry can be.
fn decode(name: &str) -> String {
    name.split('/')
        .map(|part| if part == "%" { String::new() } else { decode_component(part) })
        .collect::<Vec<_>>()
        .join("/")
}

fn decode_component(name: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = name.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let code =
                tail.get(..2).and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
            bytes.push(code.unwrap_or_else(|| panic!("{name}: a bare percent sign")));
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Mounts a layout of one image a name, and returns the decoded names and the mount.
fn mount_names(names: &[&str]) -> (Layout, Mount, Vec<Value>) {
    let layout = Layout::new();
    let index: Vec<Value> = names.iter().map(|name| named(layout.image(AMD64, name), name)).collect();
    layout.index(&index);
    let mount = Mount::new(layout.path());
    (layout, mount, index)
}

/// Names that would be trouble as paths all show up, each once, and say which image they are.
#[track_caller]
fn check_names(names: &[&str]) {
    let (_layout, mount, index) = mount_names(names);
    let found = entries(&mount.join("images"), "platforms");
    let decoded: BTreeSet<String> = found.iter().map(|name| decode(name)).collect();
    let wanted: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(decoded, wanted, "as listed: {found:?}");
    for name in &found {
        let position = names.iter().position(|original| *original == decode(name)).unwrap();
        let digest = text(mount.join("images").join(name).join("platforms/linux-amd64/digest"));
        assert_eq!(digest.trim_end(), index[position]["digest"].as_str().unwrap(), "{name}");
    }
}

#[test]
fn ordinary_names_stay_as_they_are() {
    let names = ["v1", "docker.io/library/web:v1", "docker.io/library/web:v2", "ghcr.io/o/i@x", "a+b_c-d"];
    check_names(&names);
    let (_layout, mount, _) = mount_names(&names);
    let found = entries(&mount.join("images"), "platforms");
    assert_eq!(found, names.iter().map(|name| (*name).to_owned()).collect());
}

#[test]
fn dots_and_slashes_lead_nowhere() {
    check_names(&[
        "..",
        ".",
        "../up",
        "a/../b",
        "a/./b",
        "a//b",
        "/lead",
        "trail/",
        "/",
        "../../etc/passwd",
        "ok",
    ]);
}

#[test]
fn percent_signs_are_unambiguous() {
    check_names(&["%", "%2F", "a%2Fb", "%25", "100%", "%zz", "ok"]);
}

#[test]
fn spaces_newlines_and_controls_are_names() {
    check_names(&[
        " ",
        "a b",
        "a\nb",
        "tab\there",
        "\u{1b}[31mred",
        "ü/ñ",
        "quote'\"$(reboot)",
        "-rf",
        "\u{7f}",
    ]);
}

#[test]
fn a_name_that_is_the_parent_of_another_collides_with_nothing() {
    check_names(&["a", "a/b", "a/b/c", "a/platforms", "a/image-index.json", "x/y", "x"]);
}

#[test]
fn names_of_our_own_are_no_trouble() {
    check_names(&[".ocifs", "platforms", "images", "blobs/sha256", "sha256-abc"]);
}

#[test]
fn an_unnamed_image_is_called_by_its_digest_and_an_empty_name_is_escaped() {
    let layout = Layout::new();
    // Equal platforms, so these are two images and not one.
    let unnamed = layout.image(AMD64, "unnamed");
    let empty = named(layout.image(AMD64, "empty"), "");
    layout.index(&[unnamed.clone(), empty.clone(), named(layout.image(AMD64, "x"), "x")]);
    let mount = Mount::new(layout.path());
    let by_digest = unnamed["digest"].as_str().unwrap().replace(':', "-");
    assert_eq!(ls(mount.join("images")), ["%", &by_digest, "x"]);
    let digest = text(mount.join("images/%/platforms/linux-amd64/digest"));
    assert_eq!(digest.trim_end(), empty["digest"].as_str().unwrap());
}

#[test]
fn names_too_long_for_a_directory_entry_are_still_told_apart() {
    let long = "n".repeat(300);
    let other = format!("{}m", "n".repeat(299));
    let deep = "d/".repeat(3000) + "end";
    let layout = Layout::new();
    let names = [long.as_str(), other.as_str(), deep.as_str(), "ok"];
    let index: Vec<Value> = names.iter().map(|name| named(layout.image(AMD64, name), name)).collect();
    layout.index(&index);
    let mount = Mount::new(layout.path());
    let listed = ls(mount.join("images"));
    assert!(listed.contains(&"ok".to_owned()));
    assert!(listed.iter().all(|name| name.len() <= 255), "{listed:?}");
    let mut digests = BTreeSet::new();
    let found = run(Command::new("find").arg(mount.join("images")).args(["-name", "digest"]));
    for path in found.ok().lines() {
        digests.insert(text(path));
    }
    assert_eq!(digests.len(), 4, "all four images can be reached by paths the system takes");
}

#[test]
fn io_containerd_image_name_goes_before_ref_name() {
    let layout = Layout::new();
    let entry = |content, full| {
        annotate(named(layout.image(AMD64, content), "latest"), "io.containerd.image.name", full)
    };
    layout.index(&[entry("a", "docker.io/library/a:latest"), entry("b", "docker.io/library/b:latest")]);
    let mount = Mount::new(layout.path());
    assert_eq!(
        entries(&mount.join("images"), "platforms"),
        ["docker.io/library/a:latest", "docker.io/library/b:latest"].map(str::to_owned).into()
    );
}

#[test]
fn one_image_is_the_root() {
    let (layout, sample) = Layout::sample();
    let mount = Mount::new(layout.path());
    assert_eq!(ls(mount.join("platforms")), ["linux-amd64"]);
    assert_eq!(ls(mount.join("images")), ["v1"]);
    assert!(fs::symlink_metadata(mount.join("images/v1")).unwrap().is_symlink());
    assert_eq!(bytes(mount.join("images/v1/platforms/linux-amd64/config.json")), sample.config.bytes);
}

#[test]
fn one_image_with_a_deep_name_is_the_root_too() {
    let layout = Layout::new();
    layout.index(&[named(layout.image(AMD64, "x"), "docker.io/library/web:v1")]);
    let mount = Mount::new(layout.path());
    let link = mount.join("images/docker.io/library/web:v1");
    assert!(fs::read_link(&link).unwrap().is_relative());
    assert_eq!(ls(link.join("platforms")), ["linux-amd64"]);
}

#[test]
fn several_images_are_said_so_and_the_root_has_no_platforms() {
    let (_layout, mount, _) = mount_names(&["a", "b"]);
    assert!(!mount.join("platforms").exists());
    assert_eq!(ls(mount.join("images")), ["a", "b"]);
    assert!(mount.stderr.contains("images"), "the mount says that there are several: {:?}", mount.stderr);
    assert!(!ls(mount.point()).contains(&"platforms".to_owned()));
}

#[test]
fn a_further_name_of_one_digest_is_a_symlink_to_the_first() {
    let layout = Layout::new();
    let image = layout.image(AMD64, "one");
    layout.index(&[
        named(image.clone(), "first"),
        named(image.clone(), "deep/second"),
        named(layout.image(AMD64, "other"), "other"),
    ]);
    let mount = Mount::new(layout.path());
    assert!(fs::symlink_metadata(mount.join("images/first")).unwrap().is_dir());
    let link = mount.join("images/deep/second");
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("../first"));
    assert_eq!(text(link.join("platforms/linux-amd64/digest")).trim_end(), image["digest"].as_str().unwrap());
}

#[test]
fn one_image_under_two_names_is_still_one_image() {
    let layout = Layout::new();
    let image = layout.image(AMD64, "one");
    layout.index(&[named(image.clone(), "first"), named(image, "second")]);
    let mount = Mount::new(layout.path());
    assert_eq!(ls(mount.join("platforms")), ["linux-amd64"]);
    for name in ["first", "second"] {
        assert!(mount.join("images").join(name).join("platforms/linux-amd64/digest").exists(), "{name}");
    }
}

#[test]
fn entries_of_one_name_are_one_image() {
    let layout = Layout::new();
    layout.index(&[named(layout.image(AMD64, "a"), "v1"), named(layout.image(ARM64, "b"), "v1")]);
    let mount = Mount::new(layout.path());
    assert_eq!(ls(mount.join("platforms")), ["linux-amd64", "linux-arm64"]);
}

#[test]
fn unnamed_manifests_of_different_platforms_are_one_image() {
    let layout = Layout::new();
    layout.index(&[layout.image(AMD64, "a"), layout.image(ARM64, "b")]);
    let mount = Mount::new(layout.path());
    assert_eq!(ls(mount.join("platforms")), ["linux-amd64", "linux-arm64"]);
}

#[test]
fn equal_platforms_are_told_apart_by_digest() {
    let layout = Layout::new();
    let (first, second) = (layout.image(ARM64, "a"), layout.image(Platform("linux", "arm64", ""), "b"));
    let suffix = &second["digest"].as_str().unwrap()[7..19].to_owned();
    layout.index(&[named(layout.nested(&[first.clone(), second]), "v1")]);
    let mount = Mount::new(layout.path());
    assert_eq!(ls(mount.join("platforms")), ["linux-arm64".to_owned(), format!("linux-arm64@{suffix}")]);
    assert_eq!(
        text(mount.join("platforms/linux-arm64/digest")).trim_end(),
        first["digest"].as_str().unwrap()
    );
}

#[test]
fn one_manifest_listed_twice_is_one_platform() {
    let layout = Layout::new();
    let image = layout.image(AMD64, "a");
    layout.index(&[named(layout.nested(&[image.clone(), image]), "v1")]);
    let mount = Mount::new(layout.path());
    assert_eq!(ls(mount.join("platforms")), ["linux-amd64"]);
}

/// The name of a platform directory, from the index entry's platform object.
#[track_caller]
fn check_platform(platform: Value, expected: &str) {
    let layout = Layout::new();
    let mut entry = layout.image(AMD64, "x");
    entry["platform"] = platform.clone();
    layout.index(&[named(layout.nested(&[entry]), "v1")]);
    let mount = Mount::new(layout.path());
    assert_eq!(ls(mount.join("platforms")), [expected], "{platform}");
}

#[test]
fn platforms_are_named_after_containerds_normalisation() {
    for (os, architecture, variant, expected) in [
        ("linux", "amd64", "", "linux-amd64"),
        ("linux", "amd64", "v1", "linux-amd64"),
        ("linux", "amd64", "v3", "linux-amd64-v3"),
        ("linux", "x86_64", "", "linux-amd64"),
        ("linux", "x86-64", "", "linux-amd64"),
        ("linux", "arm64", "v8", "linux-arm64"),
        ("linux", "arm64", "8", "linux-arm64"),
        ("linux", "arm64", "v8.0", "linux-arm64"),
        ("linux", "arm64", "v9", "linux-arm64-v9"),
        ("linux", "aarch64", "", "linux-arm64"),
        ("linux", "arm", "", "linux-arm-v7"),
        ("linux", "arm", "7", "linux-arm-v7"),
        ("linux", "arm", "v6", "linux-arm-v6"),
        ("linux", "arm", "5", "linux-arm-v5"),
        ("linux", "armhf", "", "linux-arm-v7"),
        ("linux", "armel", "", "linux-arm-v6"),
        ("linux", "i386", "", "linux-386"),
        ("Linux", "amd64", "", "linux-amd64"),
        ("macos", "arm64", "", "darwin-arm64"),
        ("linux", "riscv64", "rva20u64", "linux-riscv64-rva20u64"),
    ] {
        check_platform(Platform(os, architecture, variant).json(), expected);
    }
}

#[test]
fn os_version_is_part_of_the_name() {
    check_platform(
        json!({"os": "windows", "architecture": "amd64", "os.version": "10.0.17763.1234"}),
        "windows-amd64-10.0.17763.1234",
    );
}

#[test]
fn a_platform_that_the_entry_does_not_say_comes_from_the_config() {
    let layout = Layout::new();
    for (platform, expected) in [(ARM64, "linux-arm64"), (Platform("freebsd", "amd64", ""), "freebsd-amd64")]
    {
        let mut entry = layout.image(platform, "x");
        entry.as_object_mut().unwrap().remove("platform");
        layout.index(&[named(entry, "v1")]);
        let mount = Mount::new(layout.path());
        assert_eq!(ls(mount.join("platforms")), [expected]);
    }
}

#[test]
fn hostile_platforms_are_one_entry_each() {
    let layout = Layout::new();
    let hostile = ["../../x", "a/b", "", ".", "..", "new\nline", "per%cent", &"l".repeat(400), "nul\u{0}"];
    let platforms: Vec<Value> = hostile
        .iter()
        .map(|architecture| {
            let mut entry = layout.image(AMD64, &format!("for {architecture}"));
            entry["platform"] = json!({"os": "linux", "architecture": architecture});
            entry
        })
        .collect();
    layout.index(&[named(layout.nested(&platforms), "v1")]);
    let mount = Mount::new(layout.path());
    let listed = ls(mount.join("platforms"));
    assert_eq!(listed.len(), hostile.len(), "{listed:?}");
    let digests: BTreeSet<String> =
        listed.iter().map(|name| text(mount.join("platforms").join(name).join("digest"))).collect();
    assert_eq!(digests.len(), hostile.len());
}

#[test]
fn unknown_platforms_are_never_platforms() {
    let layout = Layout::new();
    let image = layout.image(AMD64, "x");
    let attestations = (0..3).map(|n| {
        let mut entry = layout.image(AMD64, &format!("attestation {n}"));
        entry["platform"] = Platform("unknown", "unknown", "").json();
        entry["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": image["digest"]});
        entry
    });
    let all: Vec<Value> = std::iter::once(image.clone()).chain(attestations).collect();
    layout.index(&[named(layout.nested(&all), "v1")]);
    let mount = Mount::new(layout.path());
    assert_eq!(ls(mount.join("platforms")), ["linux-amd64"]);
}

#[test]
fn nested_indexes_are_flattened_in_order() {
    let layout = Layout::new();
    let mut entry = layout.nested(&[layout.image(AMD64, "deepest")]);
    for level in 0..4 {
        let other = layout.image(Platform("linux", "arm", &format!("v{}", 5 + level)), "x");
        entry = layout.nested(&[entry, other]);
    }
    layout.index(&[named(entry, "v1")]);
    let mount = Mount::new(layout.path());
    assert_eq!(
        ls(mount.join("platforms")),
        ["linux-amd64", "linux-arm-v5", "linux-arm-v6", "linux-arm-v7", "linux-arm-v8"]
    );
}

#[test]
fn nesting_without_end_is_cut_off_and_reported() {
    let layout = Layout::new();
    let mut deep = layout.image(AMD64, "deepest");
    for _ in 0..500 {
        deep = layout.nested(&[deep]);
    }
    layout.index(&[named(deep, "deep"), named(layout.image(ARM64, "fine"), "fine")]);
    let mount = Mount::new(layout.path());
    assert_eq!(ls(mount.join("images")), ["deep", "fine"]);
    assert_eq!(ls(mount.join("images/fine/platforms")), ["linux-arm64"]);
    let listed =
        fs::read_dir(mount.join("images/deep/platforms")).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match listed {
        Ok(entries) => assert_eq!(entries.len(), 0, "500 levels are more than any limit should allow"),
        Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EFBIG)),
    }
    assert!(!mount.problems().is_empty());
}

#[test]
fn a_child_that_is_the_subject_of_its_own_index_is_no_loop() {
    let layout = Layout::new();
    let child = layout.image(AMD64, "x");
    let index = json!({"schemaVersion": 2, "mediaType": media::INDEX, "manifests": [child.clone()], "subject": child});
    let entry = layout.json(&index).descriptor(media::INDEX);
    layout.index(&[named(entry, "v1")]);
    let mount = Mount::new(layout.path());
    assert_eq!(ls(mount.join("platforms")), ["linux-amd64"]);
    assert!(run(Command::new("find").arg(mount.point())).status.success());
}

#[test]
fn an_index_that_names_its_own_digest_ends() {
    // A digest cannot be made to loop; a file whose content lies about its name can. It does not hash, so it ends there.
    let layout = Layout::new();
    let digest = format!("sha256:{}", "a".repeat(64));
    let document =
        json!({"schemaVersion": 2, "manifests": [{"mediaType": media::INDEX, "digest": digest, "size": 0}]});
    let text = document.to_string();
    layout.store(&digest, text.as_bytes());
    layout.index(&[named(json!({"mediaType": media::INDEX, "digest": digest, "size": text.len()}), "loop")]);
    let mount = Mount::new(layout.path());
    assert!(ls(mount.join("images")).contains(&"loop".to_owned()));
    let done = run(Command::new("find").arg(mount.point()));
    assert!(!done.stderr.contains("loop detected"), "{}", done.stderr);
}

#[test]
fn image_index_json_is_the_nested_document() {
    let layout = Layout::new();
    let nested = layout.nested(&[layout.image(AMD64, "x")]);
    layout.index(&[named(nested.clone(), "a"), named(layout.image(AMD64, "y"), "b")]);
    let mount = Mount::new(layout.path());
    let digest = crate::kit::sha256(&bytes(mount.join("images/a/image-index.json")));
    assert_eq!(digest, nested["digest"].as_str().unwrap());
    assert!(!mount.join("images/b/image-index.json").exists());
}

#[test]
fn option_image_chooses_by_name_and_by_digest() {
    let layout = Layout::new();
    let (a, b) = (layout.image(AMD64, "a"), layout.image(AMD64, "b"));
    layout.index(&[named(a, "a"), named(b.clone(), "deep/b:1")]);
    let digest = b["digest"].as_str().unwrap();
    let source = format!("oci:{}:deep/b:1", layout.path().display());
    let by_name = Mount::with(layout.path(), &["--image", "deep/b:1"]);
    let by_digest = Mount::with(layout.path(), &["--image", digest]);
    let by_option = Mount::with(layout.path(), &["-o", "image=deep/b:1"]);
    let by_source = Mount::new(&source);
    for mount in [by_name, by_digest, by_option, by_source] {
        assert_eq!(ls(mount.join("platforms")), ["linux-amd64"]);
        assert_eq!(text(mount.join("platforms/linux-amd64/digest")).trim_end(), digest);
        assert!(fs::symlink_metadata(mount.join("images/deep/b:1")).unwrap().is_symlink());
    }
}

/// `--image sha256:…` mounted what index.json gave that name to, and whatever else index.json put beside it.
#[test]
fn an_image_chosen_by_digest_is_nothing_that_only_has_its_name() {
    let layout = Layout::new();
    let (wanted, other) = (layout.image(AMD64, "wanted"), layout.image(ARM64, "other"));
    let digest = wanted["digest"].as_str().unwrap();
    let full = format!("app@{digest}");
    for entries in [
        vec![named(other.clone(), digest), wanted.clone()],
        vec![named(other.clone(), &full), wanted.clone()],
        vec![named(wanted.clone(), "app:1"), named(other.clone(), "app:1")],
        vec![wanted.clone(), other.clone()],
        vec![named(other.clone(), digest), named(layout.nested(&[other.clone(), wanted.clone()]), "app:1")],
    ] {
        layout.index(&entries);
        for chosen in [digest, &full] {
            let mount = Mount::with(layout.path(), &["--image", chosen]);
            assert_eq!(ls(mount.join("platforms")), ["linux-amd64"], "{chosen}: {entries:?}");
            assert_eq!(text(mount.join("platforms/linux-amd64/rootfs/content")), "wanted");
        }
    }
    // Names that are no more than that, where nothing has the digest.
    layout.index(&[named(other.clone(), digest), named(other, &format!("x/{digest}"))]);
    let point = crate::kit::temp_dir();
    let failed = run(Mount::command(&point).arg("--image").arg(digest).arg(layout.path()).arg(point.path()));
    assert!(failed.stderr.contains("no manifest or index of this digest"), "{}", failed.stderr);
}

#[test]
fn option_platform_leaves_the_others_out() {
    let layout = Layout::new();
    let arm = layout.image(Platform("linux", "arm", "v7"), "c");
    layout.index(&[named(layout.nested(&[layout.image(AMD64, "a"), layout.image(ARM64, "b"), arm]), "v1")]);
    for (option, expected) in
        [("linux/arm64", "linux-arm64"), ("linux/arm64/v8", "linux-arm64"), ("linux/arm/v7", "linux-arm-v7")]
    {
        let mount = Mount::with(layout.path(), &["--platform", option]);
        assert_eq!(ls(mount.join("platforms")), [expected], "{option}");
    }
}

#[test]
fn artifacts_show_documents_layers_and_files() {
    let layout = Layout::new();
    let files = [("README.md", "# hello\n"), ("dir/inner.txt", "inner\n"), ("../escape", "no\n")];
    let blobs: Vec<Blob> = files.iter().map(|(_, content)| layout.blob(*content)).collect();
    let layers: Vec<Value> = files
        .iter()
        .zip(&blobs)
        .map(|((title, _), blob)| {
            annotate(blob.descriptor("text/plain"), "org.opencontainers.image.title", title)
        })
        .collect();
    let config = layout.blob("{}");
    let manifest = layout.json(&json!({"schemaVersion": 2, "mediaType": media::MANIFEST,
        "artifactType": "application/vnd.example.docs", "config": config.descriptor(media::EMPTY), "layers": layers}));
    layout.index(&[
        named(manifest.descriptor(media::MANIFEST), "docs:1"),
        named(layout.image(AMD64, "an image"), "app:1"),
    ]);
    let mount = Mount::new(layout.path());
    let artifact = mount.join("artifacts/docs:1");
    assert_eq!(bytes(artifact.join("manifest.json")), manifest.bytes);
    assert_eq!(bytes(artifact.join("config.json")), b"{}");
    assert_eq!(text(artifact.join("digest")), format!("{}\n", manifest.digest));
    assert!(text(artifact.join("descriptor.json")).contains(&manifest.digest));
    assert_eq!(ls(artifact.join("layers")), ["0", "1", "2"]);
    assert_eq!(text(artifact.join("files/README.md")), "# hello\n");
    assert_eq!(text(artifact.join("files/dir/inner.txt")), "inner\n");
    assert_eq!(
        ls(mount.join("platforms")),
        ["linux-amd64"],
        "one image beside an artifact is still the root"
    );
    assert_eq!(text(artifact.join("files/%2E%2E/escape")), "no\n");
}

#[test]
fn an_entry_of_unknown_type_is_no_error() {
    let layout = Layout::new();
    let blob = layout.blob("whatever");
    layout.index(&[
        named(blob.descriptor("application/vnd.unknown+xyz"), "odd"),
        named(layout.image(AMD64, "fine"), "fine"),
    ]);
    let mount = Mount::new(layout.path());
    assert_eq!(ls(mount.join("platforms")), ["linux-amd64"]);
    assert_eq!(bytes(mount.join(blob.path())), b"whatever");
}

#[test]
fn odd_index_documents_mount() {
    let layout = Layout::new();
    let image = named(layout.image(AMD64, "x"), "v1");
    let odd = [
        json!({"schemaVersion": 2, "manifests": null}),
        json!({"schemaVersion": 2}),
        json!({}),
        json!({"manifests": []}),
        json!({"manifests": [image, null, 7, "text", [], {}, {"digest": 5}, {"digest": "x", "size": -1},
            {"mediaType": media::MANIFEST, "digest": image["digest"], "size": 1.5},
            {"mediaType": media::MANIFEST, "digest": "sha256:short", "size": 3}],
            "annotations": {"n": 5}, "mediaType": 7, "schemaVersion": "two"}),
        json!({"mediaType": "application/vnd.docker.distribution.manifest.list.v2+json", "manifests": [image]}),
    ];
    for document in odd {
        fs::write(layout.path().join("index.json"), document.to_string()).unwrap();
        let mount = Mount::new(layout.path());
        assert_eq!(text(mount.join("index.json")), document.to_string());
        assert!(run(Command::new("ls").arg("-lR").arg(mount.join("images"))).status.success(), "{document}");
        if document["manifests"][0].is_object() {
            assert!(mount.join("images/v1/platforms/linux-amd64/config.json").exists(), "{document}");
        }
    }
}

#[test]
fn ten_thousand_images_mount_quickly_and_are_all_there() {
    let layout = Layout::new();
    let layer = layout.blob(gzip(&tar(&[("a", b"a")])));
    let (config, _, _) = layout.image_of(AMD64, std::slice::from_ref(&layer));
    let index: Vec<Value> = (0..10_000)
        .map(|n| {
            let manifest = json!({"schemaVersion": 2, "config": config.descriptor(media::CONFIG),
                "layers": [layer.descriptor(media::LAYER)], "annotations": {"n": n.to_string()}});
            named(layout.json(&manifest).descriptor(media::MANIFEST), &format!("app-{n}:v1"))
        })
        .collect();
    layout.index(&index);
    let start = Instant::now();
    let mount = Mount::new(layout.path());
    let mounted = start.elapsed();
    assert_eq!(ls(mount.join("images")).len(), 10_000);
    let listed = start.elapsed() - mounted;
    assert!(mount.join("images/app-9999:v1").exists());
    assert!(mounted < Duration::from_secs(2), "mounting took {mounted:?}");
    assert!(listed < Duration::from_secs(10), "listing took {listed:?}");
}

/// Whatever an index lists was read each time it was listed: one of 4 MiB kept the root away for ten minutes.
#[test]
fn a_manifest_listed_over_and_over_is_read_once() {
    let layout = Layout::new();
    let mut image: Value = serde_json::from_slice(&layout.image_of(AMD64, &[]).1.bytes).unwrap();
    image["annotations"]["padding"] = json!("x".repeat(2 << 20));
    let mut artifact = image.clone();
    artifact["artifactType"] = json!("application/x");
    for (name, document, shown) in [("artifact", artifact, "artifacts"), ("image", image, "platforms")] {
        let manifest = layout.json(&document);
        let entries = vec![manifest.descriptor(media::MANIFEST); 9_000];
        layout.index(&[named(layout.nested(&entries), name)]);
        let start = Instant::now();
        let mount = Mount::new(layout.path());
        assert_eq!(ls(mount.join(shown)).len(), if name == "image" { 1 } else { 2 }, "{name}");
        assert!(start.elapsed() < Duration::from_secs(10), "{name}: {:?}", start.elapsed());
    }
}

/// An index without a media type that lists artifacts only was shown as a manifest that is damaged, and verify called it so.
#[test]
fn an_index_that_does_not_say_so_is_a_list_of_artifacts() {
    let layout = Layout::new();
    let mut list = layout.nested(&[layout.artifact("application/x").file("a", "a").entry()]);
    let mut untold = layout.artifact("application/x").file("b", "b").entry();
    for entry in [&mut list, &mut untold] {
        entry.as_object_mut().unwrap().remove("mediaType");
    }
    layout.index(&[named(list, "list"), named(untold, "untold"), named(layout.image(AMD64, "x"), "app")]);
    let mount = Mount::new(layout.path());
    assert_eq!(
        ls(mount.join("artifacts/list")),
        ["descriptor.json", "digest", "image-index.json", "referrers"]
    );
    assert_eq!(text(mount.join("artifacts/untold/files/b")), "b");
    assert_eq!(ls(mount.join("artifacts")).len(), 3, "what it lists has a place of its own");
    assert_eq!(mount.problems(), [""; 0]);
    let done = run(Command::new(crate::kit::ocifs()).arg("verify").arg(layout.path()));
    assert_eq!(done.code(), 0, "{}", done.stdout);
}

#[test]
fn one_manifest_is_an_image_and_bytes_by_how_it_is_listed() {
    let layout = Layout::new();
    let (_, manifest, _) = layout.image_of(AMD64, &[layout.blob(gzip(&tar(&[("content", b"x")])))]);
    let bytes = manifest.descriptor("application/octet-stream");
    let mut untold = bytes.clone();
    untold.as_object_mut().unwrap().remove("mediaType");
    layout.index(&[named(layout.nested(&[bytes]), "bytes"), named(untold, "image")]);
    let mount = Mount::new(layout.path());
    assert!(ls(mount.join("artifacts")).contains(&"bytes".to_owned()));
    assert_eq!(ls(mount.join("images")), ["image"]);
    assert_eq!(text(mount.join("platforms/linux-amd64/rootfs/content")), "x");
}

/// images/ listed one name twice, of which one could be reached.
#[test]
fn an_image_without_a_name_that_is_listed_twice_is_there_once() {
    let layout = Layout::new();
    let [one, other] = ["a", "b"].map(|content| {
        let mut entry = layout.image(AMD64, content);
        entry.as_object_mut().unwrap().remove("platform");
        entry
    });
    layout.index(&[one.clone(), other, one]);
    assert_eq!(ls(Mount::new(layout.path()).join("images")).len(), 2);
}
