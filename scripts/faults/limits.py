"""The process short of something: descriptors, memory, time that flows, being run at all."""

import os
import resource
import signal
import subprocess
import time

from case import GONE, Skipped, fault
from mounting import DEADLINE, bounded

SECTION = "The process and its machine"
MEMORY = "/sys/fs/cgroup/memory"
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


def limit(mount, kind, soft):
    _, hard = resource.prlimit(mount.pid, kind)
    resource.prlimit(mount.pid, kind, (soft, hard))


@fault(SECTION, "started with too few file descriptors")
def few_descriptors(case):
    refused = 0
    case.allowed = {"EIO", "EMFILE"}
    limits = [*range(4, 16), *range(16, 40, 6)]
    for number in limits:
        cache = f"{case.cache}-{number}"
        mount = case.mount(cache=cache, wrap=("prlimit", f"--nofile={number}:{number}"))
        if not mount.wait_ready(DEADLINE):
            refused += 1
            case.require(mount.words(), f"nothing said with {number}")
            case.require(not mount.died_mounted(), f"still mounted though refused, with {number}")
            continue
        readers = case.readers(mount, count=4)
        time.sleep(1)
        case.stop(readers)
        mount.unmount()
    case.note(f"limits from {limits[0]} to {limits[-1]}: {refused} refused to mount, with a reason, and left nothing mounted")
    case.recovered()


def descriptors_again(case, mount, readers):
    limit(mount, resource.RLIMIT_NOFILE, 1024)
    readers.progress(100)
    case.stop(readers)
    case.all_right(mount, "same mount, with descriptors again")
    case.note("the same mount read everything once there were some again")
    mount.unmount()
    case.recovered()


@fault(SECTION, "out of file descriptors under readers, for some seconds", quick=True)
def no_descriptors(case):
    case.allowed = {"EIO", "EMFILE"}
    case.warm()
    mount = case.mounted()
    readers = case.readers(mount)
    readers.progress(50)
    limit(mount, resource.RLIMIT_NOFILE, 1)
    time.sleep(2)
    descriptors_again(case, mount, readers)


@fault(SECTION, "out of file descriptors before the first look, for some seconds")
def no_descriptors_cold(case):
    case.allowed = {"EIO", "EMFILE"}
    mount = case.mounted()
    limit(mount, resource.RLIMIT_NOFILE, 1)
    readers = case.readers(mount)
    time.sleep(2)
    case.require(readers.total().errors, "no reader noticed")
    descriptors_again(case, mount, readers)


@fault(SECTION, "out of memory: a control group too small for it")
def out_of_memory(case):
    case.allowed = GONE
    try:
        with open(f"{MEMORY}/memory.limit_in_bytes", encoding="ascii"):
            pass
    except OSError:
        raise Skipped("no memory controller of cgroup version 1 here") from None
    group = f"{MEMORY}/ocifs-fault-{os.getpid()}"
    os.mkdir(group)
    case.stack.callback(leave, group)
    killed, sizes = 0, [4, 8, 16, 24, 32, 48, 64]
    for megabytes in sizes:
        with open(f"{group}/memory.limit_in_bytes", "w", encoding="ascii") as file:
            file.write(str(megabytes << 20))
        mount = case.mount(cache=f"{case.cache}-{megabytes}",
                           wrap=("sh", "-c", f'echo $$ >{group}/cgroup.procs && exec "$@"', "sh"))
        if mount.wait_ready():
            readers = case.readers(mount, gone_is_fine=True)
            time.sleep(4)
            case.stop(readers)
        killed += mount.process.poll() is not None
        mount.close()
    case.note(f"limits from {sizes[0]} to {sizes[-1]} MB: killed by the kernel {killed} times of {len(sizes)}")
    case.require(killed, "no limit was too small")
    case.recovered()


def leave(group):
    end = time.monotonic() + 10
    while os.path.isdir(group) and time.monotonic() < end:
        try:
            os.rmdir(group)
        except OSError:
            time.sleep(0.1)


@fault(SECTION, "out of memory: allocations fail (address space limited under readers)")
def no_allocations(case):
    case.allowed = GONE | {"ENOMEM"}
    case.warm()
    ended = 0
    for number in range(6):
        mount = case.mounted(cache=f"{case.cache}-{number}" if number % 2 else None)
        readers = case.readers(mount, gone_is_fine=True)
        time.sleep(case.chance.uniform(0.05, 0.5))
        limit(mount, resource.RLIMIT_AS, 1 << 20)
        time.sleep(2)
        case.stop(readers)
        ended += mount.process.poll() is not None
        mount.close()
    case.note(f"6 times; the daemon ended {ended} times, the mount was dead then")
    case.recovered()


@fault(SECTION, "suspended (SIGSTOP) and continued under readers", quick=True)
def suspended(case):
    case.warm()
    mount = case.mounted()
    readers = case.readers(mount)
    for _ in range(2 if case.quick else 10):
        readers.progress(30)
        mount.kill(signal.SIGSTOP)
        time.sleep(case.chance.uniform(0.1, 1))
        mount.kill(signal.SIGCONT)
    readers.progress(100)
    case.stop(readers)
    case.note("readers waited, and went on")
    mount.unmount()
    case.recovered()


@fault(SECTION, "killed while suspended, with readers waiting")
def suspended_killed(case):
    case.warm()
    case.allowed = GONE
    mount = case.mounted()
    readers = case.readers(mount, gone_is_fine=True)
    readers.progress(30)
    mount.kill(signal.SIGSTOP)
    time.sleep(0.5)
    mount.kill()
    mount.wait_end()
    case.require(case.stop(readers).errors, "no reader noticed")
    case.recovered()


@fault(SECTION, "the clock jumps: ten years on, ten back, to 1970 and before, again and again (libfaketime)")
def clock(case):
    if not os.path.exists(FAKETIME):
        raise Skipped("no libfaketime (Debian's package faketime)")
    # In there, for a mount can read nothing but its source and its cache.
    os.mkdir(case.cache, 0o700)
    stamp = f"{case.cache}/now"

    def now(text):
        with open(stamp + ".new", "w", encoding="ascii") as file:
            file.write(text)
        os.rename(stamp + ".new", stamp)

    now("+0")
    env = {"LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": stamp, "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    jumps = ["+10y", "-10y", "-56y", "-100y", "+60y", "+0", "-1d", "+1d"]
    for start in jumps:
        now(start)
        mount = case.mounted(env=env)
        readers = case.readers(mount)
        for jump in jumps:
            now(jump)
            readers.progress(20)
        case.stop(readers)
        mount.unmount()
    # What was used is marked with the time: so we see that the clock did jump.
    now("+10y")
    case.mounted(env=env).unmount()
    mount = case.mounted(env=env)
    now("+30y")
    case.all_right(mount, "thirty years on")
    mount.unmount()
    times = [os.path.getmtime(f"{case.cache}/index/{name}") for name in os.listdir(f"{case.cache}/index")]
    case.require(max(times) > time.time() + 29 * 365 * 86400, "the clock did not jump")
    case.note(f"{len(jumps) ** 2} jumps; everything could be read")
    now("-10y")
    bounded("reading with a clock that is wrong", 2 * DEADLINE, case.recovered, None)
