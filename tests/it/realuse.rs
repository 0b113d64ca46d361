//! What people do with a mounted root filesystem, with the programs they do it with.

use crate::kit::{
    Layer, Layout, Member, Mount, PLATFORM, TempDir, archive, is_mounted, ls, require_root, require_tool,
    run, temp_dir, text, unmount,
};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A small root filesystem of three layers: the machine's busybox, some files of every kind, and changes to them.
fn image() -> Layout {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].iter().find_map(|path| fs::read(path).ok());
    let busybox = busybox.expect("busybox-static is missing; scripts/test.sh installs it");
    let applets =
        ["sh", "cat", "ls", "echo", "mv"].map(|name| Member::link(format!("bin/{name}"), "bin/busybox"));
    let mut base =
        vec![Member::dir(""), Member::dir("bin"), Member::file("bin/busybox", busybox).mode(0o755)];
    base.extend(applets);
    base.extend([
        Member::dir("dev"),
        Member::dir("tmp").mode(0o1777),
        Member::dir("etc"),
        Member::file("etc/passwd", "root:x:0:0::/:/bin/sh\n"),
        Member::file("etc/motd", "old words\n"),
    ]);
    let middle = [
        Member::dir("srv"),
        Member::file("srv/fine", "x").pax("mtime", "1600000000.123456789"),
        Member::file("srv/owned", "y").owner(1000, 2000).mode(0o640),
        Member::file("srv/attributes", "z").xattr("user.note", "kept"),
        Member::file("srv/setuid", "s").mode(0o4755),
        Member::device("dev/null", b'3', 1, 3).mode(0o666),
        Member::fifo("srv/pipe"),
        Member::symlink("srv/link", "fine"),
        Member::file("srv/doomed", "gone soon"),
        Member::file("srv/caf\u{e9} and\ttab", "odd"),
    ];
    let top = [
        Member::dir("etc"),
        Member::file("etc/motd", "the needle in the new words\n"),
        Member::dir("srv"),
        Member::empty("srv/.wh.doomed"),
    ];
    Layout::of_layers(&[Layer::of(&base), Layer::of(&middle), Layer::of(&top)])
}

fn sh(script: &str, variables: &[(&str, PathBuf)]) -> String {
    let mut command = Command::new("sh");
    run(command.args(["-euc", script]).envs(variables.iter().map(|(name, path)| (*name, path)))).ok()
}

#[test]
fn programs_run_inside() {
    require_root();
    let layout = image();
    let mount = Mount::new(layout.path());
    let script =
        r#"chroot "$root" /bin/sh -c 'echo "$(cat /etc/motd)" from $$ && ls /srv' | sed 's/ from .*//'"#;
    let said = sh(script, &[("root", mount.rootfs(""))]);
    assert!(said.starts_with("the needle in the new words\n"), "{said}");
    assert!(!said.contains("doomed") && said.contains("attributes"), "{said}");
}

/// An overlay over the root filesystem; unmounted at the end, before what lies below.
struct Overlay(TempDir);

impl Overlay {
    fn over(lower: &std::path::Path) -> Self {
        // Not in /tmp where that is an overlay itself: the upper directory must be on a file system of its own.
        let directory = temp_dir();
        run(Command::new("mount").args(["-t", "tmpfs", "none"]).arg(directory.path())).ok();
        for name in ["upper", "work", "merged"] {
            fs::create_dir(directory.join(name)).unwrap();
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            directory.join("upper").display(),
            directory.join("work").display()
        );
        let overlay = Self(directory);
        run(Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(overlay.merged()))
            .ok();
        overlay
    }

    fn merged(&self) -> PathBuf {
        self.0.join("merged")
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        for point in [self.merged(), self.0.path().to_owned()] {
            if is_mounted(&point) {
                unmount(&point);
            }
        }
    }
}

