//! How a mount comes to be and how it ends: users, options, signals, stacks, and what hangs on to it.

use crate::kit::{
    Layer, Layout, Member, Mount, Nobody, PLATFORM, Platform, TempDir, bytes, daemons, detach, is_mounted,
    ls, media, mounts_on, named, ocifs, require_root, require_tool, run, run_for, temp_dir, text, unmount,
    wait_until,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const LAYER: &str = "platforms/linux-amd64/layers/0";

#[test]
fn an_unprivileged_user_mounts_through_fusermount3() {
    let (layout, sample) = Layout::sample();
    let nobody = Nobody::new();
    let done = nobody.script(
        "",
        layout.path(),
        "$as $ocifs $1 $point
         $as cat $point/platforms/linux-amd64/layers/0 | sha256sum
         $as stat -c %u:%g $point/index.json
         grep ocifs /proc/self/mountinfo
         if cat $point/index.json 2>/dev/null; then echo root can read it; fi
         if $other cat $point/index.json 2>/dev/null; then echo another user can read it; fi
         $as fusermount3 -u $point
         ! grep $point /proc/self/mountinfo",
    );
    let out = done.ok();
    assert!(out.contains(sample.layers[0].hex()), "{out}");
    assert!(out.contains("\n65534:65534\n"), "{out}");
    assert!(out.contains("fuse.ocifs"), "{out}");
    assert!(out.contains("nosuid,nodev"), "{out}");
    assert!(!out.contains("can read it"), "a private mount is its owner's alone: {out}");
}

#[test]
fn allow_other_is_refused_where_fuse_conf_does_not_allow_it() {
    let (layout, _) = Layout::sample();
    let nobody = Nobody::new();
    for option in ["--allow-other", "--allow-root", "-o allow_other", "-o allow_root"] {
        let script = format!("$as $ocifs {option} $1 $point");
        let done = nobody.script("# user_allow_other\n", layout.path(), &script);
        assert_eq!(done.code(), 1, "{option}: {}", done.stderr);
        for word in ["user_allow_other", "/etc/fuse.conf"] {
            assert!(done.stderr.contains(word), "{option}: {word} is not in {:?}", done.stderr);
        }
    }
}

#[test]
fn allow_other_works_where_fuse_conf_allows_it() {
    let (layout, sample) = Layout::sample();
    let nobody = Nobody::new();
    let out = nobody
        .script(
            "user_allow_other\n",
            layout.path(),
            "$as $ocifs --allow-other $1 $point
             $other cat $point/platforms/linux-amd64/layers/0 | sha256sum
             sha256sum < $point/platforms/linux-amd64/layers/1
             grep ocifs /proc/self/mountinfo
             $as fusermount3 -u $point",
        )
        .ok();
    for layer in &sample.layers {
        assert!(out.contains(layer.hex()), "{out}");
    }
    assert!(out.contains("default_permissions") && out.contains("allow_other"), "{out}");
}

#[test]
fn allow_root_lets_in_root_and_nobody_else() {
    let (layout, sample) = Layout::sample();
    let nobody = Nobody::new();
    let out = nobody
        .script(
            "user_allow_other\n",
            layout.path(),
            "$as $ocifs --allow-root $1 $point
             sha256sum < $point/platforms/linux-amd64/layers/0
             $as sha256sum < $point/platforms/linux-amd64/layers/1
             $as ls -R $point >/dev/null
             $as cat $point/index.json $point/platforms/linux-amd64/layers/0 >/dev/null
             for file in index.json oci-layout platforms/linux-amd64/layers/0; do
                 if $other cat $point/$file 2>/dev/null | grep -q .; then echo another user can read it; fi
             done
             for dir in . platforms/linux-amd64 platforms/linux-amd64/rootfs; do
                 if $other ls $point/$dir 2>/dev/null | grep -q .; then echo another user can list it; fi
             done
             $as fusermount3 -u $point",
        )
        .ok();
    assert!(out.contains(sample.layers[0].hex()) && out.contains(sample.layers[1].hex()), "{out}");
    assert!(!out.contains("another user can"), "{out}");
}

/// It had the kernel check modes, and so took from the owner what only root reads in the image.
#[test]
fn allow_root_takes_nothing_away_from_the_owner() {
    let layout = Layout::of_layers(&[Layer::of(&[Member::file("shadow", "secret").mode(0o600)])]);
    let nobody = Nobody::new();
    for option in ["", "--allow-root"] {
        let script = format!(
            "$as $ocifs {option} $1 $point
             $as cat $point/{PLATFORM}/rootfs/shadow
             if $other cat $point/{PLATFORM}/rootfs/shadow 2>/dev/null; then echo another user can read it; fi
             $as fusermount3 -u $point"
        );
        assert_eq!(nobody.script("user_allow_other\n", layout.path(), &script).ok(), "secret", "{option}");
    }
}

/// fusermount3 undoes backslashes, so one at the end of the source took the options behind it into the name.
#[test]
fn a_source_that_ends_in_a_backslash_takes_no_option_away() {
    let (layout, _) = Layout::sample();
    let directory = temp_dir();
    let source = directory.join("a,b\\");
    run(Command::new("cp").arg("-a").arg(layout.path()).arg(&source)).ok();
    let out = Nobody::new()
        .script(
            "user_allow_other\n",
            &source,
            "$as $ocifs --allow-other -o noexec \"$1\" $point
             grep ocifs /proc/self/mountinfo
             ! $as $ocifs --allow-other \"$1\" $point
             $as fusermount3 -u $point",
        )
        .ok();
    let shown = format!("{}/a,b\\134", directory.path().display());
    for part in ["noexec", "default_permissions", "allow_other", &shown] {
        assert!(out.contains(part), "{part}: {out}");
    }
}

#[test]
fn as_root_a_mount_is_private_until_allow_other() {
    require_root();
    let (layout, _) = Layout::sample();
    let other = |mount: &Mount| {
        run(Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "cat"])
            .arg(mount.join("index.json")))
        .status
        .success()
    };
    assert!(!other(&Mount::new(layout.path())));
    let mount = Mount::with(layout.path(), &["--allow-other"]);
    assert!(other(&mount));
    let table = text("/proc/self/mountinfo");
    let line = table.lines().find(|line| line.contains(mount.point().to_str().unwrap())).unwrap();
    assert!(line.contains("default_permissions"), "{line}");
}

