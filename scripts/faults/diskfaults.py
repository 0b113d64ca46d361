"""The layout's disk goes bad: it lies behind another FUSE file system that fails when told to."""

import os
import subprocess
import time

from case import Skipped, fault
from mounting import DEADLINE, Hung, bounded, clear, mounts_at

SECTION = "The layout's disk"
# Debian's: python3-fusepy belongs to it.
PYTHON = "/usr/bin/python3"


class BadDisk:
    """The layout as a bad disk shows it."""

    def __init__(self, case):
        self.point, self.control = f"{case.base}/disk", f"{case.base}/control"
        os.mkdir(self.point)
        self.now("none", 0)
        if subprocess.run([PYTHON, "-c", "import fusepy"], stderr=subprocess.DEVNULL, check=False).returncode:
            raise Skipped("no fusepy (Debian's package python3-fusepy) for " + PYTHON)
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "injector.py")
        self.process = subprocess.Popen([PYTHON, program, case.image.root, self.point, self.control])
        case.stack.callback(self.close)
        end = time.monotonic() + DEADLINE
        while not mounts_at(self.point):
            if self.process.poll() is not None or time.monotonic() > end:
                raise Hung("the bad disk does not mount")
            time.sleep(0.02)

    def now(self, mode, share=100):
        with open(self.control + ".new", "w", encoding="ascii") as file:
            file.write(f"{mode} {share}")
        os.rename(self.control + ".new", self.control)

    def close(self):
        clear(self.point)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def bad(case, mode, share, cold=False, seconds=3):
    """Reads from a disk that goes bad, gets well, and is mounted again."""
    disk = BadDisk(case)
    if not cold:
        case.warm()
    mount = case.mounted(source=disk.point)
    if cold:
        disk.now(mode, share)
    readers = case.readers(mount)
    if not cold:
        readers.progress(100)
        disk.now(mode, share)
    time.sleep(seconds)
    disk.now("none")
    time.sleep(0.2)
    hurt = sum(readers.total().errors.values())
    readers.progress(100)
    case.stop(readers)
    bounded("reading after the disk got well", DEADLINE, case.all_right, mount, "when the disk was well again, same mount")
    mount.unmount()
    case.recovered(source=disk.point)
    return hurt


@fault(SECTION, "every read fails with EIO, for some seconds", quick=True)
def eio(case):
    case.allowed = {"EIO"}
    case.require(bad(case, "eio", 100), "no reader noticed")
    case.note("the same mount read everything once the disk was well")


@fault(SECTION, "one read of ten fails with EIO, from the first pass on")
def eio_cold(case):
    case.allowed = {"EIO"}
    case.require(bad(case, "eio", 10, cold=True), "no reader noticed")
    case.note("the same mount read everything once the disk was well")


@fault(SECTION, "opening fails with EIO")
def opening(case):
    case.allowed = {"EIO"}
    bad(case, "open", 100)


@fault(SECTION, "one read of five gives one wrong bit")
def wrong(case):
    case.allowed = {"EIO"}
    case.require(bad(case, "wrong", 20), "no reader noticed")


@fault(SECTION, "one read of five gives one wrong bit, from the first pass on")
def wrong_cold(case):
    case.allowed = {"EIO"}
    case.require(bad(case, "wrong", 20, cold=True), "no reader noticed")


@fault(SECTION, "reads give less than was asked for")
def short(case):
    bad(case, "short", 60)


@fault(SECTION, "one read of five ends early, as at the end of the file")
def early(case):
    case.allowed = {"EIO"}
    bad(case, "end", 20)


@fault(SECTION, "every read takes three seconds")
def slow(case):
    disk = BadDisk(case)
    mount = case.mounted(source=disk.point)
    disk.now("slow")
    readers = case.readers(mount, count=2)
    time.sleep(1)
    longest = 0.0
    for _ in range(10):
        began = time.monotonic()
        bounded("ls of what needs no disk", DEADLINE, os.listdir, mount.root)
        bounded("stat", DEADLINE, os.stat, f"{mount.root}/layers/0")
        longest = max(longest, time.monotonic() - began)
        time.sleep(0.2)
    disk.now("none")
    readers.progress(50)
    case.stop(readers)
    case.require(longest < 1, f"ls waited {longest:.1f} s for the disk")
    case.note(f"readers waited; `ls` and `stat` beside them took {longest * 1000:.0f} ms at most")
    mount.unmount()
    case.recovered(source=disk.point)
