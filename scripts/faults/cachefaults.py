"""The cache directory full, gone, cut and bent, while the mount works with it."""

import errno
import os
import shutil
import threading
import time

from case import fault
from mounting import clear

SECTION = "The cache directory"


class Vandal:
    """Does something to the cache directory again and again, in a thread of its own."""

    def __init__(self, act, pause):
        self.act, self.pause = act, pause
        self.times, self.ending, self.error = 0, threading.Event(), None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self.ending.wait(self.pause):
            try:
                self.times += bool(self.act())
            except FileNotFoundError:
                pass
            except OSError as error:
                self.error = error
                return

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.thread.join(30)
        if self.error:
            raise self.error


def files(cache):
    return [os.path.join(directory, name) for directory, _, names in os.walk(cache) for name in names]


def full(case, sizes):
    """Works in a cache directory that cannot hold what belongs there."""
    for size in sizes:
        case.tmpfs(size)
        for _ in range(2):
            mount = case.mounted()
            readers = case.readers(mount, count=3)
            readers.progress(60)
            case.stop(readers)
            case.all_right(mount, f"with {size} bytes")
            mount.unmount()
        clear(case.cache)


@fault(SECTION, "a disk that is too small", quick=True)
def too_small(case):
    sizes = [8 << 10, 6 << 20] if case.quick else [4 << 10, 16 << 10, 40 << 10, 100 << 10, 1 << 20, 6 << 20, 19 << 20]
    full(case, sizes)
    case.note(f"{len(sizes)} sizes from {sizes[0] >> 10} KiB to {sizes[-1] >> 20} MiB, twice each; everything could be read")
    case.recovered()


@fault(SECTION, "a disk that fills under load, and is emptied again")
def fills(case):
    case.tmpfs(40 << 20)
    other = f"{case.cache}/somebody-elses"
    for _ in range(4):
        mount = case.mounted()
        readers = case.readers(mount)
        time.sleep(case.chance.uniform(0, 1))
        with open(other, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 65536)
            except OSError as error:
                case.require(error.errno == errno.ENOSPC, str(error))
        readers.progress(100)
        mount_again(case, readers, mount)
        os.remove(other)
        for shelf in "index", "spill":
            shutil.rmtree(f"{case.cache}/{shelf}", ignore_errors=True)
    case.note("4 times, at random moments; everything could be read")
    case.recovered()


def mount_again(case, readers, mount):
    case.stop(readers)
    mount.unmount()
    after = case.mounted()
    case.all_right(after, "mounted with the disk full")
    after.unmount()


def vandalised(case, act, pause, rounds):
    """Mounts, reads and unmounts while a vandal is at work."""
    with Vandal(act, pause) as vandal:
        for _ in range(rounds):
            mount = case.mounted()
            readers = case.readers(mount)
            readers.progress(300)
            case.stop(readers)
            mount.unmount()
    case.require(vandal.times > rounds, f"struck {vandal.times} times only")
    return vandal.times


@fault(SECTION, "deleted, again and again", quick=True)
def deleted(case):
    case.warm()
    rounds = 2 if case.quick else 8

    def act():
        # Not all of it where something new is written at the same time.
        shutil.rmtree(case.cache, ignore_errors=True)
        return True

    times = vandalised(case, act, 0.05, rounds)
    case.note(f"{times} times during {rounds} mounts; everything could be read")
    case.recovered()


@fault(SECTION, "its files truncated, again and again", quick=True)
def truncated(case):
    case.warm()
    rounds = 2 if case.quick else 8

    def act():
        path = case.chance.choice(files(case.cache) or [case.cache])
        os.truncate(path, case.chance.randrange(os.path.getsize(path) + 1))
        return True

    times = vandalised(case, act, 0.02, rounds)
    case.note(f"{times} times during {rounds} mounts; everything could be read")
    case.recovered()


def flip(chance, path, count):
    """Flips a bit at so many places."""
    with open(path, "r+b", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        for _ in range(count if size else 0):
            offset = chance.randrange(size)
            byte = os.pread(file.fileno(), 1, offset)
            if byte:
                os.pwrite(file.fileno(), bytes([byte[0] ^ 1 << chance.randrange(8)]), offset)
    return size


@fault(SECTION, "bits flipped in all its files, again and again", quick=True)
def flipped(case):
    case.warm()
    rounds = 2 if case.quick else 12

    def act():
        return [flip(case.chance, path, 20) for path in files(case.cache)]

    times = vandalised(case, act, 0.02, rounds)
    case.note(f"{times:,} times 20 bits a file during {rounds} mounts; everything could be read")
    case.recovered()


@fault(SECTION, "every file in turn with one bit flipped before mounting")
def one_flip(case):
    case.warm()
    kept = f"{case.base}/kept"
    shutil.copytree(case.cache, kept)
    names = [os.path.relpath(path, kept) for path in files(kept)]
    rounds = 24
    for number in range(rounds):
        shutil.rmtree(case.cache)
        shutil.copytree(kept, case.cache)
        flip(case.chance, f"{case.cache}/{names[number % len(names)]}", 1)
        mount = case.mounted()
        case.all_right(mount, "with one bit flipped")
        mount.unmount()
    case.note(f"{rounds} times; everything could be read")
    case.recovered()


@fault(SECTION, "its files exchanged for each other")
def exchanged(case):
    case.warm()
    listed = sorted(path for path in files(case.cache) if "/index/" in path)
    for one, other in zip(listed, listed[1:]):
        os.rename(one, f"{case.base}/aside")
        os.rename(other, one)
        os.rename(f"{case.base}/aside", other)
    mount = case.mounted()
    case.all_right(mount, "with files exchanged")
    mount.unmount()
    case.note("everything could be read")
    case.recovered()


@fault(SECTION, "a file, a link to nowhere, a full device in its place")
def no_directory(case):
    def make_file():
        with open(case.cache, "wb"):
            pass

    for make in (make_file, lambda: os.symlink("/nowhere/at/all", case.cache), lambda: os.symlink("/dev/full", case.cache)):
        make()
        mount = case.mounted()
        case.all_right(mount, "without a directory")
        mount.unmount()
        if os.path.lexists(case.cache) and not os.path.isdir(case.cache):
            os.remove(case.cache)
    case.note("everything could be read")
    case.recovered()
