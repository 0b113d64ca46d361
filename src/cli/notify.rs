//! Telling systemd when a mount stands and when it ends (sd_notify(3)): datagrams to `$NOTIFY_SOCKET`.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Whoever started us and wants to hear; nobody, where there is no `$NOTIFY_SOCKET`.
pub(super) struct Manager {
    /// Opened at once: later there may be no right to.
    line: Option<(UnixDatagram, SocketAddr)>,
}

impl Manager {
    /// Finds the manager in the environment.
    pub(super) fn from_env() -> Self {
        let line = std::env::var_os("NOTIFY_SOCKET").and_then(|name| {
            line(&name).inspect_err(|e| log::warn!("NOTIFY_SOCKET={}: {e}", name.display())).ok()
        });
        Self { line }
    }

    /// Says that the mount answers.
    pub(super) fn ready(&self) {
        self.tell("READY=1\nSTATUS=Mounted");
    }

    /// Says that the mount is ending.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=Unmounting");
    }

    /// Sends a message. One that does not arrive is logged: the mount is of use without.
    fn tell(&self, message: &str) {
        let Some((socket, address)) = &self.line else { return };
        if let Err(e) = socket.send_to_addr(message.as_bytes(), address) {
            log::warn!("the service manager cannot be told {message:?}: {e}");
        }
    }
}

/// Returns a socket, and the address that `name` stands for.
fn line(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = address(name)?;
    Ok((UnixDatagram::unbound()?, address))
}

/// Reads a socket's name: a path, or an abstract one behind `@`.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::other("neither a path nor an abstract socket")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_sockets_hear() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let abstract_name = format!("@ocifs-test-{}", std::process::id());
        for name in [path.as_os_str(), OsStr::new(&abstract_name)] {
            let address = address(name).unwrap();
            let socket = UnixDatagram::bind_addr(&address).unwrap();
            let manager = Manager { line: Some(line(name).unwrap()) };
            manager.ready();
            manager.stopping();
            for expected in ["READY=1\nSTATUS=Mounted", "STOPPING=1\nSTATUS=Unmounting"] {
                let mut buffer = [0; 64];
                let got = socket.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..got], expected.as_bytes());
            }
        }
    }

    #[test]
    fn what_is_no_socket() {
        for name in ["", "relative", "vsock:2:1"] {
            assert!(address(OsStr::new(name)).is_err(), "{name}");
        }
        // Nobody listens: nothing happens.
        Manager { line: Some(line(OsStr::new("/no/such/socket")).unwrap()) }.ready();
        Manager { line: None }.ready();
    }
}