#[test]
fn an_overlay_on_top_can_be_written() {
    require_root();
    let layout = image();
    let mount = Mount::new(layout.path());
    let overlay = Overlay::over(&mount.rootfs(""));
    let merged = overlay.merged();
    assert_eq!(text(merged.join("etc/motd")), "the needle in the new words\n");
    fs::write(merged.join("etc/motd"), "written").unwrap();
    fs::write(merged.join("srv/fresh"), "new").unwrap();
    fs::remove_file(merged.join("srv/fine")).unwrap();
    fs::rename(merged.join("srv/owned"), merged.join("tmp/moved")).unwrap();
    fs::remove_dir_all(merged.join("bin")).unwrap();
    assert_eq!(text(merged.join("etc/motd")), "written");
    assert_eq!(text(merged.join("tmp/moved")), "y");
    assert!(ls(merged.join("srv")).contains(&"fresh".to_owned()));
    assert!(!merged.join("bin").exists());
    assert_eq!(text(mount.rootfs("etc/motd")), "the needle in the new words\n", "below nothing changed");
}

#[test]
fn rsync_sees_no_difference_to_umocis_unpack() {
    require_root();
    require_tool("umoci");
    require_tool("rsync");
    let layout = image();
    let mount = Mount::new(layout.path());
    let scratch = temp_dir();
    let bundle = scratch.join("bundle");
    run(Command::new("umoci")
        .args(["unpack", "--image"])
        .arg(format!("{}:v1", layout.path().display()))
        .arg(&bundle))
    .ok();
    // -X would show which layer a file came from, which an unpacked tree cannot know: those two are left out.
    let script = r#"rsync -aHAXn --checksum --delete --itemize-changes --filter='-x user.oci.*' "$root/" "$unpacked/""#;
    let places = [("root", mount.rootfs("")), ("unpacked", bundle.join("rootfs"))];
    assert_eq!(sh(script, &places), "");
    // And a difference would be seen.
    fs::write(bundle.join("rootfs/etc/motd"), "different").unwrap();
    assert!(sh(script, &places).contains("etc/motd"));
}

#[test]
fn the_usual_tools_go_over_it() {
    require_root();
    let layout = image();
    let mount = Mount::new(layout.path());
    let scratch = temp_dir();
    let places = [("root", mount.rootfs("")), ("copy", scratch.join("copy"))];
    let is = |script: &str, expected: &str| assert_eq!(sh(script, &places).trim(), expected, "{script}");
    is(
        r#"cp -a "$root" "$copy" && diff -r --no-dereference "$root/srv/" "$copy/srv/" 2>&1 | grep -v fifo || true"#,
        "",
    );
    is(
        r#"cd "$copy" && stat -c '%a %u %g %Y %h' srv/owned bin/sh tmp"#,
        sh(r#"cd "$root" && stat -c '%a %u %g %Y %h' srv/owned bin/sh tmp"#, &places).trim(),
    );
    is(r#"getfattr --only-values -n user.note "$copy/srv/attributes""#, "kept");
    is(r#"diff -r "$root/etc" "$root/etc""#, "");
    is(r#"tar -C "$root" -c . | tar -t | wc -l"#, sh(r#"cd "$root" && find . | wc -l"#, &places).trim());
    is(r#"grep -rl --devices=skip needle "$root" | sed "s|$root||""#, "etc/motd");
    is(r#"find "$root/srv" -type f -not -newermt 2021-01-01 -printf '%f'"#, "fine");
    is(r#"find "$root" -samefile "$root/bin/sh" | wc -l"#, "6");
    is(r#"find "$root" -type f -perm -4000 -printf '%f'"#, "setuid");
    is(
        r#"test "$(du -s --apparent-size -B1 "$root/bin" | cut -f1)" -lt "$(($(stat -c %s "$root/bin/busybox") * 2))" && echo once"#,
        "once",
    );
}

/// Two platforms compared: what the mount is for.
#[test]
fn diff_compares_two_mounts() {
    let one = Layout::of_layers(&[Layer::of(&[Member::file("same", "1"), Member::file("other", "a")])]);
    let two = Layout::of_layers(&[Layer::packed(
        &archive(&[Member::file("same", "1"), Member::file("other", "b")]),
        crate::kit::Packing::Zstd,
    )]);
    let (one, two) = (Mount::new(one.path()), Mount::new(two.path()));
    let (one, two) = (one.join(PLATFORM).join("rootfs"), two.join(PLATFORM).join("rootfs"));
    let done = run(Command::new("diff").arg("-rq").arg(&one).arg(&two));
    assert_eq!(done.code(), 1);
    assert_eq!(done.stdout, format!("Files {0}/other and {1}/other differ\n", one.display(), two.display()));
}
