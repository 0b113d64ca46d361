//! A user without any rights, who mounts through fusermount3.

use super::{Done, TempDir, daemons, ocifs, require_root, require_tool, run, temp_dir, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

const NOBODY: u32 = 65534;

/// A place where nobody (the user) can mount: its own copy of the binary, a mountpoint and a cache of its own.
pub(crate) struct Nobody {
    directory: TempDir,
    pub(crate) point: PathBuf,
}

impl Nobody {
    pub(crate) fn new() -> Self {
        require_root();
        require_tool("fusermount3");
        require_tool("setpriv");
        assert!(Path::new("/dev/fuse").exists(), "/dev/fuse is missing: load the module (modprobe fuse)");
        // As udev leaves it everywhere; some containers make the node with 0600.
        fs::set_permissions("/dev/fuse", fs::Permissions::from_mode(0o666)).unwrap();
        let directory = temp_dir();
        // Not by us: a child that another thread starts just then would hold it open for writing (ETXTBSY).
        run(Command::new("cp").arg(ocifs()).arg(directory.join("ocifs"))).ok();
        let point = directory.join("mnt");
        for path in [&point, &directory.join("cache")] {
            fs::create_dir(path).unwrap();
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        Self { directory, point }
    }

    /// Runs a shell script in a mount namespace of its own, whose /etc/fuse.conf has the given text.
    ///
    /// `$as` starts a command as nobody; `$ocifs` and `$point` are what they say; the layout is `$1`.
    pub(crate) fn script(&self, fuse_conf: &str, layout: &Path, script: &str) -> Done {
        let conf = self.directory.join("fuse.conf");
        fs::write(&conf, fuse_conf).unwrap();
        // No environment but this: nobody has no home, and no cache of somebody else's.
        run(Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-euc"])
            .arg(format!("mount --bind '{}' /etc/fuse.conf\n{script}", conf.display()))
            .arg("sh")
            .arg(layout)
            .env("as", format!("setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups --"))
            .env("other", "setpriv --reuid 1 --regid 1 --clear-groups --")
            .env("ocifs", self.directory.join("ocifs"))
            .env("point", &self.point)
            .env("XDG_CACHE_HOME", self.directory.join("cache")))
    }
}

impl Drop for Nobody {
    fn drop(&mut self) {
        // A mount made inside the namespace ended with it; the daemon follows.
        let gone = wait_until(|| daemons(&self.point).is_empty());
        for pid in daemons(&self.point) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        assert!(gone || std::thread::panicking(), "the daemon of an ended namespace stays");
    }
}
