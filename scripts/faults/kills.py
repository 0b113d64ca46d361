"""The daemon killed with SIGKILL, in every phase of its life."""

import os
import signal
import threading
import time

from case import GONE, fault
from images import entries
from mounting import DEADLINE, abort, clear
from readers import Seen, check_all

SECTION = "Killed with SIGKILL"


@fault(SECTION, "while mounting, at random moments", quick=True)
def mounting(case):
    case.warm()
    began = time.monotonic()
    mount = case.mounted()
    usual = time.monotonic() - began
    mount.unmount()
    dead, hindered, rounds = 0, 0, 6 if case.quick else 40
    for _ in range(rounds):
        mount = case.mount()
        time.sleep(case.chance.uniform(0, usual * 1.2))
        mount.kill()
        mount.wait_end()
        if not mount.died_mounted():
            continue
        dead += 1
        if dead % 2:
            clear(case.point)
        else:
            # The one that died is there still: the next one has to cope.
            again = case.mount()
            hindered += not again.wait_ready()
            again.unmount()
    case.require(not hindered, f"{hindered} of the mounts after it did not come about")
    case.note(f"{rounds} times; {dead} were mounted by then and left a dead mount (ENOTCONN), over which the next one mounted")
    case.recovered()


@fault(SECTION, "during the pass over the layers, at random moments")
def layer_pass(case):
    began = time.monotonic()
    case.warm()
    usual = time.monotonic() - began
    case.allowed = GONE
    for number in range(15):
        cache = f"{case.cache}-{number}"
        mount = case.mounted(cache=cache)
        readers = case.readers(mount, count=3, gone_is_fine=True)
        time.sleep(case.chance.uniform(0, usual / 2))
        mount.kill()
        mount.wait_end()
        case.stop(readers)
        case.recovered(cache=cache)


def killed_when(case, shelf, ready, image, rounds, slow=()):
    """Kills as soon as `ready` says so of an unfinished file on the shelf. Returns how often one was left behind.

    Each round slows one of the system calls named in `slow`, in turn."""
    left = 0
    for number in range(rounds):
        cache = f"{case.cache}-{number}"
        mount = case.mounted(source=image.root, cache=cache, wrap=delaying(slow[number % len(slow)]) if slow else ())
        seen = Seen()
        look = threading.Thread(target=check_all, args=(mount, image.truth, seen), daemon=True)
        look.start()
        wait, end = case.chance.uniform(0, 0.004), time.monotonic() + DEADLINE
        directory = f"{cache}/{shelf}"
        while not ready(unfinished(directory)) and not finished(directory) and time.monotonic() < end:
            pass
        time.sleep(wait)
        mount.kill()
        mount.wait_end()
        look.join(DEADLINE)
        case.require(not look.is_alive(), "a reader hung")
        seen.wrong = [wrong for wrong in seen.wrong if "ENOENT" not in wrong]
        case.seen.add(seen)
        left += bool(unfinished(directory))
        case.recovered(image=image, source=image.root, cache=cache)
    return left


def delaying(call):
    """Returns what goes before a command to have each of these system calls take longer: as a grandchild, strace leaves the process as it is."""
    return "strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:delay_enter=100000"


def listing(directory):
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def unfinished(directory):
    """Returns the sizes of the files that are being written."""
    sizes = []
    for name in listing(directory):
        if name.startswith(".unfinished-"):
            try:
                sizes.append(os.stat(f"{directory}/{name}").st_size)
            except FileNotFoundError:
                pass
    return sizes


def finished(directory):
    return any(not name.startswith(".") for name in listing(directory))


@fault(SECTION, "while the index is written")
def index(case):
    image = entries(f"{case.base}/layout", 3_000)
    case.allowed = GONE
    rounds = 20
    left = killed_when(case, "index", bool, image, rounds, slow=("write", "rename"))
    case.note(f"{rounds} times, before a byte of it or before its renaming; an unfinished file was left {left} times")
    case.require(left, "never hit while it was written")


