//! What a new user gets to read when something will not do: a sentence or two, with what to do about it.

use crate::kit::{
    Layout, Mount, Nobody, Platform, TempDir, daemons, is_mounted, media, named, run, temp_dir, text,
    unmount, wait_until,
};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Longest message, in bytes: what a person reads. A list of twenty names may be as long again.
const LONG: usize = 500;

/// A directory as people have it: some images, some things that are none, places to mount on.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(temp_dir());
        let at = |name: &str| desk.0.join(name);
        for directory in ["mnt", "photos", "project", "skopeo-dir", "unpacked"] {
            fs::create_dir(at(directory)).unwrap();
        }
        fs::write(at("photos/cat.jpg"), "meow").unwrap();
        fs::write(at("notes.txt"), "buy milk\n".repeat(100)).unwrap();
        fs::write(at("empty.tar"), "").unwrap();
        let layout = Layout::new();
        let entry = |name: &str| named(layout.image(Platform("linux", "amd64", ""), name), name);
        layout.index(&[entry("app:1.4"), entry("app:1.5"), entry("web:2")]);
        desk.copy(&layout, "layout");
        let chart =
            layout.json(&json!({"schemaVersion": 2, "artifactType": "application/x.chart", "layers": []}));
        layout.index(&[named(chart.descriptor(media::MANIFEST), "chart")]);
        desk.copy(&layout, "charts");
        desk.copy(&Layout::sample().0, "project/image");
        desk.copy(&Layout::sample().0, "typo");
        let typo = text(at("typo/index.json")).replacen("{", "{\n  ", 1).replacen(
            "\"manifests\":",
            "\"manifests\"",
            1,
        );
        fs::write(at("typo/index.json"), typo).unwrap();
        fs::write(at("skopeo-dir/version"), "Directory Transport Version: 1.1\n").unwrap();
        fs::write(at("skopeo-dir/manifest.json"), "{}").unwrap();
        fs::write(at("unpacked/manifest.json"), "[]").unwrap();
        desk
    }

    fn copy(&self, layout: &Layout, name: &str) {
        run(Command::new("cp").arg("-a").arg(layout.path()).arg(self.0.join(name))).ok();
    }

    /// Runs the command there, as it is typed, and returns what it says on standard error. It must not mount.
    #[track_caller]
    fn says(&self, line: &str, code: i32) -> String {
        let words = line.split(' ').map(|word| if word == "''" { "" } else { word });
        let done = run(Mount::command(&self.0).args(words).current_dir(self.0.path()));
        for point in ["mnt", "layout"].map(|name| self.0.join(name)) {
            assert!(!is_mounted(&point) || !unmount(&point), "{line}: that mounts");
        }
        assert_eq!(done.code(), code, "{line}: {}", done.stderr);
        assert_eq!(done.stdout, "", "{line}: errors go to standard error");
        done.stderr
    }
}

