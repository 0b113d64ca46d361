//! One test a bug, named after its symptom, with a comment that says what went wrong.

use crate::kit::{
    Layout, Mount, PLATFORM, Platform, bytes, errno, list_errno, ls, named, read_errno, require_root,
    require_tool, run, temp_dir, text,
};
use std::fs;
use std::os::unix::fs::{lchown, symlink};
use std::process::Command;

const SOMEBODY: u32 = 1234;

/// A user's layout could link to a file of root's; mounted by root for all, its bytes were handed out unchecked.
#[test]
fn a_link_of_one_user_to_a_file_of_another_is_not_followed() {
    require_root();
    let (layout, sample) = Layout::sample();
    let secrets = temp_dir();
    let secret = secrets.join("secret.json");
    fs::write(&secret, r#"{"auths":{}}"#).unwrap();
    let kept = secrets.join("layer");
    fs::copy(layout.file(&sample.layers[0]), &kept).unwrap();
    let link = |name: &str, target: &std::path::Path, owner: u32| {
        let path = layout.path().join(name);
        fs::remove_file(&path).unwrap();
        symlink(target, &path).unwrap();
        lchown(&path, Some(owner), None).unwrap();
    };
    let layer = sample.layers[0].path();
    link("oci-layout", &secret, SOMEBODY);
    link(layer.to_str().unwrap(), &kept, SOMEBODY);
    let mount = Mount::new(layout.path());
    assert_ne!(bytes(mount.join("oci-layout")), bytes(&secret), "made up instead");
    assert!(
        mount
            .problems()
            .iter()
            .any(|line| line.starts_with("oci-layout: is a symlink that leads to nothing of its owner"))
    );
    assert_eq!(read_errno(mount.join(&layer)), nix::libc::EIO);
    drop(mount);

    // Links of one's own, and of whoever owns the file, lead on: Bazel and Nix make whole layouts of them.
    link("oci-layout", &secret, 0);
    lchown(&kept, Some(SOMEBODY), None).unwrap();
    let mount = Mount::new(layout.path());
    assert_eq!(bytes(mount.join("oci-layout")), bytes(&secret));
    assert_eq!(bytes(mount.join(&layer)), sample.layers[0].bytes);
    drop(mount);

    // A directory on the way to the blobs is a way to somebody else's blobs just so.
    let (layout, sample) = Layout::sample();
    let theirs = secrets.path().join("theirs");
    let layer = sample.layers[0].path();
    for name in ["blobs", "blobs/sha256"] {
        fs::create_dir_all(&theirs).unwrap();
        let moved = theirs.join("moved");
        fs::rename(layout.path().join(name), &moved).unwrap();
        let link = layout.path().join(name);
        symlink(&moved, &link).unwrap();
        for (link_owner, moved_owner, led) in
            [(SOMEBODY, 0, false), (SOMEBODY, SOMEBODY, true), (0, SOMEBODY, true)]
        {
            lchown(&link, Some(link_owner), None).unwrap();
            lchown(&moved, Some(moved_owner), None).unwrap();
            let mount = Mount::new(layout.path());
            let case = format!("{name}: a link of {link_owner} to what is {moved_owner}'s");
            match led {
                true => assert_eq!(bytes(mount.join(&layer)), sample.layers[0].bytes, "{case}"),
                false => {
                    assert_eq!(read_errno(mount.join(&layer)), nix::libc::EIO, "{case}");
                    let problem = "file below a symlink that leads to nothing of its owner";
                    assert!(mount.problems().iter().any(|line| line.contains(problem)), "{case}");
                }
            }
        }
        fs::remove_file(&link).unwrap();
        fs::rename(&moved, &link).unwrap();
    }

    let (layout, _) = Layout::sample();
    fs::remove_file(layout.path().join("index.json")).unwrap();
    symlink(&secret, layout.path().join("index.json")).unwrap();
    lchown(layout.path().join("index.json"), Some(SOMEBODY), None).unwrap();
    let done = run(Mount::command(&secrets).arg(layout.path()).arg(secrets.path()));
    assert_eq!(done.code(), 1);
    assert!(
        done.stderr.contains("index.json: is a symlink that leads to nothing of its owner"),
        "{}",
        done.stderr
    );
}

/// Whoever owns a layout could ask root's mount which files there are, and how large, by a link in a blob's place for each.
#[test]
fn a_link_tells_nothing_of_what_its_owner_cannot_see() {
    require_root();
    let (layout, _) = Layout::sample();
    let secrets = temp_dir();
    let blobs = layout.path().join("blobs/sha256");
    let (secret, theirs) = (secrets.join("secret"), secrets.join("theirs"));
    fs::write(&secret, "of root").unwrap();
    fs::write(&theirs, "a user's own").unwrap();
    lchown(&theirs, Some(SOMEBODY), None).unwrap();
    let targets = [&secret, secrets.path(), &secrets.join("nothing"), &secret.join("below"), &theirs];
    let names: Vec<String> = (0..targets.len()).map(|n| format!("{n:064x}")).collect();
    for (name, target) in names.iter().zip(targets) {
        symlink(target, blobs.join(name)).unwrap();
        lchown(blobs.join(name), Some(SOMEBODY), None).unwrap();
    }
    let mount = Mount::new(layout.path());
    let seen = |name: &String| {
        let blob = mount.join("blobs/sha256").join(name);
        (fs::metadata(&blob).unwrap().len(), read_errno(&blob))
    };
    // One byte: a file of none would not be read, and so not say what is wrong with it.
    for name in &names[..4] {
        assert_eq!(seen(name), (1, nix::libc::EIO), "{name}");
    }
    let problems = mount.problems();
    for name in &names[..4] {
        let what = format!("{name}: there is a symlink that leads to nothing of its owner in its place");
        assert!(problems.iter().any(|line| line.ends_with(&what)), "{problems:?}");
    }
    assert_eq!(fs::metadata(mount.join("blobs/sha256").join(&names[4])).unwrap().len(), 12);
}

/// A manifest.json of many small parts was made into values eighty times as long before anybody counted them, and a few
/// kilobytes of archive took gigabytes.
#[test]
fn a_docker_archive_of_nothing_but_small_parts_takes_little_memory() {
    require_tool("prlimit");
    let directory = temp_dir();
    let archive = directory.join("a.tar");
    let image = |members: &str| format!("[{{{members}}}]");
    for (manifest, said) in [
        (format!("[{}7]", r#"{"a":0},"#.repeat(2_000_000)), "names 2000001 images with 0 layers"),
        (
            image(&format!(r#"{}"Config":"c""#, r#""":0,"#.repeat(3_000_000))),
            "its configuration \"c\": not in",
        ),
        (
            image(&format!(r#""Config":"c","Layers":[{}""]"#, r#""","#.repeat(5_000_000))),
            "with 5000001 layers",
        ),
        (
            image(&format!(r#""Config":"c","RepoTags":[{}""]"#, r#""","#.repeat(5_000_000))),
            "and 5000001 names",
        ),
    ] {
        fs::write(directory.join("manifest.json"), manifest).unwrap();
        run(Command::new("tar")
            .arg("-cf")
            .arg(&archive)
            .arg("-C")
            .arg(directory.path())
            .arg("manifest.json"))
        .ok();
        let mut ocifs = Mount::command(&directory);
        ocifs.arg("inspect").arg(&archive);
        let mut prlimit = Command::new("prlimit");
        let done = run(prlimit.arg("--as=250000000").arg(ocifs.get_program()).args(ocifs.get_args()));
        assert_eq!(done.code(), 1, "{}", done.stderr);
        assert!(done.stderr.contains(said), "{}", done.stderr);
    }
}

/// What could not be read because the daemon had no file descriptors left was built into the tree, and missing for good.
#[test]
fn what_failed_for_want_of_descriptors_is_there_later() {
    require_tool("prlimit");
    let (layout, _) = Layout::sample();
    let mount = Mount::new(layout.path());
    limit(&mount, "3");
    let config = mount.join("platforms/linux-amd64/config.json");
    assert!(fs::read(&config).is_err(), "without descriptors nothing can be opened");
    limit(&mount, "1024");
    assert!(text(&config).contains("amd64"));
    assert_eq!(ls(mount.join("platforms")), ["linux-amd64"]);
}

/// What a manifest is was settled for good by a look that could not read it.
#[test]
fn an_artifact_looked_at_without_descriptors_is_one_later() {
    require_tool("prlimit");
    let layout = Layout::new();
    let image = |name| named(layout.image(Platform("linux", "amd64", ""), name), name);
    let docs = named(layout.artifact("").file("readme", "text").entry(), "docs:1");
    layout.index(&[image("app:1"), image("app:2"), docs]);
    let mount = Mount::new(layout.path());
    assert!(ls(mount.point()).contains(&"images".to_owned()), "two images are known by their entries");
    limit(&mount, "3");
    assert_eq!(
        ls(mount.join("images")),
        ["app:1", "app:2", "docs:1"],
        "taken for one while nothing can be read"
    );
    limit(&mount, "1024");
    // What it listed before is in the kernel's memory.
    assert_eq!(ls(mount.join("artifacts")), ["docs:1"]);
}

/// A name under artifacts/ that could not be told once was absent for good (the kernel keeps what is not there), an image
/// had no platforms, and what speaks of it was not shown.
#[test]
fn nothing_is_concluded_from_documents_that_could_not_be_read_once() {
    require_tool("prlimit");
    let layout = Layout::new();
    let plain = layout.image(Platform("linux", "amd64", ""), "plain");
    let docs = named(layout.artifact("").file("readme", "text").entry(), "docs:1");
    let sbom =
        named(layout.artifact("application/spdx+json").of(&plain).file("sbom", "{}").entry(), "sbom:1");
    let listed = layout.image(Platform("linux", "arm64", ""), "listed");
    layout.index(&[named(plain, "plain:1"), named(layout.nested(&[listed]), "nested:1"), docs, sbom]);
    let mount = Mount::new(layout.path());
    ls(mount.point());
    limit(&mount, "3");
    let (docs, nested) = (mount.join("artifacts/docs:1"), mount.join("images/nested:1"));
    assert_eq!(errno(fs::metadata(&docs)), nix::libc::EIO, "not: there is none");
    assert!(ls(&nested).contains(&"platforms".to_owned()));
    assert_eq!(list_errno(nested.join("platforms")), nix::libc::EIO);
    limit(&mount, "1024");
    assert!(docs.exists());
    assert_eq!(ls(nested.join("platforms")), ["linux-arm64"]);

    let plain = mount.join("images/plain:1/platforms/linux-amd64");
    ls(&plain);
    limit(&mount, "3");
    assert_eq!(list_errno(plain.join("referrers")), nix::libc::EIO, "not: nothing speaks of it");
    limit(&mount, "1024");
    assert_eq!(ls(plain.join("referrers")).len(), 1);
}

/// One index that could not be read took artifacts/ as a whole, names known by heart included, for as long as that lasted.
#[test]
fn artifacts_are_listed_though_an_index_cannot_be_read() {
    let layout = Layout::new();
    let chart = layout.artifact("application/x").file("chart", "text").entry();
    let listed = layout.artifact("application/y").file("listed", "text").entry();
    let broken = layout.nested(&[layout.image(Platform("linux", "amd64", ""), "x"), listed]);
    layout.index(&[named(chart, "chart:1"), named(broken.clone(), "broken:1")]);
    let path = layout.path().join("blobs").join(broken["digest"].as_str().unwrap().replace(':', "/"));
    let content = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    symlink(&path, &path).unwrap();
    let mount = Mount::new(layout.path());
    assert_eq!(ls(mount.join("artifacts")), ["broken:1", "chart:1"]);
    assert_eq!(text(mount.join("artifacts/chart:1/files/chart")), "text");
    assert_eq!(list_errno(mount.join("artifacts/broken:1")), nix::libc::EIO);
    assert!(mount.problems().iter().any(|line| line.starts_with("artifacts/broken:1: ")));
    fs::remove_file(&path).unwrap();
    fs::write(&path, content).unwrap();
    let name = ls(mount.join("artifacts/broken:1")).remove(0);
    assert_eq!(text(mount.join("artifacts/broken:1").join(name).join("files/listed")), "text");
}

/// What could not be read when the root was first looked into was taken for a second image for good, so that the root never
/// showed the only one; and what images/ listed then stayed an image.
#[test]
fn the_root_shows_its_image_once_it_can_be_told() {
    let layout = Layout::new();
    let image = named(layout.image(Platform("linux", "amd64", ""), "x"), "app:1");
    let signature = layout.artifact("").file("signature", "text").store();
    layout.index(&[image, named(signature.descriptor(crate::kit::media::MANIFEST), "signature:1")]);
    let path = layout.file(&signature);
    fs::remove_file(&path).unwrap();
    symlink(&path, &path).unwrap();
    let mount = Mount::new(layout.path());
    assert!(ls(mount.point()).contains(&"blobs".to_owned()), "whatever cannot be told, the rest is there");
    assert_eq!(list_errno(mount.join("platforms")), nix::libc::EIO);
    let rootfs = "platforms/linux-amd64/rootfs/content";
    assert_eq!(text(mount.join("images/app:1").join(rootfs)), "x");
    assert_eq!(ls(mount.join("images")), ["app:1", "signature:1"]);
    assert_eq!(errno(fs::metadata(mount.join("images/signature:1"))), nix::libc::EIO);

    fs::remove_file(&path).unwrap();
    fs::write(&path, &signature.bytes).unwrap();
    assert_eq!(text(mount.join(rootfs)), "x");
    assert_eq!(errno(fs::metadata(mount.join("images/signature:1"))), nix::libc::ENOENT);
    assert_eq!(text(mount.join("artifacts/signature:1/files/signature")), "text");
}

/// A platform whose configuration could not be read could not be listed at all, its layers included.
#[test]
fn a_platform_is_there_before_its_configuration_is() {
    let (layout, sample) = Layout::sample();
    let path = layout.file(&sample.config);
    fs::remove_file(&path).unwrap();
    symlink(&path, &path).unwrap();
    let mount = Mount::new(layout.path());
    let platform = mount.join(PLATFORM);
    assert!(ls(&platform).contains(&"history".to_owned()));
    assert_eq!(bytes(platform.join("layers/0")), sample.layers[0].bytes);
    assert_eq!(text(platform.join("image-id")), format!("{}\n", sample.config.digest));
    assert_eq!((ls(platform.join("diffs")).len(), ls(platform.join("deleted")).len()), (2, 1));
    for name in ["diffs/0", "at/1", "deleted/0", "rootfs"] {
        assert_eq!(list_errno(platform.join(name)), nix::libc::EIO, "{name}");
    }
    assert_eq!(read_errno(platform.join("history")), nix::libc::EIO);
    assert!(mount.problems().iter().any(|line| line.starts_with(&format!("{PLATFORM}/config.json: "))));
    fs::remove_file(&path).unwrap();
    fs::write(&path, &sample.config.bytes).unwrap();
    let history = text(platform.join("history"));
    assert!(history.contains("step number 1"), "{history}");
    assert_eq!(fs::metadata(platform.join("history")).unwrap().len(), history.len() as u64);
    assert_eq!(text(platform.join("rootfs/etc/motd")), "welcome\n");
}

/// Limits the daemon's file descriptors.
#[track_caller]
fn limit(mount: &Mount, soft: &str) {
    let mut prlimit = Command::new("prlimit");
    run(prlimit.args(["--pid", &mount.daemon().to_string()]).arg(format!("--nofile={soft}:"))).ok();
}

/// With some limits the mount stood and its process did not, or it served nothing for as long as it lasted.
#[test]
fn with_few_descriptors_it_serves_or_says_why_not() {
    require_tool("prlimit");
    let (layout, sample) = Layout::sample();
    let layer = sample.layers[0].path();
    let mut refused = 0;
    for limit in 3..64 {
        match Mount::by(&["prlimit", &format!("--nofile={limit}:{limit}")], layout.path()) {
            Ok(mount) => {
                assert_eq!(bytes(mount.join(&layer)), sample.layers[0].bytes, "with {limit}");
                assert!(!ls(mount.join("platforms/linux-amd64/rootfs")).is_empty(), "with {limit}");
                assert!(refused > 3, "there is nothing to serve with");
            }
            Err(words) => {
                refused += 1;
                // The loader of the program itself may be who finds none.
                assert!(
                    words.contains("open files") || words.contains("loading shared"),
                    "with {limit}: {words}"
                );
            }
        }
    }
    assert!(refused < 50, "40 are plenty");
}
