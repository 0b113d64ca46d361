//! The command line: what it says, and with which exit status.

use crate::kit::{
    Done, Layout, Mount, Platform, daemons, is_mounted, ls, named, run, temp_dir, text, unmount, wait_until,
};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

const AMD64: Platform<'_> = Platform("linux", "amd64", "");

/// Runs the command with these arguments, in a directory of its own.
fn ocifs(arguments: &[&str]) -> Done {
    run(Mount::command(&temp_dir()).args(arguments))
}

/// A mount that must be refused: exit status, and words that the message must have.
#[track_caller]
fn refuses(arguments: &[&str], code: i32, words: &[&str]) -> Done {
    let done = ocifs(arguments);
    assert_eq!(done.code(), code, "{arguments:?}: {}", done.stderr);
    for word in words {
        assert!(done.stderr.contains(word), "{word:?} is not in {:?}", done.stderr);
    }
    assert_eq!(done.stdout, "", "errors go to standard error");
    assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
    done
}

fn as_str(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

#[test]
fn help_is_short_or_long() {
    let help = ocifs(&["--help"]);
    assert_eq!(help.code(), 0);
    for word in
        ["SOURCE", "MOUNTPOINT", "--image", "--platform", "--foreground", "--allow-other", "--log-file"]
    {
        assert!(help.stdout.contains(word), "{word} is not in the help:\n{}", help.stdout);
    }
    for word in ["Examples:", "ocifs inspect", "fusermount3 -u", "Exit status:"] {
        assert!(help.stdout.contains(word), "{word} is not in the long help:\n{}", help.stdout);
    }
    let short = ocifs(&["-h"]);
    assert_eq!(short.code(), 0);
    assert!(short.stdout.contains("--help"), "the short help leads to the long one");
    let (short, long) = (short.stdout.lines().count(), help.stdout.lines().count());
    assert!(short < 60 && 2 * short < long, "the short help has {short} lines, the long one {long}");
}

#[test]
fn usage_errors_have_status_two() {
    let (layout, _) = Layout::sample();
    let point = temp_dir();
    let (source, target) = (as_str(layout.path()), as_str(point.path()));
    for arguments in [
        &[][..],
        &[source][..],
        &[source, target, "third"][..],
        &["--no-such-option", source, target][..],
        &["--uid", "somebody", source, target][..],
        &["--platform", "", source, target][..],
        &["--platform", "linux", source, target][..],
        &["-o", "uid=x", source, target][..],
        &["-o", "no_such_option_of_ours", source, target][..],
    ] {
        let done = ocifs(arguments);
        assert!(!is_mounted(point.path()) || unmount(point.path()), "{arguments:?} has mounted");
        assert_eq!(done.code(), 2, "{arguments:?}: {}", done.stderr);
        assert!(!done.stderr.is_empty());
    }
}

#[test]
fn a_source_that_is_not_there() {
    let point = temp_dir();
    refuses(&["/no/such/layout", as_str(point.path())], 1, &["/no/such/layout", "o such file or directory"]);
}

#[test]
fn a_source_that_is_no_layout() {
    let (source, point) = (temp_dir(), temp_dir());
    fs::write(source.join("unrelated"), "").unwrap();
    refuses(&[as_str(source.path()), as_str(point.path())], 1, &[as_str(source.path()), "index.json"]);
    fs::create_dir(source.join("index.json")).unwrap();
    refuses(&[as_str(source.path()), as_str(point.path())], 1, &["index.json"]);
}

#[test]
fn a_typo_in_index_json() {
    let (layout, _) = Layout::sample();
    let point = temp_dir();
    let index = layout.path().join("index.json");
    let good = text(&index);
    for (bad, words) in [
        (good.replace("\"manifests\":", "\"manifests\""), &["index.json", "line 1"][..]),
        (format!("[{good}]"), &["index.json"][..]),
        (String::new(), &["index.json"][..]),
        ("\"text\"".to_owned(), &["index.json"][..]),
        (format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)), &["index.json"][..]),
    ] {
        fs::write(&index, bad).unwrap();
        refuses(&[as_str(layout.path()), as_str(point.path())], 1, words);
        assert!(!is_mounted(point.path()));
    }
}