/// It was set before the handshake, in which the kernel goes back to 128 KiB: a third more reads than needed.
#[test]
fn as_root_the_kernel_reads_further_ahead() {
    require_root();
    let (layout, _) = Layout::sample();
    let mount = Mount::new(layout.path());
    let device = fs::metadata(mount.point()).unwrap().dev();
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let knob = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    assert_eq!(fs::read_to_string(knob).unwrap().trim(), "1024");
}

#[test]
fn an_fstab_line_mounts() {
    require_root();
    assert!(
        Path::new("/sbin/mount.fuse").exists(),
        "/sbin/mount.fuse is missing; scripts/test.sh installs fuse3"
    );
    let (layout, sample) = Layout::sample();
    let directory = temp_dir();
    let point = directory.join("mnt");
    fs::create_dir(&point).unwrap();
    let options = "ro,noauto,nofail,_netdev,x-systemd.automount,x-systemd.idle-timeout=60,allow_other,uid=1234,image=v1";
    let line = format!("{} {} fuse.ocifs {options} 0 0\n", layout.path().display(), point.display());
    fs::write(directory.join("fstab"), line).unwrap();
    // mount(8) looks for the program in the system's own directories only, so it is put there, for this test alone.
    let script = "mount -t tmpfs tmpfs /usr/local/bin
                  cp \"$1\" /usr/local/bin/ocifs
                  mount -T \"$2/fstab\" \"$2/mnt\"
                  grep fuse.ocifs /proc/self/mountinfo
                  sha256sum < \"$2/mnt/platforms/linux-amd64/layers/0\"
                  stat -c 'uid %u' \"$2/mnt/index.json\"
                  umount \"$2/mnt\"";
    let done = run(Command::new("unshare")
        .args(["-m", "--propagation", "private", "sh", "-euc", script, "sh"])
        .arg(ocifs())
        .arg(directory.path()));
    let out = done.ok();
    assert!(wait_until(|| daemons(&point).is_empty()));
    assert!(out.contains(sample.layers[0].hex()), "{out}");
    assert!(out.contains("uid 1234"), "{out}");
    let line = out.lines().find(|line| line.contains(point.to_str().unwrap())).unwrap();
    // mount.fuse says `dev,suid` where nobody said anything: the promise is ours to keep.
    for option in ["ro", "nosuid", "nodev"] {
        assert!(line.split(' ').nth(5).unwrap().split(',').any(|word| word == option), "{option}: {line}");
    }
}

