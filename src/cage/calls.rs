//! System calls that are refused: a list of what serving never does, with EPERM as the answer.
//!
//! A list of what is allowed would be tighter, and would end mounts: which calls the C library, the allocator and the
//! decoders make is theirs to change.

use std::collections::BTreeMap;
use std::io;

use libc::{EPERM, c_long};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition, SeccompFilter,
    SeccompRule, sock_filter,
};

/// The last system call this list was weighed against: mseal, of Linux 6.10. Later ones are answered as kernels answer
/// that do not have them, and so is what x86-64 numbers from 2^30 on, the same calls in another form (x32).
const LAST_KNOWN: u32 = 462;

/// fchmodat2, which libc does not name everywhere; its number is the same everywhere.
const FCHMODAT2: c_long = 452;

/// Refused to everybody.
#[rustfmt::skip]
pub(super) const REFUSED: &[c_long] = &[
    // Other programs. (Other processes: see `conditional`.)
    libc::SYS_execve, libc::SYS_execveat,
    // Other processes' memory, descriptors and lives.
    libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_process_madvise,
    libc::SYS_process_mrelease, libc::SYS_kcmp, libc::SYS_pidfd_open, libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal, libc::SYS_kill, libc::SYS_tkill, libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo, libc::SYS_migrate_pages, libc::SYS_move_pages,
    // What is mounted where, and other views of the system.
    libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_chroot, libc::SYS_unshare, libc::SYS_setns,
    libc::SYS_open_tree, libc::SYS_move_mount, libc::SYS_fsopen, libc::SYS_fsconfig, libc::SYS_fsmount,
    libc::SYS_fspick, libc::SYS_mount_setattr, libc::SYS_swapon, libc::SYS_swapoff, libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    // Who we are.
    libc::SYS_setuid, libc::SYS_setgid, libc::SYS_setreuid, libc::SYS_setregid, libc::SYS_setresuid,
    libc::SYS_setresgid, libc::SYS_setgroups, libc::SYS_setfsuid, libc::SYS_setfsgid, libc::SYS_capset,
    libc::SYS_setsid, libc::SYS_setpgid, libc::SYS_personality,
    // Large parts of the kernel that serving has no use for.
    libc::SYS_bpf, libc::SYS_perf_event_open, libc::SYS_userfaultfd, libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter, libc::SYS_io_uring_register, libc::SYS_io_setup, libc::SYS_io_submit,
    libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_request_key, libc::SYS_fanotify_init, libc::SYS_fanotify_mark,
    libc::SYS_vmsplice, libc::SYS_shmget, libc::SYS_shmat, libc::SYS_shmctl, libc::SYS_msgget, libc::SYS_semget,
    libc::SYS_mq_open, libc::SYS_memfd_secret, libc::SYS_lookup_dcookie, libc::SYS_remap_file_pages,
    // The machine.
    libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module, libc::SYS_kexec_load,
    libc::SYS_kexec_file_load, libc::SYS_reboot,
    libc::SYS_syslog, libc::SYS_acct, libc::SYS_sethostname, libc::SYS_setdomainname, libc::SYS_settimeofday,
    libc::SYS_clock_settime, libc::SYS_clock_adjtime, libc::SYS_adjtimex, libc::SYS_vhangup, libc::SYS_nfsservctl,
    // Files by other ways than their paths, which Landlock does not see, and what the cache has no use for.
    libc::SYS_open_by_handle_at, libc::SYS_name_to_handle_at, libc::SYS_openat2, libc::SYS_mknodat, libc::SYS_linkat,
    libc::SYS_symlinkat, libc::SYS_fchown, libc::SYS_fchownat, libc::SYS_fchmod, libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_setxattr, libc::SYS_lsetxattr, libc::SYS_fsetxattr, libc::SYS_removexattr, libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    // Being called, by whom ever.
    libc::SYS_listen, libc::SYS_accept, libc::SYS_accept4,
];

/// The same again, where a processor's list has grown for long.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
pub(super) const REFUSED_HERE: &[c_long] = &[
    libc::SYS_fork, libc::SYS_vfork, libc::SYS_iopl, libc::SYS_ioperm,
    libc::SYS_modify_ldt, libc::SYS_uselib, libc::SYS_ustat, libc::SYS_sysfs, libc::SYS__sysctl, libc::SYS_mknod,
    libc::SYS_link, libc::SYS_symlink, libc::SYS_chown, libc::SYS_lchown, libc::SYS_chmod,
];