#[test]
fn an_index_json_without_end_is_refused_and_not_read_into_memory() {
    let layout = Layout::new();
    let point = temp_dir();
    fs::File::create(layout.path().join("index.json")).unwrap().set_len(1 << 40).unwrap();
    let start = Instant::now();
    refuses(&[as_str(layout.path()), as_str(point.path())], 1, &["index.json"]);
    assert!(start.elapsed() < Duration::from_secs(5));
    fs::remove_file(layout.path().join("index.json")).unwrap();
    nix::unistd::mkfifo(&layout.path().join("index.json"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    refuses(&[as_str(layout.path()), as_str(point.path())], 1, &["index.json"]);
}

#[test]
fn an_image_that_is_not_there_is_answered_with_those_that_are() {
    let layout = Layout::new();
    layout.index(&[named(layout.image(AMD64, "a"), "app:1.4"), named(layout.image(AMD64, "b"), "web:2")]);
    let (source, point) = (as_str(layout.path()), temp_dir());
    let target = as_str(point.path());
    refuses(&["--image", "app:1.5", source, target], 1, &["app:1.5", "app:1.4", "web:2"]);
    refuses(&[&format!("oci:{source}:app:1.5"), target], 1, &["app:1.5", "app:1.4", "web:2"]);
    let digest = format!("sha256:{}", "0".repeat(64));
    refuses(&["--image", &digest, source, target], 1, &[&digest]);
    assert!(!is_mounted(point.path()));
}

#[test]
fn a_platform_that_is_not_there_is_answered_with_those_that_are() {
    let (layout, _) = Layout::sample();
    let point = temp_dir();
    let arguments = ["--platform", "linux/s390x", as_str(layout.path()), as_str(point.path())];
    refuses(&arguments, 1, &["linux/s390x", "amd64"]);
}

#[test]
fn an_image_pinned_by_digest_that_does_not_hold() {
    let (layout, sample) = Layout::sample();
    let point = temp_dir();
    layout.flip(&sample.manifest, 4);
    let done = ocifs(&["--image", &sample.manifest.digest, as_str(layout.path()), as_str(point.path())]);
    // Refused at once or at the first look; never shown.
    if done.code() == 0 {
        assert!(fs::read(point.join("platforms/linux-amd64/manifest.json")).is_err());
        assert!(unmount(point.path()));
        assert!(wait_until(|| daemons(point.path()).is_empty()));
    } else {
        assert!(done.stderr.contains(&sample.manifest.digest), "{}", done.stderr);
    }
}

#[test]
fn a_mountpoint_that_will_not_do() {
    let (layout, _) = Layout::sample();
    let directory = temp_dir();
    let file = directory.join("file");
    fs::write(&file, "").unwrap();
    let missing = directory.join("missing");
    let source = as_str(layout.path());
    refuses(&[source, as_str(&missing)], 1, &[as_str(&missing), "does not exist"]);
    refuses(&[source, as_str(&file)], 1, &[as_str(&file), "ot a directory"]);
    assert!(daemons(&missing).is_empty() && daemons(&file).is_empty());
}

#[test]
fn a_message_is_one_sentence_of_what_where_why() {
    let point = temp_dir();
    let done = refuses(&["/no/such/layout", as_str(point.path())], 1, &[]);
    let first = done.stderr.lines().next().unwrap();
    assert!(first.starts_with("ocifs: "), "{first}");
    assert!(done.stderr.lines().count() <= 3, "{}", done.stderr);
}

#[test]
fn the_command_returns_when_the_mount_answers_and_lets_go_of_the_terminal() {
    let (layout, _) = Layout::sample();
    let directory = temp_dir();
    let point = directory.join("mnt");
    fs::create_dir(&point).unwrap();
    let mut command = Mount::command(&directory);
    command.arg(layout.path()).arg(&point).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(ls(point.join("platforms")), ["linux-amd64"], "it answers at once");
    // Pipes end when the last holder closes them: `$(ocifs …)` in a script must not hang.
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let ended = std::thread::spawn(move || {
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        err.read_to_string(&mut text).unwrap();
        text
    });
    let closed = wait_until(|| ended.is_finished());
    assert!(unmount(&point));
    assert!(wait_until(|| daemons(&point).is_empty()));
    assert!(closed, "the daemon holds standard output or standard error");
    assert_eq!(ended.join().unwrap(), "", "a mount that works says nothing");
}

#[test]
fn the_daemon_keeps_no_directory_busy_and_no_session() {
    let (layout, _) = Layout::sample();
    let mount = Mount::new(layout.path());
    let proc = format!("/proc/{}", mount.daemon());
    assert_eq!(fs::read_link(format!("{proc}/cwd")).unwrap(), Path::new("/"));
    let stat = text(format!("{proc}/stat"));
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let session: i32 = fields[3].parse().unwrap();
    assert_ne!(session, nix::unistd::getsid(None).unwrap().as_raw(), "a daemon has a session of its own");
}

#[test]
fn relative_paths_work() {
    let (layout, sample) = Layout::sample();
    let directory = temp_dir();
    fs::create_dir(directory.join("mnt")).unwrap();
    std::os::unix::fs::symlink(layout.path(), directory.join("layout")).unwrap();
    let done = run(Mount::command(&directory).args(["layout", "mnt"]).current_dir(directory.path()));
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let point = directory.join("mnt");
    let read = fs::read(point.join("platforms/linux-amd64/layers/0"));
    assert!(unmount(&point));
    assert!(wait_until(|| daemons(Path::new("mnt")).is_empty()));
    assert_eq!(read.unwrap(), sample.layers[0].bytes, "after the daemon changed its directory");
}

#[test]
fn foreground_stays_and_ends_with_the_mount() {
    let (layout, _) = Layout::sample();
    for option in ["-f", "--foreground"] {
        let directory = temp_dir();
        let point = directory.join("mnt");
        fs::create_dir(&point).unwrap();
        let mut child = Mount::command(&directory)
            .arg(option)
            .arg(layout.path())
            .arg(&point)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        assert!(wait_until(|| is_mounted(&point)));
        assert_eq!(ls(point.join("platforms")), ["linux-amd64"]);
        assert!(child.try_wait().unwrap().is_none(), "it stays");
        assert!(unmount(&point));
        assert!(wait_until(|| child.try_wait().unwrap().is_some_and(|status| status.code() == Some(0))));
    }
}

#[test]
fn failures_are_in_the_log_file_once() {
    let (layout, sample) = Layout::sample();
    layout.flip(&sample.layers[0], 9);
    let logs = temp_dir();
    let log = logs.join("ocifs.log");
    let mount = Mount::with(layout.path(), &["--log-file", as_str(&log)]);
    for _ in 0..3 {
        assert!(fs::read(mount.join("platforms/linux-amd64/layers/0")).is_err());
    }
    drop(mount);
    let log = text(&log);
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(&sample.layers[0].digest)).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains("layers/0") || lines[0].contains("blobs/sha256"), "{log}");
}