#[test]
fn each_says_what_to_do() {
    let desk = Desk::new();
    for (line, words) in [
        // The source
        ("/no/such/path mnt", &["/no/such/path: no such file or directory"][..]),
        ("photos mnt", &["photos", "not an OCI layout", "no index.json"]),
        ("notes.txt mnt", &["notes.txt", "no tar archive", "layout directories", "docker save"]),
        ("empty.tar mnt", &["empty.tar", "is empty", "not saved to its end"]),
        ("project mnt", &["project", "no index.json", "project/image is one"]),
        ("layout/blobs mnt", &["no index.json", "layout is one"]),
        ("skopeo-dir mnt", &["skopeo copy dir:skopeo-dir oci:"]),
        ("unpacked mnt", &["unpacked docker-archive", "tar -C unpacked -cf"]),
        ("typo mnt", &["typo: index.json: not JSON", "line 2 column"]),
        ("oci:notes.txt mnt", &["notes.txt", "is a file", "oci-archive:"]),
        ("oci-archive:layout mnt", &["layout", "is a directory", "oci:"]),
        ("alpine:3.20 mnt", &["alpine:3.20: no such file", "docker://alpine:3.20"]),
        ("ghcr.io/me/app mnt", &["docker://ghcr.io/me/app"]),
        ("https://ghcr.io/me/app mnt", &["docker://ghcr.io/me/app"]),
        // The image and the platform
        (
            "--image app:1.6 layout mnt",
            &["\"app:1.6\" is not in this source", "\"app:1.4\", \"app:1.5\", \"web:2\""],
        ),
        ("--image wbe:2 layout mnt", &["did you mean \"web:2\"?"]),
        ("--image sha256:12ab layout mnt", &["\"sha256:12ab\" is not a sha256 digest", "want 64"]),
        ("oci:layout:app mnt", &["\"app\" is not in this source", "\"app:1.4\""]),
        ("--image '' layout mnt", &["image \"\" is not in this source"]),
        (
            "--image app:1.4 --platform linux/s390x layout mnt",
            &["nothing for linux/s390x", "it has linux/amd64"],
        ),
        (
            "--image chart --platform linux/amd64 charts mnt",
            &["nothing for linux/amd64", "it has no platforms"],
        ),
        // The mountpoint
        ("layout nowhere", &["nowhere: mountpoint does not exist", "mkdir -p"]),
        ("layout notes.txt", &["notes.txt: mountpoint is not a directory"]),
        ("mnt layout", &["SOURCE and MOUNTPOINT swapped", "layout could be an image"]),
        ("mnt notes.txt", &["SOURCE and MOUNTPOINT swapped", "notes.txt could be an image"]),
    ] {
        let said = desk.says(line, 1);
        for word in words {
            assert!(said.contains(word), "{line}: {word:?} is not in {said:?}");
        }
        assert!(
            said.starts_with("ocifs: ") && said.lines().count() == 1 && said.len() < LONG,
            "{line}: {said:?}"
        );
    }
}

#[test]
fn what_is_typed_wrong_is_told_apart() {
    let desk = Desk::new();
    for (line, words) in [
        ("layout", &["MOUNTPOINT"][..]),
        ("--imag v1 layout mnt", &["--imag", "--image"]),
        (
            "docker-daemon:app:1 mnt",
            &["docker-daemon:app:1", "docker save -o image.tar app:1", "mount image.tar"],
        ),
        ("containers-storage:app mnt", &["podman save --format oci-archive -o image.tar app"]),
        ("dir:skopeo-dir mnt", &["skopeo copy dir:skopeo-dir oci:LAYOUT:NAME"]),
        ("-o alow_other layout mnt", &["alow_other", "allow_other"]),
        ("--image a oci:layout:b mnt", &["named twice"]),
        ("--platform arm64 layout mnt", &["arm64", "OS/ARCH"]),
        (
            "--uid nobody-of-this-name layout mnt",
            &["nobody-of-this-name", "neither a user's name nor a number"],
        ),
    ] {
        let said = desk.says(line, 2);
        for word in words {
            assert!(said.contains(word), "{line}: {word:?} is not in {said:?}");
        }
    }
}

#[test]
fn the_list_of_images_ends() {
    let layout = Layout::new();
    let image = layout.image(Platform("linux", "amd64", ""), "x");
    let entries: Vec<_> = (0..500).map(|n| named(image.clone(), &format!("team/app-{n:03}:1"))).collect();
    layout.index(&entries);
    let point = temp_dir();
    let done = run(Mount::command(&point).arg("--image=team/app-7:1").arg(layout.path()).arg(point.path()));
    assert_eq!(done.code(), 1);
    assert!(done.stderr.contains("and 480 more") && done.stderr.len() < 2 * LONG, "{}", done.stderr);
}

#[test]
fn what_is_mounted_already_is_not_mounted_twice() {
    let (layout, _) = Layout::sample();
    let mount = Mount::new(layout.path());
    let done = run(Mount::command(&temp_dir()).arg(layout.path()).arg(mount.point()));
    assert_eq!(done.code(), 1, "{}", done.stderr);
    for word in ["is mounted there already", layout.path().to_str().unwrap(), "umount"] {
        assert!(done.stderr.contains(word), "{word:?} is not in {:?}", done.stderr);
    }
}