#[test]
fn generic_mount_options_are_taken_in_any_place() {
    let (layout, _) = Layout::sample();
    let directory = temp_dir();
    let point = directory.join("mnt");
    fs::create_dir(&point).unwrap();
    for options in [
        "ro",
        "rw",
        "noauto",
        "auto",
        "nofail",
        "_netdev",
        "user",
        "nouser",
        "users",
        "owner",
        "dev",
        "suid",
        "exec",
        "defaults",
        "noatime",
        "relatime",
        "x-systemd.automount",
        "x-gvfs-show,comment=hello",
        "nosuid,nodev,noexec",
    ] {
        // As mount.fuse3 calls it: options last.
        let done = run(Mount::command(&directory).arg(layout.path()).arg(&point).args(["-o", options]));
        assert_eq!(done.code(), 0, "{options}: {}", done.stderr);
        assert_eq!(ls(point.join("platforms")), ["linux-amd64"], "{options}");
        assert!(unmount(&point) && wait_until(|| daemons(&point).is_empty()), "{options}");
    }
}

#[test]
fn two_mounts_of_one_layout() {
    let (layout, sample) = Layout::sample();
    let (first, second) = (Mount::new(layout.path()), Mount::new(layout.path()));
    assert_eq!(bytes(first.join(LAYER)), sample.layers[0].bytes);
    drop(first);
    assert_eq!(bytes(second.join(LAYER)), sample.layers[0].bytes);
}

#[test]
fn a_directory_that_is_not_empty_keeps_what_lies_beneath() {
    let (layout, _) = Layout::sample();
    let directory = temp_dir();
    let point = directory.join("mnt");
    fs::create_dir(&point).unwrap();
    fs::write(point.join("kept"), "kept").unwrap();
    let done = run(Mount::command(&directory).arg(layout.path()).arg(&point));
    assert_eq!(done.code(), 0, "{}", done.stderr);
    assert!(done.stderr.contains("was not empty"), "{}", done.stderr);
    assert!(!point.join("kept").exists());
    assert!(unmount(&point) && wait_until(|| daemons(&point).is_empty()));
    assert_eq!(text(point.join("kept")), "kept");
    assert_eq!(ls(&point), ["kept"]);
}

#[test]
fn odd_paths_of_source_and_mountpoint() {
    let (layout, sample) = Layout::sample();
    let directory = temp_dir();
    let source = directory.join("a layout, with: odd=name\\ \n\"$(x)");
    run(Command::new("cp").arg("-a").arg(layout.path()).arg(&source)).ok();
    let point = directory.join("mnt, with\tand\nmore\\");
    fs::create_dir(&point).unwrap();
    let done = run(Mount::command(&directory).arg(&source).arg(&point));
    assert_eq!(done.code(), 0, "{}", done.stderr);
    assert!(is_mounted(&point));
    let layer = fs::read(point.join(LAYER));
    assert!(unmount(&point) && wait_until(|| daemons(&point).is_empty()));
    assert_eq!(layer.unwrap(), sample.layers[0].bytes);
}