#[test]
fn verbosity_and_rust_log_make_the_log_longer() {
    let (layout, _) = Layout::sample();
    let logs = temp_dir();
    let length = |name: &str, options: &[&str], variable: Option<&str>| {
        let directory = temp_dir();
        let (point, log) = (directory.join("mnt"), logs.join(name));
        fs::create_dir(&point).unwrap();
        let mut command = Mount::command(&directory);
        command.args(options).arg("--log-file").arg(&log).arg(layout.path()).arg(&point);
        if let Some(value) = variable {
            command.env("RUST_LOG", value);
        }
        assert_eq!(run(&mut command).code(), 0);
        let _ = fs::read(point.join("platforms/linux-amd64/layers/0"));
        assert!(unmount(&point) && wait_until(|| daemons(&point).is_empty()));
        fs::metadata(&log).map_or(0, |meta| meta.len())
    };
    let quiet = length("quiet", &[], None);
    assert!(length("verbose", &["-v"], None) > quiet);
    assert!(length("variable", &[], Some("debug")) > quiet);
}

#[test]
fn a_log_file_that_cannot_be_written_is_an_error() {
    let (layout, _) = Layout::sample();
    let point = temp_dir();
    let arguments = ["--log-file", "/no/such/directory/log", as_str(layout.path()), as_str(point.path())];
    refuses(&arguments, 1, &["/no/such/directory/log"]);
}

#[test]
fn uid_and_gid_own_everything() {
    use std::os::unix::fs::MetadataExt;
    let (layout, _) = Layout::sample();
    for options in [&["--uid", "1234", "--gid", "5678"][..], &["-o", "uid=1234,gid=5678"][..]] {
        let mount = Mount::with(layout.path(), options);
        for name in ["", "platforms", "platforms/linux-amd64/layers/0", "index.json"] {
            let meta = fs::metadata(mount.join(name)).unwrap();
            assert_eq!((meta.uid(), meta.gid()), (1234, 5678), "{name}");
        }
    }
}