@fault(SECTION, "while a decompressed copy is written")
def spill(case):
    case.allowed = GONE
    rounds = 8
    goal = case.chance.randrange
    left = killed_when(case, "spill", lambda sizes: sizes and max(sizes) > goal(1, 16 << 20), case.image, rounds)
    case.note(f"{rounds} times; an unfinished file was left {left} times")
    case.require(left, "never hit while it was written")


@fault(SECTION, "under readers", quick=True)
def reading(case):
    case.warm()
    case.allowed = GONE
    for _ in range(2 if case.quick else 10):
        mount = case.mounted()
        readers = case.readers(mount, gone_is_fine=True)
        readers.progress(case.chance.randrange(20, 200))
        mount.kill()
        mount.wait_end()
        time.sleep(0.05)
        errors = case.stop(readers).errors
        case.require(errors, "the readers did not notice")
        # Not unmounted by anybody: the next one mounts over the dead mount.
    case.recovered()


@fault(SECTION, "while small files are put into the kernel's cache before they are read", quick=True)
def pushing(case):
    image = entries(f"{case.base}/layout", 5_000)
    case.recovered(image=image, source=image.root)
    case.allowed = GONE
    pushed, rounds = 0, 4 if case.quick else 60
    for _ in range(rounds):
        mount = case.mounted(source=image.root)
        looks = [Seen() for _ in range(3)]
        threads = [threading.Thread(target=check_all, args=(mount, image.truth, seen), daemon=True) for seen in looks]
        for thread in threads:
            thread.start()
        time.sleep(case.chance.uniform(0.1, 0.6))
        pushed += counter(mount, "pushed_total")
        mount.kill()
        mount.wait_end()
        for thread, seen in zip(threads, looks):
            thread.join(DEADLINE)
            case.require(not thread.is_alive(), "a reader hung")
            case.seen.add(seen)
    case.note(f"{rounds} times; some {pushed // rounds:,} files were put there before, of {len(image.truth):,}")
    case.require(pushed, "nothing was put there")
    case.recovered(image=image, source=image.root)


def counter(mount, name):
    """Returns what `.ocifs/stats` counts."""
    with open(f"{mount.point}/.ocifs/stats", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(f"ocifs_{name} "))


@fault(SECTION, "while unmounting, at random moments")
def unmounting(case):
    case.warm()
    case.allowed = GONE
    usual, rounds = 0.05, 20
    for _ in range(rounds):
        mount = case.mounted()
        readers = case.readers(mount, count=2, gone_is_fine=True)
        readers.progress(10)
        mount.kill(signal.SIGTERM)
        time.sleep(case.chance.uniform(0, usual))
        mount.kill()
        mount.wait_end()
        case.stop(readers)
    case.seen.errors.pop("ENOENT", None)
    case.note(f"{rounds} times SIGTERM and then SIGKILL; ENOENT once the directory beneath was there again")
    case.recovered()


@fault(SECTION, "its keeper (which unmounts at a signal), under readers")
def keeper(case):
    case.warm()
    mount = case.mounted()
    readers = case.readers(mount)
    readers.progress(50)
    case.require(mount.others(), "there is no keeper")
    for pid in mount.others():
        os.kill(pid, signal.SIGKILL)
    readers.progress(200)
    case.stop(readers)
    case.note("the mount went on, and ended by `umount`")
    mount.unmount()
    case.recovered()


@fault(SECTION, "the connection cut by the kernel (`/sys/fs/fuse/connections/N/abort`)", quick=True)
def aborted(case):
    case.warm()
    case.allowed = GONE
    mount = case.mounted()
    readers = case.readers(mount, gone_is_fine=True)
    readers.progress(50)
    abort(mount.point)
    mount.wait_end()
    case.stop(readers)
    case.note("the daemon ended by itself")
    case.recovered()