/// The same again, where a processor's list is short.
#[cfg(not(target_arch = "x86_64"))]
pub(super) const REFUSED_HERE: &[c_long] = &[];

/// Refused to who asks no registry. Sockets that are open go on working.
pub(super) const REFUSED_OFFLINE: &[c_long] =
    &[libc::SYS_socket, libc::SYS_socketpair, libc::SYS_connect, libc::SYS_bind];

/// The families of sockets by which a registry is reached: to servers, to the system's finders of names, and to the
/// kernel's list of routes, which getaddrinfo(3) asks.
const FAMILIES: [i32; 4] = [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX, libc::AF_NETLINK];

/// TIOCSTI and TIOCLINUX, by which one types at a terminal; libc gives them a type that depends on the C library.
const TYPING: [u64; 2] = [0x5412, 0x541c];

/// Closes this wall round the calling thread.
pub(super) fn close(network: bool) -> io::Result<()> {
    let program = refusals(network).map_err(io::Error::other)?;
    let apply = |program: &BpfProgram| match seccompiler::apply_filter(program) {
        Err(seccompiler::Error::Seccomp(e) | seccompiler::Error::Prctl(e)) => Err(e),
        other => other.map_err(io::Error::other),
    };
    // In this order: the second says how the first is made no worse by calls nobody has thought of.
    apply(&program)?;
    apply(&not_there())
}

/// Makes the filter of what is refused with EPERM. What comes by another processor's numbers ends the process.
fn refusals(network: bool) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
        REFUSED.iter().chain(REFUSED_HERE).map(|&call| (call, Vec::new())).collect();
    if !network {
        rules.extend(REFUSED_OFFLINE.iter().map(|&call| (call, Vec::new())));
    }
    rules.extend(conditional(network)?);
    let arch = std::env::consts::ARCH.try_into()?;
    let refuse = SeccompAction::Errno(EPERM.unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?.try_into()
}

/// Returns calls that are refused for what they are asked.
#[allow(clippy::type_complexity)] // as seccompiler wants it
fn conditional(network: bool) -> Result<Vec<(c_long, Vec<SeccompRule>)>, seccompiler::BackendError> {
    let is = |argument, op, value| SeccompCondition::new(argument, Len::Dword, op, value);
    let rule = SeccompRule::new;
    let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
    let executable = u64::from(libc::PROT_EXEC.unsigned_abs());
    let own = u64::from(std::process::id());
    let typing = |request: u64| rule(vec![is(1, Op::Eq, request)?]);
    let mut rules = vec![
        // A new thread is fine, a new process is not.
        (libc::SYS_clone, vec![rule(vec![is(0, Op::MaskedEq(thread), 0)?])?]),
        // abort(3) sends a signal, to ourselves.
        (libc::SYS_tgkill, vec![rule(vec![is(0, Op::Ne, own)?])?]),
        // Typing for the user at the terminal, which a mount in the foreground still has.
        (libc::SYS_ioctl, TYPING.into_iter().map(typing).collect::<Result<_, _>>()?),
    ];
    if network {
        let others = FAMILIES.iter().map(|family| is(0, Op::Ne, u64::from(family.unsigned_abs())));
        rules.push((libc::SYS_socket, vec![rule(others.collect::<Result<_, _>>()?)?]));
    } else {
        // No new code. With a registry the C library may have to load what finds names.
        for call in [libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_pkey_mprotect] {
            rules.push((call, vec![rule(vec![is(2, Op::MaskedEq(executable), executable)?])?]));
        }
    }
    Ok(rules)
}

/// Makes the filter of calls that are answered as if the kernel had none such: clone3, whose wishes stand in memory
/// where no filter reads them (the C library then takes clone), and all after [`LAST_KNOWN`].
fn not_there() -> BpfProgram {
    let clone3 = u32::try_from(libc::SYS_clone3).expect("a number of a system call is small");
    let answer = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    let step = |code: u32, jt, jf, k| sock_filter { code: code as u16, jt, jf, k };
    vec![
        // The number stands first in what a filter sees (seccomp(2), struct seccomp_data).
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, 1, 0, LAST_KNOWN),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, clone3),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, answer),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}
