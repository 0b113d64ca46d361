//! The cage round the daemon: that it stands, that the mount works inside it, and that it ends as it should.

use crate::kit::{
    Layer, Layout, Member, Mount, Nobody, PLATFORM, Packing, archive, bytes, daemons, is_mounted, keepers,
    ls, ocifs, run, temp_dir, text, unmount, wait_until,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// The lines of a status file, as `NAME VALUE`, that say how a thread is caged.
#[track_caller]
fn caged(status: impl AsRef<Path>) -> [String; 2] {
    let text = text(status);
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    [value("Seccomp:"), value("NoNewPrivs:")]
}

/// Checks that each thread of a process is caged, or none.
#[track_caller]
fn check_threads(pid: i32, expected: [&str; 2]) {
    let threads = format!("/proc/{pid}/task");
    for thread in ls(&threads) {
        // An idle thread may end while we look.
        if Path::new(&format!("{threads}/{thread}/status")).exists() {
            let name = text(format!("{threads}/{thread}/comm"));
            assert_eq!(caged(format!("{threads}/{thread}/status")), expected, "{name}");
        }
    }
}

/// The value of a counter of a mount.
#[track_caller]
fn stat(mount: &Mount, name: &str) -> u64 {
    let stats = text(mount.join(".ocifs/stats"));
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("ocifs_{name} ")));
    line.unwrap_or_else(|| panic!("{name} is not in {stats}")).parse().unwrap()
}

/// A layout whose layers take every decoder there is.
fn all_packings() -> Layout {
    let noise = vec![b'x'; 3 << 20];
    let layers: Vec<Layer> = [Packing::Plain, Packing::Gzip, Packing::Zstd, Packing::Xz, Packing::Bzip2]
        .into_iter()
        .enumerate()
        .map(|(n, packing)| Layer::packed(&archive(&[Member::file(format!("f{n}"), &noise)]), packing))
        .collect();
    Layout::of_layers(&layers)
}

#[test]
fn every_thread_that_decodes_is_caged() {
    let layout = all_packings();
    let mount = Mount::new(layout.path());
    for n in 0..5 {
        assert_eq!(bytes(mount.join(format!("{PLATFORM}/rootfs/f{n}"))).len(), 3 << 20);
    }
    check_threads(mount.daemon(), ["2", "1"]);
    assert!(ls(format!("/proc/{}/task", mount.daemon())).len() > 3, "workers are among them");
    assert_eq!(stat(&mount, "cage_seccomp"), 1);
    // Who unmounts has to be free to, and holds nothing of the mount.
    let [keeper] = keepers(mount.point())[..] else { panic!("one keeper") };
    check_threads(keeper, ["0", "0"]);
    let held: Vec<_> = fs::read_dir(format!("/proc/{keeper}/fd")).unwrap().flatten().collect();
    assert!(held.iter().all(|fd| fs::read_link(fd.path()).unwrap() != Path::new("/dev/fuse")));
}

#[test]
fn verify_and_inspect_work_inside() {
    let layout = all_packings();
    let directory = temp_dir();
    for arguments in [&["verify", "--deep"][..], &["inspect"]] {
        let command = || {
            let mut command = Mount::command(&directory);
            command.args(arguments).arg(layout.path()).env("RUST_LOG", "debug");
            command
        };
        let done = run(&mut command());
        assert_eq!(done.code(), 0, "{}", done.stderr);
        assert!(done.stderr.contains("caged: seccomp"), "{}", done.stderr);
    }
}

#[test]
fn a_mount_in_a_cage_reads_lists_and_keeps() {
    let layout = all_packings();
    let directory = temp_dir();
    let (tar, logs) = (directory.join("image.tar"), directory.join("log"));
    run(Command::new("tar").arg("-C").arg(layout.path()).arg("-cf").arg(&tar).arg(".")).ok();
    for source in [layout.path(), tar.as_path()] {
        let point = directory.join("mnt");
        fs::create_dir_all(&point).unwrap();
        let mut command = Mount::command(&directory);
        command.args(["-vv", "--log-file"]).arg(&logs).arg(source).arg(&point);
        assert_eq!(run(&mut command).code(), 0);
        let read = fs::read(point.join(PLATFORM).join("rootfs/f3")).map(|read| read.len());
        let history = fs::read(point.join(PLATFORM).join("history"));
        assert!(unmount(&point) && wait_until(|| daemons(&point).is_empty() && keepers(&point).is_empty()));
        assert_eq!(read.unwrap(), 3 << 20);
        assert!(!history.unwrap().is_empty());
    }
    assert!(text(&logs).contains("caged: seccomp"), "{}", text(&logs));
    assert!(!text(&logs).contains("cannot be used as cache"), "{}", text(&logs));
    assert!(!ls(directory.join("cache/ocifs/index")).is_empty(), "the cache is inside");
}