#[test]
fn mounting_over_the_source_itself() {
    let (layout, sample) = Layout::sample();
    let directory = temp_dir();
    let done = run(Mount::command(&directory).arg(layout.path()).arg(layout.path()));
    if done.code() == 0 {
        // Blobs must come from beneath the mount, or the daemon waits for itself.
        let read = run_for(
            Command::new("timeout").arg("10").arg("cat").arg(layout.path().join(LAYER)),
            Duration::from_secs(20),
        );
        let ended = unmount(layout.path()) || {
            detach(layout.path());
            false
        };
        assert!(wait_until(|| daemons(layout.path()).is_empty()));
        assert!(ended && read.status.success(), "{read:?}");
    } else {
        assert!(!done.stderr.is_empty());
    }
    assert_eq!(bytes(layout.file(&sample.layers[0])), sample.layers[0].bytes);
}

#[test]
fn signals_end_a_mount_cleanly() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (layout, _) = Layout::sample();
        let mount = Mount::new(layout.path());
        ls(mount.point());
        kill(Pid::from_raw(mount.daemon()), signal).unwrap();
        assert!(wait_until(|| !is_mounted(mount.point())), "{signal}: still mounted");
        assert!(wait_until(|| daemons(mount.point()).is_empty()), "{signal}: still running");
        assert_eq!(ls(mount.point()), Vec::<String>::new(), "{signal}: the mountpoint is a directory again");
    }
}

#[test]
fn a_signal_ends_the_foreground_with_status_zero() {
    let (layout, _) = Layout::sample();
    let directory = temp_dir();
    let point = directory.join("mnt");
    fs::create_dir(&point).unwrap();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut child = Mount::command(&directory)
            .arg("-f")
            .arg(layout.path())
            .arg(&point)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        assert!(wait_until(|| is_mounted(&point)));
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{signal}");
        assert!(!is_mounted(&point), "{signal}");
    }
}

#[test]
fn an_umount_from_outside_ends_the_daemon() {
    let (layout, _) = Layout::sample();
    let mount = Mount::new(layout.path());
    let daemon = mount.daemon();
    assert!(unmount(mount.point()));
    assert!(wait_until(|| daemons(mount.point()).is_empty()), "process {daemon} stays");
}

/// Two mounts on one mountpoint, the second above the first.
struct Stack {
    directory: TempDir,
    point: PathBuf,
    lower: i32,
    upper: i32,
}

impl Stack {
    fn new(lower: &Layout, upper: &Layout) -> Self {
        require_root(); // fusermount3 refuses a second mount over somebody's own
        let directory = temp_dir();
        let point = directory.join("mnt");
        fs::create_dir(&point).unwrap();
        let mut stack = Self { directory, point, lower: 0, upper: 0 };
        stack.lower = stack.add(lower);
        stack.upper = stack.add(upper);
        assert_eq!(mounts_on(&stack.point).len(), 2);
        stack
    }

    fn add(&self, layout: &Layout) -> i32 {
        let before = daemons(&self.point);
        let done = run(Mount::command(&self.directory).arg(layout.path()).arg(&self.point));
        assert_eq!(done.code(), 0, "{}", done.stderr);
        let mut new = daemons(&self.point);
        new.retain(|pid| !before.contains(pid));
        assert_eq!(new.len(), 1, "one daemon a mount");
        new[0]
    }

    fn lives(&self, pid: i32) -> bool {
        daemons(&self.point).contains(&pid)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        while is_mounted(&self.point) {
            detach(&self.point);
        }
        if !wait_until(|| daemons(&self.point).is_empty()) {
            for pid in daemons(&self.point) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            assert!(std::thread::panicking(), "a daemon outlives its mount");
        }
    }
}

#[test]
fn the_end_of_the_upper_mount_leaves_the_lower_one_alone() {
    let ends: [&dyn Fn(&Stack); 3] = [
        &|stack| assert!(unmount(&stack.point)),
        &|stack| kill(Pid::from_raw(stack.upper), Signal::SIGTERM).unwrap(),
        &|stack| detach(&stack.point),
    ];
    for end in ends {
        let (lower, sample) = Layout::sample();
        let upper = Layout::new();
        upper.index(&[]);
        let stack = Stack::new(&lower, &upper);
        assert!(!stack.point.join("platforms").exists());
        end(&stack);
        assert!(wait_until(|| !stack.lives(stack.upper)));
        // Time for a daemon that tidies up too much.
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(mounts_on(&stack.point).len(), 1);
        assert!(stack.lives(stack.lower));
        assert_eq!(bytes(stack.point.join(LAYER)), sample.layers[0].bytes);
    }
}