#[test]
fn somebody_without_rights() {
    let (layout, _) = Layout::sample();
    let nobody = Nobody::new();
    for (script, words) in [
        // Somebody else's directory.
        ("mkdir $point.root; $as $ocifs $1 $point.root", &["no write access", "directory of yours"][..]),
        (
            "chmod 700 $1; $as $ocifs $1 $point || { code=$?; chmod 755 $1; exit $code; }",
            &["Permission denied"],
        ),
        (
            "PATH=/nowhere; /usr/bin/$as $ocifs $1 $point",
            &["fusermount3 is not installed", "package `fuse3`"],
        ),
        (
            "mount -t tmpfs tmpfs /dev; mknod -m 666 /dev/null c 1 3; mknod -m 600 /dev/fuse c 10 229
             $as $ocifs $1 $point",
            &["/dev/fuse", "ls -l /dev/fuse"],
        ),
        (
            "$as $ocifs $1 $point; $as $ocifs $1 $point || { code=$?; $as fusermount3 -u $point; exit $code; }",
            &["is mounted there already", "fusermount3 -u"],
        ),
        ("$as $ocifs --allow-other $1 $point", &["user_allow_other", "/etc/fuse.conf"]),
    ] {
        let done = nobody.script("", layout.path(), script);
        assert_eq!(done.code(), 1, "{script}: {}", done.stderr);
        for word in words {
            assert!(done.stderr.contains(word), "{script}: {word:?} is not in {:?}", done.stderr);
        }
        assert!(done.stderr.len() < LONG, "{script}: {}", done.stderr);
        let _ = fs::remove_dir(Path::new(&format!("{}.root", nobody.point.display())));
        assert!(
            wait_until(|| daemons(&nobody.point).is_empty()),
            "{script}: its mount ended with its namespace"
        );
    }
}

/// Errors and the log had texts of the image as they are, escape sequences and all.
#[test]
fn texts_of_an_image_do_nothing_to_a_terminal() {
    let layout = Layout::new();
    let mut broken = layout.blob("layer").descriptor(media::LAYER);
    broken["size"] = json!("\u{9b}2J");
    let config = layout.json(&json!({"os": "linux", "architecture": "amd64"}));
    let config = config.descriptor(media::CONFIG);
    let manifest = layout.json(&json!({"schemaVersion": 2, "config": config, "layers": [broken]}));
    let mut entry = manifest.descriptor(media::MANIFEST);
    entry["platform"] = Platform("\u{1b}]0;owned\u{7}", "amd64", "").json();
    layout.index(&[entry]);
    let directory = temp_dir();
    let (point, log) = (directory.join("mnt"), directory.join("log"));
    fs::create_dir(&point).unwrap();
    let command = || {
        let mut command = Mount::command(&directory);
        command.arg("-vv").arg("--log-file").arg(&log).arg(layout.path()).arg(&point);
        command
    };
    let refused = run(command().arg("--platform=linux/amd64"));
    assert_eq!(refused.code(), 1);
    assert_eq!(run(&mut command()).code(), 0);
    let platform = fs::read_dir(point.join("platforms")).unwrap().next().unwrap().unwrap().path();
    let read = fs::read(platform.join("layers/0"));
    assert!(unmount(&point) && wait_until(|| daemons(&point).is_empty()));
    assert!(read.is_err());
    for (text, escaped) in [(refused.stderr, r"\u{1b}]0;owned\u{7}"), (text(&log), "ocifs::fuse] read ")] {
        assert!(text.contains(escaped), "{escaped} is not in {text:?}");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }
}

#[test]
fn where_several_images_are_is_said() {
    let desk = Desk::new();
    let done = run(Mount::command(&desk.0).args(["layout", "mnt"]).current_dir(desk.0.path()));
    assert!(unmount(&desk.0.join("mnt")) && wait_until(|| daemons(Path::new("mnt")).is_empty()));
    assert_eq!(done.code(), 0);
    assert!(done.stderr.starts_with("ocifs: index.json has 3 images and artifacts"), "{}", done.stderr);
}
