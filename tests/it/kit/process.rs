//! Commands with a time limit, temporary directories, and sentences for what a machine lacks.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long one command may take before the test gives up on it.
const LIMIT: Duration = Duration::from_secs(60);

/// A directory that is removed at the end; others may enter it, so that tests can change the user.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    /// The directory's path.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The path of something in it.
    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes a temporary directory of mode 0755, with a name that every tool takes: buildah wants lower case.
pub(crate) fn temp_dir() -> TempDir {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ocifs-it-{}-{number}", std::process::id()));
        match fs::create_dir(&path) {
            Ok(()) => {
                fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
                return TempDir(path);
            }
            // Left behind by a process of the same number that was killed.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    /// The exit status; a command ended by a signal has none, which fails the test.
    #[track_caller]
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by a signal: {self:?}"))
    }

    /// Fails the test unless the command succeeded, and hands out its standard output.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert!(self.status.success(), "{}\nstdout: {}\nstderr: {}", self.status, self.stdout, self.stderr);
        self.stdout
    }
}

/// Runs a command to its end, within the usual time limit.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Done {
    run_for(command, LIMIT)
}

/// Runs a command to its end; one that takes longer than `limit` is killed and fails the test.
///
/// Output goes through files, not pipes: a daemon that forgets to close its standard error must
/// not make every test hang (`cli.rs` tests that one with pipes).
#[track_caller]
pub(crate) fn run_for(command: &mut Command, limit: Duration) -> Done {
    let directory = tempfile::tempdir().unwrap();
    let (out, err) = (directory.path().join("out"), directory.path().join("err"));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(File::create(&out).unwrap())
        .stderr(File::create(&err).unwrap())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > limit {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{command:?} did not end in {limit:?}: {}", fs::read_to_string(&err).unwrap());
        }
        sleep(Duration::from_millis(5));
    };
    let read = |path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
    Done { status, stdout: read(&out), stderr: read(&err) }
}

/// Waits until something is true, for ten seconds at most; says whether it became so.
pub(crate) fn wait_until(mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        if condition() {
            return true;
        }
        sleep(Duration::from_millis(10));
    }
    condition()
}

/// Fails the test where it does not run as root.
#[track_caller]
pub(crate) fn require_root() {
    let root = nix::unistd::geteuid().is_root();
    assert!(
        root,
        "this test needs root (it changes the user, mounts with `mount`, or makes a mount namespace)"
    );
}

/// Fails the test where a tool is missing.
#[track_caller]
pub(crate) fn require_tool(name: &str) {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|directory| directory.join(name).is_file()));
    assert!(found, "{name} is missing; scripts/test.sh installs it");
}
