//! Each test closes a cage round a thread of its own: it ends with that thread.

use std::fs::{self, File};
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use libc::{EACCES, ENOSYS, EPERM, c_long};

use super::{Cage, Needs, Walls, calls};

/// Runs `inside` on a thread in the cage that `needs` makes.
fn caged<T: Send>(needs: &Needs, inside: impl FnOnce(Walls) -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(|| inside(Cage::new(needs).close())).join().unwrap())
}

/// Returns the error number of a system call whose arguments are all senseless.
fn try_call(call: c_long) -> Option<i32> {
    #[allow(unsafe_code)]
    // SAFETY: the filter refuses the call. One that came through would find no address and no descriptor to work on.
    let done = unsafe { libc::syscall(call, -1, -1, -1, -1, -1, -1) };
    (done == -1).then(|| io::Error::last_os_error().raw_os_error().unwrap())
}

fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().and_then(|e| e.raw_os_error())
}

/// Says whether this kernel has Landlock, asked as landlock_create_ruleset(2) says.
fn has_landlock() -> bool {
    let nothing = std::ptr::null::<u8>();
    #[allow(unsafe_code)]
    // SAFETY: with this flag the call returns a number and looks at nothing.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0, 1) };
    version > 0
}

#[test]
fn refused_calls_are_refused_and_end_nothing() {
    for network in [false, true] {
        caged(&Needs { network, ..Needs::default() }, |walls| {
            assert!(walls.seccomp && nix::sys::prctl::get_no_new_privs().unwrap());
            // Some would do something without a cage: the first, which would not, tells whether there is one.
            for &call in calls::REFUSED.iter().chain(calls::REFUSED_HERE) {
                assert_eq!(try_call(call), Some(EPERM), "{call}");
            }
            // What socket(2) is asked for counts with a network: see below.
            for &call in calls::REFUSED_OFFLINE.iter().filter(|&&call| !network || call != libc::SYS_socket) {
                assert_eq!(try_call(call) == Some(EPERM), !network, "{call} with network: {network}");
            }
            for call in [libc::SYS_clone3, 463, 1000, (1 << 30) + 1] {
                assert_eq!(try_call(call), Some(ENOSYS), "{call}");
            }
        });
    }
}

/// By name, so that nothing drops out of the list unnoticed.
#[test]
fn what_must_be_in_the_list() {
    for call in [
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_ptrace,
        libc::SYS_process_vm_writev,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_move_mount,
        libc::SYS_unshare,
        libc::SYS_setuid,
        libc::SYS_bpf,
        libc::SYS_io_uring_setup,
        libc::SYS_userfaultfd,
        libc::SYS_open_by_handle_at,
        libc::SYS_init_module,
        libc::SYS_kill,
    ] {
        assert!(calls::REFUSED.contains(&call), "{call}");
    }
}

#[test]
fn programs_and_sockets() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let all = |_| {
        [
            errno(Command::new("/bin/true").status()),
            errno(TcpStream::connect(address)),
            errno(UdpSocket::bind("127.0.0.1:0")),
            errno(UnixStream::pair()),
            errno(TcpListener::bind("127.0.0.1:0")),
        ]
    };
    assert_eq!(caged(&Needs::default(), all), [Some(EPERM); 5]);
    let network = Needs { network: true, ..Needs::default() };
    assert_eq!(caged(&network, all), [Some(EPERM), None, None, None, Some(EPERM)]);
    assert!(Command::new("/bin/true").status().is_ok(), "outside nothing has changed");
}

#[test]
fn what_serving_does_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (layout, cache) = (directory.path().join("layout"), directory.path().join("new/cache"));
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    fs::write(layout.join("blobs/sha256/a"), "content").unwrap();
    let needs = Needs { readable: vec![layout.clone()], cache: Some(cache.clone()), ..Needs::default() };
    caged(&needs, |_| {
        assert_eq!(fs::read(layout.join("blobs/sha256/a")).unwrap(), b"content");
        assert_eq!(fs::read_dir(layout.join("blobs")).unwrap().count(), 1);
        fs::create_dir(cache.join("index")).unwrap();
        let unfinished = cache.join("index/.unfinished");
        File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&unfinished)
            .unwrap()
            .set_len(9)
            .unwrap();
        fs::rename(&unfinished, cache.join("index/key")).unwrap();
        fs::remove_file(cache.join("index/key")).unwrap();
        let threads: Vec<_> = (0..8).map(|n| std::thread::spawn(move || vec![n; 1 << 20].len())).collect();
        assert_eq!(threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>(), 8 << 20);
        std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new(1))).unwrap_err();
    });
}

#[test]
fn names_are_read_where_bytes_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let at = |path: &str| directory.path().join(path);
    fs::create_dir(at("listed")).unwrap();
    for file in ["listed/a", "listed/b"] {
        fs::write(at(file), "content").unwrap();
    }
    let needs = Needs { readable: vec![at("listed/a")], listable: vec![at("listed")], ..Needs::default() };
    caged(&needs, |_| {
        assert_eq!(fs::read_dir(at("listed")).unwrap().count(), 2);
        assert_eq!(fs::read(at("listed/a")).unwrap(), b"content");
        assert_eq!(errno(fs::read(at("listed/b"))), has_landlock().then_some(EACCES));
    });
}

#[test]
fn landlock_where_there_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let (source, cache) = (directory.path().join("archive.tar"), directory.path().join("cache"));
    fs::write(&source, "tar").unwrap();
    let (beside, own) = (directory.path().join("beside"), cache.join("x"));
    let needs = Needs { readable: vec![source.clone()], cache: Some(cache), ..Needs::default() };
    let got = caged(&needs, |walls| {
        assert_eq!(walls.landlock > 0, has_landlock());
        let said =
            if walls.landlock > 0 { "seccomp, Landlock " } else { "seccomp, this kernel has no Landlock" };
        assert!(walls.to_string().starts_with(said), "{walls}");
        [
            errno(File::open(&source)),
            errno(fs::write(&own, "x")),
            errno(File::options().write(true).open(&source)),
            errno(fs::write(&beside, "x")),
            errno(fs::read("/etc/passwd")),
            errno(fs::read_dir("/").map(drop)),
            errno(fs::remove_file(Path::new(&source))),
        ]
    });
    let refused = has_landlock().then_some(EACCES);
    assert_eq!(got, [None, None, refused, refused, refused, refused, refused]);
}