#[test]
fn the_end_of_the_lower_mount_leaves_the_upper_one_alone() {
    let lower = Layout::new();
    lower.index(&[]);
    let (upper, sample) = Layout::sample();
    let stack = Stack::new(&lower, &upper);
    kill(Pid::from_raw(stack.lower), Signal::SIGTERM).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(stack.lives(stack.upper), "the upper one was ended in its place");
    assert_eq!(bytes(stack.point.join(LAYER)), sample.layers[0].bytes);
    assert!(wait_until(|| !stack.lives(stack.lower)), "a signal ends it, though it is covered");
}

#[test]
fn what_somebody_mounted_beneath_stays() {
    require_root();
    let (layout, _) = Layout::sample();
    let directory = temp_dir();
    let point = directory.join("mnt");
    fs::create_dir(&point).unwrap();
    run(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&point)).ok();
    fs::write(point.join("beneath"), "beneath").unwrap();
    let mut results = Vec::new();
    for signal in [None, Some(Signal::SIGTERM)] {
        let done = run(Mount::command(&directory).arg(layout.path()).arg(&point));
        match signal {
            None => assert!(unmount(&point)),
            Some(signal) => daemons(&point).iter().for_each(|pid| kill(Pid::from_raw(*pid), signal).unwrap()),
        }
        let gone = wait_until(|| daemons(&point).is_empty());
        std::thread::sleep(Duration::from_millis(300));
        results.push((done.code(), gone, mounts_on(&point), fs::read_to_string(point.join("beneath")).ok()));
    }
    detach(&point);
    for result in results {
        assert_eq!(result, (0, true, vec!["tmpfs".to_owned()], Some("beneath".to_owned())));
    }
}

#[test]
fn killed_and_mounted_again() {
    let (layout, sample) = Layout::sample();
    let mount = Mount::new(layout.path());
    // What is known of the root for good answers after its end too, as if the mount were there.
    let is_kept = || {
        fs::read_dir(mount.point()).unwrap().count();
        let asked = || mount.stat("listings_total");
        let before = asked();
        fs::read_dir(mount.point()).unwrap().count();
        asked() == before
    };
    assert!(wait_until(is_kept));
    kill(Pid::from_raw(mount.daemon()), Signal::SIGKILL).unwrap();
    assert!(wait_until(
        || fs::metadata(mount.join("index.json/")).is_err() && daemons(mount.point()).is_empty()
    ));
    assert!(fs::metadata(mount.point()).is_ok());
    let directory = temp_dir();
    let again = run(Mount::command(&directory).arg(layout.path()).arg(mount.point()));
    assert_eq!((again.code(), again.stderr.as_str()), (0, ""));
    assert_eq!(bytes(mount.join(LAYER)), sample.layers[0].bytes);
    assert_eq!(mounts_on(mount.point()).len(), 1, "the dead one is gone");
}

#[test]
fn a_signal_ends_it_while_a_file_is_open_and_a_shell_stands_in_it() {
    let (layout, sample) = Layout::sample();
    let mount = Mount::new(layout.path());
    let open = File::open(mount.join(LAYER)).unwrap();
    let mut shell = Command::new("sleep").arg("100").current_dir(mount.join("platforms")).spawn().unwrap();
    let busy = !unmount(mount.point());
    kill(Pid::from_raw(mount.daemon()), Signal::SIGTERM).unwrap();
    let gone = wait_until(|| !is_mounted(mount.point()));
    let ended = wait_until(|| daemons(mount.point()).is_empty());
    let read = open.read_at(&mut [0; 10], 0);
    shell.kill().unwrap();
    shell.wait().unwrap();
    assert!(busy, "an open file keeps a mount busy: this test shows nothing otherwise");
    assert!(gone, "still mounted");
    assert!(ended, "still running");
    assert!(read.is_err() || sample.layers[0].bytes.len() >= 10, "a dead file answers, at least");
}