#[test]
fn a_layout_whose_blobs_are_links_elsewhere() {
    let (layout, sample) = Layout::sample();
    let directory = temp_dir();
    let elsewhere = directory.join("elsewhere");
    fs::rename(layout.path().join("blobs/sha256"), &elsewhere).unwrap();
    let blobs = layout.path().join("blobs/sha256");
    std::os::unix::fs::symlink(&elsewhere, &blobs).unwrap();
    let layer = || bytes(Mount::new(layout.path()).join("platforms/linux-amd64/layers/0"));
    assert_eq!(layer(), sample.layers[0].bytes, "the directory is a link");
    fs::remove_file(&blobs).unwrap();
    fs::create_dir(&blobs).unwrap();
    for name in ls(&elsewhere) {
        std::os::unix::fs::symlink(elsewhere.join(&name), blobs.join(&name)).unwrap();
    }
    assert_eq!(layer(), sample.layers[0].bytes, "each blob is a link");
    let (all, blobs) = (directory.join("all"), layout.path().join("blobs"));
    fs::create_dir(&all).unwrap();
    fs::rename(&elsewhere, all.join("sha256")).unwrap();
    fs::write(all.join("sha256/of-another-program"), "").unwrap();
    fs::remove_dir_all(&blobs).unwrap();
    std::os::unix::fs::symlink(&all, &blobs).unwrap();
    assert_eq!(
        layer(),
        sample.layers[0].bytes,
        "the directory of all is a link, and something else stands there"
    );
    let listed = ls(Mount::new(layout.path()).join("blobs/sha256"));
    assert_eq!(listed.len(), ls(all.join("sha256")).len() - 1);
}

#[test]
fn a_signal_ends_the_mount_whichever_process_gets_it() {
    let (layout, _) = Layout::sample();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        for to_keeper in [false, true] {
            let mount = Mount::new(layout.path());
            let pid = if to_keeper { keepers(mount.point())[0] } else { mount.daemon() };
            kill(Pid::from_raw(pid), signal).unwrap();
            let gone = || daemons(mount.point()).is_empty() && keepers(mount.point()).is_empty();
            assert!(wait_until(|| !is_mounted(mount.point()) && gone()), "{signal}, keeper: {to_keeper}");
        }
    }
}

#[test]
fn a_killed_daemon_leaves_no_keeper_and_a_killed_keeper_no_daemon() {
    let (layout, _) = Layout::sample();
    let mount = Mount::new(layout.path());
    kill(Pid::from_raw(mount.daemon()), Signal::SIGKILL).unwrap();
    assert!(wait_until(|| keepers(mount.point()).is_empty()));
    drop(mount);
    let mount = Mount::new(layout.path());
    kill(Pid::from_raw(keepers(mount.point())[0]), Signal::SIGKILL).unwrap();
    assert_eq!(ls(mount.join("platforms")), ["linux-amd64"], "the mount goes on");
    kill(Pid::from_raw(mount.daemon()), Signal::SIGTERM).unwrap();
    assert!(wait_until(|| daemons(mount.point()).is_empty()));
}

#[test]
fn a_user_is_caged_too_and_the_mount_ends_by_a_signal() {
    let (layout, sample) = Layout::sample();
    let nobody = Nobody::new();
    let out = nobody
        .script(
            "",
            layout.path(),
            "$as $ocifs -f $1 $point & pid=$!
             n=0; until grep -q $point /proc/self/mountinfo; do sleep 0.1; n=$((n+1)); [ $n -lt 100 ]; done
             $as cat $point/platforms/linux-amd64/layers/0 | sha256sum
             grep -h -e Seccomp: -e NoNewPrivs: /proc/$pid/task/*/status | sort -u
             kill -TERM $pid
             wait $pid
             ! grep $point /proc/self/mountinfo",
        )
        .ok();
    assert!(out.contains(sample.layers[0].hex()), "{out}");
    let lines: Vec<&str> = out.lines().filter(|line| line.contains(":\t")).collect();
    assert_eq!(lines, ["NoNewPrivs:\t1", "Seccomp:\t2"], "{out}");
}

#[test]
fn a_source_hidden_by_its_own_mount_stays_readable() {
    let (layout, sample) = Layout::sample();
    let directory = temp_dir();
    let mut command = Command::new(ocifs());
    command.arg("--cache-dir").arg(directory.join("cache")).arg(layout.path()).arg(layout.path());
    let done = run(command.stdin(Stdio::null()));
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let layer = fs::read(layout.path().join("platforms/linux-amd64/layers/0"));
    assert!(unmount(layout.path()) && wait_until(|| daemons(layout.path()).is_empty()));
    assert_eq!(layer.unwrap(), sample.layers[0].bytes);
}
