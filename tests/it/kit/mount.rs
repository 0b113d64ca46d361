//! A mount that ends itself, and whose daemon must be gone afterwards.

use super::{TempDir, ocifs, run, temp_dir, wait_until};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted source. Dropping it unmounts its own path and fails the test if the daemon stays.
pub(crate) struct Mount {
    point: PathBuf,
    /// What the command said on its standard error.
    pub(crate) stderr: String,
    /// Holds the mountpoint and the cache; removed after the unmount, as the last field.
    _directory: TempDir,
}

impl Mount {
    /// Mounts a source with no options.
    #[track_caller]
    pub(crate) fn new(source: impl AsRef<OsStr>) -> Self {
        Self::with(source, &[])
    }

    /// Mounts a source with options.
    #[track_caller]
    pub(crate) fn with(source: impl AsRef<OsStr>, options: &[&str]) -> Self {
        Self::with_env(source, options, &[])
    }

    /// Mounts a source with options and variables of the environment.
    #[track_caller]
    pub(crate) fn with_env(source: impl AsRef<OsStr>, options: &[&str], env: &[(&str, &Path)]) -> Self {
        let directory = temp_dir();
        let point = directory.join("mnt");
        fs::create_dir(&point).unwrap();
        let done =
            run(Self::command(&directory).envs(env.iter().copied()).args(options).arg(source).arg(&point));
        let mount = Self { point, stderr: done.stderr.clone(), _directory: directory };
        assert_eq!(done.code(), 0, "does not mount: {}", done.stderr);
        assert!(is_mounted(&mount.point), "exit status 0, and nothing is mounted: {}", done.stderr);
        mount
    }

    /// Mounts a source by a command that runs ocifs in its turn, such as `prlimit`; what it said if it did not.
    #[track_caller]
    pub(crate) fn by(wrap: &[&str], source: impl AsRef<OsStr>) -> Result<Self, String> {
        let directory = temp_dir();
        let point = directory.join("mnt");
        fs::create_dir(&point).unwrap();
        let mut command = Command::new(wrap[0]);
        command.env("XDG_CACHE_HOME", directory.join("cache")).args(&wrap[1..]).arg(ocifs());
        let done = run(command.arg(source).arg(&point));
        assert_eq!(is_mounted(&point), done.code() == 0, "{}: {}", done.code(), done.stderr);
        match done.code() {
            0 => Ok(Self { point, stderr: done.stderr, _directory: directory }),
            _ => Err(done.stderr),
        }
    }

    /// The command with an environment of its own: no cache is shared between tests.
    #[track_caller]
    pub(crate) fn command(directory: &TempDir) -> Command {
        assert!(
            Path::new("/dev/fuse").exists(),
            "/dev/fuse is missing: load the module (modprobe fuse) or pass the device into the container"
        );
        let mut command = Command::new(ocifs());
        command.env("XDG_CACHE_HOME", directory.join("cache")).env_remove("RUST_LOG");
        command
    }

    /// The mountpoint.
    pub(crate) fn point(&self) -> &Path {
        &self.point
    }

    /// A path below the mountpoint.
    pub(crate) fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.point.join(path)
    }

    /// The lines of `.ocifs/problems`.
    #[track_caller]
    pub(crate) fn problems(&self) -> Vec<String> {
        super::text(self.join(".ocifs/problems")).lines().map(str::to_owned).collect()
    }

    /// The daemon's process number.
    #[track_caller]
    pub(crate) fn daemon(&self) -> i32 {
        let found = daemons(&self.point);
        assert_eq!(found.len(), 1, "one daemon serves {}", self.point.display());
        found[0]
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let point = &self.point;
        let mut complaint = None;
        // It may be ending by itself just now.
        if !wait_until(|| !is_mounted(point) || unmount(point)) {
            complaint = Some("does not unmount");
            detach(point);
        }
        if !wait_until(|| processes(point).is_empty()) {
            complaint = complaint.or(Some("the daemon outlives its mount"));
            for pid in processes(point) {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL);
            }
        }
        if let Some(complaint) = complaint
            && !std::thread::panicking()
        {
            panic!("{}: {complaint}", point.display());
        }
    }
}

/// Unmounts a path as its user would; says whether that worked.
pub(crate) fn unmount(point: &Path) -> bool {
    let mut command = if nix::unistd::geteuid().is_root() {
        Command::new("umount")
    } else {
        let mut command = Command::new("fusermount3");
        command.arg("-u");
        command
    };
    run(command.arg(point)).status.success()
}

/// Takes a mount out of the tree whatever hangs on to it.
pub(crate) fn detach(point: &Path) {
    let mut command = if nix::unistd::geteuid().is_root() {
        let mut command = Command::new("umount");
        command.arg("-l");
        command
    } else {
        let mut command = Command::new("fusermount3");
        command.args(["-u", "-z"]);
        command
    };
    run(command.arg(point));
}

/// Says whether something is mounted on a path.
pub(crate) fn is_mounted(point: &Path) -> bool {
    !mounts_on(point).is_empty()
}

/// The file system types mounted on a path, lowest first.
///
/// Read from mountinfo: asking the path itself would hang with a daemon that hangs.
pub(crate) fn mounts_on(point: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let on_point = table
        .lines()
        .filter(|line| line.split(' ').nth(4).map(unescape) == point.to_str().map(str::to_owned));
    on_point
        .map(|line| {
            let (_, tail) = line.split_once(" - ").expect("mountinfo has a separator");
            tail.split(' ').next().unwrap_or_default().to_owned()
        })
        .collect()
}

/// Undoes mountinfo's octal escapes of space, tab, newline and backslash.
fn unescape(field: &str) -> String {
    field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// The processes of ocifs that serve a mountpoint, or are about to.
pub(crate) fn daemons(point: &Path) -> Vec<i32> {
    processes(point).into_iter().filter(|pid| !is_keeper(*pid)).collect()
}

/// The processes that wait to end a mount.
pub(crate) fn keepers(point: &Path) -> Vec<i32> {
    processes(point).into_iter().filter(|pid| is_keeper(*pid)).collect()
}

fn is_keeper(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name == b"ocifs-keeper\n")
}

/// The processes of ocifs that were started for a mountpoint, told by their command lines.
fn processes(point: &Path) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // A process may end while we look at it.
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let arguments: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        let program = arguments.first().and_then(|word| word.rsplit(|byte| *byte == b'/').next());
        if program == Some(b"ocifs") && arguments.contains(&point.as_os_str().as_encoded_bytes()) {
            found.push(pid);
        }
    }
    found
}