/// A layout whose blob takes seconds to hash; its name is not right, so reading it ends in an error.
fn slow() -> (Layout, PathBuf) {
    let (layout, _) = Layout::sample();
    let hex = "7".repeat(64);
    layout.store(&format!("sha256:{hex}"), b"");
    let path = Path::new("blobs/sha256").join(hex);
    File::options().write(true).open(layout.path().join(&path)).unwrap().set_len(6 << 30).unwrap();
    (layout, path)
}

#[test]
fn ends_while_a_reader_waits_for_a_blob() {
    for lazily in [false, true] {
        let (layout, path) = slow();
        let mount = Mount::new(layout.path());
        let mut reader = Command::new("cat")
            .arg(mount.join(path))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(200));
        assert!(reader.try_wait().unwrap().is_none(), "the reader did not wait: this test shows nothing");
        let start = Instant::now();
        if lazily {
            detach(mount.point());
            reader.kill().unwrap();
        } else {
            kill(Pid::from_raw(mount.daemon()), Signal::SIGTERM).unwrap();
        }
        let gone = wait_until(|| !is_mounted(mount.point()) && daemons(mount.point()).is_empty());
        let took = start.elapsed();
        let released = wait_until(|| reader.try_wait().unwrap().is_some());
        let _ = reader.kill();
        assert!(gone, "lazily: {lazily}: still there after {took:?}");
        assert!(released, "the reader still hangs");
    }
}

