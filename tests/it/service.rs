//! As a service of systemd: what is told to the manager, and when.

use crate::kit::{Layout, Mount, TempDir, is_mounted, ls, temp_dir, unmount, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

/// An ocifs in the foreground, and the socket of the manager that started it.
struct Service {
    child: Child,
    socket: UnixDatagram,
    point: PathBuf,
    _directory: TempDir,
}

impl Service {
    fn start(layout: &Layout) -> Self {
        let directory = temp_dir();
        let (point, path) = (directory.join("mnt"), directory.join("notify"));
        fs::create_dir(&point).unwrap();
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut command = Mount::command(&directory);
        command.arg("-f").arg(layout.path()).arg(&point).env("NOTIFY_SOCKET", &path).stdin(Stdio::null());
        Self { child: command.spawn().unwrap(), socket, point, _directory: directory }
    }

    #[track_caller]
    fn hears(&self, word: &str) {
        let mut buffer = [0; 200];
        let got = self.socket.recv(&mut buffer).unwrap();
        let message = String::from_utf8_lossy(&buffer[..got]);
        assert!(message.lines().any(|line| line == word), "{message:?} is not {word}");
    }
}

#[test]
fn a_service_is_ready_when_it_answers_and_says_when_it_stops() {
    let (layout, _) = Layout::sample();
    for by_signal in [true, false] {
        let mut service = Service::start(&layout);
        service.hears("READY=1");
        assert!(is_mounted(&service.point));
        assert_eq!(ls(service.point.join("platforms")), ["linux-amd64"], "ready means that it answers");
        match by_signal {
            true => kill(Pid::from_raw(service.child.id().cast_signed()), Signal::SIGTERM).unwrap(),
            false => assert!(unmount(&service.point)),
        }
        service.hears("STOPPING=1");
        assert!(wait_until(|| service.child.try_wait().unwrap().is_some()));
        assert_eq!(service.child.wait().unwrap().code(), Some(0));
        assert!(!is_mounted(&service.point));
    }
}

#[test]
fn a_service_that_cannot_mount_is_never_ready() {
    let layout = Layout::new();
    let mut service = Service::start(&layout);
    assert_eq!(service.child.wait().unwrap().code(), Some(1));
    service.socket.set_nonblocking(true).unwrap();
    assert!(service.socket.recv(&mut [0; 200]).is_err());
}