/// All workers waited for the one pass, and a platform that nobody had looked at waited in line behind them.
#[test]
fn a_crowd_that_waits_for_one_layer_holds_up_nobody_else() {
    let (layout, path) = slow();
    let digest = format!("sha256:{}", path.file_name().unwrap().to_str().unwrap());
    let layer = json!({"mediaType": media::LAYER, "digest": digest, "size": 6_u64 << 30});
    let platform = Platform("linux", "amd64", "");
    let (config, _, other) = layout.image_of(platform, &[]);
    let config = config.descriptor(media::CONFIG);
    let manifest = layout.json(&json!({"schemaVersion": 2, "config": config, "layers": [layer]}));
    let mut entry = manifest.descriptor(media::MANIFEST);
    entry["platform"] = platform.json();
    layout.index(&[named(entry, "slow"), named(other, "other")]);
    let mount = Mount::new(layout.path());
    let reader = |n: usize| {
        // Each another name: for one the kernel would ask once.
        let name = mount.join(format!("images/slow/{PLATFORM}/diffs/0/{n}"));
        Command::new("stat").arg(name).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut readers: Vec<_> = (0..100).map(reader).collect();
    std::thread::sleep(Duration::from_millis(500));
    let start = Instant::now();
    let df = run(Command::new("df").arg(mount.point())).status.success();
    let other = fs::read_dir(mount.join(format!("images/other/{PLATFORM}"))).is_ok();
    let took = start.elapsed();
    let waiting = readers.iter_mut().filter_map(|reader| reader.try_wait().unwrap()).count() == 0;
    for reader in &mut readers {
        reader.kill().unwrap();
    }
    kill(Pid::from_raw(mount.daemon()), Signal::SIGTERM).unwrap();
    for reader in &mut readers {
        reader.wait().unwrap();
    }
    assert!(waiting, "they did not wait: this test shows nothing");
    assert!(df && other && took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn sixty_four_readers_at_once() {
    let layout = Layout::new();
    let blobs: Vec<_> = (0..16_u8)
        .map(|n| {
            layout.blob((0..400_000_u32).map(|at| (at.wrapping_mul(31) >> 3) as u8 ^ n).collect::<Vec<u8>>())
        })
        .collect();
    layout.index(&[]);
    let mount = Mount::new(layout.path());
    std::thread::scope(|scope| {
        for reader in 0..64 {
            let (blobs, mount) = (&blobs, &mount);
            scope.spawn(move || {
                for turn in 0..8 {
                    let blob = &blobs[(reader * 7 + turn * 5) % blobs.len()];
                    let file = File::open(mount.join(blob.path())).unwrap();
                    let mut buffer = vec![0; 10_000];
                    let at = (reader * 5_003 + turn * 40_009) % 390_000;
                    file.read_exact_at(&mut buffer, at as u64).unwrap();
                    assert!(buffer == blob.bytes[at..at + 10_000], "reader {reader}, turn {turn}");
                    if turn % 4 == 0 {
                        assert!(bytes(mount.join(blob.path())) == blob.bytes, "reader {reader}, turn {turn}");
                    }
                }
            });
        }
    });
}

#[test]
fn no_dev_fuse_is_a_sentence() {
    require_root();
    let (layout, _) = Layout::sample();
    let directory = temp_dir();
    let point = directory.join("mnt");
    fs::create_dir(&point).unwrap();
    let script = "mount -t tmpfs tmpfs /dev; mknod -m 666 /dev/null c 1 3; mknod -m 666 /dev/urandom c 1 9
                  exec \"$1\" \"$2\" \"$3\"";
    let done = run(Command::new("unshare")
        .args(["-m", "--propagation", "private", "sh", "-euc", script, "sh"])
        .arg(ocifs())
        .arg(layout.path())
        .arg(&point)
        .env("XDG_CACHE_HOME", directory.join("cache")));
    assert_eq!(done.code(), 1, "{}", done.stderr);
    assert!(done.stderr.contains("/dev/fuse"), "{}", done.stderr);
    assert!(done.stderr.contains("modprobe fuse"), "what to do about it: {}", done.stderr);
}

#[test]
fn many_mounts_come_and_go() {
    let (layout, sample) = Layout::sample();
    for _ in 0..20 {
        let mount = Mount::new(layout.path());
        assert_eq!(bytes(mount.join("platforms/linux-amd64/config.json")), sample.config.bytes);
    }
}

#[test]
fn an_unprivileged_mount_ends_by_a_signal() {
    let (layout, _) = Layout::sample();
    let nobody = Nobody::new();
    for signal in ["TERM", "INT"] {
        let script = format!(
            "$as $ocifs $1 $point
             pid=$(grep -la ocifs /proc/[0-9]*/cmdline 2>/dev/null | while read -r file; do
                 tr '\\0' ' ' <$file | grep -q \"^$ocifs .*$point \" && echo $file | cut -d/ -f3; done | head -n 1) || true
             $as kill -{signal} $pid
             for n in 1 2 3 4 5 6 7 8 9 10; do
                 grep -q $point /proc/self/mountinfo || exit 0
                 sleep 0.3
             done
             exit 9"
        );
        let done = nobody.script("", layout.path(), &script);
        assert_eq!(done.code(), 0, "{signal}: {}", done.stderr);
        assert!(wait_until(|| daemons(&nobody.point).is_empty()), "{signal}: still running");
    }
}

#[test]
fn no_standard_streams_at_all() {
    let (layout, sample) = Layout::sample();
    let directory = temp_dir();
    let point = directory.join("mnt");
    fs::create_dir(&point).unwrap();
    let status = Command::new("sh")
        .args(["-c", "exec \"$0\" \"$1\" \"$2\" <&- >&- 2>&-"])
        .arg(ocifs())
        .arg(layout.path())
        .arg(&point)
        .env_clear()
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
    let layer = fs::read(point.join(LAYER));
    assert!(unmount(&point) && wait_until(|| daemons(&point).is_empty()));
    assert_eq!(layer.unwrap(), sample.layers[0].bytes);
}

#[test]
fn a_mapped_file_gives_right_bytes_or_a_bus_error() {
    require_tool("python3");
    let (layout, sample) = Layout::sample();
    let mount = Mount::new(layout.path());
    let script = "import mmap, sys, hashlib
with open(sys.argv[1], 'rb') as f: print(hashlib.sha256(mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)).hexdigest())";
    let seen = run(Command::new("python3").args(["-c", script]).arg(mount.join(LAYER))).ok();
    assert_eq!(seen.trim(), sample.layers[0].hex());
    layout.flip(&sample.layers[1], 3);
    let refused =
        run(Command::new("python3").args(["-c", script]).arg(mount.join("platforms/linux-amd64/layers/1")));
    assert!(!refused.status.success());
    assert_eq!(refused.stdout, "");
}
